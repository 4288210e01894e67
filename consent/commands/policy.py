"""omote-consent policy: show the rules, put a declared use to them, log what came of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from consent.errors import ConsentError
from consent.policy import decide_use, parse_declaration
from consent.policy_report import DISCLAIMER, EVIDENCE, explain
from consent.rulebook import (
    Outcome,
    Rule,
    RuleBook,
    RuleSet,
    load_rule_book,
    parse_rule_set,
    shipped_sets,
)

app = typer.Typer(
    no_args_is_help=True,
    help="Rules of law and licences for a declared use. They check declarations, not deeds, and "
    "are no legal advice.",
)
EXIT_FINDING, EXIT_USAGE, EXIT_DENIED = 1, 2, 4
Enable = Annotated[list[str], typer.Option("--enable", help="Rule set that is off by default.")]
Also = Annotated[
    list[Path], typer.Option("--also", help="The site's own rule file. It can only forbid more.")
]
At = Annotated[
    datetime | None,
    typer.Option("--at", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="UTC; else now."),
]


@app.command()
def show(
    rule: Annotated[str | None, typer.Argument(help="Id of one rule, or name of one set.")] = None,
    evidence: Annotated[bool, typer.Option("--evidence", help="Kinds of documents.")] = False,
    enable: Enable = [],  # noqa: B006  typer copies it
    also: Also = [],  # noqa: B006
) -> None:
    """Show the rule sets, one set, one rule, or the kinds of evidence."""
    if evidence:
        for kind, meaning in EVIDENCE.items():
            typer.echo(f"{kind:24} {meaning}")
        return
    book = _book(enable, also)
    everything = [*book.sets, *(s for s in shipped_sets() if s.name not in book.names)]
    if rule is None:
        for rule_set in everything:
            _show_set(rule_set, is_on=rule_set.name in book.names)
        typer.echo(f"Rules sha256 {book.digest}\n{DISCLAIMER}")
        return
    found = [r for s in everything for r in s.rules if rule in (r.id, s.name)]
    if not found:
        _stop(f"no rule or rule set {rule!r}; see: omote-consent policy show")
    for one in found:
        _show_rule(one)


@app.command("test")
def put_to_the_rules(
    declaration: Path,
    at: At = None,
    enable: Enable = [],  # noqa: B006
    also: Also = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Put DECLARATION to the rules. Writes nothing. Exit code 0: allow, 1: review, 4: deny."""
    book = _book(enable, also)
    try:
        declared = parse_declaration(declaration.read_text("utf-8"))
    except (ConsentError, OSError, UnicodeDecodeError) as e:
        _stop(str(e))
    when = datetime.now(UTC) if at is None else at.replace(tzinfo=UTC)
    verdict = decide_use(declared, book, when)
    if as_json:
        findings = [
            {"rule": f.rule, "outcome": f.outcome, "source": f.source, "why": f.why}
            | {"jurisdictions": f.jurisdictions, "missing": f.missing, "duties": f.duties}
            for f in verdict.findings
        ]
        answer = {"verdict": verdict.outcome, "missing": verdict.missing, "findings": findings}
        digests = {"declaration": verdict.declaration, "policy": verdict.policy}
        rest = {"signers": verdict.signers, "at": when.isoformat(), "note": DISCLAIMER}
        typer.echo(json.dumps(answer | digests | rest, indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(explain(verdict, declared)))
    codes = {Outcome.ALLOW: 0, Outcome.REVIEW: EXIT_FINDING, Outcome.DENY: EXIT_DENIED}
    raise typer.Exit(codes[verdict.outcome])


@app.command()
def template() -> None:
    """Print a filled-in declaration to start from."""
    text = files("consent").joinpath("templates/declaration.toml").read_text("utf-8")
    typer.echo(text, nl=False)


def _show_set(rule_set: RuleSet, *, is_on: bool) -> None:
    state = "" if is_on else " (off; --enable it)"
    typer.echo(f"{rule_set.name} {rule_set.version}{state}: {rule_set.title}")
    if rule_set.caveat:
        typer.echo(f"  Note: {rule_set.caveat}")
    for rule in rule_set.rules:
        final = ", final" if rule.overridable is False else ""
        typer.echo(f"  {rule.verdict.value:6} {rule.id}{final}, from {rule.effective_from.date()}")
    typer.echo("")


def _show_rule(rule: Rule) -> None:
    typer.echo(f"{rule.id}: {rule.verdict.value}")
    typer.echo(f"  {rule.why}\n  Source: {rule.source}\n  From: {rule.effective_from.isoformat()}")
    for word, conditions in (("When", rule.when), ("Unless", rule.unless)):
        for condition in conditions:
            parts = (f"{field} is {' or '.join(v)}" for field, v in condition.items())
            typer.echo(f"  {word}: {', and '.join(parts)}")
    for kind in rule.needs:
        typer.echo(f"  Needs: {kind}, {EVIDENCE.get(kind, 'a document')}")
    if rule.overridable is not None:
        typer.echo(f"  A review can lift it: {'yes' if rule.overridable else 'no, nobody can'}")
    for duty in rule.duties:
        typer.echo(f"  Duty: {duty}")


def _book(enable: list[str], also: list[Path]) -> RuleBook:
    try:
        own = [parse_rule_set(path.read_text("utf-8"), path.name) for path in also]
        return load_rule_book(enable, own)
    except (ConsentError, OSError, UnicodeDecodeError) as e:
        _stop(str(e))


def _stop(message: str, code: int = EXIT_USAGE) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
