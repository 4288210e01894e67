"""omote-model evaluate: how good a detector is, cleanly and as the paper reports it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from core_model.checkpoint import CheckpointError
from core_model.evaluation.thresholds import ThresholdPolicy

if TYPE_CHECKING:  # scikit-learn and scipy take a second: not for --help
    from core_model.evaluation.result import EvaluationResult


def evaluate(
    checkpoint: Annotated[Path, typer.Option(help="A checkpoint, or a run of omote-model train.")],
    recordings: Annotated[Path, typer.Option(help="Labelled recordings of the test people.")],
    out: Annotated[Path, typer.Option(help="Folder for JSON, CSV and the page.")],
    validation: Annotated[
        Path | None, typer.Option(help="People who choose the threshold; of a run: its own list.")
    ] = None,
    people: Annotated[str | None, typer.Option(help="Only these, such as disfa/P1.")] = None,
    protocol: Annotated[
        Literal["clean", "paper", "both"], typer.Option(help="paper looks at the test people.")
    ] = "both",
    threshold: Annotated[
        ThresholdPolicy | None, typer.Option(help="Of the clean protocol.")
    ] = None,
    compare: Annotated[Path | None, typer.Option(help="A second model, same people.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Evaluate an AU detector on people it was not trained on.

    Intervals are by subject. Every figure whose threshold or epoch was chosen on the test people
    carries a warning.
    """
    from core_model.evaluation.model_run import choose_people, evaluate_model
    from core_model.training.device import pick_device

    try:
        from core_model.evaluation.report.page import write_evaluation
    except ImportError as e:
        typer.echo(f"the report needs {e.name}: pip install 'omote[report]'", err=True)
        raise typer.Exit(1) from e
    try:
        result = evaluate_model(
            checkpoint,
            choose_people(checkpoint, recordings, people, validation),
            protocols=["clean", "paper"] if protocol == "both" else [protocol],
            policy=threshold,
            other=compare,
            device=pick_device(device),
        )
        page = write_evaluation(result, out)
    except (ValueError, CheckpointError, OSError) as e:
        typer.echo(str(e), err=True)
        raise typer.Exit(1) from e
    for line in summary(result):
        typer.echo(line)
    typer.echo(f"Report: {page}")


def summary(result: EvaluationResult) -> list[str]:
    """Return the result in a few lines; a figure that peeked says so on its own line."""
    data = result.data
    lines = [
        f"{result.model.name} on {data.name}: {data.num_people} people, {data.num_frames} frames",
        f"licence: {result.model.licence}",
    ]
    for name, p in result.protocols.items():
        warning = f"  WARNING: {p.warning}" if p.warning else ""
        f1, auc = p.macro["f1"], p.macro["auc"]
        interval = f" [{f1.low:.3f}, {f1.high:.3f}]" if f1.low is not None else ""
        lines.append(
            f"{name:6} macro F1 {f1.value:.3f}{interval}, AUC {auc.value:.3f}, epoch {p.epoch}, "
            f"{p.threshold_policy}{warning}"
        )
    if c := result.comparison:
        d = c.macro_f1_difference
        lines.append(
            f"{c.other.name} minus {result.model.name}: macro F1 {d.value:+.3f}, "
            f"p = {c.p_value:.3f}, on the same {c.num_people} people"
        )
    return lines + [f"note: {note}" for note in result.notes]


def cross(
    checkpoint: Annotated[list[str], typer.Option(help="NAME=CHECKPOINT; repeat.")],
    recordings: Annotated[list[str], typer.Option(help="NAME=LIST of people; repeat.")],
    out: Annotated[Path, typer.Option(help="Folder for JSON, CSV and the page.")],
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Evaluate every model on every set of people, over the AUs that all share."""
    from core_model.evaluation.cross import cross as run
    from core_model.training.device import pick_device

    try:
        from core_model.evaluation.report.cross_page import write_cross
    except ImportError as e:
        typer.echo(f"the report needs {e.name}: pip install 'omote[report]'", err=True)
        raise typer.Exit(1) from e
    try:
        result = run(named(checkpoint), named(recordings), device=pick_device(device))
        page = write_cross(result, out)
    except (ValueError, CheckpointError, OSError) as e:
        typer.echo(str(e), err=True)
        raise typer.Exit(1) from e
    for name, model in result.models.items():
        typer.echo(f"{name}: licence {model.licence}")
    typer.echo(f"shared: {', '.join(f'AU{au}' for au in result.action_units)}; threshold 0.5")
    for cell in result.cells:
        f1, auc = cell.macro["f1"].value, cell.macro["auc"].value
        typer.echo(f"  {cell.model} on {cell.people}: macro F1 {f1:.3f}, AUC {auc:.3f}")
    typer.echo(f"Report: {page}")


def named(options: list[str]) -> dict[str, Path]:
    """Return NAME=PATH options as a dict.

    Raises:
        ValueError: One is not of this form, or a name comes twice.
    """
    pairs = [option.partition("=") for option in options]
    if any(not name or not path for name, _, path in pairs):
        raise ValueError(f"expected NAME=PATH, got {options}")
    found = {name: Path(path) for name, _, path in pairs}
    if len(found) != len(pairs):
        raise ValueError(f"a name comes twice in {options}")
    return found
