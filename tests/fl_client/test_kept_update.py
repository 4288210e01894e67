"""Asked for the same again, a site sends the same again: nothing is trained, or spent, twice."""

import dataclasses

import numpy as np
import pytest

import fl_client.round
from consent.attestation import open_attestation
from consent.model import Purpose
from core_model.privacy.accounting import Kind, Spend, rdp_epsilon
from core_model.protocol.messages import Witnessing, digest
from core_model.protocol.records import decode_reply, encode_request, read_records, write_records
from fl_client.forgetting import forget_withdrawn
from fl_client.kept_update import FILE
from fl_client.private_round import epsilon_text
from fl_client.round import run_round
from fl_client.site import open_site
from fl_client.socket_client import ask_round
from fl_server.coordinator import Coordinator
from tests.federation import FINETUNING, write_federation, write_sites
from tests.fl_client.test_private_round import PLAN, charges, limit, private_federation, simulated
from tests.fl_client.test_running import WAIT_S, ask_in_process, running, wait_until

SHOWN = Witnessing(tree_head="of a server that was not joined", leaves=())


def told(coordinator):
    """What a real server asks: with its log of rounds."""
    return dataclasses.replace(coordinator.request("site-a"), witnessing=SHOWN)


def real(folder):
    """The site with noise that nobody can draw a second time."""
    return open_site(folder.config)


def kept_file(folder):
    return folder.folder / "state" / "test-run" / FILE


@pytest.fixture
def private(tmp_path):
    folders = write_sites(tmp_path, allows_training_without_privacy=False)
    return folders["site-a"], private_federation(tmp_path, folders)


def test_an_update_that_was_lost_is_sent_again_and_the_ledger_stays_as_it_is(private) -> None:
    folder, config = private
    first = run_round(told(Coordinator(config)), real(folder))
    spent = charges(folder)
    after_a_crash = Coordinator(config)  # of the server: all that it knows is on the disk
    again = run_round(told(after_a_crash), real(folder))
    assert again.attestation == first.attestation
    assert digest(again.arrays) == digest(first.arrays)
    assert charges(folder) == spent
    assert len(spent) == PLAN.steps_per_round
    after_a_crash.answer("site-a", again)
    assert after_a_crash.finish().admitted == ("site-a",)
    assert len(folder.consent.state().rounds) == 1


def test_without_a_budget_for_one_more_round_the_answer_can_still_be_sent(private) -> None:
    folder, config = private
    one = rdp_epsilon([Spend(Kind(3.0, 0.5), 2)], 1e-5)
    for person in range(3):
        limit(folder, f"site-a-p{person}", f"{one + 0.01:.3f}")
    coordinator = Coordinator(config)
    first = run_round(told(coordinator), real(folder))
    assert run_round(told(coordinator), real(folder)).attestation == first.attestation


@pytest.mark.parametrize("last", ["keep_update", "put_on_record"])
def test_a_kill_at_the_end_of_a_round_leaves_one_record_and_one_charge(
    private, monkeypatch, last
) -> None:
    """Killed before the update is kept, its noise was drawn for nothing; after, it is found."""
    folder, config = private
    coordinator = Coordinator(config)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fl_client.round, last, killed)
        with pytest.raises(KeyboardInterrupt):
            run_round(told(coordinator), real(folder))
    assert not folder.consent.state().rounds
    update = run_round(told(coordinator), real(folder))
    tries = 2 if last == "keep_update" else 1
    assert len(charges(folder)) == tries * PLAN.steps_per_round
    (record,) = folder.consent.state().rounds
    assert record.event.attestation.encode() == update.attestation
    coordinator.answer("site-a", update)
    assert coordinator.finish().admitted == ("site-a",)


def test_another_request_is_another_round_and_is_charged(private) -> None:
    folder, config = private
    coordinator = Coordinator(config)
    first = run_round(told(coordinator), real(folder))
    coordinator.book.forget_nonces()
    second = run_round(told(coordinator), real(folder))
    assert any(not np.array_equal(first.arrays[n], second.arrays[n]) for n in first.arrays)
    assert len(charges(folder)) == 2 * PLAN.steps_per_round


def test_after_a_withdrawal_the_round_is_trained_without_the_person(private) -> None:
    folder, config = private
    coordinator = Coordinator(config)
    first = run_round(told(coordinator), real(folder))
    assert kept_file(folder).exists()
    folder.withdraw("site-a-p0", [Purpose.FINETUNING])
    second = run_round(told(coordinator), real(folder))
    assert second.attestation != first.attestation
    assert [c["pool"] for c in charges(folder)] == [[[0, 2]]] * 2 + [[[1, 2]]] * 2


