"""Who may sign in at the desk. Passwords are argon2id hashes, in a file only its owner can read."""

from __future__ import annotations

import re
import secrets
import threading
from functools import cache
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import BaseModel, ConfigDict, ValidationError

from consent import private_file
from consent.errors import AccountsError, KeyFileError

MIN_PASSWORD_CHARS = 12
MAX_PASSWORD_CHARS = 1024  # hashing a longer one would only cost time
_NAME = re.compile(r"[0-9A-Za-z._-]{1,64}")
_HASHER = PasswordHasher()  # argon2id with the parameters of RFC 9106


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    v: int = 1
    accounts: dict[str, str]  # name: argon2id hash


class Accounts:
    """The accounts of one desk. Reads the file at every use: a removed account ends at once.

    Raises:
        AccountsError: The file is missing, readable by others, or not a file of accounts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._one_at_a_time = threading.Lock()  # a hash takes 64 MiB
        _hash_of_nobody()
        self.names()

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(_load(self.path)))

    def is_right(self, name: str, password: str) -> bool:
        """Tell whether name and password belong together; the time it takes does not tell more."""
        hashed = _load(self.path).get(name)
        with self._one_at_a_time:
            try:
                _HASHER.verify(hashed or _hash_of_nobody(), password[: MAX_PASSWORD_CHARS + 1])
            except (VerificationError, InvalidHashError):
                return False
        return hashed is not None


def add_account(path: Path, name: str, password: str, *, replace: bool = False) -> None:
    """Add an account; the first one makes the file.

    Raises:
        AccountsError: Name or password cannot be used, or there is such an account already.
    """
    if not _NAME.fullmatch(name):
        raise AccountsError("a name is 1 to 64 letters, digits, dots, dashes and underscores")
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise AccountsError(
            f"a password has {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters; "
            "several unrelated words are easy to remember"
        )
    accounts = _load(path) if path.exists() else {}
    if name in accounts and not replace:
        raise AccountsError("there is such an account; --replace gives it a new password")
    _save(path, {**accounts, name: _HASHER.hash(password)})


def remove_account(path: Path, name: str) -> None:
    """Remove an account. Whoever is signed in with it is turned away at the next click.

    Raises:
        AccountsError: There is no such account.
    """
    accounts = _load(path)
    if name not in accounts:
        raise AccountsError("there is no such account")
    _save(path, {n: h for n, h in accounts.items() if n != name})


@cache
def _hash_of_nobody() -> str:
    """Checked for a name that has no account, so that it takes as long."""
    return _HASHER.hash(secrets.token_urlsafe(16))


def _load(path: Path) -> dict[str, str]:
    try:
        return _File.model_validate_json(private_file.read(path)).accounts
    except KeyFileError as e:
        raise AccountsError(f"{e}. New accounts: omote-consent desk-user add NAME") from e
    except ValidationError as e:
        raise AccountsError(f"{path}: not a file of desk accounts") from e


def _save(path: Path, accounts: dict[str, str]) -> None:
    data = _File(accounts=accounts).model_dump_json(indent=1).encode() + b"\n"
    if path.exists():
        private_file.replace(path, data)
    else:
        private_file.write_new(path, data)
