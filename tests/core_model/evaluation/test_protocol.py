import numpy as np
import pytest

from core_model.evaluation.evaluate import always, measure, people, run_protocols, shared_aus
from core_model.evaluation.metrics import Predictions, f1_scores
from core_model.evaluation.protocol import (
    EPOCH_WARNING,
    Epoch,
    best_f1,
    choose,
    clean,
    inflation,
    macro_f1,
    paper,
)
from core_model.evaluation.thresholds import TEST_SWEPT_WARNING
from tests.core_model.evaluation.people import predictions


def run(seed=0, epochs=5, validation=True):
    """A run that learns and then over-fits: skill rises, then falls."""
    skills = [0.2, 0.8, 1.2, 1.0, 0.7][:epochs]
    return [
        Epoch(
            i + 1,
            predictions(10 * seed + i, skill=skill, labels_seed=seed),
            predictions(10 * seed + i + 500, skill=skill, labels_seed=seed + 1000)
            if validation else None,
        )
        for i, skill in enumerate(skills)
    ]  # fmt: skip


def test_the_paper_picks_the_best_of_all_epochs_and_thresholds_on_the_test_people() -> None:
    epochs = run()
    choice = paper(epochs)
    assert macro_f1(choice.epoch.test, choice.thresholds) == pytest.approx(
        max(best_f1(e.test) for e in epochs)
    )
    assert choice.epoch.number == 1 + int(np.argmax([best_f1(e.test) for e in epochs]))
    assert choice.warning == f"{EPOCH_WARNING}; {TEST_SWEPT_WARNING}"


@pytest.mark.parametrize("seed", range(5))
def test_the_clean_choice_does_not_depend_on_the_test_labels(seed) -> None:
    epochs = run(seed)
    turned = [
        Epoch(
            e.number,
            Predictions(
                e.test.action_units, e.test.probabilities, 1 - e.test.aus, e.test.known,
                e.test.subjects,
            ),
            e.validation,
        )
        for e in epochs
    ]  # fmt: skip
    for policy in (None, "val_swept_common", "val_swept_per_au", "fixed_0.5"):
        before, after = clean(epochs, policy), clean(turned, policy)
        assert before.epoch.number == after.epoch.number == 5
        assert np.array_equal(before.thresholds, after.thresholds)
        assert before.warning is None
    by_validation = choose(epochs, "best_on_validation", "val_swept_common")
    assert by_validation.epoch.number == choose(
        turned, "best_on_validation", "val_swept_common"
    ).epoch.number  # fmt: skip
    assert not np.array_equal(paper(epochs).thresholds, paper(turned).thresholds)


@pytest.mark.parametrize("seed", range(5))
def test_peeking_never_lowers_the_figure(seed) -> None:
    rows = inflation(run(seed))
    figures = {(r.choice.epoch_rule, r.choice.threshold_policy): r.macro_f1 for r in rows}
    top = figures["best_on_test", "test_swept"]
    assert top == max(figures.values())
    assert figures["last", "test_swept"] >= figures["last", "val_swept_common"]
    warned = {k for k, r in zip(figures, rows, strict=True) if r.choice.warning}
    assert warned == {k for k in figures if "best_on_test" in k or "test_swept" in k}


def test_without_validation_people_the_threshold_is_a_half() -> None:
    epochs = run(validation=False)
    assert clean(epochs).threshold_policy == "fixed_0.5"
    with pytest.raises(ValueError, match="--validation"):
        clean(epochs, "val_swept_common")
    with pytest.raises(ValueError, match="does not"):
        clean(epochs, "test_swept")
    with pytest.raises(ValueError, match="--validation"):
        choose(epochs, "best_on_validation", "fixed_0.5")
    with pytest.raises(ValueError, match="no epoch"):
        paper([])


def test_a_result_holds_every_measure_of_every_au() -> None:
    results = run_protocols(run(), ["clean", "paper"], None)
    for result in results.values():
        assert result.per_au.keys() == {1, 2, 4}
        names = {"f1", "auc", "average_precision", "calibration_error", "brier"}
        assert all(m.keys() == names for m in (*result.per_au.values(), result.macro))
        assert len(result.people) == 12
    assert results["paper"].macro["f1"].value >= results["clean"].macro["f1"].value


def test_people_are_ranks_and_the_worst_comes_first() -> None:
    p = predictions(1)
    listed = people(p, np.full(3, 0.5))
    assert [x.number for x in listed] == list(range(1, 13))
    assert [x.f1 for x in listed] == sorted(x.f1 for x in listed)
    mine = p.subjects == 3
    alone = Predictions(
        p.action_units, p.probabilities[mine], p.aus[mine], p.known[mine], p.subjects[mine]
    )
    assert f1_scores(alone, np.full(3, 0.5))[1].value == pytest.approx(
        min(
            (x.f1 for x in listed),
            key=lambda f: abs(f - f1_scores(alone, np.full(3, 0.5))[1].value),
        )
    )


def test_saying_always() -> None:
    p = predictions(2)
    sure = Predictions(p.action_units, np.ones_like(p.probabilities), p.aus, p.known, p.subjects)
    got = f1_scores(sure, np.full(3, 0.5))[0]
    assert always(p) == pytest.approx({au: score.value for au, score in got.items()})


def test_aus_that_cannot_be_scored_are_named_with_the_reason() -> None:
    p = predictions(3)
    p.aus[:, 1] = 0
    p.known[:, 2] = 0
    assert shared_aus((1, 2, 4), p) == {2: "only one label occurs", 4: "not labelled here"}


def test_a_person_without_any_au_has_no_f1() -> None:
    p = predictions(4)
    mine = p.subjects == 0
    p.aus[mine], p.probabilities[mine] = 0, 0
    listed = people(p, np.full(3, 0.5))
    assert np.isnan(listed[-1].f1) if listed[-1].f1 is not None else True
    measured = measure(clean([Epoch(1, p, None)]))
    assert measured.people[-1].f1 is None
    assert '"f1":null' in measured.model_dump_json()
