"""omote-site init, join, run, node, status: from nothing to rounds. Thin."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from consent.commands.shell import now
from consent.errors import ConsentError
from fl_client.errors import SiteError

app = typer.Typer()
SiteToml = Annotated[Path, typer.Argument(help="The site.toml.")]


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn errors into one line and exit code 1."""
    try:
        yield
    except (SiteError, ConsentError, OSError, ValueError) as e:
        typer.echo(f"error    {e}", err=True)
        raise typer.Exit(1) from e


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Of the site. What is there is kept.")],
    site_id: Annotated[str, typer.Option(help="Public name, as the server will know it.")],
    au: Annotated[
        list[int], typer.Option("--au", help="AU that your labels are for. Repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    territory: Annotated[
        str | None, typer.Option(help="ISO 3166 code of where the data are used, such as DE.")
    ] = None,
) -> None:
    """Make a site: site.toml, keys, consent log, and the file to send to the server's operator."""
    from fl_client.founding import found

    with plain_errors():
        enrolment = found(folder, site_id, au, now, territory)
        text = enrolment.read_text(encoding="utf-8")
    typer.echo(f"Made {folder}. Send this to the server's operator, nothing of it is secret:")
    typer.echo(f"{text}That is the file {enrolment}.")
    typer.echo(f"Take the root key away from this machine: {folder}/consent/keys/root.key")
    typer.echo(f"Next: read {folder}/site.toml, list your recordings, record consent, then")
    typer.echo(f"  omote-site check {folder}/site.toml")
    typer.echo(f"  omote-site join invitation.json --site {folder}/site.toml")


@app.command()
def join(
    invitation: Annotated[Path, typer.Argument(help="What the server's operator sent.")],
    site: Annotated[Path, typer.Option(help="The site.toml.")] = Path("site.toml"),
    replace: Annotated[
        bool, typer.Option("--replace", help="Join another server, or pin another bundle.")
    ] = False,
) -> None:
    """Keep what the server's operator sent: its address, its CA, and the pinned app bundle."""
    from core_model.protocol.enrolment import Invitation, read_json
    from fl_client.config import load_site_config
    from fl_client.node_folder import NodeFolder, fingerprint, read_certificates
    from fl_client.pinned_server import pin_server

    with plain_errors():
        config = load_site_config(site)
        invited = read_json(invitation, Invitation)
        if invited.site_id != config.site_id:
            raise SiteError(f"the invitation is for {invited.site_id}, not for {config.site_id}")
        NodeFolder(config.node).join(invited, replace=replace)
        pin_server(config, invited)
        authorities = read_certificates(invited.ca)
    typer.echo(f"Joined {invited.address}. Compare by telephone with the server's operator:")
    for authority in authorities:
        typer.echo(f"  CA      {fingerprint(authority)}")
    typer.echo(f"  bundle  {invited.bundle}")
    typer.echo(f"Next: omote-site run {site}")


@app.command()
def run(
    config: SiteToml,
    dry_run: Annotated[
        Path | None,
        typer.Option(help="Run one round against this recorded request; send and keep nothing."),
    ] = None,
    keep_request: Annotated[
        bool, typer.Option("--keep-request", help="Keep the last request in the state folder.")
    ] = False,
    without_node: Annotated[
        bool,
        typer.Option("--without-node", help="Another user starts the SuperNode: omote-site node."),
    ] = False,
) -> None:
    """Take part in rounds until Ctrl-C: a worker that holds the data, a SuperNode that does not.

    A round that runs is finished and sent first; a second Ctrl-C gives it up.
    """
    from fl_client.running import Options, run_site

    with plain_errors():
        if dry_run is not None:
            _rehearse(config, dry_run)
            return
        options = Options(with_node=not without_node, keep_request=keep_request)
        run_site(config, options, typer.echo)


def _rehearse(config: Path, request: Path) -> None:
    from fl_client.rehearsal import rehearse
    from fl_client.site import open_site

    update = rehearse(request, open_site(config))
    typer.echo("The round ran. This would be sent, and was not:")
    size = sum(array.nbytes for array in update.arrays.values())
    for name, array in update.arrays.items():
        typer.echo(f"    {name} {tuple(array.shape)}")
    typer.echo(f"  weights      {len(update.arrays)} arrays, {size:,} bytes")
    labelled = ", ".join(f"AU{au}" for au in update.labelled_aus) or "none"
    typer.echo(f"  rows of AUs  {labelled}")
    typer.echo(f"  attestation  {len(update.attestation):,} bytes, signed")


@app.command()
def node(
    folder: Annotated[Path, typer.Argument(help="The node folder of the site.")],
    socket: Annotated[Path, typer.Argument(help="The socket of the worker.")],
) -> None:
    """Start the SuperNode alone, as a user who can read nothing of the site but this folder.

    The worker is started by its own user: omote-site run SITE.TOML --without-node
    """
    from fl_client.node import command, environment
    from fl_client.node_folder import NodeFolder

    place = NodeFolder(folder.absolute())
    with plain_errors():
        place.joined()
        place.public_key()
        place.flower.mkdir(mode=0o700, exist_ok=True)
        os.chdir(place.flower)
    first, *rest = command(place, socket.absolute())
    os.execve(first, [first, *rest], environment(place))  # noqa: S606 - our own arguments


@app.command()
def status(config: SiteToml) -> None:
    """Show rounds, refusals and what to do, what is left of the day, and consent to be asked."""
    from consent.registry import Registry
    from fl_client.config import load_site_config
    from fl_client.diary import Diary
    from fl_client.node_folder import NodeFolder
    from fl_client.socket_client import is_serving
    from fl_client.standing import Standing

    with plain_errors():
        site = load_site_config(config)
        diary = Diary(site.state)
        registry = Registry.open(site.consent, now)
        standing = Standing(
            caps=site.caps,
            entries=diary.entries(),
            running=diary.running(),
            state=registry.state(),
            now=registry.now(),
        )
        place = NodeFolder(site.node)
        server = place.joined().address if place.invitation.exists() else "none joined"
        lines = list(standing.lines())
    typer.echo(f"worker: {'serving' if is_serving(site.socket) else 'not running'}")
    typer.echo(f"server: {server}")
    for line in lines:
        typer.echo(line)
