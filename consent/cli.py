"""omote-consent: keep a consent log that an auditor can verify. Only puts the commands together."""

from __future__ import annotations

import typer

from consent.commands import (
    assets,
    desk,
    interchange,
    keys,
    log,
    models,
    notices,
    policy,
    receipts,
    records,
    subjects,
    witness,
)

app = typer.Typer(
    no_args_is_help=True,
    help="Keep a consent log that an auditor can verify. Start with: omote-consent init my-site",
)
app.add_typer(records.app)
app.add_typer(notices.app, name="notice")
app.add_typer(subjects.app, name="subject")
app.add_typer(assets.app, name="asset")
app.add_typer(models.app, name="model")
app.add_typer(keys.app, name="key")
app.add_typer(policy.app, name="policy")
app.add_typer(interchange.app)
app.add_typer(receipts.app)
app.add_typer(log.app, name="log")
app.add_typer(witness.app, name="witness")
app.add_typer(desk.app)
