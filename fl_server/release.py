"""Read what is known of a run's last model, ask the gate, and write the model with its card.

No torch: ``omote-model export`` made the ONNX file before; its card is completed here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from consent.attestation import Attestation
from consent.keys import SigningKey, VerifierKey
from core_model.checkpoint import CheckpointManifest, load_checkpoint
from core_model.config import Settings
from core_model.evaluation.attack_result import AttackResults
from core_model.evaluation.identity_result import IdentityResult
from core_model.privacy.audit_result import AuditResult
from core_model.protocol.messages import digest
from core_model.release.card import ReleaseCard
from core_model.release.model_file import read_model, write_model
from core_model.release.onnx_scan import with_metadata
from core_model.release.privacy_facts import PrivacyFacts
from core_model.release.results_file import ResultsError, read_results
from core_model.release.signature import PublicKey
from core_model.settings_file import load_settings
from fl_server.config import FederationConfig, load_federation
from fl_server.errors import ServerError
from fl_server.folder import ServerFolder
from fl_server.kept_attestations import check_kept
from fl_server.release_gate import Evidence, ReleasePolicy, ReleaseRefusedError, decide
from fl_server.round_log import RoundEntry, VerifiedLog, lineage, read_log
from fl_server.round_state import model_path

Kind = TypeVar("Kind", bound=Settings)


@dataclass(frozen=True)
class Files:
    """Where everything lies that a release needs. None: there is no such file."""

    model: Path  # from omote-model export --format onnx
    policy: Path
    audit: Path | None
    identity: Path | None
    attacks: Path | None


def release(folder: ServerFolder, files: Files, out: Path, key: Path) -> PrivacyFacts:
    """Write a signed model with a privacy card, if the policy allows it.

    Raises:
        ReleaseRefusedError: A figure is missing or misses its limit; nothing is written.
        ServerError, ModelFileError, SettingsError, CheckpointError: Something cannot be read.
        SignatureError: The key cannot be used.
    """
    policy = load_settings(files.policy, ReleasePolicy)
    config = load_federation(folder.federation)
    log = read_log(folder.round_log, SigningKey.load(folder.log_key).verifier)
    entries = lineage(log.entries, config.run_id)
    # (1) the file is of the last model of the run, as the log has it
    manifest = _last_model(config, entries)
    model = read_model(files.model, (), may_be_unsigned=True)
    _check_same(model.card, manifest, entries[-1])
    # (2) what is known of it, from those whom the policy trusts
    evidence = _evidence(policy, config, log, entries, files, manifest.digest)
    # (3) the answer
    facts = decide(policy, evidence, manifest.digest)
    card = ReleaseCard.model_validate(model.card.model_dump() | {"privacy": facts})
    write_model(out, with_metadata(model.content, card.metadata()), key)
    return facts


def _last_model(config: FederationConfig, entries: list[RoundEntry]) -> CheckpointManifest:
    if not entries:
        raise ServerError(f"{config.run_id}: no round is in the log; there is nothing to release")
    last = entries[-1]
    path = model_path(config.output, last.round)
    arrays, manifest = load_checkpoint(path)
    shared = manifest.weights.shared(last.purpose).parameters
    if digest({p.name: arrays[p.name] for p in shared}) != last.model_out:
        raise ReleaseRefusedError("model", f"{path} is not what round {last.round} made")
    return manifest


def _check_same(card: ReleaseCard, manifest: CheckpointManifest, last: RoundEntry) -> None:
    told = (card.weights, card.run_id, card.round)
    if told != (manifest.digest, last.run_id, last.round):
        raise ReleaseRefusedError(
            "model",
            f"expected weights {manifest.digest[:16]} of {last.run_id}, round {last.round}; the "
            f"file holds {card.weights[:16]} of {card.run_id}, round {card.round}. Export again",
        )


def _evidence(
    policy: ReleasePolicy, config: FederationConfig, log: VerifiedLog, entries: list[RoundEntry],
    files: Files, model: str,
) -> Evidence:  # fmt: skip
    auditors = tuple(PublicKey.parse(text) for text in policy.auditors)
    hashes: dict[str, str] = {}

    def read(figure: str, path: Path | None, kind: type[Kind]) -> Kind | None:
        if path is None:
            return None
        try:
            content = read_results(path, model, auditors)
            hashes[path.name] = hashlib.sha256(content).hexdigest()
            return kind.model_validate_json(content)
        except (ResultsError, ValidationError) as e:
            raise ReleaseRefusedError(figure, f"missing: {e}") from e

    return Evidence(
        attestations=_attestations(config, entries),
        round_log=log.head.root.hex(),
        num_rounds=len(entries),
        start=entries[0].model_in,
        audit=read("empirical bound", files.audit, AuditResult),
        identity=read("identity leakage", files.identity, IdentityResult),
        attacks=read("attacks", files.attacks, AttackResults),
        results=hashes,
    )


def _attestations(config: FederationConfig, entries: list[RoundEntry]) -> list[Attestation]:
    """Return what sites signed about each admitted update, checked against the log."""
    keys = {s.site_id: VerifierKey.parse(s.key) for s in config.sites}
    found = []
    for entry in entries:
        for site, name in entry.admitted.items():
            if site not in keys:
                raise ReleaseRefusedError("epsilon", f"missing: {site} is not enrolled any more")
            found.append(check_kept(config.output, entry.round, site, name, keys[site]))
    return found
