"""The worker behind a real gRPC socket: what it answers, refuses, and never says."""

import dataclasses
import stat
import subprocess
import sys
import threading

import grpc
import pytest
from flwr.app import Message, RecordDict

from core_model.protocol.messages import RefusalCode, SiteUpdate, digest
from core_model.protocol.records import (
    decode_reply,
    decode_site_id,
    encode_request,
    read_records,
    write_records,
)
from fl_client.app import app
from fl_client.config import load_site_config
from fl_client.diary import SIGNED, Diary
from fl_client.errors import WorkerError
from fl_client.round import run_round
from fl_client.site import open_site
from fl_client.socket_client import ROUND, ask_round, ask_site, is_serving, pieces
from fl_client.worker import Worker
from fl_client.worker_socket import WorkerSocket
from fl_server.coordinator import Coordinator
from simulations.grid import InProcessGrid
from tests.federation import write_federation, write_sites
from tests.fl_client.serving import served

WAIT_S = 60.0


@pytest.fixture
def setting(tmp_path):
    folders = write_sites(tmp_path)
    coordinator = Coordinator(write_federation(tmp_path, folders))
    return folders["site-a"], coordinator


def raw_request(coordinator):
    return write_records(encode_request(coordinator.request("site-a")))


def answer(socket, raw):
    return decode_reply(read_records(ask_round(socket, raw, WAIT_S)))


def diary_of(folder):
    return Diary(load_site_config(folder.config).state).entries()


def with_caps(folder, line):
    folder.config.write_text(folder.config.read_text().replace("[caps]", f"[caps]\n{line}"))


def test_a_round_over_the_socket_gives_the_update_of_a_plain_call(setting, tmp_path) -> None:
    folder, coordinator = setting
    other = write_sites(tmp_path / "other")["site-a"]
    want = run_round(coordinator.request("site-a"), open_site(other.config))
    with served(folder.config) as (_, socket):
        assert ask_site(socket) == "site-a"
        got = answer(socket, raw_request(coordinator))
    assert isinstance(got, SiteUpdate)
    assert digest(got.arrays) == digest(want.arrays)
    (entry,) = diary_of(folder)
    assert (entry.outcome, entry.run_id, entry.round) == (SIGNED, "test-run", 1)
    assert entry.num_bytes > 2 * sum(a.nbytes for a in got.arrays.values())


def test_the_client_app_only_carries(setting) -> None:
    """Flower's message in, Flower's message out; the server admits what comes back."""
    folder, coordinator = setting
    request = encode_request(coordinator.request("site-a"))
    with served(folder.config) as (_, socket):
        grid = InProcessGrid(app, {1: {"socket": str(socket)}})
        (told,) = grid.send_and_receive([Message(RecordDict(), 1, "query.site")])
        (reply,) = grid.send_and_receive([Message(request, 1, "train")])
    assert decode_site_id(told.content) == "site-a"
    coordinator.answer("site-a", decode_reply(reply.content))
    assert coordinator.finish().admitted == ("site-a",)


