"""omote-site peer: with whom this site adds up in secret. Thin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consent.commands.shell import now
from consent.registry import Registry
from fl_client.commands.taking_part import plain_errors

app = typer.Typer(
    no_args_is_help=True, help="Other sites and their keys, for sums that hide each update."
)
Site = Annotated[Path, typer.Option(help="The site.toml.")]


@app.command()
def add(
    enrolment: Annotated[
        Path, typer.Argument(help="enrolment.json of the other site, from its own operator.")
    ],
    site: Site = Path("site.toml"),
    replace: Annotated[bool, typer.Option("--replace", help="It has a new key.")] = False,
) -> None:
    """Write another site's key into site.toml. Compare the fingerprint by telephone."""
    from core_model.protocol.enrolment import Enrolment, read_json
    from fl_client.peers import add_peer, fingerprint

    with plain_errors():
        peer = read_json(enrolment, Enrolment)
        add_peer(site, peer, replace=replace)
    typer.echo(f"{peer.site_id}  {fingerprint(peer.key)}")
    typer.echo("Compare it by telephone with that site's operator, who sees it with:")
    typer.echo("  omote-site peer list")


@app.command(name="list")
def list_peers(site: Site = Path("site.toml")) -> None:
    """Show the fingerprints of this site's own key and of all others."""
    from fl_client.config import load_site_config
    from fl_client.founding import enrolment_of
    from fl_client.peers import fingerprint

    with plain_errors():
        config = load_site_config(site)
        own = enrolment_of(config, Registry.open(config.consent, now)).key
    typer.echo(f"{config.site_id} (this site)  {fingerprint(own)}")
    for site_id, key in sorted(config.peers.items()):
        typer.echo(f"{site_id}  {fingerprint(key)}")
    if not config.peers:
        typer.echo("No other site yet; next: omote-site peer add enrolment.json")


@app.command()
def remove(
    site_id: Annotated[str, typer.Argument(help="The other site.")],
    site: Site = Path("site.toml"),
) -> None:
    """Take a site out: this one adds up nothing with it any more."""
    from fl_client.peers import remove_peer

    with plain_errors():
        remove_peer(site, site_id)
    typer.echo(f"Removed {site_id}. Rounds with it in the roster are refused from now on.")
