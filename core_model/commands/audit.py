"""omote-model audit and vouch: does the private loop keep its promise, and who says so."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from core_model.checkpoint import CheckpointError, CheckpointManifest, manifest_path

EXIT_BROKEN = 3
Key = Annotated[Path, typer.Option(help="Private key of the auditor; see: omote-model key.")]


def audit(
    checkpoint: Annotated[Path, typer.Argument(help="Weights that are to be released.")],
    out: Annotated[Path, typer.Option(help="File for the result.")] = Path("audit.json"),
    epsilon: Annotated[
        float, typer.Option(min=0.1, help="Promise to test; above 2 hardly anything can be shown.")
    ] = 1.0,
    canaries: Annotated[int, typer.Option(min=50, help="Made-up people.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="Of coins and noise.")] = 1,
    key: Annotated[
        Path | None, typer.Option(help="Vouch for the result; see: omote-model key.")
    ] = None,
) -> None:
    """Put canary people through the private loop, and replay a step without each of some.

    Exit code 3: the promise was broken. A promise that was not broken is not proven: a few hundred
    canaries tell little above epsilon 2.
    """
    from core_model.evaluation.model_run import load_detector  # torch: not for --help
    from core_model.privacy.audit_result import AuditResult
    from core_model.privacy.replay import TOLERANCE
    from core_model.release.results_file import vouch as sign
    from core_model.release.signature import SignatureError
    from core_model.training.audit_run import DELTA, audit_model

    try:
        model, manifest = load_detector(checkpoint)
        typer.echo(f"auditing a promise of epsilon {epsilon:g} with {canaries} canaries ...")
        found, moved = audit_model(model, epsilon, canaries, seed)
        result = AuditResult(
            model=manifest.digest, promise=epsilon, delta=DELTA, canaries=canaries,
            guesses=found.guesses, right=found.right, least_epsilon=found.least_epsilon,
            largest_move=moved.largest, replayed=moved.num_people, seed=seed,
        )  # fmt: skip
        out.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
        if key is not None:
            sign(out, manifest.digest, key)
    except (CheckpointError, SignatureError, ValueError, OSError) as e:
        _fail(str(e))
    typer.echo(f"{found.right} of {found.guesses} coins guessed: epsilon is at least "
               f"{found.least_epsilon:.2f} (95 %), promised {epsilon:g}")  # fmt: skip
    typer.echo(f"leaving one of {moved.num_people} out moves a step by {moved.largest:.6f} of what "
               "the noise is made for")  # fmt: skip
    typer.echo(f"Wrote {out}" + (f", signed in {out}.sig" if key else "; sign: omote-model vouch"))
    if found.least_epsilon > epsilon or moved.largest > 1 + TOLERANCE:
        typer.echo("BROKEN: more is given away than promised. Release nothing.", err=True)
        raise typer.Exit(EXIT_BROKEN)


def vouch(
    results: Annotated[Path, typer.Argument(help="audit.json, identity.json or attacks.json.")],
    checkpoint: Annotated[Path, typer.Option(help="The weights that they are about.")],
    key: Key,
) -> None:
    """Sign results about a model, so that a release gate believes them."""
    from core_model.release.results_file import vouch as sign
    from core_model.release.signature import SignatureError

    try:
        text = manifest_path(checkpoint).read_text()
        sign(results, CheckpointManifest.model_validate_json(text).digest, key)
    except (SignatureError, ValueError, OSError) as e:
        _fail(str(e))
    typer.echo(f"Wrote {results}.sig")


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
