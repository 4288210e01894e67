"""Questions about the log: is it whole, who signed, did time run, do all tell the same story."""

from __future__ import annotations

from consent.audit import server
from consent.audit.diff import compare_logs
from consent.audit.facts import Draft, Facts, count, day, minute
from consent.audit.report import Answer, Outcome
from consent.keys import VerifierKey
from consent.model import Role


def intact(facts: Facts, draft: Draft) -> Answer:
    """Question 1."""
    draft.evidence += [
        f"root {facts.log.root} of {facts.log.size} entries",
        *(f"cosigned by {witness}" for witness in facts.log.witnesses),
    ]
    if facts.damage is not None:
        draft.flag(
            Outcome.BROKEN,
            "Stop training at this site. Compare with the newest tree head that a witness or the "
            "server has seen, and bring back a copy of the log that extends it.",
        )
        return draft(f"No: {facts.damage}.")
    since = day(facts.first_time) if facts.first_time else "its beginning"
    if not facts.log.witnesses:
        draft.flag(
            Outcome.LOOK,
            "Let at least one witness outside this site cosign the tree head. Until then a log "
            "that was rewritten as a whole would not be noticed by looking at it alone.",
        )
        return draft(f"Yes, since {since}: every entry was recomputed. Nobody else has seen it.")
    seen = count(len(facts.log.witnesses), "witness", "witnesses")
    return draft(f"Yes, since {since}: every entry was recomputed, and {seen} saw it grow.")


def keys(facts: Facts, draft: Draft) -> Answer:
    """Question 13."""
    ring = facts.state.keys
    rows, doubted = [], 0
    for key_id, key in ring.keys.items():
        if key.role is Role.SUBJECT:
            continue
        until = "in use" if key.revoked is None else f"revoked at entry {key.revoked}"
        if key.compromised_from is not None:
            until += f", stolen since entry {key.compromised_from}"
            doubted += 1
        rows.append((VerifierKey.parse(key.vkey).name, key.role, key_id, key.added, until))
    if doubted:
        draft.flag(
            Outcome.FINDING,
            "Let a registrar or data-protection officer look at each entry that a stolen key "
            "signed, and countersign those that are true. Consent in doubt is not used till then.",
        )
    for flag in facts.state.flags:
        draft.evidence.append(f"entry {flag.index}: {flag.why}")
    if facts.state.flags:
        draft.flag(Outcome.LOOK, "Look at the entries below: an unusual key signed them.")
    answer = f"{count(len(rows), 'key')} of roles in this log"
    answer += f"; {doubted} of them stolen." if doubted else "; none is known to be stolen."
    return draft(answer, ("Key", "Role", "Id", "Since entry", "State"), rows)


def clock(facts: Facts, draft: Draft) -> Answer:
    """Question 14."""
    found = facts.state.anomalies
    if not found:
        return draft("None: time in the log never ran backwards.")
    draft.flag(
        Outcome.LOOK,
        "Ask why the clock was set back. Consent did not become valid again by it: the latest of "
        "clock, last entry and last cosignature counts.",
    )
    rows = [(minute(a.time), a.index, f"{a.event.seconds} s") for a in found]
    return draft(
        f"The clock stood before the last entry {count(len(found), 'time')}.",
        ("When", "Entry", "Behind by"),
        rows,
    )


def since_last_audit(facts: Facts, draft: Draft) -> Answer:
    """Question 20."""
    if facts.before is None:
        return draft.nothing(
            "No earlier report was given. Name one with --before to see what changed."
        )
    grown, is_shorter, is_other = compare_logs(facts.before.log, facts.log)
    if is_shorter or is_other:
        draft.flag(
            Outcome.BROKEN,
            "This is not the log of the last audit, grown: it was cut, rewritten or exchanged. Ask "
            "a witness for the newest tree head it has seen.",
        )
        return draft(f"{facts.before.log.size} entries then, {facts.log.size} now: not the same.")
    draft.evidence.append(f"the earlier report: {facts.before.digest()}")
    return draft(
        f"Since {minute(facts.before.at)} the log grew by {count(grown, 'entry', 'entries')}. See "
        "what reads differently with: omote-consent audit diff OLD NEW"
    )


def same_story(facts: Facts, draft: Draft) -> Answer:
    """Question 21."""
    if not facts.records:
        return draft.nothing(
            "No server's record was given. Ask for its run.json and name it with --server."
        )
    found = [
        f"{record.run_id}: {line}"
        for record in facts.records
        for line in server.compare(facts.site, record, facts.checks, facts.state.discarded)
    ]
    rounds = sum(len(r.summaries) for r in facts.records)
    if not found:
        return draft(
            f"Yes: {count(rounds, 'round')} of {count(len(facts.records), 'run')}, update by "
            "update, by the digests that both keep."
        )
    draft.evidence += found
    draft.flag(
        Outcome.FINDING,
        "Show the differences to the server's operator. The attestations are signed by this site, "
        "the record is not signed: the attestations weigh more.",
    )
    return draft(f"No: {count(len(found), 'difference')}.")