def test_who_withdraws_is_forgotten_in_the_kept_update(private) -> None:
    folder, config = private
    site = real(folder)
    run_round(told(Coordinator(config)), site)
    folder.withdraw("site-a-p0", [Purpose.PRETRAINING])  # of another purpose than the update's
    forget_withdrawn(site)
    assert kept_file(folder).exists()
    folder.withdraw("site-a-p0", [Purpose.FINETUNING])
    forget_withdrawn(site)
    assert not kept_file(folder).exists()


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def swap_bytes(path):
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("damage", [cut, swap_bytes])
def test_a_damaged_file_costs_a_training_and_nothing_else(tmp_path, damage) -> None:
    folders = write_sites(tmp_path)
    config = write_federation(tmp_path, folders, stages=[{"rounds": 1, "training": FINETUNING}])
    coordinator, folder = Coordinator(config), folders["site-a"]
    first = run_round(told(coordinator), real(folder))
    damage(kept_file(folder))
    second = run_round(told(coordinator), real(folder))
    assert second.attestation != first.attestation
    assert digest(second.arrays) == digest(first.arrays)
    coordinator.answer("site-a", second)
    assert coordinator.finish().admitted == ("site-a",)


def test_a_simulation_keeps_nothing(private) -> None:
    folder, config = private
    run_round(Coordinator(config).request("site-a"), real(folder))
    assert not kept_file(folder).exists()


def test_a_round_in_the_middle_is_asked_for_in_the_same_words_after_a_crash(tmp_path) -> None:
    folders = write_sites(tmp_path)
    config = write_federation(tmp_path, folders, stages=[{"rounds": 2, "training": FINETUNING}])
    nonces = []
    for _ in range(2):
        plans = [Coordinator(config).request("site-a").plan for _ in range(2)]
        assert plans[0] == plans[1]
        nonces.append(plans[0].nonce)
        coordinator = Coordinator(config)
        for site_id, folder in folders.items():
            request = coordinator.request(site_id)
            assert (request.plan.nonce == plans[0].nonce) == (site_id == "site-a")
            coordinator.answer(site_id, run_round(request, simulated(folder)))
        assert coordinator.finish().refused == {}
    assert len(set(nonces)) == 2


@pytest.mark.slow
def test_a_private_round_killed_in_the_middle_costs_what_was_drawn_and_no_more(tmp_path) -> None:
    """The worker is a process and dies by kill -9. What its ledger says then is what was drawn."""
    steps, sigma = 60, 20.0
    folders = write_sites(tmp_path, allows_training_without_privacy=False)
    plan = PLAN.model_copy(update={"steps_per_round": steps, "noise_multiplier": sigma})
    config = private_federation(tmp_path, folders, plan, demands={})
    folder, coordinator = folders["site-a"], Coordinator(config)
    raw = write_records(encode_request(told(coordinator)))
    ledger = folder.folder / "state" / "privacy-ledger.jsonl"
    with running(folder) as (process, socket):
        asking = ask_in_process(socket, raw, tmp_path)
        wait_until(lambda: ledger.exists() and ledger.read_bytes().count(b"\n") > 5)
        process.kill()
        process.wait()
        assert asking.communicate()[0] == b""
    lost = len(charges(folder))
    assert 5 <= lost < steps
    answers = []
    for _ in range(2):  # two lives of the worker, each asked twice
        with running(folder) as (process, socket):
            answers += [decode_reply(read_records(ask_round(socket, raw, WAIT_S))) for _ in "12"]
    assert len({(u.attestation, digest(u.arrays)) for u in answers}) == 1
    assert len(charges(folder)) == lost + steps
    update = answers[0]
    coordinator.answer("site-a", update)
    assert coordinator.finish().admitted == ("site-a",)
    signs = real(folder).key.verifier
    stated = open_attestation(update.attestation, signs).attestation.privacy
    drawn = rdp_epsilon([Spend(Kind(sigma, 0.5), lost + steps)], 1e-5)
    assert (stated.steps, stated.epsilon_total) == (steps, epsilon_text(drawn))
    sent = rdp_epsilon([Spend(Kind(sigma, 0.5), steps)], 1e-5)
    assert stated.epsilon == epsilon_text(sent)
