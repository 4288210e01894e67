"""A consent log in a schema of a PostgreSQL database, for larger sites.

The tables belong to an owner; the log writes as a role that may add and read, and delete openings
alone. An advisory lock makes it the one appender. One log to a schema: choose it in the URL with
``?options=-csearch_path%3Dsite_a``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from consent.errors import LogDamagedError, StoreError
from consent.store import APPEND_ONLY, Transaction, Values

_LOCK = "SELECT pg_advisory_xact_lock(hashtext('omote/consent-log/' || current_schema()))"
_TABLES = """
CREATE TABLE entry (seq BIGINT PRIMARY KEY, body BYTEA NOT NULL);
CREATE TABLE node (level INTEGER, seq BIGINT, hash BYTEA NOT NULL, PRIMARY KEY (level, seq));
CREATE TABLE tree_head (size BIGINT PRIMARY KEY, note TEXT NOT NULL);
CREATE TABLE cosignature (size BIGINT, key TEXT, line TEXT NOT NULL, PRIMARY KEY (size, key));
CREATE TABLE opening (seq BIGINT PRIMARY KEY REFERENCES entry, owner TEXT, body BYTEA NOT NULL);
CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN RAISE EXCEPTION 'the consent log is append-only'; END $$;
CREATE FUNCTION next_entry() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    IF NEW.seq IS DISTINCT FROM (SELECT COALESCE(MAX(seq) + 1, 0) FROM entry) THEN
      RAISE EXCEPTION 'the consent log is append-only: an entry has the next index';
    END IF;
    RETURN NEW;
  END $$;
CREATE FUNCTION next_head() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    IF NEW.size IS DISTINCT FROM (SELECT MAX(seq) + 1 FROM entry) THEN
      RAISE EXCEPTION 'the consent log is append-only: a tree head covers all entries, once';
    END IF;
    RETURN NEW;
  END $$;
CREATE TRIGGER next_entry BEFORE INSERT ON entry FOR EACH ROW EXECUTE FUNCTION next_entry();
CREATE TRIGGER next_head BEFORE INSERT ON tree_head FOR EACH ROW EXECUTE FUNCTION next_head();
CREATE TRIGGER kept BEFORE UPDATE OR TRUNCATE ON opening
  FOR EACH STATEMENT EXECUTE FUNCTION append_only();
"""
_KEPT = """
CREATE TRIGGER kept BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
  FOR EACH STATEMENT EXECUTE FUNCTION append_only();
GRANT SELECT, INSERT ON {table} TO {role};
"""


_GUARDS = """
SELECT c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = current_schema()::regnamespace AND NOT t.tgisinternal AND t.tgenabled <> 'D'
"""
_EXPECTED_GUARDS = {(table, "kept") for table in (*APPEND_ONLY, "opening")} | {
    ("entry", "next_entry"),
    ("tree_head", "next_head"),
}


class PostgresStore:
    """The tables in a schema that ``prepare`` made."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)

    def create(self) -> None:
        """Take over the empty tables that ``prepare`` made.

        Raises:
            FileExistsError: There is a log already.
            FileNotFoundError: There are no tables.
            LogDamagedError: The server may lose what it acknowledged.
        """
        self.check_empty()
        with self._engine.connect() as db:
            for setting in ("fsync", "full_page_writes"):
                if db.execute(sa.text(f"SHOW {setting}")).scalar_one() != "on":
                    raise LogDamagedError(f"the server runs with {setting} = off: turn it on")

    def check_empty(self) -> None:
        """Check that there are tables, and no entry in them.

        Raises:
            FileExistsError: There is a log already.
            FileNotFoundError: There are no tables.
        """
        with self.transaction(write=True) as tx:
            if tx.size():
                raise FileExistsError("there is a consent log in this schema already")

    def check_guards(self) -> None:
        """Check that the triggers are there and turned on.

        Raises:
            LogDamagedError: Something is missing.
        """
        with self._engine.connect() as db:
            found = db.execute(sa.text(_GUARDS)).fetchall()
        if {(table, name) for table, name in found} != _EXPECTED_GUARDS:
            raise LogDamagedError(
                "the triggers that keep the tables append-only were dropped or turned off"
            )

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[Transaction]:
        """Open one transaction; it sees all that was committed before it, and nothing after.

        Raises:
            FileNotFoundError: There are no tables.
            StoreError: The server cannot be reached, or refuses this role.
        """
        try:
            with self._engine.begin() as db:
                if write:
                    # First of all: what is read after it is the last commit's.
                    db.execute(sa.text(_LOCK))
                    db.execute(sa.text("SET LOCAL synchronous_commit = on"))
                else:
                    db.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
                yield _transaction_on(db)
        except exc.ProgrammingError as e:
            if "UndefinedTable" in str(e):
                raise FileNotFoundError(
                    "no consent log in this schema; make its tables with: omote-consent log prepare"
                ) from None  # the cause tells the server's address
            raise
        except exc.OperationalError:
            raise StoreError(
                "the database of the consent log cannot be reached, or refuses this role: see the "
                "server's own log, store.url in the site's consent folder, and ~/.pgpass"
            ) from None  # the cause tells the server's address


def prepare(owner_url: str, role: str) -> None:
    """Make the tables as their owner, for ``role``, which exists, to append to.

    Raises:
        ValueError: The role's name is not a plain one.
    """
    if not re.fullmatch("[a-z_][a-z0-9_]{0,62}", role):
        raise ValueError(f"expected a role of lower-case letters, digits and _, got {role!r}")
    kept = "".join(_KEPT.format(table=table, role=role) for table in APPEND_ONLY)
    engine = _engine(owner_url)
    with engine.begin() as db:
        db.exec_driver_sql(_TABLES + kept + f"GRANT SELECT, INSERT, DELETE ON opening TO {role};")
        schema = db.execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
        db.exec_driver_sql(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    engine.dispose()


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        raise StoreError("expected a URL of PostgreSQL") from None  # it may hold a password
    if parsed.get_backend_name() != "postgresql":
        raise StoreError("expected a URL that begins with postgresql://")
    # hide_parameters: errors must not show what is in a row.
    return sa.create_engine(
        parsed.set(drivername="postgresql+psycopg"), hide_parameters=True, pool_pre_ping=True
    )


def _transaction_on(db: sa.Connection) -> Transaction:
    def run(sql: str, values: Values) -> list[Any]:
        return [tuple(row) for row in db.execute(_text(sql), values)]

    def run_many(sql: str, rows: Sequence[Values]) -> None:
        if rows:
            db.execute(_text(sql), [*rows])

    return Transaction(run, run_many)


@lru_cache(maxsize=64)
def _text(sql: str) -> sa.TextClause:
    return sa.text(sql)
