"""omote-consent: keep a consent log that an auditor can verify. Only puts the commands together."""

from __future__ import annotations

import typer

from consent.commands import desk, records

app = typer.Typer(
    no_args_is_help=True,
    help="Keep a consent log that an auditor can verify. Start with: omote-consent init my-site",
)
app.add_typer(records.app)
app.add_typer(desk.app)
