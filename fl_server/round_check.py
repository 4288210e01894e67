"""Check a log of rounds against what the sites themselves signed, as the server kept it."""

from __future__ import annotations

from consent.keys import VerifierKey
from fl_server.config import FederationConfig
from fl_server.errors import RoundLogError
from fl_server.kept_attestations import check_kept
from fl_server.round_log import VerifiedLog


def check_attestations(config: FederationConfig, log: VerifiedLog) -> int:
    """Check every attestation that the log names for the run of ``config``; return how many.

    Raises:
        RoundLogError: One is missing, another one, or not signed by its site.
    """
    keys = {s.site_id: VerifierKey.parse(s.key) for s in config.sites}
    num = 0
    for entry in log.entries:
        if entry.run_id != config.run_id:
            continue
        for site_id, digest in entry.admitted.items():
            if site_id not in keys:
                raise RoundLogError(f"{site_id} is not enrolled, so its key is not known")
            check_kept(config.output, entry.round, site_id, digest, keys[site_id])
            num += 1
    return num
