"""The people of one training: to train on, to choose threshold and epoch by, and to test on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core_model.data.frames import FrameDataset
from core_model.data.recordings import read_recordings
from simulations.faces.site import make_face_site
from simulations.faces.spec import LOOKS, FaceSiteSpec
from simulations.tradeoff.grid import Cell

IMAGE_SIZE = 64  # pixels
TEST_SHORTCUT = 2.0  # of new people, whatever the corpus: all cells are tested on the same people
NEW_LOOK = "home"  # a place that no corpus has
VALIDATION_SHARE = 5  # one more person for so many of the corpus
FIRST_NEW, FIRST_VALIDATION = 1000, 2000  # numbers of people, apart from those trained on
PLACE = 200  # numbers for the people of each further place


@dataclass(frozen=True)
class Groups:
    """The people of a cell, as frames in memory."""

    training: FrameDataset
    validation: FrameDataset
    new_people: FrameDataset
    new_site: FrameDataset


@dataclass(frozen=True)
class GroupSpecs:
    """The same as specs of what to draw, one for each place."""

    training: tuple[FaceSiteSpec, ...]
    validation: tuple[FaceSiteSpec, ...]
    new_people: tuple[FaceSiteSpec, ...]
    new_site: tuple[FaceSiteSpec, ...]

    def all(self) -> tuple[FaceSiteSpec, ...]:
        """Return every spec."""
        return self.training + self.validation + self.new_people + self.new_site


def specs_of(cell: Cell) -> GroupSpecs:
    """Return what must be drawn for a cell."""
    corpus, places = cell.corpus, len(cell.corpus.looks)

    def spec(name: str, first: int, people: int, look: str, shortcut: float) -> FaceSiteSpec:
        return FaceSiteSpec(
            name=name,
            seed=cell.seed,
            first_person=first,
            num_people=people,
            frames_per_recording=corpus.frames_per_recording if name == "study" else 20,
            image_size=IMAGE_SIZE,
            labelled_aus=cell.action_units,
            shortcut_strength=shortcut,
            recording_variation=0.6,
            look=LOOKS[look],
        )

    def held(people: int) -> int:
        return max(2, people // VALIDATION_SHARE)

    shares = [corpus.people // places + (i < corpus.people % places) for i in range(places)]
    met = max(8, cell.new_people // places)
    each = list(enumerate(zip(corpus.looks, shares, strict=True)))
    shortcut = corpus.shortcut_strength
    return GroupSpecs(
        training=tuple(spec("study", i * PLACE, n, look, shortcut) for i, (look, n) in each),
        validation=tuple(
            spec(
                "held", FIRST_VALIDATION + i * PLACE, max(2, n // VALIDATION_SHARE), look, shortcut
            )
            for i, (look, n) in each
        ),
        new_people=tuple(
            spec("new", FIRST_NEW + i * PLACE, met, look, TEST_SHORTCUT) for i, (look, _) in each
        ),
        new_site=(spec("away", FIRST_NEW + 900, cell.new_people, NEW_LOOK, TEST_SHORTCUT),),
    )


def load_groups(cell: Cell, cache: Path) -> Groups:
    """Read the frames of a cell; those people to test on have true labels of all frames."""

    def dataset(specs: tuple[FaceSiteSpec, ...], listing: str) -> FrameDataset:
        paths = [make_face_site(spec, cache) / listing for spec in specs]
        recordings = [r for path in paths for r in read_recordings(path)]
        return FrameDataset(recordings, IMAGE_SIZE, cell.action_units)

    specs = specs_of(cell)
    return Groups(
        dataset(specs.training, "recordings.csv"),
        dataset(specs.validation, "recordings.csv"),
        dataset(specs.new_people, "truth.csv"),
        dataset(specs.new_site, "truth.csv"),
    )
