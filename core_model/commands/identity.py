"""omote-model identity: how much identity a detector gives away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core_model.checkpoint import CheckpointError

if TYPE_CHECKING:  # scikit-learn and scipy take a second: not for --help
    from core_model.evaluation.identity_result import IdentityResult


def identity(
    checkpoint: Annotated[Path, typer.Option(help="A checkpoint, or a run of omote-model train.")],
    recordings: Annotated[Path, typer.Option(help="People who may have been trained on.")],
    out: Annotated[Path, typer.Option(help="Folder for JSON, CSV and the page.")],
    new_people: Annotated[Path | None, typer.Option(help="People who were not.")] = None,
    frames_per_recording: Annotated[int, typer.Option(min=2, help="Thin out above it.")] = 50,
    seed: Annotated[int, typer.Option(help="Of all chance.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Attack a detector: name people from its features, logits and AU outputs.

    Every person needs two recordings: attackers learn from some and are tested on others.
    """
    from core_model.evaluation.identity_run import attack_model
    from core_model.training.device import pick_device

    try:
        from core_model.evaluation.report.identity_page import write_identity
    except ImportError as e:
        typer.echo(f"the report needs {e.name}: pip install 'omote[report]'", err=True)
        raise typer.Exit(1) from e
    try:
        result = attack_model(
            checkpoint,
            recordings,
            new_people,
            frames_per_recording=frames_per_recording,
            seed=seed,
            device=pick_device(device),
            tell=lambda line: typer.echo(line, err=True),
        )
        page = write_identity(result, out)
    except (ValueError, CheckpointError, OSError) as e:
        typer.echo(str(e), err=True)
        raise typer.Exit(1) from e
    for line in summary(result):
        typer.echo(line)
    typer.echo(f"Report: {page}")


def summary(result: IdentityResult) -> list[str]:
    """Return the result in a few lines: the strongest attack on each surface."""
    lines = [f"licence: {result.model.licence}"]
    for group in result.groups:
        kind = "new people" if group.are_new else "people given"
        lines.append(f"{group.name} ({kind}, {group.num_people}): guessing {group.chance:.3f}")
        for surface, found in group.surfaces.items():
            best = max(found.attacks, key=lambda a: a.accuracy.value or 0.0)
            eer = found.verification.equal_error_rate.value if found.verification else None
            verified = f"; equal error rate {eer:.3f}" if eer is not None else ""
            lines.append(
                f"  {surface:10} {best.attacker} names {best.accuracy.value:.3f} of frames, "
                f"{best.recording_accuracy.value:.3f} of recordings{verified}"
            )
        lines.append(f"  paper's weak probe on features: {group.weak_probe.paper:.3f}")
    return [*lines, "Identity is suppressed at best, never removed: these are not anonymous."]
