"""Whom to believe about a log: a C2SP tlog-policy file names logs, witnesses and the quorum.

log <vkey>
witness <name> <vkey> [<url>]
group <name> any|all|<k> <name>...
quorum <name>|none
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from consent.cosignature import WitnessKey, open_cosigned
from consent.errors import BadSignatureError, MalformedError
from consent.keys import VerifierKey
from consent.note import TreeHead, split_note

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Witness:
    """A witness and where it is asked, if that is known."""

    key: WitnessKey
    url: str | None


@dataclass(frozen=True)
class Group:
    """A group has witnessed what ``needed`` of its members have."""

    needed: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Trusted:
    """A tree head that satisfies a policy."""

    head: TreeHead
    cosigned_at: datetime | None  # the last cosignature; None if the policy asks for none


@dataclass(frozen=True)
class TrustPolicy:
    """Logs, witnesses, and how many of them must have cosigned."""

    logs: tuple[VerifierKey, ...]
    witnesses: dict[str, Witness]
    groups: dict[str, Group]
    quorum: str | None

    @classmethod
    def load(cls, path: Path) -> TrustPolicy:
        """Read a policy file.

        Raises:
            MalformedError: Not a policy; names the line.
        """
        return parse_policy(path.read_bytes().decode("utf-8", errors="surrogateescape"))

    def log_keys(self, origin: str) -> list[VerifierKey]:
        """Return the keys of one log.

        Raises:
            BadSignatureError: The policy does not know it.
        """
        keys = [key for key in self.logs if key.name == origin]
        if not keys:
            raise BadSignatureError(f"the policy knows no log named {origin}")
        return keys

    def check(self, note: str) -> Trusted:
        """Check a tree head against the policy.

        Raises:
            MalformedError: Not a tree head.
            BadSignatureError: Not by a log of the policy, or too few witnesses cosigned it.
        """
        text, _ = split_note(note)
        keys = self.log_keys(text.split("\n", 1)[0])
        head, times = open_cosigned(note, keys, [w.key for w in self.witnesses.values()])
        seen = {name for name, w in self.witnesses.items() if times.get(w.key)}
        if self.quorum is not None and not self._has_witnessed(self.quorum, seen):
            raise BadSignatureError(
                f"{head.origin}, {head.size} entries: the policy asks for quorum {self.quorum}; "
                f"{len(seen)} of {len(self.witnesses)} witnesses cosigned this tree head"
            )
        last = max(times.values(), default=None)
        return Trusted(head, None if last is None else datetime.fromtimestamp(last, UTC))

    def _has_witnessed(self, name: str, seen: Set[str]) -> bool:
        if name in self.witnesses:
            return name in seen
        group = self.groups[name]
        return sum(self._has_witnessed(m, seen) for m in group.members) >= group.needed


def parse_policy(text: str) -> TrustPolicy:
    """Read the text of a policy.

    Raises:
        MalformedError: Not a policy; names the line.
    """
    reader = _Reader()
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            if _CONTROL.search(line):
                raise MalformedError("a control character")
            words = re.findall(r"[^ \t]+", line)
            if words and not words[0].startswith("#"):
                reader.read(*words)
        except (MalformedError, ValueError, TypeError) as e:
            raise MalformedError(f"line {number} of the policy: {e}") from e
    return reader.policy()


class _Reader:
    def __init__(self) -> None:
        self._logs: list[VerifierKey] = []
        self._witnesses: dict[str, Witness] = {}
        self._groups: dict[str, Group] = {}
        self._members: set[str] = set()
        self._quorum: list[str] = []

    def read(self, word: str, *rest: str) -> None:
        match word, rest:
            case "log", [vkey] | [vkey, _]:
                self._log(VerifierKey.parse(vkey))
            case "witness", [name, vkey] | [name, vkey, _]:
                self._witness(name, WitnessKey.parse(vkey), *rest[2:])
            case "group", [name, needed, *members] if members:
                self._group(name, needed, members)
            case "quorum", [name] if not self._quorum:
                if name != "none":
                    self._must_be_known(name)
                self._quorum.append(name)
            case _:
                raise MalformedError(
                    f"expected log, witness, group, or quorum (once) with its parts, got {word!r}"
                )

    def policy(self) -> TrustPolicy:
        if not self._quorum:
            raise MalformedError("the policy has no quorum line; without witnesses: quorum none")
        quorum = None if self._quorum[0] == "none" else self._quorum[0]
        return TrustPolicy(tuple(self._logs), self._witnesses, self._groups, quorum)

    def _log(self, key: VerifierKey) -> None:
        if any(key.public == other.public for other in self._logs):
            raise MalformedError("this log key stands there twice")
        self._logs.append(key)

    def _witness(self, name: str, key: WitnessKey, url: str | None = None) -> None:
        self._must_be_new(name)
        if any(key.public == other.key.public for other in self._witnesses.values()):
            raise MalformedError("this witness key stands there twice")
        self._witnesses[name] = Witness(key, url)

    def _group(self, name: str, needed: str, members: list[str]) -> None:
        self._must_be_new(name)
        for member in members:
            self._must_be_known(member)
            if member in self._members:  # else one witness could count twice
                raise MalformedError(f"{member} is a member already")
            self._members.add(member)
        if not re.fullmatch("any|all|[1-9][0-9]*", needed, re.ASCII):
            raise MalformedError(f"expected any, all or a number, got {needed!r}")
        number = {"any": 1, "all": len(members)}.get(needed) or int(needed)
        if number > len(members):
            raise MalformedError(f"{number} of {len(members)} members can never be reached")
        self._groups[name] = Group(number, tuple(members))

    def _must_be_new(self, name: str) -> None:
        if name == "none" or name in self._witnesses or name in self._groups:
            raise MalformedError(f"{name} is defined already")

    def _must_be_known(self, name: str) -> None:
        if name not in self._witnesses and name not in self._groups:
            raise MalformedError(f"{name} is not defined on a line before")
