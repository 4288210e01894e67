"""What a site adds to a secure sum: its change of the model, weighted, before any mask."""

from __future__ import annotations

from collections.abc import Mapping

from core_model.protocol.messages import RoundPlan, RoundRequest
from core_model.secure_sum.fixed_point import Words
from core_model.secure_sum.roster import Roster
from core_model.secure_sum.vector import ALL, Layout
from fl_client.training import Trained


def encode_change(
    request: RoundRequest,
    trained: Trained,
    labelled: tuple[int, ...],
    summed: tuple[int, ...],
    roster: Roster,
    site_id: str,
) -> Words:
    """Return the vector of a site, clipped and weighted.

    Args:
        request: Of the round.
        trained: The model after it.
        labelled: AUs that the site trained.
        summed: Those of them whose rows it sends.
        roster: Who adds up together.
        site_id: Of this site.
    """
    plan = request.plan
    assert plan.secure is not None
    frames = trained.dataset.labelled_frames() if labelled else {}
    own = {au: frames[au] for au in labelled}
    weight = roster.member(site_id).parts
    parts = parts_of(plan, weight, own, summed, len(trained.dataset))
    layout = Layout(trained.schema, plan.action_units)
    return layout.encode(request.arrays, trained.shared, parts, plan.secure, len(roster.members))


def parts_of(
    plan: RoundPlan,
    weight: int,
    frames: Mapping[int, int],
    summed: tuple[int, ...],
    num_frames: int,
) -> dict[int, int]:
    """Return how much a site counts: for all, and for each row that it sends.

    Args:
        plan: Of the round.
        weight: The site's public weight, in parts.
        frames: Labelled frames of each AU that it trained.
        summed: AUs whose rows the site sends.
        num_frames: Of the site, for pretraining.
    """
    assert plan.secure is not None
    most = plan.secure.max_frames
    if most is None:
        return {ALL: weight, **dict.fromkeys(summed, weight)}
    if plan.purpose == "pretraining":
        return {ALL: min(num_frames, most)}
    rows = {au: min(frames[au], most) for au in summed}
    return {ALL: min(max(frames.values(), default=0), most), **rows}
