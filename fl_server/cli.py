"""omote-server: set up a federation, run it, and look at its rounds. Thin; starts without torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from consent.errors import ConsentError
from core_model.checkpoint import CheckpointError, load_checkpoint
from core_model.evaluation.public_set import PublicSet, read_public
from core_model.settings_file import SettingsError
from fl_server.branching import Branch, branch_off, roll_back
from fl_server.config import load_federation
from fl_server.dashboard.command import dashboard, dashboard_user
from fl_server.errors import ServerError
from fl_server.folder import ServerFolder
from fl_server.refusals import EXPLAINED
from fl_server.release_command import release_model
from fl_server.round_state import load_state

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # they hold keys
    help="Set up, run and watch a federation.",
)
log_app = typer.Typer(no_args_is_help=True, help="The signed log of rounds.")
app.add_typer(log_app, name="log")
app.command()(dashboard)
app.command()(dashboard_user)
Folder = Annotated[Path, typer.Argument(help="Of the server, from: omote-server init")]
FederationFile = Annotated[Path, typer.Argument(help="The federation.toml, or its folder.")]


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn errors into one line and exit code 1."""
    try:
        yield
    except (ServerError, ConsentError, SettingsError, CheckpointError, OSError) as e:
        typer.echo(f"error    {e}", err=True)
        raise typer.Exit(1) from e


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Empty, or not there yet.")],
    name: Annotated[str, typer.Option(help="Of the federation, such as pilot-1.")],
    address: Annotated[
        str, typer.Option(help="HOST:PORT that sites will connect to.")
    ] = "localhost:9443",
    certificate: Annotated[
        Path | None, typer.Option(help="Your own certificate, with its chain, in PEM.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    ca: Annotated[Path | None, typer.Option(help="The CA that sites are to check it by.")] = None,
) -> None:
    """Make a server: CA and certificate (or take yours), keys, and a federation.toml to edit."""
    from fl_server.founding import OwnCertificate, found

    with plain_errors():
        own = None
        if certificate and key and ca:
            own = OwnCertificate(certificate, key, ca)
        elif certificate or key or ca:
            raise ServerError("--certificate, --key and --ca go together")
        found(ServerFolder(folder.resolve()), name, address, _now(), own)
    typer.echo(f"Made {folder}.")
    if own is None:
        typer.echo(f"Keep {folder}/keys/ca.key elsewhere: it is needed to renew only.")
    typer.echo(f"Next: edit {folder}/federation.toml; make {folder}/initial.safetensors:")
    typer.echo("  omote-model init --help")
    typer.echo(f"  omote-server enroll {folder} enrolment.json     for each site")
    typer.echo(f"  omote-server start {folder}")


@app.command()
def enroll(
    folder: Folder,
    enrolment: Annotated[Path, typer.Argument(help="From the site: omote-site init wrote it.")],
    weight: Annotated[float, typer.Option(help="Public share in the average.")] = 1.0,
    out: Annotated[Path, typer.Option(help="Where to write what the site needs.")] = Path(
        "invitation.json"
    ),
) -> None:
    """Enrol a site; write the invitation to send back. Nothing in it is secret."""
    from fl_server.enrolling import enroll as enrol
    from fl_server.enrolling import write_invitation

    with plain_errors():
        place = ServerFolder(folder.resolve())
        invitation = enrol(place, enrolment, weight)
        write_invitation(out, invitation)
    typer.echo(f"Enrolled {invitation.site_id}. Send {out} back, and read these out by telephone:")
    typer.echo(f"  bundle  {invitation.bundle}")
    typer.echo(f"  log key {invitation.server_key}")
    typer.echo("A server that runs lets the site in after its next start: omote-server start")


@app.command()
def suspend(
    folder: Folder,
    site: Annotated[str, typer.Argument(help="Its site_id.")],
    lift: Annotated[bool, typer.Option("--lift", help="Count it again.")] = False,
) -> None:
    """Count nothing from a site from now on, in the running round too."""
    from fl_server.enrolling import suspend as set_aside

    with plain_errors():
        set_aside(ServerFolder(folder.resolve()), site, lift=lift)
    typer.echo(f"{site} {'counts again' if lift else 'is suspended'}.")


@app.command()
def rollback(
    folder: Folder,
    to: Annotated[int, typer.Option(min=1, help="The last round that is kept.")],
) -> None:
    """Go on after an earlier round, under a new name. Nothing is deleted."""
    with plain_errors():
        _told_of(roll_back(ServerFolder(folder.resolve()), to))


@app.command()
def branch(
    folder: Folder,
    name: Annotated[str, typer.Argument(help="Of the new run; sites see it.")],
    start: Annotated[int, typer.Option("--from", min=1, help="The last round that both have.")],
) -> None:
    """Begin another run after a round of this one, such as with other settings."""
    with plain_errors():
        _told_of(branch_off(ServerFolder(folder.resolve()), name, start))


@app.command()
def renew(folder: Folder) -> None:
    """Make a new certificate of the same CA. Sites need nothing; start again to use it."""
    from fl_server.config import load_draft, split_address
    from fl_server.founding import renew as make_anew

    with plain_errors():
        place = ServerFolder(folder.resolve())
        host, _ = split_address(load_draft(place.federation).link.address)
        make_anew(place, host, _now())
    typer.echo(f"Made a new {folder}/server.pem. Next: omote-server start {folder}")


@app.command()
def start(
    folder: Folder,
    log_format: Annotated[str, typer.Option(help="text, or json for a log collector.")] = "text",
    insecure_on_loopback: Annotated[
        bool,
        typer.Option(
            "--insecure-on-loopback", help="Without TLS and keys; refused on any other address."
        ),
    ] = False,
) -> None:
    """Run the federation to its last round, in the foreground. Ctrl-C stops it; start goes on."""
    from fl_server.journal import Journal
    from fl_server.running import Options, run_server

    if log_format not in ("text", "json"):
        raise typer.BadParameter("expected text or json", param_hint="--log-format")
    journal = Journal(typer.echo, "json" if log_format == "json" else "text")
    try:
        with plain_errors():
            run_server(ServerFolder(folder.resolve()), Options(insecure_on_loopback), journal)
    except KeyboardInterrupt:
        journal.say("stopped", "Stopped. Finished rounds are kept; start goes on after them.")


@app.command()
def stop(folder: Folder) -> None:
    """Stop the server of a folder, as Ctrl-C does. The running round is begun anew later."""
    from fl_server.standing import stop_server

    with plain_errors():
        pid = stop_server(ServerFolder(folder.resolve()))
    typer.echo(f"Stopped process {pid}." if pid else "No server runs here.")


@app.command()
def status(folder: Folder) -> None:
    """Show whether the server runs, where the rounds are, and when each site last took part."""
    from fl_server.standing import standing

    with plain_errors():
        for line in standing(ServerFolder(folder.resolve()), _now()):
            typer.echo(line)


@app.command()
def evaluate(folder: Folder) -> None:
    """Measure the models of finished rounds on the public set of federation.toml.

    start does so by itself; this makes up what is missing while it does not run.
    """
    from fl_server.evaluating import Evaluator
    from fl_server.journal import Journal

    place = ServerFolder(folder.resolve())
    with plain_errors():
        config = load_federation(place.federation)
        if config.evaluation is None:
            raise ServerError("no public set: add [evaluation] to federation.toml (docs/server.md)")
        summaries = load_state(config.output, config.run_id).summaries
        with Evaluator(place, config, Journal(typer.echo)) as evaluator:
            evaluator.finish(summaries)
            if left := evaluator.missing(summaries):
                raise ServerError(f"rounds without figures: {', '.join(map(str, reversed(left)))}")
    typer.echo("Every finished round of fine-tuning has its figures.")


@app.command()
def report(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("federation.html"),
) -> None:
    """Write one HTML page about the run: rounds, sites, refusals and why, models."""
    from fl_server.report import write_report

    with plain_errors():
        write_report(ServerFolder(folder.resolve()), out, _now())
    typer.echo(f"Wrote {out}.")


app.command("release")(release_model)


@app.command()
def check(federation: FederationFile) -> None:
    """Check a federation.toml and its initial checkpoint; show what would run."""
    path = _file(federation)
    with plain_errors():
        config = load_federation(path)
        _, manifest = load_checkpoint(config.initial)
    shared = manifest.weights.shared("finetuning")
    typer.echo(f"run {config.run_id}: {len(config.sites)} sites, quorum {config.quorum}")
    for stage in config.stages:
        typer.echo(f"  {stage.rounds} rounds of {stage.training.purpose}")
    for site in config.sites:
        labels = ", ".join(f"AU{au}" for au in site.labelled_aus) or "pretraining only"
        suspended = "; suspended" if site.suspended else ""
        typer.echo(f"  {site.site_id}: weight {site.weight:g}; {labels}{suspended}")
    typer.echo(f"initial checkpoint: {manifest.licence_line()}")
    typer.echo(f"shared in a round of finetuning: {shared.num_bytes():,} bytes a site")
    if config.evaluation is not None:
        with plain_errors():
            typer.echo(_public(config.evaluation))
    typer.echo(f"Right. Next: omote-server start {path.parent}")


@app.command()
def rounds(federation: FederationFile) -> None:
    """Show the rounds of a run: who was admitted, who was refused, and why."""
    with plain_errors():
        config = load_federation(_file(federation))
        state = load_state(config.output, config.run_id)
    if not state.round:
        typer.echo(f"No round is finished yet in {config.output}.")
        raise typer.Exit
    for summary in state.summaries:
        admitted = ", ".join(summary.admitted) or "nobody"
        typer.echo(f"round {summary.round} ({summary.purpose}): admitted {admitted}")
        for site, code in summary.refused.items():
            typer.echo(f"  refused {site}: {code.name}, {EXPLAINED[code.name]}")
        if not summary.has_quorum:
            typer.echo("  no quorum: the weights stayed as they were")


@log_app.command()
def verify(
    log: Annotated[Path, typer.Argument(help="The folder round-log, or a copy of it.")],
    key: Annotated[str, typer.Option(help="The server's log key, from the invitation.")],
    federation: Annotated[
        Path | None,
        typer.Option(help="Folder of the server: also check what sites signed, as kept there."),
    ] = None,
) -> None:
    """Verify a log of rounds offline: signature, tree, order, and models that follow each other."""
    from consent.keys import VerifierKey
    from fl_server.round_check import check_attestations
    from fl_server.round_log import read_log

    with plain_errors():
        found = read_log(log, VerifierKey.parse(key))
        num = 0
        if federation is not None:
            num = check_attestations(load_federation(_file(federation)), found)
    for entry in found.entries:
        refused = ", ".join(f"{site} {code.name}" for site, code in entry.refused.items())
        typer.echo(
            f"{entry.run_id} round {entry.round}: admitted {', '.join(entry.admitted) or 'nobody'}"
            + (f"; refused {refused}" if refused else "")
            + f"; model {entry.model_out[:16]}"
        )
    checked = f", {num} attestations" if federation else ""
    typer.echo(f"Right: {found.head.size} rounds signed by {found.head.origin}{checked}.")


def _public(settings: PublicSet) -> str:
    try:
        people = read_public(settings)
    except ValueError as e:
        raise ServerError(str(e)) from e
    test, choosing = (len({r.subject_id for r in g}) for g in (people.test, people.validation))
    how = f"{choosing} others choose the threshold" if choosing else "threshold 0.5"
    return f"measured on {test} people of the public set; {how}"


def _told_of(made: Branch) -> None:
    typer.echo(f"{made.run_id} goes on after round {made.point.round} of {made.point.run_id}.")
    typer.echo(f"The settings of {made.point.run_id} are now {made.kept}: nothing was deleted.")
    typer.echo(f"Next: omote-server start {made.kept.parent}")


def _file(path: Path) -> Path:
    return ServerFolder(path.resolve()).federation if path.is_dir() else path


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    app()
