"""The same as the page, for programs: gRPC on a local socket, with the standard health service.

Who may connect is decided by the kernel: the socket lies in a folder that only its owner can enter.
No port is open, so no web page and no other user reaches it.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from core_model.predictor import UNSURE
from core_model.serve import reader_pb2 as pb
from core_model.serve.mailbox import Mailbox
from core_model.serve.studio import MAX_PICTURE_BYTES, ServeRefusedError, Studio
from core_model.serve.turns import BusyError, PassedOverError
from core_model.use.reader import Reading

log = logging.getLogger("omote.serve")
SERVICE = "omote.use.v1.Reader"
MAX_PATH_BYTES = 100  # the kernel takes 107
MAX_CALLS = 8  # at once; more are turned away
STATUSES = {"permit_ran_out": grpc.StatusCode.PERMISSION_DENIED}  # else: INVALID_ARGUMENT


class SocketError(OSError):
    """The socket cannot be made, or not safely."""


class ReaderSocket:
    """A gRPC server on a Unix socket.

    Args:
        studio: What reads.
        path: Of the socket.

    Raises:
        SocketError: It cannot be made there, or others could enter its folder.
    """

    def __init__(self, studio: Studio, path: Path) -> None:
        self._path = path
        self._health = health.HealthServicer()
        self._server = grpc.server(
            ThreadPoolExecutor(MAX_CALLS, "calls"),
            options=(
                ("grpc.max_metadata_size", 4096),
                ("grpc.max_receive_message_length", MAX_PICTURE_BYTES + 1024),
                # Else gRPC asks for more of a stream than is read: two frames of any size at most.
                ("grpc.http2.bdp_probe", 0),
            ),
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        self._server.add_generic_rpc_handlers((_handlers(studio),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        _make_folder(path)
        before = os.umask(0o177)
        try:
            if not self._server.add_insecure_port(f"unix:{path}"):
                raise SocketError(f"{path}: the socket cannot be made")
        except RuntimeError as e:
            raise SocketError(f"{path}: the socket cannot be made") from e
        finally:
            os.umask(before)
        self._server.start()
        for service in ("", SERVICE):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    def wait(self) -> None:
        """Serve until interrupted."""
        self._server.wait_for_termination()

    def close(self, grace_s: float = 3.0) -> None:
        """Let answers that are on their way arrive, then end."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
        self._path.unlink(missing_ok=True)


def _make_folder(path: Path) -> None:
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise SocketError(
            f"{path}: expected at most {MAX_PATH_BYTES} bytes, the kernel takes no longer path"
        )
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
    except OSError as e:
        raise SocketError(f"{folder}: cannot be made or read ({e.strerror})") from e
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or found.st_uid != os.geteuid():
        raise SocketError(
            f"{folder}: others can enter it; name a folder of your own, or run: chmod 700 {folder}"
        )


def _handlers(studio: Studio) -> grpc.GenericRpcHandler:
    count = itertools.count()

    def about(_request: pb.AboutRequest, _context: grpc.ServicerContext) -> pb.AboutReply:
        return pb.AboutReply(about_json=json.dumps(studio.about(), ensure_ascii=False))

    def read(frame: pb.Frame, context: grpc.ServicerContext) -> pb.Readings:
        with _closed(context):
            return _read(studio, frame, None)

    def follow(frames: Iterator[pb.Frame], context: grpc.ServicerContext) -> Iterator[pb.Readings]:
        stream, mailbox = f"grpc-{next(count)}", Mailbox()
        context.add_callback(mailbox.close)
        threading.Thread(target=_fill, args=(mailbox, frames), daemon=True).start()
        try:
            for number, frame in mailbox:
                with _closed(context):
                    try:
                        readings = _read(studio, frame, stream)
                    except ServeRefusedError as e:
                        if e.code in STATUSES:
                            raise
                        readings = pb.Readings(problem=e.code)
                readings.frame = number
                yield readings
        finally:
            mailbox.close()
            studio.end(stream)

    methods = {
        "About": grpc.unary_unary_rpc_method_handler(
            about, pb.AboutRequest.FromString, pb.AboutReply.SerializeToString
        ),
        "Read": grpc.unary_unary_rpc_method_handler(
            read, pb.Frame.FromString, pb.Readings.SerializeToString
        ),
        "Follow": grpc.stream_stream_rpc_method_handler(
            follow, pb.Frame.FromString, pb.Readings.SerializeToString
        ),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def _fill(mailbox: Mailbox, frames: Iterator[pb.Frame]) -> None:
    try:
        for frame in frames:
            if not mailbox.put(frame):
                return
    except grpc.RpcError:
        log.debug("a stream was broken off")
    finally:
        mailbox.close()


def _read(studio: Studio, frame: pb.Frame, stream: str | None) -> pb.Readings:
    answer = studio.read(frame.image, stream=stream, way=frame.hide or None)
    aus = studio.card.action_units
    return pb.Readings(
        width=answer.width,
        height=answer.height,
        people=[_person(reading, aus) for reading in answer.readings],
        hidden=answer.hidden or b"",
        took_ms=answer.took_ms,
    )


def _person(reading: Reading, action_units: tuple[int, ...]) -> pb.Person:
    told = {UNSURE: pb.UNSURE, 0: pb.OCCURS_NOT, 1: pb.OCCURS}
    box = None
    if reading.face is not None:
        left, top, width, height = map(float, reading.face.box)
        box = pb.Box(left=left, top=top, width=width, height=height)
    aus = [
        pb.ActionUnit(
            au=au,
            probability=float(reading.probabilities[a]),
            occurrence=told[int(reading.occurs[a])],
        )
        for a, au in enumerate(action_units)
    ]
    return pb.Person(person=reading.person, box=box, aus=aus)


@contextmanager
def _closed(context: grpc.ServicerContext) -> Iterator[None]:
    """Send a code out, and keep the text of whatever else is raised: gRPC would send it along."""
    try:
        yield
    except ServeRefusedError as e:
        context.abort(STATUSES.get(e.code, grpc.StatusCode.INVALID_ARGUMENT), e.code)
    except (BusyError, PassedOverError):
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
    except Exception as e:  # noqa: BLE001 - whatever it is, its text stays here
        log.error("%s", type(e).__name__)
        context.abort(grpc.StatusCode.INTERNAL, "fault")
