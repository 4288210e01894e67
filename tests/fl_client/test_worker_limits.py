"""Caps over a day, kept by a worker on a real socket."""

from datetime import UTC, datetime, timedelta

import pytest

from core_model.protocol.messages import RefusalCode, SiteUpdate
from fl_client.diary import SIGNED, Diary, Entry
from fl_server.coordinator import Coordinator
from tests.federation import write_federation, write_sites
from tests.fl_client.serving import served
from tests.fl_client.test_worker import answer, diary_of, raw_request, with_caps

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
BEFORE = Entry(
    started_at=NOON - timedelta(hours=2), run_id="test-run", round=7, purpose="pretraining",
    outcome=SIGNED, seconds=90.0, num_bytes=20_000,
)  # fmt: skip


def at_noon():
    return NOON


LATER = [f"{NOON.astimezone() + timedelta(hours=h):%H:%M}" for h in (1, 2)]
LIMITS = {
    "outside the hours": (f'hours = "{LATER[0]}-{LATER[1]}"', "rounds may begin"),
    "no minutes left": ("max_minutes_per_day = 1", "are used"),
    "less time left than the run's longest round": ("max_minutes_per_day = 2", "90 s expected"),
    "no bytes left": ("max_bytes_per_day = 20_000", "are used"),
    "bytes left for the request, not the answer": ("max_bytes_per_day = 60_000", "bytes needed"),
}


@pytest.mark.parametrize(("line", "detail"), LIMITS.values(), ids=LIMITS.keys())
def test_limits_of_the_day_are_kept(tmp_path, line, detail) -> None:
    folders = write_sites(tmp_path)
    folder = folders["site-a"]
    raw = raw_request(Coordinator(write_federation(tmp_path, folders)))
    Diary(folder.folder / "state").end(BEFORE)
    with_caps(folder, line)
    with served(folder.config, clock=at_noon) as (_, socket):
        assert answer(socket, raw) is RefusalCode.NOT_NOW
    entry = diary_of(folder)[1]
    assert entry.outcome == "NOT_NOW"
    assert detail in entry.detail


def test_within_the_limits_a_round_runs(tmp_path) -> None:
    folders = write_sites(tmp_path)
    folder = folders["site-a"]
    raw = raw_request(Coordinator(write_federation(tmp_path, folders)))
    Diary(folder.folder / "state").end(BEFORE)
    with_caps(
        folder,
        f'hours = "{LATER[0]}-{LATER[0]}"\nmax_minutes_per_day = 3\nmax_bytes_per_day = 200_000',
    )
    with served(folder.config, clock=at_noon) as (_, socket):
        assert isinstance(answer(socket, raw), SiteUpdate)
