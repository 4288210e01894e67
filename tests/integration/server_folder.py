"""A server folder with enrolled sites, and starting it as an operator would."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from core_model.protocol.enrolment import Enrolment, write_json
from fl_server.config import load_federation
from fl_server.enrolling import enroll, write_invitation
from fl_server.errors import StartError
from fl_server.folder import ServerFolder
from fl_server.founding import found
from fl_server.proxy import find_proxy
from fl_server.round_state import load_state
from simulations.loop import write_initial
from simulations.sites import SiteFolder
from tests.federation import AUS, ENCODER

TRAINING = (
    '{ purpose = "finetuning", reversal = "relative", reversal_scale = 0.5, '
    "optimiser = { learning_rate = 1e-3, min_learning_rate = 1e-3, batch_size = 4 } }"
)
WAIT_S = 400.0


def make_server(
    root: Path, sites: Mapping[str, SiteFolder], node_keys: Mapping[str, str], rounds: int,
    max_update_norm: float = 1e6, address: str = "localhost",
) -> ServerFolder:  # fmt: skip
    """Make a server of ``sites``; write each one's invitation beside it.

    At another address than localhost it listens on all of its host's.
    """
    folder = ServerFolder(root)
    ports = free_ports(4)
    found(folder, "pilot", f"{address}:{ports[0]}", datetime.now(UTC))
    text = folder.federation.read_text()
    for old, new in {
        "0.0.0.0": "127.0.0.1" if address == "localhost" else "0.0.0.0",
        "superlink_port = 9092": f"superlink_port = {ports[1]}",
        "health_port = 9444": f"health_port = {ports[2]}",
        "metrics_port = 9445": f"metrics_port = {ports[3]}",
        "[1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24]": str(list(AUS)),
        "rounds = 20": f"rounds = {rounds}\nmax_update_norm = {max_update_norm}",
        '{ purpose = "finetuning", reversal_scale = 2.0 }': TRAINING,
        "timeout_s = 3600.0": "timeout_s = 300.0",
    }.items():
        assert old in text, old
        text = text.replace(old, new, 1)
    folder.federation.write_text(text)
    write_initial(folder.root / "initial.safetensors", ENCODER, AUS, seed=7)
    for site_id, site in sites.items():
        told = site.enrolment()
        enrolment = Enrolment(
            site_id=site_id, key=told.key, log_key=told.log_key,
            node_key=node_keys[site_id], labelled_aus=site.labelled_aus,
        )  # fmt: skip
        write_json(site.folder / "enrolment.json", enrolment)
        invitation = enroll(folder, site.folder / "enrolment.json")
        write_invitation(site.folder / "invitation.json", invitation)
    return folder


def node_key() -> tuple[ec.EllipticCurvePrivateKey, str]:
    """Return a key pair of a node, the public half as Flower wants it."""
    key = ec.generate_private_key(ec.SECP384R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return key, public.decode()


@contextmanager
def started(folder: ServerFolder, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the server; stop it in the end. What it says is in ``said.txt``."""
    with (folder.root / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "fl_server.cli", "start", str(folder.root), *options],
            stdout=said, stderr=subprocess.STDOUT, env=dict(os.environ),
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def wait_for_round(folder: ServerFolder, number: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a round is finished."""
    config = load_federation(folder.federation)
    end = time.monotonic() + WAIT_S
    while load_state(config.output, config.run_id).round < number:
        assert process.poll() is None, told(folder)
        assert time.monotonic() < end, told(folder)
        time.sleep(0.3)


def told(folder: ServerFolder) -> str:
    """Return all that the programs said, for the message of a test that fails."""
    logs = [folder.root / "said.txt", *sorted(folder.logs.glob("*.log"))]
    return "\n".join(f"== {log.name}\n{log.read_text(errors='replace')[-4000:]}" for log in logs)


def has_proxy() -> bool:
    """Tell whether HAProxy is installed."""
    try:
        find_proxy()
    except StartError:
        return False
    return True


def free_ports(num: int) -> list[int]:
    """Return ports that nobody listens at."""
    sockets = [socket.socket() for _ in range(num)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
