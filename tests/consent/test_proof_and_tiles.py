import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from consent import merkle
from consent.cosignature import Cosigner
from consent.errors import BadSignatureError, ConsentError, LogDamagedError, ProofError
from consent.keys import SigningKey
from consent.note import TreeHead, open_tree_head, sign_tree_head
from consent.proof_file import TlogProof, make_proof, parse_proof
from consent.site_events import LogNote
from consent.tiles import export_tiles, read_bundle, tile_path, tiles_of, verify_tiles
from consent.trust import TrustPolicy, parse_policy
from tests.consent.conftest import given, make_log

WITNESS = Cosigner.generate("w.example")


def trusting(log_key, quorum="none"):
    return parse_policy(
        f"log {log_key.verifier.vkey}\nwitness w {WITNESS.verifier.vkey}\nquorum {quorum}\n"
    )


def cosigned(log, log_key):
    head = open_tree_head(log.snapshot().tree_head, log_key.verifier)
    note = log.snapshot().tree_head + WITNESS.cosign(head, 1_767_225_600)
    assert log.add_cosignatures(note, [WITNESS.verifier]) == 1


def test_a_subject_checks_a_proof_offline(log, log_key, registrar, clock) -> None:
    log.append([given(f"s{i}") for i in range(11)], registrar, clock)
    cosigned(log, log_key)
    snapshot = log.cosigned_snapshot()
    for index in range(13):
        proof = parse_proof(make_proof(snapshot, index).text())
        found = proof.check(snapshot.entry(index), trusting(log_key, "w"))
        assert found.head.size == 13


def test_receipt_without_inclusion_is_invalid(log, log_key, registrar, clock) -> None:
    """No entry, another entry, another index, no cosignature, another log: all are invalid."""
    log.append([given(f"s{i}") for i in range(6)], registrar, clock)
    snapshot = log.snapshot()
    policy = trusting(log_key)
    proof = make_proof(snapshot, 5)
    proof.check(snapshot.entry(5), policy)
    entry = snapshot.entry(5)
    lies = {
        "an entry that is not in the log": (proof, entry.replace(b'"seq":5', b'"seq":6')),
        "the entry beside it": (proof, snapshot.entry(4)),
        "the path of another entry": (
            TlogProof(5, make_proof(snapshot, 4).path, proof.tree_head),
            entry,
        ),
        "another index": (TlogProof(4, proof.path, proof.tree_head), entry),
        "no path": (TlogProof(5, (), proof.tree_head), entry),
        "an index beyond the log": (TlogProof(8, proof.path, proof.tree_head), entry),
    }
    for lie, what in lies.values():
        with pytest.raises(ProofError):
            lie.check(what, policy)
    with pytest.raises(BadSignatureError, match="quorum"):  # nobody but the site vouches for it
        proof.check(entry, trusting(log_key, "w"))
    with pytest.raises(BadSignatureError):
        proof.check(entry, trusting(SigningKey.from_seed(log_key.name, b"z" * 32)))
    cosigned(log, log_key)
    make_proof(log.cosigned_snapshot(), 5).check(entry, trusting(log_key, "w"))


PROOF = TlogProof(5, (b"a" * 32, b"b" * 32), "o\n9\n" + "A" * 43 + "=\n\n— k AAAAAAA=\n", b"extra")


@pytest.mark.parametrize("extra", [None, b"", b"more"])
def test_the_file_round_trips(extra) -> None:
    proof = TlogProof(PROOF.index, PROOF.path, PROOF.tree_head, extra)
    assert parse_proof(proof.text()) == proof


BENT = {
    "nothing": "",
    "another title": PROOF.text().replace("@v1", "@v2"),
    "no index": PROOF.text().replace("index 5\n", ""),
    "a leading zero": PROOF.text().replace("index 5", "index 05"),
    "a negative index": PROOF.text().replace("index 5", "index -5"),
    "extra twice": PROOF.text().replace("index 5", "extra AAAA\nindex 5"),
    "extra after the index": PROOF.text().replace("index 5\n", "index 5\nextra AAAA\n"),
    "a short hash": PROOF.text().replace("index 5\n", "index 5\nAAAA\n"),
    "64 hashes": TlogProof(5, (b"a" * 32,) * 64, PROOF.tree_head).text(),
    "carriage returns": PROOF.text().replace("\n", "\r\n"),
    "too long": PROOF.text() + "x" * 1_200_000,
}


@pytest.mark.parametrize("text", BENT.values(), ids=BENT.keys())
def test_bent_proofs_are_refused(text) -> None:
    with pytest.raises(ConsentError):
        parse_proof(text)


KEY = SigningKey.from_seed("site-a/consent-log", b"k" * 32)
ENTRIES = [b"entry %d" % i for i in range(40)]
NODE = merkle.tree_of([merkle.leaf_hash(e) for e in ENTRIES])
POLICY = TrustPolicy((KEY.verifier,), {}, {}, None)


