"""What the dashboard shows, taken anew from the server's folder at each look. Never writes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cryptography import x509
from pydantic import ValidationError

from core_model.checkpoint import CheckpointManifest, manifest_path
from core_model.evaluation.figures import RoundFigures
from fl_server.config import load_draft
from fl_server.dashboard.curves import Measured, measured
from fl_server.figures import shown_figures
from fl_server.folder import ServerFolder
from fl_server.refusals import EXPLAINED
from fl_server.round_state import RoundSummary, RunState, load_state, model_path
from fl_server.run_lock import holder
from fl_server.standing import is_well

Health = Literal["well", "starting", "stopped"]
Cell = Literal["admitted", "refused", "absent"]
SILENT = frozenset({"NO_ANSWER", "SUSPENDED"})  # refusals without a word from the site


@dataclass(frozen=True)
class SiteRow:
    """A site over all rounds."""

    site_id: str
    labelled_aus: tuple[int, ...]
    is_suspended: bool
    last_contact: datetime | None  # end of the last round that it answered in, rightly or not
    num_admitted: int
    num_refused: int
    megabytes: float
    epsilon: str | None  # largest of one person, as the site states it; None: no private round
    cells: tuple[tuple[int, Cell, str], ...]  # round, what came of it, the code if refused


@dataclass(frozen=True)
class Model:
    """The weights after a round."""

    round: int
    purpose: str
    ended_at: datetime
    seconds: float
    has_quorum: bool
    digest: str
    licence: str | None  # None: its manifest cannot be read
    megabytes: float


@dataclass(frozen=True)
class Overview:
    """One look at a server."""

    run_id: str
    health: Health
    finished: int
    total: int
    sites: tuple[SiteRow, ...]
    models: tuple[Model, ...]  # newest first
    reasons: tuple[tuple[str, str, int], ...]  # code, why, how often
    certificate_ends: datetime | None
    has_public_set: bool  # to measure models on
    figures: tuple[RoundFigures, ...]  # of the rounds that were measured, oldest first

    @property
    def measured(self) -> Measured | None:
        """The same as plots; None of none."""
        return measured(self.figures)


def look(folder: ServerFolder) -> Overview:
    """Return how the server of a folder stands.

    Raises:
        SettingsError: federation.toml is not right.
        ServerError: The record of rounds is damaged.
    """
    config = load_draft(folder.federation)
    state = load_state(config.output, config.run_id)
    codes = Counter(code.name for s in state.summaries for code in s.refused.values())
    return Overview(
        run_id=config.run_id,
        health=_health(folder, config.link.health_port),
        finished=state.round,
        total=sum(stage.rounds for stage in config.stages),
        sites=tuple(
            _site(site.site_id, site.labelled_aus, site.suspended, state) for site in config.sites
        ),
        models=tuple(_model(config.output, s) for s in reversed(state.summaries)),
        reasons=tuple((name, EXPLAINED[name], n) for name, n in sorted(codes.items())),
        certificate_ends=_certificate_ends(folder.certificate),
        has_public_set=config.evaluation is not None,
        figures=shown_figures(config.output, state.summaries),
    )


def model_file(folder: ServerFolder, number: int) -> Path | None:
    """Return the weights after a finished round; None if there is no such round or file."""
    config = load_draft(folder.federation)
    state = load_state(config.output, config.run_id)
    path = model_path(config.output, number)
    return path if 1 <= number <= state.round and path.is_file() else None


def _health(folder: ServerFolder, port: int) -> Health:
    if not holder(folder.lock):
        return "stopped"
    return "well" if is_well(port) == "well" else "starting"


def _site(site_id: str, aus: tuple[int, ...], is_suspended: bool, state: RunState) -> SiteRow:
    cells: list[tuple[int, Cell, str]] = []
    for s in state.summaries:
        if site_id in s.admitted:
            cells.append((s.round, "admitted", ""))
        elif site_id in s.refused:
            cells.append((s.round, "refused", s.refused[site_id].name))
        else:
            cells.append((s.round, "absent", ""))
    answered = [
        s.ended_at
        for s, (_, kind, code) in zip(state.summaries, cells, strict=True)
        if kind == "admitted" or (kind == "refused" and code not in SILENT)
    ]
    remembered = state.sites.get(site_id)
    return SiteRow(
        site_id=site_id,
        labelled_aus=aus,
        is_suspended=is_suspended,
        last_contact=datetime.fromtimestamp(answered[-1], UTC) if answered else None,
        num_admitted=sum(kind == "admitted" for _, kind, _ in cells),
        num_refused=sum(kind == "refused" for _, kind, _ in cells),
        megabytes=sum(s.bytes_received.get(site_id, 0) for s in state.summaries) / 1e6,
        epsilon=remembered.epsilon_total if remembered else None,
        cells=tuple(cells),
    )


def _model(output: Path, summary: RoundSummary) -> Model:
    path = model_path(output, summary.round)
    try:
        manifest = CheckpointManifest.model_validate_json(manifest_path(path).read_text())
        licence, size = manifest.licence_line(), path.stat().st_size
    except (OSError, ValidationError):
        licence, size = None, 0
    return Model(
        round=summary.round,
        purpose=summary.purpose,
        ended_at=datetime.fromtimestamp(summary.ended_at, UTC),
        seconds=summary.seconds,
        has_quorum=summary.has_quorum,
        digest=summary.model_out,
        licence=licence,
        megabytes=size / 1e6,
    )


def _certificate_ends(path: Path) -> datetime | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None
