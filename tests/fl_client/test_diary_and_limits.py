"""Pure parts of the worker: what a day has left, and a diary that survives power loss."""

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_model.protocol.messages import RefusalCode
from fl_client.config import Caps
from fl_client.diary import INTERRUPTED, SIGNED, Diary, Entry, Running
from fl_client.errors import DiaryError, RoundRefusedError
from fl_client.limits import Used, check_before_reading, is_within, used
from fl_client.recovery import only_worker, recover
from fl_client.refusals import EXPLAINED

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
WITHIN = {
    "in a span of one day": ("08:00-18:00", "08:00", True),
    "at its end": ("08:00-18:00", "18:00", False),
    "before it": ("08:00-18:00", "07:59", False),
    "over midnight, late": ("20:00-06:00", "23:00", True),
    "over midnight, early": ("20:00-06:00", "05:59", True),
    "over midnight, by day": ("20:00-06:00", "12:00", False),
    "equal ends": ("00:00-00:00", "03:00", True),
}


@pytest.mark.parametrize(("hours", "at", "want"), WITHIN.values(), ids=WITHIN.keys())
def test_hours(hours, at, want) -> None:
    assert is_within(hours, time.fromisoformat(at)) is want


@given(st.lists(st.tuples(st.integers(-72, 0), st.floats(0, 1e5), st.integers(0, 10**9))))
def test_what_is_used_is_what_the_last_24_hours_took(rounds) -> None:
    entries = [
        Entry(started_at=NOON + timedelta(hours=h), outcome=SIGNED, seconds=s, num_bytes=b)
        for h, s, b in rounds
    ]
    recent = [(s, b) for h, s, b in rounds if h > -24]
    found = used(entries, NOON)
    assert found.seconds == pytest.approx(sum(s for s, _ in recent))
    assert found.num_bytes == sum(b for _, b in recent)


@given(st.integers(1, 10**10), st.integers(0, 2 * 10**10))
def test_a_request_never_gets_more_bytes_than_the_day_has_left(most, spent) -> None:
    caps = Caps(max_bytes_per_day=most)
    if spent >= most:
        with pytest.raises(RoundRefusedError) as caught:
            check_before_reading(caps, Used(0.0, spent), NOON)
        assert caught.value.code is RefusalCode.NOT_NOW
    else:
        assert 0 < check_before_reading(caps, Used(0.0, spent), NOON) <= most - spent


def entry(number):
    return Entry(started_at=NOON, run_id="r", round=number, purpose="pretraining", outcome=SIGNED)


def test_a_line_that_power_loss_cut_off_is_passed_over_and_then_cut(tmp_path) -> None:
    diary = Diary(tmp_path)
    diary.end(entry(1))
    path = tmp_path / "rounds.jsonl"
    path.write_bytes(path.read_bytes() + b'{"started_at": "2026')
    assert diary.entries() == [entry(1)]
    assert diary.recover() is None
    diary.end(entry(2))
    assert diary.entries() == [entry(1), entry(2)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_damaged_line_in_the_middle_is_named(tmp_path) -> None:
    (tmp_path / "rounds.jsonl").write_bytes(b"{}\n")
    with pytest.raises(DiaryError, match="line 1"):
        Diary(tmp_path).entries()


def test_a_round_in_which_the_worker_was_killed_is_told_once(tmp_path) -> None:
    diary = Diary(tmp_path)
    diary.begin(Running(started_at=NOON, run_id="r", round=3, purpose="finetuning", num_bytes=9))
    found = recover(tmp_path, Diary(tmp_path))
    assert found is not None
    assert (found.outcome, found.run_id, found.round, found.num_bytes) == (INTERRUPTED, "r", 3, 9)
    assert recover(tmp_path, Diary(tmp_path)) is None
    assert diary.entries() == [found]


def test_what_a_killed_worker_left_of_people_is_deleted(tmp_path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "finetuning.123.draft").write_bytes(b"rows")
    (tmp_path / "rehearsal-1").mkdir()
    (tmp_path / "rehearsal-1" / "finetuning.safetensors").write_bytes(b"rows")
    (run / "finetuning.safetensors").write_bytes(b"kept")
    (run / "manifests.jsonl").write_bytes(b'{"whole": 1}\n{"torn')
    recover(tmp_path, Diary(tmp_path))
    left = {p.name: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {"finetuning.safetensors": b"kept", "manifests.jsonl": b'{"whole": 1}\n'}


def test_every_code_of_a_site_is_explained() -> None:
    own = {c.name for c in RefusalCode if c < 300}
    assert own | {INTERRUPTED} == set(EXPLAINED)


def test_the_lock_is_free_again_after_the_worker(tmp_path) -> None:
    with only_worker(tmp_path):
        pass
    with only_worker(tmp_path):
        pass