@hypothesis_given(st.data())
def test_no_changed_byte_of_a_proof_passes_for_another_claim(data) -> None:
    """Any change of one character is refused, or proves the very same thing."""
    size = data.draw(st.integers(1, 40))
    index = data.draw(st.integers(0, size - 1))
    note = sign_tree_head(TreeHead(KEY.name, size, merkle.root(NODE, size)), KEY)
    proof = TlogProof(index, tuple(merkle.inclusion_proof(NODE, index, size)), note)
    text = proof.text()
    at = data.draw(st.integers(0, len(text) - 1))
    bent = text[:at] + data.draw(st.characters(codec="utf-8")) + text[at + 1 :]
    try:
        got = parse_proof(bent)
        got.check(ENTRIES[index], POLICY)
    except ConsentError:
        return
    assert (got.index, got.path) == (index, proof.path)


# --- tiles --------------------------------------------------------------------------------------


def test_names_of_tiles() -> None:
    assert tile_path(0, 1_234_067, 256) == "tile/0/x001/x234/067"
    assert tile_path(None, 5, 112) == "tile/entries/005.p/112"
    assert tile_path(1, 1_000, 256) == "tile/1/x001/000"


def test_the_example_of_the_specification() -> None:
    tiles = [t for t in tiles_of(70_000) if t[0] is not None]
    assert sum(t[0] == 0 and t[2] == 256 for t in tiles) == 273
    assert [t for t in tiles if t[2] != 256] == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    assert sum(t[0] == 1 and t[2] == 256 for t in tiles) == 1
    assert [t for t in tiles_of(256) if t[0] is not None] == [(0, 0, 256), (1, 0, 1)]
    assert list(tiles_of(0)) == []


@pytest.fixture
def exported(log, log_key, registrar, clock, tmp_path):
    log.append([LogNote(text=str(i)) for i in range(600)], registrar, clock)
    folder = tmp_path / "tiles"
    export_tiles(log.snapshot(), folder)
    return folder


def test_an_exported_log_verifies_and_grows(exported, log, log_key, registrar, clock) -> None:
    policy = trusting(log_key)
    assert verify_tiles(exported, policy).head.size == 602
    assert read_bundle(exported, 2, 90)[-1] == log.snapshot().entry(601)
    log.append([LogNote(text="more")] * 300, registrar, clock)
    before = (exported / "tile/0/000").stat().st_mtime_ns
    export_tiles(log.snapshot(), exported)
    assert (exported / "tile/0/000").stat().st_mtime_ns == before  # a full tile never changes
    assert verify_tiles(exported, policy).head.size == 902
    with pytest.raises(BadSignatureError, match="quorum"):
        verify_tiles(exported, trusting(log_key, "w"))


def test_a_tile_tells_nothing_about_people(log, registrar, clock, tmp_path) -> None:
    log.append([given("anna")], registrar, clock)
    export_tiles(log.snapshot(), tmp_path / "tiles")
    files = [p for p in (tmp_path / "tiles").rglob("*") if p.is_file()]
    assert len(files) == 3
    assert not any(b"anna" in p.read_bytes() for p in files)


FILES = ["tile/0/000", "tile/0/002.p/90", "tile/1/000.p/2", "tile/entries/001",
         "tile/entries/002.p/90", "checkpoint"]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["changed", "cut", "longer", "gone"])
def test_a_damaged_folder_is_named(exported, log_key, name, how) -> None:
    path = exported / name
    data = path.read_bytes()
    bent = {"changed": data[:40] + bytes([data[40] ^ 1]) + data[41:], "cut": data[:-1],
            "longer": data + b"x", "gone": b""}[how]  # fmt: skip
    path.write_bytes(bent)
    if how == "gone":
        path.unlink()
    with pytest.raises(ConsentError) as caught:
        verify_tiles(exported, trusting(log_key))
    if name != "checkpoint" and "entries" not in name:
        assert isinstance(caught.value, LogDamagedError)
        assert name in str(caught.value)


def test_tiles_of_another_log_are_not_extended_in_silence(
    exported, log_key, registrar, vault, clock, tmp_path
) -> None:
    other = make_log(tmp_path / "other" / "log.sqlite", log_key, registrar, vault, clock)
    other.append([LogNote(text="x")] * 700, registrar, clock)
    with pytest.raises(LogDamagedError):
        export_tiles(other.snapshot(), exported)


def test_another_mans_checkpoint_beside_our_tiles(exported, log_key) -> None:
    forged = sign_tree_head(TreeHead(log_key.name, 602, b"x" * 32), log_key)
    (exported / "checkpoint").write_text(forged)
    with pytest.raises(LogDamagedError, match="not those of its tree head"):
        verify_tiles(exported, trusting(log_key))
