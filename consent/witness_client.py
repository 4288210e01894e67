"""How a log asks a witness for its cosignature (C2SP tlog-witness)."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

from consent.cosignature import WitnessKey, open_cosigned
from consent.errors import BadSignatureError, MalformedError, WitnessError
from consent.keys import VerifierKey
from consent.snapshot import LogSnapshot
from consent.witness import make_request

TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 65_536


def ask_witness(
    url: str, snapshot: LogSnapshot, log_keys: Sequence[VerifierKey], witness: WitnessKey
) -> tuple[str, int]:
    """Have a tree head cosigned.

    Args:
        url: The witness's prefix, without ``/add-checkpoint``.
        snapshot: The log.
        log_keys: The log's public key, or keys.
        witness: Whose cosignature is expected.

    Returns:
        The note with the cosignature, and its unix time.

    Raises:
        WitnessError: It refuses; 409 once more means that it saw a log that this one does not
            extend.
        BadSignatureError: Its answer is not its cosignature.
        OSError: It cannot be reached.
    """
    old_size = 0
    for _ in range(2):  # the first answer may tell which size it saw last
        if old_size > snapshot.size:
            raise WitnessError(409, f"it has seen {old_size} entries, this log has {snapshot.size}")
        proof = snapshot.consistency_proof(old_size)
        request = make_request(old_size, proof, snapshot.tree_head)
        status, text = _post(url, request.body())
        if status == HTTPStatus.OK:
            note = snapshot.tree_head + text
            _, times = open_cosigned(note, log_keys, [witness])
            if witness not in times:
                raise BadSignatureError(f"{witness.name} answered without its cosignature")
            return note, times[witness]
        if status != HTTPStatus.CONFLICT or not text.strip().isdecimal() or old_size:
            break
        old_size = int(text)
    raise WitnessError(status, text[:200])


def _post(url: str, body: bytes) -> tuple[int, str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MalformedError("expected the URL of a witness, http:// or https://")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", parts.path.rstrip("/") + "/add-checkpoint", body)
        answer = connection.getresponse()
        return answer.status, answer.read(MAX_ANSWER_BYTES).decode("utf-8", errors="replace")
    except http.client.HTTPException as e:
        raise OSError("the witness does not speak HTTP") from e
    finally:
        connection.close()
