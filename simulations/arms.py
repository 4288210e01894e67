"""The arms of an experiment: ways to train a detector from the same people. Each is one job."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

from consent.gate import AssetRuling, ConsentGate
from consent.model import Purpose
from core_model.checkpoint import load_checkpoint
from core_model.config import FinetuneConfig
from core_model.protocol.messages import RoundRequest, SiteUpdate
from fl_client.round import run_round
from fl_client.site import Site
from fl_server.config import Demands, FederationConfig, Stage
from simulations.data import People
from simulations.dishonest import hide_withdrawal, send_identity_head
from simulations.loop import run_local, write_initial
from simulations.private_arm import run_in_simulation
from simulations.scenario import Scenario, ScenarioSite
from simulations.sites import SiteFolder, site_at

POOLED, PUBLIC, PRIVATE = "pooled", "public", "private"


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        name: Unique within the experiment.
        sites: Who takes part; several listings are pooled if ``is_pooled``.
        purposes: Stages to run.
        reversal_scale: Of fine-tuning; 0 is without IAT.
        start: Arm whose last checkpoint to start from; None for fresh weights.
        is_pooled: All data in one place, as if it might be shared.
        has_incidents: One person withdraws, and one site cheats twice.
        share_decoder: Average the MAE decoder too.
        is_public: Trained on the public people, at one place.
        is_private: Under the scenario's privacy plan.
    """

    name: str
    sites: tuple[str, ...]
    purposes: tuple[str, ...] = ("pretraining", "finetuning")
    reversal_scale: float = 0.0
    start: str | None = None
    is_pooled: bool = False
    has_incidents: bool = False
    share_decoder: bool = False
    is_public: bool = False
    is_private: bool = False


def federation_of(arm: Arm, scenario: Scenario, root: Path) -> tuple[int, Path]:
    """Return the number of rounds of an arm and the folder of its output."""
    return sum(s.rounds for s in _stages(arm, scenario)), root / arm.name / "output"


def run_arm(arm: Arm, scenario: Scenario, people: People, root: Path) -> None:
    """Train one arm through Flower's apps; checkpoints and rounds are in its output folder.

    An arm that was interrupted goes on at its next round.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    folder = root / arm.name
    sites = [s for s in scenario.sites if s.site_id in arm.sites]
    folders = _open_sites(folder, arm, sites, people, scenario)
    initial = _initial(arm, scenario, root)
    config = FederationConfig(
        run_id=f"{arm.name}-{scenario.seed}",
        seed=scenario.seed,
        action_units=scenario.action_units,
        initial=initial,
        output=folder / "output",
        stages=_stages(arm, scenario),
        sites=tuple(f.enrolment() for f in folders.values()),
        demands=Demands(allows_simulation=arm.is_private),
        timeout_s=3600.0,
    )
    _, grid = run_local(config, folders, run=_runner(arm, scenario, folders, folder))
    with (folder / "crossings.txt").open("a") as f:  # the arm may have been interrupted before
        for c in grid.crossings:
            f.write(f"{c.message_type}\t{c.num_bytes}\t{','.join(c.arrays)}\n")


def last_checkpoint(root: Path, arm: str) -> Path:
    """Return the weights after an arm's last round."""
    return max((root / arm / "output").glob("round-*.safetensors"))


def _open_sites(
    folder: Path, arm: Arm, sites: Sequence[ScenarioSite], people: People, scenario: Scenario
) -> dict[str, SiteFolder]:
    caps: dict[str, object] = {"may_share_decoder": arm.share_decoder}
    if arm.is_private:
        assert scenario.private is not None
        caps |= {"max_epsilon": scenario.private.epsilon, "max_delta": scenario.private.delta}
    else:
        caps |= {"allows_training_without_privacy": True}  # not private: nobody is promised so
    groups: list[tuple[str, list[Path], tuple[int, ...]]] = [
        (s.site_id, people.training(s), s.labelled_aus) for s in sites
    ]
    if arm.is_pooled:
        lists = [p for _, paths, _ in groups for p in paths]
        groups = [(POOLED, lists, scenario.action_units)]
    if arm.is_public:
        groups = [(PUBLIC, [people.public()], scenario.action_units)]
    return {
        site_id: site_at(
            folder / "sites" / site_id,
            site_id,
            lists,
            labelled_aus=labelled,
            seed=scenario.seed,
            caps=caps,
        )
        for site_id, lists, labelled in groups
    }


