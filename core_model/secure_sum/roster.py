"""Who takes part in one secure sum, with keys made for it. Says what is signed, checks nothing.

The digest of a roster goes into every mask and every share: two sites that were shown different
rosters have masks that never cancel.
"""

from __future__ import annotations

import hashlib
import json

from pydantic import Field

from core_model.config import Purpose, Settings
from core_model.secure_sum.terms import MAX_SITES, SITE_PARTS, SecureTerms

PUBLIC_HEX = "^0[23][0-9a-f]{96}$"  # a compressed point of P-384
_SIGNED = b"omote secure sum keys v1\n"


class RoundName(Settings):
    """The one round that keys are for."""

    run_id: str
    round: int
    purpose: Purpose
    model_in: str
    terms: SecureTerms


class SiteKeys(Settings):
    """The public keys of one site for one round."""

    site_id: str = Field(pattern="^[A-Za-z0-9._-]{1,64}$")
    mask_key: str = Field(pattern=PUBLIC_HEX)  # agrees on masks; revealed if the site drops out
    share_key: str = Field(pattern=PUBLIC_HEX)  # agrees on how shares are sealed; never revealed
    labelled_aus: tuple[int, ...] = ()  # whose rows the site trains

    def statement(self, name: RoundName) -> bytes:
        """Return what the site signs: these keys, for that round and no other."""
        return _SIGNED + _canonical({"round": name, "keys": self})


class SignedKeys(Settings):
    """Keys and the signature of the site's enrolled key."""

    keys: SiteKeys
    signature: str = Field(pattern="^[0-9a-f]{128}$")


class Member(Settings):
    """A site of a roster, and how much it counts."""

    signed: SignedKeys
    parts: int = Field(SITE_PARTS, ge=1, le=SITE_PARTS)  # if weighted by site; public

    @property
    def site_id(self) -> str:
        """The site's public name."""
        return self.signed.keys.site_id


class Roster(Settings):
    """The sites of one secure sum, in the order of their names."""

    name: RoundName
    members: tuple[Member, ...] = Field(min_length=2, max_length=MAX_SITES)

    @property
    def sites(self) -> tuple[str, ...]:
        """Their public names."""
        return tuple(m.site_id for m in self.members)

    def member(self, site_id: str) -> Member:
        """Return one.

        Raises:
            KeyError: It is not in the roster.
        """
        return {m.site_id: m for m in self.members}[site_id]

    def digest(self) -> bytes:
        """Return SHA-256 over all of it."""
        return hashlib.sha256(_canonical({"roster": self})).digest()


def _canonical(parts: dict[str, Settings]) -> bytes:
    plain = {key: part.model_dump(mode="json") for key, part in parts.items()}
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
