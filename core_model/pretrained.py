"""Weights of others: the one place that opens a file of PyTorch's, which is a pickle in a zip.

Reads official MAE and FMAE checkpoints (encoder, encoder and decoder, AU fine-tuned), and checks
them before and after: nothing in the file can run, and what comes out has exactly the names, shapes
and finite values of our model. Heads that name people are dropped, always.
"""

from __future__ import annotations

import argparse
import hashlib
import pickletools
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from core_model.checkpoint import CheckpointManifest, Source
from core_model.config import EncoderConfig
from core_model.mae_layout import (
    Kind,
    LayoutError,
    encoder_of,
    interpolate_positions,
    kind_of,
    official_name,
    schema_for,
)
from core_model.protocol.messages import digest
from core_model.schema import Arrays, ParameterSchema, ParameterSpec, Role, SchemaError

LICENCE = "CC-BY-NC-4.0"  # of all weights that the authors of MAE and FMAE released
MAX_BYTES = 8 << 30  # a ViT-L with its optimiser takes half of it
_MAX_PICKLE_BYTES = 16 << 20  # the pickle holds names and shapes; the weights lie beside it
_IDENTITY = "ID_head"
_ALLOWED = {"collections OrderedDict", "argparse Namespace"} | {
    f"torch{module} {name}"
    for module, names in {
        "": ("FloatStorage", "HalfStorage", "DoubleStorage", "LongStorage", "IntStorage"),
        "._utils": ("_rebuild_tensor_v2", "_rebuild_parameter"),
    }.items()
    for name in names
}


class ImportRefusedError(Exception):
    """A foreign file is not what it should be. Says what was found and what to do."""


@dataclass(frozen=True)
class Imported:
    """Weights in our layout, their manifest, and what was dropped or changed on the way."""

    arrays: Arrays
    manifest: CheckpointManifest
    notes: tuple[str, ...]


def import_mae(
    path: Path,
    *,
    action_units: tuple[int, ...] = (),
    image_size: int | None = None,
    num_heads: int | None = None,
    keep_decoder: bool = False,
    licence: str = LICENCE,
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
) -> Imported:
    """Return the weights of an official MAE or FMAE checkpoint as ours.

    Args:
        path: The file.
        action_units: What the rows of the AU head mean, in order. If the file has no AU head, a
            fresh one is added for them; without, the encoder comes alone.
        image_size: Pixels a side to use from now on; positions are interpolated. None keeps it.
        num_heads: Attention heads, for widths that are of no known ViT.
        keep_decoder: Keep the decoder of a pretraining file.
        licence: Of the weights. The authors' own are CC-BY-NC-4.0.
        seed: Of a fresh AU head.
        max_bytes: Larger files are refused.

    Raises:
        ImportRefusedError: The file is hostile, damaged, or not of the official layout.
    """
    state = read_state(path, max_bytes)
    dropped = tuple(sorted(n for n in state if n.startswith(_IDENTITY)))
    state = {n: t for n, t in state.items() if n not in dropped}
    kind = kind_of(state)
    notes = [_identity_note(dropped)] if dropped else []
    if kind == "autoencoder" and not keep_decoder:
        decoder = [n for n in state if n.startswith(("decoder_", "mask_token"))]
        state = {n: t for n, t in state.items() if n not in decoder}
        dropped += tuple(decoder)
        notes.append("dropped the decoder; keep it with --with-decoder")
        kind = "encoder"
    try:
        encoder = encoder_of(state, num_heads)
        _check_head(state, kind, action_units)
        if image_size not in (None, encoder.image_size):
            state, encoder = _resized(state, encoder, int(image_size or 0))
            notes.append(f"positions interpolated to {image_size} pixels, and kept as weights")
        arrays, schema = _to_ours(state, encoder, kind, len(action_units))
    except (LayoutError, SchemaError, ValueError) as e:
        raise ImportRefusedError(f"{path}: {e}") from e
    if kind != "detector" and action_units:
        arrays, schema = _with_fresh_head(arrays, schema, len(action_units), seed)
        notes.append(f"added a fresh AU head of {len(action_units)} rows")
    if encoder.positions == "stored":
        notes.append("positions differ from MAE's fixed ones: kept as weights, never trained")
    manifest = CheckpointManifest(
        digest=digest(arrays),
        weights=schema,
        encoder=encoder,
        action_units=action_units,
        licence=licence,
        source=Source(digest=_file_digest(path), kind=kind, dropped=dropped),
    )
    return Imported(arrays, manifest, tuple(notes))


def read_state(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, Tensor]:
    """Return the named weights of a PyTorch file, in its order. Runs nothing that is in it.

    Raises:
        ImportRefusedError: The file is too large, damaged, hostile, or holds no weights.
    """
    # (1) A plain, uncompressed zip of the size it claims: memory is bounded by the file.
    _check_archive(path, max_bytes)
    # (2) PyTorch's restricted unpickler; beside tensors, only argparse.Namespace may be built.
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(  # noqa: TID251 - the only one; checked above, and weights_only
                path, map_location="cpu", weights_only=True
            )
    except Exception as e:  # whatever the unpickler throws, the file is refused
        raise ImportRefusedError(f"{path}: PyTorch cannot read it safely: {e}") from e
    # (3) Names and tensors, nothing else.
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not state:
        raise ImportRefusedError(f"{path}: expected a dict of weights or one under 'model'")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ImportRefusedError(f"{path}: expected only named weights, got {name!r:.60}")
        if tensor.dtype != torch.float32:
            raise ImportRefusedError(f"{path}: {name}: expected float32, got {tensor.dtype}")
        if tensor.numel() * 4 > tensor.untyped_storage().nbytes():
            raise ImportRefusedError(f"{path}: {name} claims more values than the file holds")
    return state


