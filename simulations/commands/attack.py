"""omote-sim attack: what leaks, with each defence off and on."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

CACHE = Path.home() / ".cache" / "omote"
EXIT_INTERRUPTED = 130
EXIT_BASELINE_FAILED = 3
console = Console()


def attack(
    out: Annotated[Path, typer.Option(help="Folder for results; goes on where it stopped.")] = Path(
        "out/attacks"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer people, a minute or two.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="One attack, such as inversion; repeat for more.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of people, weights and noise.")] = 7,
    cache: Annotated[Path, typer.Option(help="Folder for generated faces.")] = CACHE,
) -> None:
    """Attack models and updates: who was in, who is it, what did the face look like.

    Every attack also runs without the defence, where it must succeed; if one does not, the exit
    code is 3. Each result is kept when it is done: interrupt with Ctrl-C, the same command goes on.
    """
    from simulations.attacks.page import table, write_page  # torch: not for --help
    from simulations.attacks.setting import FULL, QUICK, Setting
    from simulations.attacks.suite import ATTACKS, AttackError, kept_results, run_suite

    if unknown := sorted(set(only or ()) - set(ATTACKS)):
        console.print(f"[red]no attack {unknown[0]}; there are: {', '.join(ATTACKS)}[/red]")
        raise typer.Exit(2)
    names = tuple(name for name in ATTACKS if not only or name in only)
    setting = Setting(QUICK if quick else FULL, seed, cache)
    columns = (
        TextColumn("{task.description:20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("attacks", total=len(names))

        def tell(name: str, done: int) -> None:
            bars.update(task, description=name, completed=done)

        try:
            run_suite(setting, out, names, tell)
            results = kept_results(setting, out)
        except AttackError as e:
            console.print(f"[red]{e}[/red]")
            raise typer.Exit(2) from e
        except KeyboardInterrupt as e:
            console.print("Interrupted. The same command goes on from here.")
            raise typer.Exit(EXIT_INTERRUPTED) from e
        bars.update(task, completed=len(names))
    processors = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    machine = f"{platform.machine()}, {processors} processors, one used"
    command = f"omote-sim attack{' --quick' if quick else ''} --seed {seed}"
    page = write_page(results, out, command, machine)
    typer.echo("\n".join(table(results)))
    console.print(f"Report: {page.resolve()}")
    if failed := [r.attack for r in results if not r.is_meaningful]:
        console.print(f"[red]failed where nothing defends: {', '.join(failed)}[/red]")
        raise typer.Exit(EXIT_BASELINE_FAILED)
