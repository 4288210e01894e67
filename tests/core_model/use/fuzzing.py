"""Feed mutated files to whatever reads them, in a process of its own, and tell how it went.

    python -m tests.core_model.use.fuzzing KIND FOLDER FIRST COUNT

Prints the outcomes, the number of inputs and how much memory grew over their last two thirds. A
hang ends in a traceback; the number of the input that was at work stands in FOLDER/at.
"""

import faulthandler
import json
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from core_model.data.picture import PictureError, decode
from core_model.data.video import VideoError
from core_model.predictor import Predictor
from core_model.release.model_file import ModelFileError, read_model
from core_model.use.inputs import find_inputs, read

HANG_S = 60
MAX_PIXELS = 4_000_000
IMAGES = (".png", ".jpg", ".bmp", ".webp", ".tiff", ".ppm")
VIDEOS = {".avi": "MJPG", ".mp4": "mp4v", ".mkv": "XVID"}


def mutated(raw: bytes, chance: np.random.Generator) -> bytes:
    """Return bytes with a few changes, near the start more often, as headers are there."""
    broken = bytearray(raw)
    for _ in range(int(chance.integers(1, 8))):
        at = int(len(broken) * chance.random() ** 3)
        what = chance.integers(5)
        if what == 0:  # flip a bit
            broken[at : at + 1] = bytes(
                [(broken[at : at + 1] or b"\0")[0] ^ 1 << chance.integers(8)]
            )
        elif what == 1:  # an extreme number
            broken[at : at + 4] = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"][at % 3]
        elif what == 2:  # noise
            broken[at : at + int(chance.integers(1, 9))] = chance.bytes(int(chance.integers(0, 9)))
        elif what == 3:  # something twice
            broken[at:at] = broken[at : at + int(chance.integers(1, 64))]
        else:  # cut off, now and then
            broken = broken[: max(at, len(broken) // 4)] if chance.random() < 0.3 else broken
    return bytes(broken)


def photograph() -> np.ndarray:
    """Return something with edges and noise. (72, 64, 3)."""
    image = np.random.default_rng(0).normal(128, 12, (72, 64, 3))
    cv2.circle(image, (32, 36), 24, (200, 180, 160), -1)
    return image.clip(0, 255).astype(np.uint8)


def image_cases(_: Path) -> list[bytes]:
    return [cv2.imencode(ending, photograph())[1].tobytes() for ending in IMAGES]


def video_cases(folder: Path) -> list[tuple[str, bytes]]:
    found = []
    for ending, codec in VIDEOS.items():
        path = folder / f"film{ending}"
        file = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, (64, 72))
        for k in range(4):
            file.write(np.roll(photograph(), k, axis=1))
        file.release()
        found.append((ending, path.read_bytes()))
    return found


def feed_image(raw: bytes) -> str:
    try:
        image = decode(raw, MAX_PIXELS)
    except PictureError:
        return "refused"
    assert image.shape[0] * image.shape[1] <= MAX_PIXELS
    return "read"


def feed_video(folder: Path, ending: str, raw: bytes) -> str:
    path = folder / f"x{ending}"
    path.write_bytes(raw)
    try:
        return "read" if len(list(read(find_inputs([str(path)])[0]))) else "refused"
    except VideoError:
        return "refused"


def feed_model(folder: Path, raw: bytes) -> str:
    path = folder / "x.onnx"
    path.write_bytes(raw)
    try:
        Predictor(read_model(path, [], may_be_unsigned=True))
    except ModelFileError:
        return "refused"
    return "read"


def resident_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def main(kind: str, folder: Path, first: int, count: int) -> None:
    cases = {"image": image_cases, "video": video_cases,
             "model": lambda f: [(f / "m.onnx").read_bytes()]}[kind](folder)  # fmt: skip
    outcomes: Counter[str] = Counter()
    before = 0.0
    for number in range(first, first + count):
        (folder / "at").write_text(str(number))
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        chance, case = np.random.default_rng(number), cases[number % len(cases)]
        if kind == "image":
            outcomes[feed_image(mutated(case, chance))] += 1
        elif kind == "video":
            outcomes[feed_video(folder, case[0], mutated(case[1], chance))] += 1
        else:
            outcomes[feed_model(folder, mutated(case, chance))] += 1
        if number == first + count // 3:
            before = resident_mib()
    faulthandler.cancel_dump_traceback_later()
    grown = round(resident_mib() - before, 1)
    sys.stdout.write(json.dumps({**outcomes, "count": count, "grown_mib": grown}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
