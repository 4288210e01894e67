"""With whom, and how many, a site adds up in secret. Its own settings; the server has no say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from pydantic import Field

from consent.errors import BadSignatureError, MalformedError
from consent.keys import VerifierKey
from core_model.config import Settings
from core_model.protocol.messages import RefusalCode
from core_model.secure_sum.roster import Member, Roster, RoundName, SignedKeys
from core_model.secure_sum.threshold import least_in_sum
from fl_client.errors import RoundRefusedError


class SecureCaps(Settings):
    """``[caps.secure_sum]`` of site.toml."""

    only: bool = False  # refuse rounds whose updates leave in clear
    min_sites: int = Field(3, ge=2)  # honest ones in any sum; two know each other
    min_sites_per_row: int | None = Field(None, ge=1)  # that label an AU; None: as min_sites
    max_colluding: int = Field(0, ge=0)  # sites that may side with the server
    max_weight_ratio: float = Field(10.0, ge=1)  # of two sites; a heavy one stands out of the sum


def check_peers(peers: dict[str, str]) -> dict[str, str]:
    """Check the keys of other sites.

    Raises:
        ValueError: One is no verifier key, or two sites have the same.
    """
    try:
        keys = {VerifierKey.parse(vkey).public for vkey in peers.values()}
    except MalformedError as e:
        raise ValueError(str(e)) from e
    if len(keys) != len(peers):
        raise ValueError("two sites have the same key")
    return peers


def check_terms(name: RoundName, caps: SecureCaps, num_peers: int) -> None:
    """Check what can be checked before a roster is known.

    Raises:
        RoundRefusedError: ROSTER_REFUSED.
    """
    if name.terms.threshold > num_peers + 1:
        _refuse(f"threshold {name.terms.threshold}: [peers] has the keys of {num_peers} sites")
    if name.terms.threshold < caps.min_sites + caps.max_colluding:
        _refuse(f"threshold {name.terms.threshold} is less than min_sites and max_colluding")


def check_roster(
    roster: Roster,
    name: RoundName,
    own: SignedKeys,
    peers: Mapping[str, VerifierKey],
    caps: SecureCaps,
) -> None:
    """Check who is to add up together, and how many of them must stay.

    Args:
        roster: As the server says.
        name: The round that this site made keys for.
        own: Those keys.
        peers: Keys of other sites, as their operators gave them to ours.
        caps: Of this site.

    Raises:
        RoundRefusedError: ROSTER_REFUSED.
    """
    # (1) for the very round and terms that this site signed
    if roster.name != name:
        _refuse("the roster is for another round, or under other terms")
    # (2) this site once, with the keys that it made
    if [m.signed for m in roster.members if m.site_id == own.keys.site_id] != [own]:
        _refuse("this site is not in it exactly once with its own keys")
    # (3) each site once, in one order, and no key twice
    if list(roster.sites) != sorted(set(roster.sites)):
        _refuse("a site is named twice, or the order is not that of the names")
    keys = [k for m in roster.members for k in (m.signed.keys.mask_key, m.signed.keys.share_key)]
    if len(set(keys)) != len(keys):
        _refuse("a key stands twice")
    # (4) every other site by the key that its operator gave to ours
    for member in roster.members:
        if member.site_id != own.keys.site_id:
            _check_signature(member, name, peers)
    # (5) enough sites, whatever the server says later about who dropped out; that is one alone, if
    # the threshold is not above half
    num, threshold, bad = len(roster.members), name.terms.threshold, caps.max_colluding
    if (least := least_in_sum(num, threshold, bad)) < caps.min_sites:
        _refuse(f"threshold {threshold} of {num} sites: {least} could be summed alone (min_sites)")
    # (6) nobody so heavy that the others do not hide it
    parts = [member.parts for member in roster.members]
    if name.terms.max_frames is None and max(parts) > caps.max_weight_ratio * min(parts):
        _refuse("weights differ by more than max_weight_ratio")


def summable_aus(roster: Roster, own: SignedKeys, caps: SecureCaps) -> tuple[int, ...]:
    """Return the AUs of this site that enough others label too.

    A row that one site labels alone would be that site's row, sum or not.
    """
    num, threshold = len(roster.members), roster.name.terms.threshold
    leaving = num - least_in_sum(num, threshold, caps.max_colluding)
    least = caps.min_sites if caps.min_sites_per_row is None else caps.min_sites_per_row
    if least == 1:
        return own.keys.labelled_aus
    labelling = [au for m in roster.members for au in m.signed.keys.labelled_aus]
    return tuple(au for au in own.keys.labelled_aus if labelling.count(au) - leaving >= least)


def _check_signature(member: Member, name: RoundName, peers: Mapping[str, VerifierKey]) -> None:
    if (key := peers.get(member.site_id)) is None:
        _refuse(f"{member.site_id} is not in [peers]")
    try:
        key.check(member.signed.keys.statement(name), bytes.fromhex(member.signed.signature))
    except BadSignatureError as e:
        detail = f"keys of {member.site_id} are not signed by it for this round"
        raise RoundRefusedError(RefusalCode.ROSTER_REFUSED, detail) from e


def _refuse(detail: str) -> NoReturn:
    raise RoundRefusedError(RefusalCode.ROSTER_REFUSED, detail)
