from datetime import timedelta

import pytest

from consent.desk.book import in_months
from consent.desk.session import FREE_GUESSES, IDLE, LONGEST, Person, Sessions, Throttle


def test_a_session_ends_when_the_desk_is_left_alone(clock) -> None:
    sessions = Sessions(clock)
    cookie = sessions.begin("hanako")
    clock.now += IDLE
    assert sessions.find(cookie) is not None  # and this counts as a sign of life
    clock.now += IDLE
    assert sessions.find(cookie) is not None
    clock.now += IDLE + timedelta(seconds=1)
    assert sessions.find(cookie) is None


def test_a_session_ends_after_a_day_however_busy(clock) -> None:
    sessions = Sessions(clock)
    cookie = sessions.begin("hanako")
    for _ in range(LONGEST // IDLE):
        clock.now += IDLE
        assert sessions.find(cookie) is not None
    clock.now += timedelta(seconds=1)
    assert sessions.find(cookie) is None


def test_a_token_is_of_one_cookie_and_one_desk(clock) -> None:
    sessions, other = Sessions(clock), Sessions(clock)
    one, two = sessions.begin("hanako"), sessions.begin("hanako")
    assert sessions.is_csrf_of(one, sessions.csrf_of(one))
    for cookie, token in [
        (one, sessions.csrf_of(two)),
        (one, other.csrf_of(one)),
        (one, ""),
        (one, None),
        (one, "é"),
        ("", sessions.csrf_of("")),
        (None, sessions.csrf_of("")),
    ]:
        assert not sessions.is_csrf_of(cookie, token)


def test_handles_are_random_and_known_to_one_session(clock) -> None:
    sessions = Sessions(clock)
    one, two = (sessions.find(sessions.begin("hanako")) for _ in range(2))
    person = Person("subject", "P-1")
    handle = one.handle_of(person)
    assert "subject" not in handle
    assert handle == one.handle_of(Person("subject", None))  # what was typed stays known
    assert one.people[handle].outside_id == "P-1"
    assert handle != two.handle_of(person)
    assert handle not in two.people


def test_a_form_counts_once(clock) -> None:
    sessions = Sessions(clock)
    session = sessions.find(sessions.begin("hanako"))
    mark = session.new_form()
    assert [session.take_form(mark), session.take_form(mark)] == [True, False]
    assert not session.take_form("never shown")


def test_memory_of_sessions_handles_and_guesses_is_bounded(clock) -> None:
    sessions, throttle = Sessions(clock), Throttle(clock)
    for _ in range(1_000):
        cookie = sessions.begin("hanako")
    assert len(sessions._sessions) <= 200
    session = sessions.find(cookie)
    for n in range(2_000):
        session.handle_of(Person(str(n), None))
        session.new_form()
        throttle.wrong(str(n) * 50)
    assert max(len(session.people), len(session.forms)) <= 500
    assert len(throttle._wrong) <= 4096


def test_guesses_are_slowed_down_more_and_more(clock) -> None:
    throttle, waits = Throttle(clock), []
    for _ in range(20):
        waits.append(throttle.wait_s("hanako"))
        clock.now += timedelta(seconds=waits[-1])
        throttle.wrong("hanako")
    assert waits[:FREE_GUESSES] == [0] * FREE_GUESSES
    assert waits[FREE_GUESSES : FREE_GUESSES + 5] == [1, 2, 4, 8, 16]
    assert waits[-1] == 900
    assert throttle.wait_s("jiro") == 0
    throttle.right("hanako")
    assert throttle.wait_s("hanako") == 0


@pytest.mark.parametrize(
    ("start", "months", "want"),
    [
        ((2026, 1, 31), 1, (2026, 2, 28)),
        ((2028, 2, 29), 12, (2029, 2, 28)),
        ((2026, 8, 31), 6, (2027, 2, 28)),
        ((2026, 12, 15), 36, (2029, 12, 15)),
        ((2026, 6, 30), 6, (2026, 12, 30)),
    ],
)
def test_months_end_on_the_same_day_or_the_last_of_the_month(clock, start, months, want) -> None:
    year, month, day = start
    found = in_months(clock.now.replace(year=year, month=month, day=day), months)
    assert (found.year, found.month, found.day) == want
