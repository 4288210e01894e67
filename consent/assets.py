"""Which frames of a recording may be used: every face in them is of someone who agrees. Pure.

Works on spans, not on frames: a recording of a million frames in a hundred spans costs a hundred
steps.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from consent.model import Span
from consent.standing import AssetState

Range = tuple[int, int]  # first and last frame, both included


@dataclass(frozen=True)
class Frames:
    """Some frames of a recording, as ranges in order that do not touch."""

    ranges: tuple[Range, ...] = ()

    def __contains__(self, frame: int) -> bool:
        return any(first <= frame <= last for first, last in self.ranges)

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges)

    def __iter__(self) -> Iterator[int]:
        for first, last in self.ranges:
            yield from range(first, last + 1)


def usable_frames(asset: AssetState, allowed: Container[str], at: datetime) -> Frames:
    """Return the frames of a recording that may be used, given who agrees.

    A frame counts only if every span that it lies in is covered: all faces that the detector
    found are of known people, and all of those agree. No face at all is no reason to use it.
    """
    keep_until = asset.linked.event.keep_until
    if keep_until is not None and keep_until <= at:
        return Frames()
    covered: list[Range] = []
    barred: list[Range] = []
    for span in asset.spans:
        (covered if _is_covered(span, allowed) else barred).append((span.first, span.last))
    return Frames(tuple(_without(_joined(covered), _joined(barred))))


def _is_covered(span: Span, allowed: Container[str]) -> bool:
    return bool(span.subjects) and span.is_resolved and all(s in allowed for s in span.subjects)


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """Return the same frames as ranges in order that do not touch."""
    result: list[Range] = []
    for first, last in sorted(ranges):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        else:
            result.append((first, last))
    return result


def _without(kept: list[Range], barred: list[Range]) -> Iterator[Range]:
    """Yield ``kept`` less ``barred``; both in order and joined."""
    at = 0
    for first, last in kept:
        while at < len(barred) and barred[at][1] < first:
            at += 1
        ahead = at
        while ahead < len(barred) and barred[ahead][0] <= last:
            if first < barred[ahead][0]:
                yield first, barred[ahead][0] - 1
            first = max(first, barred[ahead][1] + 1)
            ahead += 1
        if first <= last:
            yield first, last
