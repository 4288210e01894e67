"""What the server asks of a site and what a site answers. Nothing else crosses the wire."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from core_model.config import EncoderConfig, Purpose, Settings, TrainingConfig
from core_model.privacy.plan import PrivacyPlan
from core_model.protocol.wire import Travelling, Wire
from core_model.schema import Arrays
from core_model.secure_sum.terms import SecureTerms


class Weighting(enum.StrEnum):
    """How much each site counts in the average.

    ``SITE`` uses the public weight agreed at enrolment. ``FRAMES`` uses the number of labelled
    frames for each AU, which the site must then send: counts are data too.
    """

    SITE = "site"
    FRAMES = "frames"


class RoundPlan(Settings):
    """What the server asks a site to do in one round. All of it is public."""

    run_id: str = Field(min_length=1)
    round: int = Field(ge=1)  # of the run
    round_of_purpose: int = Field(ge=1)  # of this purpose, at most num_rounds
    num_rounds: int = Field(ge=1)  # of this purpose; the learning rate follows their ratio
    nonce: str = Field(pattern="^[0-9a-f]{32}$")  # new for each site and round
    seed: int = Field(ge=0)
    model_in: str = Field(pattern="^[0-9a-f]{64}$")  # digest of the weights that come along
    encoder: EncoderConfig
    action_units: tuple[int, ...]  # rows of the AU head
    training: TrainingConfig
    weighting: Weighting = Weighting.SITE
    min_subjects: int = Field(1, ge=1)  # fewer people at a site: no update
    tree_size: int = Field(0, ge=0)  # of the site's consent log when the server last saw it
    previous: str | None = Field(None, pattern="^[0-9a-f]{64}$")  # its attestation admitted last
    privacy: PrivacyPlan | None = None  # None: training promises nothing about any person
    ledger_size: int = Field(0, ge=0)  # of the site's privacy ledger when the server last saw it
    ledger_root: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    max_update_norm: float | None = Field(None, gt=0)  # L2, of the change from model_in; None: any
    proximal: float = Field(0.0, ge=0)  # mu of FedProx: pull towards the weights that came along
    wire: Wire = "float32"  # float16: half the bytes; updates are then changes from model_in
    secure: SecureTerms | None = None  # updates are added up in secret; None: sent in clear

    @property
    def purpose(self) -> Purpose:
        """What the subjects must have agreed to."""
        return self.training.purpose

    @property
    def span(self) -> tuple[float, float]:
        """Which part of this purpose's training the round is, from 0 to 1."""
        return (
            self.round_of_purpose - 1
        ) / self.num_rounds, self.round_of_purpose / self.num_rounds


@dataclass(frozen=True)
class Witnessing:
    """Each side watches the other's log: the server's of rounds, and the site's of consent.

    The hashes of all entries come along, 32 bytes a round, and not a proof from one head: so growth
    shows from whatever head a site remembers, and no message can be lost that would matter.
    """

    tree_head: str  # signed note of the server's log
    leaves: tuple[bytes, ...]  # hashes of its entries
    cosignature: str = ""  # by the server: a line for the site's head of ``plan.tree_size`` entries


@dataclass(frozen=True)
class RoundRequest:
    """A plan and the shared weights to start from."""

    plan: RoundPlan
    arrays: Arrays
    witnessing: Witnessing | None = None  # None: in a simulation


@dataclass(frozen=True)
class SiteUpdate:
    """A site's answer: shared weights after the round and a signed attestation about them.

    ``arrays`` are as they travel (``core_model.protocol.wire``), and the attestation is about them.
    ``labelled_aus`` are the AUs whose rows the site trained. Counts of frames, where the plan asks
    for them and the site allows it, are in the attestation: what weighs in the mean is signed.
    """

    site_id: str
    arrays: Travelling
    attestation: bytes  # DSSE envelope
    labelled_aus: tuple[int, ...] = ()
    cosignature: str = ""  # a line for the server's head that came with the request


class RefusalCode(enum.IntEnum):
    """Why a site gives no update, or the server leaves one out. Only the code crosses the wire."""

    # A site refuses a round.
    PLAN_NOT_ALLOWED = 201  # beyond the site's own caps
    NO_CONSENTED_DATA = 202
    TOO_FEW_SUBJECTS = 203
    CONSENT_CHANGED = 204  # withdrawn or expired while training
    REQUEST_DAMAGED = 205  # weights are not those that the plan names
    NOT_MY_ATTESTATION = 206  # the plan names one that this site did not sign
    POLICY_DENIED = 207  # the site's rules do not allow the use, or none is declared
    LEDGER_UNSOUND = 208  # the privacy ledger is damaged, or older than what was told before
    BUDGET_SPENT = 209  # too few people have enough of their privacy budget left
    SERVER_LOG_UNSOUND = 210  # the server's log of rounds was cut, rewritten or not shown
    SITE_BUSY = 220  # a round is running there; ask again later
    NOT_NOW = 221  # outside the site's hours, or beyond its time or traffic of the day
    ROSTER_REFUSED = 222  # who is to add up together is not what the site allows
    OUT_OF_TURN = 223  # a message of a secure sum that is not due, or comes twice
    WORKER_AWAY = 224  # the site's worker does not run, or ended before it answered
    SITE_FAULT = 299  # see the site's own log
    # The server refuses an update.
    NOT_ENROLLED = 301
    WRONG_WEIGHTS = 302  # names, shapes, types, finite
    BAD_SIGNATURE = 303
    WRONG_ROUND = 304  # run, round, nonce, purpose, model
    WRONG_UPDATE = 305  # the attestation is about other bytes
    LOG_NOT_GROWN = 306  # the consent log was rewritten or cut
    WRONG_LABELS = 307  # AUs that the site is not enrolled for
    ANSWERED_TWICE = 308
    BROKEN_CHAIN = 309  # the attestation does not follow the one admitted before
    WRONG_RULES = 310  # policy or software are not those that were agreed
    WRONG_EPSILON = 311  # less noise than stated, or beyond the budget
    LEDGER_RESTARTED = 315  # the privacy ledger does not extend the one seen before
    SUSPENDED = 312  # enrolled, but the operator counts nothing from this site for now
    TOO_LARGE = 313  # the change from model_in is beyond max_update_norm
    REPLAYED = 314  # an update with these bytes was admitted in an earlier round
    WRONG_KEYS = 316  # of a secure sum: not signed by the site for this round
    SHARES_UNSOUND = 317  # of a secure sum: what the site shared does not give back its secret
    TOO_FEW_LEFT = 318  # of a secure sum: it can never be unmasked, so nothing counts
    WRONG_SUM = 319  # of a secure sum: no honest sites give it, so nothing counts
    NO_ANSWER = 399


def digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return SHA-256 (hex) over names, types, shapes and bytes, in the order of names."""
    h = hashlib.sha256()
    for name in sorted(arrays):
        array: NDArray[Any] = np.ascontiguousarray(arrays[name])
        header = f"{name}\0{array.dtype.str}\0{','.join(map(str, array.shape))}\0"
        h.update(len(header).to_bytes(4, "big") + header.encode())
        h.update(array.data)
    return h.hexdigest()
