"""The people that all attacks share, and how much of everything an attack may use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from core_model.action_units import SETS
from core_model.config import EncoderConfig, Settings
from core_model.data.frames import FrameDataset
from core_model.data.recordings import Recording, read_recordings
from simulations.faces.site import make_face_site
from simulations.faces.spec import LOOKS, FaceSiteSpec

AUS = SETS["bp4d"]
CPU = torch.device("cpu")
SIDE = 32  # pixels, of all attacks but those on pictures
ENCODER = EncoderConfig(
    image_size=SIDE, patch_size=8, embed_dim=48, depth=1, num_heads=4, pooling="weighted"
)
FIRST = {"public": 0, "people": 1000, "new": 2000}  # numbers of the first person of each group


class Effort(Settings):
    """How much of everything. Public numbers."""

    name: str
    public_people: int  # what the shared weights were trained on before
    people: int  # at the sites; half of them are in each training
    new_people: int
    frames: int  # of each of two recordings
    epochs: int  # of a training that learns by heart
    steps: int  # of a private training
    shadows: int  # trainings of the attacker
    rounds: int  # updates that are attacked
    canaries: int
    pictures: int  # that are reconstructed
    iterations: int  # of an attacker who searches for a picture


QUICK = Effort(
    name="quick", public_people=12, people=16, new_people=16, frames=5, epochs=30, steps=15,
    shadows=8, rounds=4, canaries=200, pictures=8, iterations=60,
)  # fmt: skip
FULL = Effort(
    name="full", public_people=24, people=40, new_people=32, frames=10, epochs=60, steps=30,
    shadows=24, rounds=12, canaries=600, pictures=24, iterations=400,
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One run of the suite."""

    effort: Effort
    seed: int
    cache: Path  # folder for generated faces

    @cached_property
    def public(self) -> FrameDataset:
        """Other people, on whom the shared weights were trained."""
        return self._dataset(self._recordings("public", self.effort.public_people))

    @cached_property
    def people(self) -> FrameDataset:
        """Everybody who may have been trained on."""
        return self._dataset(self._everybody)

    @cached_property
    def new_people(self) -> FrameDataset:
        """People whom no model saw, with true labels."""
        return self._dataset(self._recordings("new", self.effort.new_people))

    def only(self, indices: Iterable[int]) -> FrameDataset:
        """Return some of ``people``, by index."""
        chosen = {self.people.subjects[i] for i in indices}
        return self._dataset([r for r in self._everybody if r.subject_id in chosen])

    def pictures(self, side: int) -> FrameDataset:
        """Return ``people`` as larger pictures."""
        return FrameDataset(self._everybody, side, AUS)

    @cached_property
    def _everybody(self) -> Sequence[Recording]:
        return self._recordings("people", self.effort.people)

    def _dataset(self, recordings: Sequence[Recording]) -> FrameDataset:
        return FrameDataset(recordings, SIDE, AUS)

    def _recordings(self, group: str, number: int) -> Sequence[Recording]:
        spec = FaceSiteSpec(
            name=f"attack-{group}", seed=self.seed, first_person=FIRST[group], num_people=number,
            recordings_per_person=2, frames_per_recording=self.effort.frames, image_size=64,
            labelled_aus=AUS, shortcut_strength=2.0, recording_variation=0.6, look=LOOKS["lab"],
        )  # fmt: skip
        return read_recordings(make_face_site(spec, self.cache) / "recordings.csv")
