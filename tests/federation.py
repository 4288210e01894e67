"""A tiny federation on disk, for tests: real code and real files, a few frames of noise."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from core_model.config import EncoderConfig, FinetuneConfig, OptimiserConfig, PretrainConfig
from core_model.data.labels import Labels, write_labels
from core_model.data.recordings import Recording, write_recordings
from fl_server.config import FederationConfig, Stage
from simulations.loop import write_initial
from simulations.sites import SiteFolder, write_site

AUS = (1, 2, 4)
LABELLED = {"site-a": (1, 2), "site-b": (2, 4)}
ENCODER = EncoderConfig(image_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)
OPTIMISER = OptimiserConfig(learning_rate=1e-3, batch_size=4)
PRETRAINING = PretrainConfig(optimiser=OPTIMISER, decoder_dim=8, decoder_depth=1, decoder_heads=2)
FINETUNING = FinetuneConfig(optimiser=OPTIMISER, reversal="relative", reversal_scale=0.5)


def write_faces(folder: Path, name: str, aus: tuple[int, ...], people: int = 3) -> Path:
    """Write noise as labelled recordings of some people."""
    chance = np.random.default_rng([len(name), *name.encode()])
    recordings = []
    for person in range(people):
        frames = folder / f"{name}-p{person}-r0"
        frames.mkdir(parents=True)
        for t in range(1, 5):
            image = chance.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            cv2.imwrite(str(frames / f"{t:06d}.png"), image)
        labels = folder / f"{name}-p{person}-r0.csv"
        values = chance.integers(0, 6, (4, len(aus)), dtype=np.int8)
        write_labels(labels, Labels(aus, np.arange(1, 5), values))
        recordings.append(
            Recording(
                recording_id=frames.name,
                subject_id=f"{name}-p{person}",
                frames=frames,
                labels=labels,
                licence="CC0-1.0",
            )
        )
    listing = folder / "recordings.csv"
    write_recordings(listing, recordings)
    return listing


def write_sites(root: Path, **caps: object) -> dict[str, SiteFolder]:
    """Write two sites."""
    return {
        site_id: write_site(
            root / site_id,
            site_id,
            [write_faces(root / site_id / "data", site_id, aus)],
            labelled_aus=aus,
            seed=0,
            caps={"allows_training_without_privacy": True, **caps},
        )
        for site_id, aus in LABELLED.items()
    }


def write_federation(
    root: Path, folders: dict[str, SiteFolder], *, output: str = "output", **changes: object
) -> FederationConfig:
    """Return a federation of one pretraining and two fine-tuning rounds, and write its file."""
    initial = root / "initial.safetensors"
    write_initial(initial, ENCODER, AUS, seed=7)
    config = FederationConfig(
        run_id="test-run",
        seed=3,
        action_units=AUS,
        initial=initial,
        output=root / output,
        stages=(Stage(rounds=1, training=PRETRAINING), Stage(rounds=2, training=FINETUNING)),
        sites=tuple(f.enrolment() for f in folders.values()),
        timeout_s=300.0,
    )
    return FederationConfig.model_validate({**config.model_dump(), **changes})
