"""Questions about rounds and models: who was in them, under what limits, and what came of it."""

from __future__ import annotations

from collections import Counter, defaultdict

from consent.audit.facts import Draft, Facts, count, listed
from consent.audit.lineage import Used, lineage_of, was_admitted, was_used
from consent.audit.report import Answer, Outcome
from consent.epsilon import GaussianNoise
from consent.model import Purpose
from consent.state import Status


def in_models(facts: Facts, draft: Draft) -> Answer:
    """Question 6."""
    broken = [c for c in facts.checks if c.faults]
    for check in broken:
        draft.evidence += [f"{check.name} (entry {check.item.index}): {f}" for f in check.faults]
    if broken:
        draft.flag(
            Outcome.FINDING,
            "These rounds are not as they were signed. Keep the files as they are, and ask the "
            "operator how each came about before anything else is trained.",
        )
    unknown = [c for c in facts.checks if not c.faults and not c.is_recomputed]
    for check in unknown:
        draft.evidence += [f"{check.name} (entry {check.item.index}): {m}" for m in check.missing]
    if unknown:
        draft.flag(
            Outcome.LOOK,
            "Keep the site's state folder: without manifests.jsonl nobody can tell who was in "
            "these rounds. The answer for them is 'cannot be determined'.",
        )
    if not facts.checks:
        return draft.nothing("This site has signed no round yet.")
    rows = [
        (
            c.name,
            c.item.event.purpose,
            len(c.subjects) if c.is_recomputed else "?",
            len(c.kept.leaves) if c.kept else "?",
            "yes" if c.is_recomputed and not c.faults else "no",
            _admitted(was_admitted(c, facts.checks)),
        )
        for c in facts.checks
    ]
    good = sum(c.is_recomputed and not c.faults for c in facts.checks)
    return draft(
        f"{good} of {count(len(facts.checks), 'signed round')} can be recomputed to the person"
        f"{f'; {len(broken)} are not as they were signed' if broken else ''}. "
        "For one person and one model: omote-consent audit who SUBJECT --model DIGEST",
        ("Round", "Purpose", "People", "Recordings", "Recomputed", "Admitted"),
        rows,
    )


def descendants(facts: Facts, draft: Draft) -> Answer:
    """Question 7."""
    rows, waiting = [], 0
    settled = {r.event.model for r in facts.state.remediations}
    for model in facts.state.models:
        lineage = lineage_of(facts.state, model)
        gone = [s for s in _gone(facts) if was_used(lineage, facts.checks, s).used is Used.YES]
        is_open = bool(gone) and model not in settled
        waiting += is_open
        said = [r.event.kind for r in facts.state.remediations if r.event.model == model]
        rows.append(
            (
                model[:16],
                count(len(lineage.rounds), "round"),
                count(len(lineage.ancestors) + len(lineage.unknown), "ancestor"),
                len(gone),
                said[-1].replace("_", " ") if said else "open" if is_open else "not needed",
            )
        )
    if not rows:
        return draft.nothing("No model was published from this site's rounds.")
    if waiting:
        draft.flag(
            Outcome.LOOK,
            "Decide what is done about each model that holds people who have left since, and "
            "record it. Only training again without them makes a model that does not hold them.",
        )
    return draft(
        f"{count(len(rows), 'model')}; {waiting} with people who left since and no decision yet.",
        ("Model", "From", "And", "Left since", "Decision"),
        rows,
    )


