"""Setting a server up, letting sites in, and what keeps it from starting."""

import json
import os
import stat
import subprocess
import sys
import threading

import pytest
from typer.testing import CliRunner

from consent.keys import SigningKey
from core_model.protocol.enrolment import Enrolment, Invitation, read_json, write_json
from core_model.protocol.messages import RefusalCode
from fl_client.bundle import App, check_bundle
from fl_client.round import run_round
from fl_client.site import open_site
from fl_server.bundle import make_bundle
from fl_server.cli import app
from fl_server.config import enrolled_sites, load_draft, load_federation
from fl_server.coordinator import Coordinator
from fl_server.errors import StartError
from fl_server.folder import ServerFolder
from fl_server.journal import Journal
from fl_server.round_log import RoundLog, read_log
from fl_server.run_lock import hold, holder, wait_until_free
from fl_server.running import Options, check_ready
from fl_server.suspensions import Suspensions
from tests.federation import write_sites
from tests.integration.server_folder import has_proxy, make_server, node_key

run = CliRunner()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("federation")
    sites = write_sites(root)
    keys = {site_id: node_key()[1] for site_id in sites}
    return make_server(root / "server", sites, keys, rounds=2), sites


@pytest.fixture
def server(written, tmp_path):
    """A copy of the server, to be broken."""
    folder = tmp_path / "server"
    subprocess.run(["cp", "-a", str(written[0].root), str(folder)], check=True)
    return ServerFolder(folder)


def edit(server, old, new) -> None:
    text = server.federation.read_text()
    assert old in text
    server.federation.write_text(text.replace(old, new, 1))


def test_init_makes_private_keys_that_nobody_else_can_read(tmp_path) -> None:
    done = run.invoke(app, ["init", str(tmp_path / "s"), "--name", "pilot"])
    assert done.exit_code == 0, done.output
    keys = sorted((tmp_path / "s" / "keys").iterdir())
    assert [k.name for k in keys] == ["ca.key", "round-log.key", "server.key"]
    assert {stat.S_IMODE(k.stat().st_mode) for k in keys} == {0o600}
    draft = load_draft(tmp_path / "s" / "federation.toml")
    assert (draft.run_id, draft.link.address) == ("pilot", "localhost:9443")
    again = run.invoke(app, ["init", str(tmp_path / "s"), "--name", "pilot"])
    assert (again.exit_code, "choose another folder" in again.output) == (1, True)


def test_init_takes_the_operators_own_certificate(server, tmp_path) -> None:
    own = ["--certificate", str(server.certificate), "--key", str(server.key)]
    other = ["init", str(tmp_path / "o"), "--name", "other", *own, "--ca", str(server.ca)]
    assert run.invoke(app, [*other, "--address", "localhost:1"]).exit_code == 0
    assert (tmp_path / "o" / "server.pem").read_bytes() == server.certificate.read_bytes()
    assert not (tmp_path / "o" / "keys" / "ca.key").exists()
    wrong = ["init", str(tmp_path / "w"), "--name", "w", *own, "--ca", str(server.ca)]
    refused = run.invoke(app, [*wrong, "--address", "elsewhere.example.org:1"])
    assert (refused.exit_code, "sites would refuse" in refused.output) == (1, True)


def test_an_invitation_holds_what_a_site_needs_and_nothing_secret(written) -> None:
    server, sites = written
    path = sites["site-a"].folder / "invitation.json"
    invitation = read_json(path, Invitation)
    assert invitation.address == load_draft(server.federation).link.address
    assert invitation.ca == server.ca.read_text()
    log = RoundLog(server.round_log, SigningKey.load(server.log_key))
    log.catch_up("x", [])
    assert invitation.server_key == SigningKey.load(server.log_key).verifier.vkey
    assert "PRIVATE" not in path.read_text()


def test_the_bundle_is_the_same_each_time_and_a_site_takes_it() -> None:
    bundle = make_bundle()
    code = "from fl_server.bundle import make_bundle; print(make_bundle().digest)"
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert other.stdout.strip() == bundle.digest
    from importlib.metadata import version

    check_bundle(bundle.content, bundle.digest, App("omote/omote", version("omote"), bundle.digest))


