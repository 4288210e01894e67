"""FedAdam against its paper, written out one number at a time; and as a run that is interrupted."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_model.settings_file import SettingsError
from fl_server.adaptive import SECOND, adapt
from fl_server.config import load_federation
from fl_server.coordinator import Coordinator
from simulations.loop import run_plain
from simulations.toml_text import to_toml
from tests.federation import FINETUNING, PRETRAINING, write_federation, write_sites

ADAM = {
    "server_optimiser": "fedadam", "server_momentum": 0.9, "server_learning_rate": 1e-3,
    "server_second_momentum": 0.95, "server_adaptivity": 1e-4,
}  # fmt: skip
STAGES = [
    {"rounds": 1, "training": PRETRAINING, **ADAM},
    {"rounds": 3, "training": FINETUNING, **ADAM},
]
CHANGES = st.lists(st.floats(-10, 10, width=32), min_size=3, max_size=3)


def arrays(values):
    return {"w": np.array(values, np.float32)}


@given(
    st.lists(CHANGES, min_size=1, max_size=6), st.floats(0, 0.95), st.floats(0, 0.999),
    st.floats(1e-4, 1e-1), st.floats(1e-4, 1e-1),
)  # fmt: skip
def test_agrees_with_algorithm_2_of_the_paper(changes, beta_1, beta_2, tau, eta):
    old, moments = arrays([1, -1, 0]), {}
    x, m, v = [1.0, -1.0, 0.0], [0.0] * 3, [tau**2] * 3
    for change in changes:
        mean = {"w": (old["w"] + np.array(change, np.float32)).astype(np.float32)}
        deltas = [float(d) for d in mean["w"] - old["w"]]  # as float32 has them
        old, moments = adapt(
            old, mean, moments, momentum=beta_1, second_momentum=beta_2, adaptivity=tau,
            learning_rate=eta,
        )  # fmt: skip
        for k, delta in enumerate(deltas):
            if delta == 0:
                continue
            m[k] = beta_1 * m[k] + (1 - beta_1) * delta
            v[k] = beta_2 * v[k] + (1 - beta_2) * delta**2
            x[k] += eta * m[k] / (math.sqrt(v[k]) + tau)
    assert np.allclose(old["w"], x, rtol=1e-3, atol=1e-4)
    assert np.allclose(moments["w"], m, rtol=1e-3, atol=1e-4)
    assert np.allclose(moments[SECOND + "w"], v, rtol=1e-3, atol=1e-4)


def test_a_weight_moves_about_the_learning_rate_however_small_its_change_is():
    weights, _ = adapt(
        arrays([0, 0, 0]), arrays([1e-2, 1e-1, 1]), {}, momentum=0, second_momentum=0,
        adaptivity=1e-6, learning_rate=0.01,
    )  # fmt: skip
    assert np.allclose(weights["w"], 0.01, rtol=1e-3)


def test_a_value_that_no_site_changed_does_not_drift():
    moments = {"w": np.full(3, 5, np.float32), SECOND + "w": np.full(3, 7, np.float32)}
    weights, after = adapt(
        arrays([1, 1, 1]), arrays([1, 2, 1]), moments, momentum=0.9, second_momentum=0.9,
        adaptivity=1e-3, learning_rate=0.1,
    )  # fmt: skip
    assert weights["w"][[0, 2]].tolist() == [1, 1]
    assert after["w"][[0, 2]].tolist() == [5, 5]
    assert after[SECOND + "w"][[0, 2]].tolist() == [7, 7]
    assert weights["w"][1] > 1


def test_an_interrupted_run_ends_as_an_undisturbed_one_to_the_bit(tmp_path):
    folders = write_sites(tmp_path)
    whole = run_plain(write_federation(tmp_path, folders, output="a", stages=STAGES), folders)

    again = write_sites(tmp_path / "again")
    config = write_federation(tmp_path, folders, output="b", stages=STAGES)
    config = config.model_copy(update={"sites": tuple(f.enrolment() for f in again.values())})

    def stop(summary):
        raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run_plain(config, again, stop)
    resumed = run_plain(config, again)
    assert [p.name for p in config.output.glob("momentum-*")] == ["momentum-0004.safetensors"]
    for name, array in whole.arrays.items():
        assert array.tobytes() == resumed.arrays[name].tobytes(), name


def test_it_is_another_run_than_the_mean(tmp_path):
    folders = write_sites(tmp_path)
    plain = [{"rounds": 1, "training": PRETRAINING}, {"rounds": 3, "training": FINETUNING}]
    config = write_federation(tmp_path, folders, stages=STAGES)
    first = Coordinator(config).request("site-a").arrays
    adam = run_plain(config, folders).arrays
    mean = run_plain(
        write_federation(tmp_path, folders, output="mean", stages=plain),
        write_sites(tmp_path / "m"),
    ).arrays
    moved = {n: np.abs(adam[n] - a).max() for n, a in first.items()}
    assert max(moved.values()) < 4 * 1.01e-2  # at most eta sqrt(10) a round with these momenta
    assert any(not np.array_equal(adam[n], mean[n]) for n in mean)


def test_a_step_that_suits_the_mean_is_refused(tmp_path):
    config = write_federation(tmp_path, write_sites(tmp_path), stages=STAGES)
    path = tmp_path / "federation.toml"
    path.write_text(to_toml(config).replace("server_learning_rate = 0.001", ""))
    with pytest.raises(SettingsError, match="with fedadam it is how far one weight moves"):
        load_federation(path)
