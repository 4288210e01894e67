import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.errors import BadSignatureError, ConsentError, KeyFileError, MalformedError
from consent.keys import SigningKey, VerifierKey
from consent.note import TreeHead, open_note, open_tree_head, sign_tree_head, signature_line

# Published vectors: Go's sumdb/note and the C2SP specification.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6"
    "KE6RyyBwJnAM=\n"
)
C2SP_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONnc"
    "AlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
KEY = SigningKey.from_seed("site-a/consent-log", b"k" * 32)
HEAD = TreeHead("site-a/consent-log", 7, b"r" * 32)


@pytest.mark.parametrize(("key", "note"), [(GO_KEY, GO_NOTE), (C2SP_KEY, C2SP_NOTE)])
def test_published_notes_open(key, note) -> None:
    verifier = VerifierKey.parse(key)
    assert verifier.vkey == key
    assert note.startswith(open_note(note, verifier))


def test_published_signature_is_reproduced_byte_for_byte() -> None:
    seed = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
    key = SigningKey.from_seed("PeterNeumann", seed)
    assert key.verifier.vkey == GO_KEY
    text = GO_NOTE.split("\n\n")[0] + "\n"
    signature = base64.b64encode(key.verifier.key_id + key.sign(text.encode())).decode()
    assert GO_NOTE.endswith(f"— PeterNeumann {signature}\n")


def test_tree_head_round_trip() -> None:
    assert open_tree_head(sign_tree_head(HEAD, KEY), KEY.verifier) == HEAD


def signed(text, key=KEY):
    """A note whose signature is true, whatever its text."""
    return f"{text}\n{signature_line(key.name, key.verifier.key_id + key.sign(text.encode()))}"


GOOD = sign_tree_head(HEAD, KEY)
ROOT = base64.b64encode(HEAD.root).decode()
SHORT_ROOT = base64.b64encode(b"r" * 31).decode()
LINE = GOOD.split("\n\n")[1]
OTHER = SigningKey.from_seed(KEY.name, b"y" * 32)
STRANGER = signature_line("stranger", b"abcdefgh")
BAD_SECOND = signature_line(OTHER.name, OTHER.verifier.key_id + KEY.sign(b"something else"))
HOSTILE = {
    "another size": GOOD.replace("\n7\n", "\n8\n"),
    "a leading zero": GOOD.replace("\n7\n", "\n07\n"),
    "carriage returns": GOOD.replace("\n", "\r\n"),
    "no signature": GOOD.split("\n\n")[0] + "\n",
    "nothing": "",
    "a control character": GOOD.replace("site-a", "site\x01a"),
    "a signature line of four bytes": GOOD.rsplit(" ", 1)[0] + " AAAAAA==\n",
    "no last line feed": GOOD.removesuffix("\n"),
    "too long": GOOD + "x" * 1_000_000,
    "two blank lines": GOOD.replace("\n\n", "\n\n\n"),
    "a blank line between signatures": GOOD + "\n" + LINE,
    "a blank line at the end": GOOD + "\n",
    "no blank line": GOOD.replace("\n\n", "\n"),
    "more than a hundred signatures": GOOD + STRANGER * 100,
    "base64 without padding": GOOD.replace("=\n", "\n", 1),
    "base64 with bits left over": GOOD.replace("=\n", "=\n").replace(ROOT, ROOT[:-2] + "J="),
    "a signature in base64 of the web": GOOD[:-20] + "-" + GOOD[-19:],
    "a line without a name": GOOD + "—  AAAAAAA=\n",
    "a line with a hyphen for the dash": GOOD.replace("— ", "- "),
    "a name with a plus": GOOD + LINE.replace("site-a", "site+a"),
    "a name with a no-break space": GOOD + LINE.replace("site-a", "site\u00a0a"),
    "a name with an ideographic space": GOOD + LINE.replace("site-a", "site\u3000a"),
    "a tab after the name": GOOD + LINE.replace("log ", "log\t"),
    "three words in a line": GOOD.removesuffix("\n") + " x\n",
    "an empty signature": GOOD.rsplit(" ", 1)[0] + " \n",
    "our key id under another name": GOOD.replace("— site-a", "— site-b"),
    "a true signature and a false one by another key of ours": GOOD + BAD_SECOND,
    "a size of 2**63": signed("site-a/consent-log\n9223372036854775808\n" + ROOT + "\n"),
    "a size of twenty digits": signed("site-a/consent-log\n" + "9" * 20 + "\n" + ROOT + "\n"),
    "a negative size": signed("site-a/consent-log\n-7\n" + ROOT + "\n"),
    "a size with a sign": signed("site-a/consent-log\n+7\n" + ROOT + "\n"),
    "a size in other digits": signed("site-a/consent-log\n７\n" + ROOT + "\n"),
    "an empty name of the log": signed("\n7\n" + ROOT + "\n"),
    "a root of 31 bytes": signed(
        "site-a/consent-log\n7\n" + base64.b64encode(b"r" * 31).decode() + "\n"
    ),
    "an extension line": signed("site-a/consent-log\n7\n" + ROOT + "\nmore\n"),
    "two lines": signed("site-a/consent-log\n7\n"),
    "a half of a character": GOOD.replace("site-a", "site\ud800a"),
    "signed by another key of the same name": sign_tree_head(
        HEAD, SigningKey.from_seed(KEY.name, b"x" * 32)
    ),
    "a head of another log, signed with our key": sign_tree_head(
        TreeHead("site-b/consent-log", 7, b"r" * 32), KEY
    ),
}


