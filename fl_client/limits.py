"""May a round begin now? Caps over a day: hours, time and traffic. Pure: no clock, no files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import NoReturn

from core_model.protocol.messages import RefusalCode
from fl_client.config import Caps
from fl_client.diary import Entry
from fl_client.errors import RoundRefusedError

DAY = timedelta(hours=24)
SLACK_BYTES = 4 << 20  # names, shapes and the plan around the weights


@dataclass(frozen=True)
class Used:
    """What rounds took in the last 24 hours."""

    seconds: float
    num_bytes: int


def used(entries: Iterable[Entry], now: datetime) -> Used:
    """Add up the last 24 hours."""
    recent = [e for e in entries if e.started_at > now - DAY]
    return Used(sum(e.seconds for e in recent), sum(e.num_bytes for e in recent))


def check_before_reading(caps: Caps, spent: Used, local: datetime) -> int:
    """Check what can be known before a request is read; return how many bytes it may have.

    Args:
        caps: Of the site.
        spent: In the last 24 hours.
        local: What the clock on the site's wall shows.

    Raises:
        RoundRefusedError: NOT_NOW.
    """
    if caps.hours is not None and not is_within(caps.hours, local.time()):
        _not_now(f"rounds may begin {caps.hours}, and it is {local:%H:%M}")
    if caps.max_minutes_per_day is not None and spent.seconds >= 60 * caps.max_minutes_per_day:
        _not_now(f"max_minutes_per_day {caps.max_minutes_per_day} are used")
    largest = 4 * caps.max_weights + SLACK_BYTES
    if caps.max_bytes_per_day is None:
        return largest
    left = caps.max_bytes_per_day - spent.num_bytes
    if left <= 0:
        _not_now(f"max_bytes_per_day {caps.max_bytes_per_day} are used")
    return min(largest, left)


def check_before_training(
    caps: Caps, spent: Used, num_bytes: int, earlier: Iterable[Entry]
) -> None:
    """Check that a round would not go over what is left of the day.

    The answer is expected to be as large as the request, and the round to last as long as the
    longest of its run and purpose so far. The first of a run may go over.

    Args:
        caps: Of the site.
        spent: In the last 24 hours.
        num_bytes: Of the request.
        earlier: Rounds of the same run and purpose.

    Raises:
        RoundRefusedError: NOT_NOW.
    """
    if caps.max_bytes_per_day is not None:
        left = caps.max_bytes_per_day - spent.num_bytes
        if 2 * num_bytes > left:
            _not_now(f"{2 * num_bytes} bytes needed, {left} left of max_bytes_per_day")
    if caps.max_minutes_per_day is not None:
        left_s = 60 * caps.max_minutes_per_day - spent.seconds
        longest = max((e.seconds for e in earlier), default=0.0)
        if longest > left_s:
            _not_now(f"{longest:.0f} s expected, {left_s:.0f} s left of max_minutes_per_day")


def is_within(hours: str, at: time) -> bool:
    """Is a time of day in a span such as ``20:00-06:00``? Equal ends: all day."""
    start, end = (time.fromisoformat(part) for part in hours.split("-"))
    if start < end:
        return start <= at < end
    return at >= start or at < end


def _not_now(detail: str) -> NoReturn:
    raise RoundRefusedError(RefusalCode.NOT_NOW, detail)
