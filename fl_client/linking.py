"""Tell the consent log which recordings a site has, as its lists say: one person in each."""

from __future__ import annotations

from consent.model import Role, Span
from consent.site_events import AssetLinked
from core_model.data.recordings import Recording
from fl_client.selection import recording_digest
from fl_client.site import Site


def link_recordings(site: Site) -> int:
    """Link the recordings that the log does not know yet; return how many that were.

    The operator answers for there being one face in every frame. Recordings of several people are
    linked with ``omote-consent asset link``.

    Raises:
        ConsentError: Someone in the lists is not registered.
    """
    known = site.registry.state().assets
    digests = {recording_digest(r.frames).hex(): r for r in site.recordings if r.frame_paths()}
    events = [_linked(d, r) for d, r in digests.items() if d not in known]
    if events:
        site.registry.append(events, Role.OPERATOR)
    return len(events)


def _linked(digest: str, recording: Recording) -> AssetLinked:
    numbers = [int(path.stem) for path in recording.frame_paths()]
    span = Span(first=numbers[0], last=numbers[-1], num_faces=1, subjects=(recording.subject_id,))
    return AssetLinked(asset=digest, spans=(span,), licence=recording.licence)
