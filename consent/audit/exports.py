"""Papers that the law asks for, filled from the log: records of processing, DPIA, subject access.

What only a person can judge stays a visible open box. Nothing here says that a risk is acceptable.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from consent.audit.facts import Facts, count, listed, minute
from consent.audit.lineage import Answered, lineage_of, was_used
from consent.audit.report import Table, render, tool_name
from consent.epsilon import GaussianNoise
from consent.model import NoticeTerms, Party, Purpose
from consent.standing import NoticeState
from consent.subject_events import ConsentGiven, ConsentWithdrawn

OPEN = "TO BE FILLED IN"
ROPA = (
    ("30(1)(a)", "Controllers, representative, data-protection officer"),
    ("30(1)(a)", "Joint controllers"),
    ("30(1)(b)", "Purpose"),
    ("30(1)(c)", "Categories of people"),
    ("30(1)(c)", "Categories of personal data"),
    ("30(1)(d)", "Recipients"),
    ("30(1)(e)", "Transfers to third countries"),
    ("30(1)(f)", "Time limits for erasure"),
    ("30(1)(g)", "Security measures"),
    ("", "Legal basis"),
    ("", "DPIA"),
    ("", "People today"),
    ("", "Rounds so far"),
)
MEASURES = (
    "recordings and identity weights stay at the site; shared weights leave signed",
    "consent log: Merkle tree, signed tree heads, witnesses if configured",
    "openings encrypted per person (AES-256-GCM); erasure destroys the key",
    "separate keys for log, data-protection officer, registrar and operator",
)


def records_of_processing(facts: Facts) -> str:
    """Return the record of processing activities (GDPR Art. 30) as CSV, one row a purpose."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([f"{name} (Art. {art})" if art else name for art, name in ROPA])
    for purpose in Purpose:
        people = [s for s in facts.people() if purpose in facts.state.subjects[s].answers]
        if people:
            writer.writerow([_plain(cell) for cell in _ropa_row(facts, purpose, people)])
    return out.getvalue()


def _ropa_row(facts: Facts, purpose: Purpose, people: Sequence[str]) -> list[str]:
    terms = _terms(facts, purpose)
    parties = [p for t in terms for p in t.controllers]
    relations = Counter(
        r.event.relation.value for s in people if (r := facts.state.subjects[s].registered)
    )
    dpia = [e for e in facts.state.evidence.values() if e.event.kind == "dpia"]
    joint = sorted({p.name for p in parties} - {facts.site})
    return [
        "; ".join(_unique(_party(p) for p in parties)) or OPEN,
        "; ".join(joint) or f"{OPEN}: other sites and the server's operator",
        purpose.value.replace("_", " "),
        listed(relations),
        "; ".join(_unique(d for t in terms for d in t.data_types)) or "pd:Picture; pd:FacialPrint",
        "; ".join(_unique(_party(p) for t in terms for p in t.recipients))
        or "the federation's server: weights, no recordings",
        "; ".join(_unique(c for t in terms for c in t.storage_locations)) or OPEN,
        "; ".join(_unique(t.retention for t in terms)) or OPEN,
        "; ".join(MEASURES),
        "consent (GDPR 6(1)(a), 9(2)(a))",
        "; ".join(e.event.sha256 for e in dpia) or OPEN,
        str(sum(facts.standing(s, purpose).status == "allowed" for s in people)),
        str(sum(c.item.event.purpose is purpose for c in facts.checks)),
    ]


def impact_assessment(facts: Facts) -> str:
    """Return the skeleton of a DPIA (GDPR Art. 35(7)) as one HTML page."""
    purposes = [p for p in Purpose if any(facts.allowed(p))]
    noise = [
        c.attestation.privacy
        for c in facts.checks
        if c.attestation and isinstance(c.attestation.privacy, GaussianNoise)
    ]
    relations = Counter(
        r.event.relation.value for s in facts.people() if (r := facts.state.subjects[s].registered)
    )
    known = {
        "Site": facts.site,
        "Territory": (facts.state.site.event.territory if facts.state.site else None) or OPEN,
        "Purposes in use": ", ".join(p.value.replace("_", " ") for p in purposes) or "none",
        "People": f"{count(sum(relations.values()), 'person', 'people')}: {listed(relations)}",
        "Minors": str(sum(facts.state.subjects[s].is_minor(facts.at) for s in facts.people())),
        "Recordings": str(sum(not a.ended for a in facts.state.assets.values())),
        "Rounds signed": str(len(facts.checks)),
        "Models published": str(len(facts.state.models)),
        "Rules in force": facts.state.policies[-1].event.sha256 if facts.state.policies else "none",
        "Differential privacy": (
            f"epsilon {noise[-1].epsilon_total}, delta {noise[-1].delta}, unit {noise[-1].unit}"
            if noise
            else "none: no noise is added"
        ),
    }
    withdrawals = sum(
        isinstance(item.event, ConsentWithdrawn)
        for person in facts.state.subjects.values()
        for item in person.history
    )
    return render(
        "dpia.html",
        facts=facts,
        known=known,
        terms=_all_terms(facts, purposes),
        withdrawals=withdrawals,
        evidence=sorted(facts.state.evidence.values(), key=lambda e: e.index),
        decisions=facts.state.decisions,
        measures=MEASURES,
        tool=tool_name(),
    )


