"""Which sites are suspended: asked at each admission, so that a suspension counts at once."""

from __future__ import annotations

import logging
from pathlib import Path

from core_model.settings_file import SettingsError
from fl_server.config import suspended_sites

_log = logging.getLogger(__name__)


class Suspensions:
    """Reads the files of the sites anew each time; while one is not right, what was read last."""

    def __init__(self, federation: Path) -> None:
        self._federation = federation
        self._last = suspended_sites(federation)

    def __call__(self) -> frozenset[str]:
        """Return the sites that are suspended now."""
        try:
            self._last = suspended_sites(self._federation)
        except SettingsError as e:
            _log.warning("suspended sites are as before, for the settings are not right: %s", e)
        return self._last
