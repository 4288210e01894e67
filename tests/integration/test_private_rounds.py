"""Private rounds through Flower's apps: what crosses, what the server refuses, what adds up."""

import dataclasses
import json

import pytest

from consent.attestation import open_attestation, sign_attestation
from consent.epsilon import NoNoise
from consent.model import Purpose
from core_model.privacy.accounting import Kind, Spend, rdp_epsilon
from core_model.privacy.chance import SimulationChance
from core_model.protocol.messages import RefusalCode
from fl_client import private_round
from fl_client.private_round import epsilon_text
from fl_client.round import run_round
from fl_client.site import open_site
from fl_server.config import Stage
from fl_server.coordinator import Coordinator
from simulations.loop import run_local
from tests.federation import FINETUNING, write_federation, write_sites
from tests.fl_client.test_private_round import (
    PLAN,
    PRIVATE,
    SIMULATED,
    private_federation,
    simulated,
)
from tests.integration.test_wall import FIELDS


def in_simulation(request, site):
    seeded = dataclasses.replace(site, chance=lambda plan: SimulationChance(plan.round))
    return run_round(request, seeded)


def attested(update, site):
    return open_attestation(update.attestation, site.key.verifier).attestation


def test_only_what_trains_crosses_and_epsilon_adds_up(tmp_path) -> None:
    folders = write_sites(tmp_path, allows_training_without_privacy=False)
    config = private_federation(tmp_path, folders)
    coordinator, grid = run_local(config, folders, run=in_simulation, keep_raw=True)
    assert all(s.refused == {} for s in coordinator.summaries)
    updates = [c for c in grid.crossings if c.message_type == "train"]
    trained = {p.name for p in coordinator.update_schema.parameters}
    assert {frozenset(c.arrays) for c in updates} == {frozenset(trained)}
    assert "encoder.blocks.0.attn.qkv.weight" not in trained
    assert "encoder.blocks.0.norm1.weight" in trained
    assert all(set(c.fields) == FIELDS for c in updates)
    state = json.loads((config.output / "run.json").read_text())
    want = epsilon_text(rdp_epsilon([Spend(Kind(3.0, 0.5), 6)], 1e-5))
    assert {s["epsilon_total"] for s in state["sites"].values()} == {want}
    assert all(s["ledger"]["size"] == 7 for s in state["sites"].values())


def test_run_of_a_public_stage_and_a_private_one(tmp_path) -> None:
    """The public stage is only for a site that declares it; its people are in no private round."""
    folders = write_sites(tmp_path)
    stages = (Stage(rounds=1, training=FINETUNING), Stage(rounds=1, training=PRIVATE, privacy=PLAN))
    config = write_federation(tmp_path, folders, stages=stages, demands=SIMULATED)
    coordinator, _ = run_local(config, folders, run=in_simulation)
    assert [s.refused for s in coordinator.summaries] == [
        {},
        {"site-a": RefusalCode.BUDGET_SPENT, "site-b": RefusalCode.BUDGET_SPENT},
    ]


def test_one_person_more_changes_no_number_in_the_message(tmp_path) -> None:
    """Counts, losses, lengths: whatever differs would be one. Weights and hashes may differ."""
    found = []
    for people in (3, 2):
        folders = write_sites(tmp_path / str(people))
        folder = folders["site-a"]
        if people == 2:
            folder.withdraw("site-a-p1", [Purpose.FINETUNING])
        coordinator = Coordinator(private_federation(tmp_path / str(people), folders))
        site = simulated(folder)
        update = run_round(coordinator.request("site-a"), site)
        said = attested(update, site).model_dump(mode="json")
        for of_time_or_hash in (
            "nonce", "manifest", "update", "consent", "started_at", "ended_at", "model_in"
        ):  # fmt: skip
            said.pop(of_time_or_hash)
        said["privacy"]["ledger"]["head"].pop("root")
        found.append((said, update.labelled_aus, {n: a.shape for n, a in update.arrays.items()}))
    assert found[0] == found[1]
    assert set(found[0][0]["privacy"]) == {
        "mechanism", "unit", "accountant", "noise_multiplier", "max_grad_norm", "sample_rate",
        "steps", "delta", "epsilon", "epsilon_total", "ledger", "is_simulation",
    }  # fmt: skip
    assert found[0][0]["counts"] is None


def test_nothing_of_the_ledger_or_of_chance_is_in_the_bytes(tmp_path) -> None:
    folders = write_sites(tmp_path)
    config = private_federation(tmp_path, folders)
    _, grid = run_local(config, folders, run=in_simulation, keep_raw=True)
    raw = b"".join(c.raw for c in grid.crossings)
    for folder in folders.values():
        path = folder.folder / "state" / "privacy-ledger.jsonl"
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        for secret in (path.with_suffix(".key").read_bytes(), *secrets_in(lines)):
            assert secret not in raw
        assert f"{folder.site_id}-p".encode() not in raw
    assert not any(word in raw for word in (b"loss", b'"pool"', b"seed", b"num_examples"))


def secrets_in(lines):
    """Names of people, and hashes that chain the lines, with which guesses could be checked."""
    for line in lines:
        for text in (line["previous"], line.get("key"), *line.get("joined", ())):
            if text and text != "0" * 64:
                yield text.encode()
                yield bytes.fromhex(text)


