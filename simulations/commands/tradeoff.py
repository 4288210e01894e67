"""omote-sim tradeoff: how much identity removal is right here?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from core_model.settings_file import SettingsError
from simulations.commands.study_bars import study_bars
from simulations.faces.site import CACHE
from simulations.tradeoff.grid import load_grid
from simulations.tradeoff.page import write_study
from simulations.tradeoff.study import run_study

console = Console()
app = typer.Typer()


@app.command()
def tradeoff(
    grid: Annotated[str, typer.Option(help="A shipped grid, or a TOML file.")] = "reference",
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("out/tradeoff"),
    leakage_limit: Annotated[
        float | None,
        typer.Option(
            min=0, max=1,
            help="Most frames that an identity probe may name rightly; else half-way to chance.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; one for each core.")] = 2,
    cache: Annotated[Path, typer.Option(help="Folder for generated faces.")] = CACHE,
) -> None:  # fmt: skip
    """Train over a grid of reversal scales, head depths, losses and corpora; draw the trade-off.

    Each training is kept: interrupt with Ctrl-C at any time, the same command goes on.
    """
    try:
        plan = load_grid(grid)
    except (FileNotFoundError, SettingsError) as e:
        console.print(f"[red]{e}[/red]")
        raise typer.Exit(2) from e
    with study_bars(console) as tell:
        results = run_study(plan, out, cache, workers, tell)
    page = write_study(results, out, f"omote-sim tradeoff --grid {grid}", leakage_limit)
    console.print((out / "tradeoff.md").read_text(), markup=False)
    console.print(f"Report: {page.resolve()}")
