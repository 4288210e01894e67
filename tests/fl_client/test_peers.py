"""The keys of other sites, written into site.toml by a command and by nothing else."""

from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from core_model.protocol.enrolment import Enrolment, read_json
from fl_client.cli import app
from fl_client.config import load_site_config
from fl_client.errors import SiteError
from fl_client.founding import found
from fl_client.peers import add_peer, fingerprint, remove_peer

run = CliRunner()


def clock():
    return datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def sites(tmp_path):
    """Three sites as their operators found them; yields the first's file and the enrolments."""
    files = {s: found(tmp_path / s, s, [1, 4], clock, "DE") for s in ("north", "south", "west")}
    return tmp_path / "north" / "site.toml", {s: read_json(f, Enrolment) for s, f in files.items()}


def test_operators_read_the_same_fingerprint_to_each_other(sites, tmp_path) -> None:
    toml, told = sites
    added = run.invoke(
        app, ["peer", "add", str(tmp_path / "south/enrolment.json"), "--site", str(toml)]
    )
    assert added.exit_code == 0, added.output
    theirs = run.invoke(app, ["peer", "list", "--site", str(tmp_path / "south/site.toml")])
    line = next(ln for ln in theirs.output.splitlines() if "(this site)" in ln)
    assert line.split("  ")[1] == fingerprint(told["south"].key)
    assert fingerprint(told["south"].key) in added.output
    assert load_site_config(toml).peers == {"south": told["south"].key}


def test_the_rest_of_the_file_stays_as_its_operator_wrote_it(sites) -> None:
    toml, told = sites
    toml.write_text(toml.read_text() + '\n[costs]  # of the pilot\ncurrency = "EUR"\n')
    before, mode = toml.read_text(), toml.stat().st_mode
    for name in ("south", "west"):
        add_peer(toml, told[name])
    assert set(load_site_config(toml).peers) == {"south", "west"}
    assert toml.stat().st_mode == mode
    for name in ("south", "west"):
        remove_peer(toml, name)
    assert toml.read_text() == before


def test_a_file_without_the_table_gets_one(sites) -> None:
    toml, told = sites
    text = toml.read_text()
    toml.write_text(text[: text.index("[peers]")])
    add_peer(toml, told["south"])
    assert load_site_config(toml).peers == {"south": told["south"].key}


def test_another_key_of_a_known_site_takes_a_decision(sites) -> None:
    toml, told = sites
    add_peer(toml, told["south"])
    swapped = told["south"].model_copy(update={"key": told["west"].key})
    before = toml.read_text()
    with pytest.raises(SiteError, match=r"another key .* --replace"):
        add_peer(toml, swapped)
    assert toml.read_text() == before
    add_peer(toml, swapped, replace=True)
    assert load_site_config(toml).peers == {"south": told["west"].key}


def test_a_file_that_would_be_wrong_afterwards_stays_as_it_was(sites) -> None:
    toml, told = sites
    add_peer(toml, told["south"])
    before = toml.read_text()
    twin = told["west"].model_copy(update={"key": told["south"].key})  # two sites, one key
    with pytest.raises(ValueError, match="the same key"):
        add_peer(toml, twin)
    assert toml.read_text() == before
    assert not list(toml.parent.glob("*.draft"))


def test_not_itself_and_not_somebody_unknown(sites) -> None:
    toml, told = sites
    with pytest.raises(SiteError, match="this site itself"):
        add_peer(toml, told["north"])
    with pytest.raises(SiteError, match="not in"):
        remove_peer(toml, "east")
