import hashlib
import http.client
import shutil
import threading
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent import merkle
from consent.cosignature import ED25519, ML_DSA_44, Cosigner, open_cosigned
from consent.errors import BadSignatureError, LogDamagedError, ProofError, WitnessError
from consent.keys import SigningKey
from consent.log import ConsentLog
from consent.note import TreeHead, sign_tree_head
from consent.witness import check_equivocation, decide, make_request, parse_request
from consent.witness_client import ask_witness
from consent.witness_http import MAX_REQUEST_BYTES, WitnessServer
from consent.witness_store import Witness
from tests.consent.conftest import given as consent_given
from tests.consent.conftest import withdrawn

LOG = SigningKey.from_seed("site-a/consent-log", b"l" * 32)
COSIGNERS = [Cosigner.generate("w.example/1", kind) for kind in (ED25519, ML_DSA_44)]


class History:
    """A log in memory, which lies as it is told to."""

    def __init__(self, *salts, key=LOG):
        self.key = key
        self.node = merkle.tree_of([merkle.leaf_hash(s.encode()) for s in salts])

    def head(self, size):
        return TreeHead(self.key.name, size, merkle.root(self.node, size))

    def request(self, old, size, proof=None):
        if proof is None:
            proof = merkle.consistency_proof(self.node, old, size) if old else []
        return make_request(old, proof, sign_tree_head(self.head(size), self.key)).body()


TRUE = History(*[str(i) for i in range(20)])
FORKED = History(*[str(i) for i in range(7)], "x", *[str(i) for i in range(8, 20)])


@pytest.fixture
def witness(tmp_path):
    made = Witness(tmp_path / "w.sqlite", COSIGNERS, lambda: datetime(2026, 1, 1, tzinfo=UTC))
    made.add_log(LOG.verifier)
    made.add_checkpoint(TRUE.request(0, 5))
    made.add_checkpoint(TRUE.request(5, 10))
    return made


def status(witness, body):
    with pytest.raises(WitnessError) as caught:
        witness.add_checkpoint(body)
    return caught.value.status, caught.value.body


def test_a_log_that_grew_is_cosigned_with_every_key(witness) -> None:
    lines = witness.add_checkpoint(TRUE.request(10, 15))
    note = sign_tree_head(TRUE.head(15), LOG) + lines
    head, times = open_cosigned(note, [LOG.verifier], [c.verifier for c in COSIGNERS])
    assert head.size == 15
    assert set(times.values()) == {int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())}
    assert len(times) == 2


def test_the_same_head_is_cosigned_again(witness) -> None:
    assert witness.add_checkpoint(TRUE.request(10, 10)).count("—") == 2


GOOD = TRUE.request(10, 15)
REFUSED = {
    "an unknown log": (History("0", key=SigningKey.from_seed("b", b"b" * 32)).request(0, 1), 404),
    "another key of the same name": (
        History("0", key=SigningKey.from_seed(LOG.name, b"x" * 32)).request(0, 1), 403),
    "an edited size": (GOOD.replace(b"\n15\n", b"\n16\n"), 403),
    "a truncated log": (TRUE.request(10, 8, []), 400),
    "a truncated log that says so": (TRUE.request(8, 8), 409),
    "an old size from before": (TRUE.request(5, 15), 409),
    "a first request although it was seen": (TRUE.request(0, 15), 409),
    "an old size of the future": (TRUE.request(12, 15), 409),
    "a rewritten log of the same size": (FORKED.request(10, 10), 409),
    "a fork that grew": (FORKED.request(10, 15), 422),
    "no proof": (TRUE.request(10, 15, []), 422),
    "a proof for another size": (TRUE.request(10, 15, merkle.consistency_proof(TRUE.node, 9, 15)),
                                 422),
    "a proof for the same head": (TRUE.request(10, 10, [b"x" * 32]), 422),
    "nothing": (b"", 400),
    "no note": (b"old 10\n\n", 400),
    "a leading zero": (GOOD.replace(b"old 10", b"old 010"), 400),
    "a negative size": (GOOD.replace(b"old 10", b"old -1"), 400),
    "a short hash": (GOOD.replace(b"old 10\n", b"old 10\nAAAA\n"), 400),
    "64 proof lines": (TRUE.request(10, 15, [b"x" * 32] * 64), 400),
    "too much": (GOOD + b"x" * MAX_REQUEST_BYTES, 400),
    "not UTF-8": (GOOD + b"\xff\n", 400),
    "an overlong encoding": (GOOD.replace(b"site-a", b"site\xc0\xada"), 400),
}  # fmt: skip


