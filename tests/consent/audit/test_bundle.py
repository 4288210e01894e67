"""An evidence bundle holds on another machine; a changed byte is named; no person is in it."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.audit.archive import ArchiveWriter, read_archive
from consent.audit.bundle import write_bundle
from consent.audit.bundle_check import verify_bundle
from consent.audit.sources import Sources
from consent.errors import BadSignatureError, BundleError, ConsentError
from consent.keys import SigningKey
from consent.model import Role
from consent.note import open_tree_head
from consent.site_events import LogNote
from tests.consent.conftest import key_of

LOG = key_of(Role.LOG).verifier


def export(site, path) -> bytes:
    sources = Sources.open(site.registry.folder)
    with path.open("wb") as file:
        write_bundle(sources, "site-a/consent-log", file)
    return path.read_bytes()


@pytest.fixture
def bundle(site, tmp_path):
    site.add("employee 0731234")
    site.add("Ben Ferrum")
    site.train(1)
    site.registry.withdraw(site.people["Ben Ferrum"])
    site.registry.append([LogNote(text="Ben Ferrum came by")], Role.DPO)
    site.train(2)
    path = tmp_path / "b.tar"
    return path, export(site, path)


def test_bundle_holds_with_nothing_but_the_key(bundle) -> None:
    found = verify_bundle(bundle[0], LOG)
    assert (found.head.size, len(found.rounds), found.flags) == (17, 2, [])


def test_equal_logs_give_equal_bytes(bundle, site, tmp_path) -> None:
    assert export(site, tmp_path / "again.tar") == bundle[1]


def test_other_tools_can_read_it(bundle) -> None:
    import tarfile

    with tarfile.open(bundle[0]) as tar:
        assert tar.getnames() == [
            "about.json", "log/00000000.entries", "log/00000000.openings", "tree-head",
        ]  # fmt: skip


def test_no_person_is_in_it(bundle, site) -> None:
    _, data = bundle
    for planted in ("employee", "0731234", "Ferrum", *site.people.values()):
        assert planted.encode() not in data
    state = site.registry.state()
    assert all(tag.encode() not in data for tag in state.tags)
    private = {k.private.private_bytes_raw() for r in Role for k in site.registry.keys.at_hand(r)}
    assert len(private) == 5
    for key in private:
        assert key not in data
        assert key.hex().encode() not in data


def test_every_changed_byte_is_found_and_named(bundle, tmp_path) -> None:
    """The tool names the member, and the entry where there is one."""
    path, data = bundle
    names = set()
    for at in range(0, len(data), 11):
        bent = bytearray(data)
        bent[at] ^= 1
        path.write_bytes(bytes(bent))
        with pytest.raises(ConsentError) as caught:
            verify_bundle(path, LOG)
        assert isinstance(caught.value, BundleError), at
        names.add(str(caught.value).split(":")[0])
    members = {"log/00000000.entries", "log/00000000.openings", "tree-head", "about.json"}
    assert members <= names
    assert {int(n.split()[1]) for n in names if n.startswith("entry ")} == set(range(17))


def members(data) -> dict[str, bytes]:
    return dict(read_archive(io.BytesIO(data)))


def packed(contents) -> bytes:
    file = io.BytesIO()
    archive = ArchiveWriter(file)
    for name in sorted(contents):
        archive.add(name, contents[name])
    archive.close()
    return file.getvalue()


def without_line(text):
    def bend(contents):
        lines = contents["log/00000000.openings"].splitlines(keepends=True)
        kept = [line for line in lines if text not in line]
        assert len(kept) < len(lines)
        contents["log/00000000.openings"] = b"".join(kept)

    return bend


def last_entry_gone(contents):
    data, at, last = contents["log/00000000.entries"], 0, 0
    while at < len(data):
        last, at = at, at + 2 + int.from_bytes(data[at : at + 2], "big")
    contents["log/00000000.entries"] = data[:last]
    without_line(b'"seq":16}')(contents)


def add(name, data):
    return lambda contents: contents.update({name: data})


LIES = {
    "an attestation is left out": (without_line(b"round.signed"), "round.signed.*is missing"),
    "a key is left out": (without_line(b'"seq":3}'), "was never added"),
    "the last entry is left out": (last_entry_gone, "signed for 17 entries; the 16"),
    "a file more": (add("log/note", b""), "does not belong here"),
    "a file after the end": (add("zoo", b""), "after the tree head"),
    "an opening of nothing": (
        lambda c: c.update({"log/00000000.openings": c["log/00000000.openings"].replace(
            b'"seq":16}', b'"seq":99}')}), "no entry 99|is missing"),
    "no tree head": (lambda c: c.pop("tree-head"), "ends before"),
}  # fmt: skip


@pytest.mark.parametrize(("bend", "message"), LIES.values(), ids=LIES.keys())
def test_well_made_lies(bundle, bend, message) -> None:
    path, data = bundle
    contents = members(data)
    assert packed(contents) == data
    bend(contents)
    path.write_bytes(packed(contents))
    with pytest.raises(BundleError, match=message):
        verify_bundle(path, LOG)


def test_bundle_of_another_key_is_refused(bundle) -> None:
    for other in (SigningKey.generate("site-a/consent-log"), SigningKey.generate("site-b/log")):
        with pytest.raises((BundleError, BadSignatureError)):
            verify_bundle(bundle[0], other.verifier)


def test_a_round_that_does_not_hold_is_named(site, tmp_path) -> None:
    site.add("anna")
    site.train(1, signed={"update": "9" * 64, "round": 5})
    path = tmp_path / "b.tar"
    export(site, path)
    with pytest.raises(BundleError, match=r"entry 10 \(round.signed\).*different values of round"):
        verify_bundle(path, LOG)


def test_a_chain_with_a_hole_is_named(site, tmp_path) -> None:
    site.add("anna")
    site.previous["run-1"] = "8" * 64
    site.train(1)
    path = tmp_path / "b.tar"
    export(site, path)
    with pytest.raises(BundleError, match="follows an attestation that is not in this log"):
        verify_bundle(path, LOG)


def cosign(site, name="union.example"):
    """Let a witness cosign the last head; return its key."""
    from consent.cosignature import Cosigner

    cosigner = Cosigner.generate(name)
    head = site.registry.snapshot().tree_head
    opened = open_tree_head(head, LOG)
    log = Sources.open(site.registry.folder).log
    log.add_cosignatures(head + cosigner.cosign(opened, 1_800_000_000), [cosigner.verifier])
    return cosigner.verifier


def test_cosignature_of_an_older_head_goes_along(site, tmp_path) -> None:
    from consent.trust import parse_policy

    site.add("anna")
    witness = cosign(site)
    site.train(1)
    path = tmp_path / "b.tar"
    data = export(site, path)
    assert "cosigned-head" in members(data)
    found = verify_bundle(path, LOG)
    asks = f"log {LOG.vkey}\nwitness w {witness.vkey}\nquorum w\n"
    trusted = parse_policy(asks).check(found.note)
    assert (trusted.head.size, found.head.size) == (10, 11)
    contents = members(data)
    at = contents["cosigned-head"].rindex(b"union.example ") + 40
    bent = bytearray(contents["cosigned-head"])
    bent[at] ^= 1
    path.write_bytes(packed({**contents, "cosigned-head": bytes(bent)}))
    with pytest.raises(ConsentError):
        parse_policy(asks).check(verify_bundle(path, LOG).note)
    other = site.registry.snapshot().tree_head.replace("\n11\n", "\n10\n").encode()
    path.write_bytes(packed({**contents, "cosigned-head": other}))
    with pytest.raises(ConsentError):
        verify_bundle(path, LOG)


def test_log_of_several_blocks(site, tmp_path) -> None:
    site.add("anna")
    site.registry.append([LogNote(text=str(i)) for i in range(600)], Role.DPO)
    site.train(1)
    path = tmp_path / "b.tar"
    export(site, path)
    assert verify_bundle(path, LOG).head.size == 611


@settings(max_examples=60)
@given(
    st.dictionaries(st.sampled_from(["a", "a/b", "a.b", "b"]), st.binary(max_size=2000)),
    st.integers(0, 1 << 30), st.integers(1, 255),
)  # fmt: skip
def test_archive_has_one_form(contents, at, flip) -> None:
    data = packed(contents)
    assert members(data) == contents
    bent = bytearray(data)
    bent[at % len(data)] ^= flip
    try:
        got = list(read_archive(io.BytesIO(bytes(bent))))
    except BundleError:
        return
    assert dict(got) != contents  # a byte of the contents: for the log's hashes to find
