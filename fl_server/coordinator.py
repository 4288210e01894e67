"""Rounds as plain calls: ask, take answers, average, move on. Knows nothing of Flower or torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from consent.attestation_check import Seen
from consent.note import TreeHead
from core_model.checkpoint import load_checkpoint, save_checkpoint
from core_model.privacy.sent import sent_back
from core_model.protocol.messages import (
    RefusalCode,
    RoundPlan,
    RoundRequest,
    SiteUpdate,
    Weighting,
    digest,
)
from core_model.protocol.wire import rounded
from core_model.schema import Arrays, ParameterSchema
from fl_server.admission import admit
from fl_server.config import EnrolledSite, FederationConfig, Stage
from fl_server.digests import config_digest, plan_digest
from fl_server.errors import UpdateRefusedError
from fl_server.kept_attestations import keep_attestations
from fl_server.nonces import Nonces
from fl_server.robust import make_aggregator
from fl_server.round_book import RoundBook
from fl_server.round_state import BranchPoint, RoundSummary, load_state, model_path, save_state
from fl_server.server_optimiser import ServerOptimiser
from fl_server.weighing import weights_of


class Coordinator:
    """One run of a federation. Goes on where an earlier one with the same output folder stopped.

    Raises:
        CheckpointError: The initial checkpoint or the last round's cannot be read.
        ValueError: The output folder is of another run.
    """

    def __init__(
        self,
        config: FederationConfig,
        suspended: Callable[[], Collection[str]] | None = None,
        cosigned: Callable[[str], TreeHead | None] = lambda _: None,
    ) -> None:
        """Open a run; ``suspended`` tells which sites are now, ``cosigned`` a site's last head."""
        self.config = config
        self._sites = {s.site_id: s for s in config.sites}
        at_start = frozenset(s.site_id for s in config.sites if s.suspended)
        self._suspended = suspended or (lambda: at_start)
        self._cosigned = cosigned
        state = load_state(config.output, config.run_id)
        path = config.initial if state.round == 0 else model_path(config.output, state.round)
        begun, self._manifest = load_checkpoint(path)
        self.arrays = rounded(begun, config.wire)
        if state.round and digest(self.arrays) != self._manifest.digest:
            raise ValueError("wire: the rounds before were sent as float32; begin a new run")
        if self._manifest.action_units != config.action_units:
            raise ValueError(
                f"action_units: the checkpoint has {self._manifest.action_units}, "
                f"the federation {config.action_units}"
            )
        self._state = state
        self._sum: Arrays | RefusalCode | None = None  # of a secure round
        self._optimiser = ServerOptimiser(config.output, config.wire)
        if self._was_moving():
            self._optimiser.resume(state.round)
        self._begin()

    @property
    def summaries(self) -> tuple[RoundSummary, ...]:
        """All finished rounds."""
        return self._state.summaries

    @property
    def branch(self) -> BranchPoint | None:
        """Where the run began, if not at its first round."""
        return self._state.branch

    @property
    def is_done(self) -> bool:
        """Whether all rounds of all stages are finished."""
        return self._state.round >= sum(s.rounds for s in self.config.stages)

    @property
    def round(self) -> int:
        """The running round, from 1, counted over all stages."""
        return self._state.round + 1

    @property
    def stage(self) -> Stage:
        """The running stage."""
        return self._locate()[0]

    @property
    def schema(self) -> ParameterSchema:
        """The weights that cross the wire in the running round."""
        training = self.stage.training
        with_decoder = training.purpose == "pretraining" and training.share_decoder
        return self._manifest.weights.shared(training.purpose, with_decoder=with_decoder)

    @property
    def update_schema(self) -> ParameterSchema:
        """The weights that come back: what a privacy plan freezes stays as the server holds it."""
        return sent_back(self.schema, self.stage.privacy)

    def asked_sites(self) -> list[str]:
        """Return the sites that the running round is for."""
        everyone, suspended = self.stage.training.purpose == "pretraining", self._suspended()
        return [
            s.site_id
            for s in self.config.sites
            if s.site_id not in suspended and (everyone or s.labelled_aus)
        ]

    def request(self, site_id: str) -> RoundRequest:
        """Return what to ask one site."""
        stage, before = self._locate()
        seen, secure, head = self.seen(site_id), stage.secure_sum, self.last_head(site_id)
        plan = RoundPlan(
            run_id=self.config.run_id,
            round=self.round,
            num_rounds=stage.rounds,
            round_of_purpose=self.round - before,
            nonce=self.book.nonce(site_id),
            seed=self.config.seed,
            model_in=self._model_in,
            encoder=self._manifest.encoder,
            action_units=self.config.action_units,
            training=stage.training,
            # In a secure sum counts of frames stay inside it, and no attestation tells them.
            weighting=self.config.weighting if secure is None else Weighting.SITE,
            min_subjects=self.config.min_subjects,
            tree_size=head.size if head else 0,
            previous=(seen.digest or None) if seen else None,
            privacy=stage.privacy,
            ledger_size=seen.ledger.size if seen and seen.ledger else 0,
            ledger_root=seen.ledger.root if seen and seen.ledger else None,
            max_update_norm=stage.max_update_norm,
            proximal=stage.proximal,
            wire=self.config.wire,
            secure=secure and secure.terms(stage.aggregation, stage.max_update_norm),
        )
        self.book.plan = plan_digest(plan)
        return RoundRequest(plan, self._shared())

    def answer(self, site_id: str, update: SiteUpdate) -> None:
        """Admit an update and fold it in, or write down why not."""
        received = sum(a.nbytes for a in update.arrays.values()) + len(update.attestation)
        self.book.count(site_id, received)
        try:
            self._admit(site_id, update)
        except UpdateRefusedError as e:
            self.refuse(site_id, e.code)

    def refuse(self, site_id: str, code: RefusalCode) -> None:
        """Write down that a site gives no update, or that its update is left out."""
        self.book.refuse(site_id, code)

    def take_sum(self, mean: Arrays | RefusalCode) -> None:
        """Take the mean that a secure sum gave, or why it gave none."""
        self._sum = mean

    def finish(self) -> RoundSummary:
        """Average what was admitted, write it to disk, and move on.

        With fewer sites than the quorum the weights stay as they are, and the summary says so.
        """
        # Each site vouches for so many people and no more is known of any: counts are data too.
        book = self.book
        num, people = len(book.admitted), len(book.admitted) * self.config.min_subjects
        lost = self._sum if isinstance(self._sum, RefusalCode) else None
        has_people = people >= self.config.quorum_subjects
        has_quorum = num >= self.config.quorum and has_people and lost is None
        if has_quorum:
            self.arrays = self.arrays | self._advance()
        summary = RoundSummary(
            round=self.round,
            purpose=self.stage.training.purpose,
            admitted=tuple(sorted(book.admitted)),
            attestations=book.attestations(),
            updates=dict(sorted(book.updates.items())),
            tree_heads=book.tree_heads(),
            plan=book.plan,
            config=config_digest(self.config),
            ended_at=int(time.time()),
            refused=dict(sorted(book.refused.items())),
            has_quorum=has_quorum,
            sum_lost=lost,
            weights=tuple(p.name for p in self.update_schema.parameters),
            bytes_received=dict(sorted(book.received.items())),
            model_in=self._model_in,
            model_out=digest(self._shared()),
            seconds=book.seconds,
        )
        self._save(summary)
        self._begin()
        return summary

    def _begin(self) -> None:
        config = self.config
        self.book = RoundBook(Nonces(config.output, config.run_id, self.round))
        self._sum = None
        if self._state.round == self._locate()[1]:
            self._optimiser.begin()
        if not self.is_done:
            self._aggregator = make_aggregator(
                self.stage.aggregation, self.update_schema, self.config.action_units, self.arrays
            )
            self._model_in: str = digest(self._shared())

    def site(self, site_id: str) -> EnrolledSite:
        """Return a site whose update may be looked at now.

        Raises:
            UpdateRefusedError: It was not asked, is suspended, or has answered.
        """
        site = self._sites.get(site_id)
        if site is None or not self.book.was_asked(site_id):
            raise UpdateRefusedError(RefusalCode.NOT_ENROLLED, "this site was not asked")
        if site_id in self._suspended():
            raise UpdateRefusedError(RefusalCode.SUSPENDED, "the operator suspended this site")
        if site_id in self.book.admitted:
            raise UpdateRefusedError(RefusalCode.ANSWERED_TWICE, "this site has answered")
        return site

    def seen(self, site_id: str) -> Seen | None:
        """Return what was seen of a site last."""
        return self._state.seen(site_id)

    def last_head(self, site_id: str) -> TreeHead | None:
        """Return the newest head of a site's consent log that was seen, in whatever run."""
        seen = self.seen(site_id)
        heads = (seen.tree_head if seen else None, self._cosigned(site_id))
        return max(filter(None, heads), key=lambda h: h.size, default=None)

    def _admit(self, site_id: str, update: SiteUpdate) -> None:
        site = self.site(site_id)
        plan = self.request(site_id).plan
        demands, seen, head = self.config.demands, self.seen(site_id), self.last_head(site_id)
        attestation, now_seen, arrays = admit(
            update, plan, site, self.update_schema, demands, seen, self.arrays, head
        )
        if attestation.update in self._admitted_before():
            raise UpdateRefusedError(RefusalCode.REPLAYED, "these weights were admitted before")
        weight, row_weights = weights_of(site, attestation, self.config.weighting)
        try:
            self._aggregator.fold(arrays, weight, row_weights)
        except ValueError as e:
            raise UpdateRefusedError(RefusalCode.WRONG_WEIGHTS, str(e)) from e
        self.book.admit(site_id, now_seen, attestation.update, update.attestation)

    def _shared(self) -> Arrays:
        return {p.name: self.arrays[p.name] for p in self.schema.parameters}

    def _admitted_before(self) -> set[str]:
        return {u for s in self._state.summaries for u in s.updates.values()}

    def _advance(self) -> Arrays:
        """Return the weights that follow from the mean of this round's updates."""
        is_summed = self.stage.secure_sum is not None
        assert not is_summed or isinstance(self._sum, dict), "a secure round ended without its sum"
        mean = self._sum if isinstance(self._sum, dict) else self._aggregator.mean(self.arrays)
        return self._optimiser.step(self.stage, self.arrays, mean)

    def _was_moving(self) -> bool:
        """Return whether the optimiser remembers something of the rounds before."""
        stage, before = self._locate()
        if self.is_done or self._state.round == before or not self._optimiser.remembers(stage):
            return False
        # Of the rounds before a branch only the last one's were kept: there it begins anew.
        branched = self._state.branch.round if self._state.branch else 0
        return any(s.has_quorum for s in self._state.summaries[max(before, branched) :])

    def _locate(self) -> tuple[Stage, int]:
        """Return the running stage and the number of rounds before it."""
        before = 0
        for stage in self.config.stages:
            if self._state.round < before + stage.rounds:
                return stage, before
            before += stage.rounds
        return self.config.stages[-1], before - self.config.stages[-1].rounds

    def _save(self, summary: RoundSummary) -> None:
        """Write the model and momentum first, then the state that points to them."""
        manifest = self._manifest.model_copy(
            update={
                "digest": digest(self.arrays),
                "run_id": self.config.run_id,
                "round": self.round,
                "parent": self._manifest.digest,
            }
        )
        save_checkpoint(model_path(self.config.output, self.round), self.arrays, manifest)
        self._optimiser.save(self.round)
        keep_attestations(self.config.output, self.round, self.book.envelopes)
        self._manifest = manifest
        self._state = self._state.after(summary, self.book.seen)
        save_state(self.config.output, self._state)
        self._optimiser.clean_up(self._state.round)
