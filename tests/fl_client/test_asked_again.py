"""A server that crashed asks for a round again: the second answer is the first one."""

import dataclasses

import numpy as np

from consent.model import Purpose
from core_model.protocol.messages import digest
from core_model.schema import ParameterSchema, ParameterSpec, Role
from fl_client.forgetting import forget_withdrawn
from fl_client.local_state import LocalState
from fl_client.round import run_round
from fl_client.site import open_site
from fl_server.coordinator import Coordinator
from tests.federation import FINETUNING, write_federation, write_sites

HEAD = ParameterSchema(
    parameters=(ParameterSpec(name="identity_head.weight", shape=(2, 1), role=Role.IDENTITY_HEAD),)
)


def rows(value):
    return {"identity_head.weight": np.full((2, 1), value, np.float32)}


def at(tmp_path, number):
    return LocalState(tmp_path, "run", "finetuning", number)


def starts_from(state):
    return float(state.load(HEAD, ("anna", "ben"), rows(-1))["identity_head.weight"][0, 0])


def test_the_same_round_twice_gives_the_same_weights(tmp_path) -> None:
    folders = write_sites(tmp_path)
    config = write_federation(tmp_path, folders, stages=[{"rounds": 3, "training": FINETUNING}])
    site = open_site(folders["site-a"].config)
    for _ in range(2):  # a first round, and one that has local weights to start from
        coordinator = Coordinator(config)
        first = run_round(coordinator.request("site-a"), site)
        again = Coordinator(config)  # nothing of the round was on disk
        second = run_round(again.request("site-a"), site)
        assert digest(first.arrays) == digest(second.arrays)
        again.answer("site-a", second)
        assert again.finish().admitted == ("site-a",)


def test_a_round_starts_from_the_round_before_however_often_it_is_asked_for(tmp_path) -> None:
    for number in (1, 2, 2, 3, 3, 3):
        state = at(tmp_path, number)
        assert starts_from(state) == (number - 1 if number > 1 else -1)
        state.save(rows(number), ("anna", "ben"))


def test_a_power_loss_between_the_two_files_loses_nothing(tmp_path) -> None:
    at(tmp_path, 1).save(rows(1), ("anna", "ben"))
    current = tmp_path / "run" / "finetuning.safetensors"
    current.replace(tmp_path / "run" / "finetuning.before.safetensors")
    assert starts_from(at(tmp_path, 2)) == 1


def test_who_withdraws_is_forgotten_in_both_files(tmp_path) -> None:
    folders = write_sites(tmp_path)
    config = write_federation(tmp_path, folders, stages=[{"rounds": 3, "training": FINETUNING}])
    site = open_site(folders["site-a"].config)
    for _ in range(2):
        coordinator = Coordinator(config)
        coordinator.answer("site-a", run_round(coordinator.request("site-a"), site))
        coordinator.finish()
    files = sorted((site.config.state / "test-run").glob("finetuning*.safetensors"))
    assert len(files) == 2
    assert all(b"site-a-p0" in f.read_bytes() for f in files)
    folders["site-a"].withdraw("site-a-p0", [Purpose.FINETUNING])
    assert forget_withdrawn(dataclasses.replace(site)) == 1
    assert not any(b"site-a-p0" in f.read_bytes() for f in files)
