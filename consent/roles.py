"""Which key may sign which event, by the order of the log and never by a clock.

The table stands for separation of duties: who runs the training signs no consent. Three kinds of
event are heard from anyone whose key is in the log, since they only ever narrow what may be done:
refusing, withdrawing, and ending consent. What an unusual key signed is flagged by ``State``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from consent.errors import ConsentError, RoleError
from consent.events import ConsentEvent
from consent.keys import VerifierKey
from consent.model import Role, SubjectEvent
from consent.site_events import Countersigned, KeyAdded, KeyRevoked
from consent.subject_events import ConsentGiven

_ANYONE = frozenset(Role)
_STAFF = frozenset({Role.REGISTRAR, Role.DPO})
_DPO = frozenset({Role.DPO})
_OPERATOR = frozenset({Role.OPERATOR})
_HANDLERS = _STAFF | _OPERATOR

NARROWING = frozenset(
    {
        "consent.refused",
        "consent.withdrawn",
        "consent.revoked",
        "consent.expired",
        "consent.invalidated",
        "age.majority",
    }
)
"""Heard even from a key that may not sign them: nobody gains by being left out."""

MAY_SIGN: dict[str, frozenset[Role]] = {
    "site.described": _DPO,
    "notice.published": _DPO,
    "subject.registered": _STAFF,
    "consent.requested": _STAFF,
    "consent.given": _STAFF | {Role.SUBJECT},
    "consent.renewed": _STAFF | {Role.SUBJECT},
    "guardian.linked": _STAFF,
    "subject.erased": _DPO,
    "asset.linked": _HANDLERS,
    "asset.unlinked": _HANDLERS,
    "asset.deleted": _HANDLERS,
    "policy.set": _DPO,
    "policy.decided": _DPO | _OPERATOR,
    "evidence.added": _STAFF,
    "review.approved": _DPO | {Role.ROOT},
    "round.started": _OPERATOR,
    "round.signed": _OPERATOR,
    "round.discarded": _OPERATOR,
    "model.published": _OPERATOR,
    "model.remediation": _DPO | _OPERATOR,
    "key.added": frozenset({Role.ROOT, Role.REGISTRAR, Role.DPO}),  # staff: keys of subjects only
    "key.revoked": frozenset({Role.ROOT}),
    "entry.countersigned": _ANYONE,
    "clock.anomaly": _ANYONE,
    "log.note": _ANYONE,
    **dict.fromkeys(NARROWING, _ANYONE),
}
WITHDRAWERS = (Role.REGISTRAR, Role.DPO, Role.OPERATOR, Role.LOG)
"""Who signs a withdrawal, the first that is at hand: it is never refused for want of a role."""
SPOKEN = NARROWING - {"consent.expired", "age.majority"}
SPEAKERS = _STAFF | {Role.SUBJECT}
"""Who usually records what a person or an authority said. Others are heard, and flagged."""


@dataclass
class KeyState:
    """One key, and between which entries it may sign."""

    vkey: str
    role: Role
    added: int  # index of the entry from which it holds
    subject_id: str | None = None
    revoked: int | None = None
    compromised_from: int | None = None

    def is_active(self, index: int) -> bool:
        """May it sign entry ``index``?"""
        return self.added < index and (self.revoked is None or index <= self.revoked)


@dataclass
class KeyRing:
    """The keys of a log as it grows. ``check`` before an entry counts, ``apply`` after.

    The first entry adds the log's own key, signed by itself, and that key may add others and say
    whose log it is, until the first entry of another kind. From then on keys change by a majority
    of the root keys: one signs the change, others countersign, and the last one needed makes it
    hold.
    """

    keys: dict[str, KeyState] = field(default_factory=dict)
    num_founding: int = 0  # entries at the beginning that only added keys
    pending: dict[int, tuple[KeyAdded | KeyRevoked, set[str]]] = field(default_factory=dict)
    countersigned: dict[int, list[tuple[int, str]]] = field(default_factory=dict)

    def take(self, index: int, key_id: str, event_type: str, event: ConsentEvent | None) -> None:
        """Check an entry and take it in. All that a verifier needs.

        Raises:
            RoleError: The key may not sign it.
        """
        self.check(index, key_id, event_type, event)
        self.apply(index, key_id, event)

    def check(self, index: int, key_id: str, event_type: str, event: ConsentEvent | None) -> None:
        """Check that a key may sign an entry. ``event`` is None if its opening is erased.

        Raises:
            RoleError: It may not. Says who may.
        """
        if index == 0:
            self._check_first(key_id, event)
            return
        key = self.keys.get(key_id)
        if key is None or not key.is_active(index):
            state = "was never added" if key is None else "is not valid at this entry"
            raise RoleError(f"{event_type}: key {key_id} {state}")
        if index == self.num_founding and key.role is Role.LOG and event_type in _FOUNDING:
            self._check_new_key(event)
            return
        if key.role not in MAY_SIGN[event_type]:
            allowed = ", ".join(sorted(MAY_SIGN[event_type]))
            raise RoleError(f"{event_type}: may be signed by {allowed}; not by {key.role}")
        _check_content(key, event)
        self._check_new_key(event)

    def apply(self, index: int, key_id: str, event: ConsentEvent | None) -> None:
        """Take in an entry that passed ``check``."""
        if isinstance(event, KeyAdded | KeyRevoked):
            is_founding = index == self.num_founding and isinstance(event, KeyAdded)
            self.num_founding += is_founding
            if is_founding or (isinstance(event, KeyAdded) and event.role is Role.SUBJECT):
                self._change(index, event)
            else:
                self.pending[index] = (event, {key_id})
                self._settle(index, index)
        elif isinstance(event, Countersigned):
            self.countersigned.setdefault(event.entry, []).append((index, key_id))
            if event.entry in self.pending and self.keys[key_id].role is Role.ROOT:
                self.pending[event.entry][1].add(key_id)
                self._settle(event.entry, index)

    def role_of(self, key_id: str) -> Role | None:
        """Return the role of a key that was ever added."""
        key = self.keys.get(key_id)
        return key.role if key else None

    def num_missing(self, proposed: int, now: int) -> int:
        """Return how many root keys must still stand by a pending change for it to hold."""
        roots = self._roots(now)
        return len(roots) // 2 + 1 - len(self.pending[proposed][1].intersection(roots))

    def is_in_doubt(self, index: int, key_id: str) -> bool:
        """Was entry ``index`` signed by a stolen key, and did no other key stand by it since?"""
        key = self.keys.get(key_id)
        if key is None or key.compromised_from is None or index < key.compromised_from:
            return False
        return not any(
            self.keys[k].role in _STAFF and not self._is_stolen(k, at)
            for at, k in self.countersigned.get(index, ())
        )

    def _is_stolen(self, key_id: str, index: int) -> bool:
        since = self.keys[key_id].compromised_from
        return since is not None and index >= since

    def _check_first(self, key_id: str, event: ConsentEvent | None) -> None:
        if not isinstance(event, KeyAdded) or event.role is not Role.LOG:
            raise RoleError("the first entry must add the log's own key")
        if _key_id(event) != key_id:
            raise RoleError("the first entry must be signed by the key that it adds")

    def _check_new_key(self, event: ConsentEvent | None) -> None:
        if not isinstance(event, KeyAdded):
            return
        new = _parse(event)
        for known in self.keys.values():
            if VerifierKey.parse(known.vkey).public == new.public:
                raise RoleError(f"this key is in the log as {known.role}; one key has one role")

    def _roots(self, index: int) -> list[str]:
        return [i for i, k in self.keys.items() if k.role is Role.ROOT and k.is_active(index)]

    def _settle(self, proposed: int, now: int) -> None:
        if self.num_missing(proposed, now) <= 0:
            event, _ = self.pending.pop(proposed)
            self._change(now, event)

    def _change(self, index: int, event: KeyAdded | KeyRevoked) -> None:
        if isinstance(event, KeyAdded):
            self.keys.setdefault(
                _key_id(event), KeyState(event.vkey, event.role, index, event.subject_id)
            )
        elif (key := self.keys.get(event.key)) is not None:
            key.revoked = index if key.revoked is None else key.revoked
            since = [c for c in (key.compromised_from, event.compromised_from) if c is not None]
            key.compromised_from = min(since, default=None)


_FOUNDING = frozenset({"key.added", "site.described"})


def _check_content(key: KeyState, event: ConsentEvent | None) -> None:
    """Check what the table alone cannot say. An erased opening shows no more than its type."""
    if isinstance(event, KeyAdded) and key.role is not Role.ROOT and event.role is not Role.SUBJECT:
        raise RoleError(f"key.added: only a root key adds a key of the role {event.role}")
    if isinstance(event, ConsentGiven) and key.role is not Role.SUBJECT and event.evidence is None:
        raise RoleError(f"{event.type}: expected the SHA-256 of evidence, such as a signed form")
    if key.role is not Role.SUBJECT or not isinstance(event, SubjectEvent):
        return
    if event.subject_id != key.subject_id:
        raise RoleError(f"{event.type}: a subject's key speaks for that subject alone")


def _parse(event: KeyAdded) -> VerifierKey:
    try:
        return VerifierKey.parse(event.vkey)
    except ConsentError as e:
        raise RoleError(f"key.added: {e}") from e


def _key_id(event: KeyAdded) -> str:
    return _parse(event).key_id.hex()
