"""What the audit commands tell: as data for machines, and as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from consent.audit.facts import Facts
from consent.audit.lineage import Answered, Used, lineage_of
from consent.audit.rounds import RoundCheck
from consent.manifest import LeafProof
from consent.note import TreeHead


def head(head: TreeHead) -> dict[str, Any]:
    """Return a tree head as data."""
    return {"origin": head.origin, "size": head.size, "root": head.root.hex()}


def answer(answered: Answered) -> dict[str, Any]:
    """Return the answer with its proofs."""
    return {
        "answer": answered.used.value,
        "why": answered.why,
        "uses": [
            {
                "round": use.check.name,
                "entry": use.check.item.index,
                "attestation": use.check.digest,
                "manifest": use.check.item.event.manifest,
                "admitted": use.was_admitted,
                "recordings": [_proof(proof) for proof in use.proofs],
            }
            for use in answered.uses
        ],
    }


def answer_lines(answered: Answered) -> Iterator[str]:
    """Say it in lines."""
    yield f"{answered.used.value.replace('_', ' ').upper()}: {answered.why}"
    for use in answered.uses:
        item = use.check.item
        proven = f"{len(use.proofs)} recording(s) proven in manifest {item.event.manifest[:16]}"
        yield f"  {use.check.name}, entry {item.index}: {proven}"
    if answered.used is Used.YES:
        yield "Only training again without the person makes a model that does not hold them."


def round_(check: RoundCheck) -> dict[str, Any]:
    """Return what was found about a round."""
    return {
        "round": check.name,
        "entry": check.item.index,
        "attestation": check.digest,
        "people": len(check.subjects),
        "recordings": len(check.kept.leaves) if check.kept else None,
        "is_recomputed": check.is_recomputed,
        "faults": check.faults,
        "missing": check.missing,
    }


def round_lines(check: RoundCheck) -> Iterator[str]:
    """Say it in lines."""
    event = check.item.event
    recomputed = "recomputed" if check.is_recomputed else "not recomputed"
    yield f"{check.name}, {event.purpose}, entry {check.item.index}"
    yield f"  model in     {event.model_in[:16]}"
    yield f"  update       {event.update[:16]}"
    yield f"  manifest     {event.manifest[:16]}, {recomputed}"
    yield f"  people       {len(check.subjects)}"
    yield from (f"  WRONG        {fault}" for fault in check.faults)
    yield from (f"  missing      {what}" for what in check.missing)


def _proof(proof: LeafProof) -> dict[str, Any]:
    return {
        "sha256": proof.leaf.asset.hex(),
        "entries": proof.leaf.entries,
        "salt": proof.salt.hex(),
        "index": proof.index,
        "size": proof.size,
        "path": [h.hex() for h in proof.path],
    }


def model(facts: Facts, digest: str) -> dict[str, Any]:
    """Return what a model came from.

    Raises:
        RecordError: The log names no such model.
    """
    lineage = lineage_of(facts.state, digest)
    inside = [
        c for c in facts.checks if (c.item.event.run_id, c.item.event.round) in lineage.rounds
    ]
    decided = [r.event for r in facts.state.remediations if r.event.model == digest]
    return {
        "model": digest,
        "rounds": [c.name for c in inside],
        "people": len({s for c in inside for s in c.subjects}),
        "ancestors": list(lineage.ancestors),
        "unknown": list(lineage.unknown),
        "remediation": [{"kind": r.kind, "reason": r.reason} for r in decided],
    }


def model_lines(told: dict[str, Any]) -> Iterator[str]:
    """Say it in lines."""
    yield f"rounds     {', '.join(told['rounds']) or 'none of this site'}"
    yield f"people     {told['people']}"
    yield f"ancestors  {', '.join(a[:16] for a in told['ancestors']) or 'none'}"
    yield from (f"unknown    {name[:64]}" for name in told["unknown"])
    for made in told["remediation"]:
        yield f"decided    {made['kind'].replace('_', ' ')}: {made['reason']}"


def person_lines(told: dict[str, Any]) -> Iterator[str]:
    """Say in lines what is known about a person."""
    if "erased" in told:
        yield f"erased at entry {told['erased']['entry']}, {told['erased']['at']}"
        return
    for purpose, why in told["standing"].items():
        yield f"{purpose:15} {why}"
    for used in told["rounds"]:
        yield f"used in round   {used['round']} ({used['purpose']})"