def test_enrolling_again_gives_the_same_invitation(server, written) -> None:
    path = written[1]["site-a"].folder / "enrolment.json"
    before = enrolled_sites(server.federation)
    out = server.root / "again.json"
    done = run.invoke(app, ["enroll", str(server.root), str(path), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert enrolled_sites(server.federation) == before
    first = read_json(written[1]["site-a"].folder / "invitation.json", Invitation)
    assert read_json(out, Invitation) == first


def changed(path, out, **changes):
    told = json.loads(path.read_text()) | changes
    write_json(out, Enrolment.model_validate(told))
    return out


def test_another_key_under_a_known_name_is_refused(server, written, tmp_path) -> None:
    """Somebody who mails an enrolment in the name of a site must not take its place."""
    path = written[1]["site-a"].folder / "enrolment.json"
    forged = changed(path, tmp_path / "forged.json", node_key=node_key()[1])
    done = run.invoke(app, ["enroll", str(server.root), str(forged)])
    assert (done.exit_code, "enrolled with other keys" in done.output) == (1, True)


def test_a_key_of_one_site_cannot_be_enrolled_for_another(server, written, tmp_path) -> None:
    path = written[1]["site-a"].folder / "enrolment.json"
    copy = changed(path, tmp_path / "copy.json", site_id="site-z")
    done = run.invoke(app, ["enroll", str(server.root), str(copy)])
    assert (done.exit_code, "a key stands twice" in done.output) == (1, True)
    assert not (server.sites / "site-z.toml").exists()


def test_suspension_counts_at_once_in_the_running_round(server, written) -> None:
    config = load_federation(server.federation)
    coordinator = Coordinator(config, Suspensions(server.federation))
    site = open_site(written[1]["site-a"].config)
    update = run_round(coordinator.request("site-a"), site)
    assert run.invoke(app, ["suspend", str(server.root), "site-a"]).exit_code == 0
    coordinator.answer("site-a", update)
    assert coordinator.asked_sites() == ["site-b"]
    assert coordinator.finish().refused == {"site-a": RefusalCode.SUSPENDED}
    assert run.invoke(app, ["suspend", str(server.root), "site-a", "--lift"]).exit_code == 0
    assert coordinator.asked_sites() == ["site-a", "site-b"]
    unknown = run.invoke(app, ["suspend", str(server.root), "site-z"])
    assert (unknown.exit_code, "not among the sites" in unknown.output) == (1, True)


def test_while_a_site_file_is_broken_suspensions_stay(server) -> None:
    run.invoke(app, ["suspend", str(server.root), "site-a"])
    suspensions = Suspensions(server.federation)
    (server.sites / "site-b.toml").write_text("broken")
    assert suspensions() == {"site-a"}


def break_key_mode(server):
    server.key.chmod(0o644)


def break_log(server):
    server.round_log.joinpath("entries.jsonl").write_bytes(b'{"v":1}\n{"v":1}\n')


def break_certificate(server):
    edit(server, "localhost:", "elsewhere.example.org:")


def break_model(server):
    (server.root / "initial.safetensors").write_bytes(b"broken")


def break_quorum(server):
    run.invoke(app, ["suspend", str(server.root), "site-a"])


def break_node_key(server):
    path = server.sites / "site-a.toml"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith("node_key")))


BROKEN = {
    "a key that others can read": (break_key_mode, "chmod 600"),
    "a log of rounds without its head": (break_log, "is missing"),
    "a certificate of another host": (break_certificate, "sites would refuse"),
    "a model that is none": (break_model, "not a checkpoint"),
    "too few sites that are not suspended": (break_quorum, "quorum: 2 sites can never answer"),
    "a site that could not connect": (break_node_key, "no node_key"),
}


