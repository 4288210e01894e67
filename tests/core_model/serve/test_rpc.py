"""Programs ask over gRPC: one picture, a stream, health, and what is refused."""

import json
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import cv2
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from core_model.serve import reader_pb2 as pb
from core_model.serve.rpc import SERVICE, ReaderSocket, SocketError
from core_model.serve.studio import MAX_PICTURE_BYTES
from tests.core_model.released import AUS, scene, write_video
from tests.core_model.serve.conftest import options, picture

DOCS = Path(__file__).parents[3] / "docs" / "use.md"


@pytest.fixture
def channel(studio, tmp_path):
    socket = tmp_path / "own" / "omote.sock"
    served = ReaderSocket(studio, socket)
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        yield channel
    served.close(0)
    assert not socket.exists()


def read(channel, frame, timeout=30):
    call = channel.unary_unary(
        f"/{SERVICE}/Read", pb.Frame.SerializeToString, pb.Readings.FromString
    )
    return call(frame, timeout=timeout)


def follow(channel, frames, timeout=30):
    call = channel.stream_stream(
        f"/{SERVICE}/Follow", pb.Frame.SerializeToString, pb.Readings.FromString
    )
    return call(frames, timeout=timeout)


def test_a_picture_is_read_and_hidden(channel, two) -> None:
    answer = read(channel, pb.Frame(image=two, hide="cutout"))
    assert [p.person for p in answer.people] == [1, 2]
    assert tuple(au.au for au in answer.people[0].aus) == AUS
    assert all(0 <= au.probability <= 1 for p in answer.people for au in p.aus)
    assert answer.hidden.startswith(b"\xff\xd8")
    assert not read(channel, pb.Frame(image=two)).hidden


def test_every_frame_of_a_stream_is_answered_in_order_and_people_keep_their_numbers(channel):
    frames = [pb.Frame(image=picture(scene(t), ".jpg")) for t in range(5)]
    answers = list(follow(channel, iter(frames)))
    assert [a.frame for a in answers] == [1, 2, 3, 4, 5]
    assert all({p.person for p in a.people} == {1, 2} for a in answers)


def test_frames_that_may_be_skipped_give_way_when_they_come_faster_than_they_are_read(channel):
    one = picture(scene(0), ".jpg")
    frames = [pb.Frame(image=one, may_skip=k < 59) for k in range(60)]
    answers = [a.frame for a in follow(channel, iter(frames))]
    assert answers == sorted(set(answers))
    assert answers[-1] == 60
    assert len(answers) < 60


def test_a_sender_is_held_up_by_a_slow_reader(channel, studio, monkeypatch) -> None:
    sent, slow = [], studio.read

    def slowly(*args, **kwargs):
        time.sleep(0.05)
        return slow(*args, **kwargs)

    monkeypatch.setattr(studio, "read", slowly)
    big = picture(scene(0), ".bmp")  # 0.9 MB: what is on the way is bounded in bytes

    def frames():
        for k in range(12):
            sent.append(k)
            yield pb.Frame(image=big)

    seen = [len(sent) - answer.frame for answer in follow(channel, frames())]
    assert max(seen) <= 8


def test_a_damaged_frame_is_named_and_the_stream_goes_on(channel, two) -> None:
    frames = [pb.Frame(image=two), pb.Frame(image=b"noise"), pb.Frame(image=two, hide="x"),
              pb.Frame(image=two)]  # fmt: skip
    answers = list(follow(channel, iter(frames)))
    assert [a.problem for a in answers] == ["", "no_picture", "unknown_way", ""]


REFUSED = {
    "noise": (pb.Frame(image=b"noise"), grpc.StatusCode.INVALID_ARGUMENT, "no_picture"),
    "an unknown way": (pb.Frame(image=picture(scene(0)), hide="x"),
                       grpc.StatusCode.INVALID_ARGUMENT, "unknown_way"),
    "a little too much": (pb.Frame(image=bytes(MAX_PICTURE_BYTES + 1)),
                          grpc.StatusCode.INVALID_ARGUMENT, "too_large"),
    "far too much": (pb.Frame(image=bytes(2 * MAX_PICTURE_BYTES)),
                     grpc.StatusCode.RESOURCE_EXHAUSTED, None),
}  # fmt: skip


