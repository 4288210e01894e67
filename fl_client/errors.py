"""Errors of a site.

* SiteError
  * LocalStateError       weights kept at the site cannot be read
  * CropCacheError        face crops cannot be read or written
  * DiaryError            the worker's diary cannot be read
  * NodeError             the SuperNode cannot be started, or what was joined is not right
  * WorkerError           the worker cannot be started
  * RoundRefusedError     the site gives no update; only its ``code`` leaves the site
"""

from __future__ import annotations

from core_model.protocol.messages import RefusalCode


class SiteError(Exception):
    """Base of all errors of a site."""


class LocalStateError(SiteError):
    """Weights kept at the site cannot be read."""


class CropCacheError(SiteError):
    """Face crops cannot be read or written."""


class DiaryError(SiteError):
    """The worker's diary cannot be read."""


class NodeError(SiteError):
    """The SuperNode cannot be started, or what was joined is not right."""


class WorkerError(SiteError):
    """The worker cannot be started."""


class RoundRefusedError(SiteError):
    """The site gives no update this round."""

    def __init__(self, code: RefusalCode, detail: str) -> None:
        super().__init__(f"{code.name}: {detail}")
        self.code = code
