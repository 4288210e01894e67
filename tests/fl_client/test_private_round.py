"""Private rounds at a site: who is in the pool, what is charged, what leaves, what is refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from consent.attestation import open_attestation
from consent.epsilon import epsilon_of
from consent.model import Conditions, Grant, Purpose
from consent.model import Role as ConsentRole
from consent.subject_events import ConsentGiven
from core_model.adapting import with_adapters
from core_model.checkpoint import load_checkpoint, save_checkpoint
from core_model.privacy.accounting import Kind, Spend, rdp_epsilon
from core_model.privacy.chance import SimulationChance
from core_model.privacy.ledger import Ledger
from core_model.privacy.plan import PrivacyPlan
from core_model.protocol.messages import RefusalCode
from fl_client import private_training
from fl_client.errors import RoundRefusedError
from fl_client.private_round import decimal_text, epsilon_text, small_text
from fl_client.round import run_round
from fl_client.site import ledger_path, open_site
from fl_server.config import Stage
from fl_server.coordinator import Coordinator
from simulations.sites import NOTICE
from tests.federation import FINETUNING, PRETRAINING, write_federation, write_sites

PLAN = PrivacyPlan(
    sampling_rate=0.5, nominal_units=4, frames_per_subject=2, steps_per_round=2,
    noise_multiplier=3.0, scope="norms",
)  # fmt: skip
PRIVATE = FINETUNING.model_copy(update={"reversal_scale": 0.0})
SIMULATED = {"allows_simulation": True}


def private_federation(root, folders, plan=PLAN, rounds=3, **changes):
    stages = (Stage(rounds=rounds, training=PRIVATE, privacy=plan),)
    return write_federation(root, folders, **{"stages": stages, "demands": SIMULATED, **changes})


def simulated(folder, **changes):
    site = open_site(folder.config)
    return dataclasses.replace(site, chance=lambda plan: SimulationChance(plan.round), **changes)


@pytest.fixture
def setting(tmp_path):
    folders = write_sites(tmp_path, allows_training_without_privacy=False)
    coordinator = Coordinator(private_federation(tmp_path, folders))
    return folders["site-a"], coordinator


def refusal(request, site):
    with pytest.raises(RoundRefusedError) as caught:
        run_round(request, site)
    return caught.value.code


def attested(update, site):
    return open_attestation(update.attestation, site.key.verifier).attestation


def limit(folder, person, epsilon):
    """Let a person agree again, with a budget of their own."""
    consent = folder.consent
    notice = consent.publish_notice("simulation", "en", NOTICE, list(Purpose))
    grants = tuple(
        Grant(purpose=p, conditions=Conditions(max_epsilon=epsilon))
        for p in (Purpose.PRETRAINING, Purpose.FINETUNING)
    )
    given = ConsentGiven(subject_id=person, grants=grants, notice=notice, evidence="0" * 64)
    consent.append([given], ConsentRole.REGISTRAR)


def ledger_of(folder):
    return Ledger(ledger_path(open_site(folder.config).config), folder.site_id)


def charges(folder):
    path = folder.folder / "state" / "privacy-ledger.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()[1:]]


def test_steps_are_charged_to_the_whole_pool_and_stated(setting) -> None:
    folder, coordinator = setting
    site = simulated(folder)
    update = run_round(coordinator.request("site-a"), site)
    first, second = charges(folder)
    assert (first["pool"], first["step_from"], first["steps"], second["step_from"]) == (
        [[0, 2]], 0, 1, 1,
    )  # fmt: skip
    assert (first["is_simulation"], first["noise"]["denominator"]) == (True, 2.0)
    stated = attested(update, site).privacy
    want = rdp_epsilon([Spend(Kind(3.0, 0.5), 2)], 1e-5)
    assert float(stated.epsilon) == pytest.approx(want, abs=0.001)
    assert (stated.epsilon, stated.epsilon_total) == (epsilon_text(want),) * 2
    assert (stated.steps, stated.delta, stated.unit) == (2, "1e-5", "subject")
    assert stated.ledger.head.size == 3
    assert epsilon_of([stated.spent()], 1e-5) <= float(stated.epsilon)


def test_real_site_draws_from_the_system_and_says_no_simulation(setting) -> None:
    folder, coordinator = setting
    request, site = coordinator.request("site-a"), open_site(folder.config)
    one, two = (run_round(request, site).arrays for _ in range(2))
    assert any(not np.array_equal(one[n], two[n]) for n in one)
    stated = attested(run_round(request, site), site).privacy
    assert not stated.is_simulation
    # Three tries of one round: each drew other noise, and each is charged.
    want = rdp_epsilon([Spend(Kind(3.0, 0.5), 6)], 1e-5)
    assert stated.epsilon_total == epsilon_text(want)
    assert float(stated.epsilon) < float(stated.epsilon_total)


def test_equal_seeds_of_a_simulation_give_equal_weights(tmp_path) -> None:
    results = []
    for root in (tmp_path / "one", tmp_path / "two"):
        folders = write_sites(root)
        request = Coordinator(private_federation(root, folders)).request("site-a")
        results.append(run_round(request, simulated(folders["site-a"])).arrays)
    assert all(np.array_equal(results[0][n], results[1][n]) for n in results[0])


def test_frozen_weights_are_not_sent_and_the_server_keeps_them(setting) -> None:
    folder, coordinator = setting
    before = dict(coordinator.arrays)
    request = coordinator.request("site-a")
    update = run_round(request, simulated(folder))
    assert set(update.arrays) < set(request.arrays)
    assert all(a.ndim == 1 or n.startswith("au_head.") for n, a in update.arrays.items())
    coordinator.answer("site-a", update)
    assert coordinator.finish().refused == {}
    for name, array in coordinator.arrays.items():
        assert np.array_equal(array, before[name]) == (name not in update.arrays)


def test_adapters_and_the_head_alone_are_sent(tmp_path) -> None:
    folders = write_sites(tmp_path)
    config = private_federation(tmp_path, folders, PLAN.model_copy(update={"scope": "lora"}))
    with pytest.raises(ValueError, match="omote-model adapt"):
        Coordinator(config)
    adapted = with_adapters(*load_checkpoint(config.initial), rank=2, alpha=8.0, seed=0)
    save_checkpoint(config.initial, *adapted)
    coordinator = Coordinator(config)
    before = dict(coordinator.arrays)
    update = run_round(coordinator.request("site-a"), simulated(folders["site-a"]))
    assert {"au_head.weight", "au_head.bias"} < set(update.arrays)
    assert all(".lora." in n for n in update.arrays if not n.startswith("au_head."))
    assert not np.array_equal(
        update.arrays["encoder.blocks.0.mlp.fc2.lora.up.weight"],
        before["encoder.blocks.0.mlp.fc2.lora.up.weight"],
    )
    coordinator.answer("site-a", update)
    assert coordinator.finish().refused == {}
    for name, array in coordinator.arrays.items():
        assert np.array_equal(array, before[name]) == (name not in update.arrays)


def test_private_round_of_pretraining_keeps_its_decoder_apart(tmp_path) -> None:
    folders = write_sites(tmp_path)
    plan = PLAN.model_copy(update={"scope": "full"})
    stages = (Stage(rounds=1, training=PRETRAINING, privacy=plan),)
    config = write_federation(tmp_path, folders, stages=stages, demands=SIMULATED)
    update = run_round(Coordinator(config).request("site-a"), simulated(folders["site-a"]))
    assert update.arrays
    assert all(name.startswith("encoder.") for name in update.arrays)
    kept = {p.name for p in (folders["site-a"].folder / "state" / "test-run").glob("*.safetensors")}
    assert kept == {"private-pretraining.safetensors"}


# --- budgets ---------------------------------------------------------------------------------


def test_people_with_little_budget_are_left_out_and_the_round_goes_on(setting) -> None:
    folder, coordinator = setting
    limit(folder, "site-a-p1", "0.5")
    update = run_round(coordinator.request("site-a"), simulated(folder))
    assert {tuple(map(tuple, c["pool"])) for c in charges(folder)} == {((0, 1),)}
    assert ledger_of(folder).epsilons(["site-a-p1"], 1e-5) == [0]
    assert attested(update, open_site(folder.config)).counts is None


def test_budget_ends_in_the_round_that_would_exceed_it(setting) -> None:
    folder, coordinator = setting
    two = rdp_epsilon([Spend(Kind(3.0, 0.5), 4)], 1e-5)
    limit(folder, "site-a-p1", f"{two + 0.01:.3f}")
    site, request = simulated(folder), coordinator.request("site-a")
    for expected in (3, 3, 2):
        run_round(request, site)
        last = charges(folder)[-1]
        assert sum(b - a + 1 for a, b in last["pool"]) == expected
    assert ledger_of(folder).epsilons(["site-a-p1"], 1e-5)[0] <= two + 0.01


def test_round_is_refused_when_nobody_can_afford_it(setting) -> None:
    folder, coordinator = setting
    for person in range(3):
        limit(folder, f"site-a-p{person}", "0.1")
    assert refusal(coordinator.request("site-a"), simulated(folder)) is RefusalCode.BUDGET_SPENT
    assert charges(folder) == []


def test_sites_cap_holds_for_people_whose_consent_names_no_budget(setting) -> None:
    folder, coordinator = setting
    text = folder.config.read_text()
    folder.config.write_text(text.replace("[caps]", "[caps]\nmax_epsilon = 0.2"))
    assert refusal(coordinator.request("site-a"), simulated(folder)) is RefusalCode.BUDGET_SPENT


def test_person_who_withdrew_is_charged_no_more_and_what_was_spent_stays(setting) -> None:
    folder, coordinator = setting
    site, request = simulated(folder), coordinator.request("site-a")
    run_round(request, site)
    spent = ledger_of(folder).epsilons(["site-a-p0"], 1e-5)
    folder.withdraw("site-a-p0", [Purpose.FINETUNING])
    run_round(request, site)
    ledger = ledger_of(folder)
    assert ledger.epsilons(["site-a-p0"], 1e-5) == spent
    assert ledger.epsilons(["site-a-p1"], 1e-5) > spent


def test_without_noise_the_site_must_allow_it_and_whoever_set_a_budget_stays_out(tmp_path) -> None:
    folders = write_sites(tmp_path)
    folder, request = folders["site-a"], Coordinator(write_federation(tmp_path, folders))
    request = request.request("site-a")
    limit(folder, "site-a-p1", "100")
    run_round(request, open_site(folder.config))
    (line,) = charges(folder)
    assert (line["event"], line["pool"], line["noise"]) == ("unprotected", [[0, 1]], None)
    text = folder.config.read_text()
    folder.config.write_text(text.replace("privacy = true", "privacy = false"))
    assert refusal(request, open_site(folder.config)) is RefusalCode.PLAN_NOT_ALLOWED


def test_people_trained_on_without_noise_are_in_no_private_round_after(tmp_path) -> None:
    folders = write_sites(tmp_path)
    folder = folders["site-a"]
    limit(folder, "site-a-p1", "5")
    run_round(
        Coordinator(write_federation(tmp_path, folders)).request("site-a"),
        open_site(folder.config),
    )
    private = Coordinator(private_federation(tmp_path, folders, output="private"))
    run_round(private.request("site-a"), simulated(folder))
    assert ledger_of(folder).epsilons(["site-a-p0", "site-a-p1"], 1e-5)[0] == np.inf
    assert charges(folder)[-1]["pool"] == [[2, 2]]  # the one who was spared the first round


REFUSED = {
    "a promise about frames": {"unit": "frame"},
    "a larger delta": {"delta": 1e-3},
    "a delta that would use up every budget": {"delta": 1e-60},
    "steps without end": {"steps_per_round": 10**9, "noise_multiplier": 1e5},
    "hardly any noise": {"noise_multiplier": 1e-4},
    "frames that fill the memory": {"frames_per_subject": 10**9},
    "identity slots that fill the memory": {"identity_slots": 10**9},
    "adapters that the encoder does not have": {"scope": "lora"},
    "a frozen identity head without a name": {"identity_head": "frozen"},
    "a frozen identity head that the site has not": {
        "identity_head": "frozen",
        "frozen_head": "0" * 64,
    },
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED.keys())
def test_plans_that_a_site_does_not_allow(setting, changes) -> None:
    folder, coordinator = setting
    request = coordinator.request("site-a")
    plan = request.plan.model_copy(update={"privacy": PLAN.model_copy(update=changes)})
    asked = dataclasses.replace(request, plan=plan)
    assert refusal(asked, simulated(folder)) is RefusalCode.PLAN_NOT_ALLOWED


# --- the ledger and what was told ------------------------------------------------------------


def test_damaged_ledger_stops_every_round(setting) -> None:
    folder, coordinator = setting
    request = coordinator.request("site-a")
    run_round(request, simulated(folder))
    path = folder.folder / "state" / "privacy-ledger.jsonl"
    path.write_bytes(
        path.read_bytes().replace(b'"noise_multiplier":3.0', b'"noise_multiplier":9.0')
    )
    assert refusal(request, simulated(folder)) is RefusalCode.LEDGER_UNSOUND


RESTORED = {
    "an older copy": lambda path, old: path.write_bytes(old),
    "a fresh one": lambda path, old: (path.unlink(), path.with_suffix(".key").unlink()),
}


@pytest.mark.parametrize("restore", RESTORED.values(), ids=RESTORED.keys())
@pytest.mark.parametrize("forget_consent", [False, True])
def test_restored_ledger_is_found_by_the_site(tmp_path, restore, forget_consent) -> None:
    """By what the server saw, and by what the site's own consent log says that it signed."""
    folders = write_sites(tmp_path)
    folder, site = folders["site-a"], simulated(folders["site-a"])
    coordinator = Coordinator(private_federation(tmp_path, folders))
    consent = tmp_path / "consent-before"
    path = folder.folder / "state" / "privacy-ledger.jsonl"
    for number in range(2):
        if number == 1:
            old = path.read_bytes()
            shutil.copytree(folder.folder / "consent", consent)
        coordinator.answer("site-a", run_round(coordinator.request("site-a"), site))
        assert coordinator.finish().admitted == ("site-a",)
    restore(path, old)
    if forget_consent:  # the whole site went back: only the server knows
        shutil.rmtree(folder.folder / "consent")
        shutil.copytree(consent, folder.folder / "consent")
        request = coordinator.request("site-a")
        assert request.plan.ledger_size == 5
    else:  # another server, which never heard of this site
        other = Coordinator(private_federation(tmp_path, folders, output="other"))
        request = other.request("site-a")
        assert request.plan.ledger_root is None
    assert refusal(request, simulated(folder)) is RefusalCode.LEDGER_UNSOUND


