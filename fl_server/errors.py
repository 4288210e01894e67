"""Errors of the server.

* ServerError
  * UpdateRefusedError       an update failed a check and is left out; has a ``code``
  * SumLostError             a secure sum cannot be read, or is wrong; has a ``code``
  * RoundLogError            the log of rounds is not what was signed
  * StartError               the server cannot be set up, started or reached
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


class SumLostError(ServerError):
    """A secure sum cannot be read, or is wrong: the model stays as it is."""

    def __init__(self, code: RefusalCode, detail: str) -> None:
        super().__init__(f"{code.name}: {detail}")
        self.code = code


class RoundLogError(ServerError):
    """The log of rounds, or what it names, is not what was signed."""


class StartError(ServerError):
    """The server cannot be set up, started or reached. Says what to do."""
