"""Is a plan within what this site allows? The server proposes, the site disposes."""

from __future__ import annotations

import math
import re

from core_model.config import FinetuneConfig, PretrainConfig
from core_model.protocol.messages import RefusalCode, RoundPlan, RoundRequest, Weighting, digest
from fl_client.config import Caps, SiteConfig
from fl_client.errors import RoundRefusedError
from fl_client.frozen_head import frozen_head_of

# The server chooses the run's name and the site makes a folder of it: no separators, no "..".
RUN_ID = re.compile("[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")

# Of a privacy plan: beyond these it is a mistake, or meant to fill memory or use up budgets.
MIN_DELTA = 1e-9  # accounts are kept for the smallest delta ever asked for
MIN_NOISE, MAX_NOISE = 0.01, 1e6  # times the clip norm
MAX_ROWS = 4096  # frames and augmented views of one person in a step
MAX_SLOTS = 10_000  # of an identity head


def check_request(request: RoundRequest, config: SiteConfig, *, is_secret: bool = False) -> None:
    """Check a request against the site's own caps, before anything is read or built for it.

    Args:
        request: What came.
        config: Of the site.
        is_secret: Whether the update will leave in a secure sum.

    Raises:
        RoundRefusedError: It asks for more than the site allows, or the weights are other ones.
    """
    check_plan(request.plan, config, is_secret=is_secret)
    if digest(request.arrays) != request.plan.model_in:
        raise RoundRefusedError(RefusalCode.REQUEST_DAMAGED, "weights are not those of the plan")


def check_plan(plan: RoundPlan, config: SiteConfig, *, is_secret: bool) -> None:
    """Check what can be checked of a plan alone.

    Raises:
        RoundRefusedError: PLAN_NOT_ALLOWED.
    """
    caps = config.caps
    shares_decoder = isinstance(plan.training, PretrainConfig) and plan.training.share_decoder
    refusals = {
        "run_id as a name": RUN_ID.fullmatch(plan.run_id) is None,
        f"purpose {plan.purpose}": plan.purpose not in caps.purposes,
        f"{most_weights(plan)} weights": most_weights(plan) > caps.max_weights,
        "epochs per round": plan.training.optimiser.epochs_per_round > caps.max_epochs_per_round,
        f"proximal {plan.proximal:g} (max_proximal)": plan.proximal > caps.max_proximal,
        "sharing the decoder": shares_decoder and not caps.may_share_decoder,
        "sending counts": plan.weighting is Weighting.FRAMES and not caps.may_send_counts,
        "an update in clear (secure_sum.only)": caps.secure_sum.only and not is_secret,
        "in clear what is to be summed in secret": (plan.secure is not None) != is_secret,
        **_about_privacy(plan, caps),
        "AUs": plan.purpose == "finetuning" and not trained_aus(plan, config),
    }
    if asked := [what for what, is_too_much in refusals.items() if is_too_much]:
        raise RoundRefusedError(RefusalCode.PLAN_NOT_ALLOWED, f"site.toml does not allow {asked}")
    frozen_head_of(plan, config)


def _about_privacy(plan: RoundPlan, caps: Caps) -> dict[str, bool]:
    """Return what a plan may not ask for, and whether it does."""
    privacy = plan.privacy
    if privacy is None:
        return {
            "training without privacy (allows_training_without_privacy)": (
                not caps.allows_training_without_privacy
            )
        }
    rows = privacy.frames_per_subject * privacy.views_per_frame
    return {
        "privacy of frames (allows_frame_privacy)": (
            privacy.unit != "subject" and not caps.allows_frame_privacy
        ),
        f"delta {privacy.delta:g} (max_delta)": not MIN_DELTA <= privacy.delta <= caps.max_delta,
        f"{privacy.steps_per_round} steps (max_steps_per_round)": (
            privacy.steps_per_round > caps.max_steps_per_round
        ),
        "so little or so much noise": not MIN_NOISE <= privacy.noise_multiplier <= MAX_NOISE,
        "so many rows of one person": rows > MAX_ROWS,
        "so many identity slots": privacy.identity_slots > MAX_SLOTS,
        "adapters of an encoder without any": (
            privacy.scope == "lora" and not plan.encoder.lora_rank
        ),
        "counts in a private round": plan.weighting is Weighting.FRAMES,
    }


def trained_aus(plan: RoundPlan, config: SiteConfig) -> tuple[int, ...]:
    """Return the AUs that this site trains in a round: asked for, and labelled by its own people.

    A site may label more than a federation asks for.
    """
    if not isinstance(plan.training, FinetuneConfig):
        return ()
    return tuple(au for au in plan.action_units if au in config.labelled_aus)


def most_weights(plan: RoundPlan) -> int:
    """Return at least as many weights as the plan's model has, decoder and position tables too.

    From the plan alone: a model that is too large must be refused before it is built. Heads with a
    row for each person are the site's own and not counted.
    """
    encoder, training = plan.encoder, plan.training
    dim, pixels = encoder.embed_dim, 3 * encoder.patch_size**2
    total = (pixels + 2 * encoder.num_patches + len(plan.action_units) + 8) * dim
    if encoder.stem == "convolution":
        total += 11 * dim**2 + 16 * dim
    total += encoder.depth * _block(dim, encoder.mlp_ratio)
    # Inputs and outputs of the four layers that have adapters.
    total += math.ceil(encoder.depth * encoder.lora_rank * (8 + 2 * encoder.mlp_ratio) * dim)
    if isinstance(training, PretrainConfig):
        wide = training.decoder_dim
        total += (dim + pixels + encoder.num_patches + 8) * wide + pixels
        total += training.decoder_depth * _block(wide, 4.0)
    return total + len(plan.action_units)


def _block(dim: int, mlp_ratio: float) -> int:
    """Return the weights of one transformer block: attention, two layers of the MLP, two norms."""
    return math.ceil((4 + 2 * mlp_ratio) * dim**2 + (9 + mlp_ratio) * dim)
