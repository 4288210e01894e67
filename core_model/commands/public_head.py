"""omote-model public-head: an identity head of public people, for private rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core_model.checkpoint import CheckpointError
from core_model.frozen_head import write_frozen_head


def public_head(
    checkpoint: Annotated[Path, typer.Argument(help="Where private rounds will start.")],
    recordings: Annotated[
        Path, typer.Argument(help="List of PUBLIC or generated people, at no site.")
    ],
    out: Annotated[Path, typer.Argument(help="File to write; each site is given it.")],
    seed: Annotated[int, typer.Option(help="Of the fresh head.")] = 0,
) -> None:
    """Train a linear head that names public people, for identity_head = "frozen" in a plan.

    The encoder of a private round learns to confuse it. It must know nobody of any site: give it
    PUBLIC or generated people. The plan names the digest that is printed; each site gets the file
    and lists it in frozen_heads of its site.toml. What it brings is measured in docs/privacy.md.
    """
    from core_model.data.frames import FrameDataset  # torch takes a second: not for --help
    from core_model.data.recordings import read_recordings
    from core_model.evaluation.model_run import load_detector
    from core_model.training.public_head import fit_head, share_named

    try:
        import torch

        from core_model.evaluation.predict import predict

        model, manifest = load_detector(checkpoint)
        people = FrameDataset(read_recordings(recordings), manifest.encoder.image_size)
        features = torch.from_numpy(predict(model, people, device=torch.device("cpu"))[1])
        head = fit_head(features, people.identities, len(people.subjects), seed)
        named = share_named(head, features, people.identities)
        digest = write_frozen_head(out, head)
    except (CheckpointError, ValueError, OSError) as e:
        typer.echo(str(e), err=True)
        raise typer.Exit(1) from e
    typer.echo(f"Wrote {out}: names {named:.0%} of the faces of {len(people.subjects)} people.")
    typer.echo("Next, in the privacy plan of a stage in federation.toml:")
    typer.echo(f'  identity_head = "frozen"\n  frozen_head = "{digest}"')
    typer.echo("and in each site.toml: frozen_heads = [the file]")
