"""Attack a checkpoint: how well people are told apart by what its detector gives away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from core_model.data.frames import FrameDataset
from core_model.data.recordings import read_recordings
from core_model.evaluation.attackers import (
    ATTACKERS,
    Attack,
    Evidence,
    attack,
    linear_on_random_frames,
    thin,
)
from core_model.evaluation.identity_result import (
    AttackResult,
    GroupResult,
    IdentityResult,
    Surface,
    SurfaceResult,
    VerificationResult,
    WeakProbe,
)
from core_model.evaluation.model_run import checkpoints_of, load_detector, model_facts
from core_model.evaluation.paper_probe import paper_probe
from core_model.evaluation.partitions import check_apart
from core_model.evaluation.predict import predict
from core_model.evaluation.result import Measure
from core_model.evaluation.verification import verify
from core_model.nn.iat import IATModel

MIN_PEOPLE_TO_VERIFY = 8


def attack_model(
    checkpoint: Path,
    recordings: Path,
    new_people: Path | None,
    *,
    frames_per_recording: int,
    seed: int = 0,
    device: torch.device,
    tell: Callable[[str], None] = lambda _: None,
) -> IdentityResult:
    """Attack the last epoch of a run, or one checkpoint, on one or two groups of people.

    Args:
        checkpoint: A checkpoint or a run of omote-model train.
        recordings: People who may have been trained on; two recordings each at least.
        new_people: People who were not.
        frames_per_recording: More frames of a recording are thinned out.
        seed: Of all chance.
        device: Where the detector runs.
        tell: Called with a line before each attack.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        ValueError: A list is damaged, a person has one recording only, or is in both groups.
    """
    files = checkpoints_of(checkpoint)
    model, manifest = load_detector(files[-1])
    lists = {"given": recordings} | ({"new": new_people} if new_people else {})
    read = {name: read_recordings(path) for name, path in lists.items()}
    check_apart(**{name: [r.subject_id for r in group] for name, group in read.items()})
    groups = []
    for name, group in read.items():
        dataset = FrameDataset(group, manifest.encoder.image_size)
        surfaces = _surfaces(model, dataset, device)
        surfaces = {s: thin(e, frames_per_recording) for s, e in surfaces.items()}
        groups.append(_attack_group(lists[name].parent.name, name == "new", surfaces, seed, tell))
    return IdentityResult(
        model=model_facts(checkpoint, manifest, len(files)),
        frames_per_recording=frames_per_recording,
        groups=tuple(groups),
    )


def _surfaces(
    model: IATModel, dataset: FrameDataset, device: torch.device
) -> dict[Surface, Evidence]:
    """Return what an attacker may see of every frame."""
    _, features = predict(model, dataset, device=device)
    with torch.inference_mode():
        logits = model.au_head.cpu()(torch.from_numpy(features))
    subjects = dataset.identities.numpy()
    recordings = np.unique(dataset.recording_ids, return_inverse=True)[1]
    seen = {
        "features": features, "logits": logits.numpy(), "au_outputs": logits.sigmoid().numpy(),
    }  # fmt: skip
    return {
        surface: Evidence(seen[surface].astype(float), subjects, recordings)
        for surface in ("features", "logits", "au_outputs")
    }


def _attack_group(
    name: str,
    are_new: bool,
    surfaces: dict[Surface, Evidence],
    seed: int,
    tell: Callable[[str], None],
) -> GroupResult:
    features = surfaces["features"]
    results: dict[Surface, SurfaceResult] = {}
    chance = 0.0
    for surface, evidence in surfaces.items():
        attacks = []
        for attacker in ATTACKERS:
            tell(f"{name}: {attacker} on {surface}")
            found = attack(attacker, evidence, seed=seed)
            attacks.append(_attack_result(found))
            chance = found.chance
        results[surface] = SurfaceResult(
            attacks=tuple(attacks), verification=_verification(evidence, seed)
        )
    return GroupResult(
        name=name,
        are_new=are_new,
        num_people=len(np.unique(features.subjects)),
        num_recordings=len(np.unique(features.recordings)),
        num_frames=len(features.subjects),
        chance=chance,
        surfaces=results,
        weak_probe=WeakProbe(
            paper=paper_probe(features, seed=seed),
            converged_random_split=linear_on_random_frames(features, seed),
        ),
    )


def _attack_result(found: Attack) -> AttackResult:
    return AttackResult(
        attacker=found.attacker,
        setting=found.setting,
        accuracy=Measure.of(found.accuracy),
        recording_accuracy=Measure.of(found.recording_accuracy),
        has_converged=found.has_converged,
    )


def _verification(evidence: Evidence, seed: int) -> VerificationResult | None:
    if len(np.unique(evidence.subjects)) < MIN_PEOPLE_TO_VERIFY:
        return None
    found = verify(evidence, seed=seed)
    return VerificationResult(
        equal_error_rate=Measure.of(found.equal_error_rate),
        tar_at_far_1e3=Measure.of(found.tar),
        num_genuine=found.num_genuine,
        num_impostors=found.num_impostors,
    )
