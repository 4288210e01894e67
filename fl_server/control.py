"""What the operator asks of the SuperLink on this machine: let nodes in, run the app, look.

Flower's control calls know no password. That is why they are answered on loopback alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.common.serde import user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.fab_pb2 import Fab
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor

from fl_server.bundle import Bundle
from fl_server.errors import StartError

POLL_S = 0.3


@dataclass(frozen=True)
class RunState:
    """A run in Flower's words: pending, starting, running, or finished and how."""

    status: str
    sub_status: str

    @property
    def is_over(self) -> bool:
        """Whether the ServerApp has ended, well or not."""
        return self.status == "finished"


class Control:
    """Calls to the SuperLink on a port of this machine."""

    def __init__(self, port: int, ca: Path | None) -> None:
        """Prepare to call; ``ca`` is of its certificate, None if it speaks in clear."""
        self._client = ControlHttpClient.from_server_address(
            f"127.0.0.1:{port}",
            ca is None,
            None if ca is None else ca.read_bytes(),
            [RuntimeVersionHttpInterceptor(component_name="CLI")],
        )

    def wait(self, timeout_s: float) -> None:
        """Wait until the SuperLink answers.

        Raises:
            StartError: It does not, in time.
        """
        end = time.monotonic() + timeout_s
        while True:
            try:
                self._client.ListNodes(ListNodesRequest())
            except httpx.HTTPError as e:
                if time.monotonic() > end:
                    raise StartError(f"the SuperLink did not answer in {timeout_s:.0f} s") from e
                time.sleep(POLL_S)
            else:
                return

    def set_nodes(self, keys: Iterable[str]) -> None:
        """Let exactly these SuperNodes in, by their public keys (OpenSSH)."""
        wanted = {_pem(key) for key in keys}
        there = {
            bytes(node.public_key): node.node_id
            for node in self._client.ListNodes(ListNodesRequest()).nodes_info
            if node.status != "unregistered"
        }
        for key, node_id in there.items():
            if key not in wanted:
                self._client.UnregisterNode(UnregisterNodeRequest(node_id=node_id))
        for key in sorted(wanted - there.keys()):
            self._client.RegisterNode(RegisterNodeRequest(public_key=key))

    def start_run(self, bundle: Bundle, federation: Path) -> int:
        """Start our app; return Flower's number of the run.

        Raises:
            StartError: Flower does not run it.
        """
        request = StartRunRequest(
            fab=Fab(hash_str=bundle.digest, content=bundle.content),
            override_config=user_config_to_proto({"federation": str(federation)}),
        )
        answer = self._client.StartRun(request)
        if not answer.HasField("run_id"):
            raise StartError("Flower did not start the run; see logs/superlink.log")
        return int(answer.run_id)

    def run_state(self, run_id: int) -> RunState:
        """Return how a run stands."""
        runs = self._client.ListRuns(ListRunsRequest(run_id=run_id)).run_dict
        status = runs[run_id].status
        return RunState(status.status, status.sub_status)

    def close(self) -> None:
        """End the connection."""
        self._client.close()


def _pem(key: str) -> bytes:
    try:
        public = serialization.load_ssh_public_key(key.encode())
    except ValueError as e:
        raise StartError("node_key: not an OpenSSH public key") from e
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise StartError("node_key: expected an elliptic curve key, as Flower wants it")
    return public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
