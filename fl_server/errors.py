"""Errors of the server.

* ServerError
  * UpdateRefusedError       an update failed a check and is left out; has a ``code``
"""

from __future__ import annotations

from core_model.protocol.messages import RefusalCode


class ServerError(Exception):
    """Base of all server errors."""


class UpdateRefusedError(ServerError):
    """An update failed a check and is left out. Never ends the round."""

    def __init__(self, code: RefusalCode, detail: str) -> None:
        super().__init__(f"{code.name}: {detail}")
        self.code = code
