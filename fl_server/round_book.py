"""What is known of the running round: who was admitted, who was refused and why."""

from __future__ import annotations

import base64
import time

from consent.attestation_check import Seen
from core_model.protocol.messages import RefusalCode
from fl_server.nonces import Nonces


class RoundBook:
    """The record of one round while it runs. In memory: a round that a crash ends is begun anew."""

    def __init__(self, nonces: Nonces) -> None:
        self.admitted: set[str] = set()
        self.refused: dict[str, RefusalCode] = {}
        self.received: dict[str, int] = {}  # bytes
        self.seen: dict[str, Seen] = {}
        self.updates: dict[str, str] = {}  # digests
        self.envelopes: dict[str, bytes] = {}
        self.plan = ""  # digest of what was asked of all sites
        self._nonces = nonces
        self._asked: set[str] = set()
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the round has been running."""
        return time.monotonic() - self._started

    def nonce(self, site_id: str) -> str:
        """Return the nonce of a site, which is asked with it."""
        self._asked.add(site_id)
        return self._nonces.of(site_id)

    def forget_nonces(self) -> None:
        """Ask every site anew."""
        self._asked.clear()
        self._nonces.renew()

    def was_asked(self, site_id: str) -> bool:
        """Tell whether a site was asked in this round."""
        return site_id in self._asked

    def count(self, site_id: str, num_bytes: int) -> None:
        """Note bytes that came from a site."""
        self.received[site_id] = self.received.get(site_id, 0) + num_bytes

    def admit(self, site_id: str, seen: Seen, update: str, envelope: bytes) -> None:
        """Note that an update counts."""
        self.admitted.add(site_id)
        self.refused.pop(site_id, None)
        self.seen[site_id] = seen
        self.updates[site_id] = update
        self.envelopes[site_id] = envelope

    def refuse(self, site_id: str, code: RefusalCode) -> None:
        """Note that a site gives no update, or that its update is left out."""
        # Two nodes can claim to be one site. What one of them says never undoes what the other
        # proved, and silence never hides a reason.
        if site_id in self.admitted:
            return
        if code is not RefusalCode.NO_ANSWER or site_id not in self.refused:
            self.refused[site_id] = code

    def attestations(self) -> dict[str, str]:
        """Return the digests of the attestations that were admitted."""
        return {s: self.seen[s].digest for s in sorted(self.admitted)}

    def tree_heads(self) -> dict[str, str]:
        """Return size and root of the consent log behind each."""
        return {s: _head_line(self.seen[s]) for s in sorted(self.admitted)}


def _head_line(seen: Seen) -> str:
    return f"{seen.tree_head.size} {base64.b64encode(seen.tree_head.root).decode()}"
