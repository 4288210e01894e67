"""How fast a site trains, beside plain loops over timm models of the same shape in the same run.

Fine-tuning: a timm ViT with two linear heads, BCE on both, AdamW, nothing else. Pretraining: MAE's
published arithmetic as a bare encoder and decoder of timm blocks. Steps take turns, and the
shortest of each counts; on a CPU, by processor time of one thread. Other work on the machine hits
both alike. Ours also does what training needs: loading by number, a seed for each step, schedule,
layer-wise rates, gradient reversal.

    python benchmarks/bench_train.py [--quick] [--sizes tiny,small,base] [--batch 8] [--device cuda]

With ``--ways`` the plain loop also runs compiled (torch.compile; needs a C++ compiler) and with
images that hold their channels last: what ours could gain by either.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator

import numpy as np
import timm
import torch
from timm.models.vision_transformer import Block, PatchEmbed
from torch import Tensor, nn
from torch.nn import functional as F

from core_model.config import FinetuneConfig, PretrainConfig, encoder_config
from core_model.data.augment import MEAN, STD
from core_model.data.frames import Batch
from core_model.nn.encoder import sincos_positions
from core_model.nn.iat import IATModel
from core_model.nn.mae import MaskedAutoencoder
from core_model.training.finetune import Finetuning
from core_model.training.long_run import Length, Stepper, run_steps
from core_model.training.manner import Manner, has_bfloat16
from core_model.training.pretrain import Pretraining

AUS, PEOPLE = 12, 41
AIM = 0.95
WAYS = ("compiled", "channels last")


class Faces:
    """Bytes in memory, as a dataset holds them."""

    def __init__(self, count: int, side: int) -> None:
        chance = torch.Generator().manual_seed(0)
        self.images = torch.randint(
            0, 256, (count, 3, side, side), dtype=torch.uint8, generator=chance
        )
        self.aus = (torch.rand(count, AUS, generator=chance) < 0.3).float()
        self.known = torch.ones(count, AUS)
        self.identities = torch.randint(0, PEOPLE, (count,), generator=chance)

    def __len__(self) -> int:
        return len(self.images)

    def as_bytes(self, indices: Tensor) -> Batch:
        """Return examples."""
        return Batch(
            self.images[indices], self.aus[indices], self.known[indices], self.identities[indices]
        )


class BareMae(nn.Module):
    """MAE (He et al.), section 3 and appendix A: encoder on a quarter of the patches, 8 x 512."""

    def __init__(self, dim: int, depth: int, heads: int, side: int) -> None:
        super().__init__()
        self.embed = PatchEmbed(side, 16, 3, dim)
        count = self.embed.num_patches
        self.kept = count // 4
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads, 4, qkv_bias=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.narrow = nn.Linear(dim, 512)
        self.mask = nn.Parameter(torch.zeros(1, 1, 512))
        self.decoder = nn.Sequential(*(Block(512, 16, 4, qkv_bias=True) for _ in range(8)))
        self.decoder_norm = nn.LayerNorm(512)
        self.predict = nn.Linear(512, 16 * 16 * 3)
        grid = side // 16
        self.register_buffer("places", sincos_positions(grid, dim)[None])
        self.register_buffer("decoder_places", sincos_positions(grid, 512)[None])

    def forward(self, images: Tensor) -> Tensor:
        """Return the loss of standardised images."""
        x = self.embed(images) + self.places
        n, length, dim = x.shape
        order = torch.rand(n, length, device=x.device).argsort(dim=1)
        back = order.argsort(dim=1)
        x = x.gather(1, order[:, : self.kept, None].expand(-1, -1, dim))
        x = self.norm(self.blocks(torch.cat([self.cls.expand(n, -1, -1), x], dim=1)))
        x = self.narrow(x)
        full = torch.cat([x[:, 1:], self.mask.expand(n, length - self.kept, -1)], dim=1)
        full = full.gather(1, back[..., None].expand(-1, -1, 512)) + self.decoder_places
        drawn = self.decoder(torch.cat([x[:, :1], full], dim=1))
        drawn = self.predict(self.decoder_norm(drawn))[:, 1:]
        side = images.shape[-1] // 16
        target = images.reshape(n, 3, side, 16, side, 16).permute(0, 2, 4, 3, 5, 1)
        target = target.reshape(n, length, -1)
        mean, var = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)
        target = (target - mean) / (var + 1e-6).sqrt()
        hidden = torch.ones(n, length, device=x.device)
        hidden[:, : self.kept] = 0
        hidden = hidden.gather(1, back)
        return ((drawn - target).square().mean(-1) * hidden).sum() / hidden.sum()


def plain_steps(
    loss_of: Callable[[Batch], Tensor], model: nn.Module, faces: Faces, batch: int
) -> Iterator[None]:
    """Take steps as anyone would write them."""
    vectors = [p for p in model.parameters() if p.ndim < 2]
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
        lr=1e-4,
    )
    model.train()
    while True:
        for indices in torch.randperm(len(faces)).split(batch):
            loss = loss_of(faces.as_bytes(indices))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            yield


def standardised(images: Tensor, device: torch.device) -> Tensor:
    mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=device).view(1, 3, 1, 1)
    return (images.to(device).float() / 255 - mean) / std


def shaped(body: nn.Module, way: str) -> nn.Module:
    """Return a model in another way of computing the same."""
    if way == "channels last":
        return body.to(memory_format=torch.channels_last)
    return torch.compile(body) if way == "compiled" else body


def in_order(images: Tensor, way: str) -> Tensor:
    return (
        images.contiguous(memory_format=torch.channels_last) if way == "channels last" else images
    )


def bare_finetuning(
    size: str, side: int, faces: Faces, batch: int, device, way: str = "bare"
) -> Iterator[None]:
    shape = encoder_config(size, side)
    body = timm.models.vision_transformer.VisionTransformer(
        img_size=side, patch_size=16, embed_dim=shape.embed_dim, depth=shape.depth,
        num_heads=shape.num_heads, num_classes=0, global_pool="avg", drop_path_rate=0.1,
    )  # fmt: skip
    heads = nn.ModuleList([nn.Linear(shape.embed_dim, k) for k in (AUS, PEOPLE)])
    model = nn.ModuleList([body, heads]).to(device)
    run = shaped(body, way)

    def loss_of(b: Batch) -> Tensor:
        features = run(in_order(standardised(b.images, device), way))
        people = F.one_hot(b.identities, PEOPLE).float().to(device)
        au = F.binary_cross_entropy_with_logits(heads[0](features), b.aus.to(device))
        return au + F.binary_cross_entropy_with_logits(heads[1](features), people)

    return plain_steps(loss_of, model, faces, batch)


def bare_pretraining(
    size: str, side: int, faces: Faces, batch: int, device, way: str = "bare"
) -> Iterator[None]:
    shape = encoder_config(size, side)
    model = BareMae(shape.embed_dim, shape.depth, shape.num_heads, side).to(device)
    run = shaped(model, way)
    return plain_steps(
        lambda b: run(in_order(standardised(b.images, device), way)), model, faces, batch
    )


def our_stepper(kind: str, size: str, side: int, device, manner: Manner) -> Stepper:
    encoder = encoder_config(size, side)
    if kind == "fine-tuning":
        config = FinetuneConfig(augment=False)
        return Finetuning(IATModel(encoder, (1,) * AUS, PEOPLE, config), config, device, manner)
    pretraining = PretrainConfig()
    return Pretraining(MaskedAutoencoder(encoder, pretraining), pretraining, device, manner)


def our_steps(stepper: Stepper, faces: Faces, batch: int) -> Iterator[None]:
    length = Length(len(faces), batch, epochs=100, seed=0)
    threads = 2 if stepper.device.type == "cuda" else 0  # one processor: nothing to overlap
    for _ in run_steps(stepper, faces, length, threads=threads):
        yield


def race(runners: dict[str, Iterator[None]], turns: int, device) -> dict[str, float]:
    """Let all take turns; return the shortest step of each in seconds. The first is warm-up."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    took: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(turns + 1):
        for name, steps in runners.items():
            start = clock()
            next(steps)
            if device.type == "cuda":
                torch.cuda.synchronize()
            took[name].append(clock() - start)
    return {name: min(times[1:]) for name, times in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="tiny alone, at 96 pixels")
    parser.add_argument("--sizes", default="tiny,small,base")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--ways", action="store_true", help="the plain loop compiled, and more")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.side, options.turns, options.batch = "tiny", 96, 6, 4
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    faces = Faces(4 * options.batch, options.side)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    print(
        f"{name}, {os.cpu_count()} processors; {options.side} pixels, batches of {options.batch}; "
        f"bfloat16 of its own: {'yes' if has_bfloat16(device) else 'no'}"
    )
    columns = ["bfloat16", *(WAYS if options.ways else ())]
    print(f"{'':24}{'bare':>12}{'ours':>12}{'ratio':>8}{''.join(f'{c:>15}' for c in columns)}"
          "   frames/s")  # fmt: skip
    ratios = []
    bare = {"fine-tuning": bare_finetuning, "pretraining": bare_pretraining}
    for size in options.sizes.split(","):
        for kind, make in bare.items():
            ours = our_stepper(kind, size, options.side, device, Manner())
            runners = {
                "bare": make(size, options.side, faces, options.batch, device),
                "ours": our_steps(ours, faces, options.batch),
            }
            is_short = size == "tiny" and not options.quick  # emulated it takes minutes
            if has_bfloat16(device) or is_short:
                half = our_stepper(kind, size, options.side, device, Manner(precision="bfloat16"))
                runners["bfloat16"] = our_steps(half, faces, options.batch)
            for way in WAYS if options.ways else ():
                runners[way] = make(size, options.side, faces, options.batch, device, way)
            took = race(runners, options.turns, device)
            rate = {n: options.batch / s for n, s in took.items()}
            ratios.append(rate["ours"] / rate["bare"])
            print(
                f"{size + ', ' + kind:24}{rate['bare']:12.1f}{rate['ours']:12.1f}"
                f"{ratios[-1]:8.2f}"
                + "".join(f"{rate.get(c, float('nan')):15.1f}" for c in columns),
                flush=True,
            )
    print(
        f"least ratio {min(ratios):.2f}, geometric mean {np.exp(np.mean(np.log(ratios))):.2f}; "
        f"aim {AIM}"
    )


if __name__ == "__main__":
    main()
