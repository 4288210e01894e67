"""The demo in miniature: every arm, the incidents, the report in both languages."""

import json
import re

import pytest
from typer.testing import CliRunner

from core_model.action_units import NAMES
from simulations.baseline import Baseline, baseline_of
from simulations.cli import app
from simulations.compare import CLAIMS, write_table
from simulations.data import make_people
from simulations.experiment import arms_of, run_experiment
from simulations.report.claims import check_claims
from simulations.report.page import LANGUAGES, load_texts, write_report
from simulations.scenario import load_scenario
from simulations.toml_text import to_toml


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Run a very small experiment once."""
    plan = load_scenario("demo")
    sites = tuple(
        s.model_copy(update={"num_people": 6, "real_people": (k + 1, k + 1)})
        for k, s in enumerate(plan.sites)
    )
    plan = plan.model_copy(
        update={
            "sites": sites, "unseen_people": 2, "unseen_site_people": 2,
            "frames_per_recording": 6, "pretraining_rounds": 1, "finetuning_rounds": 5,
            "curve_scales": (), "image_size": 32,
        }
    )  # fmt: skip
    root, told = tmp_path_factory.mktemp("tiny"), []
    results = run_experiment(
        "demo", plan, root / "out", root / "cache", 2, lambda *now: told.append(now)
    )
    return plan, results, root, told


@pytest.mark.slow
def test_results_hold_what_is_documented(tiny) -> None:
    plan, results, root, told = tiny
    found = json.loads((root / "out" / "results.json").read_text())
    finetuned = {a.name for a in arms_of(plan) if "finetuning" in a.purposes}
    assert set(found["arms"]) == finetuned
    for arm in found["arms"].values():
        for key in ("macro_f1_unseen_people", "macro_f1_unseen_site", "identity_probe",
                    "identity_chance"):  # fmt: skip
            assert 0 <= arm[key] <= 1
    assert found["seconds"] > 0
    assert found["peak_rss_bytes"] > 10**8
    assert found["bytes_sent_per_site_round"] > sum(found["wire"]["shared"].values()) * 0.9
    private = found["privacy"]
    assert 0 < float(found["epsilon"]) == pytest.approx(private["epsilon"], abs=0.005)
    assert private["epsilon"] <= plan.private.epsilon
    assert (private["unit"], private["is_simulation"]) == ("subject", True)
    assert set(found["mae_loss"]) == {"local", "shared"}
    assert told[-1][1:] == (told[-1][2], told[-1][2])
    assert len(results.curve) == 2


@pytest.mark.slow
def test_incidents_are_refused_and_the_round_goes_on(tiny) -> None:
    _, results, _, _ = tiny
    refused = [(r.round, site, code) for r in results.rounds for site, code in r.refused.items()]
    assert refused == [
        (2, "factory", "WRONG_WEIGHTS"),
        (2, "lab", "CONSENT_CHANGED"),
        (4, "factory", "LOG_NOT_GROWN"),
    ]
    assert all(r.admitted for r in results.rounds)


@pytest.mark.slow
def test_what_stays_is_the_identity_head_and_the_decoder(tiny) -> None:
    _, results, _, _ = tiny
    assert all(n.startswith(("encoder.", "au_head.")) for n in results.wire.shared)
    assert all(n.startswith(("identity_head.", "decoder.")) for n in results.wire.stayed)
    assert "identity_head.weight" in results.wire.stayed


@pytest.mark.slow
def test_report_is_one_file_without_scripts(tiny) -> None:
    plan, results, root, _ = tiny
    for language in LANGUAGES:
        page = write_report(results, plan, root / "out", root / "cache", language).read_text()
        assert "<script" not in page
        assert not re.search(r'(src|href)="(?!data:|#)', page)
        assert load_texts(language)["title"] in page
        assert "not private in this run" in page
        assert f"<strong>{results.epsilon}</strong>" in page
        assert load_texts(language)["privacy_simulation"] in page
        assert NAMES[12] in page
        for code in ("CONSENT_CHANGED", "WRONG_WEIGHTS", "LOG_NOT_GROWN"):
            assert load_texts(language)[f"code_{code}"] in page


@pytest.mark.slow
def test_table_over_seeds(tiny, tmp_path) -> None:
    _, results, _, _ = tiny
    write_table(
        [results, results], [Baseline(0.5, 0.1)] * 2, "omote-sim compare", tmp_path / "results.md"
    )
    text = (tmp_path / "results.md").read_text()
    assert text.count("| federated_iat |") == 1
    assert all(claim in text for claim in CLAIMS.values())
    assert {c.key for c in check_claims(results)} == set(CLAIMS)


@pytest.mark.slow
def test_guessing_always_agrees_with_scikit_learn(tiny) -> None:
    from sklearn.metrics import f1_score

    plan, _, root, _ = tiny
    from core_model.data.frames import FrameDataset

    people = make_people(plan, root / "again", root / "cache", 1, lambda *_: None)
    aus = FrameDataset(people.unseen_people(plan.sites), 32, plan.action_units).aus.numpy()
    want = f1_score(aus, aus * 0 + 1, average="macro", zero_division=0)
    assert baseline_of(plan, root / "cache").always == pytest.approx(want)


def test_both_languages_say_the_same_things() -> None:
    english, japanese = load_texts("en"), load_texts("ja")
    assert english.keys() == japanese.keys()
    assert all(value.strip() for value in (*english.values(), *japanese.values()))
    with pytest.raises(ValueError, match="there are: en, ja"):
        load_texts("fr")


def test_scenarios() -> None:
    for name in ("demo", "long"):
        plan = load_scenario(name, seed=5)
        specs = plan.face_specs()
        numbers = [
            set(range(s.first_person, s.first_person + s.num_people)) for s in specs.values()
        ]
        assert len(set.union(*numbers)) == sum(map(len, numbers))  # nobody is in two groups
        assert all(s.seed == 5 for s in specs.values())
        assert len(plan.action_units) == 17
    with pytest.raises(FileNotFoundError, match="shipped are: demo, long"):
        load_scenario("nothing")


def test_a_wrong_scenario_names_the_field(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(to_toml(load_scenario("demo")).replace("seed = 0", "sed = 0", 1))
    shown = CliRunner().invoke(app, ["demo", "--scenario", str(path), "--out", str(tmp_path)])
    assert (shown.exit_code, "sed" in shown.output) == (1, True)


def test_labels_alone_name_people_only_if_there_is_a_shortcut(tmp_path) -> None:
    """What the probe of a faultless detector must find: the floor of any claim about identity."""
    found = {}
    for strength in (0.0, 4.0):
        plan = load_scenario("demo")
        sites = tuple(s.model_copy(update={"num_people": 8}) for s in plan.sites[:1])
        plan = plan.model_copy(
            update={
                "sites": sites, "unseen_people": 2, "unseen_site_people": 2, "image_size": 32,
                "shortcut_strength": strength, "frames_per_recording": 24, "private": None,
            }
        )  # fmt: skip
        make_people(plan, tmp_path / f"{strength}", tmp_path / "cache", 1, lambda *_: None)
        found[strength] = baseline_of(plan, tmp_path / "cache").labels_probe
    chance = 1 / 6  # eight people, of whom two choose the threshold
    assert found[0.0] < chance + 0.15
    assert found[4.0] > chance + 0.35