# --- sites that cheat ------------------------------------------------------------------------


def bent_noise(**changes):
    def bend(attestation):
        noise = attestation.privacy.model_copy(update=changes)
        return {"privacy": noise}

    return bend


def grown_ledger(attestation, **changes):
    ledger = attestation.privacy.ledger
    head = ledger.head.model_copy(update=changes)
    return {"ledger": ledger.model_copy(update={"head": head})}


CHEATS = {
    "no noise": (lambda a: {"privacy": NoNoise()}, RefusalCode.WRONG_EPSILON),
    "less noise than asked for": (
        bent_noise(noise_multiplier="2.9", epsilon="9", epsilon_total="9"),
        RefusalCode.WRONG_EPSILON),
    "frames instead of people": (bent_noise(unit="frame"), RefusalCode.WRONG_EPSILON),
    "fewer steps": (bent_noise(steps=1), RefusalCode.WRONG_EPSILON),
    "a larger sampling rate": (
        bent_noise(sample_rate="0.6", epsilon="9", epsilon_total="9"), RefusalCode.WRONG_EPSILON),
    "another clip norm": (bent_noise(max_grad_norm="2"), RefusalCode.WRONG_EPSILON),
    "a larger delta": (bent_noise(delta="1e-4"), RefusalCode.WRONG_EPSILON),
    "epsilon of this round alone": (
        lambda a: bent_noise(epsilon_total=a.privacy.epsilon)(a), RefusalCode.WRONG_EPSILON),
    "less than was spent before": (bent_noise(epsilon_total="0.5"), RefusalCode.LEDGER_RESTARTED),
    "no ledger": (bent_noise(ledger=None), RefusalCode.LEDGER_RESTARTED),
    "another ledger": (
        lambda a: bent_noise(**grown_ledger(a, root="7" * 64))(a), RefusalCode.LEDGER_RESTARTED),
    "a ledger that did not grow": (
        lambda a: bent_noise(**grown_ledger(a, size=3))(a), RefusalCode.LEDGER_RESTARTED),
    "nothing wrong": (lambda a: {}, None),
}  # fmt: skip


@pytest.mark.parametrize(("bend", "code"), CHEATS.values(), ids=CHEATS.keys())
def test_statements_about_noise_that_do_not_fit_are_refused(tmp_path, bend, code) -> None:
    folders = write_sites(tmp_path)
    coordinator = Coordinator(private_federation(tmp_path, folders))
    site = simulated(folders["site-a"])
    coordinator.answer("site-a", run_round(coordinator.request("site-a"), site))
    assert coordinator.finish().refused == {}
    update = run_round(coordinator.request("site-a"), site)
    said = attested(update, site)
    bent = sign_attestation(said.model_copy(update=bend(said)), site.key)
    coordinator.answer("site-a", dataclasses.replace(update, attestation=bent))
    assert coordinator.finish().refused == ({"site-a": code} if code else {})


def test_no_ledger_in_the_first_round_and_seeded_noise_are_refused(tmp_path) -> None:
    folders = write_sites(tmp_path)
    coordinator = Coordinator(private_federation(tmp_path, folders, demands={}))
    seeded = simulated(folders["site-a"])
    coordinator.answer("site-a", run_round(coordinator.request("site-a"), seeded))
    real = open_site(folders["site-b"].config)
    update = run_round(coordinator.request("site-b"), real)
    said = attested(update, real)
    bent = {"privacy": said.privacy.model_copy(update={"ledger": None})}
    signed = sign_attestation(said.model_copy(update=bent), real.key)
    coordinator.answer("site-b", dataclasses.replace(update, attestation=signed))
    assert coordinator.finish().refused == dict.fromkeys(folders, RefusalCode.WRONG_EPSILON)


def test_site_that_begins_its_ledger_anew_is_refused(tmp_path, monkeypatch) -> None:
    """A patched site that looks away from its own checks; the server does not."""
    folders = write_sites(tmp_path)
    monkeypatch.setattr(private_round, "told_in_consent_log", lambda site: None)

    def forgetful(request, site):
        if site.site_id == "site-b" and request.plan.round == 2:
            for file in site.config.state.glob("privacy-ledger.*"):
                file.unlink()
            blind = request.plan.model_copy(update={"ledger_root": None, "ledger_size": 0})
            request = dataclasses.replace(request, plan=blind)
        return in_simulation(request, site)

    coordinator, _ = run_local(private_federation(tmp_path, folders), folders, run=forgetful)
    assert coordinator.summaries[1].refused == {"site-b": RefusalCode.LEDGER_RESTARTED}
    assert coordinator.summaries[1].admitted == ("site-a",)


def test_federation_that_contradicts_itself_is_no_federation(tmp_path) -> None:
    folders = write_sites(tmp_path)
    with pytest.raises(ValueError, match="counts of frames are private in stage 1"):
        private_federation(tmp_path, folders, weighting="frames")
    with pytest.raises(ValueError, match="stage 1 has no privacy plan"):
        write_federation(tmp_path, folders, demands={"needs_noise": True})