def test_the_client_app_starts_without_torch_data_or_consent() -> None:
    code = (
        "import sys, fl_client.app; "
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'cv2', 'consent'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_without_a_worker_the_client_app_says_a_code(tmp_path) -> None:
    grid = InProcessGrid(app, {1: {"socket": str(tmp_path / "none")}}, keep_raw=True)
    (reply,) = grid.send_and_receive([Message(RecordDict(), 1, "train")])
    assert decode_reply(reply.content) is RefusalCode.WORKER_AWAY
    assert str(tmp_path).encode() not in b"".join(c.raw for c in grid.crossings)


def break_config(folder):
    folder.config.write_text("site_id = 7")


def break_key(folder):
    (folder.folder / "consent" / "keys" / "operator.key").chmod(0o644)


def break_recordings(folder):
    (folder.folder / "data" / "recordings.csv").write_text("secret")


def break_frames(folder):
    (folder.folder / "data" / "site-a-p0-r0" / "000001.png").write_bytes(b"secret")


@pytest.mark.parametrize("break_it", [break_config, break_key, break_recordings, break_frames])
def test_a_fault_crosses_the_socket_as_a_code_and_not_one_word_more(setting, break_it) -> None:
    folder, coordinator = setting
    with served(folder.config) as (_, socket):
        break_it(folder)
        raw = ask_round(socket, raw_request(coordinator), WAIT_S)
        assert decode_reply(read_records(raw)) is RefusalCode.SITE_FAULT
        assert len(raw) < 60


def test_a_name_that_cannot_be_told_is_told_without_a_reason(setting) -> None:
    folder, _ = setting
    with served(folder.config) as (_, socket):
        break_config(folder)
        with pytest.raises(grpc.RpcError) as caught:
            ask_site(socket)
    assert str(folder.folder) not in str(caught.value)
    assert "site_id" not in str(caught.value)


def test_bytes_that_are_no_request_are_refused(setting) -> None:
    folder, _ = setting
    with served(folder.config) as (_, socket):
        for raw in (b"", b"\xff" * 1000, write_records(RecordDict())):
            assert answer(socket, raw) is RefusalCode.REQUEST_DAMAGED


def test_names_from_a_stranger_are_safe_to_print(setting) -> None:
    folder, coordinator = setting
    content = encode_request(coordinator.request("site-a"))
    content["\x1b[2J"] = content["plan"]
    with served(folder.config) as (_, socket):
        assert answer(socket, write_records(content)) is RefusalCode.REQUEST_DAMAGED
    (entry,) = diary_of(folder)
    assert "[2J" in entry.detail
    assert "\x1b" not in entry.detail


def test_what_is_larger_than_the_caps_is_read_no_further(setting) -> None:
    folder, _ = setting
    with_caps(folder, "max_weights = 1000")
    read = []

    def endless():
        for piece in pieces(bytes(64 << 20)):
            read.append(len(piece))
            yield piece

    with served(folder.config) as (_, socket):
        with grpc.insecure_channel(f"unix:{socket}") as channel:
            raw = b"".join(channel.stream_stream(ROUND)(endless(), timeout=WAIT_S))
        assert decode_reply(read_records(raw)) is RefusalCode.PLAN_NOT_ALLOWED
    assert sum(read) < 16 << 20
    assert diary_of(folder)[0].num_bytes < 8 << 20


class Slow:
    """A round that ends when it is told to."""

    def __init__(self) -> None:
        self.begun, self.end = threading.Event(), threading.Event()

    def __call__(self, request, site):
        self.begun.set()
        assert self.end.wait(WAIT_S)
        return run_round(request, site)


def test_one_round_at_a_time_and_the_worker_still_answers(setting) -> None:
    folder, coordinator = setting
    slow, first = Slow(), []
    raw = raw_request(coordinator)
    with served(folder.config, run=slow) as (worker, socket):
        thread = threading.Thread(target=lambda: first.append(answer(socket, raw)))
        thread.start()
        assert slow.begun.wait(WAIT_S)
        assert answer(socket, raw) is RefusalCode.SITE_BUSY
        assert (ask_site(socket), is_serving(socket)) == ("site-a", True)
        assert worker.stop()
        slow.end.set()
        thread.join()
        assert isinstance(first[0], SiteUpdate)
        assert answer(socket, raw) is RefusalCode.SITE_BUSY
    assert not is_serving(socket)
    assert [e.outcome for e in diary_of(folder)] == [SIGNED]


def test_changed_caps_and_lists_hold_from_the_next_round(setting) -> None:
    folder, coordinator = setting
    raw = raw_request(coordinator)
    with served(folder.config) as (_, socket):
        assert isinstance(answer(socket, raw), SiteUpdate)
        with_caps(folder, "min_subjects = 4")
        assert answer(socket, raw) is RefusalCode.TOO_FEW_SUBJECTS


def test_a_withdrawal_holds_from_the_next_round(setting) -> None:
    folder, coordinator = setting
    with_caps(folder, "min_subjects = 3")
    raw = raw_request(coordinator)
    with served(folder.config) as (_, socket):
        assert isinstance(answer(socket, raw), SiteUpdate)
        folder.withdraw("site-a-p0", ["pretraining"])
        assert answer(socket, raw) is RefusalCode.TOO_FEW_SUBJECTS


def test_a_request_is_kept_for_a_dry_run_if_the_operator_wants_that(setting, tmp_path) -> None:
    folder, coordinator = setting
    raw = raw_request(coordinator)
    with served(folder.config, keep=tmp_path / "kept") as (_, socket):
        answer(socket, raw)
    assert (tmp_path / "kept" / "last-request").read_bytes() == raw


def test_a_run_of_a_strange_name_leaves_no_trace_in_the_diary(setting) -> None:
    folder, coordinator = setting
    request = coordinator.request("site-a")
    plan = request.plan.model_copy(update={"run_id": "../\x1b[2J"})
    raw = write_records(encode_request(dataclasses.replace(request, plan=plan)))
    with served(folder.config) as (_, socket):
        assert answer(socket, raw) is RefusalCode.PLAN_NOT_ALLOWED
    assert diary_of(folder)[0].run_id == ""


def test_only_the_owner_can_enter_the_socket_folder(setting) -> None:
    folder, _ = setting
    with served(folder.config) as (_, socket):
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    socket.parent.chmod(0o755)
    worker = Worker(folder.config, Diary(folder.folder / "state"))
    with pytest.raises(WorkerError, match="chmod 700"):
        WorkerSocket(worker, socket)


def test_a_socket_path_that_the_kernel_does_not_take_is_told(setting) -> None:
    folder, _ = setting
    worker = Worker(folder.config, Diary(folder.folder / "state"))
    with pytest.raises(WorkerError, match=r"site\.toml"):
        WorkerSocket(worker, folder.folder / ("x" * 100))
