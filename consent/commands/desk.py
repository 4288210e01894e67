"""omote-consent desk and desk-user: the local web page, and who may sign in there."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, NoReturn

import typer

from consent.commands.shell import (
    DEFAULT_FOLDER,
    EXIT_FINDING,
    EXIT_USAGE,
    Folder,
    opened,
    plain_errors,
)
from consent.errors import ConsentError
from consent.upkeep import entries_by

app = typer.Typer(no_args_is_help=True, help="The desk: a local web page for registrars.")
AccountName = Annotated[str, typer.Argument(help="Of the account that signs in.")]
users = typer.Typer(no_args_is_help=True, help="Who may sign in at the desk.")
app.add_typer(users, name="desk-user")

ACCOUNTS_FILE = "desk-accounts.json"
EXPOSED = """\
This desk can be reached from other machines. Whoever reaches it can try to sign in, and whoever
signs in can read and change consent. Keep it inside one trusted network, behind a firewall; close
it when the desk is closed. Everything is encrypted with the certificate that you gave."""
NEEDS_EXTRA = "The desk needs more packages: pip install 'omote[desk]'"


@app.command()
def desk(
    folder: Folder = DEFAULT_FOLDER,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8347,
    listen: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    expose: Annotated[
        bool, typer.Option("--expose", help="Allow an address that other machines reach.")
    ] = False,
    name: Annotated[
        list[str] | None,
        typer.Option(help="With --expose: a name that browsers call this desk by. Repeatable."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
) -> None:
    """Serve the desk on this machine, until Ctrl+C. Sign in with an account of desk-user."""
    is_tls = tls_cert is not None and tls_key is not None
    if is_tls != (tls_cert is not None or tls_key is not None):
        _stop("TLS needs both --tls-cert and --tls-key", EXIT_USAGE)
    if problem := _problem(listen, name or [], is_exposed=expose, is_tls=is_tls):
        _stop(problem, EXIT_USAGE)
    try:
        import uvicorn

        from consent.desk.accounts import Accounts
        from consent.desk.app import make_app
        from consent.desk.book import Book
        from consent.desk.web import Desk
        from consent.registry import Registry
    except ImportError as e:
        _stop(f"{NEEDS_EXTRA} ({e.name} is missing)", EXIT_USAGE)
    try:
        accounts = Accounts(folder / ACCOUNTS_FILE)
        book = Book(Registry.open(folder, _now), folder, _now)
    except (ConsentError, FileNotFoundError) as e:
        _stop(str(e), EXIT_FINDING)
    served = Desk(book, accounts, _now, tls=is_tls)
    hosts = _hosts(["localhost", "127.0.0.1", "[::1]", *(name or [])], port)
    scheme, shown = ("https" if is_tls else "http"), (name or ["127.0.0.1"])[0]
    typer.echo(f"{book.site}: {scheme}://{shown}:{port}/ (stop with Ctrl+C)")
    if expose:
        typer.echo(EXPOSED, err=True)
    uvicorn.run(
        make_app(served, hosts),
        host=listen,
        port=port,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
        access_log=False,  # an address of a person has no place in a file
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=64,
        timeout_graceful_shutdown=3,  # a browser keeps its connection open
    )


@users.command()
def add(
    name: AccountName,
    folder: Folder = DEFAULT_FOLDER,
    replace: Annotated[bool, typer.Option("--replace", help="Give it a new password.")] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    """Let NAME sign in. Asks for a password; it is never taken from the command line."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    with _accounts() as accounts:
        accounts.add_account(folder / ACCOUNTS_FILE, name, password, replace=replace)
    typer.echo("Done. This account can sign in at the desk.")


@users.command()
def remove(name: AccountName, folder: Folder = DEFAULT_FOLDER) -> None:
    """Take NAME off the desk. Whoever is signed in with it is turned away at the next click."""
    with _accounts() as accounts:
        accounts.remove_account(folder / ACCOUNTS_FILE, name)
    typer.echo("Removed.")


@users.command("list")
def list_users(folder: Folder = DEFAULT_FOLDER) -> None:
    """List who may sign in."""
    with _accounts() as accounts:
        for name in accounts.Accounts(folder / ACCOUNTS_FILE).names():
            typer.echo(name)


@users.command()
def recorded(name: AccountName, folder: Folder = DEFAULT_FOLDER) -> None:
    """List the entries that NAME recorded at the desk. The log holds a keyed code of the name.

    It works for an account that was removed, too. Entries of people who were erased tell nothing.
    """
    with plain_errors():
        registry = opened(folder)
        found = list(entries_by(registry.state(), registry.account_id(name)))
    for index, time, kind in found:
        typer.echo(f"entry {index:6}  {time:%Y-%m-%d %H:%M} UTC  {kind}")
    if not found:
        typer.echo("This account recorded no entry that can be read.")


def _problem(listen: str, names: list[str], *, is_exposed: bool, is_tls: bool) -> str | None:
    try:
        is_local = ipaddress.ip_address(listen).is_loopback
    except ValueError:
        return f"--listen: expected an IP address such as 127.0.0.1, got {listen}"
    if is_exposed and not (is_tls and names):
        return "--expose needs --tls-cert, --tls-key and --name, the name in the certificate"
    if not is_local and not is_exposed:
        return (
            f"{listen} can be reached from other machines, and whoever signs in can change consent."
            " If you mean that, add --expose, --tls-cert, --tls-key and --name"
        )
    return None


def _hosts(names: list[str], port: int) -> set[str]:
    """Host headers of browsers; they leave out the usual port."""
    return {f"{n}:{port}" for n in names} | (set(names) if port in (80, 443) else set())


@contextmanager
def _accounts() -> Iterator[ModuleType]:
    try:
        yield import_module("consent.desk.accounts")
    except ImportError as e:
        _stop(f"{NEEDS_EXTRA} ({e.name} is missing)", EXIT_USAGE)
    except ConsentError as e:
        _stop(str(e), EXIT_FINDING)


def _now() -> datetime:
    return datetime.now(UTC)


def _stop(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
