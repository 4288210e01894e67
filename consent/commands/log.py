"""Commands on the log itself: tree heads, proofs, tiles, witnesses. Thin: parse, call, print."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from consent.checked import Checked
from consent.commands.shell import (
    DEFAULT_FOLDER,
    EXIT_FINDING,
    EXIT_INTEGRITY,
    EXIT_USAGE,
    Folder,
)
from consent.errors import ConsentError, LogDamagedError, LogRolledBackError, ProofError
from consent.high_water import Mark
from consent.keys import VerifierKey
from consent.log import ConsentLog, check_url
from consent.note import open_tree_head, parse_tree_head, split_note
from consent.proof_file import SUFFIX, make_proof, parse_proof
from consent.site_folder import SiteFolder
from consent.tiles import export_tiles, verify_tiles
from consent.trust import TrustPolicy
from consent.vault import Vault
from consent.verify import verify_log
from consent.witness_client import ask_witness

app = typer.Typer(
    no_args_is_help=True, help="The log itself: tree heads, proofs, tiles, witnesses."
)
Trust = Annotated[
    str, typer.Argument(help="The log's public key, or a file with a trust policy (tlog-policy).")
]


@app.command()
def heads(folder: Folder = DEFAULT_FOLDER) -> None:
    """Print the log's tree head, with its cosignatures, and which head was cosigned last."""
    with _plain_errors():
        log = _open(folder)
        cosigned = log.cosigned_snapshot()
        typer.echo(log.snapshot().tree_head, nl=False)
    size = cosigned.size if cosigned else 0
    typer.echo(f"Cosigned by a witness: {size} entries" if size else "Cosigned by no witness yet")


