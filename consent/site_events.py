"""Events of a site: notices, recordings, rules, rounds, models, keys.

Their openings are sealed under the site's key: erasing a person does not touch them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from consent.model import (
    ACCOUNT,
    KEY_ID,
    SHA256,
    SUBJECT_ID,
    TERRITORY,
    Event,
    Moment,
    NoticeRef,
    NoticeTerms,
    Purpose,
    Purposes,
    Remedy,
    Role,
    Span,
)


class SiteDescribed(Event):
    """Who keeps this log, and in which territory its data are used."""

    type: Literal["site.described"] = "site.described"
    site: str = Field(min_length=1, max_length=64)
    territory: str | None = Field(None, pattern=TERRITORY)


class NoticePublished(Event):
    """A notice may be shown from now on. The text is kept with the opening."""

    type: Literal["notice.published"] = "notice.published"
    notice: NoticeRef
    purposes: Purposes = Field(min_length=1)
    text: str = Field(min_length=1)
    changed: Purposes = ()  # promises about these differ: grants on older versions are stale
    terms: NoticeTerms | None = None

    @property
    def ref(self) -> NoticeRef:
        """What a consent event names."""
        return self.notice


class SubjectErased(Event):
    """A person's openings were made unreadable. Tells erased from lost."""

    type: Literal["subject.erased"] = "subject.erased"
    subject_id: str = Field(pattern=SUBJECT_ID)
    entries: tuple[int, ...]  # indices that cannot be opened any more
    ground: str = Field(min_length=1)  # legal ground, such as GDPR 17(1)(b)
    desk: str | None = Field(None, pattern=ACCOUNT)  # account that recorded it; none: no desk


# --- recordings ------------------------------------------------------------------------------


class AssetLinked(Event):
    """A recording belongs to the people in its spans. Linking again replaces the spans."""

    type: Literal["asset.linked"] = "asset.linked"
    asset: str = Field(pattern=SHA256)  # digest of the recording
    spans: tuple[Span, ...] = Field(min_length=1)
    captured_at: Moment | None = None
    licence: str = ""
    source: str = ""  # where it came from, as a data-protection officer would ask
    keep_until: Moment | None = None
    derived_from: str | None = Field(None, pattern=SHA256)  # of a masked copy

    @model_validator(mode="after")
    def _not_of_itself(self) -> AssetLinked:
        if self.derived_from == self.asset:
            raise ValueError("a masked copy must differ from what it was made of")
        return self


class AssetEnded(Event):
    """A recording is used no more: its link was wrong, or it was deleted."""

    type: Literal["asset.unlinked", "asset.deleted"]
    asset: str = Field(pattern=SHA256)


# --- rules and evidence ----------------------------------------------------------------------


class PolicySet(Event):
    """These rules hold from here on."""

    type: Literal["policy.set"] = "policy.set"
    sha256: str = Field(pattern=SHA256)
    names: tuple[str, ...]


class PolicyDecided(Event):
    """A declared use was put to the rules."""

    type: Literal["policy.decided"] = "policy.decided"
    declaration: str = Field(pattern=SHA256)
    policy: str = Field(pattern=SHA256)
    verdict: Literal["allow", "review", "deny"]
    rules: tuple[str, ...]
    declared: str = ""  # the declaration itself, as canonical JSON


class EvidenceAdded(Event):
    """A document, such as a DPIA or an ethics vote."""

    type: Literal["evidence.added"] = "evidence.added"
    kind: str = Field(pattern="^[a-z_]{1,32}$")
    sha256: str = Field(pattern=SHA256)
    valid_until: Moment | None = None


class ReviewApproved(Event):
    """A person with the right role answers for a decision that asked for review."""

    type: Literal["review.approved"] = "review.approved"
    declaration: str = Field(pattern=SHA256)


# --- rounds and models -----------------------------------------------------------------------


class RoundStarted(Event):
    """The gate was asked and training began."""

    type: Literal["round.started"] = "round.started"
    run_id: str
    round: int = Field(ge=1)
    purpose: Purpose
    model_in: str = Field(pattern=SHA256)


class RoundSigned(Event):
    """An update was signed; the attestation is kept with the opening."""

    type: Literal["round.signed"] = "round.signed"
    run_id: str
    round: int = Field(ge=1)
    purpose: Purpose
    model_in: str = Field(pattern=SHA256)
    update: str = Field(pattern=SHA256)
    manifest: str = Field(pattern=SHA256)
    entries: tuple[Annotated[int, Field(ge=0)], ...]  # consent entries that allowed the data used
    attestation: str  # the DSSE envelope


class RoundDiscarded(Event):
    """A round gave no update: consent ended meanwhile, or the rules did not allow the use."""

    type: Literal["round.discarded"] = "round.discarded"
    run_id: str
    round: int = Field(ge=1)
    reason: str


class ModelPublished(Event):
    """A model came out of rounds, and of the models before it."""

    type: Literal["model.published"] = "model.published"
    model: str = Field(pattern=SHA256)
    run_id: str
    rounds: tuple[int, ...]
    parents: tuple[Annotated[str, Field(pattern=SHA256)], ...] = ()


class ModelRemediation(Event):
    """What was done about a model after a withdrawal. Only retraining without removes data."""

    type: Literal["model.remediation"] = "model.remediation"
    model: str = Field(pattern=SHA256)
    kind: Remedy
    reason: str = Field(min_length=1)


# --- keys and the log itself -----------------------------------------------------------------


class KeyAdded(Event):
    """A key may sign entries of its role from here on. The first entry of a log adds its own."""

    type: Literal["key.added"] = "key.added"
    vkey: str
    role: Role
    subject_id: str | None = Field(None, pattern=SUBJECT_ID)  # of a subject's own key

    @model_validator(mode="after")
    def _subject_named(self) -> KeyAdded:
        if (self.role is Role.SUBJECT) != (self.subject_id is not None):
            raise ValueError("a subject's key, and no other, names its subject")
        return self


class KeyRevoked(Event):
    """A key signs no entry after this one. What it signed from ``compromised_from`` is in doubt."""

    type: Literal["key.revoked"] = "key.revoked"
    key: str = Field(pattern=KEY_ID)
    compromised_from: int | None = Field(None, ge=0)  # index of an entry


class Countersigned(Event):
    """A second key stands by an earlier entry."""

    type: Literal["entry.countersigned"] = "entry.countersigned"
    entry: int = Field(ge=0)


class ClockAnomaly(Event):
    """The clock stood before the last entry. Time in the log never runs backwards."""

    type: Literal["clock.anomaly"] = "clock.anomaly"
    seconds: int = Field(gt=0)  # that it was behind


class LogNote(Event):
    """A remark."""

    type: Literal["log.note"] = "log.note"
    text: str
