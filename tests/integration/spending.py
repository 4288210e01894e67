"""What the ledgers of sites say after a private run that was killed again and again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from core_model.privacy.accounting import Kind, Spend, rdp_epsilon
from fl_client.private_round import epsilon_text
from fl_server.round_state import RunState
from simulations.sites import SiteFolder
from tests.integration.live_federation import DELTA, RATE, SIGMA, STEPS


@dataclass(frozen=True)
class Spending:
    """Steps, of all sites together."""

    admitted: int  # of the updates that the model was made from
    signed: int  # of all updates that were signed: more, if one was trained twice
    cut_off: int  # of trainings that a kill ended
    charged: int  # all lines of the ledgers
    is_stated: bool  # each site last told the server the epsilon of all its charges


def spending_of(sites: Mapping[str, SiteFolder], state: RunState) -> Spending:
    """Read the ledgers.

    Args:
        sites: All of them.
        state: What the server saw last.
    """
    trainings = {s: _trainings(folder) for s, folder in sites.items()}
    signed = {s: len(folder.consent.state().rounds) for s, folder in sites.items()}
    cut_off = 0
    for site_id, steps in trainings.items():
        unsigned = sorted(steps)[: len(steps) - signed[site_id]]
        cut_off += sum(unsigned)
    return Spending(
        admitted=STEPS * sum(len(s.admitted) for s in state.summaries),
        signed=STEPS * sum(signed.values()),
        cut_off=cut_off,
        charged=sum(map(sum, trainings.values())),
        is_stated=all(
            state.sites[s].epsilon_total == _epsilon(sum(steps)) for s, steps in trainings.items()
        ),
    )


def _trainings(folder: SiteFolder) -> list[int]:
    """Return the steps that were charged in each training that began."""
    path = folder.folder / "state" / "privacy-ledger.jsonl"
    charges = [json.loads(line) for line in path.read_bytes().splitlines()[1:]]
    steps: list[int] = []
    for charge in charges:
        if charge["step_from"] == 0:
            steps.append(0)
        assert charge["step_from"] == steps[-1]
        steps[-1] += charge["steps"]
    return steps


def _epsilon(steps: int) -> str:
    return epsilon_text(rdp_epsilon([Spend(Kind(SIGMA, RATE), steps)], DELTA))
