"""Train by a recipe on recordings in one place, and keep every epoch.

Every epoch is kept so that the evaluation can show what picking the best one on the test people
would have added. The identity head names people: it is never written, and gone when this returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from core_model.checkpoint import CheckpointManifest, load_checkpoint, save_checkpoint
from core_model.config import EncoderConfig, FinetuneConfig
from core_model.data.frames import FrameDataset
from core_model.data.recordings import Recording
from core_model.evaluation.partitions import is_held_out, subjects_of
from core_model.nn.iat import IATModel
from core_model.nn.identity_head import make_identity_head
from core_model.nn.weights import get_arrays, schema_of, set_arrays
from core_model.protocol.messages import digest
from core_model.recipe import Recipe
from core_model.run_folder import RunRecord, epoch_files, epoch_path, write_run
from core_model.schema import Arrays, ParameterSchema
from core_model.training.finetune import finetune
from core_model.training.seeds import derive_seed


def split_recordings(
    recordings: Sequence[Recording], test_partition: str | None, held_out_share: float, seed: int
) -> dict[str, tuple[Recording, ...]]:
    """Return the recordings of the people for ``training``, ``validation`` and ``test``."""
    test_people = subjects_of(recordings, test_partition) if test_partition else frozenset[str]()
    groups: dict[str, list[Recording]] = {"training": [], "validation": [], "test": []}
    for recording in recordings:
        person = recording.subject_id
        if person in test_people:
            groups["test"].append(recording)
        else:
            held = is_held_out(person, held_out_share, seed)
            groups["validation" if held else "training"].append(recording)
    return {name: tuple(group) for name, group in groups.items()}


def run_recipe(
    recipe: Recipe,
    recordings: Sequence[Recording],
    out: Path,
    *,
    initial: Path | None = None,
    test_partition: str | None = None,
    held_out_share: float = 0.2,
    seed: int = 0,
    device: torch.device,
    tell: Callable[[str], None] = lambda _: None,
) -> RunRecord:
    """Fine-tune by ``recipe``; write ``epoch-NNN.safetensors`` and ``run.json`` into ``out``.

    Args:
        recipe: What to do.
        recordings: Labelled recordings, the test people's among them or not.
        out: A folder without epochs in it.
        initial: Weights to start from: an encoder, with an AU head of the same AUs or without one.
        test_partition: People not to train on, such as ``bp4d/P1``.
        held_out_share: Share of the other people who will choose threshold and epoch.
        seed: Of all chance.
        device: Where to train.
        tell: Called with a line after each epoch.

    Raises:
        ValueError: Nobody is left to train on, or the initial weights do not fit.
        CheckpointError: The initial weights cannot be read.
    """
    config = recipe.training
    if not isinstance(config, FinetuneConfig):
        raise ValueError(f"{recipe.name} is a pretraining recipe; this trains AU detectors")
    if epoch_files(out):
        raise ValueError(f"{out} holds epochs of another run; choose another folder")
    chosen = split_recordings(recordings, test_partition, held_out_share, seed)["training"]
    encoder, parent = _start(recipe, initial)
    dataset = FrameDataset(chosen, encoder.image_size, recipe.action_units, recipe.label_policy)
    record = RunRecord(
        recipe=recipe.model_dump(mode="json"),
        seed=seed,
        test_partition=test_partition,
        held_out_share=held_out_share,
        num_subjects=len(dataset.subjects),
        num_frames=len(dataset),
    )
    model = build_model(recipe, encoder, len(dataset.subjects), derive_seed(seed, "weights"))
    if initial is not None:
        arrays = load_checkpoint(initial)[0]
        set_arrays(model, {n: a for n, a in arrays.items() if not n.startswith("decoder.")})
    write_run(out, record)
    schema = schema_of(model).shared("finetuning")
    for epoch in range(1, recipe.epochs + 1):
        log = finetune(
            model,
            dataset,
            config,
            device=device,
            seed=derive_seed(seed, "epoch", epoch),
            span=((epoch - 1) / recipe.epochs, epoch / recipe.epochs),
        )
        arrays = get_arrays(model, schema)
        manifest = manifest_of(arrays, schema, encoder, recipe, recipe.name, epoch, parent)
        save_checkpoint(epoch_path(out, epoch), arrays, manifest)
        au, identity = np.mean(log.losses["au"]), np.mean(log.losses["identity"])
        tell(f"epoch {epoch} of {recipe.epochs}: AU loss {au:.4f}, identity loss {identity:.4f}")
    return record


def manifest_of(
    arrays: Arrays,
    schema: ParameterSchema,
    encoder: EncoderConfig,
    recipe: Recipe,
    run_id: str,
    epoch: int,
    parent: CheckpointManifest | None,
) -> CheckpointManifest:
    """Return what stands beside the weights after an epoch; licence and source are inherited."""
    return CheckpointManifest(
        digest=digest(arrays),
        weights=schema,
        encoder=encoder,
        action_units=recipe.action_units,
        licence=parent.licence if parent else "Apache-2.0",
        run_id=run_id,
        round=epoch,
        parent=parent.digest if parent else None,
        source=parent.source if parent else None,
    )


def build_model(recipe: Recipe, encoder: EncoderConfig, num_identities: int, seed: int) -> IATModel:
    """Return fresh weights in the shape of the recipe, its identity head as deep as it says."""
    config = recipe.training
    assert isinstance(config, FinetuneConfig)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = IATModel(encoder, recipe.action_units, num_identities, config)
        if recipe.identity_head_layers > 1:
            head = make_identity_head(
                encoder.embed_dim, num_identities, recipe.identity_head_layers
            )
            model.add_module("identity_head", head)
    return model


def _start(recipe: Recipe, initial: Path | None) -> tuple[EncoderConfig, CheckpointManifest | None]:
    """Return the encoder's shape and where its weights come from."""
    if initial is None:
        return recipe.encoder, None
    manifest = load_checkpoint(initial)[1]
    if manifest.action_units not in ((), recipe.action_units):
        raise ValueError(
            f"{initial} has a head for AUs {manifest.action_units}, the recipe for "
            f"{recipe.action_units}; import the encoder without --aus"
        )
    return manifest.encoder, manifest
