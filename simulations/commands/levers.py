"""omote-sim levers: what helps where data is little and the place is new?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from core_model.settings_file import SettingsError
from simulations.commands.study_bars import study_bars
from simulations.faces.site import CACHE
from simulations.levers.page import write_study
from simulations.levers.plan import load_plan
from simulations.levers.study import run_study

console = Console()


def levers(
    plan: Annotated[str, typer.Option(help="A shipped plan, or a TOML file.")] = "reference",
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("out/levers"),
    workers: Annotated[int, typer.Option(min=1, help="Processes; one for each core.")] = 2,
    cache: Annotated[Path, typer.Option(help="Folder for generated faces.")] = CACHE,
) -> None:
    """Pull each lever against the same reference, on new people at a place nobody trained at.

    Pretraining, augmentation, self-training, adapters, neutral frames. Each training is kept:
    interrupt with Ctrl-C at any time, the same command goes on.
    """
    try:
        chosen = load_plan(plan)
    except (FileNotFoundError, SettingsError) as e:
        console.print(f"[red]{e}[/red]")
        raise typer.Exit(2) from e
    try:
        with study_bars(console) as tell:
            results = run_study(chosen, out, cache, workers, tell)
    except FileNotFoundError as e:  # the real faces
        console.print(f"[red]{e}[/red]")
        raise typer.Exit(1) from e
    page = write_study(results, out, f"omote-sim levers --plan {plan}")
    console.print((out / "levers.md").read_text(), markup=False)
    console.print(f"Report: {page.resolve()}")
