"""A site whose rounds are signed as the client does it, without training anything."""

import hashlib
from datetime import timedelta

from consent.attestation import Attestation, Code, LogState, attestation_digest, sign_attestation
from consent.audit.load import Request, load
from consent.kept import KeptLeaf, KeptManifest
from consent.manifest import Leaf, manifest_root
from consent.model import Purpose, Role, Span
from consent.site_events import AssetLinked, ModelPublished, RoundSigned
from tests.consent.conftest import give

SALT = b"s" * 32


def recording(name: str) -> str:
    return hashlib.sha256(f"recording of {name}".encode()).hexdigest()


class Site:
    """People with one recording each, and signed rounds over those who agree."""

    def __init__(self, registry, notice, clock, state) -> None:
        self.registry, self.notice, self.clock, self.state = registry, notice, clock, state
        self.people: dict[str, str] = {}
        self.previous: dict[str, str] = {}

    def add(self, name, *purposes, **limits) -> str:
        subject_id = self.registry.register(name)
        give(self.registry, subject_id, self.notice, *purposes, **limits)
        span = Span(first=1, last=10, num_faces=1, subjects=(subject_id,))
        event = AssetLinked(
            asset=recording(name), spans=(span,), licence="own", source="studio",
            keep_until=self.clock() + timedelta(days=900),
        )  # fmt: skip
        self.registry.append([event], Role.OPERATOR)
        self.people[name] = subject_id
        return subject_id

    def leaves(self, purpose=Purpose.FINETUNING) -> list[Leaf]:
        ruling = self.registry.gate.rule(self.people.values(), purpose)
        return [
            Leaf(bytes.fromhex(recording(name)), (ruling.entries[s],), ((1, 10),))
            for name, s in self.people.items()
            if s in ruling.allowed
        ]

    def train(
        self, number, run="run-1", *, leaves=None, keep=True, kept=None, signed=None, entries=None,
        admitted=True, start=None,
    ):  # fmt: skip
        """Sign a round. ``leaves`` is what was used; ``kept`` bends what the site keeps of it."""
        start = start or self.registry.snapshot()
        leaves = self.leaves() if leaves is None else leaves
        root = manifest_root(leaves, SALT).hex() if leaves else "0" * 64
        began = self.clock()
        self.clock.tick(minutes=10)
        end = self.registry.snapshot()
        fields = {
            "site": "site-a", "run_id": run, "round": number, "purpose": Purpose.FINETUNING,
            "nonce": "ab" * 16, "model_in": f"{number:064x}", "update": f"{number + 500:064x}",
            "labelled_aus": (1,), "manifest": root, "min_subjects": 1,
            "consent": LogState(
                start_head=start.tree_head, tree_head=end.tree_head,
                since_start=tuple(h.hex() for h in end.consistency_proof(start.size)),
                consistency=(),
            ),
            "code": Code(name="omote", sha256="c" * 64), "previous": self.previous.get(run),
            "started_at": began, "ended_at": self.clock(), **(signed or {}),
        }  # fmt: skip
        attestation = Attestation(**fields)
        (key,) = self.registry.keys.at_hand(Role.OPERATOR)
        digest = attestation_digest(attestation)
        manifest = KeptManifest(
            attestation=digest, run_id=run, round=number, purpose=Purpose.FINETUNING,
            manifest=root, salt=SALT.hex(),
            leaves=tuple(
                KeptLeaf(asset=leaf.asset.hex(), entries=leaf.entries, frames=leaf.frames)
                for leaf in sorted(leaves, key=lambda leaf: leaf.hash(SALT))
            ),
        )  # fmt: skip
        if keep:
            path = self.state / run / "manifests.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write((kept(manifest) if kept else manifest).line())
        event = RoundSigned(
            run_id=run, round=number, purpose=Purpose.FINETUNING, model_in=attestation.model_in,
            update=attestation.update, manifest=root,
            entries=sorted({e for leaf in leaves for e in leaf.entries}) if entries is None
            else entries,
            attestation=sign_attestation(attestation, key).decode(),
        )  # fmt: skip
        self.registry.append([event], Role.OPERATOR)
        if admitted:
            self.previous[run] = digest
        return digest

    def publish(self, model, rounds, run="run-1", parents=()):
        event = ModelPublished(model=model, run_id=run, rounds=rounds, parents=parents)
        self.registry.append([event], Role.OPERATOR)

    def facts(self, **changes):
        return load(self.request(**changes), self.clock)

    def request(self, **changes):
        return Request(**{"folder": self.registry.folder, "state": self.state, **changes})
