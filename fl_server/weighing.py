"""How much a site counts in the mean: by its public weight, or by the frames that it signed."""

from __future__ import annotations

from consent.attestation import Attestation
from core_model.protocol.messages import Weighting
from fl_server.config import EnrolledSite

FRAMES_UNIT = 8192.0  # weight 1 of a site that is weighted by frames


def weights_of(
    site: EnrolledSite, attestation: Attestation, weighting: Weighting
) -> tuple[float, dict[int, float]]:
    """Return the site's weight, and its weight for each row of the AU head."""
    if weighting is Weighting.SITE:
        return site.weight, dict.fromkeys(attestation.labelled_aus, site.weight)
    assert attestation.counts is not None, "admitted"
    counts = {au: n / FRAMES_UNIT for au, n in attestation.counts.by_au().items() if n}
    rows = {au: n for au, n in counts.items() if au}
    return max(counts.values(), default=0.0), rows
