"""omote-consent import and export: consent in tables, DPV-27560 records, Kantara receipts."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from consent.commands.shell import (
    DEFAULT_FOLDER,
    EXIT_FINDING,
    EXIT_USAGE,
    Folder,
    Out,
    opened,
    plain_errors,
    stop,
)
from consent.dpv import export_records
from consent.dpv_import import read_records
from consent.intake import Answer, Problem, plan_import, write
from consent.kantara import export_receipt, read_receipt
from consent.model import Relation
from consent.table_import import read_csv, read_jsonl

app = typer.Typer(no_args_is_help=True)


class Format(enum.StrEnum):
    """What can be read and written."""

    CSV = "csv"
    JSONL = "jsonl"
    DPV = "27560"
    KANTARA = "kantara"


_SUFFIXES = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".jsonld": Format.DPV}


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="Records in CSV, JSON lines, DPV or Kantara.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, and write nothing.")] = False,
    form: Annotated[
        Format | None, typer.Option("--format", help="Else told by the suffix.")
    ] = None,
    relation: Annotated[Relation | None, typer.Option(help="For Kantara receipts.")] = None,
    notice: Annotated[
        str | None, typer.Option(metavar="ID:VERSION:LANGUAGE", help="For Kantara receipts.")
    ] = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Take in consent from FILE: every line, or none and every reason.

    CSV and JSONL: one answer of one person to one purpose a line, in the columns outside_id,
    relation, jurisdiction, purpose, answer (given or refused), kind (expressed, explicit or
    written_release), evidence (SHA-256 of the form), notice, version, language; and if need be
    adult_from, expires_at, max_rounds, max_epsilon, territories, notice_sha256.
    Exit code 1: some lines cannot be taken in, and nothing was written.
    """
    with plain_errors():
        registry = opened(folder)
        found = _read(file, form or _SUFFIXES.get(file.suffix), relation, notice)
        plan = plan_import(registry, found)
        for problem in plan.problems:
            typer.echo(f"{file.name}:{problem.line}: {problem.reason}")
        if plan.problems:
            typer.echo(f"{len(plan.problems)} problems. Nothing was written.", err=True)
            raise typer.Exit(EXIT_FINDING)
        what = f"{plan.num_answers} answers of {plan.num_people} people"
        if dry_run:
            typer.echo(f"{what} can be taken in. Nothing was written.")
            return
        indices = write(registry, plan)
        typer.echo(f"Took in {what}: entries {indices.start} to {indices.stop - 1}.")


@app.command()
def export(
    subject: Annotated[list[str] | None, typer.Argument(help="Subject ids; else everyone.")] = None,
    form: Annotated[Format, typer.Option("--format", help="27560 or kantara.")] = Format.DPV,
    out: Out = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Write consent records (ISO/IEC TS 27560 in DPV JSON-LD), or a Kantara receipt of one person.

    Holds personal data: give it to those alone who may have it.
    """
    with plain_errors():
        registry = opened(folder)
        state = registry.state()
        everyone = [s for s, p in state.subjects.items() if not p.erased]
        if form is Format.KANTARA:
            if not subject or len(subject) != 1:
                stop("a Kantara receipt is of one person: name their subject id", EXIT_USAGE)
            value = export_receipt(
                state, subject[0], registry.site, registry.log_vkey, registry.now()
            )
        elif form is Format.DPV:
            value = export_records(state, subject or everyone, f"{registry.site}/consent-log")
        else:
            stop("records are written as 27560 or kantara", EXIT_USAGE)
        text = json.dumps(value, indent=2, ensure_ascii=False)
        if out is None:
            typer.echo(text)
        else:
            out.write_text(text + "\n", "utf-8")
    if form is Format.DPV and any("dct:conformsTo" not in r for r in value["@graph"]):
        typer.echo(
            "Some records claim no profile of TS 27560: their notice was published without terms "
            "(who controls, where, how long, how to withdraw).",
            err=True,
        )
        raise typer.Exit(EXIT_FINDING)


def _read(
    file: Path, form: Format | None, relation: Relation | None, notice: str | None
) -> Iterator[tuple[int, Answer | Problem]]:
    data = file.read_bytes()
    if form is Format.CSV:
        return read_csv(data)
    if form is Format.JSONL:
        return read_jsonl(data)
    if form is Format.DPV:
        return read_records(data)
    if form is None:
        stop(f"{file.name}: tell --format, one of {', '.join(Format)}", EXIT_USAGE)
    if relation is None:
        stop(
            "a Kantara receipt does not tell the relation to the site: --relation",
            EXIT_USAGE,
        )
    return read_receipt(data, relation, None if notice is None else _notice(notice))


def _notice(text: str) -> tuple[str, int, str]:
    parts = text.rsplit(":", 2)
    if len(parts) != 3 or not parts[1].isdecimal():
        stop("--notice: expected ID:VERSION:LANGUAGE, such as study:1:en", EXIT_USAGE)
    return parts[0], int(parts[1]), parts[2]
