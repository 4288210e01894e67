"""Chance that nobody can guess: who takes part in a step, and the noise on its gradient.

Whoever can replay the noise can subtract it. So the generator is a cipher (AES-256 in counter
mode), every call takes a fresh key from the operating system, and there is no state: nothing to
seed, nothing that a checkpoint or a forked process could carry on. ``SimulationChance`` is the
seeded one for tests and simulations; it says of itself that it gives no privacy.
"""

from __future__ import annotations

import abc
import hashlib
import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray
from torch import Tensor

_KEY_BYTES, _COUNTER_BYTES = 32, 16
_BLOCK = 1 << 18  # values with one key: what a thread makes at a time
_PIECE = 1 << 14  # pairs of values that stay in the cache of a processor
_BITS = 53  # of a float64's fraction
_GRID_BITS = 20


class Chance(abc.ABC):
    """Random numbers made from keys."""

    is_private: bool

    @abc.abstractmethod
    def _key(self) -> bytes:
        """Return a key and a first counter that were never used: 48 bytes."""

    def uniform(self, num: int) -> NDArray[np.float64]:
        """Return numbers from [0, 1), multiples of 2**-53. Shape: (num,)."""
        words = np.frombuffer(_stream(self._key()).update(bytes(8 * num)), np.uint64)
        return (words >> np.uint64(64 - _BITS)).astype(np.float64) * 2.0**-_BITS

    def bernoulli(self, num: int, rate: float) -> NDArray[np.bool_]:
        """Toss ``num`` independent coins, each heads with probability ``rate``."""
        return self.uniform(num) < rate

    def gaussian(self, num: int) -> Tensor:
        """Return standard normal numbers in float64 (Box and Muller). Shape: (num,)."""
        normal = torch.empty(num, dtype=torch.float64)
        blocks = [(block, self._key()) for block in normal.split(_BLOCK)]
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(lambda job: _fill(*job), blocks))
        return normal

    def generator(self) -> torch.Generator:
        """Return a fresh generator of torch, for chance that no guarantee rests on."""
        return torch.Generator().manual_seed(int(self.uniform(1)[0] * 2.0**_BITS))


class SystemChance(Chance):
    """The only chance for real people."""

    is_private = True

    def _key(self) -> bytes:
        return os.urandom(_KEY_BYTES + _COUNTER_BYTES)


class SimulationChance(Chance):
    """Equal seeds, equal numbers: for tests and simulations. Protects nobody."""

    is_private = False

    def __init__(self, seed: int) -> None:
        self._seed, self._used = seed, 0

    def _key(self) -> bytes:
        self._used += 1
        text = f"simulation {self._seed} {self._used}"
        return hashlib.sha512(text.encode()).digest()[: _KEY_BYTES + _COUNTER_BYTES]


def add_noise(total: Tensor, deviation: float, chance: Chance) -> Tensor:
    """Return ``total`` plus Gaussian noise, rounded to a public grid. Shape: kept, float32.

    A sum of floating-point numbers betrays in its last digits what was added up (Mironov, CCS 2012;
    Jin et al., arXiv 2112.05307). So the sum is made in float64 and rounded to multiples of about a
    millionth of the deviation, whatever its size: within six deviations each multiple gathers more
    than 2**80 pairs of uniform numbers, and no digit is left that could tell one from another.
    """
    noise = chance.gaussian(total.numel()).view(total.shape)
    grid = 2.0 ** (math.floor(math.log2(deviation)) - _GRID_BITS)
    noisy = noise.mul_(deviation).to(total.device).add_(total.double())
    return noisy.div_(grid).round_().mul_(grid).float()


def _stream(key: bytes) -> CipherContext:
    """Return the key stream: what encrypting zeros gives."""
    counter = modes.CTR(key[_KEY_BYTES:])
    return Cipher(algorithms.AES(key[:_KEY_BYTES]), counter).encryptor()


def _fill(normal: Tensor, key: bytes) -> None:
    """Fill ``normal`` in place: r cos(t) and r sin(t) with r = sqrt(-2 log u), t = 2 pi v."""
    pairs = min(_PIECE, -(-len(normal) // 2))
    stream, zeros = _stream(key), bytes(16 * pairs)
    buffer = bytearray(len(zeros) + 15)  # the cipher asks for a block more
    words = torch.from_numpy(np.frombuffer(buffer, np.int64, 2 * pairs))
    uniform = torch.empty(2, pairs, dtype=torch.float64)
    made = torch.empty(2, pairs, dtype=torch.float64)
    u, angle = uniform
    for piece in normal.split(2 * pairs):
        stream.update_into(zeros, buffer)
        words.bitwise_right_shift_(64 - _BITS).bitwise_and_((1 << _BITS) - 1)
        uniform.view(-1).copy_(words).add_(1).mul_(2.0**-_BITS)  # in (0, 1]
        radius = u.log_().mul_(-2).sqrt_()
        angle.mul_(2 * math.pi)
        torch.mul(torch.cos(angle, out=made[0]), radius, out=made[0])
        torch.mul(torch.sin(angle, out=made[1]), radius, out=made[1])
        piece.copy_(made.view(-1)[: len(piece)])
