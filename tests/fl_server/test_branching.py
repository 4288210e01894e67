"""Roll back and branch: a run goes on from an earlier round, and nobody can hide behind that."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from consent.cli import app as consent_app
from consent.keys import SigningKey
from consent.model import Purpose
from core_model.protocol.messages import RefusalCode, digest
from fl_client.round import run_round
from fl_client.secure_round import SecureRounds
from fl_client.site import open_site
from fl_server.app import run_federation
from fl_server.branching import branch_off, roll_back
from fl_server.cli import app
from fl_server.config import load_draft, load_federation
from fl_server.coordinator import Coordinator
from fl_server.errors import StartError
from fl_server.figures import figures_path
from fl_server.round_check import check_attestations
from fl_server.round_log import lineage, read_log
from fl_server.round_state import BranchPoint, load_state
from simulations.client_app import direct_app
from simulations.dishonest import hide_withdrawal
from simulations.grid import InProcessGrid
from tests.federation import write_sites
from tests.integration.server_folder import make_server, node_key

ROUNDS = 3


@pytest.fixture
def finished(tmp_path):
    """A server with momentum whose run is over."""
    sites = write_sites(tmp_path)
    keys = {site_id: node_key()[1] for site_id in sites}
    server = make_server(tmp_path / "server", sites, keys, ROUNDS)
    text = server.federation.read_text()
    text = text.replace("# server_momentum = 0.9 ", "server_momentum = 0.5 ")
    assert "\nserver_momentum" in text
    server.federation.write_text(text)
    run_all(server, sites)
    return server, sites


def run_all(server, sites, run=run_round) -> None:
    """Run what is left, as the ServerApp does."""
    opened = {str(f.config): open_site(f.config) for f in sites.values()}
    client = direct_app(
        lambda context: opened[str(context.node_config["site"])], run, SecureRounds.answer
    )
    nodes = {n: {"site": str(f.config)} for n, f in enumerate(sites.values(), start=1)}
    run_federation(InProcessGrid(client, nodes), server.federation)


def log_of(server):
    return read_log(server.round_log, SigningKey.load(server.log_key).verifier)


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_run_that_is_rolled_back_goes_on_from_that_round_and_loses_nothing(finished) -> None:
    server, sites = finished
    old = load_draft(server.federation)
    settings, before = server.federation.read_text(), everything_in(old.output)
    at_sites = {s: everything_in(f.folder) for s, f in sites.items()}
    done = CliRunner().invoke(app, ["rollback", str(server.root), "--to", "1"])
    assert done.exit_code == 0, done.output
    assert "pilot-2 goes on after round 1 of pilot" in done.output
    assert everything_in(old.output) == before
    assert {s: everything_in(f.folder) for s, f in sites.items()} == at_sites
    assert (server.root / "federation.pilot.toml").read_text() == settings

    run_all(server, sites)
    config = load_federation(server.federation)
    state = load_state(config.output, "pilot-2")
    first = load_state(old.output, "pilot").summaries
    assert [s.round for s in state.summaries] == [1, 2, 3]
    assert state.summaries[0] == first[0]
    assert state.summaries[1].model_in == first[0].model_out
    assert all(s.admitted == ("site-a", "site-b") for s in state.summaries)
    log = log_of(server)
    assert [(e.run_id, e.round) for e in log.entries] == [
        ("pilot", 1), ("pilot", 2), ("pilot", 3), ("pilot-2", 2), ("pilot-2", 3),
    ]  # fmt: skip
    assert log.entries[3].branch == BranchPoint(run_id="pilot", round=1)
    behind = [(e.run_id, e.round) for e in lineage(log.entries, "pilot-2")]
    assert behind == [("pilot", 1), ("pilot-2", 2), ("pilot-2", 3)]
    assert check_attestations(config, log) == 4
    key = SigningKey.load(server.log_key).verifier.vkey
    audited = CliRunner().invoke(consent_app, ["audit", "run", str(server.root), "--key", key])
    assert audited.exit_code == 0, audited.output
    assert "run pilot-2: 2 rounds, 4 attestations hold" in audited.output
    assert "  site-a: 3 rounds, last pilot-2/3; " in audited.output


def test_a_branch_at_the_last_round_has_its_very_model(finished) -> None:
    server, _ = finished
    measured = figures_path(load_draft(server.federation).output, 1)
    measured.parent.mkdir()
    measured.write_text("{}")
    before = Coordinator(load_federation(server.federation)).arrays
    branch_off(server, "other", ROUNDS)
    assert figures_path(load_draft(server.federation).output, 1).samefile(measured)
    after = Coordinator(load_federation(server.federation))
    assert digest(after.arrays) == digest(before)
    assert after.is_done


def test_a_branch_of_a_branch_names_the_run_under_which_its_round_is_logged(finished) -> None:
    server, sites = finished
    roll_back(server, 2)
    run_all(server, sites)
    assert branch_off(server, "early", 1).point == BranchPoint(run_id="pilot", round=1)
    assert load_draft(server.federation).run_id == "early"
    run_all(server, sites)
    behind = [(e.run_id, e.round) for e in lineage(log_of(server).entries, "early")]
    assert behind == [("pilot", 1), ("early", 2), ("early", 3)]


def test_a_site_hides_a_withdrawal_behind_a_rollback(finished, tmp_path) -> None:
    """The server goes back to round 1; what it saw of the consent log since then it still knows."""
    server, sites = finished
    old_log = tmp_path / "old-log"
    shutil.copytree(sites["site-a"].folder / "consent", old_log)
    sites["site-a"].withdraw("site-a-p0", [Purpose.FINETUNING])
    branch_off(server, "again", 2)
    run_all(server, sites)  # an honest round on the log with the withdrawal
    roll_back(server, 1)

    def lie(request, site):
        if site.site_id == "site-a":
            return hide_withdrawal(request, site, old_log)
        return run_round(request, site)

    run_all(server, sites, lie)
    config = load_federation(server.federation)
    for summary in load_state(config.output, config.run_id).summaries[1:]:
        assert summary.refused == {"site-a": RefusalCode.LOG_NOT_GROWN}


REFUSED = {
    "a round that is not finished": ("new", ROUNDS + 1, "none is 4"),
    "the name of this run": ("pilot", 1, "not used yet"),
    "a name with a path": ("../x", 1, "not used yet"),
}


@pytest.mark.parametrize(("name", "number", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_a_branch_that_cannot_be_is_refused_and_changes_nothing(finished, name, number, why):
    server, _ = finished
    before = everything_in(server.root)
    with pytest.raises(StartError, match=why):
        branch_off(server, name, number)
    after = everything_in(server.root)
    assert {p: d for p, d in after.items() if not p.endswith((".lock", ".pid"))} == {
        p: d for p, d in before.items() if not p.endswith((".lock", ".pid"))
    }


def test_a_name_that_was_rolled_back_is_not_used_again(finished) -> None:
    server, sites = finished
    roll_back(server, 1)
    run_all(server, sites)
    shutil.rmtree(server.root / "rounds-pilot-2")
    shutil.copy(server.root / "federation.pilot.toml", server.federation)
    assert roll_back(server, 1).run_id == "pilot-3"  # pilot-2 is in the log for ever
