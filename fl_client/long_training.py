"""What trains in a round that a site asks of itself: many epochs, resumable after any step.

People held out choose when to stop. They are in the selection like everyone else, because what they
show decides which weights come out; test people are not.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from core_model.checkpoint import CheckpointManifest, load_checkpoint, save_checkpoint
from core_model.config import FinetuneConfig, PretrainConfig
from core_model.data.frames import FrameDataset
from core_model.data.recordings import Recording
from core_model.nn.iat import IATModel
from core_model.protocol.messages import RefusalCode, RoundPlan, RoundRequest
from core_model.recipe import Recipe
from core_model.run_folder import epoch_path
from core_model.training.finetune import Finetuning
from core_model.training.long_run import Done, Length, run_steps
from core_model.training.manner import Manner, positive_weights
from core_model.training.pretrain import Pretraining
from core_model.training.progress import Progress, ProgressError, load_progress, save_progress
from core_model.training.recipe_run import manifest_of
from core_model.training.seeds import derive_seed
from core_model.training.validation import best_epoch, is_over, score
from fl_client.epoch_tally import EpochTally
from fl_client.errors import LocalStateError, RoundRefusedError
from fl_client.installed_code import installed_code
from fl_client.local_state import LocalState
from fl_client.private_round import RoundAccount
from fl_client.selection import Selection, recording_digest
from fl_client.site import Site
from fl_client.stopping import Stop
from fl_client.training import Ready, Trained, examples, prepare
from fl_client.unfinished import UnfinishedRun

SAID_EVERY = 20  # steps: reading a loss waits for the device


class Bar(Protocol):
    """Shows how far a training is."""

    def begin(self, num_steps: int, done: int) -> None:
        """Begin, after some steps that were taken before."""

    def advance(self, done: Done, epochs: int) -> None:
        """Show a step."""


@dataclass(frozen=True)
class Loop:
    """How to go about a training. None of it changes the result."""

    stop: Stop
    bar: Bar
    threads: int = 2  # that load frames
    memory_bytes: int = 4 << 30  # frames beyond it are read from disk in each epoch
    save_every_s: float = 600.0


@dataclass
class LongTraining:
    """Trains, as ``attested_round`` asks it to.

    Attributes:
        is_held_out: Is a person among those who choose when to stop?
        best_epoch: When it is over: whose weights came out.
        scores: How good each epoch was for people held out.
    """

    recipe: Recipe
    parent: CheckpointManifest | None
    unfinished: UnfinishedRun
    loop: Loop
    say: Callable[[str], None]
    manner: Manner
    seed: int
    patience: int  # epochs without a better one for people held out; 0: train them all
    is_held_out: Callable[[str], bool]
    best_epoch: int = 0
    scores: tuple[float, ...] = ()
    num_subjects: int = 0
    num_frames: int = 0
    num_held_out: int = 0

    def __call__(
        self,
        request: RoundRequest,
        site: Site,
        selection: Selection,
        labelled: tuple[int, ...],
        state: LocalState,
        account: RoundAccount,  # noqa: ARG002 - charged before, and no noise is drawn
    ) -> Trained:
        """Train; return the weights of the chosen epoch and nothing that names people.

        Raises:
            RoundRefusedError: Too few people are left to train on, or data changed since.
            ConsentChangedError: Somebody withdrew meanwhile.
            KeyboardInterrupt: It was asked to stop, and can go on.
        """
        people = selection.recordings
        used = tuple(r for r in people if not self.is_held_out(r.subject_id))
        asked = tuple(r for r in people if self.is_held_out(r.subject_id))
        self._check_people(used, site)
        self.unfinished.clear_drafts()
        before = self._resumed(selection, request.plan)
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(self.seed, "fresh local weights"))
            ready = prepare(
                request, used, labelled, state, site.frames,
                label_policy=self.recipe.label_policy, in_memory=False,
            )  # fmt: skip
        held_out = self._held_out(request.plan, asked, labelled, site)
        self.num_subjects, self.num_frames = len(ready.dataset.subjects), len(ready.dataset)
        self.num_held_out = len(held_out.subjects) if held_out else 0
        self.say(
            f"on {site.device} in {self.manner.precision}: {self.num_frames:,} frames of "
            f"{self.num_subjects} people, {self.num_held_out} more held out"
        )
        for dataset in (d for d in (ready.dataset, held_out) if d is not None):
            if dataset.num_bytes <= self.loop.memory_bytes:
                dataset.hold()
        self._train(request, site, selection, labelled, ready, held_out, before)
        arrays = load_checkpoint(epoch_path(self.unfinished.epochs, self.best_epoch))[0]
        return Trained(arrays, ready.shared, {}, (), ready.dataset, None)

    def _train(
        self,
        request: RoundRequest,
        site: Site,
        selection: Selection,
        labelled: tuple[int, ...],
        ready: Ready,
        held_out: FrameDataset | None,
        progress: Progress,
    ) -> None:
        epochs, size = self.recipe.epochs, self.recipe.training.optimiser.batch_size
        length = Length(len(ready.dataset), size, epochs, self.seed)
        stepper = self._stepper(ready, request.plan, site.device)
        self._go_on(stepper, progress, length)

        def save(now: Progress) -> Progress:
            # Nothing is written of someone who left meanwhile.
            site.gate.recheck_assets(selection.ruling)
            save_progress(self.unfinished.file, now, stepper)
            return now

        tally, saved_at = EpochTally(stepper.losses, progress), time.monotonic()
        steps = run_steps(
            stepper, ready.dataset, length, done=progress.step, threads=self.loop.threads
        )
        for done in () if progress.is_over else steps:
            tally.add(done)
            self.loop.bar.advance(done, epochs)
            if done.ends_epoch:
                trained = ready.trained(request, ready.shared, labelled)
                self._stage(trained, ready, request.plan, done.epoch)
                scores = progress.scores
                if held_out is not None:
                    scores = (*scores, score(ready.model, held_out, site.device))
                over = self.patience > 0 and is_over(scores, self.patience)
                self.say(tally.line(done.epoch, epochs, scores))
                progress = save(_next(progress, done, scores=scores, is_over=over))
                self._keep(done.epoch, scores)
                tally, saved_at = EpochTally(stepper.losses, progress), time.monotonic()
            elif self.loop.stop.is_asked or time.monotonic() - saved_at > self.loop.save_every_s:
                sums, count = tally.values()
                progress = save(_next(progress, done, sums=sums, num_examples=count))
                saved_at = time.monotonic()
            if progress.is_over:
                break
            if self.loop.stop.is_asked and done.step < length.num_steps:
                raise KeyboardInterrupt
        self.scores = progress.scores
        self.best_epoch = best_epoch(self.scores) if self.scores else epochs
        self.unfinished.keep_epochs(range(1, self.best_epoch + 1))

    def _go_on(self, stepper: Finetuning | Pretraining, progress: Progress, length: Length) -> None:
        """Bring everything to where it was after the steps that were taken before."""
        if progress.step:
            try:
                load_progress(self.unfinished.file, stepper)
            except ProgressError as e:
                raise LocalStateError(str(e)) from e
            self.say(f"goes on after step {progress.step:,} of {length.num_steps:,}")
        self.loop.bar.begin(length.num_steps, progress.step)

    def _keep(self, epoch: int, scores: tuple[float, ...]) -> None:
        """Of an encoder, keep the best epoch alone: nobody evaluates the others."""
        if self.recipe.training.purpose == "pretraining":
            self.unfinished.keep_epochs([best_epoch(scores) if scores else epoch])

    def _check_people(self, used: tuple[Recording, ...], site: Site) -> None:
        people = len({r.subject_id for r in used})
        least = site.config.caps.min_subjects
        if people < least:
            raise RoundRefusedError(
                RefusalCode.TOO_FEW_SUBJECTS,
                f"{people} people are left to train on, min_subjects is {least}: hold out fewer",
            )

    def _resumed(self, selection: Selection, plan: RoundPlan) -> Progress:
        """Return how far an earlier call came, if it was over the same data.

        Raises:
            RoundRefusedError: Somebody it learned from may not be used any more; it is deleted.
            LocalStateError: Recordings, labels or software changed, or the file is damaged.
        """
        run = _data_digest(selection)
        subjects = tuple(sorted(selection.people()))
        fresh = Progress(run=run, purpose=plan.purpose, subjects=subjects, step=0)
        before = self.unfinished.progress()
        if before is None or before.run == run:
            return before or fresh
        if set(before.subjects) - set(subjects):
            self.unfinished.delete()
            raise RoundRefusedError(
                RefusalCode.CONSENT_CHANGED,
                "somebody this had learned from may not be used any more; all that it had learned "
                "is deleted; run the same command to begin anew",
            )
        raise LocalStateError(
            "recordings, labels, consent or software changed since this was interrupted, so the "
            "result would be another; --fresh deletes what it had learned and begins anew"
        )

    def _held_out(
        self, plan: RoundPlan, asked: tuple[Recording, ...], labelled: tuple[int, ...], site: Site
    ) -> FrameDataset | None:
        if not asked:
            self.say("nobody is held out: trains all epochs and takes the last")
            return None
        held = examples(
            plan, asked, labelled, site.frames, self.recipe.label_policy, in_memory=False
        )
        if plan.purpose == "finetuning" and not bool((held.aus * held.known).any()):
            raise ValueError(
                "nobody held out shows any of the AUs, so nobody can say when to stop: choose "
                "another --seed or --held-out, or --held-out 0"
            )
        return held

    def _stepper(
        self, ready: Ready, plan: RoundPlan, device: torch.device
    ) -> Finetuning | Pretraining:
        if isinstance(ready.model, IATModel):
            assert isinstance(plan.training, FinetuneConfig)
            weights = None
            if self.manner.balance == "pos_weight":
                weights = positive_weights(ready.dataset.aus, ready.dataset.known)
            return Finetuning(ready.model, plan.training, device, self.manner, weights)
        assert isinstance(plan.training, PretrainConfig)
        return Pretraining(ready.model, plan.training, device, self.manner)

    def _stage(self, trained: Trained, ready: Ready, plan: RoundPlan, epoch: int) -> None:
        """Keep the weights after an epoch inside the site's state."""
        manifest = manifest_of(
            trained.shared, ready.shared, plan.encoder, self.recipe, plan.run_id, epoch, self.parent
        )
        save_checkpoint(epoch_path(self.unfinished.epochs, epoch), trained.shared, manifest)


def _next(progress: Progress, done: Done, **changes: object) -> Progress:
    """Return progress after a step; sums begin anew unless they are given."""
    fresh: dict[str, object] = {"step": done.step, "sums": (), "num_examples": 0}
    return progress.model_copy(update=fresh | changes)


def _data_digest(selection: Selection) -> str:
    """Return what differs when training again would give another result."""
    h = hashlib.sha256(installed_code().sha256.encode())
    for recording in sorted(selection.recordings, key=lambda r: r.recording_id):
        h.update(f"\0{recording.recording_id}\0{recording.subject_id}\0".encode())
        h.update(recording_digest(recording.frames) + repr(recording.usable).encode())
        if recording.labels is not None:
            h.update(hashlib.sha256(recording.labels.read_bytes()).digest())
    return h.hexdigest()
