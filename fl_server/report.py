"""One HTML page about a run, for people who were not there. No script, no network."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import ValidationError

from core_model.checkpoint import CheckpointManifest, manifest_path
from fl_server.config import FederationDraft, load_draft
from fl_server.figures import shown_figures
from fl_server.folder import ServerFolder
from fl_server.refusals import EXPLAINED
from fl_server.round_state import RoundSummary, load_state, model_path


def write_report(folder: ServerFolder, out: Path, now: datetime) -> None:
    """Write the page.

    Raises:
        SettingsError: federation.toml is not right.
        ServerError: The record of rounds is damaged.
    """
    config = load_draft(folder.federation)
    summaries = load_state(config.output, config.run_id).summaries
    page = Environment(
        loader=PackageLoader("fl_server"), autoescape=True, undefined=StrictUndefined
    ).get_template("report.html")
    text = page.render(
        config=config,
        rounds=summaries,
        sites=_sites(config, summaries),
        reasons=_reasons(summaries),
        figures={f.round: f for f in shown_figures(config.output, summaries)},
        model=_model(config, summaries),
        total=sum(stage.rounds for stage in config.stages),
        written_at=now,
        when=lambda s: datetime.fromtimestamp(s, UTC).strftime("%Y-%m-%d %H:%M"),
    )
    draft = out.with_name(f"{out.name}.{os.getpid()}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(out)


def _sites(config: FederationDraft, summaries: tuple[RoundSummary, ...]) -> list[dict[str, object]]:
    return [
        {
            "site": site,
            "admitted": sum(site.site_id in s.admitted for s in summaries),
            "refused": sum(site.site_id in s.refused for s in summaries),
            "megabytes": sum(s.bytes_received.get(site.site_id, 0) for s in summaries) / 1e6,
        }
        for site in config.sites
    ]


def _reasons(summaries: tuple[RoundSummary, ...]) -> list[tuple[str, str, int]]:
    codes = [code.name for s in summaries for code in s.refused.values()]
    return [(name, EXPLAINED[name], codes.count(name)) for name in sorted(set(codes))]


def _model(config: FederationDraft, summaries: tuple[RoundSummary, ...]) -> dict[str, str]:
    """Return what is known of the last model; nothing before the first round."""
    if not summaries:
        return {}
    path = model_path(config.output, summaries[-1].round)
    try:
        manifest = CheckpointManifest.model_validate_json(manifest_path(path).read_text())
    except (OSError, ValidationError) as e:
        return {"file": str(path), "fault": f"cannot be read: {type(e).__name__}"}
    return {"file": str(path), "digest": manifest.digest, "licence": manifest.licence_line()}
