"""Recordings of public or generated people, on which a server measures the model of each round.

Nobody's consent is asked here, so nobody of a site may be in it (docs/server.md). No torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from core_model.config import Settings
from core_model.data.recordings import Recording, read_recordings
from core_model.evaluation.partitions import check_apart


class PublicSet(Settings):
    """``[evaluation]`` of federation.toml."""

    recordings: tuple[Path, ...] = Field(min_length=1)  # lists of the people tested on
    validation: tuple[Path, ...] = ()  # of others, who choose the threshold; none: it is 0.5
    device: str = "cpu"  # or cuda
    threads: int = Field(1, ge=1)  # of the processor; the rounds need theirs

    def below(self, root: Path) -> PublicSet:
        """Return the same with paths relative to a folder resolved."""
        return self.model_copy(
            update={
                "recordings": tuple(root / path for path in self.recordings),
                "validation": tuple(root / path for path in self.validation),
            }
        )


@dataclass(frozen=True)
class PublicPeople:
    """Labelled recordings of people tested on, and of others who choose the threshold."""

    test: tuple[Recording, ...]
    validation: tuple[Recording, ...]

    def digest(self) -> str:
        """Return SHA-256 (hex) over people, recordings and labels; the pictures are not read.

        Raises:
            OSError: Labels cannot be read.
        """
        total = hashlib.sha256()
        for group in (self.test, self.validation):
            total.update(len(group).to_bytes(8, "big"))
            for recording in group:
                assert recording.labels is not None, "only labelled ones are kept"
                labels = hashlib.sha256(recording.labels.read_bytes()).hexdigest()
                line = (recording.recording_id, recording.subject_id, labels)
                total.update(hashlib.sha256(repr(line).encode()).digest())
        return total.hexdigest()


def read_public(settings: PublicSet) -> PublicPeople:
    """Read the lists; recordings without labels are left out.

    Raises:
        ValueError: A list is damaged, a recording is there twice, nobody is left, or someone is
            both tested on and chooses the threshold.
        OSError: A list cannot be read.
    """
    test, validation = _read(settings.recordings), _read(settings.validation)
    if not test:
        raise ValueError("evaluation.recordings: no labelled recording in these lists")
    if settings.validation and not validation:
        raise ValueError("evaluation.validation: no labelled recording in these lists")
    check_apart(
        recordings=[r.subject_id for r in test], validation=[r.subject_id for r in validation]
    )
    return PublicPeople(test, validation)


def _read(lists: Sequence[Path]) -> tuple[Recording, ...]:
    found = [r for path in lists for r in read_recordings(path) if r.labels is not None]
    ids = [r.recording_id for r in found]
    if len(set(ids)) != len(ids):
        twice = sorted({i for i in ids if ids.count(i) > 1})
        raise ValueError(f"{lists[-1]}: recordings are in two lists: {twice[:5]}")
    return tuple(found)
