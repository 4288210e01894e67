"""Flower's SuperNode with the app bundle pinned: another bundle is refused before it is unpacked.

Flower can check a bundle only against the signatures of its own hub (``--trusted-entities``). Here
that check is replaced by ours. It touches names that Flower does not promise to keep, so another
version than the one that was tested does not start.

    python -m fl_client.pinned_node NODE_FOLDER SOCKET [--with-parent]
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flwr.supercore.fab import Fab
from flwr.supercore.run import Run
from flwr.supernode import start_client_internal as internal

from core_model.protocol.enrolment import Invitation
from fl_client.bundle import App, check_bundle
from fl_client.errors import NodeError
from fl_client.node_folder import NodeFolder

TESTED = "1.41."
_GET_RUN, _GET_FAB = 3, 4  # places in what Flower's connection yields


class Pin:
    """Stands between the server and the SuperNode, and sees what bundle each run brings."""

    def __init__(self, pinned: str, last_bundle: Path) -> None:
        self._pinned = pinned
        self._last_bundle = last_bundle
        self._runs: dict[int, Run] = {}
        self._told: dict[int, App] = {}

    def install(self) -> None:
        """Let Flower's SuperNode ask here instead of its hub."""
        connect = internal._init_connection
        start = internal.start_client_internal
        program = import_module("flwr.supernode.cli.flower_supernode")
        # If Flower has these no more, replacing them would pass in silence and check nothing.
        assert callable(internal._verify_fab)
        assert program.start_client_internal is start

        @contextlib.contextmanager
        def connection(**arguments: Any) -> Iterator[tuple[Any, ...]]:
            with connect(**arguments) as made:
                parts: list[Any] = list(made)
                parts[_GET_RUN] = self.seeing_runs(parts[_GET_RUN])
                parts[_GET_FAB] = self.seeing_bundles(parts[_GET_FAB])
                yield tuple(parts)

        def start_checked(**arguments: Any) -> None:
            # Only with someone to trust does Flower check at all; who that is, is not asked.
            start(**{**arguments, "trusted_entities": {"pinned": "by the site"}})

        vars(internal)["_init_connection"] = connection
        vars(internal)["_verify_fab"] = self.verify
        vars(program)["start_client_internal"] = start_checked

    def seeing_runs(self, get_run: Callable[[int], Run]) -> Callable[[int], Run]:
        """Remember what the server says of each run."""

        def seen(run_id: int) -> Run:
            self._runs[run_id] = run = get_run(run_id)
            return run

        return seen

    def seeing_bundles(self, get_fab: Callable[[str, int], Fab]) -> Callable[[str, int], Fab]:
        """Mark every bundle as one that has papers, so that it is checked."""

        def seen(fab_hash: str, run_id: int) -> Fab:
            fab = get_fab(fab_hash, run_id)
            run = self._runs[run_id]
            self._told[id(fab)] = App(run.fab_id, run.fab_version, run.fab_hash)
            fab.verifications = {"valid_license": "pinned"}
            return fab

        return seen

    def verify(self, fab: Fab, _trusted: object) -> bool:
        """Is this the pinned bundle, with no code, of the app that is installed?"""
        try:
            told = self._told.pop(id(fab))
            if fab.hash_str != told.sha256:
                raise NodeError("the server gives this bundle another name than the run")
            check_bundle(fab.content, self._pinned, told)
        except (AttributeError, KeyError, NodeError) as e:
            sys.stderr.write(f"bundle refused: {e}\n")
            self._note(fab, is_admitted=False)
            return False
        self._note(fab, is_admitted=True)
        return True

    def _note(self, fab: Fab, *, is_admitted: bool) -> None:
        found = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "sha256": hashlib.sha256(fab.content).hexdigest(),
            "admitted": is_admitted,
        }
        draft = self._last_bundle.with_suffix(".draft")
        draft.write_text(json.dumps(found), encoding="ascii")
        draft.replace(self._last_bundle)


def supernode_arguments(node: NodeFolder, invitation: Invitation, worker: Path) -> list[str]:
    """Return the command line of Flower's SuperNode. Dependencies are never installed by a run."""
    return [
        "flower-supernode",
        "--superlink", invitation.address,
        "--root-certificates", str(node.ca),
        "--auth-supernode-private-key", str(node.key),
        "--node-config", f"socket={json.dumps(str(worker))}",
        "--host", "127.0.0.1",
        "--port", str(_free_port()),
    ]  # fmt: skip


def main() -> None:
    """Start it."""
    if not version("flwr").startswith(TESTED):
        sys.exit(f"expected flwr {TESTED}x, got {version('flwr')}: the pin was not tested with it")
    node, worker = NodeFolder(Path(sys.argv[1])), Path(sys.argv[2])
    if sys.argv[3:] == ["--with-parent"]:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    # Flower unpacks a bundle once and then trusts the folder: start without any.
    shutil.rmtree(node.flower / "apps", ignore_errors=True)
    invitation = node.joined()
    Pin(invitation.bundle, node.last_bundle).install()
    sys.argv = supernode_arguments(node, invitation, worker)
    import_module("flwr.supernode.cli.flower_supernode").flower_supernode()


def _end_with_parent() -> None:
    """End, with all that was started from here, when the worker does: it holds our input open."""
    while os.read(sys.stdin.fileno(), 1024):  # not sys.stdin.read: it holds a lock at the end
        pass
    os.killpg(0, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


if __name__ == "__main__":
    main()
