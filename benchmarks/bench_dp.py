"""What clipping every frame, or every person, costs beside plain training, and beside Opacus.

Each variant lives in a process of its own, so that its peak memory is its own. The processes take
their steps in turn, one at a time, on one thread, and count processor seconds: others on the
machine disturb little, and what is left cancels in the ratios. A step is forward, backward,
clipping and AdamW, without noise; noise is timed by itself at the end.

    python benchmarks/bench_dp.py [--quick] [--cells au96:128 ...] [--turns 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path

VARIANTS = ("plain", "hooks", "ghost", "frame", "subject")
FRAMES_PER_SUBJECT = 16
CELLS = [f"{w}:{b}" for w in ("mae64", "au96") for b in (32, 128, 256)] + ["au224:32"]
AIMS = "aims: frame >= 0.80 x plain at <= 1.35 x its memory, >= 3 x hooks at <= 1/3 of its memory, "
AIMS += ">= 1.5 x ghost; subject >= 0.90 x plain; noise <= 10 % of a step of 256 frames; "
AIMS += "report < 1 s; filter < 50 ms"


def build(workload: str, batch: int):
    """Return a model, its loss per frame, and the names that train."""
    import torch

    from core_model.config import EncoderConfig, FinetuneConfig, PretrainConfig
    from core_model.nn.iat import IATModel, au_losses
    from core_model.nn.mae import MaskedAutoencoder, random_order

    chance = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    size = int(workload.removeprefix("mae").removeprefix("au"))
    images = torch.rand(batch, 3, size, size, generator=chance)
    if workload.startswith("mae"):
        encoder = EncoderConfig(image_size=size, patch_size=8, depth=6)
        config = PretrainConfig(decoder_dim=128, decoder_depth=2, decoder_heads=4)
        autoencoder = MaskedAutoencoder(encoder, config).train()
        order = random_order(batch, encoder.num_patches, chance)
        names = [n for n, _ in autoencoder.named_parameters()]
        return autoencoder, lambda i: autoencoder.losses(images[i], order[i]), names
    detector = IATModel(EncoderConfig(image_size=size), tuple(range(12)), 2, FinetuneConfig())
    aus = (torch.rand(batch, 12, generator=chance) < 0.3).float()

    def losses(i):
        logits = detector.train().au_head(detector.encoder(images[i]))
        return au_losses(logits, aus[i], torch.ones_like(logits))

    names = [n for n, _ in detector.named_parameters() if not n.startswith("identity_head.")]
    return detector, losses, names


def make_step(variant: str, workload: str, batch: int):
    """Return a function that takes one step."""
    import torch

    from core_model.privacy.clipping import ClipGroup, UnitClipper

    model, losses, names = build(workload, batch)
    for name, weight in model.named_parameters():
        weight.requires_grad_(name in names)
    weights = {n: p for n, p in model.named_parameters() if n in names}
    optimiser = torch.optim.AdamW(weights.values(), lr=1e-4)
    frames = torch.arange(batch)
    if variant == "plain":

        def step():
            optimiser.zero_grad(set_to_none=True)
            losses(frames).mean().backward()
            optimiser.step()

        return step
    if variant in ("hooks", "ghost"):
        from core_model.privacy.opacus_backend import OpacusClipper

        clipper = OpacusClipper(model, 1.0, variant)
    else:
        clipper = UnitClipper(model, [ClipGroup(tuple(names), 1.0)])
        frames = frames.view(-1, FRAMES_PER_SUBJECT if variant == "subject" else 1)

    def private_step():
        for name, clipped in clipper.clipped_sums(losses, frames).items():
            weights[name].grad = clipped.div_(batch)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return private_step


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def work(variant: str, workload: str, batch: int) -> None:
    """Take a step for each line that comes in; print its seconds and the memory added so far."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    step = make_step(variant, workload, batch)
    before = peak_mib()
    step()
    for _ in sys.stdin:
        started = time.process_time()
        step()
        print(json.dumps([time.process_time() - started, peak_mib() - before]), flush=True)


