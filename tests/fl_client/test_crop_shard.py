"""The file of face crops: what is written is read, and nothing else passes for it."""

from __future__ import annotations

import stat

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consent.errors import KeyFileError
from core_model.data.face import Face
from fl_client.crop_cache import CropKeys
from fl_client.crop_shard import MAGIC, Header, Shard, ShardWriter, read_header, shard_bytes
from fl_client.errors import CropCacheError

KEY = bytes(range(32))
HEADER = Header(asset="ab" * 32, recipe="aligned5.v1.8", size=8, per_chunk=4)
FACE = Face(np.arange(4, dtype=np.float32), np.ones((5, 2), np.float32), 0.9)


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def write(path, numbers, header=HEADER, key=KEY):
    writer = ShardWriter(path, header, key)
    for number, image in zip(numbers, crops(len(numbers)), strict=True):
        writer.add(number, image, FACE, (64, 48))
    writer.finish()
    return path


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(numbers=st.sets(st.integers(1, 500), min_size=1, max_size=30), data=st.data())
def test_any_frames_are_read_in_any_order(tmp_path_factory, numbers, data) -> None:
    path = write(tmp_path_factory.mktemp("s") / "a.crops", sorted(numbers))
    order = data.draw(st.lists(st.sampled_from(sorted(numbers)), max_size=10))
    shard = Shard(path, KEY)
    want = dict(zip(sorted(numbers), crops(len(numbers)), strict=True))
    assert shard.numbers == sorted(numbers)
    for number, image in zip(order, shard.read(order), strict=True):
        assert np.array_equal(image, want[number])
    assert shard.facts[:, 14].tolist() == [pytest.approx(0.9)] * len(numbers)
    assert path.stat().st_size <= shard_bytes(8, len(numbers)) + 28 * len(numbers)
    shard.close()


def test_no_pixel_and_no_frame_number_lies_open(tmp_path) -> None:
    path = write(tmp_path / "a.crops", [7, 8, 9, 10, 11])
    raw = path.read_bytes()
    assert raw.startswith(MAGIC)
    assert all(image.tobytes()[:16] not in raw for image in crops(5))
    assert np.asarray([7, 8, 9, 10, 11], "<i8").tobytes() not in raw
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_changed_byte_is_noticed_wherever_it_is(tmp_path_factory, data) -> None:
    path = write(tmp_path_factory.mktemp("s") / "a.crops", [1, 2, 3, 4, 5, 6])
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    with pytest.raises(CropCacheError):
        list(Shard(path, KEY).read([1, 2, 3, 4, 5, 6]))


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(share=st.floats(0, 0.999))
def test_a_file_that_was_cut_off_is_noticed(tmp_path_factory, share) -> None:
    path = write(tmp_path_factory.mktemp("s") / "a.crops", [1, 2, 3, 4, 5])
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CropCacheError):
        list(Shard(path, KEY).read([1, 2, 3, 4, 5]))


def test_a_part_of_another_recording_does_not_fit(tmp_path) -> None:
    other = HEADER.model_copy(update={"asset": "cd" * 32})
    a, b = write(tmp_path / "a.crops", range(1, 5)), write(tmp_path / "b.crops", range(1, 5), other)
    start = len(HEADER.packed())
    full = 28 + 4 * HEADER.crop_bytes
    raw = bytearray(a.read_bytes())
    raw[start : start + full] = b.read_bytes()[start : start + full]
    a.write_bytes(raw)
    with pytest.raises(CropCacheError, match="damaged, or of another key"):
        list(Shard(a, KEY).read([1]))


def test_chunks_cannot_change_places(tmp_path) -> None:
    path = write(tmp_path / "a.crops", range(1, 9))
    start, full = len(HEADER.packed()), 28 + 4 * HEADER.crop_bytes
    raw = path.read_bytes()
    first, second = raw[start : start + full], raw[start + full : start + 2 * full]
    path.write_bytes(raw[:start] + second + first + raw[start + 2 * full :])
    with pytest.raises(CropCacheError, match="damaged"):
        list(Shard(path, KEY).read([1]))


def test_another_key_opens_nothing(tmp_path) -> None:
    path = write(tmp_path / "a.crops", [1])
    assert read_header(path) == HEADER
    with pytest.raises(CropCacheError, match="of another key"):
        Shard(path, AESGCM.generate_key(256))


def test_a_frame_that_is_not_there_is_named(tmp_path) -> None:
    shard = Shard(write(tmp_path / "a.crops", [1, 3]), KEY)
    with pytest.raises(CropCacheError, match="holds no frame 2"):
        next(shard.read([2]))


@pytest.mark.parametrize("text", [b"", b"PNG", MAGIC + b"\xff\xff\xff\xff", MAGIC + b"\2\0\0\0{}"])
def test_what_is_no_such_file_is_refused(tmp_path, text) -> None:
    (tmp_path / "a.crops").write_bytes(text)
    with pytest.raises(CropCacheError, match="ingest again"):
        read_header(tmp_path / "a.crops")


def test_keys_are_private_and_their_names_tell_nobody(tmp_path) -> None:
    keys = CropKeys(tmp_path / "crops")
    key = keys.make("p-secret")
    assert keys.make("p-secret") == keys.key("p-secret") == key
    assert keys.make("another") != key
    paths = sorted((tmp_path / "crops").iterdir())
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in paths)
    assert not any("secret" in p.name for p in paths)
    for path in paths:
        path.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        keys.key("p-secret")


def test_a_destroyed_key_is_gone(tmp_path) -> None:
    keys = CropKeys(tmp_path)
    keys.make("p1")
    assert keys.destroy("p1")
    assert not keys.destroy("p1")
    with pytest.raises(CropCacheError, match="was purged"):
        keys.key("p1")
