"""Fixed point, masks and thresholds: no sum is ever off, and no single vector can be read."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_model.secure_sum.fixed_point import MOST, FixedPoint
from core_model.secure_sum.masks import add_mask, commitment, remove_mask
from core_model.secure_sum.terms import MAX_FRAMES, MAX_SITES, SITE_PARTS
from core_model.secure_sum.threshold import is_above_half, least_in_sum
from fl_server.errors import SumLostError
from tests.secure_parties import Sum, parties


@given(st.integers(1, MAX_SITES), st.floats(1e-3, 1e3), st.data())
@settings(max_examples=40, deadline=None)
def test_sum_of_codes_is_the_sum_of_values(num, largest, data) -> None:
    code = FixedPoint(num, largest)
    values = st.lists(st.floats(-largest, largest), min_size=num, max_size=num)
    drawn = np.array(data.draw(values), np.float64)
    total = np.zeros(1, np.uint32)
    for value in drawn:
        total += code.encode(np.array([value]))
    assert abs(code.decode(total)[0] - drawn.sum()) <= num / (2 * code.scale) + 1e-9 * largest


@pytest.mark.parametrize("value", [2.01, -2.01, np.inf, -np.inf, np.nan, 1e300])
def test_value_that_would_change_the_sum_silently_is_refused(value) -> None:
    code = FixedPoint(2, 1.0)
    with pytest.raises(ValueError, match="finite values"):
        code.encode(np.array([0.0, value]))


def test_range_that_leaves_no_digit_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bits"):
        FixedPoint(2, 1e10)


def test_weights_of_all_sites_fit_a_word() -> None:
    assert MAX_SITES * max(SITE_PARTS, MAX_FRAMES) <= MOST


def test_mask_comes_off_and_another_round_has_another() -> None:
    seed, zeros = bytes(range(32)), np.zeros(200_001, np.uint32)
    vector = zeros.copy()
    add_mask(vector, seed, b"round 1")
    other = zeros.copy()
    add_mask(other, seed, b"round 2")
    assert np.mean(vector == other) < 1e-4
    remove_mask(vector, seed, b"round 1")
    assert not vector.any()
    assert commitment(seed, b"a") != commitment(seed, b"b")


def test_seeds_that_flower_folds_to_the_same_32_bits_have_different_masks() -> None:
    """Flower's SecAgg+ XORs a seed down to 32 bits for a Mersenne Twister (issue 7522 there)."""
    one, other = bytes([1, 0, 0, 0] + [0] * 28), bytes([0] * 28 + [1, 0, 0, 0])
    a, b = np.zeros(1000, np.uint32), np.zeros(1000, np.uint32)
    add_mask(a, one, b"")
    add_mask(b, other, b"")
    assert not np.array_equal(a, b)


