"""omote-consent audit run: verify a whole run from a server's files, away from the server."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from consent.audit.run_check import Behind, RunCheck, SiteKeys, check_runs, read_keys
from consent.audit.run_log import read_run_log
from consent.commands.audit_options import tell
from consent.commands.shell import EXIT_FINDING, AsJson, plain_errors
from consent.cosignature import witness_key
from consent.keys import VerifierKey

app = typer.Typer()


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="The server's folder, or a copy of it.")],
    key: Annotated[str, typer.Option(help="The server's log key, from an invitation.")],
    sites: Annotated[
        Path | None, typer.Option(help="SITE.toml with the sites' keys; else sites/ in FOLDER.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Digest of a model, or its beginning; else the last ones.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify every round, attestation and cosignature; name the sites behind each model."""
    with plain_errors():
        keys = read_keys(sites or folder / "sites")
        witnesses = [witness_key(k.operator) for k in keys.values()]
        log = read_run_log(folder / "round-log", VerifierKey.parse(key), witnesses)
        outputs = sorted(path.parent for path in folder.glob("*/attestations"))
        checks = check_runs(log, keys, outputs)
    faults = [*log.faults, *(fault for check in checks for fault in check.faults)]
    lines = [f"{log.head.size} rounds signed by {log.head.origin}, root {log.head.root.hex()}"]
    lines += _witnessed(keys, log.witnesses)
    for check in checks:
        lines += _lines(check, model)
    found = {
        "size": log.head.size,
        "root": log.head.root.hex(),
        "cosigned": log.witnesses,
        "runs": [asdict(check) for check in checks],
        "faults": faults,
    }
    tell(found, as_json, *lines, *(f"FAULT: {fault}" for fault in faults))
    if faults:
        raise typer.Exit(EXIT_FINDING)


def _witnessed(keys: dict[str, SiteKeys], witnesses: dict[str, int]) -> list[str]:
    names = ", ".join(f"{s}: {witnesses[s]} entries" for s in keys if s in witnesses)
    never = ", ".join(s for s in keys if s not in witnesses)
    return [f"cosigned by {names or 'nobody'}" + (f"; never by {never}" if never else "")]


def _lines(check: RunCheck, model: str | None) -> list[str]:
    lines = [
        f"run {check.run_id}: {len(check.models)} rounds, {check.num_attestations} attestations "
        f"hold, {len(check.configs)} version(s) of the settings"
    ]
    shown = [n for n, m in check.models.items() if model and m.digest.startswith(model)]
    for number in shown if model else list(check.models)[-1:]:
        made = check.models[number]
        lines.append(f"model {made.digest} of round {number}:")
        lines += [_about(site, behind) for site, behind in made.sites.items()] or ["  nobody"]
    return lines


def _about(site: str, behind: Behind) -> str:
    rules = ", ".join(p[:16] for p in sorted(behind.policies)) or "none told"
    promise = f"epsilon {behind.epsilon}" if behind.epsilon else "no promise of privacy"
    if behind.epsilon and behind.has_unprotected:
        promise += ", and rounds without noise"
    return (
        f"  {site}: {len(behind.rounds)} rounds, last {behind.rounds[-1]}; consent log "
        f"{behind.head}; {promise}; rules {rules}"
    )
