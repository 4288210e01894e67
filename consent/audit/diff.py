"""What changed from one audit to the next."""

from __future__ import annotations

from dataclasses import dataclass

from consent.audit.report import Answer, Head, Report


@dataclass(frozen=True)
class Changes:
    """The log between two audits."""

    grown_by: int
    is_shorter: bool
    is_rewritten: bool
    answers: tuple[tuple[Answer, Answer], ...]  # those that read differently, before and now


def compare_logs(before: Head, now: Head) -> tuple[int, bool, bool]:
    """Return by how much a log grew, whether it is shorter, whether it is another one.

    Two roots of one size are two logs. That a longer log extends a shorter one is for
    ``audit verify --since`` to prove.
    """
    grown = now.size - before.size
    other = now.origin != before.origin or (grown == 0 and now.root != before.root)
    return grown, grown < 0, other


def compare_reports(before: Report, now: Report) -> Changes:
    """Compare two reports of one site."""
    old = {a.number: a for a in before.answers}
    changed = tuple(
        (old[a.number], a)
        for a in now.answers
        if a.number in old
        and (old[a.number].answer, old[a.number].outcome) != (a.answer, a.outcome)
    )
    return Changes(*compare_logs(before.log, now.log), changed)
