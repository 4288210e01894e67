"""omote-server: look at a federation and at its rounds. Thin; starts without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core_model.checkpoint import CheckpointError, load_checkpoint
from core_model.settings_file import SettingsError
from fl_server.config import load_federation
from fl_server.round_state import RunState

app = typer.Typer(no_args_is_help=True, help="Run and watch a federation.")
FederationFile = Annotated[Path, typer.Argument(help="The federation.toml.")]
EXPLAINED = {
    "PLAN_NOT_ALLOWED": "the site's own caps do not allow this plan",
    "NO_CONSENTED_DATA": "nobody at the site agrees to this purpose",
    "TOO_FEW_SUBJECTS": "fewer people than asked for",
    "CONSENT_CHANGED": "consent was withdrawn or expired while training",
    "REQUEST_DAMAGED": "the weights that arrived are not those of the plan",
    "NOT_MY_ATTESTATION": "the server names an attestation that the site never signed",
    "SITE_FAULT": "see the site's own log",
    "NOT_ENROLLED": "not the site that was asked",
    "WRONG_WEIGHTS": "not exactly the shared weights, or not finite",
    "BAD_SIGNATURE": "not signed by the enrolled keys",
    "WRONG_ROUND": "made for another run, round, purpose or model",
    "WRONG_UPDATE": "signed for other bytes",
    "LOG_NOT_GROWN": "the consent log was rewritten or cut",
    "WRONG_LABELS": "AUs or counts that were not agreed",
    "ANSWERED_TWICE": "a second answer in one round",
    "BROKEN_CHAIN": "the attestation does not follow the one admitted before",
    "WRONG_RULES": "rules or software are not those that [demands] names",
    "WRONG_EPSILON": "less noise than stated, or beyond the budget",
    "LEDGER_UNSOUND": "the site's privacy ledger is damaged or an old copy: its operator must look",
    "BUDGET_SPENT": "too few people there have enough of their privacy budget left",
    "LEDGER_RESTARTED": "the privacy ledger does not extend the one seen before",
    "NO_ANSWER": "no answer in time",
}


@app.command()
def check(federation: FederationFile) -> None:
    """Check a federation.toml and its initial checkpoint; show what would run."""
    try:
        config = load_federation(federation)
        _, manifest = load_checkpoint(config.initial)
    except (SettingsError, CheckpointError) as e:
        typer.echo(str(e), err=True)
        raise typer.Exit(1) from e
    shared = manifest.weights.shared("finetuning")
    typer.echo(f"run {config.run_id}: {len(config.sites)} sites, quorum {config.quorum}")
    for stage in config.stages:
        typer.echo(f"  {stage.rounds} rounds of {stage.training.purpose}")
    for site in config.sites:
        labels = ", ".join(f"AU{au}" for au in site.labelled_aus) or "pretraining only"
        typer.echo(f"  {site.site_id}: weight {site.weight:g}; {labels}")
    typer.echo(f"shared in a round of finetuning: {shared.num_bytes():,} bytes a site")
    typer.echo("Right. Next: flwr run . --run-config 'federation=\"/path/to/federation.toml\"'")


@app.command()
def rounds(federation: FederationFile) -> None:
    """Show the rounds of a run: who was admitted, who was refused, and why."""
    try:
        config = load_federation(federation)
    except SettingsError as e:
        typer.echo(str(e), err=True)
        raise typer.Exit(1) from e
    path = config.output / "run.json"
    if not path.exists():
        typer.echo(f"No round is finished yet in {config.output}.")
        raise typer.Exit
    for summary in RunState.model_validate_json(path.read_text()).summaries:
        admitted = ", ".join(summary.admitted) or "nobody"
        typer.echo(f"round {summary.round} ({summary.purpose}): admitted {admitted}")
        for site, code in summary.refused.items():
            typer.echo(f"  refused {site}: {code.name}, {EXPLAINED[code.name]}")
        if not summary.has_quorum:
            typer.echo("  no quorum: the weights stayed as they were")
