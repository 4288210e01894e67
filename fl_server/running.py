"""Run a federation: one foreground process that starts the others, watches them, and ends them.

Made to be killed: all that counts is on disk after each round, so whatever happens, the answer is
to start again. If a program ends, this does too, and systemd or a container starts it anew.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from consent import private_file
from consent.keys import SigningKey
from core_model.checkpoint import CheckpointError
from fl_server.bundle import make_bundle
from fl_server.certificates import (
    LOOPBACK,
    LOOPBACK_DAYS,
    check_certificate,
    make_authority,
    make_certificate,
)
from fl_server.config import FederationConfig, LinkConfig, load_federation, split_address
from fl_server.control import Control
from fl_server.coordinator import Coordinator
from fl_server.errors import StartError
from fl_server.evaluating import Evaluator
from fl_server.figures import newest_figures
from fl_server.folder import ServerFolder
from fl_server.journal import Journal
from fl_server.monitoring import Monitor, RoundMetrics
from fl_server.programs import Program, environment, superlink_command
from fl_server.proxy import ProxyFiles, find_proxy, proxy_config
from fl_server.round_log import RoundLog
from fl_server.round_state import RoundSummary, RunState, load_state
from fl_server.run_lock import hold, wait_until_free

START_S = 60.0
LOCK_S = 1.0  # who asks for the holder has the lock for a moment
POLL_S = 0.5
ASK_EVERY_S = 3.0
LAST_WORDS_S = 30.0  # for the ServerApp to end when the SuperLink has
ON_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class Options:
    """How to start."""

    insecure: bool = False  # in clear and without keys; on loopback alone


def run_server(folder: ServerFolder, options: Options, journal: Journal) -> None:
    """Run the federation to its last round. SIGTERM and Ctrl-C end it at any time.

    Raises:
        StartError: It cannot start, or a program ended before the last round.
        SettingsError: federation.toml, or the file of a site, is not right.
        KeyFileError: A private key is missing or can be read by others.
        RoundLogError: The log of rounds is not what was signed.
    """
    folder.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.logs.mkdir(exist_ok=True, mode=0o700)
    with hold(folder.lock, LOCK_S), _stoppable():
        config = check_ready(folder, options)
        with Evaluator(folder, config, journal) as evaluator:
            with ExitStack() as stack:
                server = _Server(folder, config, options, journal, stack)
                server.start()
                server.watch(evaluator)
            evaluator.finish(server.summaries)
    journal.say("finished", "All rounds are finished.")


def check_ready(folder: ServerFolder, options: Options) -> FederationConfig:
    """Check all that can be checked before anything is started; return the settings.

    Raises:
        StartError: Something is not right; the settings and keys raise their own errors.
    """
    # (1) settings, and a model to start from or to go on with
    config = load_federation(folder.federation)
    with hold(config.output / "run.lock", LAST_WORDS_S):
        try:
            run = Coordinator(config)
        except (CheckpointError, ValueError) as e:
            raise StartError(str(e)) from e
        # (2) a log of rounds that is what was signed, and tells the same as the run
        log = RoundLog(folder.round_log, SigningKey.load(folder.log_key))
        log.catch_up(config.run_id, run.summaries, run.branch)
    # (3) secure, or on loopback and told so
    if options.insecure:
        _check_loopback(config.link)
        return config
    host, _ = split_address(config.link.address)
    key = private_file.read(folder.key)
    check_certificate(
        folder.certificate.read_bytes(), key, folder.ca.read_bytes(), host, datetime.now(UTC)
    )
    if without := [s.site_id for s in config.sites if s.node_key is None]:
        raise StartError(
            f"{', '.join(without)}: no node_key, so no SuperNode can connect; enrol with "
            "omote-server enroll"
        )
    find_proxy()
    return config


def _check_loopback(link: LinkConfig) -> None:
    hosts = {split_address(a)[0] for a in (link.address, link.listen)}
    if beyond := sorted(hosts - ON_LOOPBACK):
        raise StartError(
            f"without TLS and keys only on loopback: link.address and link.listen name {beyond}"
        )


class _Server:
    """The programs of one start."""

    def __init__(
        self,
        folder: ServerFolder,
        config: FederationConfig,
        options: Options,
        journal: Journal,
        stack: ExitStack,
    ) -> None:
        self._folder, self._config, self._options = folder, config, options
        self._journal, self._stack = journal, stack
        self._programs: dict[str, Program] = {}
        self._state = self._read_state()
        self._run_id = 0

    def start(self) -> None:
        """Start everything, in the order in which each needs the other."""
        link, flower = self._config.link, self._folder.run / "flwr"
        flower.mkdir(exist_ok=True, mode=0o700)
        # Flower unpacks a bundle once and then trusts the folder: start without any.
        shutil.rmtree(flower / "apps", ignore_errors=True)
        tls = None if self._options.insecure else _loopback_tls(self._folder.run)
        port = split_address(link.listen)[1] if self._options.insecure else link.superlink_port
        metrics = RoundMetrics(
            lambda: self.summaries,
            self._alive,
            lambda: newest_figures(self._config.output, self.summaries),
        )
        self._stack.callback(self._wait_for_rounds_to_end)
        command = superlink_command(port, tls, self._folder.run / "superlink.sqlite")
        self._launch("superlink", command, environment(flower))
        # After the fork: threads and forks do not mix.
        if not self._options.insecure:
            self._write_proxy_config()
        control = Control(port, tls[0] if tls else None)
        self._stack.callback(control.close)
        self._wait_for(control)
        self._control = control
        if tls:
            control.set_nodes(
                s.node_key for s in self._config.sites if s.node_key and not s.suspended
            )
            self._launch("proxy", [find_proxy(), "-db", "-f", str(self._proxy_config)], {})
        self._monitor = Monitor(link.metrics_port, link.health_port, metrics)
        self._stack.callback(self._monitor.stop)
        bundle = make_bundle()
        self._run_id = control.start_run(bundle, self._folder.federation)
        self._journal.say(
            "started",
            f"{self._config.run_id}: waiting for {len(self._config.sites)} sites at "
            f"{link.address}; round {self._state.round + 1} is next",
            run_id=self._config.run_id,
            address=link.address,
            bundle=bundle.digest,
            next_round=self._state.round + 1,
        )

    @property
    def summaries(self) -> tuple[RoundSummary, ...]:
        """The finished rounds, as looked at last."""
        return self._state.summaries

    def watch(self, evaluator: Evaluator) -> None:
        """Watch until the last round is finished; see to it that each is measured.

        Raises:
            StartError: A program ended before.
        """
        asked_at = 0.0
        total = sum(stage.rounds for stage in self._config.stages)
        while True:
            alive = self._alive()
            is_over = False
            if alive["superlink"] and time.monotonic() - asked_at > ASK_EVERY_S:
                asked_at = time.monotonic()
                is_over = self._control.run_state(self._run_id).is_over
            # Looked at last: what ended may have finished the last round just before.
            self._take_news()
            evaluator.step(self._state.summaries)
            if self._state.round >= total:
                return
            well = {**alive, "rounds": not is_over}
            self._monitor.tell({**well, "": all(well.values())})
            for name, is_alive in alive.items():
                if not is_alive:
                    log = self._folder.logs / f"{name}.log"
                    raise StartError(f"{name} ended before the last round; see {log}")
            if is_over:
                log = self._folder.logs / "rounds.log"
                raise StartError(f"the rounds ended before the last; see {log}")
            time.sleep(POLL_S)

    def _launch(self, name: str, command: list[str], env: dict[str, str]) -> None:
        program = Program(name, command, self._folder.logs / f"{name}.log", env)
        self._programs[name] = program
        self._stack.callback(program.stop)

    def _wait_for(self, control: Control) -> None:
        end = time.monotonic() + START_S
        while True:
            try:
                control.wait(1.0)
            except StartError:
                if not self._programs["superlink"].is_alive or time.monotonic() > end:
                    log = self._folder.logs / "superlink.log"
                    raise StartError(f"the SuperLink did not start; see {log}") from None
            else:
                return

    @property
    def _proxy_config(self) -> Path:
        return self._folder.run / "haproxy.cfg"

    def _write_proxy_config(self) -> None:
        run = self._folder.run
        files = ProxyFiles(self._proxy_config, run / "server.pem", run / "loopback-ca.pem")
        both = self._folder.certificate.read_bytes() + private_file.read(self._folder.key)
        _write_private(files.pem, both)
        link = self._config.link
        files.config.write_text(proxy_config(files, link.listen, link.superlink_port))
        checked = subprocess.run(  # noqa: S603 - our own arguments
            [find_proxy(), "-c", "-f", str(files.config)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if checked.returncode:
            raise StartError(f"HAProxy does not take {files.config}: {checked.stderr.strip()}")

    def _alive(self) -> dict[str, bool]:
        return {name: program.is_alive for name, program in self._programs.items()}

    def _take_news(self) -> None:
        state = self._read_state()
        for summary in state.summaries[self._state.round :]:
            self._journal.round(summary)
        self._state = state

    def _read_state(self) -> RunState:
        return load_state(self._config.output, self._config.run_id)

    def _wait_for_rounds_to_end(self) -> None:
        """See that the ServerApp, a child of Flower's, is gone: it alone writes the run."""
        pid = wait_until_free(self._config.output / "run.lock", LAST_WORDS_S)
        if pid:
            os.kill(pid, signal.SIGKILL)


def _loopback_tls(run: Path) -> tuple[Path, Path, Path]:
    """Make the certificate of the SuperLink anew: its authority lives as long as this process."""
    now = datetime.now(UTC)
    authority = make_authority("loopback", now)
    pair = make_certificate(authority, (LOOPBACK[1], LOOPBACK[0]), now, LOOPBACK_DAYS)
    paths = (run / "loopback-ca.pem", run / "loopback.pem", run / "loopback.key")
    paths[0].write_bytes(authority.certificate_pem())
    paths[1].write_bytes(pair.certificate_pem())
    _write_private(paths[2], pair.key_pem())
    return paths


def _write_private(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    private_file.write_new(path, data)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Make SIGTERM end this process in the same way as Ctrl-C: with everything that it started."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
