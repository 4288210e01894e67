import pytest

from consent.errors import KeyFileError
from consent.model import Purpose
from core_model.data.recordings import Recording, read_recordings, write_recordings
from core_model.settings_file import SettingsError
from fl_client.config import load_site_config
from fl_client.site import open_site
from fl_server.config import load_federation
from simulations.sites import site_at, write_site
from simulations.toml_text import to_toml
from tests.federation import write_faces, write_federation, write_sites


@pytest.fixture
def listing(tmp_path):
    """Two people with labels and one without."""
    path = write_faces(tmp_path / "data", "x", (1, 2))
    first, second, third = read_recordings(path)
    unlabelled = Recording.model_validate({**third.model_dump(), "labels": None})
    write_recordings(path, [first, second, unlabelled])
    return path


def test_people_consent_to_fine_tuning_only_where_they_are_labelled(tmp_path, listing) -> None:
    folder = write_site(tmp_path / "s", "s", [listing], labelled_aus=(1, 2), seed=0)
    gate, people = folder.consent.gate, ["x-p0", "x-p1", "x-p2", "stranger"]
    assert gate.rule(people, Purpose.PRETRAINING).allowed == {"x-p0", "x-p1", "x-p2"}
    assert gate.rule(people, Purpose.FINETUNING).allowed == {"x-p0", "x-p1"}


def test_keys_follow_from_seed_and_name_and_only_the_owner_reads_them(tmp_path, listing) -> None:
    made = {
        (name, seed): write_site(
            tmp_path / f"{name}{seed}{turn}", name, [listing], labelled_aus=(1,), seed=seed
        )
        for name, seed, turn in [("s", 0, "a"), ("s", 0, "b"), ("s", 1, ""), ("t", 0, "")]
    }
    again = write_site(tmp_path / "again", "s", [listing], labelled_aus=(1,), seed=0)
    assert made["s", 0].enrolment() == again.enrolment()
    vkeys = {k for f in made.values() for k in (f.enrolment().key, f.enrolment().log_key)}
    assert len(vkeys) == 6
    assert (again.folder / "consent" / "keys" / "operator.key").stat().st_mode & 0o777 == 0o600


def test_site_opens_and_an_existing_one_is_left_as_it_stands(tmp_path, listing) -> None:
    folder = write_site(tmp_path / "s", "s", [listing], labelled_aus=(1,), seed=0,
                        caps={"min_subjects": 2, "purposes": ["finetuning"]})  # fmt: skip
    config = load_site_config(folder.config)
    assert (config.caps.min_subjects, config.caps.purposes) == (2, ("finetuning",))
    assert open_site(folder.config).key.verifier.vkey == folder.enrolment().key
    folder.withdraw("x-p0", [Purpose.FINETUNING])
    with pytest.raises(KeyFileError):
        write_site(tmp_path / "s", "s", [listing], labelled_aus=(1,), seed=0)
    same = site_at(tmp_path / "s", "s", [listing], labelled_aus=(1,), seed=0)
    assert same.consent.gate.rule(["x-p0"], Purpose.FINETUNING).allowed == frozenset()
    (tmp_path / "s" / "site.toml").unlink()  # as if writing had been interrupted
    anew = site_at(tmp_path / "s", "s", [listing], labelled_aus=(1,), seed=0)
    assert anew.consent.gate.rule(["x-p0"], Purpose.FINETUNING).allowed == {"x-p0"}


def test_written_federation_reads_as_it_was(tmp_path) -> None:
    config = write_federation(tmp_path, write_sites(tmp_path))
    path = tmp_path / "federation.toml"
    path.write_text(to_toml(config))
    assert load_federation(path) == config
    path.write_text(to_toml(config) + "\nextra = 1\n")
    with pytest.raises(SettingsError, match="extra"):
        load_federation(path)
