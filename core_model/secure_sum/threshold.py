"""How few sites a dishonest server can be left with. Pure arithmetic; docs/adr/0018 has the proof.

In the last message each site gives, for every site of the roster, one share: of the seed of its own
mask if that site is said to have stayed, of its masking key if it is said to have dropped out. A
server may tell different sites different things.
"""

from __future__ import annotations


def is_above_half(num_sites: int, threshold: int, num_colluding: int = 0) -> bool:
    """Can nobody be unmasked whose vector is in the sum?

    That would take the threshold of shares of both secrets of one site, and each honest site gives
    one or the other; ``num_colluding`` sites give both.
    """
    return num_colluding < threshold <= num_sites and 2 * threshold > num_sites + num_colluding


def least_in_sum(num_sites: int, threshold: int, num_colluding: int = 0) -> int:
    """Return of how many honest sites any sum is that a server can unmask, whatever it tells them.

    Who is to be left out of it must lose the masking key, so ``threshold`` shares of it. An honest
    site names at most ``num_sites - threshold`` drop-outs.
    """
    if not is_above_half(num_sites, threshold, num_colluding):
        return 1
    honest = num_sites - num_colluding
    lost = honest * (num_sites - threshold) // (threshold - num_colluding)
    return max(1, honest - lost)
