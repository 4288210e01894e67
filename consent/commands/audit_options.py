"""Options that several audit commands have, and what they open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consent.audit.facts import Facts
from consent.audit.load import Request, load, now
from consent.commands.printing import EXIT_USAGE, stop
from consent.registry import Registry

Folder = Annotated[Path, typer.Option("--folder", help="The site's consent folder.")]
State = Annotated[
    Path | None, typer.Option("--state", help="The site's state folder; else beside the consent.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Out = Annotated[Path | None, typer.Option("--out", help="File to write; else printed.")]
Policy = Annotated[
    Path | None, typer.Option("--policy", help="C2SP tlog-policy: whom to believe, and the quorum.")
]
Outside = Annotated[str | None, typer.Argument(help="What the site calls the person.")]
SubjectId = Annotated[str | None, typer.Option("--subject", help="The subject id instead.")]
DEFAULT = Path("consent")


def facts_of(folder: Path, state: Path | None) -> Facts:
    """Verify a site's log and gather the facts."""
    return load(Request(folder, state or folder.resolve().parent / "state"), now)


def subject_of(folder: Path, outside_id: str | None, subject: str | None) -> str | None:
    """Return the subject id of a person; None if nobody is known by the outside id."""
    if (outside_id is None) == (subject is None):
        stop("name one person, by OUTSIDE_ID or by --subject", EXIT_USAGE)
    if outside_id is None:
        return subject
    return Registry.open(folder, now).find(outside_id)
