"""New keys, rotated keys, revoked keys: changes that root keys sign, several of them if so agreed.

One root signs the change, others countersign it; it holds from the countersignature that makes more
than half. Roots that are kept elsewhere can be brought one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from consent.errors import KeyFileError
from consent.keys import SigningKey
from consent.model import Role
from consent.registry import Registry
from consent.site_events import Countersigned, KeyAdded, KeyRevoked
from consent.site_keys import key_name


@dataclass(frozen=True)
class KeyChange:
    """What became of a change.

    Attributes:
        entry: Index of its entry.
        num_missing: Root keys that must still countersign it; 0 if it holds.
        file: Of a new key.
    """

    entry: int
    num_missing: int
    file: Path | None = None


def add_key(registry: Registry, role: Role, roots: Sequence[SigningKey] = ()) -> KeyChange:
    """Make a new key of a role, beside those that are there.

    Args:
        registry: Of the site.
        role: What the key may sign.
        roots: Root keys that are kept elsewhere.

    Raises:
        KeyFileError: No root key is at hand.
        RoleError: A key that is no root key was given.
    """
    key = SigningKey.generate(key_name(registry.site, role))
    file = registry.keys.save(role, key)
    try:
        change = _change(registry, KeyAdded(vkey=key.verifier.vkey, role=role), roots)
    except BaseException:
        file.unlink()  # it never signed anything
        raise
    return KeyChange(change.entry, change.num_missing, file)


def revoke_key(
    registry: Registry,
    key_id: str,
    compromised_from: int | None = None,
    roots: Sequence[SigningKey] = (),
) -> KeyChange:
    """Let a key sign nothing more.

    Args:
        registry: Of the site.
        key_id: Which.
        compromised_from: Index of the entry from which someone else may have used it.
        roots: Root keys that are kept elsewhere.

    Raises:
        RecordError: There is no such key.
        KeyFileError: No root key is at hand.
    """
    return _change(registry, KeyRevoked(key=key_id, compromised_from=compromised_from), roots)


def rotate_key(
    registry: Registry, role: Role, roots: Sequence[SigningKey] = ()
) -> tuple[KeyChange, list[KeyChange]]:
    """Make a new key of a role and revoke the others of that role; return both changes.

    The log's own old key signs along until it is revoked: others need time to learn the new one.

    Raises:
        KeyFileError: No root key is at hand.
    """
    ring, size = registry.state().keys, registry.state().size
    old = [i for i, k in ring.keys.items() if k.role is role and k.is_active(size)]
    added = add_key(registry, role, roots)
    if role is Role.LOG:
        return added, []
    return added, [revoke_key(registry, key_id, None, roots) for key_id in old]


def countersign(registry: Registry, entry: int, signer: Role | SigningKey) -> KeyChange:
    """Stand by an earlier entry with a second key.

    Raises:
        RecordError: There is no such entry.
    """
    registry.append([Countersigned(entry=entry)], signer)
    return KeyChange(entry, _num_missing(registry, entry))


def _change(
    registry: Registry, event: KeyAdded | KeyRevoked, elsewhere: Sequence[SigningKey]
) -> KeyChange:
    state = registry.state()
    roots = {
        key.verifier.key_id: key
        for key in (*registry.keys.active(Role.ROOT, state.keys, state.size), *elsewhere)
    }
    if not roots:
        raise KeyFileError(
            "a root key must sign this and none is at hand; bring one: --root-key FILE"
        )
    first, *others = roots.values()
    entry = registry.append([event], first).start
    for root in others:
        if _num_missing(registry, entry):
            registry.append([Countersigned(entry=entry)], root)
    return KeyChange(entry, _num_missing(registry, entry))


def _num_missing(registry: Registry, entry: int) -> int:
    state = registry.state()
    if entry not in state.keys.pending:
        return 0
    return state.keys.num_missing(entry, state.size)
