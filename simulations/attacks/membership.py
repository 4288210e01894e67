"""Was this person, was this site, in the training? From models, and from the updates of sites.

Shapes: K = trainings or rounds, S = people, P = weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor

from core_model.evaluation.attack_result import Row
from core_model.evaluation.bootstrap import draw_people
from core_model.evaluation.metrics import Score
from core_model.evaluation.ranking import areas
from core_model.nn.iat import IATModel
from core_model.training.seeds import derive_seed
from simulations.attacks.setting import Setting
from simulations.attacks.training import (
    change,
    frames_of_people,
    fresh,
    gradients_of,
    losses_of,
    shared_weights,
    train_plainly,
    train_privately,
)

Floats = NDArray[np.float64]
Train = Callable[[IATModel, Sequence[int], int], IATModel]
EPSILONS = (8.0, 1.0)
NUM_SITES = 4
EPOCHS_OF_A_ROUND = 2
RIDGE = 0.1  # of the Gram matrix; gradients have unit length


def from_models(setting: Setting) -> tuple[Row, ...]:
    """Attack finished models with shadow models (LiRA; Carlini et al., arXiv 2112.03570).

    Each model is attacked once, with the others as the attacker's own: half of them saw a person.
    """
    effort, start = setting.effort, fresh(setting.seed)
    trainings: dict[str, Train] = {
        "model, no noise": lambda start, people, seed: train_plainly(
            start, setting.only(people), effort.epochs, seed
        )
    }
    for epsilon in EPSILONS:
        trainings[f"model, epsilon {epsilon:g}"] = _private(setting, epsilon, effort.steps)
    rows = []
    for against, train in trainings.items():
        included = coins(effort.shadows, effort.people, setting.seed)
        losses = np.stack(
            [
                losses_of(train(start, np.flatnonzero(who).tolist(), k), setting.people)
                for k, who in enumerate(included)
            ]
        )
        score = auc_by_people(likelihood_ratios(-np.log(losses), included), included)
        rows.append(Row.of(against, "AUC", score, 0.5, is_baseline="no noise" in against))
    return tuple(rows)


def from_updates(setting: Setting) -> tuple[Row, ...]:
    """Attack what one site sends in a round: whose gradient lies in the change of the weights?"""
    effort, start = setting.effort, shared_weights(setting)
    known = gradients_of(start, setting.people, frames_of_people(setting.people, effort.frames))
    included = coins(effort.rounds, effort.people, setting.seed + 1)
    plain = _plain(setting)
    seen: dict[str, list[Tensor]] = {"update, no noise": []}
    for k, who in enumerate(included):
        people = np.flatnonzero(who).tolist()
        seen["update, no noise"].append(change(start, plain(start, people, k)))
    others = [
        change(start, train_plainly(start, setting.new_people, EPOCHS_OF_A_ROUND, 99 + k))
        for k in range(NUM_SITES - 1)
    ]
    mean = [torch.stack([u, *others]).mean(dim=0) for u in seen["update, no noise"]]
    seen[f"mean of {NUM_SITES} sites alone (secure sum), no noise"] = mean
    for epsilon in EPSILONS:
        train = _private(setting, epsilon, effort.steps)
        seen[f"update, epsilon {epsilon:g} a round"] = [
            change(start, train(start, np.flatnonzero(who).tolist(), k))
            for k, who in enumerate(included)
        ]
    return tuple(
        Row.of(
            against, "AUC",
            auc_by_people(np.stack([alignment(known, u) for u in updates]), included),
            0.5, is_baseline=against == "update, no noise",
        )
        for against, updates in seen.items()
    )  # fmt: skip


def of_sites(setting: Setting) -> tuple[Row, ...]:
    """Attack a round: did this site take part? The attacker knows the recordings of its people.

    Without a secure sum each update is seen by itself; with it, only the mean of those that took
    part.
    """
    effort, start = setting.effort, shared_weights(setting)
    sites = _sites_of(setting)
    gradients = gradients_of(start, setting.people, frames_of_people(setting.people, effort.frames))
    known = torch.stack([gradients[people].mean(dim=0) for people in sites])
    known = known / known.norm(dim=1, keepdim=True)
    included = coins(effort.rounds, len(sites), setting.seed + 2)
    rows = []
    trainings = {"no noise": _plain(setting)} | {
        f"epsilon {e:g} a round": _private(setting, e, effort.steps) for e in EPSILONS
    }
    for noise, train in trainings.items():
        updates = [
            torch.stack([change(start, train(start, p, 100 * k + s)) for s, p in enumerate(sites)])
            for k in range(effort.rounds)
        ]
        alone = np.concatenate([[alignment(known, u) for u in each] for each in updates])
        owners = np.tile(np.eye(len(sites), dtype=bool), (effort.rounds, 1))
        score = auc_by_rows(alone, owners)
        rows.append(
            Row.of(f"single update, {noise}", "AUC", score, 0.5, is_baseline=noise == "no noise")
        )
        means = np.stack(
            [alignment(known, u[torch.from_numpy(w)].mean(dim=0))
             for u, w in zip(updates, included, strict=True)]
        )  # fmt: skip
        score = auc_by_rows(means, included)
        rows.append(Row.of(f"mean of those who took part (secure sum), {noise}", "AUC", score, 0.5))
    return tuple(rows)


def coins(trainings: int, people: int, seed: int) -> NDArray[np.bool_]:
    """Choose half of the people for each training, and the other half for the next. (K, S)."""
    chance = np.random.default_rng(seed)
    rows = []
    for _ in range(-(-trainings // 2)):
        row = np.zeros(people, bool)
        row[chance.permutation(people)[: people // 2]] = True
        rows += [row, ~row]
    return np.stack(rows[:trainings])


def likelihood_ratios(statistics: Floats, included: NDArray[np.bool_]) -> Floats:
    """Compare each training with all others, person by person. Shapes: (K, S) each.

    One deviation for all, since there are few trainings (LiRA, section VI-C).
    """
    found = np.empty_like(statistics)
    for k in range(len(statistics)):
        others = np.arange(len(statistics)) != k
        values, member = statistics[others], included[others]
        mean_in = (values * member).sum(axis=0) / member.sum(axis=0)
        mean_out = (values * ~member).sum(axis=0) / (~member).sum(axis=0)
        spread = np.where(member, values - mean_in, values - mean_out).std() + 1e-9
        found[k] = norm.logpdf(statistics[k], mean_in, spread)
        found[k] -= norm.logpdf(statistics[k], mean_out, spread)
    return found


def alignment(known: Tensor, update: Tensor) -> Floats:
    """Return how much of each known gradient lies in an update. Shapes: (S, P), (P,) -> (S,).

    Overlaps among the gradients are taken out: people who look alike are not mistaken.
    """
    known, direction = known.double(), -update.double() / update.double().norm()
    gram = known @ known.T + RIDGE * torch.eye(len(known), dtype=torch.float64)
    return np.asarray(torch.linalg.solve(gram, known @ direction).numpy())


def auc_by_people(scores: Floats, included: NDArray[np.bool_]) -> Score:
    """Return the area under the curve, with an interval by people. Shapes: (K, S) each."""
    num, people = scores.shape
    return _auc(scores, included, np.tile(draw_people(people), (1, num)), people)


def auc_by_rows(scores: Floats, included: NDArray[np.bool_]) -> Score:
    """The same with an interval by rounds: the sites are always the same."""
    num, sites = scores.shape
    return _auc(scores, included, np.repeat(draw_people(num), sites, axis=1), num)


def _auc(
    scores: Floats, included: NDArray[np.bool_], weights: NDArray[np.int64], number: int
) -> Score:
    flat, truth = scores.reshape(-1), included.reshape(-1)
    value = areas(flat, truth, np.ones((1, flat.size), np.int64)).auc[0]
    return Score.of(float(value), areas(flat, truth, weights).auc, number)


def _plain(setting: Setting) -> Train:
    def train(start: IATModel, people: Sequence[int], seed: int) -> IATModel:
        return train_plainly(start, setting.only(people), EPOCHS_OF_A_ROUND, seed)

    return train


def _private(setting: Setting, epsilon: float, steps: int) -> Train:
    def train(start: IATModel, people: Sequence[int], seed: int) -> IATModel:
        chance = derive_seed(setting.seed, "private", epsilon, seed)
        return train_privately(start, setting.only(people), epsilon, steps, len(people), chance)

    return train


def _sites_of(setting: Setting) -> list[list[int]]:
    """Deal everybody out to the sites."""
    return [list(range(s, setting.effort.people, NUM_SITES)) for s in range(NUM_SITES)]
