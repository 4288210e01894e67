"""The site's part in a secure sum: four messages, each once, in order. Knows nothing of Flower.

What is secret is in memory alone: whoever restarts has forgotten it, and the round goes on without
this site. The server carries what sites say to each other and may lie about all of it.
"""

from __future__ import annotations

import enum
import secrets
from dataclasses import dataclass, field
from typing import Any, NoReturn

from numpy.typing import NDArray
from pydantic import ValidationError

from consent.keys import VerifierKey
from core_model.config import Settings
from core_model.protocol.messages import RefusalCode, RoundPlan, RoundRequest
from core_model.protocol.secure import (
    KeysRequest,
    MaskedRequest,
    MaskedUpdate,
    RosterRequest,
    SealedShares,
    SecureReply,
    SecureRequest,
    Unmasking,
    UnmaskRequest,
    round_name,
)
from core_model.secure_sum import sharing
from core_model.secure_sum.masking import put_on
from core_model.secure_sum.masks import SEED_BYTES, commitment
from core_model.secure_sum.roster import Roster, RoundName, SignedKeys, SiteKeys
from core_model.secure_sum.sharing import PrivateKey
from fl_client.caps import check_plan, trained_aus
from fl_client.errors import RoundRefusedError
from fl_client.round import run_round
from fl_client.secure_caps import check_roster, check_terms, summable_aus
from fl_client.secure_vector import encode_change
from fl_client.site import Site
from fl_client.training import Trained


class Due(enum.Enum):
    """Which message of a round comes next."""

    ROSTER = enum.auto()
    MASKED = enum.auto()
    UNMASK = enum.auto()


class SharePair(Settings):
    """What one site gives another to keep. It says for whom and for which roster it is."""

    roster: str
    sender: str
    receiver: str
    seed: str
    key: str


@dataclass
class _Session:
    """One secure sum at this site."""

    plan: RoundPlan
    own: SignedKeys
    mask_key: PrivateKey = field(repr=False)
    share_key: PrivateKey = field(repr=False)
    seed: bytes = field(repr=False)
    due: Due = Due.ROSTER
    roster: Roster | None = None
    sealed: dict[str, str] = field(default_factory=dict, repr=False)  # shares, from others
    kept: SharePair | None = field(default=None, repr=False)  # this site's own share

    @property
    def site_id(self) -> str:
        return self.own.keys.site_id

    @property
    def name(self) -> RoundName:
        return round_name(self.plan)


