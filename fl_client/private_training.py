"""The model of a private round. Only weights that the plan trains come out of it."""

from __future__ import annotations

import torch

from core_model.config import FinetuneConfig, PretrainConfig
from core_model.data.frames import FrameSource
from core_model.data.recordings import Recording
from core_model.frozen_head import BIAS
from core_model.nn.iat import IATModel
from core_model.nn.mae import MaskedAutoencoder
from core_model.nn.weights import set_arrays
from core_model.privacy.chance import Chance
from core_model.privacy.mechanism import Charge
from core_model.privacy.plan import PrivacyPlan
from core_model.privacy.sent import sent_back
from core_model.protocol.messages import RoundRequest
from core_model.schema import Arrays
from core_model.training.private import finetune_privately, pretrain_privately
from fl_client.local_state import LocalState
from fl_client.training import Trained, prepare


def train_privately(
    request: RoundRequest,
    recordings: tuple[Recording, ...],
    labelled_aus: tuple[int, ...],
    state: LocalState,
    device: torch.device,
    chance: Chance,
    charge: Charge,
    source: FrameSource | None = None,
    frozen: Arrays | None = None,
) -> Trained:
    """Train for one round under the request's privacy plan.

    There is no log: losses are private data. Rows of an identity head inside the mechanism are
    slots and not people.

    Args:
        request: Plan and shared weights.
        recordings: Of people who agreed and can afford it.
        labelled_aus: AUs whose labels teach, and whose rows of the AU head may change.
        state: The site's local weights of private rounds.
        device: Where to train.
        chance: Of everything.
        charge: Writes steps down before they are taken.
        source: Where the frames lie; None: folders of PNG.
        frozen: The identity head of public people that the plan names; None: it names none.

    Raises:
        SchemaError: The request does not hold exactly the shared weights.
        ValueError: No frame can be used, or plan and training do not fit together.
    """
    plan = request.plan
    assert plan.privacy is not None
    with torch.random.fork_rng():
        torch.manual_seed(chance.generator().initial_seed())  # of fresh local weights
        slots = slots_of(plan.privacy, frozen)
        ready = prepare(request, recordings, labelled_aus, state, source, slots)
    if frozen is not None:
        set_arrays(ready.model, frozen)
    model, dataset, privacy, span = ready.model, ready.dataset, plan.privacy, plan.span
    proximal = ready.proximal(plan)
    if isinstance(model, IATModel):
        assert isinstance(plan.training, FinetuneConfig)
        finetune_privately(
            model, dataset, plan.training, privacy,
            device=device, chance=chance, charge=charge, span=span, proximal=proximal,
        )  # fmt: skip
    else:
        assert isinstance(model, MaskedAutoencoder)
        assert isinstance(plan.training, PretrainConfig)
        pretrain_privately(
            model, dataset, plan.training, privacy,
            device=device, chance=chance, charge=charge, span=span, proximal=proximal,
        )  # fmt: skip
    return ready.trained(request, sent_back(ready.shared, privacy), labelled_aus)


def slots_of(plan: PrivacyPlan, frozen: Arrays | None = None) -> tuple[str, ...]:
    """Return the names of the identity head's rows: a public number of slots, or one to ignore."""
    if frozen is not None:
        return tuple(f"public-{n}" for n in range(len(frozen[BIAS])))
    num = plan.identity_slots if plan.identity_head == "inside" else 1
    return tuple(f"slot-{n}" for n in range(num))
