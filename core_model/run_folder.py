"""The folder of a training run: what the run was, and a checkpoint of every epoch. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from core_model.config import Settings


class RunRecord(Settings):
    """What a run was. Names no person."""

    recipe: dict[str, Any]  # all of it, as core_model.recipe has it
    seed: int = Field(ge=0)
    test_partition: str | None  # these people were not trained on
    held_out_share: float = Field(ge=0, lt=1)  # of the others: they choose threshold and epoch
    num_subjects: int  # trained on
    num_frames: int
    local: dict[str, Any] = Field({})  # of a run at a site: what its recipe leaves open


def read_run(folder: Path) -> RunRecord | None:
    """Return the record of a run's folder, or None if it has none.

    Raises:
        ValueError: It is damaged.
    """
    path = _record_path(folder)
    try:
        return RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValidationError as e:
        raise ValueError(f"{path}: damaged: {e}") from e


def write_run(folder: Path, record: RunRecord) -> None:
    """Make a run's folder and write its record."""
    folder.mkdir(parents=True, exist_ok=True)
    _record_path(folder).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")


def epoch_path(folder: Path, epoch: int) -> Path:
    """Return where the checkpoint of an epoch lies."""
    return folder / f"epoch-{epoch:03d}.safetensors"


def epoch_files(folder: Path) -> tuple[Path, ...]:
    """Return the checkpoints of a run, first epoch first."""
    return tuple(sorted(folder.glob("epoch-*.safetensors")))


def _record_path(folder: Path) -> Path:
    return folder / "run.json"
