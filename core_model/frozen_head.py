"""An identity head of public people, frozen: what a private round may learn to confuse.

A head of private people without noise would break the promise of everybody at a site. One of people
who are public, or generated, owes nobody anything. It does not come with the plan, which names its
digest alone: each site is given the file, and takes no other.
"""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from core_model.protocol.messages import digest
from core_model.schema import Arrays

WEIGHT, BIAS = "identity_head.weight", "identity_head.bias"


class FrozenHeadError(ValueError):
    """The head is missing, damaged, cannot be written, or is not the one that a plan names."""


def write_frozen_head(path: Path, head: Arrays) -> str:
    """Write a head whole or not at all; return its digest, for the plan.

    Raises:
        FrozenHeadError: It cannot be written.
    """
    draft = path.with_name(f"{path.name}.draft")
    try:
        save_file(head, draft)
        draft.replace(path)
    except (OSError, SafetensorError) as e:
        raise FrozenHeadError(f"{path}: cannot be written: {e}") from e
    return digest(head)


def read_frozen_head(path: Path, expected: str | None = None) -> Arrays:
    """Return the head in a file. Shapes: weight (S, D), bias (S,).

    Raises:
        FrozenHeadError: It cannot be read, is not a head, or ``expected`` is another digest.
    """
    try:
        head: Arrays = load_file(path)
    except (OSError, SafetensorError) as e:
        raise FrozenHeadError(f"{path}: cannot be read as a head of public people: {e}") from e
    shapes = {name: a.shape for name, a in head.items()}
    people = shapes.get(BIAS, ())
    if shapes.keys() != {WEIGHT, BIAS} or len(people) != 1 or shapes[WEIGHT][:1] != people:
        raise FrozenHeadError(f"{path}: expected {WEIGHT} (S, D) and {BIAS} (S,), got {shapes}")
    if expected is not None and digest(head) != expected:
        raise FrozenHeadError(
            f"{path}: the plan names the head {expected[:12]}, this is {digest(head)[:12]}"
        )
    return head
