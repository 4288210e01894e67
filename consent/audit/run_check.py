"""Verify a whole run from the server's log and what sites signed; say what stands behind a model.

Pure but for reading the envelopes. It needs the public keys of server and sites from outside.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from consent import merkle
from consent.attestation import Attestation, open_attestation
from consent.audit.run_log import LoggedRound, RunLog
from consent.epsilon import GaussianNoise, Spent, add_spent, check_epsilon
from consent.errors import ConsentError, MalformedError, ProofError
from consent.keys import VerifierKey
from consent.note import TreeHead, open_tree_head


@dataclass(frozen=True)
class SiteKeys:
    """The public keys of an enrolled site."""

    operator: VerifierKey
    log: VerifierKey


@dataclass
class Behind:
    """What stands behind a model, for one site."""

    rounds: list[str] = field(default_factory=list)  # run and number
    head: str = ""  # size and root of its consent log, the last one
    epsilon: str | None = None  # of a person, in all rounds it told of; None: no promise
    has_unprotected: bool = False  # a round without noise is behind it
    policies: set[str] = field(default_factory=set)


@dataclass
class Model:
    """A model that a round made, and what stands behind it, by site."""

    digest: str
    sites: dict[str, Behind]


@dataclass
class RunCheck:
    """What was found about one run."""

    run_id: str
    models: dict[int, Model] = field(default_factory=dict)  # by round
    num_attestations: int = 0
    configs: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass
class _Site:
    """A site as it was seen last."""

    head: TreeHead | None = None  # over all runs, as the server remembers it
    run_id: str = ""  # of what follows
    previous: str | None = None
    spent: tuple[Spent, ...] = ()
    total: str | None = None

    def begin(self, entry: LoggedRound) -> None:
        """Begin another run. One that left another takes over what was spent there."""
        self.run_id, self.previous = entry.run_id, None
        if entry.branch is None:
            self.spent, self.total = (), None


def read_keys(folder: Path) -> dict[str, SiteKeys]:
    """Read the keys of sites from the files with which a server enrols them (``SITE.toml``).

    Raises:
        MalformedError: A file is not one.
    """
    keys = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
            pair = (VerifierKey.parse(told["key"]), VerifierKey.parse(told["log_key"]))
            keys[str(told["site_id"])] = SiteKeys(*pair)
        except (KeyError, ValueError, AttributeError, ConsentError) as e:
            raise MalformedError(f"{path}: expected site_id, key and log_key") from e
    return keys


def check_runs(
    log: RunLog, keys: Mapping[str, SiteKeys], outputs: Sequence[Path]
) -> list[RunCheck]:
    """Check every round of every run.

    Args:
        log: Whose signature and tree hold.
        keys: Of the sites.
        outputs: Folders with ``attestations/ROUND/SITE.json``; of a run that has none, what sites
            signed is reported as missing.
    """
    runs: dict[str, RunCheck] = {}
    sites = {site_id: _Site() for site_id in keys}
    rounds: dict[tuple[str, int], tuple[LoggedRound, dict[str, Behind]]] = {}
    for entry in log.rounds:
        if entry.run_id not in runs:
            runs[entry.run_id] = RunCheck(entry.run_id)
            for site in sites.values():
                site.begin(entry)
        run = runs[entry.run_id]
        left = (entry.branch.run_id, entry.branch.round) if entry.branch else None
        before, stood = rounds.get(left or (entry.run_id, entry.round - 1), (None, {}))
        _check_order(entry, before, run)
        if entry.config not in run.configs:
            run.configs.append(entry.config)
        behind = _copy(stood)
        for site_id, digest in sorted(entry.admitted.items()):
            try:
                said = _open(entry, site_id, digest, keys, outputs)
                _check(entry, site_id, digest, said, keys[site_id], sites[site_id])
            except (ConsentError, OSError) as e:
                run.faults.append(f"{entry.name}, {site_id}: {e}")
                continue
            run.num_attestations += 1
            if entry.has_quorum:  # else the model stayed as it was
                _add(behind.setdefault(site_id, Behind()), entry, site_id, said)
        rounds[entry.run_id, entry.round] = (entry, behind)
        run.models[entry.round] = Model(entry.model_out, behind)
    return list(runs.values())


def _check_order(entry: LoggedRound, before: LoggedRound | None, run: RunCheck) -> None:
    if before is None and (entry.round != 1 or entry.branch is not None):
        run.faults.append(f"{entry.name}: the round before is not in the log")
    if before is not None and entry.round != before.round + 1:
        run.faults.append(f"{entry.name}: expected round {before.round + 1}")
    # Another purpose shares other weights, so its digest is of something else.
    is_same = before is not None and before.purpose == entry.purpose
    if before is not None and is_same and before.model_out != entry.model_in:
        run.faults.append(f"{entry.name}: does not start from what the round before made")
    if not entry.has_quorum and entry.model_in != entry.model_out:
        run.faults.append(f"{entry.name}: the model changed without a quorum")


def _open(
    entry: LoggedRound, site_id: str, digest: str, keys: Mapping[str, SiteKeys],
    outputs: Sequence[Path],
) -> Attestation:  # fmt: skip
    if site_id not in keys:
        raise MalformedError("its keys are not known")
    for folder in outputs:
        path = folder / "attestations" / f"{entry.round:04d}" / f"{site_id}.json"
        if path.exists():
            opened = open_attestation(path.read_bytes(), keys[site_id].operator)
            if opened.digest == digest:
                return opened.attestation
    raise MalformedError(f"the attestation {digest[:16]} that the log names was not kept")


def _check(
    entry: LoggedRound, site_id: str, digest: str, said: Attestation, keys: SiteKeys, site: _Site
) -> None:
    # (1) about this round, and after the one admitted before
    is_ = (said.site, said.run_id, said.round, said.purpose.value, said.model_in, said.previous)
    want = (site_id, entry.run_id, entry.round, entry.purpose, entry.model_in, site.previous)
    if is_ != want:
        raise MalformedError(f"expected {want}, it says {is_}")
    # (2) on the consent log that the server noted, which only grew
    start = open_tree_head(said.consent.start_head, keys.log)
    end = open_tree_head(said.consent.tree_head, keys.log)
    if "{1} {2}".format(*end.text().split("\n")) != entry.tree_heads.get(site_id):
        raise MalformedError("another head of its consent log than the server noted")
    _check_grown(start, end, said.consent.since_start)
    if site.head is not None:
        _check_grown(site.head, end, said.consent.consistency)
    # (3) with the epsilon that follows from its noise
    if isinstance(said.privacy, GaussianNoise):
        check_epsilon(said.privacy, site.spent, site.total, None)
        site.spent = add_spent(site.spent, said.privacy.spent())
        site.total = said.privacy.epsilon_total
    site.head, site.previous = end, digest


def _check_grown(old: TreeHead, new: TreeHead, proof: Sequence[str]) -> None:
    try:
        hashes = [bytes.fromhex(h) for h in proof]
        merkle.verify_consistency(old.size, new.size, old.root, new.root, hashes)
    except (ProofError, ValueError) as e:
        raise ProofError(f"its consent log of {new.size} entries does not extend {old.size}") from e


def _add(behind: Behind, entry: LoggedRound, site_id: str, said: Attestation) -> None:
    behind.rounds.append(entry.name)
    behind.head = entry.tree_heads[site_id]
    if isinstance(said.privacy, GaussianNoise):
        behind.epsilon = said.privacy.epsilon_total
    else:
        behind.has_unprotected = True
    if said.policy is not None:
        behind.policies.add(said.policy)


def _copy(behind: Mapping[str, Behind]) -> dict[str, Behind]:
    return {
        site_id: Behind(list(b.rounds), b.head, b.epsilon, b.has_unprotected, set(b.policies))
        for site_id, b in behind.items()
    }
