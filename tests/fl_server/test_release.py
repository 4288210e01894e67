"""The release gate: a real private run, its model exported, and each figure made bad or missing."""

import dataclasses
import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from consent.epsilon import NoNoise
from consent.keys import SigningKey, VerifierKey
from core_model.evaluation.result import Measure
from core_model.release.build import build
from core_model.release.model_file import read_model
from core_model.release.onnx_scan import metadata_of
from core_model.release.results_file import vouch
from core_model.release.runtime import Runtime
from core_model.release.signature import new_key
from fl_server.cli import app
from fl_server.folder import ServerFolder
from fl_server.kept_attestations import check_kept
from fl_server.release_gate import Evidence, ReleasePolicy, ReleaseRefusedError, decide
from fl_server.round_log import RoundLog
from simulations.loop import run_plain
from simulations.toml_text import to_toml
from tests.core_model.released import order
from tests.federation import write_sites
from tests.fl_client.test_private_round import private_federation
from tests.fl_server.results import results_about
from tests.integration.test_private_rounds import in_simulation

GOOD = {
    "max_epsilon": 8.0, "max_delta": 1e-5, "max_audit_promise": 2.0, "min_canaries": 200,
    "min_equal_error_rate": 0.2, "min_new_people": 12, "attacks": ("inversion",),
    "needs_consent_rules": True, "allows_simulation": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a server's folder after a private run, its model as ONNX, results and policy."""
    root = tmp_path_factory.mktemp("release")
    folders = write_sites(root, allows_training_without_privacy=False)
    config = private_federation(root, folders, rounds=2)
    coordinator = run_plain(config, folders, run=in_simulation)
    folder = ServerFolder(root)
    folder.federation.write_text(to_toml(config))
    (root / "keys").mkdir()
    SigningKey.generate("pilot/round-log").save(folder.log_key)
    log = RoundLog(folder.round_log, SigningKey.load(folder.log_key))
    log.catch_up(config.run_id, coordinator.summaries)
    content, card = build(order(config.output / "round-0002.safetensors"), lambda _: None)
    (root / "model.onnx").write_bytes(content)
    auditor = new_key("auditor.example", root / "auditor.key")
    lab = new_key("lab.example", root / "lab.key")
    for name, result in results_about(card.weights).items():
        (root / f"{name}.json").write_text(result.model_dump_json())
        vouch(root / f"{name}.json", card.weights, root / "auditor.key")
    policy = ReleasePolicy(**GOOD, auditors=(auditor.text,))
    (root / "release.toml").write_text(to_toml(policy))
    return root, config, log, card, policy, lab


def evidence_of(run):
    _, config, log, card, *_ = run
    sites = {s.site_id: s for s in config.sites}
    attestations = [
        check_kept(config.output, e.round, site, name, VerifierKey.parse(sites[site].key))
        for e in log.entries
        for site, name in e.admitted.items()
    ]
    return Evidence(attestations, "0" * 64, 2, None, **results_about(card.weights))


def without_noise(e):
    plain = e.attestations[0].model_copy(update={"privacy": NoNoise()})
    return {"attestations": [plain, *e.attestations[1:]]}


def without_rules(e):
    ruled = [a.model_copy(update={"policy": None}) for a in e.attestations[:1]]
    return {"attestations": [*ruled, *e.attestations[1:]]}


def per_frame(e):
    noise = e.attestations[0].privacy.model_copy(update={"unit": "frame"})
    return {"attestations": [e.attestations[0].model_copy(update={"privacy": noise})]}


def audit(**changes):
    return lambda e: {"audit": e.audit.model_copy(update=changes)}


def verification(**changes):
    def change(e):
        group = e.identity.groups[0]
        surface = group.surfaces["features"]
        found = surface.verification.model_copy(update={"equal_error_rate": Measure(**changes)})
        surfaces = {"features": surface.model_copy(update={"verification": found})}
        group = group.model_copy(update={"surfaces": surfaces})
        return {"identity": e.identity.model_copy(update={"groups": (group,)})}

    return change


def group(**changes):
    def change(e):
        made = e.identity.groups[0].model_copy(update=changes)
        return {"identity": e.identity.model_copy(update={"groups": (made,)})}

    return change


def failing_baseline(e):
    result = e.attacks.results[0]
    row = result.rows[0].model_copy(update={"value": 10.0, "low": 9.0})
    result = result.model_copy(update={"rows": (row, *result.rows[1:])})
    return {"attacks": e.attacks.model_copy(update={"results": (result,)})}


BAD = {
    "no update was admitted": ("epsilon", lambda e: {"attestations": []}, {}),
    "one round without noise": ("epsilon", without_noise, {}),
    "a promise about frames": ("epsilon", per_frame, {}),
    "epsilon too large": ("epsilon", None, {"max_epsilon": 0.01}),
    "delta too large": ("delta", None, {"max_delta": 1e-9}),
    "seeded noise": ("noise", None, {"allows_simulation": False}),
    "no rules of consent": ("consent rules", without_rules, {}),
    "no audit": ("empirical bound", lambda e: {"audit": None}, {}),
    "audit of other weights": ("empirical bound", audit(model="1" * 64), {}),
    "audit that found a fault": ("empirical bound", audit(least_epsilon=1.4), {}),
    "audit that found nothing to count": ("empirical bound", audit(least_epsilon=math.nan), {}),
    "audit of a promise nobody can test": ("audit promise", audit(promise=8.0), {}),
    "audit with a handful of canaries": ("canaries", audit(canaries=50), {}),
    "a person moves a step too far": ("replay", audit(largest_move=1.01), {}),
    "no identity result": ("identity leakage", lambda e: {"identity": None}, {}),
    "identity of people trained on": ("identity leakage", group(are_new=False), {}),
    "too few new people": ("new people", group(num_people=9), {}),
    "identity without an interval": (
        "identity leakage", verification(value=0.4, low=None, high=None), {},
    ),
    "identity too well told": (
        "identity leakage (equal error rate, lower end)",
        verification(value=0.22, low=0.15, high=0.3), {},
    ),
    "no attacks": ("attacks", lambda e: {"attacks": None}, {}),
    "an attack that was not tried": ("attack linkage", None, {"attacks": ("linkage",)}),
    "an attack that never works": ("attack inversion", failing_baseline, {}),
}  # fmt: skip


@pytest.mark.parametrize(("figure", "change", "limits"), BAD.values(), ids=BAD.keys())
def test_a_figure_that_is_missing_or_bad_is_refused_by_name(run, figure, change, limits) -> None:
    evidence = evidence_of(run)
    policy = run[4].model_copy(update=limits)
    changed = dataclasses.replace(evidence, **(change(evidence) if change else {}))
    with pytest.raises(ReleaseRefusedError) as caught:
        decide(policy, changed, run[3].weights)
    assert caught.value.figure == figure


def test_good_figures_make_a_card_that_says_them_in_words(run) -> None:
    facts = decide(run[4], evidence_of(run), run[3].weights)
    assert facts.num_sites == 2
    assert facts.attacks[0].leaks == ("ours, search",)
    english, japanese = facts.text["en"], facts.text["ja"]
    assert f"Epsilon is {facts.epsilon:g} for a person" in english
    for words in ("NOT PROTECTED", "THE NOISE WAS SEEDED", "30% of cases", "ours, search"):
        assert words in english
    for words in ("保護されないもの", "シミュレーション", f"{facts.epsilon:g}", "ours, search"):
        assert words in japanese


def released(run, out, **changes):
    """Run the command; a change is a file to use instead, or None to leave an option away."""
    root = run[0]
    options = {
        "policy": root / "release.toml", "key": root / "lab.key", "out": out,
        "audit": root / "audit.json", "identity": root / "identity.json",
        "attacks": root / "attacks.json", **changes,
    }  # fmt: skip
    given = [str(x) for k, v in options.items() if v is not None for x in (f"--{k}", v)]
    return CliRunner().invoke(app, ["release", str(root), str(root / "model.onnx"), *given])


def test_a_released_model_is_signed_says_all_and_runs(run, tmp_path) -> None:
    out = tmp_path / "model.onnx"
    result = released(run, out)
    assert result.exit_code == 0, result.output
    assert "WHAT IS NOT PROTECTED" in result.output
    model = read_model(out, [run[5]])
    assert model.card.privacy is not None
    words = metadata_of(model.content)
    assert words["privacy_en"] == model.card.privacy.text["en"]
    assert "保護されないもの" in words["privacy_ja"]
    assert set(model.card.privacy.results) == {"audit.json", "identity.json", "attacks.json"}
    assert model.card.weights == run[3].weights
    before = Runtime((run[0] / "model.onnx").read_bytes())
    probe = np.zeros((1, 32, 32, 3), np.uint8)
    assert (Runtime(model.content).run(probe)[1] == before.run(probe)[1]).all()


@pytest.mark.parametrize(
    ("name", "figure"),
    [("audit", "empirical bound"), ("identity", "identity leakage"), ("attacks", "attacks")],
)
def test_results_that_were_changed_are_refused_and_nothing_is_written(
    run, tmp_path, name, figure
) -> None:
    root = run[0]
    changed = json.loads((root / f"{name}.json").read_text())
    changed["seed" if name == "audit" else "format"] = 1
    copy = tmp_path / f"{name}.json"
    copy.write_text(json.dumps(changed))
    copy.with_name(f"{name}.json.sig").write_text((root / f"{name}.json.sig").read_text())
    result = released(run, tmp_path / "out.onnx", **{name: copy})
    assert result.exit_code == 4
    assert figure in result.output
    assert "changed since" in result.output
    assert not (tmp_path / "out.onnx").exists()


def test_results_of_another_model_or_by_a_stranger_are_refused(run, tmp_path) -> None:
    text = (run[0] / "audit.json").read_text()
    for number, (model, key) in enumerate(
        [("1" * 64, run[0] / "auditor.key"), (run[3].weights, run[0] / "lab.key")]
    ):
        copy = tmp_path / f"{number}.json"
        copy.write_text(text)
        vouch(copy, model, key)
        result = released(run, tmp_path / "out.onnx", audit=copy)
        assert result.exit_code == 4
        assert "empirical bound: missing" in result.output


@pytest.mark.parametrize("name", ["audit", "identity", "attacks"])
def test_results_that_nobody_gives_are_refused(run, tmp_path, name) -> None:
    result = released(run, tmp_path / "out.onnx", **{name: None})
    assert result.exit_code == 4
    assert "missing" in result.output


def test_a_model_of_another_round_is_refused(run, tmp_path) -> None:
    config = run[1]
    content, _ = build(order(config.output / "round-0001.safetensors"), lambda _: None)
    old = tmp_path / "old.onnx"
    old.write_bytes(content)
    result = CliRunner().invoke(
        app,
        ["release", str(run[0]), str(old), "--policy", str(run[0] / "release.toml"), "--key",
         str(run[0] / "lab.key"), "--out", str(tmp_path / "out.onnx")],
    )  # fmt: skip
    assert result.exit_code == 4
    assert "model: expected weights" in result.output


def test_auditors_are_keys() -> None:
    with pytest.raises(ValueError, match="NAME"):
        ReleasePolicy(**GOOD, auditors=("nobody",))
