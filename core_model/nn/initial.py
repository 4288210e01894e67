"""The weights that a federation starts from."""

from __future__ import annotations

import torch

from core_model.config import EncoderConfig, FinetuneConfig, PretrainConfig
from core_model.nn.iat import IATModel
from core_model.nn.mae import MaskedAutoencoder
from core_model.nn.weights import get_arrays, schema_of
from core_model.schema import Arrays, ParameterSchema


def initial_weights(
    encoder: EncoderConfig,
    action_units: tuple[int, ...],
    seed: int,
    pretraining: PretrainConfig | None = None,
) -> tuple[Arrays, ParameterSchema]:
    """Return fresh shared weights: encoder and AU head.

    The decoder of ``pretraining`` is added if that says that it is shared.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        detector = IATModel(encoder, action_units, 1, FinetuneConfig())
        schema = schema_of(detector).shared("finetuning")
        arrays = get_arrays(detector, schema)
        if pretraining is not None and pretraining.share_decoder:
            autoencoder = MaskedAutoencoder(encoder, pretraining)
            wanted = schema_of(autoencoder).shared("pretraining", with_decoder=True)
            decoder = tuple(p for p in wanted.parameters if p.name.startswith("decoder."))
            schema = ParameterSchema(parameters=(*schema.parameters, *decoder))
            arrays |= get_arrays(autoencoder, ParameterSchema(parameters=decoder))
    return arrays, schema
