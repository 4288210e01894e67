import json
import shutil
from datetime import UTC, datetime

import pytest

from consent.attestation import (
    Attestation,
    Expected,
    LogState,
    sign_attestation,
    verify_attestation,
)
from consent.envelope import canonical_json, parse_json, pre_authentication_encoding
from consent.errors import (
    AttestationError,
    BadSignatureError,
    LogRolledBackError,
    MalformedError,
)
from consent.keys import SigningKey
from consent.log import ConsentLog
from consent.manifest import manifest_root
from consent.model import Purpose
from consent.note import open_tree_head
from tests.consent.conftest import given, withdrawn

SITE = SigningKey.from_seed("site-a/site", b"s" * 32)
EXPECTED = Expected("site-a", "run", 3, Purpose.FINETUNING, "ab" * 16, "1" * 64, "2" * 64, 2)


def attestation(log, old_size=0, **changes):
    snapshot = log.snapshot()
    statement = Attestation(
        site="site-a",
        run_id="run",
        round=3,
        purpose=Purpose.FINETUNING,
        nonce="ab" * 16,
        model_in="1" * 64,
        update="2" * 64,
        labelled_aus=(1, 2),
        manifest="3" * 64,
        min_subjects=2,
        consent=LogState(
            start_size=snapshot.size,
            tree_head=snapshot.tree_head,
            consistency=tuple(h.hex() for h in snapshot.consistency_proof(old_size)),
        ),
        code="omote 0.1.0",
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        ended_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return statement.model_copy(update=changes)


def verify(envelope, log_key, expected=EXPECTED, last_head=None):
    return verify_attestation(
        envelope,
        site_key=SITE.verifier,
        log_key=log_key.verifier,
        expected=expected,
        last_head=last_head,
    )


def test_round_trip(log, log_key) -> None:
    made = attestation(log)
    got, head = verify(sign_attestation(made, SITE), log_key)
    assert got == made
    assert head.size == 2


def test_pre_authentication_encoding_of_the_specification() -> None:
    got = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert got == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


REPLAYS = {
    "in the next round": ({"round": 4}, "wrong_round"),
    "in another run": ({"run_id": "other"}, "wrong_round"),
    "with another nonce": ({"nonce": "cd" * 16}, "wrong_round"),
    "by another site": ({"site": "site-b"}, "wrong_site"),
    "for other bytes": ({"update": "9" * 64}, "wrong_update"),
    "for another model": ({"model_in": "9" * 64}, "wrong_model"),
    "for another purpose": ({"purpose": Purpose.PRETRAINING}, "wrong_purpose"),
    "with too few people": ({"min_subjects": 1}, "too_few_subjects"),
}


@pytest.mark.parametrize(("changes", "code"), REPLAYS.values(), ids=REPLAYS.keys())
def test_replayed_attestation_is_refused(log, log_key, changes, code) -> None:
    envelope = sign_attestation(attestation(log, **changes), SITE)
    with pytest.raises(AttestationError) as caught:
        verify(envelope, log_key)
    assert caught.value.code == code


def test_signature_of_another_site_is_refused(log, log_key) -> None:
    other = SigningKey.from_seed("site-b/site", b"o" * 32)
    with pytest.raises(BadSignatureError):
        verify(sign_attestation(attestation(log), other), log_key)


def test_site_hides_a_withdrawal(log, log_key, registrar, clock, vault, tmp_path) -> None:
    """The site goes back to a copy of its log from before the withdrawal, and lets that grow."""
    log.append([given("anna"), given("ben")], registrar, clock)
    shutil.copytree(log.location.parent, tmp_path / "copy")  # its high-water mark as well
    copy = ConsentLog(tmp_path / "copy" / "log.sqlite", log_key, vault)
    log.append([withdrawn("ben")], registrar, clock)
    seen = open_tree_head(log.snapshot().tree_head, log_key.verifier)

    with pytest.raises(LogRolledBackError):  # the old log as it was
        verify(sign_attestation(attestation(copy), SITE), log_key, last_head=seen)
    copy.append([given("cleo")], registrar, clock)  # same size, another entry
    with pytest.raises(LogRolledBackError):
        verify(sign_attestation(attestation(copy, seen.size), SITE), log_key, last_head=seen)
    copy.append([given("dora")], registrar, clock)  # longer, but not an extension
    with pytest.raises(LogRolledBackError):
        verify(sign_attestation(attestation(copy, seen.size), SITE), log_key, last_head=seen)
    log.append([given("cleo")], registrar, clock)  # the honest log goes through
    verify(sign_attestation(attestation(log, seen.size), SITE), log_key, last_head=seen)


def test_tree_head_of_another_log_is_refused(log, log_key) -> None:
    other = SigningKey.from_seed("site-a/consent-log", b"z" * 32)
    with pytest.raises(BadSignatureError):
        verify(sign_attestation(attestation(log), SITE), other)


BAD_JSON = {
    "a key twice": b'{"a":1,"a":2}',
    "a decimal": b'{"a":1.5}',
    "not a number": b'{"a":NaN}',
    "not JSON": b"{",
    "not text": b"\xff",
}


@pytest.mark.parametrize("data", BAD_JSON.values(), ids=BAD_JSON.keys())
def test_loose_json_is_refused(data) -> None:
    with pytest.raises(MalformedError):
        parse_json(data)


def test_floats_are_never_signed() -> None:
    with pytest.raises(MalformedError):
        canonical_json({"epsilon": [0.1]})


def test_envelope_variants(log, log_key) -> None:
    envelope = json.loads(sign_attestation(attestation(log), SITE))
    loose = {**envelope, "signatures": [{"sig": envelope["signatures"][0]["sig"]}]}
    verify(json.dumps(loose).encode(), log_key)  # the key id is only a hint
    for bent in ({**envelope, "payloadType": "text/plain"}, {**envelope, "signatures": []}, []):
        with pytest.raises((MalformedError, BadSignatureError)):
            verify(json.dumps(bent).encode(), log_key)


def test_manifest_is_salted_and_free_of_order() -> None:
    assets = [(bytes([i]) * 32, i) for i in range(5)]
    root = manifest_root(assets, b"salt")
    assert manifest_root(reversed(assets), b"salt") == root
    assert manifest_root(assets, b"other") != root
    assert manifest_root(assets[:-1], b"salt") != root
    assert manifest_root([(a, i + 1) for a, i in assets], b"salt") != root
