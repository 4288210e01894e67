"""May this site take part at all? Its declared use is put to its rules before every round.

Deny by default: a site that declares no use, or has no rules, trains nothing.
"""

from __future__ import annotations

import dataclasses
import logging

from consent.demand import Demand
from consent.errors import DeniedError, MalformedError, RecordError
from consent.model import Role
from consent.policy import Declaration, parse_declaration
from consent.policy_log import permit
from consent.site_events import RoundDiscarded
from core_model.protocol.messages import RefusalCode, RoundPlan
from fl_client.errors import RoundRefusedError
from fl_client.site import Site

_log = logging.getLogger(__name__)
HOW_TO_DECLARE = (
    "start from: omote-consent policy template > use.toml; let the data-protection officer run: "
    'omote-consent policy set; then write into site.toml: use = "use.toml"'
)


def permitted(site: Site, plan: RoundPlan) -> Site:
    """Return the site with a gate that lets in only people of whom its declared use speaks.

    The decision is logged, and if the round is refused the reason too.

    Raises:
        RoundRefusedError: The rules do not allow the use, a review is missing, or none is declared.
    """
    try:
        declaration = declared_use(site)
        _check_speaks_of(declaration, plan, site)
        permit(site.registry, declaration)
        demand = Demand.of(declaration)
    except (DeniedError, MalformedError, RecordError) as e:
        _log.warning("round %d refused: %s", plan.round, e)
        refused = RoundDiscarded(run_id=plan.run_id, round=plan.round, reason=str(e))
        site.registry.append([refused], Role.OPERATOR)
        raise RoundRefusedError(RefusalCode.POLICY_DENIED, str(e)) from e
    return dataclasses.replace(site, gate=site.gate.demanding(demand))


def declared_use(site: Site) -> Declaration:
    """Read what the site says it does.

    Raises:
        DeniedError: It says nothing.
        MalformedError: The file is not a declaration.
    """
    path = site.config.use
    if path is None:
        raise DeniedError(f"no use is declared; {HOW_TO_DECLARE}")
    try:
        return parse_declaration(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        # The reason goes into the log, and that into bundles: no path of this machine.
        raise DeniedError(f"the file of the declared use cannot be read; {HOW_TO_DECLARE}") from e


def _check_speaks_of(declaration: Declaration, plan: RoundPlan, site: Site) -> None:
    if plan.purpose not in declaration.purposes:
        raise DeniedError(
            f"the declared use does not name the purpose {plan.purpose}; it names "
            f"{', '.join(declaration.purposes)}"
        )
    described = site.registry.state().site
    territory = described.event.territory if described else None
    if territory is not None and territory not in declaration.jurisdictions.sites:
        raise DeniedError(
            f"this site is in {territory}; the declared use speaks of sites in "
            f"{', '.join(declaration.jurisdictions.sites)}"
        )
