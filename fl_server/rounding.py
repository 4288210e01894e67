"""Rounds a model to what the wire carries, and keeps for the next round what that cut off.

Else a weight whose mean change is less than half of float16's spacing would never move: the steps
of later rounds are that small. (Error feedback: Seide et al., Interspeech 2014.)
"""

from __future__ import annotations

from core_model.protocol.wire import rounded
from core_model.schema import Arrays

RESIDUE = "residue:"  # before the name of a weight: what was cut off


def round_off(weights: Arrays, before: Arrays) -> tuple[Arrays, Arrays]:
    """Return the weights as float16 holds them, and what that cut off.

    A value that no site changed keeps both.

    Args:
        weights: After the step of a round.
        before: Of the server's moments, what was cut off in the round before; none at first.
    """
    exact = {n: a + before[RESIDUE + n] if RESIDUE + n in before else a for n, a in weights.items()}
    halves = rounded(exact, "float16")
    return halves, {RESIDUE + name: exact[name] - half for name, half in halves.items()}
