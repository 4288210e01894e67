"""Masks: key streams of AES-256 in counter mode, added to a vector or taken off it.

Every seed is used for one vector of one round, so counters begin at zero.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core_model.secure_sum.fixed_point import Words

SEED_BYTES = 32
_BLOCK = 1 << 16  # words at a time: the working copy stays in the processor's cache
_ZEROS = bytes(4 * _BLOCK)


def add_mask(vector: Words, seed: bytes, context: bytes) -> None:
    """Add the mask of a seed to ``vector``, in place, modulo 2**32.

    Args:
        vector: Little-endian words.
        seed: A secret.
        context: What the mask is for. Whoever has another context gets another mask.
    """
    for part, stream in _blocks(vector, seed, context):
        part += stream


def remove_mask(vector: Words, seed: bytes, context: bytes) -> None:
    """Subtract what ``add_mask`` adds."""
    for part, stream in _blocks(vector, seed, context):
        part -= stream


def commitment(seed: bytes, context: bytes) -> str:
    """Return a digest by which a seed is known again, and which says nothing about it."""
    return hashlib.sha256(b"omote secure sum commitment\0" + context + seed).hexdigest()


def _blocks(vector: Words, seed: bytes, context: bytes) -> Iterator[tuple[Words, Words]]:
    info = b"omote secure sum mask\0" + context
    key = HKDF(hashes.SHA256(), 32, None, info).derive(seed)
    encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    space = bytearray(4 * _BLOCK + 15)
    for start in range(0, vector.size, _BLOCK):
        part = vector[start : start + _BLOCK]
        encryptor.update_into(_ZEROS[: 4 * part.size], space)
        yield part, np.frombuffer(space, "<u4", part.size)
