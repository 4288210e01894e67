"""Errors of a site.

* SiteError
  * LocalStateError       weights kept at the site cannot be read
  * CropCacheError        face crops cannot be read or written
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


class RoundRefusedError(SiteError):
    """The site gives no update this round."""

    def __init__(self, code: RefusalCode, detail: str) -> None:
        super().__init__(f"{code.name}: {detail}")
        self.code = code