def subject_access(facts: Facts, subject_id: str) -> dict[str, Any]:
    """Return everything about one person (GDPR Art. 15), as JSON without floats."""
    person = facts.state.find(subject_id)
    if person.erased:
        return {
            "subject_id": subject_id,
            "erased": {"entry": person.erased.index, "at": minute(person.erased.time)},
        }
    notices = {}
    for item in person.history:
        if isinstance(item.event, ConsentGiven):
            ref = item.event.notice
            found = facts.state.notices.get(ref.notice_id, NoticeState()).find(ref)
            notices[ref.sha256] = found.event.text if found else "not published in this log"
    return {
        "subject_id": subject_id,
        "at": minute(facts.at),
        "standing": {p.value: facts.standing(subject_id, p).why for p in Purpose},
        "history": [
            {"entry": i.index, "at": minute(i.time), **i.event.model_dump(mode="json")}
            for i in person.history
        ],
        "notices": notices,
        "recordings": [
            {
                "sha256": asset,
                "licence": state.linked.event.licence,
                "source": state.linked.event.source,
                "keep_until": state.linked.event.model_dump(mode="json")["keep_until"],
                "is_there": state.ended is None,
            }
            for asset, state in facts.state.assets.items()
            if any(subject_id in span.subjects for span in state.linked.event.spans)
        ],
        "rounds": [
            {"round": c.name, "purpose": c.item.event.purpose, "at": minute(c.item.time)}
            for c in facts.checks
            if subject_id in c.subjects
        ],
        "models": {
            model: _model(was_used(lineage_of(facts.state, model), facts.checks, subject_id))
            for model in facts.state.models
        },
        "automated_decisions": "none about this person are made by training; what a model is used "
        "for later is not in this log",
    }


def subject_access_page(facts: Facts, subject_id: str) -> str:
    """Return the same as one HTML page for the person."""
    data = subject_access(facts, subject_id)
    rows = tuple(
        (
            line["at"],
            line["type"].replace(".", " "),
            ", ".join(_purposes(line)).replace("_", " "),
            str(line["entry"]),
        )
        for line in data.get("history", ())
    )
    return render(
        "sar.html",
        facts=facts,
        data=data,
        history=Table(columns=("When", "What happened", "Purposes", "Entry"), rows=rows),
        terms=_all_terms(facts, Purpose),
        tool=tool_name(),
    )


def _purposes(line: dict[str, Any]) -> list[str]:
    grants = [g["purpose"] for g in line.get("grants", ())]
    return grants or list(line.get("purposes", ()))


def _model(answered: Answered) -> dict[str, str]:
    return {"answer": answered.used.value, "why": answered.why}


def _terms(facts: Facts, purpose: Purpose) -> list[NoticeTerms]:
    """Return what the latest notices promise about a purpose."""
    found = []
    for notice in facts.state.notices.values():
        for published in notice.versions.get(notice.latest, {}).values():
            terms = published.event.terms
            if purpose in published.event.purposes and terms is not None and terms not in found:
                found.append(terms)
    return found


def _all_terms(facts: Facts, purposes: Iterable[Purpose]) -> list[NoticeTerms]:
    found: list[NoticeTerms] = []
    for purpose in purposes:
        found += [terms for terms in _terms(facts, purpose) if terms not in found]
    return found


def _party(party: Party) -> str:
    return f"{party.name}, {party.address}, {party.contact}"


def _unique(values: Any) -> list[str]:
    return list(dict.fromkeys(values))


def _plain(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell
