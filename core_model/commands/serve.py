"""omote-model serve: a released model on this machine, as a page and over gRPC."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core_model.commands.predict import EXIT_DENIED, TRUSTED

Model = Annotated[Path, typer.Argument(help="A released model (.onnx).")]
PermitFile = Annotated[Path, typer.Option(help="From: omote-consent policy permit.")]
Trust = Annotated[
    str | None,
    typer.Option(help=f"Key of whoever released the model, or a file of keys; else {TRUSTED}."),
]
Unsigned = Annotated[
    bool, typer.Option("--unsigned", help="Use the model though nobody vouches for it.")
]
PermitKey = Annotated[
    str | None, typer.Option(help="Key (or file of keys) that must have signed the permit.")
]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Of the page.")]
Socket = Annotated[
    Path | None,
    typer.Option(help="Also gRPC, on this local socket in a folder that is yours alone."),
]
Threads = Annotated[int, typer.Option(min=1, help="Processor cores for the model.")]
USUAL_PORT = 8348


def serve(
    model: Model,
    permit: PermitFile,
    trust: Trust = None,
    unsigned: Unsigned = False,
    permit_key: PermitKey = None,
    port: Port = USUAL_PORT,
    socket: Socket = None,
    page: Annotated[bool, typer.Option(help="Serve the page.")] = True,
    listen: Annotated[str, typer.Option(help="Address of the page.")] = "127.0.0.1",
    expose: Annotated[
        bool, typer.Option("--expose", help="Allow an address that other machines reach.")
    ] = False,
    name: Annotated[
        list[str] | None, typer.Option(help="With --expose: what browsers call it. Repeatable.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    threads: Threads = 1,
) -> None:
    """Try a model on a page: drop a picture or start the camera. Nothing is kept or sent on.

    With --socket, programs ask over gRPC: docs/use.md has a client of 20 lines. AUs are movements,
    not emotions. Re-enactment by a generated face: omote-sim serve.
    """
    from core_model.data.face import FaceModelError
    from core_model.release.model_file import ModelFileError
    from core_model.release.signature import SignatureError
    from core_model.serve.running import Address, Given, open_studio, trusted
    from core_model.serve.running import serve as serve_it
    from core_model.use.hide import HIDERS, SIDE
    from core_model.use.permit import PermitError

    if not page and socket is None:
        _stop("--no-page leaves nothing to serve; add --socket PATH", 2)
    address = Address(port, listen, expose, tuple(name or ()), tls_cert, tls_key)
    try:
        address.check()
    except ValueError as e:
        _stop(str(e), 2)
    given = Given(model, permit, trusted(trust, TRUSTED), unsigned, permit_key, threads)
    try:
        studio = open_studio(given, lambda _: HIDERS, typer.echo, SIDE)
        serve_it(studio, address if page else None, socket, typer.echo)
    except (PermitError, ModelFileError) as e:
        _stop(str(e), EXIT_DENIED)
    except (SignatureError, FaceModelError, OSError, ValueError) as e:
        _stop(str(e), 1)
    except KeyboardInterrupt:
        typer.echo("Stopped.")


def _stop(message: str, code: int) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(code)