def measure(cell: str, variants: tuple[str, ...], turns: int) -> dict[str, dict[str, float]]:
    """Return, for each variant, seconds a step and MiB; ratios are medians over turns."""
    workload, batch = cell.split(":")
    workers = {
        v: subprocess.Popen(
            [sys.executable, __file__, "--work", v, workload, batch],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for v in variants
    }  # fmt: skip
    taken: dict[str, list[list[float]]] = {v: [] for v in variants}
    for _ in range(turns):
        for variant, worker in workers.items():
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
            taken[variant].append(json.loads(worker.stdout.readline()))
    for worker in workers.values():
        worker.communicate()
    plain = taken["plain"]
    return {
        v: {
            "frames_a_second": int(batch) / min(t for t, _ in rows),
            "speed": statistics.median(p[0] / t for p, (t, _) in zip(plain, rows, strict=True)),
            "mib": rows[-1][1],
            "memory": rows[-1][1] / plain[-1][1],
        }
        for v, rows in taken.items()
    }


def noise_share(workload: str = "au96", batch: int = 256) -> tuple[float, float, int]:
    """Return seconds of a plain step and of the noise for all weights, and how many there are."""
    import torch

    from core_model.privacy.chance import SystemChance, add_noise

    torch.set_num_threads(1)
    model, _, names = build(workload, 1)
    sums = [torch.zeros_like(p) for n, p in model.named_parameters() if n in names]
    step, chance = make_step("plain", workload, batch), SystemChance()
    step()

    def noise() -> None:
        for total in sums:
            add_noise(total, 1.0, chance)

    best = []
    for job in (step, noise):
        seconds = []
        for _ in range(3):
            started = time.process_time()
            job()
            seconds.append(time.process_time() - started)
        best.append(min(seconds))
    return best[0], best[1], sum(s.numel() for s in sums)


def account_seconds() -> tuple[float, float]:
    """Return seconds of a report over 200 rounds, and of the filter over 10,000 people.

    The report comes from Opacus' PRV accountant over rounds of two kinds; each of 20 rounds in the
    ledger has another pool, so people have histories of their own. Best of three.
    """
    import opacus.accountants  # noqa: F401 - the import alone takes seconds, once

    from core_model.privacy.accounting import Kind, Spend, report
    from core_model.privacy.ledger import Ledger, Occasion
    from core_model.privacy.ledger_lines import Noise

    rounds = [Spend(Kind(4.0 + k % 2, 0.1), 20) for k in range(200)]
    people = [f"subject-{n:05d}" for n in range(10_000)]
    kind = Kind(4.0, 0.1)
    noise = Noise(
        unit="subject", noise_multiplier=4.0, sampling_rate=0.1, frames_per_subject=16,
        clip_norm=1.0, denominator=1000.0, delta=1e-5,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.jsonl", "bench")
        for n in range(20):
            occasion = Occasion("run", n + 1, "finetuning", noise, "0" * 64, "0" * 64, True)
            ledger.charge(occasion, people[n * 250 :], n, 10, datetime.now(UTC))
        jobs = (
            lambda: report(rounds, 1e-5),
            lambda: ledger.epsilons(people, 1e-5, Spend(kind, 20)),
        )
        found = []
        for job in jobs:
            seconds = []
            for _ in range(3):
                started = time.process_time()
                job()
                seconds.append(time.process_time() - started)
            found.append(min(seconds))
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small cell and no noise")
    parser.add_argument("--cells", nargs="*", default=CELLS, help="workload:batch")
    parser.add_argument("--variants", nargs="*", default=VARIANTS)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path, help="add a line for each cell to this file")
    parser.add_argument("--no-noise", action="store_true")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(args.work[0], args.work[1], int(args.work[2]))
    cells, turns = (["mae64:32"], 3) if args.quick else (args.cells, args.turns)
    print(f"{'cell':10} {'variant':8} {'frames/s':>9} {'x plain':>8} {'MiB':>7} {'x memory':>8}")
    for cell in cells:
        found = measure(cell, tuple(args.variants), turns)
        for variant, row in found.items():
            print(
                f"{cell:10} {variant:8} {row['frames_a_second']:9.1f} {row['speed']:8.2f} "
                f"{row['mib']:7.0f} {row['memory']:8.2f}",
                flush=True,
            )
        if args.json:
            with args.json.open("a") as lines:
                lines.write(json.dumps({cell: found}) + "\n")
    if not (args.quick or args.no_noise):
        plain, noise, number = noise_share()
        print(f"noise for {number / 1e6:.1f} M weights: {noise:.2f} s, "
              f"{noise / plain:.0%} of a plain step of 256 frames at 96 pixels")  # fmt: skip
    if not args.no_noise:
        reported, filtered = account_seconds()
        print(f"report over 200 rounds: {reported:.2f} s; "
              f"filter over 10,000 people: {1000 * filtered:.1f} ms")  # fmt: skip
    print(AIMS)
    return None


if __name__ == "__main__":
    main()