@pytest.mark.parametrize(("frame", "status", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_a_small_picture_is_refused(channel, frame, status, code) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        read(channel, frame)
    assert refused.value.code() == status
    assert code is None or refused.value.details() == code


def test_a_fault_sends_no_text_out(channel, studio, two, monkeypatch) -> None:
    def fails(*_, **__):
        raise RuntimeError("the face of Hanako")

    monkeypatch.setattr(studio, "read", fails)
    with pytest.raises(grpc.RpcError) as refused:
        read(channel, pb.Frame(image=two))
    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.INTERNAL, "fault")


def test_a_caller_who_goes_away_leaves_no_stream_behind(channel, studio, two) -> None:
    def endless():
        while True:
            yield pb.Frame(image=two)

    answers = follow(channel, endless())
    next(answers)
    answers.cancel()
    for _ in range(500):
        if not studio._streams:
            return
        time.sleep(0.02)
    raise AssertionError("the stream is still there")


def test_health_is_told(channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", SERVICE):
        reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_about_says_what_run_json_says(channel, studio) -> None:
    call = channel.unary_unary(
        f"/{SERVICE}/About", pb.AboutRequest.SerializeToString, pb.AboutReply.FromString
    )
    assert json.loads(call(pb.AboutRequest(), timeout=10).about_json) == studio.about()


# --- the socket ------------------------------------------------------------------------------


def test_only_the_owner_reaches_the_socket(studio, tmp_path) -> None:
    served = ReaderSocket(studio, tmp_path / "own" / "omote.sock")
    try:
        assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "own" / "omote.sock").stat().st_mode) == 0o600
    finally:
        served.close(0)


def test_a_folder_that_others_enter_is_refused(studio, tmp_path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(SocketError, match="others can enter"):
        ReaderSocket(studio, tmp_path / "open" / "omote.sock")
    with pytest.raises(SocketError, match="at most 100 bytes"):
        ReaderSocket(studio, tmp_path / ("x" * 100) / "omote.sock")


# --- as it is typed --------------------------------------------------------------------------


def test_the_client_in_the_docs_reads_a_video(given, tmp_path) -> None:
    """The client of docs/use.md, as it stands there, against the command of docs/use.md."""
    code = re.search(r"```python\n(# client\.py.*?)```", DOCS.read_text("utf-8"), re.DOTALL)[1]
    assert len(code.splitlines()) <= 20
    write_video(tmp_path / "two.mp4", 3)
    socket = tmp_path / "own" / "omote.sock"
    command = [sys.executable, "-c", "from core_model.cli import app; app()", "serve"]
    command += [*options(given), "--no-page", "--socket", str(socket)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert any(line.startswith("gRPC:") for line in process.stdout)
        done = subprocess.run(
            [sys.executable, "-", str(socket), str(tmp_path / "two.mp4")],
            input=code, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert not socket.exists()
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 6, done.stdout  # two people in three frames
    assert re.fullmatch(r"1 person 1: AU1 0\.\d\d .*AU26 0\.\d\d", lines[0])
    assert cv2.VideoCapture(str(tmp_path / "two.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_the_generated_code_is_that_of_the_proto() -> None:
    """Names, numbers and types, read out of the text, against the descriptor."""
    text = (Path(pb.__file__).with_name("reader.proto")).read_text("utf-8")
    text = re.sub(r"//.*", "", text)
    for name, body in re.findall(r"message (\w+) \{([^}]*)\}", text):
        fields = re.findall(r"(repeated )?(\w+) (\w+) = (\d+);", body)
        message = pb.DESCRIPTOR.message_types_by_name[name]
        assert [(f, int(n)) for _, _, f, n in fields] == [
            (f.name, f.number) for f in message.fields
        ]
        for (_, kind, _, _), field in zip(fields, message.fields, strict=True):
            named = field.message_type or field.enum_type
            assert named is None or named.name == kind
    methods = pb.DESCRIPTOR.services_by_name["Reader"].methods_by_name
    assert set(methods) == set(re.findall(r"rpc (\w+)\(", text))
