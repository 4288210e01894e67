"""What a neutral face of a person says about how far off a detector is for that person.

A face at rest looks like a slight frown or smile on many people, and a detector reads it as such in
all their frames. One neutral frame tells by how much. A shift tells a little of what someone's face
looks like: it stays at the site.

Shapes: A = action units.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
MAX_SHIFT = 3.0  # logits; a frame that is far from neutral must not turn everything over


def neutral_shift(reference: Floats, logits: Floats) -> Floats:
    """Return what to add to all logits of a person.

    Args:
        reference: Mean logits of neutral faces. Shape: (A,).
        logits: Of the person's neutral frame. Shape: (A,).
    """
    return np.clip(reference - logits, -MAX_SHIFT, MAX_SHIFT)
