"""What a study says: each method against none on the same people, and which scale to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from core_model.evaluation.metrics import Score
from core_model.evaluation.paired import compare_counts
from simulations.tradeoff.grid import Corpus, Method
from simulations.tradeoff.result import CellResult

Verdict = Literal[
    "reference", "too little training", "collapse", "gain", "cost", "no difference shown"
]
LEAST_AUC = 0.55  # below, a detector ranks frames hardly better than a coin


@dataclass(frozen=True)
class Row:
    """A method on a corpus, the mean over seeds, after the last epoch unless named otherwise."""

    corpus: Corpus
    method: Method
    seeds: int
    f1_new_people: float
    f1_best_epoch: float  # the epoch that validation people chose
    f1_new_site: float
    f1_own: float
    auc_new_people: float
    probe_own: float
    probe_new: float
    chance_own: float
    labels_probe: float  # the same people, named by their AU labels alone
    equal_error_rate: float
    gain: Score | None  # in F1 on new people over plain fine-tuning, by the same draws of people
    p_value: float | None
    identity_removed: float | None  # share of the way from the plain probe to chance
    verdict: Verdict
    curve: tuple[float, ...]  # F1 on new people by epoch


def summarise(results: Sequence[CellResult]) -> tuple[Row, ...]:
    """Return a row for each corpus and method, in the order of the results."""
    groups: dict[tuple[Corpus, Method], list[CellResult]] = {}
    for r in results:
        groups.setdefault((r.cell.corpus, r.cell.method), []).append(r)
    plain = {
        (corpus, method.augment): found
        for (corpus, method), found in groups.items()
        if not method.scale
    }
    return tuple(
        _row(found, plain.get((corpus, method.augment)))
        for (corpus, method), found in groups.items()
    )


def recommend(rows: Sequence[Row], most_probe: float) -> Row | None:
    """Return the row of best F1 whose linear probe names at most this share of frames rightly."""
    within = [r for r in rows if r.probe_own <= most_probe and r.auc_new_people >= LEAST_AUC]
    return max(within, key=lambda r: r.f1_new_people, default=None)


def on_front(row: Row, rows: Sequence[Row]) -> bool:
    """Is no other method on this corpus at least as good in both and better in one?"""
    mine = (row.f1_new_people, -row.probe_own)
    others = [(r.f1_new_people, -r.probe_own) for r in rows if r.corpus == row.corpus]
    return not any(o[0] >= mine[0] and o[1] >= mine[1] and o != mine for o in others)


def _row(found: Sequence[CellResult], plain: Sequence[CellResult] | None) -> Row:
    cell = found[0].cell

    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    probe = mean([r.identity_last.own.accuracy for r in found])
    chance = mean([r.identity_last.own.chance for r in found])
    gain = p_value = removed = None
    if plain is not None and cell.method.scale:
        theirs = {r.cell.seed: r for r in plain}
        both = [(theirs[r.cell.seed].counts(), r.counts()) for r in found if r.cell.seed in theirs]
        comparison = compare_counts(*(np.concatenate(side) for side in zip(*both, strict=True)))
        gain, p_value = comparison.difference, comparison.p_value
        before = mean([r.identity_last.own.accuracy for r in plain])
        removed = (before - probe) / max(before - chance, 1e-9)
    auc, plain_auc = (
        mean([r.last.auc_new_people for r in group]) for group in (found, plain or found)
    )
    return Row(
        corpus=cell.corpus,
        method=cell.method,
        seeds=len(found),
        f1_new_people=mean([r.last.f1_new_people for r in found]),
        f1_best_epoch=mean([r.epochs[r.best].f1_new_people for r in found]),
        f1_new_site=mean([r.last.f1_new_site for r in found]),
        f1_own=mean([r.last.f1_own for r in found]),
        auc_new_people=auc,
        probe_own=probe,
        probe_new=mean([r.identity_last.new.accuracy for r in found]),
        chance_own=chance,
        labels_probe=mean([r.labels_probe for r in found]),
        equal_error_rate=mean([r.identity_last.equal_error_rate.value for r in found]),
        gain=gain,
        p_value=p_value,
        identity_removed=removed,
        verdict=_verdict(auc, plain_auc, gain),
        curve=tuple(np.mean([[e.f1_new_people for e in r.epochs] for r in found], axis=0).tolist()),
    )


def _verdict(auc: float, plain_auc: float, gain: Score | None) -> Verdict:
    if plain_auc < LEAST_AUC:
        return "too little training"
    if auc < LEAST_AUC:
        return "collapse"
    if gain is None:
        return "reference"
    if gain.low > 0:
        return "gain"
    return "cost" if gain.high < 0 else "no difference shown"
