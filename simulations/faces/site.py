"""Write a site's generated recordings in the standard format, once for each spec."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from core_model.data.labels import write_labels
from core_model.data.recordings import Recording, write_recordings
from simulations.faces.coder import coded_labels, true_labels
from simulations.faces.dynamics import make_motion
from simulations.faces.head import Head, load_head
from simulations.faces.person import make_person
from simulations.faces.render import SUPERSAMPLING, Actor, draw
from simulations.faces.scene import make_scene
from simulations.faces.spec import FaceSiteSpec

LICENCE = "CC0-1.0"
CACHE = Path.home() / ".cache" / "omote"  # of generated faces, unless told otherwise
Progress = Callable[[int, int], None]


def make_face_site(
    spec: FaceSiteSpec,
    cache: Path,
    *,
    pool: Executor | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return a folder with the site's faces; made on first use, at once afterwards.

    It holds ``recordings.csv`` (as the site's coder labelled them) and ``truth.csv`` (all AUs, no
    mistakes: for testing). Equal specs give equal bytes on one machine, whatever the pool. An
    interrupted call leaves nothing behind that a later one could take for finished.

    Args:
        spec: What to make.
        cache: Folder for all generated faces.
        pool: Processes that draw, from ``drawing_pool``; None draws in this one.
        progress: Called with people done and people in all.
    """
    done = cache / "faces" / spec.digest()[:16]
    if done.exists():
        return done
    load_head(cache)  # before the workers all want to build it
    draft = done.with_name(f"{done.name}.{os.getpid()}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        people = range(spec.first_person, spec.first_person + spec.num_people)
        _draw_people(spec, people, draft, cache, pool, progress)
        _write_lists(spec, people, draft)
        draft.replace(done)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return done


def drawing_pool(workers: int) -> Executor:
    """Return processes that draw. Spawned: a fork would copy the threads of torch and OpenCV."""
    return ProcessPoolExecutor(
        workers, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_DFL)
    )


def _draw_people(
    spec: FaceSiteSpec,
    people: range,
    folder: Path,
    cache: Path,
    pool: Executor | None,
    progress: Progress | None,
) -> None:
    tell = progress or (lambda *_: None)
    if pool is None:
        for done, number in enumerate(people, start=1):
            draw_person(spec, number, folder, cache)
            tell(done, len(people))
        return
    jobs = [pool.submit(draw_person, spec, number, folder, cache) for number in people]
    for done, job in enumerate(jobs, start=1):
        job.result()
        tell(done, len(people))


def draw_person(spec: FaceSiteSpec, number: int, folder: Path, cache: Path) -> None:
    """Write all recordings of one person: frames, coded labels and true labels."""
    cv2.setNumThreads(1)
    head = _head(cache)
    person = make_person(head, spec.seed, number)
    actor = Actor(head, person)
    for recording in range(spec.recordings_per_person):
        chance = np.random.default_rng([spec.seed, number, 2, recording])
        motion = make_motion(person, spec, chance)
        scene = make_scene(spec, chance, spec.image_size * SUPERSAMPLING)
        name = recording_id(spec, number, recording)
        frames = folder / name
        frames.mkdir()
        for t in range(spec.frames_per_recording):
            image = draw(
                actor, scene, motion.activations[t], motion.pose[t], motion.gaze[t],
                float(motion.blink[t]), spec.image_size, chance,
            )  # fmt: skip
            cv2.imwrite(str(frames / f"{t + 1:06d}.png"), image[..., ::-1])
        truth = true_labels(motion.activations)
        write_labels(folder / f"{name}.csv", coded_labels(truth, spec, chance))
        write_labels(folder / f"{name}.truth.csv", truth)


def subject_id(spec: FaceSiteSpec, number: int) -> str:
    """Return the name of a person at this site."""
    return f"{spec.name}-p{number:04d}"


def recording_id(spec: FaceSiteSpec, number: int, recording: int) -> str:
    """Return the name of a recording."""
    return f"{subject_id(spec, number)}-r{recording}"


@lru_cache(maxsize=1)
def _head(cache: Path) -> Head:
    return load_head(cache)


def _write_lists(spec: FaceSiteSpec, people: range, folder: Path) -> None:
    for listing, ending in (("recordings.csv", "csv"), ("truth.csv", "truth.csv")):
        recordings = [
            Recording(
                recording_id=(name := recording_id(spec, number, k)),
                subject_id=subject_id(spec, number),
                frames=folder.resolve() / name,
                labels=folder.resolve() / f"{name}.{ending}",
                licence=LICENCE,
            )
            for number in people
            for k in range(spec.recordings_per_person)
        ]
        write_recordings(folder / listing, recordings)
