"""Commands about models: which came from which rounds, and what was done after a withdrawal."""

from __future__ import annotations

from typing import Annotated

import typer

from consent.commands.shell import DEFAULT_FOLDER, Folder, Subject, opened, plain_errors
from consent.model import Remedy, Role
from consent.site_events import ModelPublished, ModelRemediation
from consent.upkeep import REMEDIES, touched_by

app = typer.Typer(no_args_is_help=True, help="Models: where they came from, what was done later.")
Model = Annotated[str, typer.Argument(help="SHA-256 of the model.")]


@app.command()
def publish(
    model: Model,
    run: Annotated[str, typer.Option(help="Run that it came from.")],
    rounds: Annotated[list[int], typer.Option("--round", help="Repeat for several.")],
    parent: Annotated[list[str] | None, typer.Option(help="Model that it began from.")] = None,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Record that a model came out of rounds of a run."""
    with plain_errors():
        event = ModelPublished(
            model=model, run_id=run, rounds=tuple(rounds), parents=tuple(parent or ())
        )
        (index,) = opened(folder).append([event], Role.OPERATOR)
    typer.echo(f"Recorded as entry {index}.")


@app.command()
def touched(subject: Subject, folder: Folder = DEFAULT_FOLDER) -> None:
    """List the rounds and models that a person's data had a part in, and what was done since."""
    with plain_errors():
        state = opened(folder).state()
        found = touched_by(state, subject)
    for index in found.rounds:
        signed = next(r.event for r in state.rounds if r.index == index)
        typer.echo(f"round {signed.run_id}/{signed.round} ({signed.purpose}), entry {index}")
    for model, remediation in found.remediations(state).items():
        typer.echo(f"model {model}")
        typer.echo(f"  {REMEDIES[remediation.kind] if remediation else 'Nothing was done yet.'}")


@app.command()
def remediate(
    model: Model,
    kind: Annotated[Remedy, typer.Option(help="What was done.")],
    reason: Annotated[str, typer.Option(help="Why this, in a sentence that names nobody.")],
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Record what was done about a model after a withdrawal, and what that means."""
    with plain_errors():
        event = ModelRemediation(model=model, kind=kind, reason=reason)
        (index,) = opened(folder).append([event], Role.DPO)
    typer.echo(f"Recorded as entry {index}. {REMEDIES[kind]}")
