"""Commands about people. Outside ids are read from a file or standard input, never shown."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from consent.commands.shell import (
    DEFAULT_FOLDER,
    AsJson,
    Folder,
    OutsideFile,
    Subject,
    digest_of,
    opened,
    plain_errors,
    print_json,
    read_outside_id,
)
from consent.hooks import after_withdrawal
from consent.model import Purpose, Relation
from consent.state import decide

app = typer.Typer(no_args_is_help=True, help="People: register, find, show, erase.")


@app.command()
def add(
    relation: Annotated[Relation, typer.Option(help="To the site.")] = Relation.VOLUNTEER,
    jurisdiction: Annotated[
        str | None,
        typer.Option(help="ISO 3166 code, or EU; without: the site's territory, else EU."),
    ] = None,
    adult_from: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Of a minor: day of majority.")
    ] = None,
    without_outside_id: Annotated[
        bool, typer.Option(help="Nothing to find this person by but the new subject id.")
    ] = False,
    outside_id_file: OutsideFile = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Register a person; print the random subject id to label recordings with."""
    with plain_errors():
        registry = opened(folder)
        outside_id = None if without_outside_id else read_outside_id(outside_id_file)
        day = adult_from.date() if adult_from else None
        described = registry.state().site
        place = jurisdiction or (described and described.event.territory) or "EU"
        typer.echo(registry.register(outside_id, relation, place, day))


@app.command()
def find(outside_id_file: OutsideFile = None, folder: Folder = DEFAULT_FOLDER) -> None:
    """Print the subject id of a person known by an outside id. Exit code 1: not registered."""
    with plain_errors():
        found = opened(folder).find(read_outside_id(outside_id_file))
    if found is None:
        typer.echo("not registered", err=True)
        raise typer.Exit(1)
    typer.echo(found)


@app.command()
def show(subject: Subject, folder: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Show what may be done with a person's data now, and why."""
    with plain_errors():
        registry = opened(folder)
        state, at = registry.state(), registry.now()
        person = state.find(subject)
    decisions = {p: decide(state, subject, p, at) for p in Purpose}
    if as_json:
        print_json(
            {
                "subject_id": subject,
                "decisions": {
                    p: {"status": d.status, "entry": d.index, "why": d.why}
                    for p, d in decisions.items()
                },
                "history": [
                    {
                        "entry": i.index,
                        "time": i.time.isoformat(),
                        **i.event.model_dump(mode="json"),
                    }
                    for i in person.history
                ],
            }
        )
        return
    for purpose, decision in decisions.items():
        typer.echo(f"{purpose:16} {decision.status:18} {decision.why}")


@app.command()
def guardian(
    minor: Subject,
    guardian: Annotated[str, typer.Argument(help="Subject id of the guardian.")],
    evidence: Annotated[Path, typer.Option(help="What shows it. Only its digest is kept.")],
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Record that someone was shown to be a minor's guardian."""
    with plain_errors():
        index = opened(folder).link_guardian(minor, guardian, digest_of(evidence))
    typer.echo(f"Linked as entry {index}.")


@app.command()
def erase(
    subject: Subject,
    ground: Annotated[str, typer.Option(help="Legal ground.")] = "GDPR 17(1)(b)",
    suppress: Annotated[
        bool, typer.Option(help="Also refuse to register the same outside id again.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Make all records of a person unreadable, for good. All proofs stay valid."""
    if not yes:
        typer.confirm("Nobody can read this person's records afterwards. Go on?", abort=True)
    with plain_errors():
        registry = opened(folder)
        index = registry.erase(subject, ground, suppress=suppress)
        typer.echo(f"Erased; entry {index} says so. Destroy old copies of keys/kek.key as well.")
        printed = after_withdrawal(registry.folder)
    typer.echo(printed or "Next: omote-consent asset orphans; omote-site purge SITE.TOML")
