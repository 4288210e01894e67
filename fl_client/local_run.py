"""Training at the site alone, for a pilot without a federation. Knows no server and no Flower.

It is a round that the site asks of itself: the same caps, the same rules, the same gate, the same
recheck, the same attestation on record. Only the loop is another, for it runs for hours and must go
on after a power loss; and the weights stay here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from consent.attestation import open_attestation
from consent.model import Role
from consent.site_events import ModelPublished
from core_model.checkpoint import CheckpointManifest, load_checkpoint, manifest_path
from core_model.config import EncoderConfig, FinetuneConfig
from core_model.evaluation.partitions import is_held_out
from core_model.nn.weights import get_arrays, schema_of, set_arrays
from core_model.protocol.messages import (
    RefusalCode,
    RoundPlan,
    RoundRequest,
    SiteUpdate,
    digest,
)
from core_model.recipe import Recipe
from core_model.run_folder import RunRecord, epoch_files, read_run, write_run
from core_model.schema import Arrays
from core_model.training.manner import PLAIN, Manner
from core_model.training.recipe_run import split_recordings
from core_model.training.seeds import derive_seed
from fl_client.errors import RoundRefusedError, SiteError
from fl_client.forgetting import forget_withdrawn
from fl_client.long_training import LongTraining, Loop
from fl_client.round import attested_round
from fl_client.site import Site
from fl_client.training import build_model
from fl_client.unfinished import UnfinishedRun


@dataclass(frozen=True)
class Wishes:
    """What to train."""

    recipe: Recipe
    out: Path  # folder of the run, when it is over
    initial: Path | None = None  # weights to start from
    test: str | None = None  # people who are not even read, such as bp4d/P1
    held_out: float = 0.2  # share of the other people; they choose when to stop
    seed: int = 0
    patience: int = 5  # epochs without a better one for people held out; 0: train them all
    manner: Manner = PLAIN
    fresh: bool = False  # forget what an interrupted run learned


@dataclass(frozen=True)
class Result:
    """A training that is over."""

    run_id: str
    record: RunRecord
    best_epoch: int
    scores: tuple[float, ...]
    chosen: Path  # the weights that were signed
    attestation: str  # its digest


def train_here(wishes: Wishes, loop: Loop, site: Site, say: Callable[[str], None]) -> Result:
    """Train, sign, and only then write the run's folder.

    Args:
        wishes: What to train.
        loop: How to go about it; none of it changes the result.
        site: Opened, and held: no worker and no other training may run meanwhile.
        say: Tells the operator what happens.

    Raises:
        RoundRefusedError: Caps, rules or consent do not allow it, or no longer do.
        SiteError: The folder holds another run, or what was learned so far is of other data.
        CheckpointError: The initial weights cannot be read.
        ValueError: Nobody is left to train on, or the recipe does not fit.
        KeyboardInterrupt: It was stopped; the same call goes on.
    """
    encoder, parent, request = _request(wishes, site)
    plan = request.plan
    unfinished = UnfinishedRun(site.config.state / plan.run_id)
    if wishes.fresh:
        unfinished.delete()
    _check_folder(wishes.out, plan.run_id, unfinished)
    groups = split_recordings(site.recordings, wishes.test, wishes.held_out, wishes.seed)
    asked = dataclasses.replace(site, recordings=groups["training"] + groups["validation"])
    training = LongTraining(
        recipe=wishes.recipe, parent=parent, unfinished=unfinished, loop=loop, say=say,
        manner=wishes.manner.on(site.device), seed=wishes.seed, patience=wishes.patience,
        is_held_out=lambda person: is_held_out(person, wishes.held_out, wishes.seed),
    )  # fmt: skip
    try:
        update = attested_round(request, asked, training)
    except RoundRefusedError as e:
        if e.code is RefusalCode.CONSENT_CHANGED:
            unfinished.delete()  # as an update is thrown away: nothing of it may be used
        raise
    finally:
        forget_withdrawn(site)
    return _publish(wishes, site, training, update, plan, encoder)


def _request(
    wishes: Wishes, site: Site
) -> tuple[EncoderConfig, CheckpointManifest | None, RoundRequest]:
    """Return what the site asks of itself, as a server would."""
    recipe = wishes.recipe
    if recipe.identity_head_layers != 1:
        raise ValueError("identity_head_layers: rounds, and this, have one linear layer")
    arrays, parent = load_checkpoint(wishes.initial) if wishes.initial else ({}, None)
    encoder = parent.encoder if parent else recipe.encoder
    is_detector = isinstance(recipe.training, FinetuneConfig)
    if is_detector and parent and parent.action_units not in ((), recipe.action_units):
        raise ValueError(
            f"{wishes.initial} has a head for AUs {parent.action_units}, the recipe for "
            f"{recipe.action_units}; import the encoder without --aus"
        )
    optimiser = recipe.training.optimiser.model_copy(update={"epochs_per_round": recipe.epochs})
    plan = RoundPlan(
        run_id=_run_id(wishes, site, parent),
        round=1,
        round_of_purpose=1,
        num_rounds=1,
        nonce=secrets.token_hex(16),
        seed=wishes.seed,
        model_in="0" * 64,
        encoder=encoder,
        action_units=recipe.action_units,
        training=recipe.training.model_copy(update={"optimiser": optimiser}),
    )
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(wishes.seed, "weights"))
        model = build_model(plan, 1)
    names = {name for name, _ in model.named_parameters()}
    set_arrays(model, {n: a for n, a in arrays.items() if n in names})
    shared: Arrays = get_arrays(model, schema_of(model).shared(plan.purpose))
    plan = plan.model_copy(update={"model_in": digest(shared)})
    return encoder, parent, RoundRequest(plan, shared)


def _run_id(wishes: Wishes, site: Site, parent: CheckpointManifest | None) -> str:
    """Return the run's name: the same wishes find what they had begun."""
    parts = {
        "recipe": wishes.recipe.model_dump(mode="json"),
        "out": str(wishes.out.resolve()),
        "initial": parent.digest if parent else None,
        "test": wishes.test,
        "held_out": wishes.held_out,
        "seed": wishes.seed,
        "patience": wishes.patience,
        "manner": wishes.manner.model_dump(),
        "device": str(site.device),
    }
    text = json.dumps(parts, sort_keys=True)
    return (
        f"local-{wishes.recipe.training.purpose}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    )


def _check_folder(out: Path, run_id: str, unfinished: UnfinishedRun) -> None:
    record = read_run(out)
    is_ours = record is not None and record.local.get("run_id") == run_id
    if epoch_files(out) and not (is_ours and unfinished.file.exists()):
        raise SiteError(f"{out} holds epochs of another run; choose another folder with --out")


def _publish(
    wishes: Wishes,
    site: Site,
    training: LongTraining,
    update: SiteUpdate,
    plan: RoundPlan,
    encoder: EncoderConfig,
) -> Result:
    """Write the run's folder, put the model on record, and delete what is not needed any more."""
    best, scores = training.best_epoch, training.scores
    attestation = open_attestation(update.attestation, site.key.verifier).digest
    local = {
        "run_id": plan.run_id,
        "attestation": attestation,
        "device": site.device.type,
        "encoder": encoder.model_dump(),
        "best_epoch": best,
        "scores": scores,
        "num_held_out": training.num_held_out,
        **training.manner.model_dump(),
    }
    record = RunRecord(
        recipe=wishes.recipe.model_dump(mode="json"),
        seed=wishes.seed,
        test_partition=wishes.test,
        held_out_share=wishes.held_out,
        num_subjects=training.num_subjects,
        num_frames=training.num_frames,
        local=local,
    )
    write_run(wishes.out, record)
    for path in epoch_files(training.unfinished.epochs):
        shutil.move(path, wishes.out / path.name)
        shutil.move(manifest_path(path), wishes.out / manifest_path(path).name)
    chosen = epoch_files(wishes.out)[-1]
    model, manifest = load_checkpoint(chosen)
    assert digest(model) == digest(update.arrays)
    parents = (plan.model_in,) if manifest.parent is None else (manifest.parent,)
    published = ModelPublished(
        model=manifest.digest, run_id=plan.run_id, rounds=(1,), parents=parents
    )
    site.registry.append([published], Role.OPERATOR)
    training.unfinished.delete()
    return Result(plan.run_id, record, best, scores, chosen, attestation)
