"""omote-consent audit: recompute, answer, export. Thin: parse, call one function, print."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from consent.audit import exports, server, told
from consent.audit.bundle_check import verify_bundle
from consent.audit.diff import compare_reports
from consent.audit.lineage import lineage_of, was_used
from consent.audit.load import load_whatever
from consent.audit.questions import answer_all
from consent.audit.report import VERDICTS, WORDS, Outcome, Report, page
from consent.audit.sources import Sources
from consent.commands import audit_files, audit_run
from consent.commands.audit_options import (
    Person,
    Policy,
    State,
    facts_of,
    request_of,
    subject_of,
    tell,
)
from consent.commands.shell import (
    DEFAULT_FOLDER,
    EXIT_FINDING,
    EXIT_INTEGRITY,
    EXIT_USAGE,
    AsJson,
    Folder,
    OutsideFile,
    now,
    plain_errors,
    stop,
)
from consent.keys import VerifierKey
from consent.note import open_tree_head
from consent.trust import TrustPolicy

app = typer.Typer(
    no_args_is_help=True,
    help="Recompute what the consent log says, and answer what a data-protection officer asks. "
    "Exit codes: 0 in order, 1 a finding, 2 usage, 3 the evidence does not hold.",
)
EXITS = {Outcome.FINDING: EXIT_FINDING, Outcome.BROKEN: EXIT_INTEGRITY}


@app.command()
def verify(
    key: Annotated[str, typer.Argument(help="The log's public key, from outside this machine.")],
    bundle: Annotated[Path | None, typer.Option(help="Check this file instead of a site.")] = None,
    since: Annotated[
        list[Path], typer.Option(help="Tree head seen before; the log must extend it.")
    ] = [],  # noqa: B006 - typer copies it
    policy: Policy = None,
    folder: Folder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Recompute a log, or a bundle that came from elsewhere, from its public KEY alone."""
    with plain_errors():
        log_key = VerifierKey.parse(key)
        if bundle is not None:
            found = verify_bundle(bundle, log_key)
            result: dict[str, Any] = {
                **told.head(found.head),
                "rounds": len(found.rounds),
                "flags": found.flags,
                "closed_signers": found.num_closed_signers,
            }
            note = found.note
        else:
            sources = Sources.open(folder)
            heads = [open_tree_head(path.read_text(), log_key) for path in since]
            sources.verify(log_key, heads)
            result = told.head(sources.head(log_key))
            note = sources.cosigned_head or sources.tree_head
        if policy is not None:
            result["cosigned_at"] = str(TrustPolicy.load(policy).check(note).cosigned_at)
    flags = result.get("flags", ())
    tell(
        result,
        as_json,
        f"Intact: {result['size']} entries of {result['origin']}, root {result['root']}",
        *([f"Attestations that hold: {result['rounds']}"] if bundle else []),
        *([f"Quorum of witnesses: met, last at {result['cosigned_at']}"] if policy else []),
        *(f"please look: {flag}" for flag in flags),
    )
    if flags:
        raise typer.Exit(EXIT_FINDING)


