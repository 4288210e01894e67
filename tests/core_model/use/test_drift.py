"""Histograms tell that a model meets other people or another lamp, and nothing about anyone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_model.release.fit import statistics_of
from core_model.use.drift import Seen, compare, light_and_contrast, stability_index

COUNTS = st.lists(st.integers(0, 500), min_size=10, max_size=10)


@given(COUNTS, COUNTS)
def test_the_index_is_symmetric_never_negative_and_zero_for_equals(a, b) -> None:
    assert stability_index(a, b) == pytest.approx(stability_index(b, a))
    assert stability_index(a, b) >= 0
    assert stability_index(a, a) == 0


def people(seed, number=600, light=120.0, shift=0.0):
    chance = np.random.default_rng(seed)
    probabilities = np.clip(chance.beta(1, 3, (number, 2)) + shift, 0, 1)
    return probabilities, chance.normal(light, 15, number), chance.normal(40, 6, number)


def seen(*measures):
    counted = Seen((1, 12))
    for p, light, contrast in zip(*measures, strict=True):
        counted.add(p, light, contrast)
    return counted.statistics()


def test_counting_one_by_one_is_counting_at_once() -> None:
    assert seen(*people(0)) == statistics_of((1, 12), *people(0))


def test_alike_is_alike_and_what_moved_is_named() -> None:
    card = statistics_of((1, 12), *people(0))
    assert {d.reading for d in compare(card, [seen(*people(1))])} == {"alike"}
    darker = compare(card, [seen(*people(1, light=60.0))])
    assert darker[0].what == "brightness"
    assert darker[0].reading == "ANOTHER POPULATION"
    assert {d.reading for d in darker[1:]} == {"alike"}
    busier = compare(card, [seen(*people(2, shift=0.3))])
    assert {d.what for d in busier[:2]} == {"AU1", "AU12"}


def test_a_few_faces_say_nothing() -> None:
    card = statistics_of((1, 12), *people(0))
    with pytest.raises(ValueError, match="150 faces say nothing"):
        compare(card, [seen(*people(1, 100)), seen(*people(2, 50))])


def test_results_of_a_model_with_other_aus_are_refused() -> None:
    card = statistics_of((1, 4), *people(0))
    with pytest.raises(ValueError, match="other AUs"):
        compare(card, [seen(*people(1))])


def test_light_and_contrast_of_a_crop() -> None:
    crop = np.full((8, 8, 3), 100, np.uint8)
    assert light_and_contrast(crop) == (100.0, 0.0)
    crop[:4] = 200
    assert light_and_contrast(crop) == (150.0, 50.0)


def test_going_on_from_counts_is_the_same() -> None:
    half = seen(*(m[:300] for m in people(3)))
    rest = Seen.of(half)
    for p, light, contrast in zip(*(m[300:] for m in people(3)), strict=True):
        rest.add(p, light, contrast)
    assert rest.statistics() == seen(*people(3))
    assert rest.faces == 600
