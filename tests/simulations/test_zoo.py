"""The script behind the model of the zoo, in miniature."""

import pytest

from core_model.data.recordings import read_recordings
from core_model.release.card import parse_card
from core_model.release.onnx_scan import metadata_of
from simulations import zoo


@pytest.mark.slow
def test_a_model_is_built_from_generated_people_and_measured_on_new_ones(
    tmp_path, monkeypatch
) -> None:
    short = zoo.load_recipe(zoo.RECIPE).model_copy(update={"epochs": 1})
    monkeypatch.setattr(zoo, "load_recipe", lambda _: short)
    monkeypatch.setattr(zoo, "KNOWN", ("lab", "office"))
    told: list[str] = []
    path = zoo.build_zoo(tmp_path, people=8, seed=3, tell=told.append)
    card = parse_card(metadata_of(path.read_bytes()))
    assert card.action_units == short.action_units
    assert "--people 8 --seed 3" in card.card
    held = {r.subject_id for r in read_recordings(tmp_path / "validation.csv")}
    assert card.fit is not None
    assert card.fit.num_people == len(held) > 0
    again = zoo.build_zoo(tmp_path, people=8, seed=3, tell=told.append)
    assert sum(line.startswith("epoch") for line in told) == 1  # the run was there
    assert parse_card(metadata_of(again.read_bytes())) == card
