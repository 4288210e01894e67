"""omote-consent policy: show the rules, put a declared use to them, log what came of it."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from consent.commands.shell import (
    DEFAULT_FOLDER,
    EXIT_DENIED,
    EXIT_FINDING,
    EXIT_USAGE,
    Folder,
    now,
    opened,
    plain_errors,
    print_json,
)
from consent.model import Role
from consent.permit import permit_text, sign_permit
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
EXITS = {Outcome.ALLOW: 0, Outcome.REVIEW: EXIT_FINDING, Outcome.DENY: EXIT_DENIED}
Enable = Annotated[list[str], typer.Option("--enable", help="Rule set that is off by default.")]
Also = Annotated[
    list[Path], typer.Option("--also", help="The site's own rule file. It can only forbid more.")
]
DeclarationFile = Annotated[
    Path, typer.Argument(help="What is to be done, in TOML; see: omote-consent policy template")
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
        typer.echo(f"no rule or rule set {rule!r}; see: omote-consent policy show", err=True)
        raise typer.Exit(EXIT_USAGE)
    for one in found:
        _show_rule(one)


@app.command("test")
def put_to_the_rules(
    declaration: DeclarationFile,
    at: At = None,
    enable: Enable = [],  # noqa: B006
    also: Also = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Put DECLARATION to the rules. Writes nothing. Exit code 0: allow, 1: review, 4: deny."""
    with plain_errors():
        book = _book(enable, also)
        declared = parse_declaration(declaration.read_text("utf-8"))
    when = now() if at is None else at.replace(tzinfo=UTC)
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
        print_json(answer | digests | rest)
    else:
        typer.echo("\n".join(explain(verdict, declared)))
    raise typer.Exit(EXITS[verdict.outcome])


@app.command()
def template() -> None:
    """Print a filled-in declaration to start from."""
    text = files("consent").joinpath("templates/declaration.toml").read_text("utf-8")
    typer.echo(text, nl=False)


@app.command("set")
def set_site_rules(enable: Enable = [], also: Also = [], folder: Folder = DEFAULT_FOLDER) -> None:  # noqa: B006
    """Log the rules that this site goes by. Signed by the data-protection officer."""
    with plain_errors():
        book = set_rules(opened(folder), enable, also)
        typer.echo(f"Set: {', '.join(book.names)}\nRules sha256 {book.digest}")


@app.command()
def evidence(
    kind: Annotated[str, typer.Argument(help="What it is, as a rule asks for it, such as dpia.")],
    document: Annotated[Path, typer.Argument(help="The document itself; it stays where it is.")],
    valid_until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day on which it ends, UTC.")
    ] = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Log DOCUMENT by its digest, and print what to put into a declaration."""
    with plain_errors():
        until = None if valid_until is None else valid_until.replace(tzinfo=UTC)
        event = add_evidence(opened(folder), kind, document, until)
        end = f"\nvalid_until = {until:%Y-%m-%dT%H:%M:%SZ}" if until else ""
        typer.echo(f'[[evidence]]\nkind = "{event.kind}"\nsha256 = "{event.sha256}"{end}')


@app.command()
def decide(declaration: DeclarationFile, folder: Folder = DEFAULT_FOLDER) -> None:
    """Decide on DECLARATION by the site's rules and log it. Exit codes as of test."""
    with plain_errors():
        declared = parse_declaration(declaration.read_text("utf-8"))
        verdict = log_decision(opened(folder), declared)
        typer.echo("\n".join(explain(verdict, declared)))
    raise typer.Exit(EXITS[verdict.outcome])


@app.command("approve")
def approve_use(
    declaration: DeclarationFile,
    role: Annotated[
        Role, typer.Option(help="Whose key signs: dpo, or root as the second.")
    ] = Role.DPO,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Answer for a use that is under review. Nobody can approve what is denied."""
    with plain_errors():
        declared = parse_declaration(declaration.read_text("utf-8"))
        index = log_approval(opened(folder), declared, role)
        typer.echo(f"Approved, entry {index}.\n{DISCLAIMER}")


@app.command()
def check(declaration: DeclarationFile, folder: Folder = DEFAULT_FOLDER) -> None:
    """May this use go ahead now? Exit code 0: yes, 4: no, and why."""
    with plain_errors():
        registry = opened(folder)
        declared = parse_declaration(declaration.read_text("utf-8"))
        require_permission(registry.state(), declared, site_rules(registry), registry.now())
        typer.echo(f"Yes, as declared.\n{DISCLAIMER}")


@app.command()
def permit(
    declaration: DeclarationFile,
    out: Annotated[Path, typer.Option(help="File to write, such as use.permit.")],
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder of the site's consent; without, the shipped rules, unsigned."),
    ] = None,
    enable: Enable = [],  # noqa: B006
    also: Also = [],  # noqa: B006
) -> None:
    """Write a permit for DECLARATION, if the rules allow it, for: omote-model predict."""
    with plain_errors():
        declared = parse_declaration(declaration.read_text("utf-8"))
        if folder is None:
            text = permit_text(declared, decide_use(declared, _book(enable, also), now()))
        else:
            registry = opened(folder)
            rules = site_rules(registry)
            require_permission(registry.state(), declared, rules, registry.now())
            verdict = decide_use(declared, rules, registry.now())
            key = registry.signing_key(Role.DPO)
            text = sign_permit(permit_text(declared, verdict, is_approved=True), key)
            typer.echo(f"Signed; to be checked with: {key.verifier.vkey}")
        out.write_text(text, "utf-8")
    typer.echo(f"Wrote {out}.\n{DISCLAIMER}")


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
    with plain_errors():
        return load_rule_book(
            enable, [parse_rule_set(path.read_text("utf-8"), path.name) for path in also]
        )
