"""Run an experiment with several seeds and write the table that the docs show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simulations.baseline import Baseline
from simulations.report.claims import Claim, check_claims
from simulations.results import ArmResult, Results

CLAIMS = {
    "claim_f1": "IAT raises macro F1 on new people by at least 0.02",
    "claim_probe": "IAT brings the identity probe at least half-way to chance",
    "claim_pooled": "the federation reaches 95 % of all data in one place",
    "claim_alone": "the federation beats the best single site by 0.05 (all AUs)",
    "claim_alone_own": "... by 0.05 on the AUs that this site labels",
}


def write_table(
    runs: Sequence[Results], baselines: Sequence[Baseline], command: str, path: Path
) -> None:
    """Write a Markdown page: every arm and every claim, mean and spread over the seeds.

    Args:
        runs: One for each seed.
        baselines: Of the same seeds.
        command: What made the runs.
        path: The page.
    """
    first = runs[0]
    minutes = sum(r.seconds for r in runs) / 60
    seeds = ", ".join(str(r.seed) for r in runs)
    lines = [
        "# Results over several seeds",
        "",
        f"Made by `{command}` on {first.machine}; seeds {seeds}; {minutes:.0f} minutes in all.",
        "Each value is the mean over the seeds, with the smallest and the largest behind. Faces,",
        "people and training all change with the seed. What each column means is in",
        "[experiment.md](experiment.md).",
        "",
        "| trained by | F1 new people | F1 new site | F1 own people | probe, own people | "
        "probe, new people | probe, real people |",
        "|---|---|---|---|---|---|---|",
        *(_row(name, [r.arms[name] for r in runs]) for name in first.arms),
        "",
        f"Guessing every AU in every frame has an F1 on new people of "
        f"{_spread([b.always for b in baselines])}.",
        "A probe that sees the true AUs alone names people in training in a share of "
        f"{_spread([b.labels_probe for b in baselines])} of the frames.",
        f"Chance of the probes: {first.arms['federated_iat'].identity_chance:.3f} (own people), "
        f"{first.arms['federated_iat'].identity_probe_unseen_people.chance:.3f} (new people), "
        f"{first.arms['federated_iat'].identity_probe_real_people.chance:.3f} (real people, ORL).",
        "",
        "## What was promised",
        "",
        "| promise | measured | bound | seeds in which it holds |",
        "|---|---|---|---|",
        *(_claim(claims) for claims in zip(*(check_claims(r) for r in runs), strict=True)),
        "",
        "## Pretraining with the decoder kept local, and shared",
        "",
        "MAE loss on new people after the last round: "
        + "; ".join(
            f"{kind} {_spread([r.mae_loss[kind] for r in runs], 4)}" for kind in first.mae_loss
        )
        + ".",
        "",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")


def _row(name: str, arms: Sequence[ArmResult]) -> str:
    columns = [
        [a.macro_f1_unseen_people for a in arms],
        [a.macro_f1_unseen_site for a in arms],
        [a.macro_f1_seen_people for a in arms],
        [a.identity_probe for a in arms],
        [a.identity_probe_unseen_people.accuracy for a in arms],
        [a.identity_probe_real_people.accuracy for a in arms],
    ]
    return f"| {name} | " + " | ".join(_spread(c) for c in columns) + " |"


def _claim(claims: Sequence[Claim]) -> str:
    sign = "at most" if claims[0].at_most else "at least"
    bound = _spread([c.bound for c in claims]) if claims[0].at_most else f"{claims[0].bound:.2f}"
    held = sum(c.holds for c in claims)
    return (
        f"| {CLAIMS[claims[0].key]} | {_spread([c.value for c in claims])} | {sign} {bound} | "
        f"{held} of {len(claims)} |"
    )


def _spread(values: Sequence[float], digits: int = 3) -> str:
    mean, low, high = np.mean(values), min(values), max(values)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
