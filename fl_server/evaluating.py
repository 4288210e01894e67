"""Have the model of each finished round measured, beside the rounds and never in their way.

Whatever goes wrong is told and costs figures, never a round. Figures that are missing, for whatever
reason, are made up later from the weights of their round.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType

from core_model.evaluation.figures import Job, ModelToMeasure, read_figures
from core_model.evaluation.public_set import read_public
from fl_server.config import FederationConfig
from fl_server.errors import StartError
from fl_server.figures import figures_path, missing_figures
from fl_server.folder import ServerFolder
from fl_server.journal import Journal
from fl_server.programs import Program, environment
from fl_server.round_state import RoundSummary, model_path

BATCH = 8  # models that one process measures; then newer ones come first again
POLL_S = 0.5


class Evaluator:
    """Has models measured by a process of its own, which may die at any time without harm."""

    def __init__(self, folder: ServerFolder, config: FederationConfig, journal: Journal) -> None:
        self._folder, self._config, self._journal = folder, config, journal
        self._program: Program | None = None
        self._asked: tuple[int, ...] = ()
        self._settled = 0  # finished rounds when nothing was missing, or nothing could be done

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._program is not None:
            self._program.stop()

    def step(self, summaries: Sequence[RoundSummary]) -> bool:
        """Go on with what is missing; return whether something is being measured."""
        if self._config.evaluation is None:
            return False
        if self._program is not None:
            if self._program.is_alive:
                return True
            self._program.stop()
            self._program = None
            self._take(summaries)
        if len(summaries) == self._settled:
            return False
        self._begin(summaries)
        return self._program is not None

    def finish(self, summaries: Sequence[RoundSummary]) -> None:
        """Measure all that is missing and can be measured."""
        while self.step(summaries):
            time.sleep(POLL_S)

    def missing(self, summaries: Sequence[RoundSummary]) -> tuple[int, ...]:
        """Return the rounds to measure, the newest first.

        Raises:
            StartError: The public set is not right, or cannot be read.
        """
        assert self._config.evaluation is not None
        try:
            people = read_public(self._config.evaluation).digest()
        except Exception as e:  # whatever it is, it must not end the rounds
            raise StartError(f"the public set cannot be used: {e}") from e
        return missing_figures(self._config.output, summaries, people)

    def _begin(self, summaries: Sequence[RoundSummary]) -> None:
        """Start to measure what is missing."""
        try:
            self._asked = self.missing(summaries)[:BATCH]
            if self._asked:
                self._program = self._launch(self._asked)
            else:
                self._settled = len(summaries)
        except (StartError, OSError) as e:
            self._give_up(summaries, str(e))

    def _launch(self, rounds: Sequence[int]) -> Program:
        assert self._config.evaluation is not None
        output = self._config.output
        for folder in (self._folder.run, self._folder.logs):  # by hand, before any start
            folder.mkdir(exist_ok=True, mode=0o700)
        models = tuple(
            ModelToMeasure(
                round=number,
                checkpoint=model_path(output, number),
                out=figures_path(output, number),
            )
            for number in rounds
        )
        return Program(
            "figures",
            [sys.executable, "-m", "core_model.commands.measure_rounds"],
            self._folder.logs / "figures.log",
            environment(self._folder.run),
            told=Job(public=self._config.evaluation, models=models).model_dump_json(),
        )

    def _take(self, summaries: Sequence[RoundSummary]) -> None:
        """Tell what was measured; if that was nothing, another round must finish before a retry."""
        try:
            left = self.missing(summaries)
        except StartError as e:
            self._give_up(summaries, str(e))
            return
        measured = [number for number in self._asked if number not in left]
        for number in measured:
            if (figures := read_figures(figures_path(self._config.output, number))) is not None:
                self._journal.figures(figures)
        if not measured:
            rounds = ", ".join(map(str, self._asked))
            self._give_up(summaries, f"round {rounds}: see {self._folder.logs / 'figures.log'}")

    def _give_up(self, summaries: Sequence[RoundSummary], why: str) -> None:
        self._settled = len(summaries)
        self._journal.say("not_measured", f"no figures: {why}", "warning")
