"""The 21 questions that a data-protection officer asks, and what answers each."""

from __future__ import annotations

from collections.abc import Callable

from consent.audit import about_data, about_log, about_people, about_rounds
from consent.audit.facts import Draft, Facts
from consent.audit.report import Answer, Report, tool_name

Ask = Callable[[Facts, Draft], Answer]
LOG, PEOPLE, ROUNDS, DATA = "The log", "People", "Rounds and models", "Recordings and rules"
QUESTIONS: tuple[tuple[int, str, str, Ask], ...] = (
    (1, LOG, "Is the log whole, since when, and who saw it?", about_log.intact),
    (13, LOG, "Which keys signed, and is any in doubt?", about_log.keys),
    (14, LOG, "Did a clock run backwards?", about_log.clock),
    (20, LOG, "What changed since the last audit?", about_log.since_last_audit),
    (21, LOG, "Do the server and this site tell the same story?", about_log.same_story),
    (2, PEOPLE, "Which consents are valid today?", about_people.valid_today),
    (3, PEOPLE, "What ends within 30, 60 and 90 days?", about_people.ends_soon),
    (
        4,
        PEOPLE,
        "Who withdrew, and from which round on were they left out?",
        about_people.withdrawn,
    ),
    (5, PEOPLE, "Can everything about one person be shown?", about_people.one_person),
    (8, PEOPLE, "Which text exactly did people see?", about_people.texts),
    (12, PEOPLE, "Are there minors, and who agreed for them?", about_people.minors),
    (18, PEOPLE, "Were erasures done, and is anything else unreadable?", about_people.erasures),
    (6, ROUNDS, "Whose data was in which round?", about_rounds.in_models),
    (7, ROUNDS, "Which models hold people who have left since?", about_rounds.descendants),
    (9, ROUNDS, "Whose data was used before and may not be used now?", about_rounds.used_before),
    (16, ROUNDS, "Do publication, sales and sharing keep to what was agreed?", about_rounds.limits),
    (19, ROUNDS, "How much privacy was spent?", about_rounds.privacy),
    (10, DATA, "Is there a face that nobody has named?", about_data.faces),
    (11, DATA, "Under which licences, and from where, are the recordings?", about_data.licences),
    (
        15,
        DATA,
        "What did the rules deny or send to review, and who approved?",
        about_data.decisions,
    ),
    (17, DATA, "Is a recording kept longer than promised?", about_data.retention),
)


def answer_all(facts: Facts) -> Report:
    """Answer every question."""
    return Report(
        site=facts.site,
        at=facts.at,
        tool=tool_name(),
        log=facts.log,
        answers=tuple(ask(facts, Draft(n, group, text)) for n, group, text, ask in QUESTIONS),
    )
