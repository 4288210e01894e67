"""Run a federation with Flower's ray engine: for many cores, or several hosts. Needs ``[ray]``."""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from fl_client.site import Site, open_site
from fl_server.app import drive
from fl_server.config import FederationConfig
from fl_server.coordinator import Coordinator
from simulations.client_app import direct_app
from simulations.sites import SiteFolder


def run_ray(config: FederationConfig, folders: Mapping[str, SiteFolder]) -> Coordinator:
    """Run all rounds, each site in an actor of its own; return what the server knows at the end.

    Raises:
        ImportError: ray is not installed: pip install 'omote[ray]'.
    """
    places = [folder.config for folder in folders.values()]

    def site_of(context: Context) -> Site:
        return open_site(places[int(context.node_config["partition-id"])])

    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:  # noqa: ARG001 - Flower's signature
        drive(grid, Coordinator(config))

    run_simulation(
        server_app,
        direct_app(site_of),
        num_supernodes=len(places),
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    return Coordinator(config)
