"""Drives one secure sum: four messages to all, in order. Knows nothing of Flower.

Who is silent or cheats is left out as long as enough sites stay; then the sum is of the others. If
too few stay, or the sum is wrong, the model stays as it is, and the round says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from consent.keys import VerifierKey
from core_model.protocol.messages import RefusalCode, Weighting
from core_model.protocol.secure import (
    KeysRequest,
    MaskedRequest,
    MaskedUpdate,
    RosterRequest,
    SealedShares,
    SecureReply,
    SecureRequest,
    Unmasking,
    round_name,
    vector_digest,
)
from core_model.schema import Arrays
from core_model.secure_sum.roster import SignedKeys
from core_model.secure_sum.terms import SITE_PARTS
from core_model.secure_sum.vector import ALL, Layout, WrongSumError
from fl_server.admission import check_site, check_statement
from fl_server.config import EnrolledSite
from fl_server.coordinator import Coordinator
from fl_server.errors import SumLostError, UpdateRefusedError
from fl_server.secure_sum import Enrolled, SecureSum

_log = logging.getLogger(__name__)
Nodes = Mapping[int, str]
Ask = Callable[[Mapping[int, SecureRequest]], Iterator[tuple[int, SecureReply | RefusalCode]]]
"""Sends each node its message; yields answers as they come, a code for those that do not."""
Reply = TypeVar("Reply", SignedKeys, SealedShares, MaskedUpdate, Unmasking)


def run_secure_round(coordinator: Coordinator, nodes: Nodes, ask: Ask) -> None:
    """Run the four messages; the coordinator has the mean, or why there is none, afterwards.

    Args:
        coordinator: Of the run; its stage has a secure sum.
        nodes: Which site each node says it works for.
        ask: Carries messages.
    """
    try:
        coordinator.take_sum(_Round(coordinator, nodes, ask).run())
    except SumLostError as e:
        _log.warning("round %d: %s", coordinator.round, e)
        coordinator.take_sum(e.code)


class _Round:
    """One secure round."""

    def __init__(self, coordinator: Coordinator, nodes: Nodes, ask: Ask) -> None:
        self._coordinator, self._ask = coordinator, ask
        asked = set(coordinator.asked_sites())
        self._nodes = {node: site_id for node, site_id in nodes.items() if site_id in asked}
        action_units = coordinator.config.action_units
        self._layout = Layout(coordinator.update_schema, action_units)

    def run(self) -> Arrays:
        """Return the mean.

        Raises:
            SumLostError: There is none.
        """
        # (1), (2) keys and shares, until everyone in the roster gave shares
        sums = self._agree()
        # (3) masked vectors: whoever sends none, or none that is right, drops out
        self._add_up(sums)
        # (4) what takes the masks off, from those who stayed
        return self._unmask(sums)

    def _agree(self) -> SecureSum:
        while True:
            sums = self._open()
            # Two nodes can claim one site: from here on the one with its key is asked.
            nodes = dict(self._take_keys(sums))
            if not sums.has_enough_keys:
                raise SumLostError(RefusalCode.TOO_FEW_LEFT, f"{len(nodes)} sites sent keys")
            requests = dict.fromkeys(nodes, RosterRequest(roster=sums.roster))
            for node, shares in self._answers(requests, nodes, SealedShares):
                try:
                    sums.add_shares(nodes[node], shares)
                except UpdateRefusedError as e:
                    self._coordinator.refuse(nodes[node], e.code)
            missing = sums.missing
            self._nodes = {n: s for n, s in nodes.items() if s not in missing}
            if not missing:
                return sums

    def _open(self) -> SecureSum:
        coordinator = self._coordinator
        coordinator.book.forget_nonces()
        sites = [s for s in coordinator.config.sites if s.site_id in self._nodes.values()]
        if not sites:
            raise SumLostError(RefusalCode.TOO_FEW_LEFT, "no site is there")
        name = round_name(coordinator.request(sites[0].site_id).plan)
        heaviest = max(s.weight for s in sites)
        enrolled = {
            s.site_id: Enrolled(VerifierKey.parse(s.key), _parts(s, heaviest)) for s in sites
        }
        return SecureSum(name, enrolled, self._layout.num_words)

    def _take_keys(self, sums: SecureSum) -> Iterator[tuple[int, str]]:
        """Yield the nodes that proved to be the site that they claim to be."""
        plans = {s: self._coordinator.request(s).plan for s in sorted(set(self._nodes.values()))}
        requests = {node: KeysRequest(plan=plans[s]) for node, s in sorted(self._nodes.items())}
        for node, signed in self._answers(requests, self._nodes, SignedKeys):
            site_id = self._nodes[node]
            try:
                sums.add_keys(site_id, signed)
            except UpdateRefusedError as e:
                self._coordinator.refuse(site_id, e.code)
            else:
                yield node, site_id

    def _add_up(self, sums: SecureSum) -> None:
        coordinator = self._coordinator
        requests = {
            node: MaskedRequest(coordinator.request(s), sums.shares_for(s))
            for node, s in self._nodes.items()
        }
        for node, update in self._answers(requests, self._nodes, MaskedUpdate):
            site_id = self._nodes[node]
            coordinator.book.count(site_id, update.vector.nbytes + len(update.attestation))
            try:
                self._admit(site_id, update, sums)
            except UpdateRefusedError as e:
                coordinator.refuse(site_id, e.code)

    def _admit(self, site_id: str, update: MaskedUpdate, sums: SecureSum) -> None:
        """Check what can be checked of an update that nobody can read; add it."""
        coordinator = self._coordinator
        site, plan = coordinator.site(site_id), coordinator.request(site_id).plan
        check_site(update, site)
        if update.vector.shape != (self._layout.num_words,):
            detail = f"expected {self._layout.num_words} words, got {update.vector.shape}"
            raise UpdateRefusedError(RefusalCode.WRONG_WEIGHTS, detail)
        if update.labelled_aus != sums.roster.member(site_id).signed.keys.labelled_aus:
            raise UpdateRefusedError(RefusalCode.WRONG_LABELS, "other AUs than in its keys")
        demands, seen = coordinator.config.demands, coordinator.seen(site_id)
        digest = vector_digest(update.vector)
        attestation, now_seen = check_statement(
            update, digest, plan, site, demands, seen, coordinator.last_head(site_id)
        )
        sums.fold(site_id, update.vector)
        coordinator.book.admit(site_id, now_seen, attestation.update, update.attestation)

    def _unmask(self, sums: SecureSum) -> Arrays:
        request = sums.unmask_request()
        requests = {n: request for n, s in self._nodes.items() if s in sums.survivors}
        for node, given in self._answers(requests, self._nodes, Unmasking):
            sums.add_unmasking(self._nodes[node], given)
        total = sums.total()
        num = len(sums.roster.members)
        try:
            self._check_weights(sums, self._layout.parts(total))
            return self._layout.mean(total, self._coordinator.arrays, sums.name.terms, num)
        except WrongSumError as e:
            raise SumLostError(RefusalCode.WRONG_SUM, str(e)) from e

    def _check_weights(self, sums: SecureSum, parts: Mapping[int, int]) -> None:
        """Check the summed weights against the public ones, where the plan weights by site.

        A row may weigh less: a site holds back one that too few others label.

        Raises:
            WrongSumError: They do not fit: a mask is left in the sum, or a site lied.
        """
        if self._coordinator.config.weighting is not Weighting.SITE:
            return
        stayed = [m for m in sums.roster.members if m.site_id in sums.survivors]
        if parts[ALL] != sum(m.parts for m in stayed):
            raise WrongSumError("the weights are not those of the sites that stayed")
        for au in self._coordinator.config.action_units:
            if parts[au] > sum(m.parts for m in stayed if au in m.signed.keys.labelled_aus):
                raise WrongSumError(f"AU {au} weighs more than the sites that label it")

    def _answers(
        self, requests: Mapping[int, SecureRequest], nodes: Nodes, kind: type[Reply]
    ) -> Iterator[tuple[int, Reply]]:
        """Yield answers of one kind; write down what else comes."""
        for node, reply in self._ask(requests):
            if isinstance(reply, kind):
                yield node, reply
                continue
            code = reply if isinstance(reply, RefusalCode) else RefusalCode.WRONG_WEIGHTS
            _log.info("round %d: node %d: %s", self._coordinator.round, node, code.name)
            self._coordinator.refuse(nodes[node], code)


def _parts(site: EnrolledSite, heaviest: float) -> int:
    """Return a site's public weight in parts, of which the heaviest site has all."""
    return max(1, round(site.weight / heaviest * SITE_PARTS))
