"""The one place that answers: may this person's data be used for this purpose, now?"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from consent.assets import Frames, usable_frames
from consent.demand import Demand
from consent.errors import ConsentChangedError, LogDamagedError
from consent.journal import Journal
from consent.log import Clock
from consent.model import Purpose
from consent.snapshot import LogSnapshot
from consent.state import Decision, State, Status, decide


@dataclass(frozen=True)
class Ruling:
    """Decisions about some subjects, and the one log snapshot that they rest on."""

    purpose: Purpose
    at: datetime
    decisions: Mapping[str, Decision]
    entries: Mapping[str, int]  # index of the log entry that allows each allowed subject
    snapshot: LogSnapshot

    @property
    def allowed(self) -> frozenset[str]:
        """The subjects whose data may be used."""
        return frozenset(self.entries)


@dataclass(frozen=True)
class AssetRuling:
    """Which frames of some recordings may be used, and the ruling on the people in them.

    Attributes:
        ruling: On everyone who is seen in a recording.
        frames: What may be used of each recording; nothing of one that was never linked.
        subjects: Who is seen in each.
        unlinked: Recordings that the log never heard of.
    """

    ruling: Ruling
    frames: Mapping[str, Frames]
    subjects: Mapping[str, tuple[str, ...]]
    unlinked: frozenset[str]

    def entries_of(self, asset: str) -> tuple[int, ...]:
        """Return the log entries that allow the use of a recording."""
        entries = self.ruling.entries
        return tuple(sorted(entries[s] for s in self.subjects[asset] if s in entries))


class ConsentGate:
    """Reads a consent log and rules on subjects and recordings. Denies by default.

    An entry that cannot be read, though no erasure names it, may be a withdrawal: until that is
    settled nobody is allowed.
    """

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._demand: Demand | None = None

    def demanding(self, demand: Demand) -> Self:
        """Return a gate that also holds everyone against a declared use."""
        narrower = copy.copy(self)
        narrower._demand = demand
        return narrower

    def rule(self, subject_ids: Iterable[str], purpose: Purpose) -> Ruling:
        """Rule on each subject, from a new snapshot.

        Time is the latest of the clock, the last entry and the last cosignature by a witness:
        setting a clock back revives nothing.

        Raises:
            LogDamagedError: An entry was made unreadable without an erasure.
        """
        with self._journal.reading() as (state, snapshot):
            return self._rule(state, snapshot, subject_ids, purpose)

    def rule_assets(
        self, assets: Iterable[str], purpose: Purpose, subject_ids: Iterable[str] = ()
    ) -> AssetRuling:
        """Rule on each recording, by its digest: every face in a frame must be covered.

        Args:
            assets: Digests.
            purpose: What for.
            subject_ids: Others to rule on, from the same snapshot.
        """
        with self._journal.reading() as (state, snapshot):
            known = {a: state.assets.get(a) for a in assets}
            subjects = {
                a: tuple(dict.fromkeys(s for span in found.spans for s in span.subjects))
                if found
                else ()
                for a, found in known.items()
            }
            people = dict.fromkeys([*subject_ids, *(s for seen in subjects.values() for s in seen)])
            ruling = self._rule(state, snapshot, people, purpose)
            frames = {
                a: usable_frames(found, ruling.entries, ruling.at) if found else Frames()
                for a, found in known.items()
            }
            unlinked = frozenset(a for a, found in known.items() if found is None)
            return AssetRuling(ruling, frames, subjects, unlinked)

    def recheck(self, ruling: Ruling) -> Ruling:
        """Rule again, before anything made from the data is let out.

        Raises:
            ConsentChangedError: A subject that was allowed no longer is.
        """
        again = self.rule(ruling.decisions, ruling.purpose)
        _check_kept(ruling, again)
        return again

    def recheck_assets(self, before: AssetRuling) -> AssetRuling:
        """Rule again on recordings.

        Raises:
            ConsentChangedError: A subject or a frame that was allowed no longer is.
        """
        again = self.rule_assets(before.frames, before.ruling.purpose, before.ruling.decisions)
        _check_kept(before.ruling, again.ruling)
        lost = sum(not _holds(again.frames[a], used) for a, used in before.frames.items())
        if lost:
            raise ConsentChangedError(f"{lost} recording(s) may no longer be used as they were")
        return again

    def _rule(
        self, state: State, snapshot: LogSnapshot, subject_ids: Iterable[str], purpose: Purpose
    ) -> Ruling:
        if state.lost:
            raise LogDamagedError(
                f"entry {min(state.lost)}: its opening is gone and no erasure names it; it may be "
                "a withdrawal, so nothing is allowed. Bring back log.sqlite and keystore.sqlite "
                "from a newer copy, then run: omote-consent log verify"
            )
        now = max(self._clock(), snapshot.last_time)
        decisions = {s: decide(state, s, purpose, now) for s in subject_ids}
        if self._demand is not None:
            decisions = {s: self._demand.judge(state, s, purpose, d) for s, d in decisions.items()}
        entries = {
            s: d.index
            for s, d in decisions.items()
            if d.status is Status.ALLOWED and d.index is not None
        }
        return Ruling(purpose, now, decisions, entries, snapshot)


def _check_kept(before: Ruling, now: Ruling) -> None:
    lost = before.allowed - now.allowed
    if lost:
        raise ConsentChangedError(f"consent of {len(lost)} subject(s) ended during the round")


def _holds(now: Frames, before: Frames) -> bool:
    """Are all frames of ``before`` in ``now``?"""
    return all(
        any(f <= first and last <= t for f, t in now.ranges) for first, last in before.ranges
    )
