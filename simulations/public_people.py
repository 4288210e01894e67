"""Draw a public set for a server: people who do not exist, to measure models on."""

from __future__ import annotations

import shutil
from pathlib import Path

from core_model.data.recordings import read_recordings, write_recordings
from simulations.faces.site import make_face_site, subject_id
from simulations.faces.spec import FaceSiteSpec

FIRST_PUBLIC = 5000  # numbers of people, far from those of any scenario


def draw_public(folder: Path, spec: FaceSiteSpec, choosing: int, cache: Path) -> None:
    """Draw people into a new folder and write ``test.csv`` and ``validation.csv``.

    Args:
        folder: Where; not there yet.
        spec: All of them.
        choosing: How many, the last ones, choose the threshold and are not tested on.
        cache: Of generated faces.

    Raises:
        FileExistsError: The folder is there.
        ValueError: Nobody is left to test on.
    """
    if choosing >= spec.num_people:
        raise ValueError(f"of {spec.num_people} people {choosing} choose: nobody is left to test")
    shutil.copytree(make_face_site(spec, cache), folder)
    first = spec.first_person + spec.num_people - choosing
    chosen = {subject_id(spec, number) for number in range(first, first + choosing)}
    drawn = read_recordings(folder / "recordings.csv")  # labelled by a coder, as any data is
    write_recordings(folder / "test.csv", [r for r in drawn if r.subject_id not in chosen])
    write_recordings(folder / "validation.csv", [r for r in drawn if r.subject_id in chosen])
