"""Frames by number: every frame carries its own number in its pixels, so a wrong one shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core_model.data.video import VideoError, frames, image_files, is_steady, num_frames

NUM_FRAMES = 300
BITS = 9
FORMATS = {"Motion JPEG": ("MJPG", "avi"), "MPEG-4 in AVI": ("XVID", "avi"), "MP4": ("mp4v", "mp4")}


def numbered(number: int) -> np.ndarray:
    image = np.full((96, 96, 3), 128, np.uint8)
    for bit in range(BITS):
        image[:, bit * 10 : bit * 10 + 10] = 230 if number >> bit & 1 else 20
    return image


def read_number(image: np.ndarray) -> int:
    stripes = [image[:, bit * 10 + 3 : bit * 10 + 7].mean() > 128 for bit in range(BITS)]
    return sum(1 << bit for bit, is_set in enumerate(stripes) if is_set)


def write_video(path: Path, codec: str, count: int = NUM_FRAMES) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25, (96, 96))
    for number in range(1, count + 1):
        writer.write(numbered(number))
    writer.release()
    return path


@pytest.fixture(scope="module", params=FORMATS.values(), ids=FORMATS.keys())
def video(request, tmp_path_factory) -> Path:
    codec, ending = request.param
    return write_video(tmp_path_factory.mktemp("video") / f"film.{ending}", codec)


def test_all_frames_come_in_order(video) -> None:
    assert num_frames(video) == NUM_FRAMES
    assert [(n, read_number(i)) for n, i in frames(video)] == [
        (n, n) for n in range(1, NUM_FRAMES + 1)
    ]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(numbers=st.lists(st.integers(1, NUM_FRAMES), max_size=12))
def test_a_seek_lands_on_the_frame_asked_for(video, numbers) -> None:
    want = [(n, n) for n in sorted(set(numbers))]
    assert [(n, read_number(i)) for n, i in frames(video, numbers)] == want


def test_a_frame_behind_the_end_is_named(video) -> None:
    with pytest.raises(VideoError, match=r"film\.\w+: has 300 frames, frame 301 was asked for"):
        list(frames(video, [5, 301]))
    with pytest.raises(VideoError, match="numbered from 1"):
        list(frames(video, [0]))


@pytest.mark.parametrize("wanted", [None, [NUM_FRAMES - 2]], ids=["all frames", "a late frame"])
def test_a_truncated_video_is_named(video, tmp_path, wanted) -> None:
    cut = tmp_path / f"cut{video.suffix}"
    cut.write_bytes(video.read_bytes()[: int(video.stat().st_size * 0.6)])
    with pytest.raises(VideoError, match=rf"^cut{video.suffix}: .*cut off"):
        list(frames(cut, wanted))


def test_what_is_no_video_is_named(tmp_path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video at all" * 100)
    with pytest.raises(VideoError, match=r"a\.mp4: not a video"):
        list(frames(tmp_path / "a.mp4"))
    with pytest.raises(VideoError, match=r"b\.mp4: no such file"):
        list(frames(tmp_path / "b.mp4"))


def test_a_video_without_a_steady_pace_is_read_without_seeking(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "film.mp4", "mp4v")
    assert is_steady(path)
    monkeypatch.setattr("core_model.data.video.UNSTEADY", -1.0)
    assert not is_steady(path)
    seeks = []
    opened = cv2.VideoCapture

    class Watched:
        def __init__(self, name: str) -> None:
            self._capture = opened(name)

        def set(self, *change: float) -> bool:
            seeks.append(change)
            return self._capture.set(*change)

        def __getattr__(self, name: str) -> object:
            return getattr(self._capture, name)

    monkeypatch.setattr(cv2, "VideoCapture", Watched)
    assert [read_number(i) for _, i in frames(path, [250])] == [250]
    assert not seeks
    monkeypatch.undo()
    monkeypatch.setattr(cv2, "VideoCapture", Watched)
    assert [read_number(i) for _, i in frames(path, [250])] == [250]
    assert seeks


# --- folders ---------------------------------------------------------------------------------


def write_folder(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        cv2.imwrite(str(folder / name), numbered(7))
    return folder


def test_padded_and_plain_numbers_are_the_same_number(tmp_path) -> None:
    folder = write_folder(tmp_path / "T1", "0007.jpg", "12.jpg", "frame_9.png")
    (folder / "Thumbs.db").write_bytes(b"")
    (folder / "._0007.jpg").write_bytes(b"")
    assert list(image_files(folder)) == [7, 9, 12]
    assert num_frames(folder) == 3
    assert [n for n, _ in frames(folder)] == [7, 9, 12]
    assert [n for n, _ in frames(folder, [12])] == [12]


@pytest.mark.parametrize(
    ("names", "message"),
    {
        "two names for one frame": (("7.jpg", "0007.png"), "are both frame 7"),
        "a name without a number": (("1.jpg", "cover.jpg"), "expected a frame number"),
    }.values(),
)
def test_a_folder_that_leaves_doubt_is_refused(tmp_path, names, message) -> None:
    with pytest.raises(VideoError, match=message):
        image_files(write_folder(tmp_path / "T1", *names))


def test_a_missing_or_damaged_image_is_named(tmp_path) -> None:
    folder = write_folder(tmp_path / "T1", "1.jpg", "2.jpg")
    with pytest.raises(VideoError, match="T1: no image of frame 3, of 2 images"):
        list(frames(folder, [1, 3]))
    (folder / "2.jpg").write_bytes(b"\xff\xd8 cut")
    with pytest.raises(VideoError, match=r"2\.jpg: not an image"):
        list(frames(folder))
    shutil.rmtree(folder)
