"""Commands of a witness: whoever is not the site cosigns its tree heads if the log only grew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from consent.cosignature import ED25519, ML_DSA_44, Cosigner
from consent.errors import ConsentError, ProofError
from consent.keys import VerifierKey
from consent.witness import check_equivocation
from consent.witness_http import WitnessServer
from consent.witness_store import Witness

app = typer.Typer(no_args_is_help=True, help="Watch other sites' logs: cosign what only grew.")
Folder = Annotated[Path, typer.Option("--folder", help="Folder of the witness.")]
DEFAULT_FOLDER = Path("witness")
EXIT_FINDING, EXIT_USAGE = 1, 2


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="Public name, such as witness.example/w1.")],
    folder: Folder = DEFAULT_FOLDER,
    ml_dsa: Annotated[
        bool, typer.Option(help="A second key, ML-DSA-44, that a quantum computer does not break.")
    ] = False,
) -> None:
    """Make the keys of a witness."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _plain_errors():
        for kind, file in ((ED25519, "ed25519.key"), (ML_DSA_44, "ml-dsa-44.key")):
            if kind == ED25519 or ml_dsa:
                cosigner = Cosigner.generate(name, kind)
                cosigner.save(folder / file)
                typer.echo(cosigner.verifier.vkey)
    typer.echo("These keys are no secret: put them into trust policies. Next: witness add VKEY")


@app.command()
def add(
    vkey: Annotated[str, typer.Argument(help="Public key of a log.")],
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Watch a log from now on; or accept another key of one that is watched."""
    with _plain_errors():
        key = VerifierKey.parse(vkey)
        _open(folder).add_log(key)
    typer.echo(f"Watching {key.name}")


@app.command()
def serve(
    folder: Folder = DEFAULT_FOLDER,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8735,
) -> None:
    """Answer logs over HTTP. Put a proxy with TLS before it to serve others."""
    with _plain_errors():
        server = WitnessServer((host, port), _open(folder))
    typer.echo(f"Listening on http://{host}:{server.server_port} (stop with Ctrl-C)")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


@app.command()
def status(
    folder: Folder = DEFAULT_FOLDER,
    evidence: Annotated[
        Path | None, typer.Option(help="Folder to write the evidence into, two notes a case.")
    ] = None,
) -> None:
    """Show what was cosigned last. Exit code 1: a log signed two different heads of one size."""
    with _plain_errors():
        witness = _open(folder)
        for origin, seen in witness.logs():
            typer.echo(f"{origin}: {seen.head.size if seen else 0} entries cosigned")
        found = witness.evidence()
        for number, pair in enumerate(found):
            typer.echo(f"{pair.origin}: SIGNED TWO HEADS OF {pair.size} ENTRIES", err=True)
            if evidence:
                evidence.mkdir(parents=True, exist_ok=True)
                for side, note in (("a", pair.note_a), ("b", pair.note_b)):
                    path = evidence / f"{number}-{side}.note"
                    path.write_text(note, encoding="utf-8")
    if found:
        raise typer.Exit(EXIT_FINDING)


@app.command()
def judge(
    first: Annotated[Path, typer.Argument(help="A tree head.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    vkey: Annotated[str, typer.Argument(help="The log's public key.")],
) -> None:
    """Tell whether two heads prove that a log told two stories. Exit code 1: they do."""
    with _plain_errors():
        key = VerifierKey.parse(vkey)
        notes = [path.read_text(encoding="utf-8") for path in (first, second)]
        try:
            one, two = check_equivocation(notes[0], notes[1], key)
        except ProofError as e:
            typer.echo(f"They prove nothing: {e}")
            return
    typer.echo(f"{key.name} signed two histories of {one.size} entries:")
    typer.echo(f"  {one.root.hex()}\n  {two.root.hex()}")
    raise typer.Exit(EXIT_FINDING)


def _open(folder: Path) -> Witness:
    files = sorted(folder.glob("*.key"))
    if not files:
        _stop(f"no key in {folder}; make one with: omote-consent witness init NAME")
    cosigners = [Cosigner.load(path) for path in files]
    return Witness(folder / "witness.sqlite", cosigners, lambda: datetime.now(UTC))


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except (ConsentError, OSError, UnicodeDecodeError) as e:
        _stop(str(e))


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(EXIT_USAGE)
