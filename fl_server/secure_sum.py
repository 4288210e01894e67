"""One secure sum at the server: keys, shares, masked vectors, unmasking. Pure; no messages sent.

The server carries sealed shares that it cannot open, adds up vectors that it cannot read, and takes
the masks off the sum with what the threshold of sites gives it in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from consent.errors import BadSignatureError
from consent.keys import VerifierKey
from core_model.protocol.messages import RefusalCode
from core_model.protocol.secure import SealedShares, Unmasking, UnmaskRequest
from core_model.secure_sum import sharing
from core_model.secure_sum.fixed_point import Words
from core_model.secure_sum.masking import take_off_own, take_off_pairs
from core_model.secure_sum.masks import commitment
from core_model.secure_sum.roster import Member, Roster, RoundName, SignedKeys
from fl_server.errors import SumLostError, UpdateRefusedError


@dataclass(frozen=True)
class Enrolled:
    """What the server knows of a site beforehand: its key, and its weight in parts."""

    key: VerifierKey
    parts: int


class SecureSum:
    """The sum of one round.

    Args:
        name: The round, as sites sign it.
        enrolled: Sites that may take part.
        num_words: Of each vector.
    """

    def __init__(self, name: RoundName, enrolled: Mapping[str, Enrolled], num_words: int) -> None:
        self.name = name
        self._enrolled = enrolled
        self._keys: dict[str, SignedKeys] = {}
        self._roster: Roster | None = None
        self._shares: dict[str, SealedShares] = {}
        self._total: Words = np.zeros(num_words, np.uint32)
        self._survivors: set[str] = set()
        self._unmasked: dict[str, Unmasking] = {}

    @property
    def roster(self) -> Roster:
        """Those whose keys came before it was first asked for; fixed from then on."""
        if self._roster is None:
            members = [Member(signed=k, parts=self._enrolled[s].parts) for s, k in
                       sorted(self._keys.items())]  # fmt: skip
            self._roster = Roster(name=self.name, members=tuple(members))
        return self._roster

    @property
    def has_enough_keys(self) -> bool:
        """Whether a roster would reach the threshold."""
        return len(self._keys) >= self.name.terms.threshold

    @property
    def missing(self) -> frozenset[str]:
        """Sites of the roster that gave no shares."""
        return frozenset(self.roster.sites) - self._shares.keys()

    @property
    def survivors(self) -> frozenset[str]:
        """Sites whose vectors are in the sum."""
        return frozenset(self._survivors)

    def add_keys(self, site_id: str, signed: SignedKeys) -> None:
        """Take a site's answer to message 1.

        Raises:
            UpdateRefusedError: WRONG_KEYS.
        """
        assert self._roster is None, "the roster is fixed"
        if signed.keys.site_id != site_id or site_id in self._keys:
            raise UpdateRefusedError(RefusalCode.WRONG_KEYS, "keys of another site, or twice")
        taken = {k for s in self._keys.values() for k in (s.keys.mask_key, s.keys.share_key)}
        own = {signed.keys.mask_key, signed.keys.share_key}
        if len(own) < 2 or own & taken:
            raise UpdateRefusedError(RefusalCode.WRONG_KEYS, "a key stands twice")
        try:
            signature = bytes.fromhex(signed.signature)
            self._enrolled[site_id].key.check(signed.keys.statement(self.name), signature)
            for key in own:
                sharing.check_public(key)
        except (BadSignatureError, KeyError, ValueError) as e:
            raise UpdateRefusedError(RefusalCode.WRONG_KEYS, "not signed for this round") from e
        self._keys[site_id] = signed

    def add_shares(self, site_id: str, shares: SealedShares) -> None:
        """Take a site's answer to message 2.

        Raises:
            UpdateRefusedError: SHARES_UNSOUND.
        """
        if shares.shares.keys() != set(self.roster.sites) - {site_id}:
            raise UpdateRefusedError(RefusalCode.SHARES_UNSOUND, "not one for each other site")
        self._shares[site_id] = shares

    def shares_for(self, site_id: str) -> dict[str, str]:
        """Return what the other sites sealed for one."""
        return {s: given.shares[site_id] for s, given in self._shares.items() if s != site_id}

    def fold(self, site_id: str, vector: Words) -> None:
        """Add a masked vector, of which all has been checked that can be."""
        assert site_id in self.roster.sites and site_id not in self._survivors  # noqa: PT018
        self._total += vector
        self._survivors.add(site_id)

    def unmask_request(self) -> UnmaskRequest:
        """Return message 4, the same for all.

        Raises:
            SumLostError: TOO_FEW_LEFT.
        """
        if len(self._survivors) < self.name.terms.threshold:
            raise SumLostError(RefusalCode.TOO_FEW_LEFT, f"{len(self._survivors)} sites stayed")
        return UnmaskRequest(
            run_id=self.name.run_id,
            round=self.name.round,
            survivors=tuple(sorted(self._survivors)),
            dropouts=tuple(sorted(set(self.roster.sites) - self._survivors)),
        )

    def add_unmasking(self, site_id: str, given: Unmasking) -> None:
        """Take a site's answer to message 4. Wrong shares are found out when they are used."""
        self._unmasked[site_id] = given

    def total(self) -> Words:
        """Return the sum with all masks gone.

        Raises:
            SumLostError: A secret of some site cannot be recovered, so the sum can never be read.
        """
        total, context = self._total.copy(), self.roster.digest()
        seeds = {holder: given.seeds for holder, given in self._unmasked.items()}
        lost = {holder: given.keys for holder, given in self._unmasked.items()}
        for member in self.roster.members:
            site_id, keys = member.site_id, member.signed.keys
            if site_id in self._survivors:
                promised = self._shares[site_id].commitment

                def is_seed(secret: bytes, promised: str = promised) -> bool:
                    return commitment(secret, context) == promised

                seed = self._recover(site_id, seeds, is_seed)
                take_off_own(total, seed, self.roster)
            else:

                def is_key(secret: bytes, public: str = keys.mask_key) -> bool:
                    return sharing.public_text(sharing.key_of(secret)) == public

                raw = self._recover(site_id, lost, is_key)
                key = sharing.key_of(raw)
                take_off_pairs(total, key, site_id, self._survivors, self.roster)
        return total

    def _recover(
        self,
        site_id: str,
        given: Mapping[str, Mapping[str, str]],
        is_right: Callable[[bytes], bool],
    ) -> bytes:
        """Return a secret of a site from what each holder gave of it."""
        shares = []
        for position, holder in enumerate(self.roster.sites, start=1):
            share = bytes.fromhex(given.get(holder, {}).get(site_id, ""))
            if share and sharing.index_of(share) == position:
                shares.append(share)
        threshold = self.name.terms.threshold
        if len(shares) < threshold:
            detail = f"{len(shares)} shares of a secret of {site_id}, {threshold} are needed"
            raise SumLostError(RefusalCode.TOO_FEW_LEFT, detail)
        secret = sharing.recover(shares, threshold, is_right)
        if secret is None:
            detail = f"{len(shares)} shares do not give back a secret of {site_id}"
            raise SumLostError(RefusalCode.SHARES_UNSOUND, detail)
        return secret
