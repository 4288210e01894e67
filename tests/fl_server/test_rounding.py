"""Rounds in float16: half the bytes, the same model as far as halves can tell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_model.norms import change_norm
from core_model.protocol.messages import RefusalCode
from core_model.protocol.wire import rounded
from fl_client.round import run_round
from fl_client.site import open_site
from fl_server.coordinator import Coordinator
from fl_server.rounding import round_off
from simulations.loop import run_local, run_plain
from tests.federation import FINETUNING, PRETRAINING, write_federation, write_sites

STAGES = [
    {"rounds": 1, "training": PRETRAINING},
    {"rounds": 3, "training": FINETUNING, "server_momentum": 0.3},
]


def furthest(one, other):
    return max(float(np.abs(one[n] - other[n]).max()) for n in one)


@given(st.floats(0.125, 100, width=32), st.floats(2**-14, 2**-12))
def test_steps_too_small_for_float16_add_up(start, step) -> None:
    """Each is a quarter to one spacing of float16, or less."""
    weights, before = rounded({"w": np.float32([start])}, "float16"), {}
    begun, change = float(weights["w"][0]), np.float32(start * step)
    for _ in range(64):
        weights, before = round_off({"w": weights["w"] + change}, before)
        assert weights["w"] == weights["w"].astype(np.float16)
    assert weights["w"][0] - begun == pytest.approx(64 * change, rel=0.02, abs=start * 2**-10)


@given(st.lists(st.floats(-10, 10, width=32), min_size=3, max_size=3))
def test_a_value_that_no_site_changed_keeps_its_value_and_its_residue(values) -> None:
    weights, before = round_off({"w": np.float32(values)}, {})
    again, after = round_off(weights, before)
    assert again["w"].tolist() == weights["w"].tolist()
    assert after["residue:w"].tolist() == before["residue:w"].tolist()


def test_a_run_in_float16_sends_half_and_learns_the_same(tmp_path) -> None:
    folders = write_sites(tmp_path)
    full = run_local(write_federation(tmp_path, folders, output="a", stages=STAGES), folders)[0]
    config = write_federation(tmp_path, folders, output="b", stages=STAGES, wire="float16")
    half = run_local(config, write_sites(tmp_path / "again"))[0]
    assert not any(s.refused for s in half.summaries)
    for one, other in zip(full.summaries, half.summaries, strict=True):
        weights = sum(half.arrays[name].size for name in one.weights)
        for site_id, num in one.bytes_received.items():
            # Attestations are in it too, of about the same length.
            assert num - other.bytes_received[site_id] == pytest.approx(2 * weights, abs=200)
    # Sites start from what the server says it made.
    ins, outs = [[getattr(s, f"model_{k}") for s in half.summaries] for k in ("in", "out")]
    assert ins[2:] == outs[1:-1]
    assert furthest(half.arrays, rounded(half.arrays, "float16")) == 0
    begun = Coordinator(config.model_copy(update={"output": tmp_path / "c"})).arrays
    assert change_norm(full.arrays, half.arrays) < 0.05 * change_norm(begun, full.arrays)


def test_an_interrupted_run_in_float16_ends_as_an_undisturbed_one(tmp_path) -> None:
    folders = write_sites(tmp_path)
    settings = {"stages": STAGES, "wire": "float16"}
    whole = run_plain(write_federation(tmp_path, folders, output="a", **settings), folders)
    again = write_sites(tmp_path / "again")
    config = write_federation(tmp_path, folders, output="b", **settings)

    def stop_after_three(summary):
        if summary.round == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_plain(config, again, stop_after_three)
    assert furthest(run_plain(config, again).arrays, whole.arrays) == 0


def test_a_site_that_sends_float32_instead_is_refused(tmp_path) -> None:
    folders = write_sites(tmp_path)
    coordinator = Coordinator(write_federation(tmp_path, folders, wire="float16", stages=STAGES))
    site_id = coordinator.asked_sites()[0]
    request = coordinator.request(site_id)
    other = request.plan.model_copy(update={"wire": "float32"})
    update = run_round(type(request)(other, request.arrays), open_site(folders[site_id].config))
    coordinator.answer(site_id, update)
    assert coordinator.book.refused == {site_id: RefusalCode.WRONG_WEIGHTS}


def test_a_run_that_began_in_float32_does_not_go_on_in_float16(tmp_path) -> None:
    folders = write_sites(tmp_path)
    settings = {"output": "a", "stages": STAGES}
    run_plain(write_federation(tmp_path, folders, **settings), folders)
    with pytest.raises(ValueError, match="begin a new run"):
        Coordinator(write_federation(tmp_path, folders, wire="float16", **settings))
