"""omote-consent policy: show the rules, put a declared use to them, log what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from consent.errors import ConsentError, DeniedError
from consent.model import Role
from consent.policy import decide_use, parse_declaration
from consent.policy_log import (
    add_evidence,
    log_approval,
    log_decision,
    require_permission,
    set_rules,
    site_rules,
)
from consent.policy_report import DISCLAIMER, EVIDENCE, explain
from consent.registry import Registry
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
EXITS = {Outcome.ALLOW: 0, Outcome.REVIEW: EXIT_FINDING, Outcome.DENY: EXIT_DENIED}
DEFAULT = Path("consent")
Folder = Annotated[Path, typer.Option("--folder", help="The site's consent folder.")]
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
    kinds: Annotated[bool, typer.Option("--evidence", help="Kinds of documents.")] = False,
    enable: Enable = [],  # noqa: B006  typer copies it
    also: Also = [],  # noqa: B006
) -> None:
    """Show the rule sets, one set, one rule, or the kinds of evidence."""
    if kinds:
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
    with _refusals():
        book = _book(enable, also)
        declared = parse_declaration(declaration.read_text("utf-8"))
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
    raise typer.Exit(EXITS[verdict.outcome])


@app.command()
def template() -> None:
    """Print a filled-in declaration to start from."""
    text = files("consent").joinpath("templates/declaration.toml").read_text("utf-8")
    typer.echo(text, nl=False)


@app.command("set")
def set_site_rules(enable: Enable = [], also: Also = [], folder: Folder = DEFAULT) -> None:  # noqa: B006
    """Log the rules that this site goes by. Signed by the data-protection officer."""
    with _refusals():
        book = set_rules(Registry.open(folder, _now), enable, also)
        typer.echo(f"Set: {', '.join(book.names)}\nRules sha256 {book.digest}")


@app.command()
def evidence(
    kind: str,
    document: Path,
    valid_until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day on which it ends, UTC.")
    ] = None,
    folder: Folder = DEFAULT,
) -> None:
    """Log DOCUMENT by its digest, and print what to put into a declaration."""
    with _refusals():
        until = None if valid_until is None else valid_until.replace(tzinfo=UTC)
        event = add_evidence(Registry.open(folder, _now), kind, document, until)
        end = f"\nvalid_until = {until:%Y-%m-%dT%H:%M:%SZ}" if until else ""
        typer.echo(f'[[evidence]]\nkind = "{event.kind}"\nsha256 = "{event.sha256}"{end}')


@app.command()
def decide(declaration: Path, folder: Folder = DEFAULT) -> None:
    """Decide on DECLARATION by the site's rules and log it. Exit codes as of test."""
    with _refusals():
        declared = parse_declaration(declaration.read_text("utf-8"))
        verdict = log_decision(Registry.open(folder, _now), declared)
        typer.echo("\n".join(explain(verdict, declared)))
    raise typer.Exit(EXITS[verdict.outcome])


@app.command("approve")
def approve_use(
    declaration: Path,
    role: Annotated[
        Role, typer.Option(help="Whose key signs: dpo, or root as the second.")
    ] = Role.DPO,
    folder: Folder = DEFAULT,
) -> None:
    """Answer for a use that is under review. Nobody can approve what is denied."""
    with _refusals():
        declared = parse_declaration(declaration.read_text("utf-8"))
        index = log_approval(Registry.open(folder, _now), declared, role)
        typer.echo(f"Approved, entry {index}.\n{DISCLAIMER}")


@app.command()
def check(declaration: Path, folder: Folder = DEFAULT) -> None:
    """May this use go ahead now? Exit code 0: yes, 4: no, and why."""
    with _refusals():
        registry = Registry.open(folder, _now)
        declared = parse_declaration(declaration.read_text("utf-8"))
        require_permission(registry.state(), declared, site_rules(registry), registry.now())
        typer.echo(f"Yes, as declared.\n{DISCLAIMER}")


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
    with _refusals():
        return load_rule_book(
            enable, [parse_rule_set(path.read_text("utf-8"), path.name) for path in also]
        )


def _now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn errors into one line and an exit code."""
    try:
        yield
    except DeniedError as e:
        _stop(f"Denied: {e}", EXIT_DENIED)
    except (ConsentError, OSError, UnicodeDecodeError) as e:
        _stop(str(e))


def _stop(message: str, code: int = EXIT_USAGE) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