def _initial(arm: Arm, scenario: Scenario, root: Path) -> Path:
    if arm.start is not None:
        return last_checkpoint(root, arm.start)
    path = root / arm.name / "initial.safetensors"
    if not path.exists():
        pretraining = scenario.pretraining.model_copy(update={"share_decoder": arm.share_decoder})
        write_initial(path, scenario.encoder, scenario.action_units, scenario.seed, pretraining)
    load_checkpoint(path)
    return path


def _stages(arm: Arm, scenario: Scenario) -> tuple[Stage, ...]:
    finetuning: FinetuneConfig = scenario.finetuning.model_copy(
        update={"reversal_scale": arm.reversal_scale}
    )
    private = scenario.private
    if arm.is_private:
        assert private is not None
        training = private.training(finetuning)
        return (Stage(rounds=private.rounds, training=training, privacy=private.plan()),)
    pretraining = scenario.pretraining.model_copy(update={"share_decoder": arm.share_decoder})
    is_federated = len(arm.sites) > 1 and not (arm.is_pooled or arm.is_public)
    rounds = scenario.finetuning_rounds
    if arm.is_public:
        assert private is not None
        rounds = private.public_rounds
    server = {
        "server_momentum": scenario.server_momentum if is_federated else 0.0,
        "server_learning_rate": scenario.server_learning_rate if is_federated else 1.0,
    }
    stages = {
        "pretraining": Stage(rounds=scenario.pretraining_rounds, training=pretraining),
        "finetuning": Stage(rounds=rounds, training=finetuning, **server),
    }
    return tuple(stages[p] for p in arm.purposes)


class _Incidents:
    """What goes wrong in the middle of a run: a withdrawal, and a site that cheats twice."""

    def __init__(self, scenario: Scenario, folders: dict[str, SiteFolder], folder: Path) -> None:
        self._middle = scenario.finetuning_rounds // 2
        self._withdrawing, *_, self._cheating = folders
        self._folders = folders
        self._kept = folder / "before-withdrawal"

    def run(self, request: RoundRequest, site: Site) -> SiteUpdate:
        """Answer a request, honestly but for the incidents."""
        number = request.plan.round_of_purpose - self._middle
        if request.plan.purpose != "finetuning":
            return run_round(request, site)
        if site.site_id == self._withdrawing and number == 0:
            gate = WithdrawnMeanwhile(lambda: self._withdraw(site), site)
            return run_round(request, dataclasses.replace(site, gate=gate))
        if site.site_id == self._cheating and number == 0:
            return send_identity_head(request, site)
        if site.site_id == self._cheating and number == 1:
            shutil.rmtree(self._kept, ignore_errors=True)  # of an interrupted run
            shutil.copytree(site.config.consent, self._kept)
            self._withdraw(site)
        if site.site_id == self._cheating and number == 2:
            return hide_withdrawal(request, site, self._kept)
        return run_round(request, site)

    def _withdraw(self, site: Site) -> None:
        labelled = [r for r in site.recordings if r.labels is not None]
        folder = self._folders[site.site_id]
        folder.withdraw(labelled[-1].subject_id, [Purpose.FINETUNING])


class WithdrawnMeanwhile(ConsentGate):
    """A gate at which someone withdraws while the site trains."""

    def __init__(self, withdraw: Callable[[], None], site: Site) -> None:
        super().__init__(site.registry.journal, site.clock)
        self._withdraw = withdraw

    def recheck_assets(self, before: AssetRuling) -> AssetRuling:
        """Withdraw, then look again."""
        self._withdraw()
        return super().recheck_assets(before)


def _runner(
    arm: Arm, scenario: Scenario, folders: dict[str, SiteFolder], folder: Path
) -> Callable[[RoundRequest, Site], SiteUpdate]:
    if arm.is_private:
        return run_in_simulation
    return _Incidents(scenario, folders, folder).run if arm.has_incidents else run_round
