"""How the server stands, for the operator's tools: Prometheus metrics and grpc's standard health.

Both are on loopback and follow from the state of the run on disk. Names of sites are in them, as
in federation.toml; nothing about people is, for the server knows nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from core_model.evaluation.figures import RoundFigures
from fl_server.errors import StartError
from fl_server.round_state import RoundSummary

LOOPBACK = "127.0.0.1"
SERVICES = ("", "superlink", "proxy", "rounds")  # "" is the server as a whole
Summaries = Callable[[], tuple[RoundSummary, ...]]
Alive = Callable[[], dict[str, bool]]
Newest = Callable[[], RoundFigures | None]
Counts = Counter[tuple[str, ...]]  # by the values of labels


class RoundMetrics(Collector):
    """All numbers follow from the finished rounds, so that a restart loses none."""

    def __init__(self, summaries: Summaries, alive: Alive, newest: Newest = lambda: None) -> None:
        """Take what tells of rounds, of programs, and of the figures of the newest round."""
        self._summaries, self._alive, self._newest = summaries, alive, newest

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they stand."""
        summaries = self._summaries()
        yield CounterMetricFamily("omote_rounds", "Rounds finished.", len(summaries))
        missed = sum(not s.has_quorum for s in summaries)
        yield CounterMetricFamily("omote_rounds_without_quorum", "The model stayed.", missed)
        admitted: Counts = Counter((site,) for s in summaries for site in s.admitted)
        yield _by("omote_updates_admitted", "Updates that counted.", ["site"], admitted)
        refused: Counts = Counter(
            (site, code.name) for s in summaries for site, code in s.refused.items()
        )
        yield _by("omote_updates_refused", "And that did not.", ["site", "code"], refused)
        lost: Counts = Counter((s.sum_lost.name,) for s in summaries if s.sum_lost is not None)
        yield _by("omote_sums_lost", "Secure sums that gave no model.", ["code"], lost)
        received: Counts = Counter()
        for summary in summaries:
            received.update({(site,): num for site, num in summary.bytes_received.items()})
        yield _by("omote_received_bytes", "Of updates.", ["site"], received)
        last = summaries[-1] if summaries else None
        seconds, ended = (last.seconds, last.ended_at) if last else (0.0, 0)
        yield GaugeMetricFamily("omote_round_seconds", "Of the last round.", seconds)
        yield GaugeMetricFamily("omote_round_ended_timestamp_seconds", "Of the last.", ended)
        up = GaugeMetricFamily("omote_program_up", "Whether it runs.", labels=["program"])
        for name, is_alive in self._alive().items():
            up.add_metric([name], float(is_alive))
        yield up
        if (figures := self._newest()) is not None:
            yield from _measured(figures)


def _measured(figures: RoundFigures) -> Iterator[Metric]:
    yield GaugeMetricFamily("omote_figures_round", "That was measured last.", figures.round)
    macro = figures.macro_f1.value or 0.0
    yield GaugeMetricFamily("omote_macro_f1", "On the public set.", macro)
    f1 = GaugeMetricFamily("omote_f1", "On the public set.", labels=["au"])
    for au, measure in figures.f1.items():
        f1.add_metric([str(au)], measure.value or 0.0)
    yield f1
    if (probe := figures.probe) is not None:
        yield GaugeMetricFamily("omote_identity_probe", "Frames named rightly.", probe.accuracy)
        yield GaugeMetricFamily("omote_identity_chance", "The same by guessing.", probe.chance)


def _by(name: str, help_text: str, labels: list[str], counts: Counts) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=labels)
    for values, number in sorted(counts.items()):
        family.add_metric(values, number)
    return family


class Monitor:
    """Answers on two ports of loopback until it is stopped."""

    def __init__(self, metrics_port: int, health_port: int, metrics: RoundMetrics) -> None:
        """Begin to answer.

        Raises:
            StartError: A port is taken.
        """
        registry = CollectorRegistry()
        registry.register(metrics)
        try:
            self._web, self._thread = start_http_server(metrics_port, LOOPBACK, registry)
        except OSError as e:
            raise StartError(f"link.metrics_port: {metrics_port} is taken") from e
        self._health = health.HealthServicer()
        self._server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self._server.add_insecure_port(f"{LOOPBACK}:{health_port}")
        except RuntimeError as e:
            self._web.shutdown()
            raise StartError(f"link.health_port: {health_port} is taken") from e
        self._server.start()
        self.tell(dict.fromkeys(SERVICES, False))

    def tell(self, is_well: dict[str, bool]) -> None:
        """Say which of ``SERVICES`` serve."""
        status = health_pb2.HealthCheckResponse
        for service, well in is_well.items():
            self._health.set(service, status.SERVING if well else status.NOT_SERVING)

    def stop(self) -> None:
        """Answer no more."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace=0.5).wait()
        self._web.shutdown()
        self._web.server_close()
        self._thread.join()
