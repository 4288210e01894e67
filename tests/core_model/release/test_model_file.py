"""A model that was changed, swapped or comes from nobody known is refused before it runs."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from consent.keys import SigningKey, VerifierKey
from consent.note import open_note as consent_opens
from core_model.predictor import Predictor
from core_model.release.card import CARD_KEY
from core_model.release.graph import with_metadata
from core_model.release.model_file import ModelFileError, read_model, signature_path, write_model
from core_model.release.onnx_scan import NotOnnxError, check_alone, metadata_of
from core_model.release.runtime import Runtime, RuntimeRefusedError
from core_model.release.signature import (
    PublicKey,
    SignatureError,
    new_key,
    open_note,
    read_public_keys,
    sign_note,
)
from tests.core_model.released import release_bytes


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return release_bytes(tmp_path_factory.getbasetemp())


@pytest.fixture
def signed(tmp_path, content):
    """A signed model, and the key of whoever signed it."""
    key = new_key("lab.example/models", tmp_path / "lab.key")
    write_model(tmp_path / "m.onnx", content, tmp_path / "lab.key")
    return tmp_path / "m.onnx", key


def test_a_signed_model_is_read_and_names_its_signer(signed) -> None:
    path, key = signed
    model = read_model(path, [key])
    assert model.signer == "lab.example/models"
    assert model.card.precision == "fp32"


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def swap(path):
    note = signature_path(path).read_text()
    (path.parent / "other").mkdir()
    other = path.parent / "other" / "m.onnx"
    write_model(other, b"another model", path.parent / "lab.key")
    signature_path(path).write_text(signature_path(other).read_text())
    assert note != signature_path(path).read_text()


def edit_note(path):
    note = signature_path(path).read_text()
    signature_path(path).write_text(note.replace("sha256 ", "sha256  "))


TAMPERED = {
    "one bit of the model is flipped": (flip, "not the file that"),
    "the signature is of another model": (swap, "not the file that"),
    "the signed text is edited": (edit_note, "does not hold"),
    "the signature is gone": (lambda p: signature_path(p).unlink(), "not signed"),
    "the signature is noise": (lambda p: signature_path(p).write_text("x\n\ny\n"), "malformed"),
    "the signature is empty": (lambda p: signature_path(p).write_text(""), "not a signed note"),
}


@pytest.mark.parametrize(("tamper", "says"), TAMPERED.values(), ids=TAMPERED.keys())
def test_tampered_models_are_refused(signed, tamper, says) -> None:
    path, key = signed
    tamper(path)
    with pytest.raises(ModelFileError, match=says):
        read_model(path, [key])


def test_a_key_that_is_not_trusted_does_not_count(signed, tmp_path) -> None:
    path, _ = signed
    other = new_key("lab.example/models", tmp_path / "other.key")  # the same name
    with pytest.raises(ModelFileError, match="not among those that you trust"):
        read_model(path, [other])
    with pytest.raises(ModelFileError, match="whom do you trust"):
        read_model(path, [])


def test_who_says_unsigned_may_use_an_unsigned_model(signed) -> None:
    path, _ = signed
    signature_path(path).unlink()
    assert read_model(path, [], may_be_unsigned=True).signer is None


def test_a_new_model_in_the_same_place_does_not_keep_the_old_signature(signed) -> None:
    path, _ = signed
    write_model(path, b"new", None)
    assert not signature_path(path).exists()


def test_a_model_whose_weights_lie_in_another_file_is_refused(content, tmp_path) -> None:
    model = onnx.load_from_string(content)
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="another file"):
        read_model(tmp_path / "m.onnx", [], may_be_unsigned=True)


def test_a_weight_in_another_file_is_found_in_constants_and_nested_graphs(content) -> None:
    hidden = TensorProto(name="w", data_location=TensorProto.EXTERNAL)
    constant = onnx.helper.make_node("Constant", [], ["c"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(hidden)
    inner = onnx.helper.make_graph([constant], "inner", [], [])
    for node in (constant, onnx.helper.make_node("If", ["c"], ["d"], then_branch=inner)):
        model = onnx.load_from_string(content)
        model.graph.node.append(node)
        with pytest.raises(NotOnnxError, match="another file"):
            check_alone(model.SerializeToString())


CARDS = {
    "no card": ({}, "no card"),
    "a card that is not JSON": ({CARD_KEY: "{"}, "damaged"),
    "a card without a purpose": ({CARD_KEY: '{"format": 1}'}, "purpose"),
}


@pytest.mark.parametrize(("metadata", "says"), CARDS.values(), ids=CARDS.keys())
def test_a_model_without_a_card_is_refused(content, tmp_path, metadata, says) -> None:
    (tmp_path / "m.onnx").write_bytes(with_metadata(content, metadata))
    with pytest.raises(ModelFileError, match=says):
        read_model(tmp_path / "m.onnx", [], may_be_unsigned=True)


def test_a_crop_recipe_of_another_version_is_refused(content, tmp_path) -> None:
    metadata = metadata_of(content)
    metadata[CARD_KEY] = metadata[CARD_KEY].replace('"version":1', '"version":9')
    (tmp_path / "m.onnx").write_bytes(with_metadata(content, metadata))
    model = read_model(tmp_path / "m.onnx", [], may_be_unsigned=True)
    with pytest.raises(ModelFileError, match="version 9"):
        Predictor(model)


def test_a_model_that_answers_with_other_aus_than_its_card_is_refused(content, tmp_path) -> None:
    metadata = metadata_of(content)
    metadata[CARD_KEY] = metadata[CARD_KEY].replace(",25,26]", ",25]").replace(',"26":0.5', "")
    (tmp_path / "m.onnx").write_bytes(with_metadata(content, metadata))
    with pytest.raises(ModelFileError, match="expected 7 numbers"):
        Predictor(read_model(tmp_path / "m.onnx", [], may_be_unsigned=True))


# --- the two writings of one format ----------------------------------------------------------


def test_consent_reads_what_core_model_signs_and_the_other_way_round(tmp_path) -> None:
    key = SigningKey.generate("site/operator")
    key.save(tmp_path / "k")
    note = sign_note("some text\nof two lines\n", tmp_path / "k")
    assert consent_opens(note, key.verifier) == "some text\nof two lines\n"
    ours = PublicKey.parse(key.verifier.vkey)
    assert open_note(note, [ours])[1].text == key.verifier.vkey == ours.text
    made_here = new_key("lab", tmp_path / "lab.key")
    assert SigningKey.load(tmp_path / "lab.key").verifier == VerifierKey.parse(made_here.text)


BAD_KEYS = ["", "x", "a+b", "a+00000000+AAAA", "a b+00000000+" + "A" * 44, "a+00000000+" + "A" * 44]


@pytest.mark.parametrize("text", BAD_KEYS)
def test_what_is_no_key_is_refused(text) -> None:
    with pytest.raises(SignatureError):
        read_public_keys(text)


def test_a_private_key_that_others_can_read_is_refused(tmp_path) -> None:
    new_key("lab", tmp_path / "k")
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600
    (tmp_path / "k").chmod(0o644)
    with pytest.raises(SignatureError, match="chmod 600"):
        sign_note("x\n", tmp_path / "k")


# --- hostile bytes ---------------------------------------------------------------------------


def mutated(content, number):
    """Return a damaged copy: bytes changed, cut, doubled or filled, mostly near the start."""
    chance = np.random.default_rng(number)
    raw = bytearray(content)
    for _ in range(chance.integers(1, 6)):
        at = int(len(raw) * chance.random() ** 3)
        size = int(chance.integers(1, 40))
        match chance.integers(0, 4):
            case 0:
                raw[at : at + size] = chance.bytes(size)
            case 1:
                del raw[at : at + size]
            case 2:
                raw[at:at] = raw[at : at + size]
            case _:
                del raw[max(at, 1) :]
    return bytes(raw)


def test_thousands_of_damaged_models_end_in_plain_errors(content) -> None:
    graphless = with_metadata(onnx.load_from_string(content).SerializeToString(), {"a": "b"})
    whole, kept = onnx.load_from_string(graphless), 0
    for tensor in whole.graph.initializer:  # few bytes: damage hits the structure
        tensor.raw_data = tensor.raw_data[:16]
    small = whole.SerializeToString()
    for number in range(2000):
        try:
            metadata_of(broken := mutated(small, number))
            check_alone(broken)
            kept += 1
        except NotOnnxError:
            pass
    assert 50 < kept < 1950


@pytest.mark.slow
def test_damaged_models_that_nobody_signed_do_not_take_the_process_down(content, tmp_path) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    code = """
import resource, sys
from pathlib import Path
from core_model.predictor import Predictor
from core_model.release.model_file import ModelFileError, read_model
from tests.core_model.release.test_model_file import mutated
content = Path(sys.argv[1]).read_bytes()
path = Path(sys.argv[1] + ".broken")
refused, before = 0, 0
for number in range(300):
    path.write_bytes(mutated(content, number))
    try:
        Predictor(read_model(path, [], may_be_unsigned=True))
    except ModelFileError:
        refused += 1
    if number == 50:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(refused, grown // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.onnx")], capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    refused, grown_mib = map(int, done.stdout.split())
    assert refused > 150
    assert grown_mib < 60


def test_a_fault_that_the_runtime_tells_in_bytes_that_are_no_text_is_a_plain_error(content) -> None:
    with pytest.raises(RuntimeRefusedError, match="not a model that can run"):
        Runtime(content.replace(b"Conv", b"Co\xffv"))
