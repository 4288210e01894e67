"""What the server remembers between rounds, on disk: summaries and each site's last tree head."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from pydantic import Field, ValidationError

from consent.note import TreeHead
from core_model.config import Purpose, Settings
from core_model.protocol.messages import RefusalCode
from fl_server.errors import ServerError


class RoundSummary(Settings):
    """What happened in one round."""

    round: int
    purpose: Purpose
    admitted: tuple[str, ...]
    refused: dict[str, RefusalCode]
    has_quorum: bool  # if not, the weights stayed as they were
    weights: tuple[str, ...]  # names that crossed the wire
    bytes_received: dict[str, int]
    model_in: str
    model_out: str
    seconds: float


class RememberedHead(Settings):
    """A tree head as JSON."""

    origin: str
    size: int
    root: str  # base64


class RunState(Settings):
    """A run after its last finished round."""

    run_id: str
    summaries: tuple[RoundSummary, ...] = ()
    heads: dict[str, RememberedHead] = Field(default_factory=dict)

    @property
    def round(self) -> int:
        """The last finished round; 0 before the first."""
        return len(self.summaries)

    def head(self, site_id: str) -> TreeHead | None:
        """Return the head of a site's consent log that was seen last."""
        if (kept := self.heads.get(site_id)) is None:
            return None
        return TreeHead(kept.origin, kept.size, base64.b64decode(kept.root))

    def after(self, summary: RoundSummary, heads: dict[str, TreeHead]) -> RunState:
        """Return the state after one more round."""
        seen = {
            site: RememberedHead(
                origin=h.origin, size=h.size, root=base64.b64encode(h.root).decode()
            )
            for site, h in heads.items()
        }
        return RunState(
            run_id=self.run_id, summaries=(*self.summaries, summary), heads=self.heads | seen
        )


def load_state(folder: Path, run_id: str) -> RunState:
    """Return the state in ``folder``, or that of a new run.

    Raises:
        ServerError: The folder is of another run, or its state is damaged.
    """
    path = folder / "run.json"
    if not path.exists():
        return RunState(run_id=run_id)
    try:
        state = RunState.model_validate_json(path.read_text())
    except ValidationError as e:
        raise ServerError(f"{path}: damaged; restore it or choose another output folder") from e
    if state.run_id != run_id:
        raise ServerError(f"{path} is of run {state.run_id}; choose another output folder")
    return state


def save_state(folder: Path, state: RunState) -> None:
    """Write the state, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"run.json.{os.getpid()}.draft"
    draft.write_text(state.model_dump_json(indent=2) + "\n")
    draft.replace(folder / "run.json")
