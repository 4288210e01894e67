"""Options that several audit commands have, and what they open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from consent.audit.facts import Facts
from consent.audit.load import Request, load
from consent.commands.shell import now, opened, print_json, read_outside_id

State = Annotated[
    Path | None, typer.Option("--state", help="The site's state folder; else beside the consent.")
]
Policy = Annotated[
    Path | None, typer.Option("--policy", help="C2SP tlog-policy: whom to believe, and the quorum.")
]
Person = Annotated[
    str | None,
    typer.Argument(help="Subject id; without: the outside id is read.", metavar="SUBJECT"),
]


def request_of(folder: Path, state: Path | None) -> Request:
    """Return what to audit."""
    return Request(folder, state or folder.resolve().parent / "state")


def facts_of(folder: Path, state: Path | None) -> Facts:
    """Verify a site's log and gather the facts."""
    return load(request_of(folder, state), now)


def subject_of(folder: Path, person: str | None, outside_id_file: Path | None) -> str | None:
    """Return a subject id; None if nobody is known by the outside id."""
    if person is not None:
        return person
    return opened(folder).find(read_outside_id(outside_id_file))


def tell(value: dict[str, Any], as_json: bool, *lines: str) -> None:
    """Print data for machines, or lines for people."""
    if as_json:
        print_json(value)
    else:
        typer.echo("\n".join(lines))