@pytest.mark.parametrize("note", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_notes_are_refused(note) -> None:
    """What Go's ``note.Open`` refuses, and what is no tree head though it is signed."""
    with pytest.raises((MalformedError, BadSignatureError)):
        open_tree_head(note, KEY.verifier, OTHER.verifier)


ALLOWED = {
    "signatures of strangers": GOOD + STRANGER * 99,
    "strangers first": GOOD.replace(LINE, STRANGER * 17 + LINE),
    "our signature twice": GOOD + LINE,
    "our first signature counts, as in Go": GOOD + signature_line(
        KEY.name, KEY.verifier.key_id + b"x" * 64),
    "two keys of ours": sign_tree_head(HEAD, KEY, OTHER),
    "one key of ours and a stranger of the same name": GOOD + signature_line(
        KEY.name, b"zzzz" + b"x" * 64),
}  # fmt: skip


@pytest.mark.parametrize("note", ALLOWED.values(), ids=ALLOWED.keys())
def test_what_a_note_may_hold(note) -> None:
    assert open_tree_head(note, KEY.verifier, OTHER.verifier) == HEAD


def test_bytes_that_are_not_utf_8_are_no_note() -> None:
    """An overlong slash; a note comes as text, so it is refused where bytes are read."""
    with pytest.raises(UnicodeDecodeError):
        GOOD.encode().replace(b"/", b"\xc0\xaf").decode()


def test_the_largest_size_is_read() -> None:
    head = TreeHead(KEY.name, 2**63 - 1, b"r" * 32)
    assert open_tree_head(sign_tree_head(head, KEY), KEY.verifier) == head


def test_a_head_needs_a_key() -> None:
    with pytest.raises(BadSignatureError):
        open_tree_head(GOOD)


@given(at=st.integers(0, len(GOOD) - 1), char=st.characters(codec="utf-8"))
def test_any_changed_character_is_refused(at, char) -> None:
    bent = GOOD[:at] + char + GOOD[at + 1 :]
    if bent != GOOD:
        with pytest.raises(ConsentError):
            open_tree_head(bent, KEY.verifier)


@given(at=st.integers(0, len(GO_KEY) - 1), char=st.characters(codec="ascii"))
def test_any_changed_verifier_key_is_refused(at, char) -> None:
    bent = GO_KEY[:at] + char + GO_KEY[at + 1 :]
    if bent != GO_KEY:
        with pytest.raises(MalformedError):
            VerifierKey.parse(bent)


@given(st.integers(0, len(GO_KEY) - 1), st.integers(1, len(GO_KEY)))
def test_no_part_of_a_verifier_key_is_one(start, length) -> None:
    part = GO_KEY[start : start + length]
    if part != GO_KEY:
        with pytest.raises(MalformedError):
            VerifierKey.parse(part)


BAD_KEYS = {
    "a short key": "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
    "an unknown type": "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    "a longer key": GO_KEY + "AAAA",
}


@pytest.mark.parametrize("vkey", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_bad_verifier_keys_of_go_are_refused(vkey) -> None:
    with pytest.raises(MalformedError):
        VerifierKey.parse(vkey)


def test_the_key_of_sum_golang_org_is_read() -> None:
    vkey = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    assert VerifierKey.parse(vkey).vkey == vkey


def test_key_files(tmp_path) -> None:
    path = tmp_path / "site.key"
    KEY.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load(path).verifier == KEY.verifier
    with pytest.raises(KeyFileError, match="never overwritten"):
        KEY.save(path)
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        SigningKey.load(path)
    assert "private" not in repr(KEY)
