"""Seeds derived from names, so that no two uses of chance share one."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: object) -> int:
    """Return a seed of 63 bits from the text of ``parts``. The same parts give the same seed."""
    text = "\0".join(str(p) for p in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
