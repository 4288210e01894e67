"""omote-site pretrain and finetune: train at this site alone, for pilots without a federation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from consent.errors import ConsentError
from core_model.checkpoint import CheckpointError
from core_model.config import Purpose
from fl_client.errors import SiteError

if TYPE_CHECKING:
    from core_model.recipe import Recipe
    from fl_client.local_run import Result

INTERRUPTED = 130
Config = Annotated[Path, typer.Option("--site", help="The site.toml.")]
RecipeName = Annotated[str, typer.Option(help="A shipped recipe (omote-model recipe), or a file.")]
Out = Annotated[Path, typer.Option(help="Folder of the run; written when it is over.")]
Initial = Annotated[Path | None, typer.Option(help="Weights to start from.")]
Test = Annotated[str | None, typer.Option(help="People not even to read, as bp4d/P1.")]
HeldOut = Annotated[
    float, typer.Option(min=0, max=0.9, help="Share of people who choose when to stop.")
]
Patience = Annotated[
    int, typer.Option(min=0, help="Stop after so many epochs no better for them; 0: never.")
]
Epochs = Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")]
BatchSize = Annotated[int | None, typer.Option(min=2, help="Instead of the recipe's.")]
Parts = Annotated[
    int, typer.Option(min=1, help="Run each batch in so many parts, if memory is short.")
]
PrecisionName = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(help="auto: bfloat16 where the device computes in it."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of all chance: equal seeds, equal weights.")]
Memory = Annotated[float, typer.Option(min=0, help="GiB of frames to hold; more are read anew.")]
Threads = Annotated[int, typer.Option(min=0, max=64, help="That load frames ahead.")]
SaveEvery = Annotated[float, typer.Option(min=0, help="Minutes between checkpoints.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Forget what an interrupted run learned.")]
Augmentations = Literal["plan", "gentle", "paper", "none"]


def pretrain(
    out: Out,
    site: Config = Path("site.toml"),
    recipe: RecipeName = "fmae_pretrain",
    initial: Initial = None,
    test: Test = None,
    held_out: HeldOut = 0.1,
    patience: Patience = 0,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    parts: Parts = 1,
    precision: PrecisionName = "auto",
    seed: Seed = 0,
    memory: Memory = 4.0,
    threads: Threads = 2,
    save_every: SaveEvery = 10.0,
    fresh: Fresh = False,
) -> None:
    """Learn faces without labels at this site alone (masked autoencoding), resumable at any step.

    The same caps, rules and consent hold as in a round, and the result is attested like an update.
    Ctrl-C at any time; the same command goes on with the same result.
    """
    _train(
        "pretraining", site, recipe, out, initial, fresh,
        {"test": test, "held_out": held_out, "patience": patience, "seed": seed},
        {"precision": precision, "parts": parts},
        {"threads": threads, "memory_bytes": int(memory * 2**30), "save_every_s": 60 * save_every},
        epochs, batch_size,
    )  # fmt: skip


def finetune(
    out: Out,
    recipe: RecipeName,
    site: Config = Path("site.toml"),
    initial: Initial = None,
    test: Test = None,
    held_out: HeldOut = 0.2,
    patience: Patience = 5,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    parts: Parts = 1,
    precision: PrecisionName = "auto",
    augment: Annotated[
        Augmentations, typer.Option(help="plan: the recipe's; paper: FMAE's RandAugment and crops.")
    ] = "plan",
    balance: Annotated[
        Literal["none", "pos_weight"],
        typer.Option(help="pos_weight: rare AUs count more, by the people trained on."),
    ] = "none",
    seed: Seed = 0,
    memory: Memory = 4.0,
    threads: Threads = 2,
    save_every: SaveEvery = 10.0,
    fresh: Fresh = False,
) -> None:
    """Train an AU detector at this site alone, against identity; resumable at any step.

    The same caps, rules and consent hold as in a round, and the result is attested like an update.
    Ctrl-C at any time; the same command goes on with the same result. People held out, never test
    people, choose the epoch.
    """
    _train(
        "finetuning", site, recipe, out, initial, fresh,
        {"test": test, "held_out": held_out, "patience": patience, "seed": seed},
        {"precision": precision, "parts": parts, "augmentation": augment, "balance": balance},
        {"threads": threads, "memory_bytes": int(memory * 2**30), "save_every_s": 60 * save_every},
        epochs, batch_size,
    )  # fmt: skip


def _train(
    purpose: Purpose, site_toml: Path, recipe_name: str, out: Path, initial: Path | None,
    fresh: bool, choices: dict[str, Any], manner: dict[str, Any], loop: dict[str, Any],
    epochs: int | None, batch_size: int | None,
) -> None:  # fmt: skip
    from core_model.training.manner import Manner  # torch takes a second: not for --help
    from fl_client.commands.training_bar import shown
    from fl_client.local_run import Wishes, train_here
    from fl_client.long_training import Loop
    from fl_client.recovery import only_worker
    from fl_client.site import open_site
    from fl_client.stopping import stoppable

    try:
        recipe = _recipe(recipe_name, purpose, epochs, batch_size)
        site = open_site(site_toml)
        wishes = Wishes(recipe, out, initial, manner=Manner(**manner), fresh=fresh, **choices)
        with only_worker(site.config.state), stoppable() as stop, shown() as (bar, say):
            result = train_here(wishes, Loop(stop=stop, bar=bar, **loop), site, say)
    except KeyboardInterrupt as e:
        typer.echo("\nStopped. What was learned is kept; the same command goes on.", err=True)
        raise typer.Exit(INTERRUPTED) from e
    except (SiteError, ConsentError, CheckpointError, OSError, ValueError) as e:
        typer.echo(f"error    {e}", err=True)
        raise typer.Exit(1) from e
    _tell(result, out, purpose)


def _recipe(name: str, purpose: Purpose, epochs: int | None, batch_size: int | None) -> Recipe:
    from core_model.recipe import load_recipe

    recipe = load_recipe(name)
    if recipe.training.purpose != purpose:
        other = "omote-site finetune" if purpose == "pretraining" else "omote-site pretrain"
        raise ValueError(f"{name} is a recipe for {recipe.training.purpose}; see: {other} --help")
    optimiser = recipe.training.optimiser
    if batch_size is not None:
        # The rate follows the batch, as in the papers' recipes (lr = base rate * batch / 256).
        rate = optimiser.learning_rate * batch_size / optimiser.batch_size
        optimiser = optimiser.model_copy(update={"batch_size": batch_size, "learning_rate": rate})
    training = recipe.training.model_copy(update={"optimiser": optimiser})
    changes: dict[str, Any] = {"training": training, "epochs": epochs or recipe.epochs}
    return recipe.model_copy(update=changes)


def _tell(result: Result, out: Path, purpose: Purpose) -> None:
    record = result.record
    typer.echo(f"Trained on {record.num_frames:,} frames of {record.num_subjects} people.")
    if result.scores:
        typer.echo(
            f"Epoch {result.best_epoch} of {len(result.scores)} was best for people held out."
        )
    typer.echo(f"Weights: {result.chosen}, on record as {result.run_id}, attested.")
    if purpose == "pretraining":
        typer.echo(f"Next: omote-site finetune --initial {result.chosen} --recipe ... --out ...")
    else:
        typer.echo(f"Next: omote-site pilot report --run {out}")
