"""Why updates are left out, in words for the operator."""

from __future__ import annotations

EXPLAINED = {
    "PLAN_NOT_ALLOWED": "the site's own caps do not allow this plan",
    "NO_CONSENTED_DATA": "nobody at the site agrees to this purpose",
    "TOO_FEW_SUBJECTS": "fewer people than asked for",
    "CONSENT_CHANGED": "consent was withdrawn or expired while training",
    "REQUEST_DAMAGED": "the weights that arrived are not those of the plan",
    "NOT_MY_ATTESTATION": "the server names an attestation that the site never signed",
    "SITE_BUSY": "another round is running at the site",
    "NOT_NOW": "outside the site's hours, or beyond its time or traffic of the day",
    "SITE_FAULT": "see the site's own log",
    "NOT_ENROLLED": "not the site that was asked",
    "WRONG_WEIGHTS": "not exactly the shared weights, or not finite",
    "BAD_SIGNATURE": "not signed by the enrolled keys",
    "WRONG_ROUND": "made for another run, round, purpose or model",
    "WRONG_UPDATE": "signed for other bytes",
    "LOG_NOT_GROWN": "the consent log was rewritten or cut",
    "WRONG_LABELS": "AUs or counts that were not agreed",
    "ANSWERED_TWICE": "a second answer in one round",
    "BROKEN_CHAIN": "the attestation does not follow the one admitted before",
    "WRONG_RULES": "rules or software are not those that [demands] names",
    "WRONG_EPSILON": "less noise than stated, or beyond the budget",
    "SUSPENDED": "the operator suspended this site: omote-server suspend --lift",
    "TOO_LARGE": "changed the model further than max_update_norm",
    "REPLAYED": "the same weights as in an earlier round",
    "NO_ANSWER": "no answer in time",
}
