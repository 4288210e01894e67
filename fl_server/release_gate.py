"""Whether a model may be released: a policy, what is known of the model, and an answer.

Pure: figures in, the facts of a card out, or an error that names the figure. A figure that is
missing is refused like one that is too bad: silence is not privacy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import Field, field_validator

from consent.attestation import Attestation
from consent.epsilon import GaussianNoise
from core_model.config import Settings
from core_model.evaluation.attack_result import AttackName, AttackResults
from core_model.evaluation.identity_result import IdentityResult
from core_model.privacy.audit_result import AuditResult
from core_model.release.privacy_facts import AttackTried, PrivacyFacts
from core_model.release.signature import PublicKey, SignatureError
from fl_server.errors import ServerError


class ReleaseRefusedError(ServerError):
    """A figure is missing or misses its limit. Nothing was written."""

    def __init__(self, figure: str, detail: str) -> None:
        super().__init__(f"{figure}: {detail}")
        self.figure = figure


class ReleasePolicy(Settings):
    """release.toml: what a model must be like to leave the federation. Nothing has a default."""

    max_epsilon: float = Field(gt=0)  # of a person, all rounds
    max_delta: float = Field(gt=0, lt=1)
    max_audit_promise: float = Field(gt=0)  # an audit of a larger promise shows next to nothing
    min_canaries: int = Field(ge=1)
    min_equal_error_rate: float = Field(ge=0, le=0.5)  # lower end of its interval, new people
    min_new_people: int = Field(ge=8)  # whom that was measured on
    attacks: tuple[AttackName, ...] = Field(min_length=1)  # that must have been tried
    auditors: tuple[str, ...] = Field(min_length=1)  # NAME+ID+KEY, whose results count
    needs_consent_rules: bool  # every site names the rules in force
    allows_simulation: bool  # seeded noise, which protects nobody

    @field_validator("auditors")
    @classmethod
    def _are_keys(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(PublicKey.parse(text).text for text in texts)
        except SignatureError as e:
            raise ValueError(str(e)) from e

    def limits(self) -> dict[str, float]:
        """Return the figures of the policy, for the card."""
        return {
            "max_epsilon": self.max_epsilon, "max_delta": self.max_delta,
            "max_audit_promise": self.max_audit_promise, "min_canaries": self.min_canaries,
            "min_equal_error_rate": self.min_equal_error_rate,
            "min_new_people": self.min_new_people,
        }  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """What is known of one model. None: nobody measured it, or nobody trusted says so."""

    attestations: Sequence[Attestation]  # of every admitted update of the run
    round_log: str  # root of the signed log
    num_rounds: int
    start: str | None
    audit: AuditResult | None
    identity: IdentityResult | None
    attacks: AttackResults | None
    results: dict[str, str] = field(default_factory=dict)  # SHA-256 of each file


def decide(policy: ReleasePolicy, evidence: Evidence, model: str) -> PrivacyFacts:
    """Return the facts for the card of the weights of digest ``model``.

    Raises:
        ReleaseRefusedError: A figure is missing or misses its limit; it is named.
    """
    # (1) what the sites signed
    noise = _noise(policy, evidence.attestations)
    epsilon = max(float(n.epsilon_total) for n in noise)
    delta = max(float(n.delta) for n in noise)
    _at_most("epsilon", epsilon, policy.max_epsilon)
    _at_most("delta", delta, policy.max_delta)
    rules = {a.policy for a in evidence.attestations}
    if policy.needs_consent_rules and None in rules:
        raise ReleaseRefusedError("consent rules", "a site took part without any in force")
    # (2) what auditors measured on these weights
    audit = _audit(policy, evidence.audit, model)
    eer, people = _identity(policy, evidence.identity, model)
    # (3) what was tried
    tried = _attacks(policy, evidence.attacks)
    return PrivacyFacts(
        epsilon=epsilon,
        delta=delta,
        is_simulation=any(n.is_simulation for n in noise),
        num_sites=len({a.site for a in evidence.attestations}),
        num_rounds=evidence.num_rounds,
        least_epsilon=audit.least_epsilon,
        audit_promise=audit.promise,
        canaries=audit.canaries,
        largest_move=audit.largest_move,
        equal_error_rate=eer,
        new_people=people,
        attacks=tried,
        consent_rules=tuple(sorted(r for r in rules if r is not None)),
        round_log=evidence.round_log,
        start=evidence.start,
        results=evidence.results,
        limits=policy.limits(),
    )


def _noise(policy: ReleasePolicy, attestations: Sequence[Attestation]) -> list[GaussianNoise]:
    """Return what each update says of its noise; all of them must have some, for people."""
    if not attestations:
        raise ReleaseRefusedError("epsilon", "missing: no update was ever admitted")
    found = []
    for a in attestations:
        if not isinstance(a.privacy, GaussianNoise):
            raise ReleaseRefusedError(
                "epsilon",
                f"missing: {a.site} trained in round {a.round} without noise; a model is released "
                "only if every round of its run was private",
            )
        if a.privacy.unit != "subject":
            raise ReleaseRefusedError(
                "epsilon", f"missing: {a.site} counts frames in round {a.round}, not people"
            )
        if a.privacy.is_simulation and not policy.allows_simulation:
            raise ReleaseRefusedError("noise", f"{a.site} seeded it: that protects nobody")
        found.append(a.privacy)
    return found


def _audit(policy: ReleasePolicy, audit: AuditResult | None, model: str) -> AuditResult:
    if audit is None:
        raise ReleaseRefusedError("empirical bound", "missing; run: omote-model audit")
    _of_model("empirical bound", audit.model, model)
    _at_most("audit promise", audit.promise, policy.max_audit_promise)
    _at_least("canaries", audit.canaries, policy.min_canaries)
    _at_most("empirical bound", audit.least_epsilon, audit.promise)
    _at_most("replay", audit.largest_move, 1 + 1e-5)
    return audit


def _identity(
    policy: ReleasePolicy, identity: IdentityResult | None, model: str
) -> tuple[float, int]:
    """Return the equal error rate on features of new people, and how many they are."""
    name = "identity leakage"
    if identity is None:
        raise ReleaseRefusedError(name, "missing; run: omote-model identity --new-people LIST")
    _of_model(name, identity.model.digest, model)
    new = [g for g in identity.groups if g.are_new]
    verified = new[0].surfaces["features"].verification if new else None
    rate = verified.equal_error_rate if verified else None
    if rate is None or rate.value is None or rate.low is None:
        raise ReleaseRefusedError(name, "not measured on new people; eight or more are needed")
    _at_least("new people", new[0].num_people, policy.min_new_people)
    _at_least(f"{name} (equal error rate, lower end)", rate.low, policy.min_equal_error_rate)
    return rate.value, new[0].num_people


def _attacks(policy: ReleasePolicy, attacks: AttackResults | None) -> tuple[AttackTried, ...]:
    if attacks is None:
        raise ReleaseRefusedError("attacks", "missing; run: omote-sim attack")
    found = {r.attack: r for r in attacks.results}
    for name in policy.attacks:
        if name not in found:
            raise ReleaseRefusedError(f"attack {name}", "missing; run: omote-sim attack")
        if not found[name].is_meaningful:
            raise ReleaseRefusedError(
                f"attack {name}", "fails even where nothing defends: its result says nothing"
            )
    return tuple(
        AttackTried(
            attack=r.attack,
            works_undefended=r.is_meaningful,
            leaks=tuple(x.against for x in r.rows if x.has_succeeded and x.is_defended),
        )
        for r in attacks.results
    )


def _of_model(figure: str, found: str, model: str) -> None:
    if found != model:
        raise ReleaseRefusedError(
            figure, f"measured on other weights: expected {model[:16]}, got {found[:16]}"
        )


def _at_most(figure: str, value: float, limit: float) -> None:
    if not value <= limit:  # nan too
        raise ReleaseRefusedError(figure, f"{value:g}, allowed at most {limit:g}")


def _at_least(figure: str, value: float, limit: float) -> None:
    if not value >= limit:
        raise ReleaseRefusedError(figure, f"{value:g}, needed at least {limit:g}")
