"""How commands print and how they end: one sentence, one exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from consent.errors import (
    BadSignatureError,
    BundleError,
    ConsentError,
    LogDamagedError,
    LogRolledBackError,
    VaultError,
)

EXIT_FINDING, EXIT_USAGE, EXIT_INTEGRITY = 1, 2, 3


def as_text(value: Any) -> str:
    """Return JSON to read."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def tell(value: dict[str, Any], as_json: bool, *lines: str) -> None:
    """Print data for machines, or lines for people."""
    typer.echo(as_text(value) if as_json else "\n".join(lines))


@contextmanager
def errors() -> Iterator[None]:
    """Turn errors into a sentence and the right exit code."""
    try:
        yield
    except (LogDamagedError, LogRolledBackError, BundleError, BadSignatureError, VaultError) as e:
        stop(f"DOES NOT HOLD: {e}", EXIT_INTEGRITY, e)
    except (ConsentError, FileNotFoundError, UnicodeDecodeError) as e:
        stop(str(e), EXIT_USAGE, e)


def stop(message: str, code: int = EXIT_INTEGRITY, cause: Exception | None = None) -> NoReturn:
    """End with a message and an exit code."""
    typer.echo(message, err=True)
    raise typer.Exit(code) from cause
