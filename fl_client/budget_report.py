"""What a site's people have spent, as counts: for its operator and its data-protection officer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from core_model.data.recordings import Recording
from core_model.privacy.accounting import report
from core_model.privacy.frame_unit import person_epsilon
from core_model.privacy.ledger import Ledger

BANDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, math.inf)  # upper ends


def distribution(epsilons: Sequence[float]) -> dict[str, int]:
    """Return how many people are in each band of epsilon; bands without anybody are left out."""
    counts = Counter(_band(epsilon) for epsilon in epsilons)
    names = ["nothing", *(_name(low, high) for low, high in _bands()), "no bound"]
    return {name: counts[name] for name in names if counts[name]}


def describe(
    ledger: Ledger, recordings: Sequence[Recording], max_epsilon: float, max_delta: float
) -> Iterator[str]:
    """Yield the report's lines. No line tells of one person.

    Args:
        ledger: Of the site.
        recordings: Of the site, for the number of frames that a person has at most.
        max_epsilon: The site's cap.
        max_delta: For which epsilon is told before anything was spent.
    """
    delta = ledger.delta or max_delta
    epsilons = ledger.epsilons(None, delta).tolist()
    yield f"people ever charged: {len(epsilons)}; cap of the site: epsilon {max_epsilon:g}"
    yield f"epsilon of a person at delta {delta:g}, by the accountant that holds budgets (RDP):"
    for band, number in distribution(epsilons).items():
        yield f"  {band:12} {number}"
    if "no bound" in distribution(epsilons):
        yield "  no bound: trained on without noise, or under a promise about frames only"
    if ledger.spends("subject"):
        found = report(ledger.spends("subject"), delta)
        yield (
            f"whoever was in every private step: epsilon {found.epsilon:.2f} "
            f"({found.accountant.upper()}), one person added or removed"
        )
    if frames := ledger.spends("frame"):
        most = _most_frames(recordings)
        one, person = report(frames, delta), person_epsilon(frames, most, delta)
        yield f"steps about frames: epsilon {one.epsilon:.2f} of one frame"
        yield (
            f"  of a person with {most} frames: epsilon {person.epsilon:.0f} ({person.method}). "
            "That is no promise about a person"
        )


def _most_frames(recordings: Sequence[Recording]) -> int:
    frames: Counter[str] = Counter()
    for recording in recordings:
        frames[recording.subject_id] += len(recording.frame_paths())
    return max(frames.values(), default=1)


def _bands() -> Iterator[tuple[float, float]]:
    return zip((0.0, *BANDS[:-1]), BANDS, strict=True)


def _band(epsilon: float) -> str:
    if epsilon == 0:
        return "nothing"
    if math.isinf(epsilon):
        return "no bound"
    return next(_name(low, high) for low, high in _bands() if epsilon <= high)


def _name(low: float, high: float) -> str:
    return f"over {low:g}" if math.isinf(high) else f"{low:g} to {high:g}"
