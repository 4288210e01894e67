"""Which certificates a server starts with: those that sites will take."""

from datetime import UTC, datetime, timedelta

import pytest

from fl_server.certificates import (
    SERVER_DAYS,
    check_certificate,
    load_authority,
    make_authority,
    make_certificate,
)
from fl_server.errors import StartError

NOW = datetime(2030, 5, 1, tzinfo=UTC)
AUTHORITY = make_authority("pilot", NOW)
HOSTS = ("fed.example.org", "127.0.0.1", "localhost")


def check(pair, host="fed.example.org", ca=AUTHORITY, at=NOW, key=None):
    return check_certificate(
        pair.certificate_pem(), (key or pair).key_pem(), ca.certificate_pem(), host, at
    )


def test_certificate_is_good_for_all_its_hosts() -> None:
    pair = make_certificate(AUTHORITY, HOSTS, NOW)
    for host in HOSTS:
        assert check(pair, host) == NOW + timedelta(days=SERVER_DAYS)


def test_certificate_renewed_by_the_kept_authority_is_taken() -> None:
    kept = load_authority(AUTHORITY.key_pem(), AUTHORITY.certificate_pem())
    later = NOW + timedelta(days=400)
    check(make_certificate(kept, HOSTS, later), at=later)


WRONG = {
    "it is over": {"at": NOW + timedelta(days=SERVER_DAYS, seconds=1)},
    "it has not begun": {"at": NOW - timedelta(days=1)},
    "of another host": {"host": "evil.example.org"},
    "of another address": {"host": "127.0.0.2"},
    "of another authority": {"ca": make_authority("pilot", NOW)},
    "of another key": {"key": make_certificate(AUTHORITY, HOSTS, NOW)},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_certificate_that_sites_would_refuse_is_refused_at_the_start(wrong) -> None:
    with pytest.raises(StartError):
        check(make_certificate(AUTHORITY, HOSTS, NOW), **wrong)


def test_a_servers_certificate_cannot_vouch_for_another() -> None:
    server = make_certificate(AUTHORITY, HOSTS, NOW)
    forged = make_certificate(server, ("evil.example.org",), NOW)
    with pytest.raises(StartError):
        check_certificate(
            forged.certificate_pem() + server.certificate_pem(), forged.key_pem(),
            AUTHORITY.certificate_pem(), "evil.example.org", NOW,
        )  # fmt: skip


def test_key_and_certificate_of_two_authorities() -> None:
    with pytest.raises(StartError, match="two authorities"):
        load_authority(make_authority("x", NOW).key_pem(), AUTHORITY.certificate_pem())
