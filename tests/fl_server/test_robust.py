"""Robust means against references that are written out by hand, and against a site that lies."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_model.norms import change_norm
from core_model.schema import ParameterSchema, ParameterSpec, Role
from core_model.settings_file import SettingsError
from fl_server.aggregation import Aggregator
from fl_server.config import load_federation
from fl_server.robust import RobustSettings, make_aggregator
from simulations.loop import run_plain
from simulations.toml_text import to_toml
from tests.federation import write_federation, write_sites

AUS = (1, 2)
SCHEMA = ParameterSchema(
    parameters=(
        ParameterSpec(name="encoder.w", shape=(3, 2), role=Role.ENCODER),
        ParameterSpec(name="au_head.weight", shape=(2, 2), role=Role.AU_HEAD),
    )
)
OLD = {p.name: np.full(p.shape, 0.5, np.float32) for p in SCHEMA.parameters}


def updates(num, seed, spread=1.0):
    chance = np.random.default_rng(seed)
    return [
        {p.name: chance.normal(0, spread, p.shape).astype(np.float32) for p in SCHEMA.parameters}
        for _ in range(num)
    ]


def fold_all(rule, arrays, labelled=None, **settings):
    aggregator = make_aggregator(RobustSettings(rule=rule, **settings), SCHEMA, AUS, OLD)
    for k, update in enumerate(arrays):
        rows = labelled[k] if labelled else AUS
        aggregator.fold(update, 1.0, dict.fromkeys(rows, 1.0))
    return aggregator.mean(OLD)


def trimmed_by_hand(values, cut):
    """One coordinate, in plain Python."""
    kept = sorted(values)[cut : len(values) - cut]
    return sum(kept) / len(kept)


def median_by_hand(values):
    values = sorted(values)
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


@given(st.integers(1, 9), st.integers(0, 3), st.integers(0, 2**31))
def test_trimmed_mean_and_median_of_each_coordinate(num, num_bad, seed) -> None:
    sites = updates(num, seed)
    cut = min(num_bad, (num - 1) // 2)
    trimmed = fold_all("trimmed_mean", sites, num_bad=num_bad)
    median = fold_all("median", sites)
    for p in SCHEMA.parameters:
        for at in itertools.product(*map(range, p.shape)):
            values = [float(s[p.name][at]) for s in sites]
            assert trimmed[p.name][at] == pytest.approx(trimmed_by_hand(values, cut), abs=1e-6)
            assert median[p.name][at] == pytest.approx(median_by_hand(values), abs=1e-6)


def test_rows_are_of_those_who_label_them_and_stay_if_nobody_does() -> None:
    sites = updates(3, 1)
    for rule in ("median", "trimmed_mean"):
        mean = fold_all(rule, sites, labelled=[(1,), (1,), (1,)])
        assert (mean["au_head.weight"][1] == 0.5).all()
        rows = [s["au_head.weight"][0] for s in sites]
        assert np.allclose(mean["au_head.weight"][0], np.median(rows, axis=0), atol=1e-6)


def krum_by_hand(sites, num_bad):
    """The scores of Blanchard et al., in plain Python, over what all sites train."""
    flat = [[float(x) for x in s["encoder.w"].reshape(-1)] for s in sites]
    num = len(flat)
    scores = []
    for i in range(num):
        far = sorted(
            sum((a - b) ** 2 for a, b in zip(flat[i], flat[j], strict=True))
            for j in range(num) if j != i
        )  # fmt: skip
        scores.append(sum(far[: num - num_bad - 2]))
    return sorted(sorted(range(num), key=lambda k: scores[k])[: num - num_bad])


@given(st.integers(1, 2), st.integers(0, 3), st.integers(0, 2**31))
def test_multi_krum_chooses_as_the_paper_says(num_bad, extra, seed) -> None:
    sites = updates(2 * num_bad + 3 + extra, seed)
    chosen = [sites[k] for k in krum_by_hand(sites, num_bad)]
    want = fold_all("mean", chosen)
    got = fold_all("multi_krum", sites, num_bad=num_bad)
    for name in want:
        assert np.array_equal(got[name], want[name])


@given(st.floats(0.01, 10), st.integers(0, 2**31))
def test_clipping_shortens_what_is_too_long_and_nothing_else(clip_norm, seed) -> None:
    (site,) = updates(1, seed)
    length = math.sqrt(sum(float(((site[n] - OLD[n]).astype(float) ** 2).sum()) for n in site))
    mean = fold_all("clipped_mean", [site], clip_norm=clip_norm)
    factor = min(1.0, clip_norm / length)
    for name in site:
        assert np.allclose(mean[name] - OLD[name], factor * (site[name] - OLD[name]), atol=1e-5)
    assert change_norm(OLD, mean) <= clip_norm * (1 + 1e-5)


RULES = {
    "clipped_mean": {"clip_norm": 1.0}, "trimmed_mean": {"num_bad": 1},
    "median": {}, "multi_krum": {"num_bad": 1},
}  # fmt: skip


@pytest.mark.parametrize(("rule", "settings"), RULES.items(), ids=RULES.keys())
def test_one_liar_among_six_moves_the_model_little(rule, settings) -> None:
    honest = updates(5, 3, spread=0.1)
    liar = {n: np.full_like(a, 1000.0) for n, a in honest[0].items()}
    want = fold_all("mean", honest)
    moved = change_norm(want, fold_all(rule, [*honest, liar], **settings))
    assert moved < 2
    assert change_norm(want, fold_all("mean", [*honest, liar])) > 100  # the plain mean does not


def test_the_plain_mean_is_the_streaming_one() -> None:
    assert isinstance(make_aggregator(RobustSettings(), SCHEMA, AUS, OLD), Aggregator)


def test_a_stage_chooses_its_rule_and_needs_sites_enough(tmp_path) -> None:
    folders = write_sites(tmp_path)
    config = write_federation(tmp_path, folders)
    stages = tuple(
        s.model_copy(update={"aggregation": RobustSettings(rule="median")}) for s in config.stages
    )
    config = config.model_copy(update={"stages": stages})
    assert all(s.has_quorum for s in run_plain(config, folders).summaries)
    path = tmp_path / "federation.toml"
    path.write_text(to_toml(config).replace('"median"', '"multi_krum"'))
    with pytest.raises(SettingsError, match="multi_krum with 1 bad sites needs a quorum of 5"):
        load_federation(path)
