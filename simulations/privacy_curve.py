"""F1 against epsilon: which cells there are, run over the processors, kept one by one."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from core_model.privacy.plan import IdentityHead, Scope
from simulations.faces.site import drawing_pool, make_face_site
from simulations.faces.spec import LOOKS, FaceSiteSpec
from simulations.privacy_cell import Cell, CellResult, Effort, measure_cell
from simulations.privacy_public import AUS, Faces, train_public

EPSILONS = (1.0, 2.0, 4.0, 8.0, math.inf)
SCOPES: tuple[Scope, ...] = ("head", "norms", "lora", "last_k", "full")
PEOPLE, SITES = (16, 32, 64, 128), (1, 2, 4, 8)
MIDDLE_SCOPE: Scope = "head"
MIDDLE_PEOPLE, MIDDLE_SITES = 64, 2
HEADS: tuple[IdentityHead, ...] = ("none", "frozen", "inside")
HEADS_SCOPES: tuple[Scope, ...] = ("norms", "lora", "full")  # those that train the encoder
HEADS_EPSILONS = (8.0, math.inf)
STRONG = 8.0  # a reversal that is felt, to see what it would take
Progress = Callable[[str, int, int], None]


def cells_of(grid: str, seeds: Sequence[int]) -> list[Cell]:
    """Return the cells of a grid.

    ``full`` is every combination. ``cross`` varies epsilon, and with it one other setting at a
    time, the rest in the middle. ``heads`` puts each identity head into the private phase.
    ``tiny`` proves that it runs.

    Raises:
        ValueError: There is no such grid.
    """
    if grid == "tiny":
        made = [_cell(epsilon, "head", True, 6, 2) for epsilon in (8.0, math.inf)]
    elif grid == "full":
        every = itertools.product(EPSILONS, SCOPES, (True, False), PEOPLE, SITES)
        made = [_cell(*settings) for settings in every]
    elif grid == "cross":
        made = list(_cross())
    elif grid == "heads":
        made = list(_heads())
    else:
        raise ValueError(f"no grid {grid!r}; there are: tiny, cross, heads, full")
    unique = list(dict.fromkeys(made))
    return [cell.model_copy(update={"seed": seed}) for seed in seeds for cell in unique]


def run_curve(
    cells: Sequence[Cell], effort: Effort, out: Path, cache: Path, workers: int, progress: Progress
) -> list[CellResult]:
    """Measure all cells that are not measured yet; return all, in the order of ``cells``."""
    folder = out / "cells"
    folder.mkdir(parents=True, exist_ok=True)
    _check_effort(out, effort)
    faces = make_faces(people_of_sites(cells), cache, workers, progress)
    waiting = [c for c in cells if not _path(folder, c).exists()]
    # Ctrl-C ends the workers without a word; what they have finished is on disk.
    with ProcessPoolExecutor(
        workers, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_DFL)
    ) as pool:
        if waiting:
            _public_phase(sorted({c.has_iat for c in waiting}), effort, faces, out, pool, progress)
        progress("cells", len(cells) - len(waiting), len(cells))
        jobs = {
            pool.submit(
                measure_cell, c, effort, _public(out, c.has_iat), faces
            ): c
            for c in waiting
        }  # fmt: skip
        for done, job in enumerate(as_completed(jobs), start=len(cells) - len(waiting) + 1):
            _write(_path(folder, jobs[job]), job.result().model_dump_json())
            progress("cells", done, len(cells))
    return [CellResult.model_validate_json(_path(folder, c).read_text()) for c in cells]


def people_of_sites(cells: Sequence[Cell]) -> list[int]:
    """Return how many people each site must have for all cells."""
    most = max(c.sites for c in cells)
    return [max(c.people for c in cells if c.sites > k) for k in range(most)]


def make_faces(people: Sequence[int], cache: Path, workers: int, progress: Progress) -> Faces:
    """Draw public, private and new people, all different; or take them from ``cache``.

    Args:
        people: At each site.
        cache: Folder for all generated faces.
        workers: Processes that draw.
        progress: Is told how far it is.
    """
    rooms = [look for look in LOOKS if look != "lab"]
    small = max(people) < min(PEOPLE)
    num_public, num_choosing = (8, 4) if small else (64, 24)
    groups = [("curve-public", "lab", num_public), ("curve-choice", "lab", num_choosing)]
    groups += [(f"curve-site-{k}", rooms[k % len(rooms)], n) for k, n in enumerate(people)]
    groups += [(f"curve-new-{look}", look, 2 if small else 16) for look in rooms]
    made: dict[str, Path] = {}
    with drawing_pool(workers) as pool:
        for number, (name, look, size) in enumerate(groups):
            spec = FaceSiteSpec(
                name=name, seed=0, first_person=1000 * number, num_people=size,
                recordings_per_person=2, frames_per_recording=6 if small else 8, image_size=64,
                labelled_aus=AUS, shortcut_strength=2.0, recording_variation=0.6, look=LOOKS[look],
            )  # fmt: skip
            made[name] = make_face_site(spec, cache, pool=pool)
            progress("faces", number + 1, len(groups))
    return Faces(
        public=made["curve-public"] / "recordings.csv",
        validation=made["curve-choice"] / "recordings.csv",
        sites=tuple(made[f"curve-site-{k}"] / "recordings.csv" for k in range(len(people))),
        new_people=tuple(made[f"curve-new-{look}"] / "truth.csv" for look in rooms),
    )


def _cross() -> Iterator[Cell]:
    for epsilon in EPSILONS:
        for scope in SCOPES:
            yield _cell(epsilon, scope, True, MIDDLE_PEOPLE, MIDDLE_SITES)
        yield _cell(epsilon, MIDDLE_SCOPE, False, MIDDLE_PEOPLE, MIDDLE_SITES)
        for people in PEOPLE:
            yield _cell(epsilon, MIDDLE_SCOPE, True, people, MIDDLE_SITES)
        for sites in SITES:
            yield _cell(epsilon, MIDDLE_SCOPE, True, MIDDLE_PEOPLE, sites)


def _heads() -> Iterator[Cell]:
    """Yield each head after IAT in public; without it too, and there with a strong reversal."""
    settings = [(scope, True, 1.0) for scope in HEADS_SCOPES]
    settings += [("full", False, 1.0), ("full", False, STRONG)]
    for (scope, has_iat, scale), epsilon, head in itertools.product(
        settings, HEADS_EPSILONS, HEADS
    ):
        if head == "none" and scale != 1.0:
            continue
        cell = _cell(epsilon, scope, has_iat, MIDDLE_PEOPLE, MIDDLE_SITES)
        yield cell.model_copy(update={"identity_head": head, "reversal_scale": scale})


def _cell(epsilon: float, scope: Scope, has_iat: bool, people: int, sites: int) -> Cell:
    return Cell(epsilon=epsilon, scope=scope, has_iat=has_iat, people=people, sites=sites, seed=0)


def _public_phase(
    kinds: Sequence[bool], effort: Effort, faces: Faces, out: Path, pool: Executor,
    progress: Progress,
) -> None:  # fmt: skip
    jobs = [
        pool.submit(
            train_public,
            faces.public,
            has_iat,
            effort.pretraining_epochs,
            effort.public_epochs,
            _public(out, has_iat),
            0,
        )
        for has_iat in kinds
        if not _public(out, has_iat).exists()
    ]
    progress("public", len(kinds) - len(jobs), len(kinds))
    for done, job in enumerate(as_completed(jobs), start=len(kinds) - len(jobs) + 1):
        job.result()
        progress("public", done, len(kinds))


def _check_effort(out: Path, effort: Effort) -> None:
    """Check that results in a folder are all of one effort.

    Raises:
        ValueError: They are of another one.
    """
    path, text = out / "effort.json", json.dumps(effort.model_dump(), sort_keys=True)
    if path.exists() and path.read_text() != text:
        raise ValueError(f"{out} holds results of {path.read_text()}; choose another folder")
    _write(path, text)


def _public(out: Path, has_iat: bool) -> Path:
    return out / f"public-{'iat' if has_iat else 'plain'}.safetensors"


def _path(folder: Path, cell: Cell) -> Path:
    return folder / f"{cell.name}.json"


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_text(text)
    draft.replace(path)
