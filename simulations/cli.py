"""omote-sim: many sites on one machine. Thin: parse, call one function, print."""

from __future__ import annotations

import shutil
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column, Table

from consent.errors import ConsentError
from fl_server.round_state import RoundSummary
from simulations import walk
from simulations.aggregators.command import aggregators
from simulations.baseline import Baseline, baseline_of
from simulations.commands import tradeoff
from simulations.commands.attack import attack
from simulations.commands.levers import levers
from simulations.commands.public import public
from simulations.commands.zoo import zoo
from simulations.compare import write_table
from simulations.experiment import run_experiment
from simulations.faces.site import CACHE
from simulations.mask.command import mask, mask_score
from simulations.mask.serving import serve
from simulations.privacy_command import privacy
from simulations.report.page import write_report
from simulations.results import Results
from simulations.scenario import Scenario, load_scenario

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Simulate federations on one machine.",
)
app.add_typer(tradeoff.app)
app.command()(mask)
app.command("mask-score")(mask_score)
app.command()(serve)
app.command()(privacy)
app.command()(zoo)
app.command()(public)
app.command()(attack)
app.command()(aggregators)
app.command()(levers)
console = Console()
EXIT_INTERRUPTED = 130
LABELS = {"faces": "drawing people", "rounds": "training, rounds of all arms"}
Out = Annotated[Path, typer.Option(help="Folder for everything that is made.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes; one for each processor core.")]
Seed = Annotated[int | None, typer.Option(help="Of people and training; else the scenario's.")]


@app.callback()
def main() -> None:
    """Simulate federations on one machine."""


@app.command()
def demo(
    out: Out = Path("out/demo"),
    lang: Annotated[str, typer.Option(help="Language of the report: en or ja.")] = "en",
    scenario: Annotated[str, typer.Option(help="A shipped scenario, or a TOML file.")] = "demo",
    seed: Seed = None,
    workers: Workers = 2,
    fresh: Annotated[bool, typer.Option(help="Start over, even if there are results.")] = False,
    cache: Annotated[Path, typer.Option(help="Folder for generated faces.")] = CACHE,
) -> None:
    """Run four sites, with and without identity adversarial training, and write a report.

    Interrupt it with Ctrl-C at any time: the same command goes on at the round where it stopped.
    """
    if fresh:
        shutil.rmtree(out, ignore_errors=True)
    try:
        plan = load_scenario(scenario, seed)
        results = _load(out, scenario, plan.seed) or _run(scenario, plan, out, cache, workers)
    except (FileNotFoundError, ValueError) as e:
        console.print(f"[red]{e}[/red]")
        raise typer.Exit(1) from e
    page = write_report(results, plan, out, cache, lang)
    _print_table(results)
    console.print(f"Report: {page.resolve()}")
    console.print(f"Numbers: {(out / 'results.json').resolve()}")


@app.command()
def compare(
    scenario: Annotated[str, typer.Option(help="A shipped scenario, or a TOML file.")] = "long",
    seeds: Annotated[int, typer.Option(min=1, help="How many.")] = 3,
    first_seed: Annotated[int, typer.Option(min=0, help="The first of them.")] = 1,
    out: Out = Path("out/long"),
    table: Annotated[Path, typer.Option(help="Markdown page to write.")] = Path("out/results.md"),
    workers: Workers = 2,
    cache: Annotated[Path, typer.Option(help="Folder for generated faces.")] = CACHE,
) -> None:
    """Run a scenario with several seeds and write one table. Goes on where it was interrupted."""
    runs: list[Results] = []
    baselines: list[Baseline] = []
    try:
        for seed in range(first_seed, first_seed + seeds):
            plan, folder = load_scenario(scenario, seed), out / f"seed-{seed}"
            console.print(f"seed {seed}")
            runs.append(
                _load(folder, scenario, seed) or _run(scenario, plan, folder, cache, workers)
            )
            _print_table(runs[-1])
            command = f"omote-sim compare --scenario {scenario} --seeds {seeds}"
            baselines.append(baseline_of(plan, cache))
            write_table(runs, baselines, command, table)
    except (FileNotFoundError, ValueError) as e:
        console.print(f"[red]{e}[/red]")
        raise typer.Exit(1) from e
    console.print(f"Table: {table.resolve()}")


@app.command()
def film(
    folder: Annotated[Path, typer.Argument(help="A site, with its consent folder inside.")],
    cache: Annotated[Path, typer.Option(help="Folder for generated faces.")] = CACHE,
) -> None:
    """Draw a recording of everyone registered at a site. Nobody's face is real."""
    try:
        links = walk.film(folder, cache)
    except (ConsentError, OSError) as e:
        console.print(f"[red]{e}[/red]")
        raise typer.Exit(1) from e
    typer.echo(f"Drew one recording of everyone registered in {folder}")
    typer.echo(f"Next: omote-consent asset link {links}")


@app.command()
def train(
    folder: Annotated[Path, typer.Argument(help="A site, from: omote-sim film")],
    server: Annotated[Path, typer.Option(help="Folder of the server. Goes on where it stopped.")],
    rounds: Annotated[int, typer.Option(min=1, help="How many more.")] = 1,
) -> None:
    """Train rounds with one site and a server in this process, by the code that real ones run."""

    def tell(summary: RoundSummary) -> None:
        refused = ", ".join(f"{site}: {code.name}" for site, code in summary.refused.items())
        typer.echo(f"round {summary.round}: {refused or 'admitted ' + ', '.join(summary.admitted)}")

    try:
        typer.echo(f"model {walk.train(folder, server, rounds, tell)}")
    except (ConsentError, OSError, ValueError) as e:
        console.print(f"[red]{e}[/red]")
        raise typer.Exit(1) from e


def _load(out: Path, scenario: str, seed: int) -> Results | None:
    """Return finished results of the same scenario and seed, to be reported again."""
    path = out / "results.json"
    if not path.exists():
        return None
    results = Results.model_validate_json(path.read_text())
    if (results.scenario, results.seed) != (scenario, seed):
        raise ValueError(f"{out} holds {results.scenario}, seed {results.seed}; use --fresh")
    console.print("Finished before; --fresh runs it again.")
    return results


def _run(name: str, plan: Scenario, out: Path, cache: Path, workers: int) -> Results:
    columns = (
        TextColumn("{task.description:30}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(LABELS[what], total=total)
            bars.update(tasks[what], completed=done)

        try:
            return run_experiment(name, plan, out, cache, workers, tell)
        except (KeyboardInterrupt, BrokenExecutor) as e:
            console.print("Interrupted. The same command (without --fresh) goes on from here.")
            raise typer.Exit(EXIT_INTERRUPTED) from e


def _print_table(results: Results) -> None:
    headers = ("F1 new\npeople", "95 %", "F1 new\nsite", "identity\nprobe", "chance")
    table = Table(Column("arm", no_wrap=True), *headers)
    for name, arm in results.arms.items():
        interval = arm.macro_f1_unseen_people_interval
        table.add_row(
            name,
            f"{arm.macro_f1_unseen_people:.3f}",
            f"{interval.low:.3f}-{interval.high:.3f}",
            f"{arm.macro_f1_unseen_site:.3f}",
            f"{arm.identity_probe:.3f}",
            f"{arm.identity_chance:.3f}",
        )
    console.print(table)
