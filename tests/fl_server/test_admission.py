"""Signed statements that are true about the bytes, and still do not fit the round."""

import dataclasses

import pytest

from consent.attestation import Code, Counts, FrameCount, open_attestation, sign_attestation
from consent.model import Purpose
from consent.policy_log import set_rules
from core_model.protocol.messages import RefusalCode
from fl_client.installed_code import installed_code
from fl_client.round import run_round
from fl_client.site import open_site
from fl_server.coordinator import Coordinator
from tests.federation import write_federation, write_sites


def consent(attestation, **changes):
    return {"consent": attestation.consent.model_copy(update=changes)}


UNFIT = {
    "the end does not extend the start": (
        lambda a: consent(a, since_start=("0" * 64,)), RefusalCode.LOG_NOT_GROWN),
    "no proof that the log grew": (
        lambda a: consent(a, consistency=("0" * 64,)), RefusalCode.LOG_NOT_GROWN),
    "the chain starts anew": (lambda a: {"previous": None}, RefusalCode.BROKEN_CHAIN),
    "other rules": (lambda a: {"policy": "5" * 64}, RefusalCode.WRONG_RULES),
    "other software": (
        lambda a: {"code": Code(name="omote 0", sha256="5" * 64)}, RefusalCode.WRONG_RULES),
    "counts that nobody asked for": (
        lambda a: {"counts": Counts(recordings=1, frames=(FrameCount(au=1, frames=10**6),))},
        RefusalCode.WRONG_LABELS),
    "fewer people than asked for": (
        lambda a: {"min_subjects": 1}, RefusalCode.TOO_FEW_SUBJECTS),
    "another purpose": (lambda a: {"purpose": Purpose.EVALUATION}, RefusalCode.WRONG_ROUND),
    "another site": (lambda a: {"site": "site-b"}, RefusalCode.WRONG_ROUND),
    "other AUs": (lambda a: {"labelled_aus": (1,)}, RefusalCode.WRONG_LABELS),
    "nothing wrong": (lambda a: {}, None),
}  # fmt: skip


@pytest.mark.parametrize(("bend", "code"), UNFIT.values(), ids=UNFIT.keys())
def test_statement_that_does_not_fit_is_refused(tmp_path, bend, code) -> None:
    folders = write_sites(tmp_path)
    rules = set_rules(folders["site-a"].consent, ["japan-appi-2026"], [])
    demands = {"policy": rules.digest, "code": [installed_code().sha256]}
    config = write_federation(tmp_path, folders, min_subjects=2, demands=demands)
    coordinator = Coordinator(config)
    site = open_site(folders["site-a"].config)
    coordinator.answer("site-a", run_round(coordinator.request("site-a"), site))
    coordinator.finish()  # the server has seen the log

    update = run_round(coordinator.request("site-a"), site)
    attestation = open_attestation(update.attestation, site.key.verifier).attestation
    bent = sign_attestation(attestation.model_copy(update=bend(attestation)), site.key)
    coordinator.answer("site-a", dataclasses.replace(update, attestation=bent))
    assert coordinator.finish().refused == ({"site-a": code} if code else {})


def test_site_that_nobody_asked_is_not_admitted(tmp_path) -> None:
    folders = write_sites(tmp_path)
    coordinator = Coordinator(write_federation(tmp_path, folders))
    site = open_site(folders["site-a"].config)
    update = run_round(coordinator.request("site-a"), site)
    coordinator.answer("site-b", update)
    coordinator.answer("site-z", update)
    assert coordinator.finish().refused == {
        "site-b": RefusalCode.NOT_ENROLLED,
        "site-z": RefusalCode.NOT_ENROLLED,
    }