@app.command()
def report(
    out: Annotated[Path, typer.Option(help="The page; the JSON goes beside it.")] = Path(
        "audit.html"
    ),
    servers: Annotated[list[Path], typer.Option("--server", help="A server's run.json.")] = [],  # noqa: B006
    before: Annotated[Path | None, typer.Option(help="JSON of an earlier report.")] = None,
    key: Annotated[str | None, typer.Option(help="The log's public key, from outside.")] = None,
    policy: Policy = None,
    folder: Folder = DEFAULT_FOLDER,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Answer the 21 questions in one HTML page, and in JSON beside it."""
    with plain_errors():
        request = replace(
            request_of(folder, state),
            log_key=VerifierKey.parse(key) if key else None,
            policy=TrustPolicy.load(policy) if policy else None,
            servers=servers,
            before=before,
        )
        made = answer_all(load_whatever(request, now))
        out.write_text(page(made), encoding="utf-8")
        out.with_suffix(".json").write_bytes(made.to_json())
    counts = {o: sum(a.outcome is o for a in made.answers) for o in reversed(Outcome)}
    tell(
        json.loads(made.to_json()),
        as_json,
        VERDICTS[made.outcome],
        *(f"{WORDS[o]:>14}  {n}" for o, n in counts.items() if n),
        f"Read {out}",
    )
    raise typer.Exit(EXITS.get(made.outcome, 0))


@app.command()
def who(
    subject: Person = None,
    outside_id_file: OutsideFile = None,
    model: Annotated[str | None, typer.Option(help="Was the person used in this model?")] = None,
    folder: Folder = DEFAULT_FOLDER,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Tell about one person: what stands, which rounds, and whether a MODEL holds their data."""
    with plain_errors():
        facts = facts_of(folder, state)
        subject_id = subject_of(folder, subject, outside_id_file)
        if model is not None:
            answered = was_used(
                lineage_of(facts.state, model),
                facts.checks,
                subject_id or "",
                is_known=subject_id in facts.state.subjects,
            )
            tell(told.answer(answered), as_json, *told.answer_lines(answered))
            return
        if subject_id is None:
            stop("the log knows no such person: never registered here, or erased", EXIT_USAGE)
        found = exports.subject_access(facts, subject_id)
    tell(found, as_json, *told.person_lines(found))


@app.command()
def model(
    digest: Annotated[str | None, typer.Argument(help="Of the model; else all are listed.")] = None,
    folder: Folder = DEFAULT_FOLDER,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a model came from: rounds, people, ancestors, and what was decided about it."""
    with plain_errors():
        facts = facts_of(folder, state)
        if digest is None:
            tell({"models": list(facts.state.models)}, as_json, *facts.state.models)
            return
        found = told.model(facts, digest)
    tell(found, as_json, *told.model_lines(found))


@app.command("round")
def round_(
    name: Annotated[str, typer.Argument(help="RUN/NUMBER, such as pilot-1/3.")],
    folder: Folder = DEFAULT_FOLDER,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Recompute one round: its statement, its manifest, and the consent behind every recording."""
    with plain_errors():
        facts = facts_of(folder, state)
        found = [c for c in facts.checks if c.name == name]
        if not found:
            stop(f"this site signed no round {name}", EXIT_USAGE)
    lines = (line for check in found for line in told.round_lines(check))
    tell({"rounds": [told.round_(c) for c in found]}, as_json, *lines)
    if any(c.faults for c in found):
        raise typer.Exit(EXIT_FINDING)


@app.command()
def diff(
    old: Annotated[Path | None, typer.Argument(help="JSON of an earlier report.")] = None,
    new: Annotated[Path | None, typer.Argument(help="JSON of a later one.")] = None,
    run: Annotated[
        list[Path], typer.Option("--server", help="Compare a server's run.json with this site.")
    ] = [],  # noqa: B006
    folder: Folder = DEFAULT_FOLDER,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Tell what changed between two reports, or where a server's story differs from this site's."""
    with plain_errors():
        if run:
            facts = facts_of(folder, state)
            records = [server.read_server_record(path) for path in run]
            found = [
                f"{r.run_id}: {line}"
                for r in records
                for line in server.compare(facts.site, r, facts.checks, facts.state.discarded)
            ]
            tell({"differences": found}, as_json, *(found or ["Both tell the same story."]))
            raise typer.Exit(EXIT_FINDING if found else 0)
        if old is None or new is None:
            stop("give two reports in JSON, or --server run.json", EXIT_USAGE)
        changes = compare_reports(
            Report.from_json(old.read_bytes()), Report.from_json(new.read_bytes())
        )
    result = {
        "grown_by": changes.grown_by,
        "is_shorter": changes.is_shorter,
        "is_rewritten": changes.is_rewritten,
        "answers": [[x.model_dump(mode="json") for x in pair] for pair in changes.answers],
    }
    lines = (
        f"{b.number:2} {b.question}\n   then: {a.answer}\n   now:  {b.answer}"
        for a, b in changes.answers
    )
    tell(result, as_json, f"The log grew by {changes.grown_by} entries.", *lines)
    if changes.is_shorter or changes.is_rewritten:
        stop("this is not the earlier log, grown: it was cut or rewritten", EXIT_INTEGRITY)


app.add_typer(audit_files.app)
app.add_typer(audit_run.app)
