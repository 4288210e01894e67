"""omote-consent: keep a consent log. Thin: parse, call one function, print."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from consent.errors import ConsentError, LogDamagedError
from consent.gate import ConsentGate
from consent.keys import SigningKey, VerifierKey
from consent.log import ConsentLog
from consent.model import ConsentGiven, ConsentWithdrawn, Purpose
from consent.verify import verify_log

app = typer.Typer(
    no_args_is_help=True,
    help="Keep a consent log that an auditor can verify. Start with: omote-consent init my-site",
)
Folder = Annotated[Path, typer.Option("--folder", help="Folder of the log and its keys.")]
PurposeList = Annotated[
    list[Purpose], typer.Option("--purpose", help="Repeat for several. Each is asked on its own.")
]
DEFAULT_FOLDER = Path("consent-log")
EXIT_FINDING, EXIT_INTEGRITY = 1, 3


@app.command()
def init(site: str, folder: Folder = DEFAULT_FOLDER) -> None:
    """Make the keys and an empty consent log of SITE."""
    folder.mkdir(parents=True, exist_ok=True)
    log_key = SigningKey.generate(f"{site}/consent-log")
    registrar = SigningKey.generate(f"{site}/registrar")
    try:
        log_key.save(folder / "log.key")
        registrar.save(folder / "registrar.key")
        ConsentLog.create(folder / "consent.sqlite", log_key, [registrar], _now)
    except (ConsentError, FileExistsError) as e:
        _stop(f"{e}. This site has a log already; nothing was changed.")
    typer.echo(f"Made {folder}. The key that others check this log with (it is no secret):")
    typer.echo(f"  {log_key.verifier.vkey}")
    typer.echo("Next: omote-consent give --purpose pretraining --notice NOTICE.txt")


@app.command()
def give(
    purpose: PurposeList,
    notice: Annotated[Path, typer.Option(help="The exact text that the person was shown.")],
    subject: Annotated[str | None, typer.Option(help="Known subject; else a new one.")] = None,
    valid_days: Annotated[int | None, typer.Option(min=1, help="Days until it expires.")] = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Record that a person agreed; print the subject id to label recordings with."""
    subject_id = subject or secrets.token_hex(16)
    expires_at = None if valid_days is None else _now() + timedelta(days=valid_days)
    event = ConsentGiven(
        subject_id=subject_id,
        purposes=frozenset(purpose),
        notice_sha256=hashlib.sha256(notice.read_bytes()).hexdigest(),
        expires_at=expires_at,
    )
    _append(folder, event)
    typer.echo(subject_id)


@app.command()
def withdraw(subject: str, purpose: PurposeList, folder: Folder = DEFAULT_FOLDER) -> None:
    """Record that a person took consent back. The next round leaves the person out."""
    _append(folder, ConsentWithdrawn(subject_id=subject, purposes=frozenset(purpose)))
    typer.echo("Withdrawn. A round that is running now will be refused; the next one is without.")


@app.command()
def show(subject: str, folder: Folder = DEFAULT_FOLDER) -> None:
    """Show what may be done with a person's data now."""
    gate = ConsentGate(ConsentLog(folder / "consent.sqlite"), _now)
    for purpose in Purpose:
        ruling = gate.rule([subject], purpose)
        typer.echo(f"{purpose.value:12} {ruling.decisions[subject].value}")


@app.command()
def verify(
    vkey: Annotated[str, typer.Argument(help="The log's public key, from init.")],
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Recompute the whole log. Exit code 0: intact, 3: damaged (the entry is named)."""
    try:
        found = verify_log(folder / "consent.sqlite", VerifierKey.parse(vkey))
    except LogDamagedError as e:
        typer.echo(f"DAMAGED: {e}", err=True)
        raise typer.Exit(EXIT_INTEGRITY) from e
    except (ConsentError, FileNotFoundError) as e:
        _stop(str(e))
    typer.echo(f"Intact: {found.size} entries, root {found.root.hex()}")
    typer.echo(f"Openings erased: {found.num_erased}")


def _append(folder: Path, event: ConsentGiven | ConsentWithdrawn) -> None:
    try:
        log_key = SigningKey.load(folder / "log.key")
        registrar = SigningKey.load(folder / "registrar.key")
        ConsentLog(folder / "consent.sqlite", log_key).append([event], registrar, _now)
    except (ConsentError, FileNotFoundError) as e:
        _stop(str(e))


def _now() -> datetime:
    return datetime.now(UTC)


def _stop(message: str) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(EXIT_FINDING)
