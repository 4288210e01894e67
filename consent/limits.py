"""How much of people's privacy they agreed to spend. Pure: reads what the log says."""

from __future__ import annotations

from collections.abc import Iterable

from consent.model import Purpose
from consent.state import State
from consent.subject_events import ConsentGiven


def epsilon_limits(state: State, subject_ids: Iterable[str], purpose: Purpose) -> dict[str, float]:
    """Return ``max_epsilon`` of everyone whose grant of a purpose names one; over all time.

    Whether a grant holds is not asked here: that is the gate's to say.
    """
    limits: dict[str, float] = {}
    for subject_id in subject_ids:
        person = state.subjects.get(subject_id)
        answer = person.answers.get(purpose) if person else None
        if answer is None or not isinstance(answer.event, ConsentGiven):
            continue
        limit = answer.event.grant(purpose).conditions.max_epsilon
        if limit is not None:
            limits[subject_id] = float(limit)
    return limits
