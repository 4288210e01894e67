"""Commands about keys: make, rotate, revoke, hand out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consent import key_changes
from consent.commands.shell import (
    DEFAULT_FOLDER,
    AsJson,
    Folder,
    RootKeys,
    opened,
    plain_errors,
    print_json,
    root_keys,
)
from consent.key_changes import KeyChange
from consent.keys import SigningKey
from consent.model import Role

app = typer.Typer(no_args_is_help=True, help="Keys: make, rotate, revoke, hand out.")
RoleName = Annotated[Role, typer.Argument(help="What the key may sign.")]


@app.command()
def new(role: RoleName, root_key: RootKeys = None, folder: Folder = DEFAULT_FOLDER) -> None:
    """Make another key of a role."""
    with plain_errors():
        _tell(key_changes.add_key(opened(folder), role, root_keys(root_key)))


@app.command()
def rotate(role: RoleName, root_key: RootKeys = None, folder: Folder = DEFAULT_FOLDER) -> None:
    """Make a new key of a role and let the old ones sign nothing more."""
    with plain_errors():
        added, revoked = key_changes.rotate_key(opened(folder), role, root_keys(root_key))
        for change in (added, *revoked):
            _tell(change)
    if not revoked:
        typer.echo("The old key signs along. Hand out the new one, then: omote-consent key revoke")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="Eight hex digits, from: key export")],
    compromised_from: Annotated[
        int | None, typer.Option(min=0, help="Entry from which someone else may have used it.")
    ] = None,
    root_key: RootKeys = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Let a key sign nothing more. Consent it signed after a theft counts once countersigned."""
    with plain_errors():
        registry = opened(folder)
        _tell(key_changes.revoke_key(registry, key_id, compromised_from, root_keys(root_key)))


@app.command()
def countersign(
    entry: Annotated[int, typer.Argument(min=0, help="Entry to stand by.")],
    role: Annotated[Role, typer.Option(help="Whose key in this folder signs.")] = Role.ROOT,
    key: Annotated[Path | None, typer.Option(help="A key that is kept elsewhere.")] = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Stand by an earlier entry with a second key."""
    with plain_errors():
        signer = role if key is None else SigningKey.load(key)
        _tell(key_changes.countersign(opened(folder), entry, signer))


@app.command()
def export(folder: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Print all public keys, what they may sign and between which entries."""
    with plain_errors():
        state = opened(folder).state()
    rows = [
        {
            "key": key_id,
            "role": key.role,
            "vkey": key.vkey,
            "from": key.added,
            "revoked": key.revoked,
            "compromised_from": key.compromised_from,
        }
        for key_id, key in state.keys.keys.items()
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        end = "" if row["revoked"] is None else f"  revoked at entry {row['revoked']}"
        typer.echo(f"{row['role']:10} {row['vkey']}{end}")


def _tell(change: KeyChange) -> None:
    if change.file is not None:
        typer.echo(f"New key: {change.file}")
    if change.num_missing:
        typer.echo(
            f"Entry {change.entry} does not hold yet: {change.num_missing} more root key(s) must "
            f"agree: omote-consent key countersign {change.entry} --key FILE"
        )
    else:
        typer.echo(f"Entry {change.entry} holds.")
