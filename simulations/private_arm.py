"""The private arm of an experiment: people under a promise, from weights that owe them nothing.

It starts from a detector trained on other people, who are public, so that few noisy steps have
something to stand on. Chance is seeded, so that equal seeds give equal numbers: the run shows what
privacy costs and protects nobody.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from core_model.config import FinetuneConfig, OptimiserConfig, Settings
from core_model.privacy.accounting import calibrate, report
from core_model.privacy.chance import Chance, SimulationChance
from core_model.privacy.ledger import Ledger
from core_model.privacy.plan import PrivacyPlan, Scope
from core_model.protocol.messages import RoundPlan, RoundRequest, SiteUpdate
from core_model.training.seeds import derive_seed
from fl_client.round import run_round
from fl_client.site import Site, ledger_path, open_site
from simulations.results import PrivacyResult


class PrivateArm(Settings):
    """What the private arm spends, and on which weights."""

    public_look: str = "lab"  # room and camera of the public people
    public_people: int = Field(gt=5)  # generated, at no site, in no test
    public_rounds: int = Field(gt=0)  # of fine-tuning on them, with IAT
    epsilon: float = Field(gt=0)  # of each person, when all rounds are done; noise follows from it
    delta: float = Field(1e-5, gt=0, lt=1)
    rounds: int = Field(gt=0)
    steps_per_round: int = Field(gt=0)
    sampling_rate: float = Field(gt=0, le=1)
    nominal_units: int = Field(ge=1)  # people that everybody may think a site has
    frames_per_subject: int = Field(16, ge=1)
    scope: Scope = "head"
    optimiser: OptimiserConfig

    def plan(self) -> PrivacyPlan:
        """Return the plan, with the least noise that keeps epsilon over all rounds."""
        steps = self.rounds * self.steps_per_round
        noise = calibrate(
            self.epsilon, sampling_rate=self.sampling_rate, steps=steps, delta=self.delta
        )
        return PrivacyPlan(
            sampling_rate=self.sampling_rate,
            nominal_units=self.nominal_units,
            frames_per_subject=self.frames_per_subject,
            steps_per_round=self.steps_per_round,
            noise_multiplier=noise,
            delta=self.delta,
            scope=self.scope,
        )

    def training(self, public: FinetuneConfig) -> FinetuneConfig:
        """Return the training: as in public, without an identity head of private people."""
        changes = {"reversal_scale": 0.0, "optimiser": self.optimiser}
        return public.model_copy(update=changes)


def run_in_simulation(request: RoundRequest, site: Site) -> SiteUpdate:
    """Answer a request with seeded chance."""

    def chance(plan: RoundPlan) -> Chance:
        return SimulationChance(derive_seed(plan.seed, site.site_id, plan.round, "private"))

    return run_round(request, dataclasses.replace(site, chance=chance))


def privacy_result(plan: PrivacyPlan, configs: Iterable[Path]) -> PrivacyResult:
    """Return what the ledgers of some sites say: the largest epsilon of a person.

    Args:
        plan: Of the private stage.
        configs: The site.toml of each site.
    """
    largest = 0.0
    accountant = "rdp"
    for path in configs:
        site = open_site(path)
        ledger = Ledger(ledger_path(site.config), site.site_id)
        found = report(ledger.spends(), plan.delta)
        largest, accountant = max((largest, accountant), (found.epsilon, found.accountant))
    return PrivacyResult(
        epsilon=largest,
        accountant=accountant,
        delta=plan.delta,
        unit=plan.unit,
        scope=plan.scope,
        noise_multiplier=plan.noise_multiplier,
        is_simulation=True,
    )
