"""A consent receipt as one printable page: no scripts, nothing loaded from elsewhere.

The page is a function of the signed receipt and the language alone, so that whoever has the file
can find out whether its words were changed. The signed receipt is inside.
"""

from __future__ import annotations

import base64
import re
import tomllib
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import segno
from jinja2 import Environment, PackageLoader, StrictUndefined

from consent.dpv import STATUSES, Json
from consent.errors import MalformedError
from consent.note import parse_tree_head, split_note
from consent.receipts import Receipt

LANGUAGES = ("en", "ja")
_INSIDE = re.compile(r'<data id="omote-receipt" lang="([a-z]{2})" value="([A-Za-z0-9._-]+)">')
_STATUSES = {term: name.partition(".")[2] for name, term in STATUSES.items()}


def render_page(receipt: Receipt, language: str) -> str:
    """Return the page in one of ``LANGUAGES``.

    Raises:
        MalformedError: No such language.
    """
    texts = _texts()
    if language not in texts:
        raise MalformedError(f"receipts are printed in {', '.join(LANGUAGES)}")
    head = parse_tree_head(split_note(receipt.proof.tree_head)[0])
    records = receipt.payload["dpv:hasRecordOfActivity"]
    root = base64.b64encode(head.root).decode()
    entry = receipt.entry
    code = (
        f"omote-receipt:{receipt.identifier}?log={head.origin}&entry={entry.seq}"
        f"&size={head.size}&root={quote(root, safe='')}"
    )
    rows = [_row(record, entry.seq) for record in records]
    page: str = _template().render(
        t=texts[language],
        language=language,
        receipt=receipt,
        head=head,
        root=root,
        entry=entry,
        time=datetime.fromisoformat(rows[0]["time"]),
        issued=datetime.fromisoformat(receipt.payload["dct:created"]),
        rows=rows,
        first=records[0],
        code=segno.make(code, error="m", micro=False).svg_inline(border=3, omitsize=True),
    )
    return page


def token_of(page: str) -> tuple[str, str]:
    """Return the language of a page and the signed receipt inside it.

    Raises:
        MalformedError: There is none, or more than one.
    """
    found = _INSIDE.findall(page)
    if len(found) != 1:
        raise MalformedError("expected a page with one signed receipt inside")
    ((language, token),) = found
    return language, token


def _row(record: Json, index: int) -> dict[str, Any]:
    """What the receipt's entry says about one purpose."""
    status = next(s for s in record["dpv:hasConsentStatus"] if s["omote:entry"] == index)
    values = {d["@type"]: d.get("rdf:value") for d in status["dpv:hasDuration"]}
    until = values.get("dpv:UntilTimeDuration")
    return {
        "purpose": record["dpv:hasProcess"]["dpv:hasPurpose"]["@id"].removeprefix("omote:"),
        "status": next(_STATUSES[t] for t in status["@type"] if t in _STATUSES),
        "time": status["dpv:isIndicatedAtTime"],
        "until": None if until is None else datetime.fromisoformat(until),
        "rounds": values.get("dpv:FixedOccurrencesDuration"),
        "epsilon": status.get("omote:maxEpsilon"),
        "places": [
            p.removeprefix("loc:") for p in record["dpv:hasProcess"].get("dpv:hasLocation", [])
        ],
        "by_guardian": status["dpv:isIndicatedBy"] == "dpv:GuardianOfDataSubject",
    }


@lru_cache(maxsize=1)
def _texts() -> dict[str, dict[str, str]]:
    text = files("consent").joinpath("templates/receipt.toml").read_text("utf-8")
    return tomllib.loads(text)


@lru_cache(maxsize=1)
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("consent", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("receipt.html")