def _check_archive(path: Path, max_bytes: int) -> None:
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise ImportRefusedError(f"{path}: {size:,} bytes; at most {max_bytes:,} are read")
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [e.filename for e in entries]
            pickles = [e for e in entries if e.filename.endswith(".pkl")]
            if len(set(names)) != len(names) or len(pickles) != 1:
                raise ImportRefusedError(f"{path}: not a zip as torch.save writes it")
            if any(e.compress_type != zipfile.ZIP_STORED for e in entries):
                raise ImportRefusedError(f"{path}: compressed inside, as torch.save never does")
            if sum(e.file_size for e in entries) > size or pickles[0].file_size > _MAX_PICKLE_BYTES:
                raise ImportRefusedError(f"{path}: claims to be larger than it is")
            if rotten := archive.testzip():
                raise ImportRefusedError(f"{path}: {rotten} is damaged; get the file again")
            _check_pickle(path, archive.read(pickles[0]))
    except OSError as e:
        raise ImportRefusedError(f"{path}: cannot be read ({e.strerror or e})") from e
    except zipfile.BadZipFile as e:
        raise ImportRefusedError(
            f"{path}: truncated, or not a file of torch.save (PyTorch 1.6 and later): {e}"
        ) from e


def _check_pickle(path: Path, data: bytes) -> None:
    """Read what the pickle would call, without running it."""
    try:
        for opcode, argument, _ in pickletools.genops(data):
            wanted = str(argument) if opcode.name == "GLOBAL" else opcode.name
            is_call = opcode.name in {"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}
            if is_call and wanted not in _ALLOWED:
                raise ImportRefusedError(
                    f"{path}: asks to run {wanted.replace(' ', '.')!r}, which weights never need. "
                    "Nothing was run. If you trust who made the file, have them save the "
                    "state_dict alone"
                )
    except (ValueError, IndexError, UnicodeDecodeError) as e:
        raise ImportRefusedError(f"{path}: damaged inside: {e}") from e


def _check_head(state: dict[str, Tensor], kind: Kind, action_units: tuple[int, ...]) -> None:
    if kind != "detector":
        return
    rows = state["head.weight"].shape[0] if state["head.weight"].ndim else 0
    if rows != len(action_units):
        raise LayoutError(
            f"the AU head has {rows} rows; say what they mean, in order, with --aus "
            f"(got {len(action_units)}; bp4d names 12, disfa 8)"
        )


def _resized(
    state: dict[str, Tensor], encoder: EncoderConfig, image_size: int
) -> tuple[dict[str, Tensor], EncoderConfig]:
    """Return the weights for another image size."""
    if image_size % encoder.patch_size:
        raise LayoutError(f"--image-size: expected a multiple of {encoder.patch_size}")
    side = image_size // encoder.patch_size
    tables = {
        name: interpolate_positions(state[name], side)
        for name in ("pos_embed", "decoder_pos_embed")
        if name in state
    }
    update = {"image_size": image_size, "positions": "stored"}
    return state | tables, EncoderConfig.model_validate(encoder.model_dump() | update)


def _to_ours(
    state: dict[str, Tensor], encoder: EncoderConfig, kind: Kind, num_aus: int
) -> tuple[Arrays, ParameterSchema]:
    """Return our weights; every weight of the file is used exactly once."""
    schema = schema_for(encoder, kind, num_aus if kind == "detector" else 0, state)
    names = {official_name(p.name, encoder, kind): p for p in schema.parameters}
    fixed = {"pos_embed", "decoder_pos_embed"} if encoder.positions == "fixed" else set()
    missing, extra = names.keys() - state.keys(), state.keys() - names.keys() - fixed
    if missing or extra:
        raise LayoutError(
            f"not the official layout: missing {sorted(missing)[:3]}, unknown {sorted(extra)[:3]}"
        )
    arrays: Arrays = {}
    for name, spec in names.items():
        tensor = state[name]
        tensor = tensor[0] if name in {"pos_embed", "decoder_pos_embed"} else tensor
        if tuple(tensor.shape) != spec.shape:
            raise LayoutError(f"{name}: expected shape {spec.shape}, got {tuple(tensor.shape)}")
        arrays[spec.name] = tensor.contiguous().numpy().copy()
    schema.check(arrays)  # finite values
    return arrays, schema


def _with_fresh_head(
    arrays: Arrays, schema: ParameterSchema, num_aus: int, seed: int
) -> tuple[Arrays, ParameterSchema]:
    """Add an AU head as the paper starts one: N(0, 2e-5), no bias."""
    dim = arrays["encoder.norm.weight"].shape[0]
    weight = torch.empty(num_aus, dim)
    torch.nn.init.trunc_normal_(weight, std=2e-5, generator=torch.Generator().manual_seed(seed))
    head: Arrays = {"au_head.weight": weight.numpy(), "au_head.bias": torch.zeros(num_aus).numpy()}
    specs = [ParameterSpec(name=n, shape=a.shape, role=Role.AU_HEAD) for n, a in head.items()]
    return arrays | head, ParameterSchema(parameters=(*schema.parameters, *specs))


def _identity_note(dropped: tuple[str, ...]) -> str:
    return (
        f"dropped {', '.join(dropped)}: its rows are templates of the people trained on, so it "
        "could recognise them"
    )


def _file_digest(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
