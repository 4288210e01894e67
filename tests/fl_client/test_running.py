"""omote-site run as a real process: killed, stopped, started twice, and seen by another user."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from core_model.config import OptimiserConfig
from core_model.protocol.messages import SiteUpdate
from core_model.protocol.records import decode_reply, encode_request, read_records, write_records
from fl_client.config import load_site_config
from fl_client.diary import INTERRUPTED, SIGNED, Diary
from fl_client.socket_client import ask_round, is_serving
from fl_server.coordinator import Coordinator
from tests.federation import write_federation, write_sites
from tests.fl_client.serving import served

WAIT_S = 240.0
CLI = [sys.executable, "-m", "fl_client.cli"]


@pytest.fixture
def setting(tmp_path):
    folders = write_sites(tmp_path, max_epochs_per_round=1_000_000)
    return folders["site-a"], Coordinator(write_federation(tmp_path, folders))


def wait_until(condition):
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)


@contextmanager
def running(folder):
    """Yield a process that serves."""
    socket = load_site_config(folder.config).socket
    command = [*CLI, "run", str(folder.config), "--without-node"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_until(lambda: is_serving(socket) or process.poll() is not None)
        assert process.poll() is None, process.stdout.read()
        yield process, socket
    finally:
        process.kill()
        process.communicate()


def request_for(coordinator, epochs):
    """Return a request as the server would send it, but with more to do."""
    request = coordinator.request("site-a")
    optimiser = OptimiserConfig(learning_rate=1e-3, batch_size=4, epochs_per_round=epochs)
    training = request.plan.training.model_copy(update={"optimiser": optimiser})
    plan = request.plan.model_copy(update={"training": training})
    return write_records(encode_request(dataclasses.replace(request, plan=plan)))


def ask_in_process(socket, raw, place):
    """Ask from another process, as Flower does; return it."""
    request = place / "request"
    request.write_bytes(raw)
    code = (
        "import sys; from pathlib import Path; from fl_client.socket_client import ask_round; "
        "raw = ask_round(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes(), 240.0); "
        "sys.stdout.buffer.write(raw)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(socket), str(request)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_a_worker_killed_in_a_round_starts_again_and_the_round_can_be_asked_again(
    setting, tmp_path
) -> None:
    folder, coordinator = setting
    state = folder.folder / "state"
    with running(folder) as (process, socket):
        asking = ask_in_process(socket, request_for(coordinator, 1_000_000), tmp_path)
        wait_until((state / "round.open").exists)
        wait_until(lambda: folder.consent.state().started)
        process.kill()
        process.wait()
        assert asking.communicate()[0] == b""
    (state / "test-run").mkdir(exist_ok=True)
    (state / "test-run" / "pretraining.1.draft").write_bytes(b"left by a kill")
    started = [s.event.round for s in folder.consent.state().started]
    with running(folder) as (process, socket):
        raw = write_records(encode_request(coordinator.request("site-a")))
        coordinator.answer("site-a", decode_reply(read_records(ask_round(socket, raw, WAIT_S))))
        assert coordinator.finish().admitted == ("site-a",)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=WAIT_S)
    assert "round 1 of test-run was interrupted" in said
    assert (process.returncode, said.strip().endswith("stopped")) == (0, True), said
    assert [e.outcome for e in Diary(state).entries()] == [INTERRUPTED, SIGNED]
    assert not list(state.rglob("*.draft"))
    assert not socket.exists()
    state_now = folder.consent.state()
    assert [s.event.round for s in state_now.started] == [*started, 1]  # on record stays on record
    assert len(state_now.rounds) == 1


@pytest.mark.slow
def test_ctrl_c_finishes_the_round_and_a_second_worker_is_refused(setting, tmp_path) -> None:
    folder, coordinator = setting
    with running(folder) as (process, socket):
        second = subprocess.run(
            [*CLI, "run", str(folder.config), "--without-node"],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert (second.returncode, "runs already" in second.stderr) == (1, True), second.stderr
        asking = ask_in_process(socket, request_for(coordinator, 50), tmp_path)
        wait_until((folder.folder / "state" / "round.open").exists)
        process.send_signal(signal.SIGINT)
        answer, _ = asking.communicate(timeout=WAIT_S)
        assert isinstance(decode_reply(read_records(answer)), SiteUpdate)
        process.communicate(timeout=WAIT_S)
        assert process.returncode == 0


@pytest.mark.slow
def test_a_second_ctrl_c_gives_the_round_up(setting, tmp_path) -> None:
    folder, coordinator = setting
    with running(folder) as (process, socket):
        asking = ask_in_process(socket, request_for(coordinator, 1_000_000), tmp_path)
        wait_until((folder.folder / "state" / "round.open").exists)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: not is_serving(socket))
        time.sleep(1.0)  # so that the two are two
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=WAIT_S)
        assert asking.communicate()[0] == b""
    assert (process.returncode, "gave up the round" in said) == (1, True), said
    assert not folder.consent.state().rounds


ORPHAN = """
import threading, time
from fl_client import pinned_node
threading.Thread(target=pinned_node._end_with_parent, daemon=True).start()
print("up", flush=True)
time.sleep(120)
"""


def test_the_supernode_ends_when_the_worker_is_killed() -> None:
    """Nobody is left to stop it then: it sees that its input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", ORPHAN], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline() == b"up\n"
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(timeout=WAIT_S) == -signal.SIGTERM
    process.stdout.close()


PROBE = """
import json, os, sys
from pathlib import Path
from fl_client.socket_client import ask_site
site, user = Path(sys.argv[1]), int(sys.argv[2])
os.setgroups([])
os.setgid(user)
os.setuid(user)
def reading(path):
    try:
        list(path.iterdir()) if path.is_dir() else path.read_bytes()
    except PermissionError:
        return False
    return True
print(json.dumps({
    "name": ask_site(site / "socket" / "worker"),
    "opened": [n for n in sys.argv[3:] if reading(site / n)],
}))
"""
NOBODY = 65534
PRIVATE = (
    "data", "data/recordings.csv", "data/site-a-p0-r0/000001.png", "consent", "consent/log.sqlite",
    "consent/keystore.sqlite", "consent/keys/operator.key", "state", "state/rounds.jsonl",
    "site.toml",
)  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_the_forwarders_user_reaches_the_socket_and_neither_data_nor_keys() -> None:
    """As docs/site.md says: two users, one group for the socket."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o711)
        folder = write_sites(Path(place))["site-a"]
        text = folder.config.read_text()
        folder.config.write_text('socket_group = "nogroup"\n' + text)
        for name, mode in {".": 0o711, "data": 0o700, "site.toml": 0o600}.items():
            (folder.folder / name).chmod(mode)
        state = folder.folder / "state"
        state.mkdir(mode=0o700)
        (state / "rounds.jsonl").touch()
        with served(folder.config) as (_, socket):
            assert socket.stat().st_mode & 0o777 == 0o660
            assert probed(folder.folder, NOBODY) == {"name": "site-a", "opened": []}
            assert probed(folder.folder, 0)["opened"] == list(PRIVATE)  # the probe can fail


def probed(site, user):
    """Return what a user finds out who starts with this software loaded, and nothing else."""
    command = [sys.executable, "-c", PROBE, str(site), str(user), *PRIVATE]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
