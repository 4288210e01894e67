"""Sites of a secure sum without data, consent or training: keys, secrets and honest arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from consent.keys import SigningKey
from core_model.protocol.secure import SealedShares, Unmasking
from core_model.secure_sum import sharing
from core_model.secure_sum.masking import put_on
from core_model.secure_sum.masks import commitment
from core_model.secure_sum.roster import Member, Roster, RoundName, SignedKeys, SiteKeys
from core_model.secure_sum.terms import SITE_PARTS, SecureTerms
from fl_server.secure_sum import Enrolled, SecureSum


def name_of(threshold: int, **changes: object) -> RoundName:
    fields = {"run_id": "r", "round": 1, "purpose": "finetuning", "model_in": "5" * 64}
    terms = SecureTerms(threshold=threshold, clip_norm=1.0)
    return RoundName(**{**fields, "terms": terms, **changes})


@dataclass
class Party:
    site_id: str
    labelled_aus: tuple[int, ...] = (1, 2)
    mask_key: sharing.PrivateKey = field(default_factory=sharing.new_key)
    share_key: sharing.PrivateKey = field(default_factory=sharing.new_key)
    seed: bytes = field(default_factory=lambda: np.random.default_rng().bytes(32))
    signing: SigningKey = field(init=False)

    def __post_init__(self) -> None:
        self.signing = SigningKey.generate(f"{self.site_id}/operator")

    def signed(self, name: RoundName, key: SigningKey | None = None) -> SignedKeys:
        keys = SiteKeys(
            site_id=self.site_id,
            mask_key=sharing.public_text(self.mask_key),
            share_key=sharing.public_text(self.share_key),
            labelled_aus=self.labelled_aus,
        )
        signature = (key or self.signing).sign(keys.statement(name))
        return SignedKeys(keys=keys, signature=signature.hex())


def parties(num: int) -> list[Party]:
    return [Party(f"site-{chr(97 + i)}") for i in range(num)]


def roster_of(sites: list[Party], name: RoundName) -> Roster:
    members = [Member(signed=s.signed(name), parts=SITE_PARTS) for s in sites]
    return Roster(name=name, members=tuple(members))


@dataclass
class Sum:
    """A server and honest sites, up to the shares."""

    sites: list[Party]
    threshold: int
    num_words: int
    server: SecureSum = field(init=False)
    roster: Roster = field(init=False)

    def __post_init__(self) -> None:
        name = name_of(self.threshold)
        enrolled = {s.site_id: Enrolled(s.signing.verifier, SITE_PARTS) for s in self.sites}
        self.server = SecureSum(name, enrolled, self.num_words)
        for site in self.sites:
            self.server.add_keys(site.site_id, site.signed(name))
        self.roster = self.server.roster
        ids = [s.site_id for s in self.sites]
        for s in self.sites:
            promised = commitment(s.seed, self.roster.digest())
            sealed = {i: "sealed" for i in ids if i != s.site_id}
            self.server.add_shares(s.site_id, SealedShares(shares=sealed, commitment=promised))
        num = len(ids)
        self.seeds = {s.site_id: sharing.split(s.seed, self.threshold, num) for s in self.sites}
        self.keys = {
            s.site_id: sharing.split(sharing.key_secret(s.mask_key), self.threshold, num)
            for s in self.sites
        }

    def masked(self, site: Party, vector: np.ndarray) -> np.ndarray:
        vector = vector.copy()
        put_on(vector, site.mask_key, site.seed, site.site_id, self.roster)
        return vector

    def unmasking(self, holder: Party) -> Unmasking:
        asked, place = self.server.unmask_request(), self.sites.index(holder)
        return Unmasking(
            seeds={s: self.seeds[s][place].hex() for s in asked.survivors},
            keys={s: self.keys[s][place].hex() for s in asked.dropouts},
        )
