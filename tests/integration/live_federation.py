"""A server and three sites with all their programs, which come back when they end.

The sites' workers and SuperNodes are two units each, as in docs/site.md.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from core_model.protocol.enrolment import Invitation, read_json
from fl_client.config import load_site_config
from fl_client.node_folder import NodeFolder
from fl_server.config import FederationConfig, load_federation
from fl_server.folder import ServerFolder
from fl_server.round_state import load_state
from fl_server.run_lock import holder
from simulations.sites import SiteFolder, write_site
from tests.federation import write_faces
from tests.integration.server_folder import make_server, told
from tests.integration.units import Unit, python

SITES = {"site-a": (1, 2), "site-b": (2, 4), "site-c": (1, 4)}
EPOCHS = 240  # a few seconds
STEPS, SIGMA, RATE, DELTA = 150, 30.0, 0.5, 1e-5  # of a private round
PRIVACY = (
    f"privacy = {{ steps_per_round = {STEPS}, noise_multiplier = {SIGMA}, sampling_rate = {RATE}, "
    f'delta = {DELTA}, nominal_units = 4, frames_per_subject = 2, scope = "norms" }}\n'
)
Find = Callable[[], int | None]


class Federation:
    """A server and three sites in a folder, all their programs running."""

    def __init__(
        self, root: Path, num_rounds: int, stack: ExitStack, *, is_private: bool = False
    ) -> None:
        self.sites = write_three_sites(root / "far")
        nodes = {s: NodeFolder(load_site_config(f.config).node) for s, f in self.sites.items()}
        public = {s: node.make_key() for s, node in nodes.items()}
        self.folder = make_server(root / "server", self.sites, public, num_rounds)
        _train_longer(self.folder, is_private=is_private)
        self.config: FederationConfig = load_federation(self.folder.federation)
        self.server = Unit(
            python("fl_server.cli", "start", self.folder.root),
            self.folder.root / "said.txt",
            on_failure=True,
        )
        stack.callback(self._stop)
        self.workers: dict[str, Unit] = {}
        self.nodes: dict[str, Unit] = {}
        for site_id, folder in self.sites.items():
            nodes[site_id].join(read_json(folder.folder / "invitation.json", Invitation))
            socket = load_site_config(folder.config).socket
            run = python("fl_client.cli", "run", folder.config, "--without-node")
            self.workers[site_id] = Unit(run, folder.folder / "worker.txt")
            node = python("fl_client.cli", "node", nodes[site_id].folder, socket)
            self.nodes[site_id] = Unit(node, folder.folder / "node.txt")

    def _stop(self) -> None:
        """End all programs, all at once: some take ten seconds."""
        units = [self.server, *self.workers.values(), *self.nodes.values()]
        for unit in units:
            unit.ask_to_stop()
        for unit in units:
            unit.stop()

    @property
    def round(self) -> int:
        """The last finished one."""
        return load_state(self.config.output, self.config.run_id).round

    def target(self, name: str, chance: random.Random) -> Find:
        """Return how to find the process of a program; of one site's, by chance."""
        site_id = chance.choice(sorted(self.sites))
        return {
            "server": lambda: self.server.pid,
            "superlink": lambda: self._with_words(b"fl_server.superlink"),
            "proxy": lambda: self._with_words(b"\0-db\0"),  # not the one that checks the settings
            "rounds": self._rounds,
            "worker": lambda: self.workers[site_id].pid,
            "node": lambda: self.nodes[site_id].pid,
            "training": lambda: self._at_work(site_id),
        }[name]

    def _with_words(self, words: bytes) -> int | None:
        """Return the process of the server that has these words in its command line."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                line = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if words in line and str(self.folder.run).encode() in line:
                return int(process.name)
        return None

    def _at_work(self, site_id: str) -> int | None:
        """Return a site's worker while a round runs there."""
        note = load_site_config(self.sites[site_id].config).state / "round.open"
        return self.workers[site_id].pid if note.exists() else None

    def _rounds(self) -> int | None:
        """Return the ServerApp's process; the server itself has the lock for a moment before it."""
        pid = holder(self.config.output / "run.lock")
        return None if pid == holder(self.folder.lock) else pid

    def said(self) -> str:
        """Return the end of what all programs said."""
        of_sites = [p for f in self.sites.values() for p in sorted(f.folder.glob("*.txt"))]
        return told(self.folder) + "".join(f"\n== {p}\n{p.read_text()[-2000:]}" for p in of_sites)


def _train_longer(folder: ServerFolder, *, is_private: bool) -> None:
    """Let a round be long enough at the sites that a kill by chance may fall into it."""
    text = folder.federation.read_text()
    changes = {"batch_size = 4": f"batch_size = 4, epochs_per_round = {EPOCHS}"}
    if is_private:
        changes = {
            "reversal_scale = 0.5": "reversal_scale = 0.0",
            "training = {": f"{PRIVACY}\ntraining = {{",
        }
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new, 1)
    folder.federation.write_text(text)


def write_three_sites(root: Path) -> Mapping[str, SiteFolder]:
    """Write the sites of one federation; the same faces each time."""
    return {
        site_id: write_site(
            root / site_id, site_id, [write_faces(root / site_id / "data", site_id, aus)],
            labelled_aus=aus, seed=0,
            caps={"allows_training_without_privacy": True, "max_epochs_per_round": EPOCHS},
        )
        for site_id, aus in SITES.items()
    }  # fmt: skip
