import contextlib

import numpy as np

from core_model.checkpoint import load_checkpoint
from core_model.protocol.messages import digest
from fl_server.coordinator import Coordinator
from simulations.loop import run_local, run_plain
from tests.federation import write_federation, write_sites


def test_plain_calls_and_flower_messages_give_the_same_weights(tmp_path) -> None:
    digests = []
    for engine in (run_plain, run_local):
        root = tmp_path / engine.__name__
        folders = write_sites(root)
        done = engine(write_federation(root, folders), folders)
        coordinator = done[0] if isinstance(done, tuple) else done
        assert [s.admitted for s in coordinator.summaries] == [("site-a", "site-b")] * 3
        digests.append(digest(coordinator.arrays))
    assert digests[0] == digests[1]


def test_training_moves_the_shared_weights_and_nothing_else(tmp_path) -> None:
    folders = write_sites(tmp_path)
    config = write_federation(tmp_path, folders)
    before, _ = load_checkpoint(config.initial)
    after = run_plain(config, folders).arrays
    assert before.keys() == after.keys()
    for name in ("encoder.blocks.0.mlp.fc1.weight", "au_head.weight"):
        assert np.abs(after[name] - before[name]).max() > 0


def test_an_interrupted_run_goes_on_with_the_same_result(tmp_path) -> None:
    class StopError(Exception):
        pass

    def stop_after_two(summary) -> None:
        if summary.round == 2:
            raise StopError

    folders = write_sites(tmp_path / "whole")
    whole = run_plain(write_federation(tmp_path / "whole", folders), folders)

    folders = write_sites(tmp_path / "cut")
    config = write_federation(tmp_path / "cut", folders)
    with contextlib.suppress(StopError):
        run_plain(config, folders, stop_after_two)
    assert Coordinator(config).round == 3
    again = run_plain(config, folders)
    assert [s.round for s in again.summaries] == [1, 2, 3]
    assert digest(again.arrays) == digest(whole.arrays)
