"""The worker's local socket, seen from outside: what is asked there, and how.

gRPC without generated code: two methods that carry bytes, and the standard health service.

* ``Site``   nothing -> the site's public name
* ``Round``  pieces of a request -> pieces of an answer, both in Flower's wire format
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVICE = "omote.site.v1.Worker"
SITE = f"/{SERVICE}/Site"
ROUND = f"/{SERVICE}/Round"
PIECE_BYTES = 1 << 20  # gRPC refuses messages over 4 MiB; small pieces also keep memory low
SHORT_S = 10.0  # for what needs no training
CHANNEL_OPTIONS = (("grpc.enable_http_proxy", 0),)


class WorkerAwayError(Exception):
    """The worker does not run, or ended before it answered."""


def pieces(raw: bytes) -> Iterator[bytes]:
    """Yield bytes in pieces; at least one."""
    for start in range(0, max(len(raw), 1), PIECE_BYTES):
        yield raw[start : start + PIECE_BYTES]


def ask_site(socket: Path) -> str:
    """Return the public name of the site that answers there.

    Raises:
        WorkerAwayError: Nobody answers.
        grpc.RpcError: The worker cannot answer.
    """
    with _channel(socket) as channel, _away():
        raw: bytes = channel.unary_unary(SITE)(b"", timeout=SHORT_S)
    return raw.decode()


def ask_round(socket: Path, raw: bytes, timeout_s: float) -> bytes:
    """Have a round run; return the answer.

    Args:
        socket: Of the worker.
        raw: The request, in Flower's wire format.
        timeout_s: After which nobody waits for the answer any more.

    Raises:
        WorkerAwayError: Nobody answers, or not to the end.
        grpc.RpcError: The worker cannot answer, or not in time.
    """
    request = pieces(raw)
    del raw  # gone once it is sent: the answer is as large
    with _channel(socket) as channel, _away():
        return b"".join(channel.stream_stream(ROUND)(request, timeout=timeout_s))


def is_serving(socket: Path) -> bool:
    """Does a worker take requests there?"""
    if not socket.exists():
        return False
    try:
        with _channel(socket) as channel:
            request = health_pb2.HealthCheckRequest(service=SERVICE)
            reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=SHORT_S)
    except grpc.RpcError:
        return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


@contextmanager
def _away() -> Iterator[None]:
    """Tell a worker that is gone from one that cannot answer."""
    try:
        yield
    except grpc.RpcError as e:
        if isinstance(e, grpc.Call) and e.code() is grpc.StatusCode.UNAVAILABLE:
            raise WorkerAwayError from e
        raise


def _channel(socket: Path) -> grpc.Channel:
    return grpc.insecure_channel(f"unix:{socket}", options=CHANNEL_OPTIONS)
