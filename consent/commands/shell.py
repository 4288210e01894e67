"""What the commands that keep records share: options, the opened registry, words for errors."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError

from consent.errors import (
    BadSignatureError,
    BundleError,
    ConsentError,
    DeniedError,
    HookError,
    LogDamagedError,
    LogRolledBackError,
    ProofError,
    RoleError,
    VaultError,
)
from consent.keys import SigningKey
from consent.model import Purpose
from consent.registry import Registry

EXIT_FINDING, EXIT_USAGE, EXIT_INTEGRITY, EXIT_DENIED = 1, 2, 3, 4
DEFAULT_FOLDER = Path("consent")

Folder = Annotated[Path, typer.Option("--folder", help="Folder of the site's consent.")]
Subject = Annotated[str, typer.Argument(help="Subject id, from: omote-consent subject find")]
Purposes = Annotated[
    list[Purpose], typer.Option("--purpose", help="Repeat for several. Each is asked on its own.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Out = Annotated[
    Path | None, typer.Option("--out", "--output", "-o", help="File to write; else printed.")
]
OutsideFile = Annotated[
    Path | None, typer.Option("--outside-id-file", help="File with it; without: standard input.")
]
RootKeys = Annotated[
    list[Path] | None, typer.Option("--root-key", help="A root key that is kept elsewhere.")
]


def now() -> datetime:
    """Return the time of the clock on the wall."""
    return datetime.now(UTC)


def opened(folder: Path) -> Registry:
    """Open the registry of a folder."""
    return Registry.open(folder, now)


_BROKEN = (
    BadSignatureError,
    BundleError,
    LogDamagedError,
    LogRolledBackError,
    ProofError,
    VaultError,
)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn errors into one line and an exit code. Mistakes are told by field, never by value."""
    try:
        yield
    except _BROKEN as e:
        stop(str(e), EXIT_INTEGRITY, e)
    except (RoleError, DeniedError) as e:
        stop(str(e), EXIT_DENIED, e)
    except HookError as e:
        stop(str(e), EXIT_FINDING, e)
    except ValidationError as e:
        fields = [f"{'.'.join(map(str, m['loc']))}: {m['msg']}" for m in e.errors()]
        stop("; ".join(fields), EXIT_USAGE, e)
    except (ConsentError, OSError, UnicodeDecodeError) as e:
        stop(str(e), EXIT_USAGE, e)


def print_json(value: Any) -> None:
    """Print JSON that sorts the same every time."""
    typer.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str))


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def root_keys(files: list[Path] | None) -> list[SigningKey]:
    """Read root keys that are kept elsewhere."""
    return [SigningKey.load(file) for file in files or ()]


def read_outside_id(file: Path | None) -> str:
    """Read an outside id from a file or, without one, from standard input.

    Not from the command line: other users of the machine can see that.
    """
    if file is not None:
        return file.read_text(encoding="utf-8").strip()
    if sys.stdin.isatty():
        typer.echo("Outside id, such as a staff number, then Enter:", err=True)
    return sys.stdin.readline().strip()


def stop(message: str, code: int, cause: Exception | None = None) -> NoReturn:
    """End with a message and an exit code."""
    typer.echo(f"error    {message}", err=True)
    raise typer.Exit(code) from cause
