"""Where the figures of rounds lie, which are missing, and which may be shown together.

Figures are of one model on one public set: under another file of weights, or after a change of the
set, they are measured anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from core_model.checkpoint import CheckpointManifest, manifest_path
from core_model.evaluation.figures import RoundFigures, read_figures
from fl_server.round_state import RoundSummary, model_path


def figures_path(output: Path, number: int) -> Path:
    """Return the file with the figures of a round."""
    return output / "figures" / f"round-{number:04d}.json"


def missing_figures(
    output: Path, summaries: Sequence[RoundSummary], people: str
) -> tuple[int, ...]:
    """Return the rounds to measure, the newest first; pretraining finds no AUs and has none.

    Args:
        output: Folder of the run.
        summaries: Its finished rounds.
        people: Digest of the public set.
    """
    measured = {f.round for f in _figures(output, summaries) if f.people == people}
    return tuple(
        s.round
        for s in reversed(summaries)
        if s.purpose == "finetuning" and s.round not in measured
    )


def shown_figures(output: Path, summaries: Sequence[RoundSummary]) -> tuple[RoundFigures, ...]:
    """Return what was measured on the people that the newest figures are of, oldest first."""
    found = tuple(_figures(output, summaries))
    return tuple(f for f in found if f.people == found[-1].people)


def newest_figures(output: Path, summaries: Sequence[RoundSummary]) -> RoundFigures | None:
    """Return the figures of the newest round that has any."""
    return next(_figures(output, tuple(reversed(summaries))), None)


def _figures(output: Path, summaries: Sequence[RoundSummary]) -> Iterator[RoundFigures]:
    """Yield whole figures of the very weights that are there."""
    for summary in summaries:
        figures = read_figures(figures_path(output, summary.round))
        if figures is not None and figures.model == _digest(model_path(output, summary.round)):
            yield figures


def _digest(model: Path) -> str | None:
    try:
        text = manifest_path(model).read_text()
        return CheckpointManifest.model_validate_json(text).digest
    except (OSError, ValidationError):
        return None
