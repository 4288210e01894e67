"""The step that the server takes from the mean of a round, as its stage names the optimiser."""

from __future__ import annotations

from core_model.schema import Arrays
from fl_server.adaptive import adapt
from fl_server.config import Stage
from fl_server.momentum import advance


def take_step(stage: Stage, old: Arrays, mean: Arrays, moments: Arrays) -> tuple[Arrays, Arrays]:
    """Return the new weights, and what the optimiser remembers for the next round.

    Args:
        stage: Names the optimiser and its rates.
        old: Weights before the round.
        mean: What the sites came to in the mean.
        moments: Of the round before; empty in the first round of a stage.
    """
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
