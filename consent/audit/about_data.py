"""Questions about recordings and rules: faces, licences, time limits, and what was decided."""

from __future__ import annotations

from collections import Counter

from consent.audit.facts import Draft, Facts, count, day, minute
from consent.audit.report import Answer, Outcome


def faces(facts: Facts, draft: Draft) -> Answer:
    """Question 10."""
    assets = {a: s for a, s in facts.state.assets.items() if not s.ended}
    if not assets:
        return draft.nothing("No recording is linked to people in this log.")
    open_spans = [
        (a[:16], f"{span.first}-{span.last}", span.num_faces, len(span.subjects))
        for a, state in assets.items()
        for span in state.spans
        if not span.is_resolved
    ]
    if not open_spans:
        return draft(f"No: in {count(len(assets), 'recording')} every face is somebody's.")
    draft.flag(
        Outcome.LOOK,
        "Find out who is seen, or make a masked copy. These frames are left out until then.",
    )
    return draft(
        f"{count(len(open_spans), 'span')} with faces that nobody has named; they are never used.",
        ("Recording", "Frames", "Faces", "Named"),
        open_spans,
    )


def licences(facts: Facts, draft: Draft) -> Answer:
    """Question 11."""
    used = {leaf.asset for c in facts.checks if c.kept for leaf in c.kept.leaves}
    groups: Counter[tuple[str, str, str]] = Counter()
    bare = 0
    for asset, state in facts.state.assets.items():
        event = state.linked.event
        bare += not (event.licence and event.source)
        groups[event.licence or "not stated", event.source or "not stated",
               "yes" if asset in used else "no"] += 1  # fmt: skip
    unlinked = len(used - set(facts.state.assets))
    if unlinked:
        draft.flag(
            Outcome.LOOK,
            f"{count(unlinked, 'recording was', 'recordings were')} used without being linked in "
            "the log: link them, with licence and source.",
        )
    if not groups:
        return draft.nothing("No recording is linked, so the log tells no licence.")
    if bare:
        draft.flag(Outcome.LOOK, f"State licence and source of {count(bare, 'recording')}.")
    rows = [(*group, n) for group, n in groups.most_common()]
    return draft(
        f"{count(len(groups), 'kind')} of licence and source; {bare} recordings lack one.",
        ("Licence", "Source", "Used in a round", "Recordings"),
        rows,
    )


def decisions(facts: Facts, draft: Draft) -> Answer:
    """Question 15."""
    made = facts.state.decisions
    approved = {r.event.declaration: r for r in facts.state.reviews}
    rows, open_ = [], 0
    for item in made:
        event = item.event
        if event.verdict == "allow":
            continue
        review = approved.get(event.declaration)
        open_ += event.verdict == "review" and review is None
        rows.append(
            (
                minute(item.time),
                event.verdict,
                event.declaration[:16],
                ", ".join(event.rules),
                f"entry {review.index}" if review else "nobody",
            )
        )
    if not facts.state.policies:
        draft.flag(
            Outcome.LOOK, "Put a set of rules in force: omote-consent policy set. None is now."
        )
    if not made:
        rules = "" if facts.state.policies else " No rules are in force."
        return draft(f"No use was put to the rules.{rules}")
    if open_:
        draft.flag(Outcome.FINDING, "Let the data-protection officer answer for these, or stop.")
    return draft(
        f"{count(len(made), 'decision')}; {len(rows)} not allowed at once, {open_} waiting.",
        ("When", "Verdict", "Declared use", "Rules", "Approved at"),
        rows,
    )


def retention(facts: Facts, draft: Draft) -> Answer:
    """Question 17."""
    kept = [(a, s) for a, s in facts.state.assets.items() if not s.ended]
    if not kept:
        return draft.nothing("No recording is linked to people in this log.")
    over = [
        (a[:16], day(s.linked.event.keep_until))
        for a, s in kept
        if s.linked.event.keep_until is not None and s.linked.event.keep_until <= facts.at
    ]
    without = sum(s.linked.event.keep_until is None for _, s in kept)
    if without:
        draft.flag(Outcome.LOOK, f"Set a time limit for {count(without, 'recording')}.")
    if over:
        draft.flag(
            Outcome.FINDING, "Delete these recordings and all made from them, and record it."
        )
    return draft(
        f"{len(over)} of {count(len(kept), 'recording')} overdue, {without} without a time limit.",
        ("Recording", "Keep until"),
        over,
    )
