"""Commands that keep a site's records. Thin: parse, call one function, print."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from consent.checks import find_notice
from consent.commands.shell import (
    DEFAULT_FOLDER,
    AsJson,
    Folder,
    Purposes,
    Subject,
    digest_of,
    now,
    opened,
    plain_errors,
    print_json,
)
from consent.hooks import after_withdrawal
from consent.model import Conditions, ConsentKind, Grant, NoticeRef, Purpose, Role
from consent.registry import Registry
from consent.state import Status
from consent.upkeep import (
    HORIZONS_D,
    count_expiring,
    count_statuses,
    due_events,
    renewal,
    touched_by,
)

app = typer.Typer(no_args_is_help=True)

Notice = Annotated[str, typer.Option("--notice", help="Id of the notice that was shown.")]
Language = Annotated[str, typer.Option(help="Language in which it was shown, such as ja.")]
Version = Annotated[int | None, typer.Option(min=1, help="Version shown; without: the latest.")]


@app.command()
def init(
    site: Annotated[str, typer.Argument(help="Public name of the site.")],
    folder: Folder = DEFAULT_FOLDER,
    territory: Annotated[
        str | None, typer.Option(help="ISO 3166 code of where the data are used, such as DE.")
    ] = None,
    roots: Annotated[
        int, typer.Option(min=1, max=9, help="Root keys. More than half must agree to new keys.")
    ] = 1,
    store: Annotated[
        str | None,
        typer.Option(
            help="URL of a PostgreSQL database for the log, without password (~/.pgpass); "
            "its tables are made with: omote-consent log prepare. Else a file."
        ),
    ] = None,
) -> None:
    """Make the keys and an empty consent log of SITE."""
    with plain_errors():
        registry = Registry.create(
            folder, site, now, territory=territory, num_roots=roots, store=store
        )
    typer.echo(f"Made {folder}. The key that others check this log with (it is no secret):")
    typer.echo(f"  {registry.log_vkey}")
    typer.echo(f"Take the root keys away from this machine: {folder}/keys/root*.key")
    typer.echo("Next: omote-consent notice add")


@app.command()
def request(
    subject: Subject,
    purpose: Purposes,
    notice: Notice,
    language: Language = "en",
    version: Version = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Record that the notice was shown and not answered yet."""
    with plain_errors():
        registry = opened(folder)
        registry.request(subject, purpose, _shown(registry, notice, version, language))
    typer.echo("Recorded. Nothing is agreed to yet.")


