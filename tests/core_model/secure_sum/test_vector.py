"""A site's vector and the mean of many, against the plain aggregator."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_model.norms import change_norm
from core_model.schema import ParameterSchema, ParameterSpec, Role
from core_model.secure_sum.fixed_point import FixedPoint
from core_model.secure_sum.terms import SITE_PARTS, SecureTerms
from core_model.secure_sum.vector import ALL, Layout, WrongSumError
from fl_server.aggregation import Aggregator

AUS = (1, 2, 4)
SCHEMA = ParameterSchema(
    parameters=(
        ParameterSpec(name="encoder.w", shape=(5, 7), role=Role.ENCODER),
        ParameterSpec(name="au_head.weight", shape=(3, 7), role=Role.AU_HEAD),
        ParameterSpec(name="au_head.bias", shape=(3,), role=Role.AU_HEAD),
    )
)
LAYOUT = Layout(SCHEMA, AUS)
TERMS = SecureTerms(threshold=2, clip_norm=4.0)


def model(seed, size=0.1):
    chance = np.random.default_rng(seed)
    return {
        p.name: (size * chance.standard_normal(p.shape)).astype(np.float32)
        for p in SCHEMA.parameters
    }


def near(old, seed, size=0.1):
    return {n: old[n] + a for n, a in model(seed, size).items()}


WEIGHTS = st.sampled_from([1.0, 0.5, 0.25, 0.7])
LABELLED = st.sets(st.sampled_from(AUS))


@given(st.lists(st.tuples(WEIGHTS, LABELLED), min_size=2, max_size=6), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_mean_of_a_secure_sum_is_the_plain_mean_for_every_row(sites, seed) -> None:
    old, plain = model(seed), Aggregator(SCHEMA, AUS)
    total, num = np.zeros(LAYOUT.num_words, np.uint32), len(sites)
    for k, (weight, labelled) in enumerate(sites):
        new = near(old, (seed, k))
        for row, au in enumerate(AUS):
            if au not in labelled:
                for name in ("au_head.weight", "au_head.bias"):
                    new[name][row] = old[name][row]
        plain.fold(new, weight, dict.fromkeys(labelled, weight))
        part = round(weight * SITE_PARTS)
        parts = {ALL: part, **dict.fromkeys(labelled, part)}
        total += LAYOUT.encode(old, new, parts, TERMS, num)
    got, want = LAYOUT.mean(total, old, TERMS, num), plain.mean(old)
    # Each site rounds by half a step; the least weight of all in a row is 0.25.
    bound = num / (2 * FixedPoint(num, TERMS.clip_norm).scale) / 0.25 + 2e-7
    for name, array in got.items():
        np.testing.assert_allclose(array, want[name], rtol=0, atol=bound)
    nobody = [r for r, au in enumerate(AUS) if not any(au in labelled for _, labelled in sites)]
    for name in ("au_head.weight", "au_head.bias"):
        np.testing.assert_array_equal(got[name][nobody], old[name][nobody])


def test_change_beyond_the_norm_is_shortened_before_it_is_sent() -> None:
    old, terms = model(0), SecureTerms(threshold=2, clip_norm=0.5)
    parts = dict.fromkeys(LAYOUT.keys, SITE_PARTS)
    vector = LAYOUT.encode(old, near(old, 1, 10.0), parts, terms, 1)
    got = LAYOUT.mean(vector, old, terms, 1)
    assert change_norm(old, got) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_site_never_masks_what_is_not_finite(value) -> None:
    old = model(0)
    new = near(old, 1)
    new["encoder.w"][0, 0] = value
    with pytest.raises(ValueError, match="finite"):
        LAYOUT.encode(old, new, {ALL: SITE_PARTS}, TERMS, 3)


def test_frames_weigh_inside_the_sum() -> None:
    old, terms = model(0), SecureTerms(threshold=2, clip_norm=4.0, max_frames=1000)
    sites = [({ALL: 600, 1: 600, 2: 10}, near(old, 1)), ({ALL: 30, 2: 30}, near(old, 2))]
    total = sum(LAYOUT.encode(old, new, parts, terms, 2) for parts, new in sites)
    got = LAYOUT.mean(total, old, terms, 2)
    (_, one), (_, other) = sites
    core = (600 * one["encoder.w"] + 30 * other["encoder.w"]) / 630
    np.testing.assert_allclose(got["encoder.w"], core, atol=1e-6)
    row = (10 * one["au_head.weight"][1] + 30 * other["au_head.weight"][1]) / 40
    np.testing.assert_allclose(got["au_head.weight"][1], row, atol=1e-6)
    assert LAYOUT.parts(total) == {ALL: 630, 1: 600, 2: 40, 4: 0}


def honest():
    old = model(0)
    return old, LAYOUT.encode(old, near(old, 1), {ALL: 5, 1: 5}, TERMS, 3)


WRONG = {
    "a mask is left": lambda v: v + np.random.default_rng(0).integers(0, 2**32, v.size, np.uint32),
    "no weight": lambda v: np.zeros_like(v),
    "more weight than there is": lambda v: np.where(np.arange(v.size) == v.size - 4, 2**31, v),
    "a row that nobody counts for": lambda v: np.where(np.arange(v.size) == 2, 1, v),
    "a change that wraps around": lambda v: np.where(np.arange(v.size) == 40, 2**31, v),
}


@pytest.mark.parametrize("bend", WRONG.values(), ids=WRONG.keys())
def test_sum_that_no_honest_sites_give_is_refused(bend) -> None:
    old, total = honest()
    LAYOUT.mean(total, old, TERMS, 3)
    with pytest.raises(WrongSumError):
        LAYOUT.mean(bend(total).astype(np.uint32), old, TERMS, 3)
