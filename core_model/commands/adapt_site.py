"""omote-model adapt-site: bring a detector to a new site, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core_model.adaptation import AdaptationConfig, Trained
from core_model.checkpoint import CheckpointError
from core_model.data.recordings import read_recordings

DEFAULTS = AdaptationConfig()


def adapt_site(
    checkpoint: Annotated[Path, typer.Option(help="The detector as it came.")],
    recordings: Annotated[Path, typer.Option(help="This site's recordings; labels stay unread.")],
    out: Annotated[Path, typer.Option(help="File to write, such as adapted.safetensors.")],
    train: Annotated[
        Trained, typer.Option(help="Weights that may move: bottlenecks, norms or all.")
    ] = DEFAULTS.trained,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="That came with the detector.")
    ] = 0.5,
    confident: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of its answers to learn from.")
    ] = DEFAULTS.confident_share,
    width: Annotated[int, typer.Option(min=1, help="Of a bottleneck.")] = DEFAULTS.width,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the frames.")] = DEFAULTS.epochs,
    learning_rate: Annotated[float, typer.Option(help="Peak.")] = DEFAULTS.learning_rate,
    may_leave_site: Annotated[
        bool, typer.Option("--may-leave-site", help="The people filmed agreed to that.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of all chance.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Adapt a detector to this site's faces: it learns from its own confident answers.

    The result stays at the site. Whether it is better can only be told with some labels:
    omote-model evaluate --compare.
    """
    from core_model.training.adapt_run import run_adaptation
    from core_model.training.device import pick_device

    try:
        config = AdaptationConfig(
            trained=train,
            width=width,
            confident_share=confident,
            epochs=epochs,
            learning_rate=learning_rate,
        )
        manifest = run_adaptation(
            checkpoint,
            read_recordings(recordings),
            out,
            config,
            threshold=threshold,
            may_leave_site=may_leave_site,
            seed=seed,
            device=pick_device(device),
            tell=typer.echo,
        )
    except (ValueError, CheckpointError, OSError) as e:
        typer.echo(str(e), err=True)
        raise typer.Exit(1) from e
    done = manifest.adaptation
    assert done is not None
    typer.echo(f"Learned from {done.num_frames:,} frames of {done.num_subjects} people, no labels.")
    typer.echo(f"Wrote {out}; it {'may leave' if done.may_leave_site else 'stays at'} this site.")
    typer.echo(f"Next: omote-model evaluate --checkpoint {checkpoint} --compare {out}")
