"""What the server remembers between rounds, on disk: summaries and what each site said last."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from consent.attestation_check import Seen
from consent.epsilon import Spent
from consent.ledger_state import LedgerHead
from consent.note import TreeHead
from core_model.config import Purpose, Settings
from core_model.durable import put_in_place
from core_model.protocol.messages import RefusalCode
from fl_server.errors import ServerError


class RoundSummary(Settings):
    """What happened in one round."""

    round: int
    purpose: Purpose
    admitted: tuple[str, ...]
    attestations: dict[str, str]  # digest of the one that was admitted from each site
    updates: dict[str, str] = Field(
        default_factory=dict
    )  # digest of the weights that were admitted from each site
    tree_heads: dict[str, str] = Field(default_factory=dict)  # size and root of consent logs
    plan: str = ""  # digest of what was asked of all sites
    config: str = ""  # digest of the federation's settings
    ended_at: int = 0  # unix seconds
    refused: dict[str, RefusalCode]
    has_quorum: bool  # if not, the weights stayed as they were
    sum_lost: RefusalCode | None = None  # why a secure sum could not be used; then no quorum either
    weights: tuple[str, ...]  # names that crossed the wire
    bytes_received: dict[str, int]
    model_in: str
    model_out: str
    seconds: float


class BranchPoint(Settings):
    """Where a run left another one."""

    run_id: str  # of the other
    round: int = Field(ge=1)  # the last one that both have


class RememberedSite(Settings):
    """What was seen of a site last. New keys of the site do not empty it."""

    origin: str  # of its consent log
    size: int
    root: str  # base64
    attestation: str  # digest; empty: none yet in this run, which left another one
    spent: tuple[Spent, ...] = ()
    epsilon_total: str | None = None
    ledger: LedgerHead | None = None  # of the site's privacy ledger


class RunState(Settings):
    """A run after its last finished round."""

    run_id: str
    summaries: tuple[RoundSummary, ...] = ()
    sites: dict[str, RememberedSite] = Field(default_factory=dict)
    branch: BranchPoint | None = None  # rounds up to it are those of the other run

    @property
    def round(self) -> int:
        """The last finished round; 0 before the first."""
        return len(self.summaries)

    def seen(self, site_id: str) -> Seen | None:
        """Return what was seen of a site last."""
        if (kept := self.sites.get(site_id)) is None:
            return None
        head = TreeHead(kept.origin, kept.size, base64.b64decode(kept.root))
        return Seen(head, kept.attestation, kept.spent, kept.epsilon_total, kept.ledger)

    def after(self, summary: RoundSummary, seen: Mapping[str, Seen]) -> RunState:
        """Return the state after one more round."""
        return RunState(
            run_id=self.run_id,
            summaries=(*self.summaries, summary),
            sites=self.sites | {site: _remember(s) for site, s in seen.items()},
            branch=self.branch,
        )


def _remember(seen: Seen) -> RememberedSite:
    return RememberedSite(
        origin=seen.tree_head.origin,
        size=seen.tree_head.size,
        root=base64.b64encode(seen.tree_head.root).decode(),
        attestation=seen.digest,
        spent=seen.spent,
        epsilon_total=seen.epsilon_total,
        ledger=seen.ledger,
    )


def model_path(folder: Path, number: int) -> Path:
    """Return where the weights after a round lie."""
    return folder / f"round-{number:04d}.safetensors"


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
    """Write the state, whole or not at all; it is on the disk when this returns."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"run.json.{os.getpid()}.draft"
    draft.write_text(state.model_dump_json(indent=2) + "\n")
    put_in_place(draft, folder / "run.json")
