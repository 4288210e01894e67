"""The worker's end of its local socket: gRPC with the standard health service.

Who may connect is decided by the kernel: the socket lies in a folder that only its owner can enter,
and, if the SuperNode runs as another user, one group.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from fl_client.errors import WorkerError
from fl_client.socket_client import SERVICE, pieces
from fl_client.worker import Worker

_log = logging.getLogger(__name__)
MAX_PATH_BYTES = 100  # the kernel takes 107
MAX_CALLS = 8  # at once; more are turned away
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class WorkerSocket:
    """A gRPC server on a Unix socket."""

    def __init__(self, worker: Worker, path: Path, group: str | None = None) -> None:
        """Take requests at ``path`` from now on.

        Raises:
            WorkerError: The socket cannot be made there, or not safely.
        """
        self._path = path
        self._health = health.HealthServicer()
        self._server = grpc.server(
            ThreadPoolExecutor(MAX_CALLS, "socket"),
            options=(("grpc.max_metadata_size", 4096),),
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        self._server.add_generic_rpc_handlers((_handlers(worker),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        make_folder(path, group)
        before = os.umask(0o177)
        try:
            if not self._server.add_insecure_port(f"unix:{path}"):
                raise WorkerError(f"{path}: the socket cannot be made")
        except RuntimeError as e:
            raise WorkerError(f"{path}: the socket cannot be made") from e
        finally:
            os.umask(before)
        if group is not None:
            shutil.chown(path, group=group)
            path.chmod(0o660)
        self._server.start()
        self._tell(SERVING)

    def refuse(self) -> None:
        """Tell those who ask for health that no more requests are taken."""
        self._tell(NOT_SERVING)

    def close(self, grace_s: float = 5.0) -> None:
        """Let answers that are on their way arrive, then end."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
        self._path.unlink(missing_ok=True)

    def _tell(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for service in ("", SERVICE):
            self._health.set(service, status)


def make_folder(path: Path, group: str | None) -> None:
    """Make the folder of the socket, for its owner alone, or see that it is so.

    Raises:
        WorkerError: The path is too long, the group is not there, or others can enter.
    """
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise WorkerError(
            f"{path}: expected at most {MAX_PATH_BYTES} bytes, the kernel takes no longer path; "
            'name another place in site.toml, such as socket = "/run/omote/worker"'
        )
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if group is not None:
        try:
            shutil.chown(folder, group=group)
        except (LookupError, OSError) as e:
            raise WorkerError(f"socket_group: cannot give {folder} to the group {group}") from e
        folder.chmod(0o710)
    found = folder.stat()
    closed = stat.S_IRWXO | (stat.S_IRWXG if group is None else stat.S_IRGRP | stat.S_IWGRP)
    if found.st_mode & closed or found.st_uid != os.geteuid():
        raise WorkerError(f"others can enter {folder}; run: chmod 700 {folder}")


def _handlers(worker: Worker) -> grpc.GenericRpcHandler:
    def site(_request: bytes, context: grpc.ServicerContext) -> bytes:
        with _closed(context):
            return worker.site_id().encode()

    def round_(request: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        with _closed(context):
            return pieces(worker.answer(request))

    methods = {
        "Site": grpc.unary_unary_rpc_method_handler(site),
        "Round": grpc.stream_stream_rpc_method_handler(round_),
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


@contextmanager
def _closed(context: grpc.ServicerContext) -> Iterator[None]:
    """Keep the text of whatever is raised here: gRPC would send it along."""
    try:
        yield
    except Exception:  # noqa: BLE001 - whatever it is, its text stays here
        _log.exception("this site cannot answer")
        context.abort(grpc.StatusCode.INTERNAL, "see the worker's log")
