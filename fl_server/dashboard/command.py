"""omote-server dashboard: look at a run in a browser on this machine."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from consent.errors import ConsentError
from fl_server.folder import ServerFolder

ACCOUNTS = "dashboard-accounts.json"
NEEDS_EXTRA = "the dashboard needs: pip install 'omote[desk]'"
Folder = Annotated[Path, typer.Argument(help="Of the server, from: omote-server init")]


def dashboard(
    folder: Folder,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8348,
) -> None:
    """Serve the dashboard on this machine only, until Ctrl+C. Sign in with: dashboard-user.

    It reads the server's folder, so it may be started and stopped at any time. From another
    machine, forward the port: ssh -L 8348:127.0.0.1:8348 SERVER
    """
    try:
        import uvicorn

        from consent.desk.accounts import Accounts
        from fl_server.dashboard.app import Dashboard, make_app
    except ImportError as e:
        _stop(f"{NEEDS_EXTRA} ({e.name} is missing)")
    place = ServerFolder(folder.resolve())
    if not place.federation.is_file():
        _stop(f"{folder} is not a server's folder: no federation.toml in it")
    try:
        accounts = Accounts(place.root / "keys" / ACCOUNTS)
    except ConsentError as e:
        _stop(f"{e}; make an account: omote-server dashboard-user {folder} NAME")
    app = make_app(
        Dashboard(place, accounts, lambda: datetime.now(UTC)),
        {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")},
    )
    typer.echo(f"http://127.0.0.1:{port}/ (stop with Ctrl+C)")
    uvicorn.run(
        app, host="127.0.0.1", port=port, access_log=False, log_level="warning",
        server_header=False, proxy_headers=False, limit_concurrency=64,
        timeout_graceful_shutdown=3,
    )  # fmt: skip


def dashboard_user(
    folder: Folder,
    name: Annotated[str, typer.Argument(help="Of the account that signs in.")],
    replace: Annotated[bool, typer.Option("--replace", help="Give it a new password.")] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    """Let NAME sign in at the dashboard. Asks for a password."""
    try:
        from consent.desk.accounts import add_account
    except ImportError as e:
        _stop(f"{NEEDS_EXTRA} ({e.name} is missing)")
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    try:
        path = ServerFolder(folder.resolve()).root / "keys" / ACCOUNTS
        add_account(path, name, password, replace=replace)
    except (ConsentError, OSError) as e:
        _stop(str(e))
    typer.echo(f"Done. Next: omote-server dashboard {folder}")


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