def test_step_that_cannot_be_charged_is_not_taken(setting, monkeypatch) -> None:
    folder, coordinator = setting
    site, stepped = simulated(folder), []

    def full(self, *args):
        raise OSError("the disk is full")

    monkeypatch.setattr(Ledger, "charge", full)
    monkeypatch.setattr("torch.optim.AdamW.step", lambda *a, **k: stepped.append(1))
    assert refusal(coordinator.request("site-a"), site) is RefusalCode.SITE_FAULT
    assert stepped == []


def test_round_that_charged_too_little_gives_no_update(setting, monkeypatch) -> None:
    folder, coordinator = setting
    real = private_training.finetune_privately

    def skip_a_charge(*args, charge, **kwargs):
        calls = []
        real(*args, charge=lambda n: (calls.append(n), calls[1:] or charge(n)), **kwargs)

    monkeypatch.setattr(private_training, "finetune_privately", skip_a_charge)
    request = coordinator.request("site-a")
    assert refusal(request, simulated(folder)) is RefusalCode.SITE_FAULT


def test_numbers_are_written_on_the_safe_side() -> None:
    assert decimal_text(1.1, "ROUND_FLOOR") == "1.1"
    assert decimal_text(1 / 3, "ROUND_CEILING") == "0.333333333334"
    assert decimal_text(20.0, "ROUND_FLOOR") == "20"
    assert (epsilon_text(1.2340001), epsilon_text(0.0)) == ("1.235", "0.000")
    assert [small_text(d) for d in (1e-5, 3.29e-4, 1e-12, 0.01)] == [
        "1e-5", "3.2e-4", "1e-12", "1e-2",
    ]  # fmt: skip