def used_before(facts: Facts, draft: Draft) -> Answer:
    """Question 9."""
    rounds: dict[str, list[str]] = defaultdict(list)
    for check in facts.checks:
        for subject_id in check.subjects:
            rounds[subject_id].append(check.name)
    rows: list[tuple[object, ...]] = []
    why: Counter[str] = Counter()
    for subject_id, names in rounds.items():
        purposes = {c.item.event.purpose for c in facts.checks if subject_id in c.subjects}
        for purpose in sorted(purposes):
            status = facts.standing(subject_id, purpose).status
            if status is not Status.ALLOWED:
                why[status.value] += 1
                rows.append((subject_id, purpose, status.replace("_", " "), ", ".join(names)))
    unlawful = [c for c in facts.checks if any("consent was" in f for f in c.faults)]
    if unlawful:
        draft.evidence += [f"{c.name}: {f}" for c in unlawful for f in c.faults]
        draft.flag(
            Outcome.FINDING, "In these rounds consent was missing already when they were trained."
        )
    if not rows:
        return draft("None: whoever was used may still be used.")
    draft.todo.append(
        "Use before a withdrawal stays lawful (GDPR 7(3)). Delete what is kept only for training, "
        "and decide about the models (question 7)."
    )
    return draft(
        f"{count(len(rows), 'case')} ({listed(why)}). By the log, consent was in force when each "
        "was used."
        if not unlawful
        else f"{count(len(rows), 'case')}; in {count(len(unlawful), 'round')} consent was missing.",
        ("Person", "Purpose", "Now", "Rounds"),
        rows,
    )


def limits(facts: Facts, draft: Draft) -> Answer:
    """Question 16."""
    rows, beyond = [], 0
    for model in facts.state.models:
        lineage = lineage_of(facts.state, model)
        people = {
            s
            for c in facts.checks
            if (c.item.event.run_id, c.item.event.round) in lineage.rounds
            for s in c.subjects
        }
        row: list[object] = [model[:16], len(people)]
        for purpose in (Purpose.PUBLICATION, Purpose.COMMERCIAL_USE, Purpose.ONWARD_SHARING):
            agreed = sum(facts.standing(s, purpose).status is Status.ALLOWED for s in people)
            row.append(f"{agreed} of {len(people)}")
            beyond += purpose is Purpose.PUBLICATION and agreed < len(people)
        rows.append(row)
    if not rows:
        return draft.nothing("No model was published from this site's rounds.")
    if beyond:
        draft.flag(
            Outcome.LOOK,
            "Keep these models inside the federation, or ask the people who have not agreed to "
            "publication. For commercial use and sharing, the same holds.",
        )
    return draft(
        f"{beyond} of {count(len(rows), 'model')} came from people who have not all agreed that it "
        "be published.",
        ("Model", "People", "Publication", "Commercial use", "Sharing"),
        rows,
    )


def privacy(facts: Facts, draft: Draft) -> Answer:
    """Question 19."""
    rows: list[tuple[str, ...]] = []
    bare = 0
    for check in facts.checks:
        if check.attestation is None:
            continue
        noise = check.attestation.privacy
        if isinstance(noise, GaussianNoise):
            rows.append((check.name, noise.epsilon, noise.epsilon_total, noise.delta, noise.unit))
        else:
            bare += 1
            rows.append((check.name, "no noise", "", "", ""))
    if not rows:
        return draft.nothing("This site has signed no round yet.")
    if bare:
        draft.flag(
            Outcome.LOOK,
            "Say in the DPIA that no differential privacy was used in these rounds: what a model "
            "may remember of a person is then bounded by nothing but its training.",
        )
        return draft(
            f"{bare} of {count(len(rows), 'round')} without noise: epsilon is unbounded.",
            ("Round", "Epsilon", "In total", "Delta", "Unit"),
            rows,
        )
    return draft(
        f"Epsilon {rows[-1][2]} in total by the last attestation (delta {rows[-1][3]}).",
        ("Round", "Epsilon", "In total", "Delta", "Unit"),
        rows,
    )


def _gone(facts: Facts) -> list[str]:
    """Return the people whose data was used and may not be used any more for the same purpose."""
    pairs = {(s, c.item.event.purpose) for c in facts.checks for s in c.subjects}
    return sorted({s for s, p in pairs if facts.standing(s, p).status is not Status.ALLOWED})


def _admitted(was: bool | None) -> str:
    return {True: "yes", False: "no", None: "not known"}[was]
