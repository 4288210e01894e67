"""The masks of one site in one roster: put on by the site, taken off the sum by the server."""

from __future__ import annotations

from collections.abc import Collection

from core_model.secure_sum import sharing
from core_model.secure_sum.fixed_point import Words
from core_model.secure_sum.masks import add_mask, remove_mask
from core_model.secure_sum.roster import Roster
from core_model.secure_sum.sharing import PrivateKey


def put_on(vector: Words, key: PrivateKey, seed: bytes, site_id: str, roster: Roster) -> None:
    """Add a site's own mask, and for each other site one that cancels that site's.

    Raises:
        ValueError: A key of the roster is no point of the curve.
    """
    context = roster.digest()
    add_mask(vector, seed, context)
    for member in roster.members:
        if member.site_id != site_id:
            secret = sharing.agreed_secret(key, member.signed.keys.mask_key)
            change = add_mask if site_id > member.site_id else remove_mask
            change(vector, secret, context)


def take_off_own(total: Words, seed: bytes, roster: Roster) -> None:
    """Take the own mask of a site that stayed off the sum."""
    remove_mask(total, seed, roster.digest())


def take_off_pairs(
    total: Words, key: PrivateKey, site_id: str, survivors: Collection[str], roster: Roster
) -> None:
    """Take off what those who stayed added for a site that dropped out."""
    context = roster.digest()
    for member in roster.members:
        if member.site_id in survivors:
            secret = sharing.agreed_secret(key, member.signed.keys.mask_key)
            change = remove_mask if member.site_id > site_id else add_mask
            change(total, secret, context)
