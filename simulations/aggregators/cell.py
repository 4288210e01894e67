"""One run of a comparison: six sites, one way to join their updates, one thing that goes wrong.

The coordinator, the sites and their consent are the real ones; only the faces are generated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from core_model.checkpoint import load_checkpoint, manifest_path, save_checkpoint
from core_model.config import FinetuneConfig, OptimiserConfig, encoder_config
from core_model.data.frames import FrameDataset
from core_model.data.recordings import Recording, read_recordings
from core_model.evaluation.predict import predict
from core_model.evaluation.ranking import areas
from core_model.nn.iat import IATModel
from core_model.nn.weights import get_arrays, set_arrays
from core_model.norms import change_norm
from core_model.protocol.messages import RoundRequest, SiteUpdate, digest
from core_model.schema import Arrays
from core_model.training.finetune import finetune
from fl_client.round import run_round
from fl_client.site import Site
from fl_server.config import FederationConfig, Stage
from fl_server.robust import RobustSettings
from simulations.dishonest import sign_again
from simulations.faces.site import make_face_site
from simulations.faces.spec import LOOKS, FaceSiteSpec
from simulations.loop import run_plain, write_initial
from simulations.sites import site_at

Setting = Literal["labels", "people", "scaled", "flipped"]
Way = Literal["mean", "fedavgm", "fedadam", "fedprox", "clipped", "trimmed", "median", "multi_krum"]
SETTINGS, WAYS = get_args(Setting), get_args(Way)
AUS = (1, 4, 6, 12, 17, 25)
ENCODER = encoder_config("micro", 64)
NUM_SITES, TEST_PEOPLE, RECORDINGS = 6, 10, 2
LIES: dict[str, float] = {"scaled": 20.0, "flipped": -5.0}
"""By what the last site multiplies its change before it signs it."""
CLIP_NORM = 8.0  # about the change of an honest site; each result says what that was

STAGES: dict[str, dict[str, object]] = {
    "mean": {},
    "fedavgm": {"server_momentum": 0.8, "server_learning_rate": 0.8},
    "fedadam": {
        "server_optimiser": "fedadam", "server_momentum": 0.9, "server_learning_rate": 5e-3,
    },
    "fedprox": {"proximal": 0.1},
    "clipped": {"aggregation": RobustSettings(rule="clipped_mean", clip_norm=CLIP_NORM)},
    "trimmed": {"aggregation": RobustSettings(rule="trimmed_mean", num_bad=1)},
    "median": {"aggregation": RobustSettings(rule="median")},
    "multi_krum": {"aggregation": RobustSettings(rule="multi_krum", num_bad=1)},
}  # fmt: skip


class Effort(BaseModel):
    """How much of everything. Public numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    rounds: int = 3
    public_people: int = 40  # at no site: what every run starts from was trained on them
    public_epochs: int = 12
    epochs: int = 2
    frames: int = 8  # of each recording
    people: int = 6  # at a site where sites are alike


