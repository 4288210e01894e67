"""A pilot's figures, from a site's recordings, consent, rules, a run and a table of decisions.

Whoever is tested on agrees to evaluation, and the declared use must name it. Stays at the site.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from consent.demand import Demand
from consent.errors import DeniedError, RecordError
from consent.model import Purpose
from consent.policy import Declaration, decide_use
from consent.policy_log import require_permission, site_rules
from core_model.data.frames import FrameDataset
from core_model.data.labels import UNKNOWN, read_labels
from core_model.data.recordings import Recording
from core_model.evaluation.decisions import effect_of, read_decisions
from core_model.evaluation.evaluate import always, measures, shared_aus
from core_model.evaluation.model_run import load_detector, model_facts
from core_model.evaluation.pilot import (
    DetectorFacts,
    PilotReport,
    PolicyFacts,
    cost_of,
    recommend,
)
from core_model.evaluation.predict import predict
from core_model.evaluation.thresholds import ThresholdPolicy, choose_thresholds
from core_model.run_folder import RunRecord, epoch_files, read_run
from core_model.training.recipe_run import split_recordings
from fl_client.errors import SiteError
from fl_client.ingest.plan import may_be_cut
from fl_client.permission import declared_use
from fl_client.selection import may_use
from fl_client.site import Site


def report_pilot(site: Site, run: Path, decisions: Path | None) -> PilotReport:
    """Return all figures and the recommendation.

    Args:
        site: Opened.
        run: Folder of a fine-tuning run at this site.
        decisions: Table of cases; None: not measured.

    Raises:
        DeniedError: No use is declared, it does not name evaluation, or there are no rules.
        SiteError: The folder holds no run, or nobody to test on agrees to evaluation.
        CheckpointError: The weights cannot be read.
        ValueError: A table or list is not right.
    """
    use = declared_use(site)
    policy = policy_facts(site, use)
    if Purpose.EVALUATION not in use.purposes:
        raise DeniedError(
            "the declared use does not name the purpose evaluation; add it to purposes in use.toml"
        )
    record = read_run(run)
    if record is None or not epoch_files(run):
        raise SiteError(f"{run} holds no run; see: omote-site finetune --help")
    effect = effect_of(read_decisions(decisions)) if decisions else None
    detector = detector_facts(site, run, record, use)
    return PilotReport(
        site=site.site_id,
        cost=cost_of(site.config.costs, *_amounts(site)),
        detector=detector,
        effect=effect,
        policy=policy,
        recommendation=recommend(policy, detector, effect),
    )


def policy_facts(site: Site, use: Declaration) -> PolicyFacts:
    """Return what the rules say of the declared use now. Nothing is logged: nothing is done."""
    rules, now = site_rules(site.registry), site.registry.now()
    verdict = decide_use(use, rules, now)
    why_not = None
    try:
        require_permission(site.registry.state(), use, rules, now)
    except (DeniedError, RecordError) as e:
        why_not = str(e)
    return PolicyFacts(
        title=use.title,
        outcome=verdict.outcome.value,
        may_go_ahead=why_not is None,
        why_not=why_not,
        findings=tuple(dict.fromkeys((f.rule, f.why) for f in verdict.findings)),
    )


def detector_facts(site: Site, run: Path, record: RunRecord, use: Declaration) -> DetectorFacts:
    """Return F1 of the run's chosen epoch, on its test people, else on those held out."""
    groups = split_recordings(
        site.recordings, record.test_partition, record.held_out_share, record.seed
    )
    labelled = {n: [r for r in group if r.labels is not None] for n, group in groups.items()}
    gate = site.gate.demanding(Demand.of(use))
    agreed = {n: may_use(group, gate, Purpose.EVALUATION) for n, group in labelled.items()}
    is_test = bool(labelled["test"])
    asked = agreed["test"] if is_test else agreed["validation"]
    if not asked:
        raise SiteError(
            "nobody whom the run did not train on agrees to evaluation: ask them, or train with "
            "--test or --held-out"
        )
    path = epoch_files(run)[-1]
    model, manifest = load_detector(path)

    def dataset(recordings: Sequence[Recording]) -> FrameDataset:
        return FrameDataset(
            recordings, manifest.encoder.image_size, manifest.action_units, source=site.frames
        )

    test, _ = predict(model, dataset(asked), device=site.device)
    left_out = shared_aus(manifest.action_units, test)
    kept = tuple(au for au in manifest.action_units if au not in left_out)
    if not kept:
        raise SiteError("none of the AUs can be scored: those tested on show none of them")
    test, choosing = test.only(kept), None
    policy: ThresholdPolicy = "fixed_0.5"
    if is_test and agreed["validation"]:
        choosing = predict(model, dataset(agreed["validation"]), device=site.device)[0].only(kept)
        policy = "val_swept_common"
    thresholds = choose_thresholds(policy, choosing, test)
    macro, per_au = measures(test, thresholds)
    return DetectorFacts(
        model=model_facts(path, manifest, len(epoch_files(run))),
        tested_on="test people" if is_test else "people held out",
        num_people=len(np.unique(test.subjects)),
        num_frames=len(test.subjects),
        threshold="0.5"
        if policy == "fixed_0.5"
        else f"{thresholds[0]:.2f}, chosen by people held out of training",
        macro_f1=macro["f1"],
        f1={au: values["f1"] for au, values in per_au.items()},
        always_f1=always(test),
        left_out=left_out,
    )


def _amounts(site: Site) -> tuple[int, int]:
    """Return how many people and labelled frames the site paid for: those who agree to something.

    Frames with a label, each once, whatever the number of AUs in it.
    """
    people = may_be_cut(site.registry, {r.subject_id for r in site.recordings})
    recordings = [r for r in site.recordings if r.subject_id in people]
    frames = 0
    for recording in recordings:
        if recording.labels is not None:
            labels = read_labels(recording.labels)
            frames += int((labels.intensities != UNKNOWN).any(axis=1).sum())
    return len(people), frames