@given(st.integers(3, 6), st.data())
@settings(max_examples=6, deadline=None)
def test_masked_sum_is_the_sum_for_any_allowed_dropouts(num, data) -> None:
    threshold = data.draw(st.integers(num // 2 + 1, num))
    stayed = data.draw(st.permutations(range(num)))[: data.draw(st.integers(threshold, num))]
    unmasking = data.draw(st.permutations(stayed))[: data.draw(st.integers(threshold, len(stayed)))]
    work = Sum(parties(num), threshold, 300)
    vectors = np.random.default_rng(num).integers(0, 2**32, (num, 300), np.uint32)
    for i in stayed:
        work.server.fold(work.sites[i].site_id, work.masked(work.sites[i], vectors[i]))
    for i in unmasking:
        work.server.add_unmasking(work.sites[i].site_id, work.unmasking(work.sites[i]))
    want = vectors[sorted(stayed)].sum(axis=0, dtype=np.uint32)
    np.testing.assert_array_equal(work.server.total(), want)


def test_masked_vector_of_one_site_looks_uniform() -> None:
    work = Sum(parties(3), 2, 1 << 16)
    sent = work.masked(work.sites[0], np.zeros(1 << 16, np.uint32))
    counts = np.bincount(sent.view(np.uint8), minlength=256)
    expected = counts.sum() / 256
    chi = float(((counts - expected) ** 2 / expected).sum())
    assert 255 - 6 * 22.6 < chi < 255 + 6 * 22.6  # six standard deviations
    assert abs(sent.view(np.int32).astype(float).mean()) < 6 * 2**32 / np.sqrt(12 * sent.size)


def test_server_alone_cannot_undo_one_mask() -> None:
    """With the pairwise masks of all others, and without the threshold of shares, it is noise."""
    work = Sum(parties(3), 2, 1000)
    plain = np.zeros(1000, np.uint32)
    for site in work.sites:
        work.server.fold(site.site_id, work.masked(site, plain))
    work.server.add_unmasking("site-a", work.unmasking(work.sites[0]))
    with pytest.raises(SumLostError, match="TOO_FEW_LEFT"):
        work.server.total()
    work.server.add_unmasking("site-b", work.unmasking(work.sites[1]))
    assert not work.server.total().any()


def test_sites_that_were_shown_different_rosters_have_masks_that_never_cancel() -> None:
    sites = parties(3)
    one, other = Sum(sites, 2, 1000), Sum(sites, 3, 1000)
    plain = np.zeros(1000, np.uint32)
    for work, site in ((one, sites[0]), (one, sites[1]), (other, sites[2])):
        one.server.fold(site.site_id, work.masked(site, plain))
    for site in sites:
        one.server.add_unmasking(site.site_id, one.unmasking(site))
    assert np.mean(one.server.total() == 0) < 0.01


def test_one_wrong_share_is_found_out_and_passed_over() -> None:
    work = Sum(parties(4), 3, 100)
    for site in work.sites:
        work.server.fold(site.site_id, work.masked(site, np.full(100, 7, np.uint32)))
    given_ = {s.site_id: work.unmasking(s) for s in work.sites}
    lies = {k: v[:8] + "00" * 16 + v[40:] for k, v in given_["site-a"].seeds.items()}
    work.server.add_unmasking("site-a", given_["site-a"].model_copy(update={"seeds": lies}))
    for holder in ("site-b", "site-c"):
        work.server.add_unmasking(holder, given_[holder])
    with pytest.raises(SumLostError, match="SHARES_UNSOUND"):  # three, of which one lies
        work.server.total()
    work.server.add_unmasking("site-d", given_["site-d"])
    np.testing.assert_array_equal(work.server.total(), np.full(100, 28, np.uint32))


def _worst(num: int, threshold: int) -> int:
    """Try all that a server may tell the sites; return the least number it can sum alone.

    Each site names survivors (itself among them, the threshold at least), gives shares of seeds for
    them and of keys for the others. Whose seed and whose key can both be recovered stands alone.
    """
    sites, least = range(num), num
    views = [
        [v for k in range(threshold, num + 1) for v in itertools.combinations(sites, k) if s in v]
        for s in sites
    ]
    for told in itertools.product(*views):
        seeds = [sum(s in view for view in told) for s in sites]
        can_seed = {s for s in sites if seeds[s] >= threshold}
        can_key = {s for s in sites if num - seeds[s] >= threshold}
        if can_seed & can_key:
            return 1
        if can_seed and can_seed | can_key == set(sites):
            least = min(least, len(can_seed))
    return least


@pytest.mark.parametrize(("num", "threshold"), [(2, 2), (3, 2), (3, 3), (4, 3), (4, 4), (5, 4)])
def test_no_lie_about_dropouts_leaves_fewer_sites_than_promised(num, threshold) -> None:
    assert _worst(num, threshold) >= least_in_sum(num, threshold) >= 2


def test_threshold_of_three_in_five_can_be_lied_down_to_two() -> None:
    """The plain rule, above half, promises three; sites hold it against ``least_in_sum``."""
    assert is_above_half(5, 3)
    assert least_in_sum(5, 3) == 2


@pytest.mark.parametrize(
    ("num", "threshold", "colluding", "want"),
    [(3, 2, 1, 1), (3, 3, 1, 2), (4, 2, 0, 1), (10, 7, 0, 6), (10, 7, 2, 4), (20, 14, 0, 12)],
)
def test_sites_that_side_with_the_server_need_a_higher_threshold(
    num, threshold, colluding, want
) -> None:
    assert least_in_sum(num, threshold, colluding) == want
