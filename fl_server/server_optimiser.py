"""The step that the server takes from the mean of a round, as its stage names the optimiser."""

from __future__ import annotations

from pathlib import Path

from core_model.protocol.wire import Wire
from core_model.schema import Arrays
from fl_server.adaptive import adapt
from fl_server.config import Stage
from fl_server.moments import forget_moments, load_moments, save_moments
from fl_server.momentum import advance
from fl_server.rounding import round_off


class ServerOptimiser:
    """Takes the step of each round. What it remembers for the next one is on disk before that.

    Args:
        folder: For what it remembers.
        wire: Type of the weights that it makes.
    """

    def __init__(self, folder: Path, wire: Wire) -> None:
        self._folder, self._wire = folder, wire
        self._moments: Arrays = {}

    def remembers(self, stage: Stage) -> bool:
        """Return whether a round of this stage depends on those before by more than the model."""
        return stage.has_moments or self._wire == "float16"

    def resume(self, number: int) -> None:
        """Go on after round ``number``.

        Raises:
            ServerError: What was remembered is missing or damaged.
        """
        self._moments = load_moments(self._folder, number)

    def begin(self) -> None:
        """Forget the stage before, which learned something else."""
        self._moments = {}

    def step(self, stage: Stage, old: Arrays, mean: Arrays) -> Arrays:
        """Return the weights after a round.

        Args:
            stage: Names the optimiser and its rates.
            old: Weights before the round.
            mean: What the sites came to in the mean.
        """
        weights, moments = _take_step(stage, old, mean, self._moments)
        if self._wire == "float16":
            weights, residue = round_off(weights, self._moments)
            moments |= residue
        self._moments = moments
        return weights

    def save(self, number: int) -> None:
        """Write down what is remembered; call it before round ``number`` counts as finished."""
        save_moments(self._folder, number, self._moments)

    def clean_up(self, number: int) -> None:
        """Delete what was remembered before round ``number``, which is finished."""
        forget_moments(self._folder, number - 1)


def _take_step(stage: Stage, old: Arrays, mean: Arrays, moments: Arrays) -> tuple[Arrays, Arrays]:
    rates = {"momentum": stage.server_momentum, "learning_rate": stage.server_learning_rate}
    if stage.server_optimiser != "fedadam":
        return advance(old, mean, moments, **rates)
    return adapt(
        old,
        mean,
        moments,
        second_momentum=stage.server_second_momentum,
        adaptivity=stage.server_adaptivity,
        **rates,
    )
