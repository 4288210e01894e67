import numpy as np
import pytest
from sklearn.metrics import roc_curve

from core_model.evaluation.attackers import (
    ATTACKERS,
    Evidence,
    attack,
    linear_on_random_frames,
    thin,
)
from core_model.evaluation.paper_probe import paper_probe
from core_model.evaluation.verification import (
    _LEVELS,
    all_pairs,
    error_rates,
    verify,
)


def evidence(seed=0, people=12, recordings=2, frames=12, identity=0.0, video=0.0, dim=16):
    """Features with so much of the person and of the recording in them."""
    chance = np.random.default_rng(seed)
    subjects = np.repeat(np.arange(people), recordings * frames)
    own_recording = np.repeat(np.arange(people * recordings), frames)
    features = chance.normal(size=(len(subjects), dim))
    features += identity * chance.normal(size=(people, dim))[subjects]
    features += video * chance.normal(size=(people * recordings, dim))[own_recording]
    return Evidence(features, subjects, own_recording)


@pytest.mark.parametrize("name", ATTACKERS)
def test_identity_that_is_there_is_found_and_none_that_is_not(name) -> None:
    told = attack(name, evidence(identity=2.0))
    assert told.accuracy.value > 0.8
    assert told.recording_accuracy.value >= told.accuracy.value
    assert told.accuracy.low <= told.accuracy.value <= told.accuracy.high
    untold = attack(name, evidence(identity=0.0))
    assert untold.accuracy.value < 0.3
    assert (told.chance, told.num_subjects) == (pytest.approx(1 / 12), 12)
    assert told.has_converged


@pytest.mark.parametrize("name", ATTACKERS)
def test_what_is_only_the_recordings_does_not_count(name) -> None:
    """A lamp or a shirt names the video, not the person; a random split of frames falls for it."""
    videos = evidence(video=3.0)
    assert attack(name, videos).accuracy.value < 0.35
    assert linear_on_random_frames(videos) > 0.9


def test_the_mlp_reads_what_a_linear_attacker_cannot() -> None:
    """Identity in the length of a feature only: no plane tells people apart."""
    chance = np.random.default_rng(0)
    subjects = np.repeat(np.arange(4), 120)
    recordings = np.repeat(np.arange(8), 60)
    directions = chance.normal(size=(480, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rings = Evidence(directions * (1 + subjects)[:, None], subjects, recordings)
    assert attack("linear", rings).accuracy.value < 0.5 < 0.9 < attack("mlp", rings).accuracy.value


def test_the_papers_probe_is_far_from_what_is_there() -> None:
    found = evidence(people=10, frames=40, identity=1.0)
    assert paper_probe(found) < linear_on_random_frames(found) - 0.2
    assert attack("linear", found).accuracy.value > 0.7


def test_the_papers_probe_does_learn() -> None:
    """With much identity and many frames its 20 epochs get half of the way."""
    assert 0.3 < paper_probe(evidence(people=40, frames=50, identity=3.0, dim=256)) < 0.7


def test_one_recording_is_not_enough() -> None:
    with pytest.raises(ValueError, match="two recordings"):
        attack("knn", evidence(recordings=1))
    with pytest.raises(ValueError, match="8 people"):
        verify(evidence(people=6))


def test_thinning_keeps_the_ends_of_every_recording() -> None:
    kept = thin(evidence(frames=12), 5)
    assert np.bincount(kept.recordings).tolist() == [5] * 24
    whole = evidence(frames=12)
    assert (thin(whole, 100).features == whole.features).all()


def raw_pairs(e):
    """Every frame against the mean of every other recording, by a plain loop."""
    genuine, scores = [], []
    for i in range(len(e.subjects)):
        for r in np.unique(e.recordings):
            mine = e.recordings == r
            same = e.subjects[mine][0] == e.subjects[i]
            if e.recordings[i] == r:
                continue
            template = e.features[mine].mean(axis=0)
            cosine = template @ e.features[i]
            cosine /= np.linalg.norm(template) * np.linalg.norm(e.features[i])
            genuine.append(same)
            scores.append(cosine)
    return np.array(genuine), np.array(scores)


@pytest.mark.parametrize("identity", [0.0, 0.4, 0.8, 3.0])
def test_error_rates_agree_with_scikit_learn(identity) -> None:
    e = evidence(identity=identity, people=14, frames=6)
    pairs = all_pairs(e.features, e.subjects, e.recordings)
    genuine, scores = raw_pairs(e)
    assert pairs.num_genuine.sum() == genuine.sum()
    assert pairs.num_impostors.sum() == (~genuine).sum()
    false_accepts, accepts, _ = roc_curve(genuine, scores, drop_intermediate=False)
    at = np.argmin(np.abs(false_accepts - (1 - accepts)))
    want = (false_accepts[at] + 1 - accepts[at]) / 2
    eer, tar = error_rates(pairs, np.ones((1, 14), np.int64))[:, 0]
    assert eer == pytest.approx(want, abs=0.01)
    assert tar == pytest.approx(accepts[false_accepts <= 1e-3].max(), abs=0.03)
    assert _LEVELS[0] == 0


def test_a_person_drawn_twice_weighs_twice() -> None:
    e = evidence(identity=0.7, people=6)
    pairs = all_pairs(e.features, e.subjects, e.recordings)
    some = np.isin(e.subjects, [0, 1, 2])
    alone = all_pairs(e.features[some], e.subjects[some], e.recordings[some])
    drawn = error_rates(pairs, np.array([[1, 1, 1, 0, 0, 0], [2, 2, 2, 0, 0, 0]]))
    assert drawn[0, 0] == drawn[0, 1]
    assert drawn[0, 0] == pytest.approx(error_rates(alone, np.ones((1, 3), int))[0, 0], abs=0.02)


def test_verification_is_of_people_the_attacker_never_saw() -> None:
    known = verify(evidence(identity=1.5, people=24))
    assert known.equal_error_rate.value < 0.15
    guess = verify(evidence(identity=0.0, people=24))
    assert guess.equal_error_rate.value == pytest.approx(0.5, abs=0.08)
    assert guess.equal_error_rate.low < 0.5 < guess.equal_error_rate.high
    assert known.num_subjects == 24


def test_too_few_impostors_give_no_rate_at_one_in_a_thousand() -> None:
    few = verify(evidence(people=8, frames=4))
    assert np.isnan(few.tar.value)
    assert not np.isnan(verify(evidence(people=40, frames=30)).tar.value)
