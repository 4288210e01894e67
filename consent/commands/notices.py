"""Commands about notices: what people are shown before they answer."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from consent.checks import find_notice
from consent.commands.shell import (
    DEFAULT_FOLDER,
    AsJson,
    Folder,
    Purposes,
    opened,
    plain_errors,
    print_json,
)
from consent.model import NoticeTerms, Purpose

app = typer.Typer(no_args_is_help=True, help="Notices: what people are shown before they answer.")
NoticeId = Annotated[str, typer.Argument(help="Names the notice through all its versions.")]
Language = Annotated[str, typer.Option(help="Language of the text, such as en or ja.")]


@app.command()
def add(
    notice_id: NoticeId,
    text: Annotated[Path, typer.Argument(help="File with the exact text.")],
    purpose: Purposes,
    language: Language = "en",
    changed: Annotated[
        list[Purpose] | None,
        typer.Option(help="Purposes about which earlier versions promised something else."),
    ] = None,
    terms: Annotated[
        Path | None, typer.Option(help="TOML of what it promises: controllers, retention...")
    ] = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Publish a notice: a new version, or another language of the latest one."""
    with plain_errors():
        said = None
        if terms is not None:
            said = NoticeTerms.model_validate(tomllib.loads(terms.read_text(encoding="utf-8")))
        ref = opened(folder).publish_notice(
            notice_id, language, text.read_text(encoding="utf-8"), purpose, changed or (),
            terms=said,
        )  # fmt: skip
    typer.echo(f"Published {ref.notice_id} version {ref.version} ({ref.language})")
    if said is None:
        typer.echo("Without --terms, records cannot be exported as ISO/IEC TS 27560.")
    if changed:
        typer.echo("Consent to the changed purposes on earlier versions must be asked for anew.")


@app.command(name="list")
def list_(folder: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """List all versions of all notices."""
    with plain_errors():
        state = opened(folder).state()
    texts = [
        text
        for notice in state.notices.values()
        for version in notice.versions.values()
        for text in version.values()
    ]
    if as_json:
        print_json(
            [{"entry": t.index, **t.event.model_dump(mode="json", exclude={"text"})} for t in texts]
        )
        return
    for text in texts:
        ref, purposes = text.event.notice, ", ".join(text.event.purposes)
        typer.echo(
            f"{ref.notice_id} {ref.version} {ref.language}  {text.time:%Y-%m-%d}  {purposes}"
        )


@app.command()
def diff(
    notice_id: NoticeId,
    old: Annotated[int, typer.Argument(min=1, help="Earlier version.")],
    new: Annotated[int, typer.Argument(min=1, help="Later version.")],
    language: Language = "en",
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Show how a notice changed from one version to another."""
    with plain_errors():
        state = opened(folder).state()
        texts = [find_notice(state, notice_id, v, language).event for v in (old, new)]
    names = [f"{notice_id} version {v}" for v in (old, new)]
    lines = [t.text.splitlines() for t in texts]
    for line in difflib.unified_diff(lines[0], lines[1], names[0], names[1], lineterm=""):
        typer.echo(line)
    typer.echo(f"Changed promises: {', '.join(texts[1].changed) or 'none'}")