@pytest.mark.parametrize(("broken", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_a_server_does_not_start_with(server, broken, says) -> None:
    broken(server)
    done = run.invoke(app, ["start", str(server.root)])
    assert (done.exit_code, says in done.output) == (1, True), done.output
    assert list(server.logs.iterdir()) == []  # nothing was started


def test_a_server_is_insecure_only_on_loopback_and_only_if_told_so(server) -> None:
    check_ready(server, Options(insecure=True))
    edit(server, 'listen = "127.0.0.1:', 'listen = "0.0.0.0:')
    with pytest.raises(StartError, match="only on loopback"):
        check_ready(server, Options(insecure=True))


@pytest.mark.skipif(not has_proxy(), reason="needs HAProxy: apt install haproxy")
def test_a_secure_server_is_ready(server) -> None:
    assert check_ready(server, Options()).quorum == 2


def test_a_round_needs_enough_people(written, server) -> None:
    edit(server, "quorum_subjects = 2", "quorum_subjects = 4")
    edit(server, "min_subjects = 1", "min_subjects = 2")
    coordinator = Coordinator(load_federation(server.federation).model_copy(update={"quorum": 1}))
    site = open_site(written[1]["site-a"].config)
    coordinator.answer("site-a", run_round(coordinator.request("site-a"), site))
    summary = coordinator.finish()
    assert (summary.admitted, summary.has_quorum) == (("site-a",), False)
    edit(server, "quorum_subjects = 4", "quorum_subjects = 5")
    done = run.invoke(app, ["check", str(server.root)])
    assert (done.exit_code, "never makes 5" in done.output) == (1, True)


def test_report_and_log_tell_of_a_run(written, server, tmp_path) -> None:
    coordinator = Coordinator(load_federation(server.federation))
    log = RoundLog(server.round_log, SigningKey.load(server.log_key))
    site = open_site(written[1]["site-a"].config)
    coordinator.answer("site-a", run_round(coordinator.request("site-a"), site))
    coordinator.refuse("site-b", RefusalCode.CONSENT_CHANGED)
    log.catch_up("pilot", [coordinator.finish()])
    page = tmp_path / "page.html"
    assert run.invoke(app, ["report", str(server.root), "--out", str(page)]).exit_code == 0
    assert "site-b: CONSENT_CHANGED" in page.read_text()
    key = SigningKey.load(server.log_key).verifier
    assert len(read_log(server.round_log, key).entries) == 1
    verify = ["log", "verify", str(server.round_log), "--key", key.vkey, "--federation",
              str(server.root)]  # fmt: skip
    assert "1 attestations" in run.invoke(app, verify).output
    (kept,) = load_federation(server.federation).output.rglob("site-a.json")
    kept.write_bytes(kept.read_bytes().replace(b'"sig":"', b'"sig":"A'))
    assert run.invoke(app, verify).exit_code == 1
    status = run.invoke(app, ["status", str(server.root)]).output
    assert "server: not running" in status
    assert "pilot: 1 of 2 rounds" in status


def test_a_lock_is_held_by_one_and_told_by_its_process(tmp_path) -> None:
    path = tmp_path / "lock"
    assert holder(path) is None
    with hold(path):
        assert holder(path) == os.getpid()
        with pytest.raises(StartError, match=f"process {os.getpid()} is at work"), hold(path):
            pass
        assert wait_until_free(path, 0.0) == os.getpid()
        waits = threading.Thread(target=lambda: hold(path, 10).__enter__())
        waits.start()
    waits.join(timeout=10)
    assert not waits.is_alive()


def test_journal_in_json_is_one_object_a_line() -> None:
    lines: list[str] = []
    Journal(lines.append, "json").say("started", "two\nlines", run_id="x")
    assert len(lines) == 1
    assert "\n" not in lines[0]
    found = json.loads(lines[0])
    assert (found["event"], found["run_id"], found["level"]) == ("started", "x", "info")


def test_a_process_ends_with_the_one_that_holds_the_lock(tmp_path) -> None:
    lock = tmp_path / "lock"
    code = (
        "import sys, time; from pathlib import Path\n"
        "from fl_server.run_lock import end_with_holder\n"
        "end_with_holder(Path(sys.argv[1])); print('watching', flush=True); time.sleep(300)"
    )
    with hold(lock):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "watching\n"
        assert child.poll() is None
    assert child.wait(timeout=60) == 1
