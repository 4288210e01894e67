"""Where training runs."""

from __future__ import annotations

import torch


def pick_device(name: str = "auto") -> torch.device:
    """Return the device called ``name``; ``auto`` takes the GPU when there is one.

    Raises:
        ValueError: The device is asked for by name and is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as e:
        raise ValueError(f"expected a device such as cpu, cuda or cuda:1, got {name!r}") from e
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"{name} was asked for, but no CUDA device is available; use device = auto"
        )
    return device
