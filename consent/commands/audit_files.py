"""omote-consent audit export: write files for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from consent.audit import exports, told
from consent.audit.bundle import write_bundle
from consent.audit.facts import Facts
from consent.audit.sources import Sources
from consent.commands.audit_options import (
    Person,
    State,
    facts_of,
    subject_of,
    tell,
)
from consent.commands.log import prove
from consent.commands.shell import (
    DEFAULT_FOLDER,
    EXIT_USAGE,
    AsJson,
    Folder,
    Out,
    OutsideFile,
    plain_errors,
    stop,
)
from consent.envelope import canonical_json

app = typer.Typer()
app.command()(prove)  # the same as: omote-consent log prove
Kind = Literal["ropa", "dpia", "sar", "bundle"]


@app.command()
def export(
    kind: Annotated[
        Kind, typer.Argument(help="ropa (Art. 30), dpia (Art. 35), sar (Art. 15), bundle.")
    ],
    subject: Person = None,
    outside_id_file: OutsideFile = None,
    out: Out = None,
    folder: Folder = DEFAULT_FOLDER,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Write a paper that the law asks for, or an evidence bundle for another machine."""
    with plain_errors():
        if kind == "bundle":
            sources = Sources.open(folder)
            head = sources.head(sources.log_key())
            path = out or Path("evidence.tar")
            with path.open("wb") as file:
                write_bundle(sources, head.origin, file)
            tell(
                {**told.head(head), "file": str(path), "bytes": path.stat().st_size},
                as_json,
                f"Wrote {path}: {head.size} entries, nothing about any person.",
                "Check it elsewhere with: omote-consent audit verify --bundle "
                f"{path} {sources.log_key().vkey}",
            )
            return
        facts = facts_of(folder, state)
        text = _paper(kind, facts, folder, subject, outside_id_file, as_json)
    if out is None:
        typer.echo(text, nl=False)
        return
    out.write_text(text, encoding="utf-8", newline="")
    typer.echo(f"Wrote {out}")


def _paper(
    kind: str, facts: Facts, folder: Path, subject: str | None, outside_id_file: Path | None,
    as_json: bool,
) -> str:  # fmt: skip
    if kind == "ropa":
        return exports.records_of_processing(facts)
    if kind == "dpia":
        return exports.impact_assessment(facts)
    subject_id = subject_of(folder, subject, outside_id_file)
    if subject_id is None:
        stop("the log knows no such person: never registered here, or erased", EXIT_USAGE)
    if as_json:
        return canonical_json(exports.subject_access(facts, subject_id)).decode() + "\n"
    return exports.subject_access_page(facts, subject_id)
