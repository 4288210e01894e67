"""Measure what a site's data are made of: people who agree to something, never one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from core_model.action_units import UNION
from core_model.data.labels import read_labels
from core_model.data.look import looks, perceptual_hash, pose
from core_model.data.recordings import Recording
from core_model.evaluation import data_measures as measures
from core_model.evaluation.data_advice import advice
from core_model.evaluation.data_result import DataReport
from fl_client.crop_cache import is_cached
from fl_client.ingest.plan import may_be_cut
from fl_client.site import Site

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PER_RECORDING = 20  # frames whose pixels are looked at, evenly spread


def measure_site(site: Site, on_recording: Callable[[], None] = lambda: None) -> DataReport:
    """Return the figures of a site's data.

    Args:
        site: Opened.
        on_recording: Called after each recording.

    Raises:
        CropCacheError: A recording of the cache cannot be read.
        ValueError: A label file or an image cannot be read, or nobody agrees to anything.
    """
    people = {r.subject_id for r in site.recordings}
    allowed = may_be_cut(site.registry, people)
    recordings = [r for r in site.recordings if r.subject_id in allowed]
    if not recordings:
        raise ValueError("nobody in the lists agrees to anything: there is nothing to report")
    order = {subject: k for k, subject in enumerate(sorted(allowed))}
    matter = _Matter()
    for number, recording in enumerate(recordings):
        matter.add(site, recording, order[recording.subject_id], number)
        on_recording()
    return _report(recordings, len(people) - len(allowed), matter)


class _Matter:
    """What was read of all recordings. Lives as long as a report is made."""

    def __init__(self) -> None:
        self.frames: list[int] = []  # of each recording
        self.people: list[int] = []
        self.occurs: list[Floats] = []
        self.known: list[Floats] = []
        self.labelled: list[Ints] = []  # people of labelled frames
        self.poses: list[tuple[float, float, float]] = []
        self.eyes: list[float] = []
        self.looks: list[tuple[float, float, float, float]] = []
        self.hashes: list[int] = []
        self.sources: list[tuple[int, int]] = []  # recording and person of each hash

    def add(self, site: Site, recording: Recording, person: int, number: int) -> None:
        """Read one recording."""
        numbers = site.frames.numbers(recording)
        self.frames.append(len(numbers))
        self.people.append(person)
        if recording.labels is not None:
            occurs, known = read_labels(recording.labels).occurrence(UNION)
            self.occurs.append(occurs.astype(np.float64))
            self.known.append(known.astype(np.float64))
            self.labelled.append(np.full(len(occurs), person))
        if is_cached(recording.frames):
            with site.frames.shard(recording) as shard:
                points = shard.facts[:, 4:14].reshape(-1, 5, 2)
            self.poses += [pose(p) for p in points]
            self.eyes += np.hypot(*(points[:, 1] - points[:, 0]).T).tolist()
        for image in site.frames.read(recording, evenly(numbers)):
            self.looks.append(looks(image))
            self.hashes.append(perceptual_hash(image))
            self.sources.append((number, person))


def evenly(numbers: Sequence[int]) -> list[int]:
    """Return at most ``PER_RECORDING`` of some numbers, evenly spread."""
    places = np.linspace(0, len(numbers) - 1, min(PER_RECORDING, len(numbers))).round().astype(int)
    return [numbers[k] for k in places]


def _report(recordings: Sequence[Recording], left_out: int, m: _Matter) -> DataReport:
    nothing = np.zeros((0, len(UNION)))
    occurs, known = np.concatenate([nothing, *m.occurs]), np.concatenate([nothing, *m.known])
    columns = [k for k in range(len(UNION)) if known[:, k].any()]
    aus = tuple(UNION[k] for k in columns)
    occurs, known = occurs[:, columns], known[:, columns]
    labelled = np.concatenate([np.zeros(0, np.int64), *m.labelled])
    figures = measures.au_figures(aus, occurs, known, labelled)
    shortcuts = [f.shortcut_auc for f in figures if f.shortcut_auc is not None]
    per_person = np.bincount(m.people, weights=m.frames)
    per_person = per_person[per_person > 0].astype(np.int64)
    poses, seen = np.array(m.poses).reshape(-1, 3), np.array(m.looks).reshape(-1, 4)
    where = np.array(m.sources, np.int64).reshape(-1, 2)
    repeated, shared = measures.copies(np.array(m.hashes, np.uint64), where[:, 0], where[:, 1])
    report = DataReport(
        people=len(per_person),
        recordings=len(recordings),
        frames=sum(m.frames),
        labelled_frames=int(known.any(axis=1).sum()),
        people_left_out=left_out,
        licences=dict(Counter(r.licence for r in recordings).most_common()),
        action_units=figures,
        co_occurrence=measures.co_occurrence(occurs, known),
        frames_per_person=measures.spread(per_person.astype(np.float64)),
        largest_share=float(per_person.max() / per_person.sum()) if len(per_person) else None,
        effective_people=measures.effective(per_person),
        shortcut_auc=float(np.mean(shortcuts)) if shortcuts else None,
        yaw=measures.turns(poses[:, 0]),
        pitch=measures.nods(poses[:, 1]),
        measured_pose=len(poses),
        brightness=measures.spread(seen[:, 0]),
        unevenness=measures.spread(seen[:, 1]),
        sharpness=measures.spread(seen[:, 2]),
        eye_distance=measures.spread(np.array(m.eyes)),
        lightness=measures.lightness(seen[:, 3], where[:, 1]),
        examined=len(seen),
        repeated_share=repeated,
        shared_between_people=shared,
        advice=(),
    )
    return report.model_copy(update={"advice": advice(report)})
