"""The one-run audit: its statistics, and the real loop with and without a fault put into it."""

import cv2
import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm

from core_model.config import EncoderConfig, FinetuneConfig, OptimiserConfig
from core_model.data.frames import FrameDataset
from core_model.data.labels import Labels, write_labels
from core_model.data.recordings import Recording
from core_model.nn.iat import IATModel
from core_model.nn.weights import schema_of
from core_model.privacy import clipping
from core_model.privacy.audit import GradientWatcher, audit, directions, p_value, scores
from core_model.privacy.chance import SimulationChance
from core_model.privacy.clipping import ClipGroup
from core_model.privacy.plan import PrivacyPlan
from core_model.privacy.sampling import SubjectSampler
from core_model.privacy.scope import trainable
from core_model.training.private import FinetuningLoss, finetune_privately

CPU = torch.device("cpu")
CANARIES, STEPS, DELTA = 600, 2, 1e-4
AUS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)


def noise_for(epsilon: float) -> float:
    """Return the noise of one Gaussian step with that epsilon, exactly (Balle and Wang, 2018)."""

    def delta(sigma: float) -> float:
        a, b = 0.5 / sigma, epsilon * sigma
        return norm.cdf(a - b) - np.exp(epsilon) * norm.cdf(-a - b)

    return float(brentq(lambda sigma: delta(sigma) - DELTA, 0.1, 100))


def write_canaries(folder):
    """Write people who are like nobody: one image of black and white noise each, labels at random.

    Their gradients hardly overlap, so each shows in a sum of all.
    """
    chance, recordings = np.random.default_rng(0), []
    for person in range(CANARIES):
        frames = folder / f"canary-{person}"
        frames.mkdir()
        image = chance.choice(np.array([0, 255], np.uint8), (32, 32, 3))
        cv2.imwrite(str(frames / "000001.png"), image)
        values = chance.choice(np.array([0, 5], np.int8), (1, len(AUS)))
        write_labels(folder / f"{person}.csv", Labels(AUS, np.array([1]), values))
        recordings.append(
            Recording(
                recording_id=frames.name, subject_id=frames.name, frames=frames,
                labels=folder / f"{person}.csv", licence="CC0-1.0",
            )
        )  # fmt: skip
    return recordings


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Return canary people, a vision transformer, and each canary's clipped gradient."""
    folder = tmp_path_factory.mktemp("canaries")
    recordings = write_canaries(folder)
    torch.manual_seed(0)
    encoder = EncoderConfig(image_size=32, patch_size=8, embed_dim=48, depth=1, num_heads=2)
    config = FinetuneConfig(
        optimiser=OptimiserConfig(learning_rate=1e-6, batch_size=128),
        reversal_scale=0.0, drop_path=0.0, augment=False,
    )  # fmt: skip
    model = IATModel(encoder, AUS, 2, config)
    torch.nn.init.normal_(model.au_head.weight, std=2.0)
    # Everybody in every step: the cost of STEPS steps is then that of one with less noise, exactly.
    plan = PrivacyPlan(
        sampling_rate=1.0, nominal_units=CANARIES, frames_per_subject=2, steps_per_round=STEPS,
        noise_multiplier=noise_for(1.0) * STEPS**0.5, delta=DELTA, scope="full",
    )  # fmt: skip
    everybody = FrameDataset(recordings, 32, AUS)
    loss = FinetuningLoss(model, everybody, config, plan, CPU, torch.Generator())
    draw = SubjectSampler(everybody.identities, plan, SimulationChance(0)).draw()
    group = ClipGroup(trainable(schema_of(model), plan), plan.clip_norm)
    gradients = directions(model, group, plan, loss, draw.frames)
    return recordings, model, config, plan, everybody.subjects, gradients


def run(setting, seed):
    """Toss coins, train for real on the people that they put in, and audit what was released."""
    recordings, model, config, plan, subjects, gradients = setting
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    chance = SimulationChance(seed)
    included = chance.bernoulli(CANARIES, 0.5)
    people = {s for s, is_in in zip(subjects, included, strict=True) if is_in}
    watchers = []

    def optimiser_of(weights, *_):
        watchers.append(GradientWatcher(weights))
        return watchers[0]

    dataset = FrameDataset([r for r in recordings if r.subject_id in people], 32, AUS)
    finetune_privately(
        model, dataset, config, plan, device=CPU, chance=chance, charge=lambda _: None,
        optimiser_of=optimiser_of,
    )  # fmt: skip
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(before[name])
    return audit(scores(gradients, watchers[0].seen, plan, STEPS), included, DELTA)


@pytest.mark.slow
def test_the_loop_keeps_its_promise_and_four_times_the_sensitivity_is_found(
    setting, monkeypatch
) -> None:
    kept = run(setting, seed=1)
    assert kept.least_epsilon < 1.0, kept
    right = clipping.clip_factors
    monkeypatch.setattr(clipping, "clip_factors", lambda *args: 4 * right(*args))
    broken = run(setting, seed=1)
    assert broken.least_epsilon > 1.0, broken


@pytest.mark.slow
def test_a_loop_without_noise_is_found(setting, monkeypatch) -> None:
    from core_model.privacy import mechanism

    monkeypatch.setattr(mechanism, "add_noise", lambda total, *_: total)
    assert run(setting, seed=2).least_epsilon > 2.0


def test_an_honest_mechanism_is_rarely_accused() -> None:
    """The bound lies above the truth in at most one run of twenty."""
    chance = np.random.default_rng(0)
    sigma, accused = noise_for(1.0), 0
    for _ in range(200):
        coins = chance.random(CANARIES) < 0.5
        seen = coins + sigma * chance.standard_normal(CANARIES)
        accused += audit(seen, coins, DELTA).least_epsilon > 1.0
    assert accused <= 10


def test_guesses_prove_what_they_should() -> None:
    coins = np.arange(600) < 300
    telling = audit(coins.astype(float), coins, 1e-5)
    blind = audit(np.zeros(600), np.random.default_rng(0).permutation(coins), 1e-5)
    assert telling.right == telling.guesses == 100
    assert 3.0 < telling.least_epsilon < 4.0  # 0.05 ** (1 / 100) = 0.970 right: epsilon 3.5
    assert blind.least_epsilon == 0.0
    assert p_value(100, 10, 10, 0.0, 0.0) == pytest.approx(2**-10)
    assert p_value(100, 10, 0, 1.0, 1e-5) == 1.0
    assert p_value(1000, 50, 45, 1.0, 1e-3) > p_value(1000, 50, 45, 1.0, 1e-6)
