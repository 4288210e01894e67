import base64
import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.cosignature import ED25519, ML_DSA_44, Cosigner, WitnessKey, open_cosigned
from consent.errors import BadSignatureError, KeyFileError, MalformedError
from consent.keys import SigningKey
from consent.note import TreeHead, sign_tree_head, signature_line

KEY = SigningKey.from_seed("site-a/consent-log", b"k" * 32)
HEAD = TreeHead(KEY.name, 7, b"r" * 32)
NOTE = sign_tree_head(HEAD, KEY)
COSIGNERS = {kind: Cosigner.generate(f"witness.example/{kind}", kind) for kind in (4, 6)}

# The example of C2SP tlog-cosignature; the witness's public key is not published, its form is.
C2SP_LINE = (
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBk"
    "BIfZ+qnA=="
)


def test_the_published_line_has_our_layout() -> None:
    raw = base64.b64decode(C2SP_LINE)
    assert len(raw) == 4 + 8 + 64
    assert struct.unpack(">Q", raw[4:12]) == (1679315147,)  # "time 1679315147" in its text


@pytest.mark.parametrize("kind", [ED25519, ML_DSA_44])
def test_a_cosigned_head_opens(kind) -> None:
    cosigner = COSIGNERS[kind]
    note = NOTE + cosigner.cosign(HEAD, 1_700_000_000)
    head, times = open_cosigned(note, [KEY.verifier], [c.verifier for c in COSIGNERS.values()])
    assert (head, times) == (HEAD, {cosigner.verifier: 1_700_000_000})
    assert WitnessKey.parse(cosigner.verifier.vkey) == cosigner.verifier


def test_what_is_signed_is_what_the_specification_says() -> None:
    line = COSIGNERS[ED25519].cosign(HEAD, 1_679_315_147)
    blob = base64.b64decode(line.split(" ")[2])
    message = b"cosignature/v1\ntime 1679315147\n" + HEAD.text().encode()
    COSIGNERS[ED25519].private.public_key().verify(blob[12:], message)

    cosigner = COSIGNERS[ML_DSA_44]
    blob = base64.b64decode(cosigner.cosign(HEAD, 1_679_315_147).split(" ")[2])
    assert len(blob) == 2_432
    name, origin = b"witness.example/6", b"site-a/consent-log"
    message = (
        b"subtree/v1\n\0"
        + bytes([len(name)]) + name
        + struct.pack(">Q", 1_679_315_147)
        + bytes([len(origin)]) + origin
        + struct.pack(">QQ", 0, 7)
        + b"r" * 32
    )  # fmt: skip
    cosigner.private.public_key().verify(blob[12:], message)


def test_key_ids_follow_the_specification() -> None:
    for kind, cosigner in COSIGNERS.items():
        key = cosigner.verifier
        text = key.name.encode() + b"\n" + bytes([kind]) + key.public
        assert key.key_id == hashlib.sha256(text).digest()[:4]


@pytest.mark.parametrize("kind", [ED25519, ML_DSA_44])
@given(data=st.data())
def test_no_cosignature_holds_for_anything_else(kind, data) -> None:
    cosigner = COSIGNERS[kind]
    raw = base64.b64decode(cosigner.cosign(HEAD, 1_700_000_000).split(" ")[2])
    at = data.draw(st.integers(4, len(raw) - 1))  # the time is signed as well
    bent = raw[:at] + bytes([raw[at] ^ data.draw(st.integers(1, 255))]) + raw[at + 1 :]
    for line in (signature_line(cosigner.name, bent), signature_line(cosigner.name, raw[:-1])):
        with pytest.raises(BadSignatureError):
            open_cosigned(NOTE + line, [KEY.verifier], [cosigner.verifier])


@pytest.mark.parametrize(
    "other", [TreeHead(KEY.name, 8, b"r" * 32), TreeHead(KEY.name, 7, b"s" * 32)]
)
@pytest.mark.parametrize("kind", [ED25519, ML_DSA_44])
def test_a_cosignature_is_of_one_head(kind, other) -> None:
    note = sign_tree_head(other, KEY) + COSIGNERS[kind].cosign(HEAD, 1_700_000_000)
    with pytest.raises(BadSignatureError):
        open_cosigned(note, [KEY.verifier], [COSIGNERS[kind].verifier])


def test_a_cosignature_does_not_stand_for_the_log() -> None:
    text = NOTE.split("\n\n")[0] + "\n\n"
    with pytest.raises(BadSignatureError):
        open_cosigned(
            text + COSIGNERS[ED25519].cosign(HEAD, 1), [KEY.verifier], [COSIGNERS[ED25519].verifier]
        )


@pytest.mark.parametrize("kind", [ED25519, ML_DSA_44])
def test_key_files(tmp_path, kind) -> None:
    COSIGNERS[kind].save(tmp_path / "w.key")
    assert Cosigner.load(tmp_path / "w.key").verifier == COSIGNERS[kind].verifier
    assert "private" not in repr(COSIGNERS[kind])
    if kind == ML_DSA_44:
        with pytest.raises(KeyFileError):
            SigningKey.load(tmp_path / "w.key")


BAD_KEYS = {
    "a log's key": KEY.verifier.vkey,
    "cut": COSIGNERS[ML_DSA_44].verifier.vkey[:-4],
    "another key id": COSIGNERS[ED25519].verifier.vkey.replace("+", "+0", 1),
    "nothing": "",
}


@pytest.mark.parametrize("vkey", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_bad_witness_keys_are_refused(vkey) -> None:
    with pytest.raises(MalformedError):
        WitnessKey.parse(vkey)