@pytest.mark.parametrize(("body", "want"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(witness, body, want) -> None:
    before = witness.logs()
    got, text = status(witness, body)
    assert got == want
    if want == 409:
        assert text == "10\n"  # the size that it saw last
    assert witness.logs() == before
    witness.add_checkpoint(GOOD)  # and it goes on


def test_only_an_empty_first_log_needs_no_proof(tmp_path) -> None:
    witness = Witness(tmp_path / "w.sqlite", COSIGNERS, lambda: datetime.now(UTC))
    witness.add_log(LOG.verifier)
    assert status(witness, TRUE.request(0, 5, [b"x" * 32]))[0] == 422
    witness.add_checkpoint(TRUE.request(0, 5))


@given(st.integers(0, 20), st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_two_cosigned_heads_never_contradict_each_other(old, size, last, lies) -> None:
    """Whatever is asked, what is let through extends what was let through before."""
    history = FORKED if lies else TRUE
    proof = merkle.consistency_proof(history.node, old, size) if 0 < old <= size else []
    request = parse_request(history.request(old, size, proof))
    try:
        decide(request, history.head(size), TRUE.head(last))
    except WitnessError:
        return
    assert size >= last
    assert merkle.root(history.node, last) == merkle.root(TRUE.node, last)


def test_a_forked_log_convicts_itself(witness) -> None:
    """Two heads of one size: the pair is kept and proves the fork to anyone with the log's key."""
    for body in (FORKED.request(10, 10), FORKED.request(5, 10), FORKED.request(10, 10)):
        status(witness, body)
    evidence = witness.evidence()
    assert {(e.origin, e.size) for e in evidence} == {(LOG.name, 10)}
    assert len(evidence) == 1  # the same pair is kept once
    one, two = check_equivocation(evidence[0].note_a, evidence[0].note_b, LOG.verifier)
    assert {one.root, two.root} == {TRUE.head(10).root, FORKED.head(10).root}


def test_a_fork_below_the_last_head_convicts_the_log_as_well(witness) -> None:
    early = History("y", *[str(i) for i in range(1, 20)])
    assert status(witness, early.request(5, 5))[0] == 409
    assert [e.size for e in witness.evidence()] == [5]


def test_nobody_is_convicted_by_a_forgery(witness) -> None:
    forger = SigningKey.from_seed(LOG.name, b"x" * 32)
    status(witness, History("y", *[str(i) for i in range(9)], key=forger).request(10, 10))
    assert witness.evidence() == []
    true, other = sign_tree_head(TRUE.head(10), LOG), sign_tree_head(FORKED.head(10), forger)
    with pytest.raises(BadSignatureError):
        check_equivocation(true, other, LOG.verifier)
    for second in (true, sign_tree_head(FORKED.head(11), LOG)):  # the same head; another size
        with pytest.raises(ProofError):
            check_equivocation(true, second, LOG.verifier)


def test_a_witness_remembers_after_a_restart(witness, tmp_path) -> None:
    again = Witness(tmp_path / "w.sqlite", COSIGNERS, lambda: datetime.now(UTC))
    assert status(again, FORKED.request(0, 10)) == (409, "10\n")
    assert [(o, seen.head.size) for o, seen in again.logs()] == [(LOG.name, 10)]


def test_two_requests_at_once_never_roll_back(witness) -> None:
    sizes = list(range(11, 21))
    barrier = threading.Barrier(len(sizes))
    granted, refused = [], []

    def ask(size):
        barrier.wait()
        try:
            witness.add_checkpoint(TRUE.request(10, size))
            granted.append(size)
        except WitnessError as e:
            refused.append(e.status)

    threads = [threading.Thread(target=ask, args=(s,)) for s in sizes]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (len(granted), refused) == (1, [409] * 9)
    assert witness.logs()[0][1].head.size == granted[0]


def test_a_log_changes_its_key(witness) -> None:
    new = SigningKey.from_seed(LOG.name, b"n" * 32)
    body = make_request(10, merkle.consistency_proof(TRUE.node, 10, 12),
                        sign_tree_head(TRUE.head(12), new)).body()  # fmt: skip
    assert status(witness, body)[0] == 403
    witness.add_log(new.verifier)
    witness.add_checkpoint(body)


# --- over HTTP, with a real log ----------------------------------------------------------------


@pytest.fixture
def served(tmp_path):
    made = Witness(tmp_path / "served.sqlite", COSIGNERS[:1], lambda: datetime.now(UTC))
    made.add_log(LOG.verifier)
    server = WitnessServer(("127.0.0.1", 0), made)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", made
    server.shutdown()
    server.server_close()


def test_a_log_is_cosigned_and_remembers_it(served, log, registrar, clock) -> None:
    url, witness = served
    key = COSIGNERS[0].verifier
    assert log.cosigned_snapshot() is None
    for i in range(3):
        log.append([consent_given(f"s{i}")], registrar, clock)
        note, time_s = ask_witness(url, log.snapshot(), [LOG.verifier], key)
        assert log.add_cosignatures(note, [key]) == 1
    log.append([consent_given("later")], registrar, clock)
    cosigned = log.cosigned_snapshot()
    assert (cosigned.size, log.snapshot().size) == (5, 6)
    assert open_cosigned(cosigned.tree_head, [LOG.verifier], [key])[1] == {key: time_s}
    # the test's clock stands in the past: time is that of the last cosignature
    assert log.snapshot().last_time == datetime.fromtimestamp(time_s, UTC) > clock()
    assert witness.logs()[0][1].head.size == 5


def test_a_truncated_log_finds_no_witness(served, log, registrar, clock, vault, tmp_path) -> None:
    """A site goes back to before a withdrawal, high-water mark and all, and signs anew."""
    url, witness = served
    key = COSIGNERS[0].verifier
    log.append([consent_given("anna")], registrar, clock)
    shutil.copytree(log.location.parent, tmp_path / "old")
    log.append([withdrawn("anna"), consent_given("ben")], registrar, clock)
    ask_witness(url, log.snapshot(), [LOG.verifier], key)
    old = ConsentLog(tmp_path / "old" / "log.sqlite", LOG, vault)
    with pytest.raises(WitnessError) as caught:
        ask_witness(url, old.snapshot(), [LOG.verifier], key)
    assert caught.value.status == 409
    old.append([consent_given("cleo"), consent_given("dora")], registrar, clock)
    with pytest.raises(WitnessError):  # the same size
        ask_witness(url, old.snapshot(), [LOG.verifier], key)
    old.append([consent_given("eve")], registrar, clock)
    with pytest.raises(WitnessError) as caught:  # longer
        ask_witness(url, old.snapshot(), [LOG.verifier], key)
    assert caught.value.status == 422
    assert [e.size for e in witness.evidence()] == [5]  # two heads of five entries: convicted
    with pytest.raises(LogDamagedError, match="signed no such"):
        old.add_cosignatures(log.snapshot().tree_head, [key])


def test_a_witness_that_answers_with_another_key_is_not_believed(served, log) -> None:
    with pytest.raises(BadSignatureError):
        ask_witness(served[0], log.snapshot(), [LOG.verifier], COSIGNERS[1].verifier)


def test_monitors_fetch_the_last_head(served, log) -> None:
    url, _ = served
    ask_witness(url, log.snapshot(), [LOG.verifier], COSIGNERS[0].verifier)
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    name = hashlib.sha256(LOG.name.encode()).hexdigest()
    for path, want in ((f"/{name}/checkpoint", 200), ("/zz/checkpoint", 404), ("/", 404)):
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == want
    connection.request("GET", f"/{name}/checkpoint")
    assert connection.getresponse().read().decode() == log.snapshot().tree_head
    assert text


ODD_REQUESTS = {
    "too large": ("POST", "/add-checkpoint", {"Content-Length": "999999"}, 413),
    "very large": ("POST", "/add-checkpoint", {"Content-Length": "9" * 5000}, 413),
    "no length": ("POST", "/add-checkpoint", {}, 411),
    "a negative length": ("POST", "/add-checkpoint", {"Content-Length": "-1"}, 411),
    "another page": ("POST", "/add", {"Content-Length": "1"}, 404),
    "another method": ("PUT", "/add-checkpoint", {"Content-Length": "1"}, 501),
}


@pytest.mark.parametrize(
    ("method", "path", "headers", "want"), ODD_REQUESTS.values(), ids=ODD_REQUESTS
)
def test_odd_requests_are_turned_away_unread(served, method, path, headers, want) -> None:
    connection = http.client.HTTPConnection(served[0].removeprefix("http://"), timeout=5)
    connection.putrequest(method, path)
    for header in headers.items():
        connection.putheader(*header)
    connection.endheaders()
    assert connection.getresponse().status == want


def test_nothing_is_written_to_the_terminal(served, log, capfd) -> None:
    ask_witness(served[0], log.snapshot(), [LOG.verifier], COSIGNERS[0].verifier)
    assert capfd.readouterr() == ("", "")
