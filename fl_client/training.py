"""The model of a round at a site: shared weights from the server, local ones from the site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from core_model.config import FinetuneConfig, PretrainConfig
from core_model.data.frames import FrameDataset, FrameSource
from core_model.data.labels import LabelPolicy
from core_model.data.recordings import Recording
from core_model.nn.iat import IATModel
from core_model.nn.mae import MaskedAutoencoder
from core_model.nn.weights import get_arrays, schema_of, set_arrays
from core_model.protocol.messages import RoundPlan, RoundRequest
from core_model.schema import Arrays, ParameterSchema, Role
from core_model.training.finetune import finetune
from core_model.training.log import TrainingLog
from core_model.training.pretrain import pretrain
from core_model.training.proximal import Proximal
from core_model.training.seeds import derive_seed
from fl_client.local_state import LocalState


@dataclass(frozen=True)
class Trained:
    """A model after local training, split in what may leave and what may not."""

    shared: Arrays
    schema: ParameterSchema  # of ``shared``
    local: Arrays
    rows: tuple[str, ...]  # of the identity head: people, or slots
    dataset: FrameDataset
    log: TrainingLog | None  # None: losses are private data, and a private round keeps none


def train(
    request: RoundRequest,
    recordings: tuple[Recording, ...],
    labelled_aus: tuple[int, ...],
    state: LocalState,
    device: torch.device,
    seed: int,
    source: FrameSource | None = None,
) -> Trained:
    """Train for one round.

    Args:
        request: Plan and shared weights.
        recordings: Of people who agreed.
        labelled_aus: AUs whose labels teach, and whose rows of the AU head may change.
        state: The site's local weights.
        device: Where to train.
        seed: Of all chance in this round.
        source: Where the frames lie; None: folders of PNG.

    Raises:
        SchemaError: The request does not hold exactly the shared weights.
        ValueError: No frame can be used.
    """
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "fresh local weights"))
        ready = prepare(request, recordings, labelled_aus, state, source)
    log = _run(ready, request.plan, device, derive_seed(seed, "training"))
    return ready.trained(request, ready.shared, labelled_aus, log)


@dataclass(frozen=True)
class Ready:
    """A model with its weights, and the examples to train it on."""

    model: IATModel | MaskedAutoencoder
    dataset: FrameDataset
    rows: tuple[str, ...]  # of the identity head
    shared: ParameterSchema
    local: ParameterSchema

    def proximal(self, plan: RoundPlan) -> Proximal | None:
        """Return what holds the shared weights to those that came, if the plan asks for it.

        Call it before training. Local weights are held by nothing: the server has none of them.
        """
        if not plan.proximal:
            return None
        return Proximal(self.model, [p.name for p in self.shared.parameters], plan.proximal)

    def trained(
        self,
        request: RoundRequest,
        sent: ParameterSchema,
        labelled_aus: tuple[int, ...],
        log: TrainingLog | None = None,
    ) -> Trained:
        """Return what became of the weights: those of ``sent``, and the local ones."""
        arrays = get_arrays(self.model, sent)
        keep_rows(arrays, request.arrays, sent, request.plan.action_units, labelled_aus)
        local = get_arrays(self.model, self.local)
        return Trained(arrays, sent, local, self.rows, self.dataset, log)


def prepare(
    request: RoundRequest,
    recordings: tuple[Recording, ...],
    labelled_aus: tuple[int, ...],
    state: LocalState,
    source: FrameSource | None = None,
    slots: tuple[str, ...] | None = None,
    *,
    label_policy: LabelPolicy = "mask",
    in_memory: bool = True,
) -> Ready:
    """Build the model of a round, with shared weights from the request and local ones of the site.

    Args:
        request: Plan and shared weights.
        recordings: Of people who agreed.
        labelled_aus: AUs whose labels teach.
        state: The site's local weights.
        source: Where the frames lie; None: folders of PNG.
        slots: Rows of the identity head; None: one for each person.
        label_policy: What an unknown label counts as; rounds know only one.
        in_memory: Read all frames now, or each when it is asked for.

    Raises:
        SchemaError: The request does not hold exactly the shared weights.
        ValueError: No frame can be used.
    """
    plan = request.plan
    dataset = examples(plan, recordings, labelled_aus, source, label_policy, in_memory=in_memory)
    rows = dataset.subjects if slots is None else slots
    model = build_model(plan, len(rows))
    schema = schema_of(model)
    shared, local = _split(schema, plan)
    shared.check(request.arrays)
    set_arrays(model, request.arrays)
    set_arrays(model, state.load(schema, rows, get_arrays(model, local)))
    return Ready(model, dataset, rows, shared, local)


def examples(
    plan: RoundPlan,
    recordings: Sequence[Recording],
    labelled_aus: tuple[int, ...],
    source: FrameSource | None,
    label_policy: LabelPolicy = "mask",
    *,
    in_memory: bool = True,
) -> FrameDataset:
    """Return the examples of recordings, as ``prepare`` takes them.

    Raises:
        ValueError: There is none.
    """
    aus = plan.action_units if plan.purpose == "finetuning" else ()
    size = plan.encoder.image_size
    dataset = FrameDataset(recordings, size, aus, label_policy, source, in_memory=in_memory)
    # Labels that the operator did not name teach nothing: the attestation lists all that do.
    dataset.known[:, [column for column, au in enumerate(aus) if au not in labelled_aus]] = 0
    return dataset


def state_name(plan: RoundPlan) -> str:
    """Return the name of the local weights. Those of private rounds never meet other ones."""
    return plan.purpose if plan.privacy is None else f"private-{plan.purpose}"


def keep_rows(
    arrays: Arrays,
    received: Arrays,
    schema: ParameterSchema,
    action_units: tuple[int, ...],
    labelled_aus: tuple[int, ...],
) -> None:
    """Put back, in place, the rows of the AU head for AUs that this site does not label."""
    foreign = [row for row, au in enumerate(action_units) if au not in labelled_aus]
    for spec in schema.parameters:
        if spec.role is Role.AU_HEAD:
            arrays[spec.name][foreign] = received[spec.name][foreign]


def build_model(plan: RoundPlan, num_identities: int) -> IATModel | MaskedAutoencoder:
    """Return fresh weights in the shape of the plan, from torch's global random state."""
    if isinstance(plan.training, FinetuneConfig):
        return IATModel(plan.encoder, plan.action_units, num_identities, plan.training)
    return MaskedAutoencoder(plan.encoder, plan.training)


def _split(schema: ParameterSchema, plan: RoundPlan) -> tuple[ParameterSchema, ParameterSchema]:
    """Return the weights that may leave, and the rest."""
    with_decoder = isinstance(plan.training, PretrainConfig) and plan.training.share_decoder
    shared = schema.shared(plan.purpose, with_decoder=with_decoder)
    rest = tuple(p for p in schema.parameters if p not in shared.parameters)
    return shared, ParameterSchema(parameters=rest)


def _run(ready: Ready, plan: RoundPlan, device: torch.device, seed: int) -> TrainingLog:
    model, dataset, proximal = ready.model, ready.dataset, ready.proximal(plan)
    if isinstance(model, IATModel):
        assert isinstance(plan.training, FinetuneConfig)
        return finetune(
            model, dataset, plan.training,
            device=device, seed=seed, span=plan.span, proximal=proximal,
        )  # fmt: skip
    assert isinstance(model, MaskedAutoencoder)
    assert isinstance(plan.training, PretrainConfig)
    return pretrain(
        model, dataset, plan.training, device=device, seed=seed, span=plan.span, proximal=proximal
    )
