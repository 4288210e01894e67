"""Commands about recordings: who is seen in which frames, and what must be deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consent.commands.shell import (
    DEFAULT_FOLDER,
    EXIT_FINDING,
    AsJson,
    Folder,
    opened,
    plain_errors,
    print_json,
)
from consent.envelope import parse_json
from consent.model import Role
from consent.site_events import AssetEnded, AssetLinked
from consent.upkeep import orphans as find_orphans

app = typer.Typer(no_args_is_help=True, help="Recordings: who is seen in them, what must go.")
Digest = Annotated[str, typer.Argument(help="SHA-256 of the recording.")]


@app.command()
def link(
    links: Annotated[Path, typer.Argument(help="JSON lines: asset, spans, and more if known.")],
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Record who is seen in recordings. All lines are written, or none.

    One line for each recording, such as {"asset": "<sha256>", "spans": [{"first": 1, "last": 900,
    "num_faces": 1, "subjects": ["<subject id>"]}]}. More faces than subjects: someone is not known,
    and those frames are never used.
    """
    with plain_errors():
        lines = links.read_text(encoding="utf-8").splitlines()
        events = [AssetLinked.model_validate(parse_json(ln.encode())) for ln in lines if ln.strip()]
        opened(folder).append(events, Role.OPERATOR)
    open_faces = sum(not span.is_resolved for e in events for span in e.spans)
    typer.echo(f"{len(events)} recordings linked; {open_faces} spans show someone unknown.")


@app.command()
def unlink(asset: Digest, folder: Folder = DEFAULT_FOLDER) -> None:
    """Record that a link was wrong: nothing of the recording is used until it is linked again."""
    with plain_errors():
        event = AssetEnded(type="asset.unlinked", asset=asset)
        opened(folder).append([event], Role.OPERATOR)
    typer.echo("Unlinked.")


@app.command()
def delete(asset: Digest, folder: Folder = DEFAULT_FOLDER) -> None:
    """Record that a recording was deleted. Delete the files first: this does not."""
    with plain_errors():
        event = AssetEnded(type="asset.deleted", asset=asset)
        opened(folder).append([event], Role.OPERATOR)
    typer.echo("Recorded as deleted.")


@app.command()
def orphans(folder: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """List recordings that must be deleted, and why. Exit code 1 if there are any."""
    with plain_errors():
        registry = opened(folder)
        found = list(find_orphans(registry.state(), registry.now()))
    if as_json:
        print_json([{"asset": o.asset, "why": o.why} for o in found])
    else:
        for orphan in found:
            typer.echo(f"{orphan.asset}  {orphan.why}")
    if found:
        raise typer.Exit(EXIT_FINDING)
