"""A whole site against a real SuperLink with TLS: it runs the pinned bundle, no hostile one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core_model.protocol.enrolment import Invitation, write_json
from fl_client.cli import app
from fl_client.config import load_site_config
from fl_client.diary import SIGNED, Diary
from fl_client.node_folder import NodeFolder
from fl_server.coordinator import Coordinator
from simulations.toml_text import to_toml
from tests.federation import write_federation, write_sites
from tests.integration.secure_link import SecureLink

WAIT_S = 240.0


def processes_about(place):
    """Return pid, command line and environment of the programs that name a folder."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes()
        except OSError:  # it ended meanwhile, or is of another user
            continue
        if str(place).encode() in line + environment:
            found[int(process.name)] = (line, environment)
    return found


def write_run(root, folders, run_id):
    config = write_federation(
        root,
        folders,
        output=run_id,
        run_id=run_id,
        join_timeout_s=60.0 if run_id == "good" else 4.0,
    )
    path = root / f"{run_id}.toml"
    path.write_text(to_toml(config))
    return config, path


@pytest.mark.slow
@pytest.mark.deployment
def test_a_site_runs_the_pinned_bundle_and_never_a_hostile_one(tmp_path) -> None:
    folder = write_sites(tmp_path)["site-a"]
    site, link = {"site-a": folder}, SecureLink(tmp_path / "link")
    node = NodeFolder(load_site_config(folder.config).node)
    good, digest = link.bundle()
    invitation = Invitation(site_id="site-a", address=link.address, ca=link.ca, bundle=digest)
    write_json(tmp_path / "invitation.json", invitation)
    runner = CliRunner()
    with link.started():
        link.register(node.make_key())
        joined = ["join", str(tmp_path / "invitation.json"), "--site", str(folder.config)]
        assert runner.invoke(app, joined).exit_code == 0
        checked = runner.invoke(app, ["check", str(folder.config)])
        assert (checked.exit_code, f"server {link.address}" in checked.output) == (0, True)
        running = subprocess.Popen(
            [sys.executable, "-m", "fl_client.cli", "run", str(folder.config)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PLANTED_SECRET": str(folder.folder / "consent" / "keys")},
        )  # fmt: skip
        try:
            wait_until_connected(running, node)
            config, path = write_run(tmp_path, site, "good")
            said = link.run(good, path)
            assert Coordinator(config).is_done, said + node.log.read_text()
            summaries = Coordinator(config).summaries
            assert [s.admitted for s in summaries] == [("site-a",)] * 3, summaries
            nothing_leads_from_the_node_to_data_or_keys(folder.folder, node)

            trace = tmp_path / "pwned"
            evil = f"import pathlib; pathlib.Path({str(trace)!r}).write_text('ran')\napp = 1\n"
            hostile, other = link.bundle({"fl_client/__init__.py": "", "fl_client/app.py": evil})
            assert other != digest
            config, path = write_run(tmp_path, site, "hostile")
            link.run(hostile, path)
            assert [s.admitted for s in Coordinator(config).summaries] == [()] * 3
            assert not trace.exists()
            noted = json.loads(node.last_bundle.read_text())
            assert (noted["sha256"], noted["admitted"]) == (other, False)
            assert [e.outcome for e in Diary(folder.folder / "state").entries()] == [SIGNED] * 3
            checked = runner.invoke(app, ["check", str(folder.config)])
            assert (checked.exit_code, f"{other[:16]} came last" in checked.output) == (1, True)
        finally:
            running.send_signal(signal.SIGINT)
            said, _ = running.communicate(timeout=WAIT_S)
        assert (running.returncode, said.strip().endswith("stopped")) == (0, True), said
        end = time.monotonic() + 20  # the SuperNode's own children see that it is gone
        while processes_about(node.folder) and time.monotonic() < end:
            time.sleep(0.5)
        assert not processes_about(node.folder)


def wait_until_connected(running, node):
    end = time.monotonic() + WAIT_S
    while not node.log.exists() or "SuperNode ID" not in node.log.read_text():
        assert running.poll() is None, running.stdout.read()
        assert time.monotonic() < end, node.log.read_text() if node.log.exists() else "no log"
        time.sleep(0.3)


def nothing_leads_from_the_node_to_data_or_keys(site, node):
    found = processes_about(node.flower)
    assert len(found) >= 2  # the SuperNode and its SuperExec
    for line, environment in found.values():
        for private in ("data", "consent", "state", "site.toml"):
            assert str(site / private).encode() not in line + environment
        assert b"PLANTED_SECRET" not in environment
