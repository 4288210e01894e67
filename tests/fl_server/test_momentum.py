import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_server.coordinator import Coordinator
from fl_server.errors import ServerError
from fl_server.momentum import advance
from simulations.loop import run_plain
from tests.federation import FINETUNING, PRETRAINING, write_federation, write_sites

MOMENTUM = [
    {"rounds": 1, "training": PRETRAINING, "server_momentum": 0.5},
    {"rounds": 3, "training": FINETUNING, "server_momentum": 0.5, "server_learning_rate": 0.8},
]
NUMBERS = st.lists(st.floats(-10, 10, width=32), min_size=3, max_size=3)


def arrays(values):
    return {"w": np.array(values, np.float32)}


@given(NUMBERS, NUMBERS)
def test_without_momentum_the_mean_itself_is_the_model(old, mean):
    weights, velocity = advance(arrays(old), arrays(mean), {}, momentum=0, learning_rate=1)
    assert weights["w"].tolist() == arrays(mean)["w"].tolist()
    assert velocity == {}


@given(st.lists(NUMBERS, min_size=1, max_size=5), st.floats(0.1, 0.9), st.floats(0.1, 1))
def test_agrees_with_nesterov_written_out_one_number_at_a_time(means, momentum, rate):
    old, velocity = arrays([0, 0, 0]), {}
    want, speed = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    for mean in means:
        old, velocity = advance(old, arrays(mean), velocity, momentum=momentum, learning_rate=rate)
        for k in range(3):
            change = float(np.float32(mean[k])) - want[k]
            if abs(change) > 1e-5:
                speed[k] = momentum * speed[k] + change
                want[k] += rate * (change + momentum * speed[k])
    assert np.allclose(old["w"], want, rtol=1e-3, atol=1e-3)


def test_a_value_that_no_site_changed_does_not_drift():
    old, velocity = arrays([1, 1, 1]), arrays([5, 5, 5])
    weights, after = advance(old, arrays([1, 2, 1]), velocity, momentum=0.9, learning_rate=1)
    assert weights["w"][[0, 2]].tolist() == [1, 1]
    assert after["w"][[0, 2]].tolist() == [5, 5]
    assert weights["w"][1] == pytest.approx(1 + 1 + 0.9 * (0.9 * 5 + 1))


def test_an_interrupted_run_with_momentum_ends_as_an_undisturbed_one(tmp_path):
    folders = write_sites(tmp_path)
    whole = run_plain(write_federation(tmp_path, folders, output="a", stages=MOMENTUM), folders)

    config = write_federation(tmp_path, folders, output="b", stages=MOMENTUM)
    interrupted = write_sites(tmp_path / "again")
    rounds = []

    def stop_after_two(summary):
        rounds.append(summary.round)
        if summary.round == 2:
            raise KeyboardInterrupt

    config = config.model_copy(update={"sites": tuple(f.enrolment() for f in interrupted.values())})
    with pytest.raises(KeyboardInterrupt):
        run_plain(config, interrupted, stop_after_two)
    resumed = run_plain(config, interrupted)
    assert rounds == [1, 2]
    for name, array in whole.arrays.items():
        assert array.tobytes() == resumed.arrays[name].tobytes(), name


def test_momentum_that_is_lost_ends_the_run_with_what_to_do(tmp_path):
    folders = write_sites(tmp_path)
    config = write_federation(tmp_path, folders, stages=MOMENTUM)

    def stop_after_two(summary):
        if summary.round == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_plain(config, folders, stop_after_two)
    (config.output / "momentum-0002.safetensors").unlink()
    with pytest.raises(ServerError, match="restore the file"):
        Coordinator(config)


def test_only_the_last_velocity_is_kept(tmp_path):
    folders = write_sites(tmp_path)
    config = write_federation(tmp_path, folders, stages=MOMENTUM)
    run_plain(config, folders)
    assert [p.name for p in config.output.glob("momentum-*")] == ["momentum-0004.safetensors"]
