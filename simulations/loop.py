"""Run a federation in this process: as plain calls, or through Flower's apps and messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from core_model.checkpoint import CheckpointManifest, save_checkpoint
from core_model.config import EncoderConfig, PretrainConfig
from core_model.nn.initial import initial_weights
from core_model.protocol.messages import digest
from fl_client.errors import RoundRefusedError
from fl_client.round import run_round
from fl_client.secure_round import SecureRounds
from fl_client.site import Site, open_site
from fl_server.app import drive
from fl_server.config import FederationConfig
from fl_server.coordinator import Coordinator
from fl_server.round_state import RoundSummary
from simulations.client_app import Run, RunSecure, direct_app
from simulations.grid import InProcessGrid
from simulations.sites import SiteFolder

Engine = Literal["plain", "local"]
OnRound = Callable[[RoundSummary], None]


def write_initial(
    path: Path,
    encoder: EncoderConfig,
    action_units: tuple[int, ...],
    seed: int,
    pretraining: PretrainConfig | None = None,
) -> None:
    """Write the checkpoint that a federation starts from."""
    arrays, schema = initial_weights(encoder, action_units, seed, pretraining)
    manifest = CheckpointManifest(
        digest=digest(arrays), weights=schema, encoder=encoder, action_units=action_units
    )
    save_checkpoint(path, arrays, manifest)


def run_plain(
    config: FederationConfig,
    folders: Mapping[str, SiteFolder],
    on_round: OnRound = lambda _: None,
    run: Run = run_round,
) -> Coordinator:
    """Run all rounds as plain function calls: request, ``run_round``, answer. No Flower."""
    coordinator = Coordinator(config)
    sites = {site_id: open_site(f.config) for site_id, f in folders.items()}
    while not coordinator.is_done:
        for site_id in coordinator.asked_sites():
            request = coordinator.request(site_id)
            try:
                coordinator.answer(site_id, run(request, sites[site_id]))
            except RoundRefusedError as e:
                coordinator.refuse(site_id, e.code)
        on_round(coordinator.finish())
    return coordinator


def run_local(
    config: FederationConfig,
    folders: Mapping[str, SiteFolder],
    on_round: OnRound = lambda _: None,
    run: Run = run_round,
    run_secure: RunSecure = SecureRounds.answer,
    *,
    keep_raw: bool = False,
) -> tuple[Coordinator, InProcessGrid]:
    """Run all rounds through Flower's ServerApp driver and ClientApp, in this process."""
    sites: dict[str, Site] = {str(f.config): open_site(f.config) for f in folders.values()}
    app = direct_app(lambda context: sites[str(context.node_config["site"])], run, run_secure)
    nodes = {n: {"site": str(f.config)} for n, f in enumerate(folders.values(), start=1)}
    grid = InProcessGrid(app, nodes, keep_raw=keep_raw)
    coordinator = Coordinator(config)
    drive(grid, coordinator, on_round)
    return coordinator, grid