@app.command()
def give(
    subject: Subject,
    purpose: Purposes,
    notice: Notice,
    evidence: Annotated[Path, typer.Option(help="The signed form. Only its digest is kept.")],
    language: Language = "en",
    version: Version = None,
    kind: Annotated[ConsentKind, typer.Option(help="How it was expressed.")] = ConsentKind.EXPLICIT,
    valid_days: Annotated[int | None, typer.Option(min=1, help="Days until it expires.")] = None,
    max_rounds: Annotated[int | None, typer.Option(min=1, help="Rounds that may use it.")] = None,
    max_epsilon: Annotated[
        str | None, typer.Option(help="Most privacy loss over all training, such as 2 or 0.5.")
    ] = None,
    territory: Annotated[
        list[str] | None, typer.Option(help="Where it may be used, such as DE. Repeatable.")
    ] = None,
    guardian: Annotated[str | None, typer.Option(help="Subject id of a minor's guardian.")] = None,
    without_assent: Annotated[
        bool, typer.Option(help="The minor is too young to say yes or no.")
    ] = False,
    renew: Annotated[bool, typer.Option(help="Confirms what was given before.")] = False,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Record that a person agreed, to each purpose on its own."""
    end = None if valid_days is None else now() + timedelta(days=valid_days)
    with plain_errors():
        limits = Conditions(
            max_rounds=max_rounds, max_epsilon=max_epsilon, territories=tuple(territory or ())
        )
        registry = opened(folder)
        index = registry.give(
            subject,
            [Grant(purpose=p, expires_at=end, conditions=limits) for p in purpose],
            _shown(registry, notice, version, language),
            kind,
            digest_of(evidence),
            guardian_id=guardian,
            assent="not_capable" if without_assent else "given",
            is_renewal=renew,
        )
    typer.echo(f"Recorded as entry {index}.")


@app.command()
def renew(
    subject: Subject,
    notice: Notice,
    evidence: Annotated[Path, typer.Option(help="The signed form. Only its digest is kept.")],
    language: Language = "en",
    valid_days: Annotated[int | None, typer.Option(min=1, help="Days until it expires.")] = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Record that a person confirmed all that they agreed to before, under the notice of today."""
    with plain_errors():
        registry = opened(folder)
        event = renewal(
            registry.state(),
            subject,
            _shown(registry, notice, None, language),
            digest_of(evidence),
            registry.now(),
            None if valid_days is None else timedelta(days=valid_days),
        )
        (index,) = registry.append([event], Role.REGISTRAR)
    typer.echo(f"Renewed {', '.join(event.purposes)} as entry {index}.")


@app.command()
def refuse(
    subject: Subject,
    purpose: Purposes,
    notice: Notice,
    language: Language = "en",
    version: Version = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Record that a person said no. What was given before is taken back."""
    with plain_errors():
        registry = opened(folder)
        registry.refuse(subject, purpose, _shown(registry, notice, version, language))
        _follow_up(registry, subject)


@app.command()
def withdraw(
    subject: Subject,
    purpose: Annotated[
        list[Purpose] | None, typer.Option("--purpose", help="Repeatable; without: all.")
    ] = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Record that a person took consent back. The next round leaves the person out."""
    with plain_errors():
        registry = opened(folder)
        index = registry.withdraw(subject, tuple(purpose or Purpose))
        typer.echo(f"Withdrawn as entry {index}. A round that runs now will not be sent.")
        _follow_up(registry, subject)


@app.command()
def sweep(folder: Folder = DEFAULT_FOLDER) -> None:
    """Write down what time has ended: expired consent, minors who came of age."""
    with plain_errors():
        registry = opened(folder)
        due = due_events(registry.state(), registry.now())
        if due:
            registry.append(due, Role.LOG)
    typer.echo(f"{len(due)} entries written.")


@app.command()
def status(folder: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Show what is valid and what ends soon. Counts only, no people."""
    with plain_errors():
        registry = opened(folder)
        state, at = registry.state(), registry.now()
    statuses, expiring = count_statuses(state, at), count_expiring(state, at)
    if as_json:
        print_json(
            {
                "site": registry.site,
                "entries": state.size,
                "at": at.isoformat(),
                "purposes": statuses,
                "expiring_days": expiring,
                "flags": [{"entry": f.index, "why": f.why} for f in state.flags],
                "lost": sorted(state.lost),
            }
        )
        return
    typer.echo(f"{registry.site}: {state.size} entries, {at:%Y-%m-%d %H:%M} UTC")
    ends = " ".join(f"in {days} d".rjust(8) for days in HORIZONS_D)
    typer.echo(f"{'purpose':16} {'allowed':>8} {ends}   otherwise")
    for purpose in Purpose:
        counts = statuses[purpose]
        soon = " ".join(f"{expiring[purpose][days]:8}" for days in HORIZONS_D)
        rest = ", ".join(f"{s} {n}" for s, n in sorted(counts.items()) if s is not Status.ALLOWED)
        typer.echo(f"{purpose:16} {counts[Status.ALLOWED]:8} {soon}   {rest}")
    for flag in state.flags:
        typer.echo(f"look at entry {flag.index}: {flag.why}")


def _shown(registry: Registry, notice_id: str, version: int | None, language: str) -> NoticeRef:
    return find_notice(registry.state(), notice_id, version, language).event.ref


def _follow_up(registry: Registry, subject: str) -> None:
    """Tell what the data had a part in, and run what the site does after a withdrawal."""
    state = registry.state()
    touched = touched_by(state, subject)
    typer.echo(f"Rounds that used the data: {len(touched.rounds)}. They stay lawful.")
    for model, remediation in touched.remediations(state).items():
        done = (
            remediation.kind if remediation else "nothing yet; see: omote-consent model remediate"
        )
        typer.echo(f"Model {model}: {done}")
    printed = after_withdrawal(registry.folder)
    if printed is None:
        typer.echo("Next: omote-site purge SITE.TOML deletes what is kept of the person.")
    else:
        typer.echo(printed, nl=False)
