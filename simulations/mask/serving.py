"""omote-sim serve: the page of omote-model serve, with re-enactment as a third way to hide."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from core_model.commands.predict import TRUSTED
from core_model.commands.serve import (
    USUAL_PORT,
    Model,
    PermitFile,
    PermitKey,
    Port,
    Socket,
    Threads,
    Trust,
    Unsigned,
)
from core_model.serve.running import Address, Given, open_studio, trusted
from core_model.serve.running import serve as serve_it
from core_model.use.hide import HIDERS, Hider
from core_model.use.session import Session
from simulations.mask.command import CACHE, FAILURES, Cache, Person
from simulations.mask.reenact import Mask
from simulations.mask.ways import hider


def serve(
    model: Model,
    permit: PermitFile,
    trust: Trust = None,
    unsigned: Unsigned = False,
    permit_key: PermitKey = None,
    port: Port = USUAL_PORT,
    socket: Socket = None,
    threads: Threads = 1,
    person: Person = 0,
    cache: Cache = CACHE,
) -> None:
    """Try a model on a page of this machine; a generated face can move in your place."""
    given = Given(model, permit, trusted(trust, TRUSTED), unsigned, permit_key, threads)
    try:
        mask = Mask(cache, person)

        def hiders(session: Session) -> Mapping[str, Hider]:
            return {**HIDERS, "reenact": hider("reenact", session.predictor, mask)}

        studio = open_studio(given, hiders, typer.echo, mask.size)
        serve_it(studio, Address(port), socket, typer.echo)
    except FAILURES as e:
        typer.echo(str(e), err=True)
        raise typer.Exit(1) from e
    except KeyboardInterrupt:
        typer.echo("Stopped.")
