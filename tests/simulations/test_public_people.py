"""A drawn public set is one that a server takes."""

import pytest
from typer.testing import CliRunner

from core_model.evaluation.public_set import PublicSet, read_public
from simulations.cli import app
from simulations.faces.spec import FaceSiteSpec
from simulations.public_people import draw_public

RUN = CliRunner()


def test_a_public_set_has_people_to_test_on_and_others_who_choose(tmp_path) -> None:
    folder = tmp_path / "public"
    typed = ["public", folder, "--people", 3, "--choosing", 2, "--frames", 2, "--size", 32]
    done = RUN.invoke(app, [str(t) for t in typed])
    assert done.exit_code == 0, done.output
    assert 'recordings = ["public/test.csv"]' in done.output
    people = read_public(
        PublicSet(recordings=(folder / "test.csv",), validation=(folder / "validation.csv",))
    )
    assert len({r.subject_id for r in people.test}) == 3
    assert len({r.subject_id for r in people.validation}) == 2
    assert len(people.test) == 6  # two recordings each, for the identity probe
    assert all(len(r.frame_paths()) == 2 for r in people.test)
    again = RUN.invoke(app, [str(t) for t in typed])
    assert (again.exit_code, str(folder) in again.output.replace("\n", "")) == (1, True)


def test_somebody_must_be_left_to_test_on(tmp_path) -> None:
    spec = FaceSiteSpec(name="public", seed=0, first_person=0, num_people=2)
    with pytest.raises(ValueError, match="nobody is left"):
        draw_public(tmp_path / "public", spec, 2, tmp_path)