class CellResult(BaseModel):
    """What came of one run."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    setting: Setting
    way: Way
    seed: int
    auc: float  # macro over AUs, people at no site, true labels
    honest_norm: float  # median L2 norm of an honest site's change in the first round


def run_cell(
    setting: Setting, way: Way, seed: int, effort: Effort, root: Path, cache: Path
) -> CellResult:
    """Train one federation and test it on people of none of its sites.

    Args:
        setting: What is unlike, or who lies.
        way: How updates become one model.
        seed: Of people, weights and training.
        effort: How much.
        root: Folder of this run; it must be empty or not there.
        cache: Of generated faces.
    """
    torch.set_num_threads(1)
    root.mkdir(parents=True)
    folders = {
        f"site-{k}": site_at(
            root / f"site-{k}", f"site-{k}",
            [_faces(setting, k, seed, effort, cache) / "recordings.csv"],
            labelled_aus=_labelled(setting, k), seed=seed,
            caps={"allows_training_without_privacy": True},
        )
        for k in range(NUM_SITES)
    }  # fmt: skip
    initial = public_start(seed, effort, root.parent, cache)
    config = FederationConfig(
        run_id=f"{setting}-{way}-{seed}", seed=seed, action_units=AUS,
        initial=initial, output=root / "output",
        stages=(Stage(rounds=effort.rounds, training=_training(effort), **STAGES[way]),),
        sites=tuple(f.enrolment() for f in folders.values()), quorum=NUM_SITES - 1,
    )  # fmt: skip
    norms: list[float] = []

    def answer(request: RoundRequest, site: Site) -> SiteUpdate:
        update = run_round(request, site)
        factor = LIES.get(setting, 1.0) if site.site_id == f"site-{NUM_SITES - 1}" else 1.0
        if factor == 1.0:
            norms.append(change_norm(request.arrays, update.arrays))
            return update
        arrays: Arrays = {
            name: request.arrays[name] + np.float32(factor) * (array - request.arrays[name])
            for name, array in update.arrays.items()
        }
        return sign_again(dataclasses.replace(update), arrays, site.key)

    ended = run_plain(config, folders, run=answer)
    assert all(s.has_quorum for s in ended.summaries), "a round had no quorum"
    return CellResult(
        setting=setting, way=way, seed=seed,
        auc=_auc(ended.arrays, _test_people(seed, effort, cache)),
        honest_norm=float(np.median(norms[: NUM_SITES - 1])),
    )  # fmt: skip


def public_start(seed: int, effort: Effort, folder: Path, cache: Path) -> Path:
    """Return the checkpoint that all runs of a seed start from; trained on first use."""
    path = folder / f"public-{seed}.safetensors"
    if path.exists() and manifest_path(path).exists():
        return path
    spec = _spec("public", 5000, effort.public_people, "clinic", seed, effort, 1.0)
    recordings = read_recordings(make_face_site(spec, cache) / "recordings.csv")
    draft = folder / f"draft-{seed}.safetensors"
    write_initial(draft, ENCODER, AUS, seed)
    arrays, manifest = load_checkpoint(draft)
    dataset = FrameDataset(recordings, ENCODER.image_size, AUS)
    settings = _training(effort.model_copy(update={"epochs": effort.public_epochs}))
    model = IATModel(ENCODER, AUS, len(dataset.subjects), settings)
    set_arrays(model, {n: a for n, a in arrays.items() if n in dict(model.named_parameters())})
    finetune(model, dataset, settings, device=torch.device("cpu"), seed=seed)
    trained = get_arrays(model, manifest.weights.shared("finetuning"))
    arrays = arrays | trained
    save_checkpoint(path, arrays, manifest.model_copy(update={"digest": digest(arrays)}))
    return path


def auc_at_start(seed: int, effort: Effort, folder: Path, cache: Path) -> float:
    """Return what every run of a seed starts from. Macro AUC, as of a run."""
    arrays, _ = load_checkpoint(public_start(seed, effort, folder, cache))
    return _auc(arrays, _test_people(seed, effort, cache))


def _labelled(setting: Setting, site: int) -> tuple[int, ...]:
    """Return the AUs of a site: three of six where labels differ, each by three sites."""
    if setting != "labels":
        return AUS
    return tuple(sorted(AUS[(site + k) % len(AUS)] for k in range(3)))


def _faces(setting: Setting, site: int, seed: int, effort: Effort, cache: Path) -> Path:
    is_unlike = setting == "people"
    num = effort.people
    if is_unlike:  # as many in all, most of them at one site
        num = effort.people * NUM_SITES - (NUM_SITES - 1) * 4 if site == 0 else 4
    look = ("lab", "clinic", "office", "factory")[site % 4 if is_unlike else 0]
    kind = "unlike" if is_unlike else "alike"
    strength = 2.5 if is_unlike else 1.0
    return make_face_site(
        _spec(f"{kind}-{site}", 100 * site, num, look, seed, effort, strength), cache
    )


def _test_people(seed: int, effort: Effort, cache: Path) -> list[Recording]:
    found: list[Recording] = []
    for at, look in enumerate(("lab", "office")):
        spec = _spec(f"new-{look}", 1000 + 100 * at, TEST_PEOPLE, look, seed, effort, 1.0)
        found += read_recordings(make_face_site(spec, cache) / "truth.csv")
    return found


def _spec(
    name: str, first: int, num: int, look: str, seed: int, effort: Effort, strength: float
) -> FaceSiteSpec:
    return FaceSiteSpec(
        name=name, seed=seed, first_person=first, num_people=num, look=LOOKS[look],
        recordings_per_person=RECORDINGS, frames_per_recording=effort.frames, image_size=64,
        labelled_aus=AUS, shortcut_strength=strength, recording_variation=0.6,
    )  # fmt: skip


def _training(effort: Effort) -> FinetuneConfig:
    optimiser = OptimiserConfig(
        learning_rate=1.5e-3, warmup=0.1, batch_size=8, epochs_per_round=effort.epochs
    )
    return FinetuneConfig(optimiser=optimiser, drop_path=0.0, reversal_scale=0.0)


def _auc(arrays: Arrays, recordings: Sequence[Recording]) -> float:
    model = IATModel(ENCODER, AUS, 1, FinetuneConfig())
    names = dict(model.named_parameters())
    set_arrays(model, {n: a for n, a in arrays.items() if n in names})
    found, _ = predict(
        model, FrameDataset(recordings, ENCODER.image_size, AUS), device=torch.device("cpu")
    )
    values = []
    for column in range(len(AUS)):
        known = found.known[:, column] > 0
        once = np.ones((1, int(known.sum())), np.int64)
        occurs = found.aus[known, column] > 0.5
        values.append(areas(found.probabilities[known, column].astype(float), occurs, once).auc[0])
    return float(np.nanmean(values))
