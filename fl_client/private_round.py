"""The account of one round: who can afford it, what is charged, and what is said about it.

Rounds without noise have an account too: whoever was in one has no bound, and is left out of every
private round from then on.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from consent.epsilon import ROUNDING, GaussianNoise, NoNoise, Privacy
from consent.ledger_state import LedgerHead, LedgerState
from consent.limits import epsilon_limits
from consent.model import Purpose
from core_model.privacy.accounting import Kind, Spend, rdp_epsilon
from core_model.privacy.ledger import Ledger, Occasion
from core_model.privacy.ledger_lines import LedgerError, Noise
from core_model.protocol.messages import RefusalCode, RoundPlan
from fl_client.budget import can_afford, delta_of
from fl_client.errors import RoundRefusedError
from fl_client.installed_code import installed_code
from fl_client.ledger_head import check_extends, ledger_state
from fl_client.site import Site, ledger_path

_DIGITS = Decimal("1e-12")  # of decimals in an attestation


class RoundAccount:
    """The ledger of a site in one round.

    Raises:
        RoundRefusedError: The ledger is damaged, or older than what was told before.
    """

    def __init__(self, site: Site, plan: RoundPlan) -> None:
        self._site, self._plan = site, plan
        self._told = _told_by_server(plan)
        self._charged = 0
        self._pool: tuple[str, ...] = ()
        self.chance = site.chance(plan)
        try:
            self._ledger = Ledger(ledger_path(site.config), site.site_id)
            lines = self._ledger.lines()
            check_extends(lines, self._told)
            check_extends(lines, told_in_consent_log(site))
        except LedgerError as e:
            raise RoundRefusedError(RefusalCode.LEDGER_UNSOUND, str(e)) from e

    def affordable(self, people: Iterable[str]) -> frozenset[str]:
        """Return who of some consenting people has enough budget left for this round."""
        asked, purpose = tuple(people), Purpose(self._plan.purpose)
        limits = epsilon_limits(self._site.registry.state(), asked, purpose)
        caps = self._site.config.caps
        return can_afford(asked, self._plan.privacy, self._ledger, limits, caps)

    def open_pool(self, people: Iterable[str]) -> None:
        """Say who may be sampled. A round without noise is charged here, before it trains."""
        self._pool = tuple(sorted(people))
        if self._plan.privacy is None:
            self.charge(1)

    def charge(self, steps: int) -> None:
        """Write steps down before their noise is used. Returns when they are on the disk."""
        assert self._pool, "the pool was never opened"
        self._ledger.charge(self._occasion(), self._pool, self._charged, steps, self._site.clock())
        self._charged += steps

    def statement(self) -> Privacy:
        """Return what the attestation says. Public numbers, epsilon, and the ledger's head."""
        plan = self._plan.privacy
        if plan is None:
            return NoNoise()
        if self._charged != plan.steps_per_round:
            detail = f"{self._charged} steps were charged, the plan has {plan.steps_per_round}"
            raise RoundRefusedError(RefusalCode.SITE_FAULT, detail)
        delta = delta_of(plan, self._ledger)
        one = Spend(Kind(plan.noise_multiplier, plan.sampling_rate), plan.steps_per_round)
        return GaussianNoise(
            unit=plan.unit,
            noise_multiplier=decimal_text(plan.noise_multiplier, ROUND_FLOOR),
            max_grad_norm=decimal_text(plan.clip_norm, ROUND_CEILING),
            sample_rate=decimal_text(plan.sampling_rate, ROUND_CEILING),
            steps=plan.steps_per_round,
            delta=small_text(delta),
            epsilon=epsilon_text(rdp_epsilon([one], delta)),
            epsilon_total=epsilon_text(rdp_epsilon(self._ledger.spends(), delta)),
            ledger=ledger_state(self._ledger.lines(), self._told),
            is_simulation=not self.chance.is_private,
        )

    def _occasion(self) -> Occasion:
        plan = self._plan
        return Occasion(
            run_id=plan.run_id,
            round=plan.round,
            purpose=plan.purpose,
            noise=Noise.of(plan.privacy) if plan.privacy else None,
            plan=hashlib.sha256(plan.model_dump_json().encode()).hexdigest(),
            code=installed_code().sha256,
            is_simulation=plan.privacy is not None and not self.chance.is_private,
        )


def decimal_text(value: float, rounding: str) -> str:
    """Return a number as plain decimals with at most twelve digits, in the form attested."""
    text = f"{Decimal(repr(value)).quantize(_DIGITS, rounding):f}"
    return text.rstrip("0").rstrip(".")


def epsilon_text(epsilon: float) -> str:
    """Return epsilon with three decimals, rounded up."""
    return f"{Decimal(epsilon).quantize(ROUNDING, ROUND_CEILING):f}"


def small_text(delta: float) -> str:
    """Return a delta in the form attested, rounded down to two digits: 1e-5."""
    number, exponent = f"{Decimal(repr(delta)):e}".split("e")
    digits = Decimal(number).quantize(Decimal("0.1"), ROUND_FLOOR)
    return f"{digits.normalize():f}e{int(exponent)}"


def _told_by_server(plan: RoundPlan) -> LedgerHead | None:
    if plan.ledger_root is None:
        return None
    return LedgerHead(size=plan.ledger_size, root=plan.ledger_root)


def told_in_consent_log(site: Site) -> LedgerHead | None:
    """Return the ledger's head in the last private update that this site signed.

    Whoever restores an old ledger alone is found out before any server hears of it.
    """
    for logged in reversed(site.registry.state().rounds):
        head = _head_in(logged.event.attestation)
        if head is not None:
            return head
    return None


def _head_in(envelope: str) -> LedgerHead | None:
    """Read the ledger's head in an envelope of our own log; a forged one could only stop us."""
    payload = base64.b64decode(json.loads(envelope)["payload"])
    if b'"mechanism":"gaussian"' not in payload:
        return None
    ledger = json.loads(payload)["predicate"]["privacy"]["ledger"]
    return LedgerState.model_validate(ledger).head if ledger else None
