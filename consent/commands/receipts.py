"""omote-consent receipt and receipt-check: what a subject takes home, and whether it holds."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from consent.commands.shell import (
    DEFAULT_FOLDER,
    EXIT_FINDING,
    EXIT_INTEGRITY,
    EXIT_USAGE,
    Folder,
    Out,
    Subject,
    opened,
    plain_errors,
)
from consent.errors import BadSignatureError, MalformedError, ProofError
from consent.keys import VerifierKey
from consent.proof_file import SUFFIX, parse_proof
from consent.receipt_page import render_page, token_of
from consent.receipts import check_receipt, issue
from consent.trust import TrustPolicy

app = typer.Typer(no_args_is_help=True)


class Format(enum.StrEnum):
    """Forms of one receipt."""

    JWS = "jws"
    HTML = "html"
    PROOF = "tlog-proof"


@app.command()
def receipt(
    subject: Subject,
    form: Annotated[Format, typer.Option("--format", help="What to issue.")] = Format.JWS,
    entry: Annotated[int | None, typer.Option(help="Index of an entry; else the last.")] = None,
    language: Annotated[str, typer.Option(help="Of the page: en or ja.")] = "en",
    out: Out = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Issue the receipt of a person's last answer: signed, as a page to print, or its proof alone.

    It is personal data of the subject: give it to them and to nobody else.
    """
    with plain_errors():
        made = issue(opened(folder), subject, entry)
        if form is Format.HTML:
            text = render_page(made, language)
        else:
            text = made.token + "\n" if form is Format.JWS else made.proof.text()
        if out is None:
            typer.echo(text, nl=False)
        else:
            out.write_text(text, "utf-8")


@app.command("receipt-check")
def check(
    file: Annotated[Path, typer.Argument(help="The page, or the signed receipt (JWS).")],
    vkey: Annotated[str | None, typer.Option(help="The log's public key.")] = None,
    trust: Annotated[
        Path | None, typer.Option("--policy", help="tlog-policy file: logs, witnesses, quorum.")
    ] = None,
    proof: Annotated[
        Path | None, typer.Option(help=f"A newer proof of the same entry ({SUFFIX}).")
    ] = None,
) -> None:
    """Check a receipt offline: FILE is the page or the JWS. Exit code 3: it does not hold.

    Exit code 1: the signed receipt holds, but the page tells something else than it.
    """
    with plain_errors():
        text, policy = file.read_text("utf-8"), _policy(vkey, trust)
    with plain_errors(), _verdict():
        newer = None if proof is None else parse_proof(proof.read_text("utf-8"))
        is_page = text.lstrip().startswith("<")
        language, token = token_of(text) if is_page else ("en", text)
        checked = check_receipt(token, policy, newer)
        head = checked.trusted.head
        typer.echo(f"Holds: receipt {checked.receipt.identifier}")
        typer.echo(f"  entry {checked.receipt.entry.seq} of {head.size} in {head.origin}")
        typer.echo(f"  {checked.event.type}: {', '.join(getattr(checked.event, 'purposes', ()))}")
        cosigned = checked.trusted.cosigned_at
        when = f"cosigned {cosigned.isoformat()}" if cosigned else "no witness was asked for"
        typer.echo(f"  root {head.root.hex()}, {when}")
        if is_page and text != render_page(checked.receipt, language):
            typer.echo(
                "The words of this page are not those of the receipt inside: it was changed, or "
                "printed by another version. Print it anew and compare.",
                err=True,
            )
            raise typer.Exit(EXIT_FINDING)


def _policy(vkey: str | None, trust: Path | None) -> TrustPolicy:
    if (vkey is None) == (trust is None):
        typer.echo("whom should it trust? --vkey KEY-OF-THE-LOG, or --policy FILE", err=True)
        raise typer.Exit(EXIT_USAGE)
    if trust is not None:
        return TrustPolicy.load(trust)
    return TrustPolicy((VerifierKey.parse(str(vkey)),), {}, {}, None)


@contextmanager
def _verdict() -> Iterator[None]:
    """Whatever is wrong with a receipt, it does not hold."""
    try:
        yield
    except (BadSignatureError, ProofError, MalformedError) as e:
        typer.echo(f"INVALID: {e}", err=True)
        raise typer.Exit(EXIT_INTEGRITY) from e
