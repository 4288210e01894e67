"""Recordings without labels, for pretraining: a folder for each person, or videos side by side.

::

    ROOT/p01/visit-1.mp4      a recording of p01
    ROOT/p02/*.jpg            all images together are one recording of p02
    ROOT/p03/visit-1/*.jpg    one recording for each folder
    ROOT/film.mp4             a recording of a person named film
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core_model.data.source import Found, LayoutError, Source, holds_images, media_in

LICENCE = "own recordings"


def find(root: Path, licence: str = LICENCE) -> Found:
    """Return the recordings.

    Raises:
        LayoutError: There is nothing of this kind here.
    """
    if not root.is_dir():
        raise LayoutError(f"{root}: no such folder")
    sources = tuple(_sources(root, licence))
    if not sources:
        raise LayoutError(f"{root}: expected a folder for each person, or videos")
    return Found(sources)


def _sources(root: Path, licence: str) -> Iterator[Source]:
    for person in media_in(root):
        if person.is_file():
            yield _source(person, person.stem, licence, person.stem)
            continue
        if holds_images(person):
            yield _source(person, person.name, licence, person.name)
        for path in media_in(person):
            if path.is_file() or holds_images(path):
                yield _source(path, person.name, licence, f"{person.name}-{path.stem}")


def _source(media: Path, subject: str, licence: str, name: str) -> Source:
    return Source(name, subject, media, licence, is_numbered=False)
