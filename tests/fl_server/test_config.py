import subprocess
import sys

import pytest
from typer.testing import CliRunner

from core_model.protocol.messages import RefusalCode
from core_model.settings_file import SettingsError
from fl_server.cli import app
from fl_server.config import load_federation
from fl_server.refusals import EXPLAINED
from simulations.loop import run_plain
from simulations.toml_text import to_toml
from tests.federation import write_federation, write_sites

run = CliRunner()


@pytest.fixture
def federation(tmp_path):
    folders = write_sites(tmp_path)
    config = write_federation(tmp_path, folders)
    path = tmp_path / "federation.toml"
    path.write_text(to_toml(config))
    return path, config, folders


def test_round_trip_through_toml(federation) -> None:
    path, config, _ = federation
    assert load_federation(path) == config


BROKEN = {
    "an unknown key": ('run_id = "test-run"', 'run_id = "test-run"\nquorom = 2', "quorom"),
    "an unknown AU": ("action_units = [1, 2, 4]", "action_units = [1, 2, 3]", "unknown action"),
    "a quorum that nobody reaches": ("quorum = 1", "quorum = 9", "quorum: 9 sites"),
    "a broken key": ("site-a/operator+", "site-a/operator+0", "stages|sites.0.key"),
    "not TOML": ("run_id", "= run_id", "not TOML"),
}


@pytest.mark.parametrize(("old", "new", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_errors_name_file_and_field(federation, old, new, message) -> None:
    path, _, _ = federation
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(SettingsError, match=message) as caught:
        load_federation(path)
    assert str(path) in str(caught.value)


def test_two_sites_of_one_name(federation) -> None:
    path, _, _ = federation
    path.write_text(path.read_text().replace('"site-b"', '"site-a"'))
    with pytest.raises(SettingsError, match="same site_id"):
        load_federation(path)


def test_commands(federation) -> None:
    path, config, folders = federation
    checked = run.invoke(app, ["check", str(path)])
    assert checked.exit_code == 0, checked.output
    assert "site-a: weight 1; AU1, AU2" in checked.output
    assert "No round is finished yet" in run.invoke(app, ["rounds", str(path)]).output
    run_plain(config, folders)
    shown = run.invoke(app, ["rounds", str(path)]).output
    assert "round 3 (finetuning): admitted site-a, site-b" in shown


def test_every_code_is_explained() -> None:
    assert {c.name for c in RefusalCode} == set(EXPLAINED)


def test_the_server_starts_without_torch() -> None:
    code = (
        "import sys, fl_server.cli, fl_server.app\n"
        "heavy = {'torch', 'timm', 'cv2', 'opacus'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
