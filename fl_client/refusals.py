"""Every code that a site can answer with: what it means here, and what to do about it."""

from __future__ import annotations

from core_model.protocol.messages import RefusalCode
from fl_client.diary import INTERRUPTED

EXPLAINED: dict[str, tuple[str, str]] = {
    RefusalCode.PLAN_NOT_ALLOWED.name: (
        "the server asked for more than [caps] in site.toml allows",
        "compare the detail with [caps]; widen them, or tell the server's operator",
    ),
    RefusalCode.NO_CONSENTED_DATA.name: (
        "nobody with recordings agrees to this purpose",
        "record consent: omote-consent give; then: omote-site check",
    ),
    RefusalCode.TOO_FEW_SUBJECTS.name: (
        "fewer people agree than the plan or min_subjects asks for",
        "ask more people: omote-consent desk",
    ),
    RefusalCode.CONSENT_CHANGED.name: (
        "someone withdrew, or consent expired, while the round ran",
        "nothing: the next round goes without them",
    ),
    RefusalCode.REQUEST_DAMAGED.name: (
        "what arrived is no request, or its weights are not those that the plan names",
        "tell the server's operator",
    ),
    RefusalCode.NOT_MY_ATTESTATION.name: (
        "the server builds on a statement that this site never signed",
        "compare: omote-consent audit diff --server run.json; tell the server's operator",
    ),
    RefusalCode.POLICY_DENIED.name: (
        "the site's rules do not allow the declared use, or none is declared",
        "omote-site check tells which rule and what is missing; declare it: docs/policy.md",
    ),
    RefusalCode.LEDGER_UNSOUND.name: (
        "the privacy ledger is damaged, or older than what was told to a server before",
        "omote-site ledger verify; bring back the newest copy, never an older one: docs/ledger.md",
    ),
    RefusalCode.BUDGET_SPENT.name: (
        "too few people have enough of their privacy budget left",
        "omote-site budget shows what is left; ask more people, or the server for a cheaper plan",
    ),
    RefusalCode.SERVER_LOG_UNSOUND.name: (
        "the server's log of rounds was cut, rewritten, or not shown",
        "the proof lies in server-log of the state folder: compare it with other sites, and ask "
        "the server's operator; docs/server.md",
    ),
    RefusalCode.SITE_BUSY.name: (
        "another round was running, or the worker was stopping",
        "nothing: the server asks again",
    ),
    RefusalCode.NOT_NOW.name: (
        "outside hours, or beyond the minutes or bytes of the day",
        "nothing, or widen hours and max_..._per_day in site.toml",
    ),
    RefusalCode.ROSTER_REFUSED.name: (
        "the server wants to add up with sites, or with so few, that site.toml does not allow",
        "compare the detail with [peers] and [caps.secure_sum]; ask those sites for their keys",
    ),
    RefusalCode.OUT_OF_TURN.name: (
        "a message of a secure sum that was not due, or came twice; also after a restart",
        "nothing: the server begins the next round; if it recurs, tell the server's operator",
    ),
    RefusalCode.WORKER_AWAY.name: (
        "the worker did not run, or ended before it answered",
        "nothing: the server asks again; start the worker if it is not running",
    ),
    RefusalCode.SITE_FAULT.name: (
        "something is wrong at this site",
        "read worker.log in the state folder; then: omote-site check",
    ),
    INTERRUPTED: (
        "the worker was killed, or lost power, in this round",
        "nothing: the server asks again, and what is on record stays true",
    ),
}
