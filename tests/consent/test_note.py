import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.errors import BadSignatureError, ConsentError, KeyFileError, MalformedError
from consent.keys import SigningKey, VerifierKey
from consent.note import TreeHead, open_note, open_tree_head, sign_tree_head

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


GOOD = sign_tree_head(HEAD, KEY)
HOSTILE = {
    "another size": GOOD.replace("\n7\n", "\n8\n"),
    "a leading zero": GOOD.replace("\n7\n", "\n07\n"),
    "carriage returns": GOOD.replace("\n", "\r\n"),
    "no signature": GOOD.split("\n\n")[0] + "\n",
    "nothing": "",
    "a control character": GOOD.replace("site-a", "site\x01a"),
    "a signature line of four bytes": GOOD.rsplit(" ", 1)[0] + " AAAAAA==\n",
    "no last line feed": GOOD.removesuffix("\n"),
    "too long": GOOD + "x" * 200_000,
    "signed by another key of the same name": sign_tree_head(
        HEAD, SigningKey.from_seed(KEY.name, b"x" * 32)
    ),
    "a head of another log, signed with our key": sign_tree_head(
        TreeHead("site-b/consent-log", 7, b"r" * 32), KEY
    ),
}


@pytest.mark.parametrize("note", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_notes_are_refused(note) -> None:
    with pytest.raises((MalformedError, BadSignatureError)):
        open_tree_head(note, KEY.verifier)


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