class SecureRounds:
    """Answers the messages of secure sums; at most one round is open."""

    def __init__(self) -> None:
        self._session: _Session | None = None

    @property
    def plan(self) -> RoundPlan | None:
        """The plan of the round that has begun and is not over."""
        return self._session.plan if self._session is not None else None

    def answer(self, message: SecureRequest, site: Site) -> SecureReply:
        """Answer one message.

        Raises:
            RoundRefusedError: It is not due, or asks for what the site does not allow. Only the
                code may leave the site.
        """
        if isinstance(message, KeysRequest):
            return self._keys(message.plan, site)
        if isinstance(message, RosterRequest):
            return self._shares(message.roster, site)
        if isinstance(message, MaskedRequest):
            return self._masked(message, site)
        return self._unmask(message)

    def _keys(self, plan: RoundPlan, site: Site) -> SignedKeys:
        """Make keys for a round; whatever was open is forgotten."""
        # (1) within the site's caps, with enough sites whose keys it has
        check_plan(plan, site.config, is_secret=True)
        name = round_name(plan)
        check_terms(name, site.config.caps.secure_sum, len(site.config.peers))
        # (2) asked for the first time, and nothing was sent in this round before a restart: two
        # sums of one round, with one site more in the second, would tell that site's update
        if self._session is not None and self._session.plan.nonce == plan.nonce:
            _out_of_turn("keys were made for this request before")
        signed = (logged.event for logged in site.registry.state().rounds)
        if any((e.run_id, e.round) == (plan.run_id, plan.round) for e in signed):
            _out_of_turn("this site has signed an update of this round before")
        mask_key, share_key = sharing.new_key(), sharing.new_key()
        keys = SiteKeys(
            site_id=site.site_id,
            mask_key=sharing.public_text(mask_key),
            share_key=sharing.public_text(share_key),
            labelled_aus=trained_aus(plan, site.config),
        )
        own = SignedKeys(keys=keys, signature=site.key.sign(keys.statement(name)).hex())
        seed = secrets.token_bytes(SEED_BYTES)
        self._session = _Session(plan, own, mask_key, share_key, seed)
        return own

    def _shares(self, roster: Roster, site: Site) -> SealedShares:
        """Check who takes part; give each a share of this site's two secrets."""
        session = self._take(Due.ROSTER)
        peers = {s: VerifierKey.parse(vkey) for s, vkey in site.config.peers.items()}
        check_roster(roster, session.name, session.own, peers, site.config.caps.secure_sum)
        session.roster, context = roster, roster.digest()
        num, threshold = len(roster.members), session.name.terms.threshold
        seeds = sharing.split(session.seed, threshold, num)
        keys = sharing.split(sharing.key_secret(session.mask_key), threshold, num)
        sealed: dict[str, str] = {}
        for member, seed, key in zip(roster.members, seeds, keys, strict=True):
            pair = SharePair(
                roster=context.hex(),
                sender=session.site_id,
                receiver=member.site_id,
                seed=seed.hex(),
                key=key.hex(),
            )
            if member.site_id == session.site_id:
                session.kept = pair
            else:
                secret = _agreed(session.share_key, member.signed.keys.share_key)
                sealed[member.site_id] = sharing.seal(secret, pair.model_dump_json().encode())
        session.due = Due.MASKED
        self._session = session
        return SealedShares(shares=sealed, commitment=commitment(session.seed, context))

    def _masked(self, message: MaskedRequest, site: Site) -> MaskedUpdate:
        """Train, and mask what comes out. The same checks as in any round, by the same code."""
        session = self._take(Due.MASKED)
        assert session.roster is not None
        roster = session.roster
        if message.request.plan != session.plan:
            _out_of_turn("the plan is another one than at the beginning")
        if message.shares.keys() != set(session.roster.sites) - {session.site_id}:
            _out_of_turn("there is not one share of each other site of the roster")
        session.sealed = message.shares

        def pack(
            request: RoundRequest, trained: Trained, labelled: tuple[int, ...]
        ) -> dict[str, NDArray[Any]]:
            summed = summable_aus(roster, session.own, site.config.caps.secure_sum)
            vector = encode_change(request, trained, labelled, summed, roster, session.site_id)
            put_on(vector, session.mask_key, session.seed, session.site_id, roster)
            return {"masked": vector}

        update = run_round(message.request, site, pack)
        masked: Any = update.arrays["masked"]
        session.due = Due.UNMASK
        self._session = session
        return MaskedUpdate(
            site_id=update.site_id,
            vector=masked,
            attestation=update.attestation,
            labelled_aus=update.labelled_aus,
            cosignature=update.cosignature,
        )

    def _unmask(self, message: UnmaskRequest) -> Unmasking:
        """Give one share for each site: never both of one, and only once."""
        session = self._take(Due.UNMASK)
        assert session.roster is not None
        check_unmask(message, session.roster, session.site_id)
        seeds, keys = {}, {}
        for sender, pair in _opened(session).items():
            if sender in message.survivors:
                seeds[sender] = pair.seed
            else:
                keys[sender] = pair.key
        return Unmasking(seeds=seeds, keys=keys)

    def _take(self, due: Due) -> _Session:
        """Return the session if this message is due. It is put back only when all went well."""
        session, self._session = self._session, None
        if session is None:
            _out_of_turn("no secure sum is open here")
        if session.due is not due:
            _out_of_turn(f"{session.due.name} is due, {due.name} came")
        return session


def check_unmask(message: UnmaskRequest, roster: Roster, site_id: str) -> None:
    """Check who is said to have stayed and who to have dropped out.

    Raises:
        RoundRefusedError: OUT_OF_TURN or ROSTER_REFUSED.
    """
    name = roster.name
    if (message.run_id, message.round) != (name.run_id, name.round):
        _out_of_turn("unmasking is asked for in another round")
    stayed, left = message.survivors, message.dropouts
    # Together they are the roster, each site once: so nobody is on both sides, and nobody is named
    # who was not sent shares.
    if sorted((*stayed, *left)) != list(roster.sites):
        detail = "survivors and drop-outs are not the roster, each site once"
        raise RoundRefusedError(RefusalCode.ROSTER_REFUSED, detail)
    if len(stayed) < name.terms.threshold or site_id not in stayed:
        detail = f"{len(stayed)} survivors, or this site is said to have dropped out"
        raise RoundRefusedError(RefusalCode.ROSTER_REFUSED, detail)


def _opened(session: _Session) -> dict[str, SharePair]:
    """Open what others sealed for this site.

    What cannot be opened is passed over: the server needs the threshold of shares, not all.
    """
    assert session.roster is not None and session.kept is not None  # noqa: PT018
    context = session.roster.digest().hex()
    pairs = {session.site_id: session.kept}
    for sender, token in session.sealed.items():
        keys = session.roster.member(sender).signed.keys
        try:
            raw = sharing.unseal(_agreed(session.share_key, keys.share_key), token)
            pair = SharePair.model_validate_json(raw)
        except (ValueError, ValidationError):
            continue
        if (pair.roster, pair.sender, pair.receiver) == (context, sender, session.site_id):
            pairs[sender] = pair
    return pairs


def _agreed(key: PrivateKey, other: str) -> bytes:
    try:
        return sharing.agreed_secret(key, other)
    except ValueError as e:
        detail = "a key of the roster is no point of the curve"
        raise RoundRefusedError(RefusalCode.ROSTER_REFUSED, detail) from e


def _out_of_turn(detail: str) -> NoReturn:
    raise RoundRefusedError(RefusalCode.OUT_OF_TURN, detail)
