"""A run of real rounds on generated faces whose models a server measures on a public set.

    python -m tests.integration.measured_run OUT --scenario long

Ends with the figures of every round; then ``omote-server dashboard OUT/server`` shows them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from core_model.evaluation.public_set import PublicSet
from fl_client.round import run_round
from fl_client.secure_round import SecureRounds
from fl_client.site import open_site
from fl_server.app import run_federation
from fl_server.cli import app
from fl_server.config import FederationConfig, Stage
from fl_server.folder import ServerFolder
from fl_server.founding import found
from simulations.client_app import direct_app
from simulations.faces.site import CACHE, make_face_site
from simulations.faces.spec import LOOKS, FaceSiteSpec
from simulations.grid import InProcessGrid
from simulations.loop import write_initial
from simulations.public_people import FIRST_PUBLIC, draw_public
from simulations.scenario import Scenario, load_scenario
from simulations.sites import SiteFolder, write_site
from simulations.toml_text import to_toml

RUN_ID = "pilot-1"
LOOK = "lab"  # of the public set: as in much public data
TEST_PEOPLE, CHOOSING_PEOPLE = 24, 8


def make_run(root: Path, scenario: Scenario, num_people: tuple[int, int], cache: Path) -> Path:
    """Run all rounds of a scenario's sites; return the server's folder, nothing measured yet.

    Args:
        root: Folder for everything.
        scenario: Whose sites, and how they train.
        num_people: Of the public set: tested on, and choosing the threshold.
        cache: Of generated faces.
    """
    torch.set_num_threads(1)
    sites = _sites(root, scenario, cache)
    server = ServerFolder(root / "server")
    found(server, RUN_ID, "localhost:9443", datetime.now(UTC))
    write_initial(
        server.root / "initial.safetensors", scenario.encoder, scenario.action_units,
        scenario.seed, scenario.pretraining,
    )  # fmt: skip
    config = FederationConfig(
        run_id=RUN_ID,
        seed=scenario.seed,
        action_units=scenario.action_units,
        initial=Path("initial.safetensors"),
        output=Path("rounds"),
        stages=(
            Stage(rounds=scenario.pretraining_rounds, training=scenario.pretraining),
            Stage(
                rounds=scenario.finetuning_rounds,
                training=scenario.finetuning,
                server_momentum=scenario.server_momentum,
                server_learning_rate=scenario.server_learning_rate,
            ),
        ),
        sites=tuple(f.enrolment() for f in sites.values()),
        quorum=2,
        evaluation=_public(root / "server" / "public", scenario, num_people, cache),
    )
    server.federation.write_text(to_toml(config))
    opened = {str(f.config): open_site(f.config) for f in sites.values()}
    client = direct_app(
        lambda context: opened[str(context.node_config["site"])], run_round, SecureRounds.answer
    )
    nodes = {n: {"site": str(f.config)} for n, f in enumerate(sites.values(), start=1)}
    run_federation(InProcessGrid(client, nodes), server.federation)
    return server.root


def _sites(root: Path, scenario: Scenario, cache: Path) -> dict[str, SiteFolder]:
    specs = scenario.face_specs()
    return {
        site.site_id: write_site(
            root / "sites" / site.site_id,
            site.site_id,
            [make_face_site(specs[site.site_id], cache) / "recordings.csv"],
            labelled_aus=site.labelled_aus,
            seed=scenario.seed,
            caps={"allows_training_without_privacy": True},
        )
        for site in scenario.sites
    }


def _public(
    folder: Path, scenario: Scenario, num_people: tuple[int, int], cache: Path
) -> PublicSet:
    """Draw the public people beside federation.toml, and name their lists as an operator would."""
    spec = FaceSiteSpec(
        name="public",
        seed=scenario.seed,
        first_person=FIRST_PUBLIC,
        num_people=sum(num_people),
        recordings_per_person=scenario.recordings_per_person,
        frames_per_recording=scenario.frames_per_recording,
        image_size=scenario.image_size,
        labelled_aus=scenario.action_units,
        shortcut_strength=scenario.shortcut_strength,
        recording_variation=scenario.recording_variation,
        look=LOOKS[LOOK],
    )
    draw_public(folder, spec, num_people[1], cache)
    return PublicSet(
        recordings=(Path("public/test.csv"),), validation=(Path("public/validation.csv"),)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sites and rounds of a scenario, and measure each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenario", default="demo")
    given = parser.parse_args(arguments)
    scenario = load_scenario(given.scenario)
    server = make_run(given.out.resolve(), scenario, (TEST_PEOPLE, CHOOSING_PEOPLE), CACHE)
    app(["evaluate", str(server)])


if __name__ == "__main__":
    main()