@app.command()
def prove(
    index: Annotated[int, typer.Argument(min=0, help="Index of the entry.")],
    out: Annotated[Path, typer.Argument(help=f"Where to write the proof, such as 7{SUFFIX}.")],
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Write a proof that an entry is in the log, and the entry beside it as OUT.entry."""
    with _plain_errors():
        log = _open(folder)
        snapshot = log.cosigned_snapshot()
        if snapshot is None or snapshot.size <= index:
            snapshot = log.snapshot()
            typer.echo("No witness has cosigned this entry yet: the proof rests on the site alone.")
        if index >= snapshot.size:
            _stop(f"expected an index below {snapshot.size}, got {index}", EXIT_USAGE)
        out.write_text(make_proof(snapshot, index).text(), encoding="utf-8")
        entry = out.with_name(out.name + ".entry")
        entry.write_bytes(snapshot.entry(index))
    typer.echo(f"Wrote {out} and {entry}. Check them with: omote-consent log check {out} TRUST")


@app.command()
def check(
    proof: Annotated[Path, typer.Argument(help="The proof.")],
    trust: Trust,
    entry: Annotated[Path | None, typer.Option(help="The entry; else beside the proof.")] = None,
) -> None:
    """Check a proof offline. Exit code 0: the entry is in the log, 3: it is not."""
    with _plain_errors():
        what = (entry or proof.with_name(proof.name + ".entry")).read_bytes()
        parsed = parse_proof(proof.read_bytes().decode())
        found = parsed.check(what, _trust(trust))
    typer.echo(f"Entry {parsed.index} is in {found.head.origin}, of {found.head.size} entries.")
    typer.echo(
        f"Cosigned at {found.cosigned_at.isoformat()}" if found.cosigned_at else "Not cosigned"
    )


@app.command()
def tiles(
    out: Annotated[Path, typer.Argument(help="Folder; an earlier export is continued.")],
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Export the log as static files (tlog-tiles). They hold commitments, nothing personal."""
    with _plain_errors():
        log = _open(folder)
        num = export_tiles(log.snapshot(), out)
    typer.echo(f"Wrote {num} files. Check them with: omote-consent log check-tiles {out} TRUST")


@app.command()
def check_tiles(
    folder: Annotated[Path, typer.Argument(help="Folder that 'tiles' wrote.")], trust: Trust
) -> None:
    """Recompute an exported log. Exit code 0: intact, 3: damaged (the file is named)."""
    with _plain_errors():
        head = verify_tiles(folder, _trust(trust)).head
    typer.echo(f"Intact: {head.size} entries, root {head.root.hex()}")


@app.command()
def cosign(
    policy: Annotated[Path, typer.Argument(help="Trust policy with the witnesses' URLs.")],
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Ask every witness of a policy to cosign the tree head. Exit code 1: one of them did not."""
    failed = 0
    with _plain_errors():
        log, trust = _open(folder), TrustPolicy.load(policy)
        snapshot = log.snapshot()
        origin = parse_tree_head(split_note(snapshot.tree_head)[0]).origin
        for name, witness in trust.witnesses.items():
            if witness.url is None:
                continue
            try:
                keys = trust.log_keys(origin)
                note, _ = ask_witness(witness.url, snapshot, keys, witness.key)
                log.add_cosignatures(note, [witness.key])
                typer.echo(f"{name}: cosigned {snapshot.size} entries")
            except (ConsentError, OSError) as e:
                failed += 1
                typer.echo(f"{name}: {e}", err=True)
    if failed:
        raise typer.Exit(EXIT_FINDING)


@app.command()
def verify(
    vkey: Annotated[str, typer.Argument(help="The log's public key.")],
    folder: Folder = DEFAULT_FOLDER,
    since: Annotated[
        list[Path] | None, typer.Option(help="A tree head that was seen before. Repeatable.")
    ] = None,
    remember: Annotated[
        Path | None,
        typer.Option(help="File of what was checked: next time no signature is checked twice."),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            help="Hashes, tree and last tree head alone. Leaves out signatures of entries, roles, "
            "openings and earlier heads."
        ),
    ] = False,
) -> None:
    """Recompute the whole log. Exit code 0: intact, 3: damaged (the entry is named)."""
    with _plain_errors():
        key = VerifierKey.parse(vkey)
        seen = [open_tree_head(path.read_text(encoding="utf-8"), key) for path in since or ()]
        checked = Checked.load(remember, key) if remember and remember.exists() else None
        vault = None if quick else _vault(folder)
        found = verify_log(
            SiteFolder(folder).log, key, vault, since=seen, checked=checked, quick=quick
        )
        if remember and not quick:
            found.checked.save(remember, key)
    typer.echo(f"Intact: {found.size} entries, root {found.root.hex()}")
    typer.echo("Quick: no entry was opened" if quick else f"Openings erased: {found.num_erased}")


@app.command()
def trust_size(
    size: Annotated[int, typer.Argument(min=1, help="Number of entries that a witness knows.")],
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Write a lost high-water mark anew. Ask a witness first: a restored backup looks the same.

    The log must have SIZE entries or more. An existing mark is never changed.
    """
    with _plain_errors():
        log = _open(folder)
        snapshot = log.snapshot()
        if size > snapshot.size:
            _stop(
                f"the log has {snapshot.size} entries, not {size}: it was cut, or is a backup. "
                "Bring back the newer copy.",
                EXIT_INTEGRITY,
            )
        head = parse_tree_head(split_note(snapshot.tree_head)[0])
        log.high_water.create(Mark(head.size, head.root))
    typer.echo(f"The log of {snapshot.size} entries goes on.")


@app.command()
def prepare(
    owner_url: Annotated[str, typer.Argument(help="URL of the database, as the tables' owner.")],
    role: Annotated[str, typer.Argument(help="Role that the log will write as; it exists.")],
) -> None:
    """Make the tables of a log in PostgreSQL, to which ROLE can only add."""
    from consent.store_postgres import prepare as make_tables

    with _plain_errors():
        make_tables(check_url(owner_url), role)
    typer.echo(f"Made the tables. Next: omote-consent init SITE --store URL, as {role}")


def _open(folder: Path) -> ConsentLog:
    return SiteFolder(folder).open_log()


def _vault(folder: Path) -> Vault:
    return SiteFolder(folder).open_vault()


def _trust(text: str) -> TrustPolicy:
    if Path(text).is_file():
        return TrustPolicy.load(Path(text))
    return TrustPolicy((VerifierKey.parse(text),), {}, {}, None)


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except (LogDamagedError, LogRolledBackError, ProofError) as e:
        _stop(f"DAMAGED: {e}", EXIT_INTEGRITY)
    except FileExistsError as e:
        _stop(f"{e.filename} is there already; nothing was changed", EXIT_USAGE)
    except (ConsentError, OSError, UnicodeDecodeError, ValueError) as e:
        _stop(str(e), EXIT_USAGE)


def _stop(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
