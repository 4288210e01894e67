"""Secure rounds through the driver and Flower's messages, with real sites, some dishonest."""

import dataclasses

import numpy as np
import pytest

from consent.attestation import open_attestation
from core_model.protocol.messages import RefusalCode
from core_model.protocol.records import read_records
from core_model.protocol.secure import (
    KeysRequest,
    MaskedRequest,
    MaskedUpdate,
    RosterRequest,
    UnmaskRequest,
    vector_digest,
)
from core_model.protocol.secure_records import decode_secure_reply
from core_model.secure_sum.threshold import least_in_sum
from fl_client.errors import RoundRefusedError
from fl_client.round import run_round
from fl_client.secure_round import SecureRounds
from fl_client.site import open_site
from fl_server import app
from fl_server.coordinator import Coordinator
from fl_server.kept_attestations import check_kept
from simulations.loop import run_local
from tests.federation import FINETUNING
from tests.secure_federation import write_secure_federation, write_secure_sites


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(app, "POLL_S", 0.01)


def finetuning(root, num=3, threshold=2, **changes):
    """One fine-tuning round: what most tests need."""
    folders = write_secure_sites(root, num, people=1)
    config = write_secure_federation(root, folders, threshold, **changes)
    return config.model_copy(update={"stages": config.stages[1:]}), folders


def far(one, other):
    return max(float(np.abs(one[n] - other[n]).max()) for n in one)


def test_secure_rounds_end_at_the_model_of_plain_ones_and_say_nothing_more(tmp_path) -> None:
    weights = {"site-a": 1.0, "site-b": 0.5, "site-c": 0.7}

    def run(kind, is_secure):
        folders = write_secure_sites(tmp_path / kind)
        sites = tuple(f.enrolment(weights[s]) for s, f in folders.items())
        config = write_secure_federation(tmp_path / kind, folders, is_secure=is_secure, sites=sites)
        return (*run_local(config, folders, keep_raw=True), folders)

    secure, grid, folders = run("secure", True)
    plain, _, _ = run("plain", False)
    for summary in secure.summaries:
        assert (len(summary.admitted), summary.refused, summary.sum_lost) == (3, {}, None)
    before = Coordinator(write_secure_federation(tmp_path / "new", folders)).arrays
    assert far(plain.arrays, before) > 1e-3
    assert far(secure.arrays, plain.arrays) < 2e-6  # float32 of both means, and the code

    # What crossed the wire: no metrics, no count, and masked vectors that look uniform.
    fields = {f for c in grid.crossings for f in c.fields}
    assert fields == {"site-id", "json", "attestation", "labelled-aus", "cosignature"}
    replies = [decode_secure_reply(read_records(c.raw)) for c in grid.crossings[3:]]
    masked = [r for r in replies if isinstance(r, MaskedUpdate)]
    assert len(masked) == 6
    for update in masked:
        counts = np.bincount(update.vector.view(np.uint8), minlength=256)
        expected = counts.sum() / 256
        assert float(((counts - expected) ** 2 / expected).sum()) < 255 + 6 * 22.6

    # The site signs the digest of what it sent; the server keeps that.
    last = {u.site_id: u for u in masked[3:]}
    for site_id, folder in folders.items():
        key = open_site(folder.config).key.verifier
        signed = open_attestation(last[site_id].attestation, key).attestation
        assert signed.update == vector_digest(last[site_id].vector)
        assert signed.counts is None
        check_kept(secure.config.output, 2, site_id,
                   secure.summaries[1].attestations[site_id], key)  # fmt: skip


def answers(**ways):
    """Return how sites answer: each as its entry says, the others honestly."""

    def run(rounds, message, site):
        way = ways.get(site.site_id[-1])
        return way(rounds, message, site) if way else rounds.answer(message, site)

    return run


def silent_at(kind):
    def way(rounds, message, site):
        if isinstance(message, kind):
            raise RoundRefusedError(RefusalCode.SITE_FAULT, "gone")
        return rounds.answer(message, site)

    return way


def bent(kind, bend):
    def way(rounds, message, site):
        reply = rounds.answer(message, site)
        return bend(reply) if isinstance(message, kind) else reply

    return way


def other_vector(reply):
    return dataclasses.replace(reply, vector=reply.vector + np.uint32(1))


def no_shares(reply):
    return reply.model_copy(update={"shares": {}})


MIDDLE = {
    "silent at the keys": (silent_at(KeysRequest), RefusalCode.SITE_FAULT),
    "silent at the shares": (silent_at(RosterRequest), RefusalCode.SITE_FAULT),
    "silent at the masked vector": (silent_at(MaskedRequest), RefusalCode.SITE_FAULT),
    "shares for nobody": (bent(RosterRequest, no_shares), RefusalCode.SHARES_UNSOUND),
    "a vector that it did not sign": (bent(MaskedRequest, other_vector), RefusalCode.WRONG_UPDATE),
}


def test_site_that_drops_out_or_cheats_leaves_the_sum_of_the_others(tmp_path) -> None:
    config, folders = finetuning(tmp_path / "others", num=3)
    left = {s: f for s, f in folders.items() if s != "site-b"}
    clear = write_secure_federation(tmp_path / "others", left, is_secure=False)
    want, _ = run_local(clear.model_copy(update={"stages": clear.stages[1:]}), left)
    for number, (name, (way, code)) in enumerate(MIDDLE.items()):
        config, folders = finetuning(tmp_path / str(number))
        got, _ = run_local(config, folders, run_secure=answers(b=way))
        (summary,) = got.summaries
        assert summary.admitted == ("site-a", "site-c"), name
        assert (summary.refused, summary.sum_lost) == ({"site-b": code}, None), name
        assert far(got.arrays, want.arrays) < 2e-6, name


def test_site_that_is_silent_at_the_end_is_in_the_sum_all_the_same(tmp_path) -> None:
    config, folders = finetuning(tmp_path)
    got, _ = run_local(config, folders, run_secure=answers(b=silent_at(UnmaskRequest)))
    (summary,) = got.summaries
    assert (summary.admitted, summary.sum_lost) == (("site-a", "site-b", "site-c"), None)


def wrong_seeds(reply):
    lies = {s: v[:8] + "00" * 32 + v[72:] for s, v in reply.seeds.items()}
    return reply.model_copy(update={"seeds": lies})


LOST = {
    "two of three are silent at the end": (
        {"b": silent_at(UnmaskRequest), "c": silent_at(UnmaskRequest)}, RefusalCode.TOO_FEW_LEFT),
    "two of three send nothing": (
        {"b": silent_at(MaskedRequest), "c": silent_at(MaskedRequest)}, RefusalCode.TOO_FEW_LEFT),
    "one lies about shares and one is silent": (
        {"b": bent(UnmaskRequest, wrong_seeds), "c": silent_at(UnmaskRequest)},
        RefusalCode.SHARES_UNSOUND),
}  # fmt: skip


def test_sum_that_cannot_be_unmasked_leaves_the_model_and_says_why(tmp_path) -> None:
    for number, (name, (ways, code)) in enumerate(LOST.items()):
        config, folders = finetuning(tmp_path / str(number))
        before = Coordinator(config).arrays
        got, _ = run_local(config, folders, run_secure=answers(**ways))
        (summary,) = got.summaries
        assert (summary.sum_lost, summary.has_quorum) == (code, False), name
        assert far(got.arrays, before) == 0, name
        assert Coordinator(config).summaries == got.summaries  # on disk, with the code


def test_site_answers_each_message_once_and_in_order(tmp_path) -> None:
    """Second unmasking, repeated keys, a round that was signed before: each is refused."""
    config, folders = finetuning(tmp_path)
    kept, first = [], {}

    def watched(rounds, message, site):
        reply = rounds.answer(message, site)
        if site.site_id == "site-a":
            kept.append(message)
            first["rounds"], first["site"] = rounds, site
            if isinstance(message, KeysRequest | MaskedRequest):
                with pytest.raises(RoundRefusedError, match="OUT_OF_TURN"):
                    SecureRounds.answer(_copy(rounds), message, site)
        return reply

    run_local(config, folders, run_secure=watched)
    rounds, site = first["rounds"], first["site"]
    keys, roster, masked, unmask = kept
    for message in (unmask, roster, masked):
        with pytest.raises(RoundRefusedError, match="OUT_OF_TURN"):
            rounds.answer(message, site)
    # A restarted worker has forgotten all, and still gives no second vector of this round: one more
    # sum with one site less would tell that site's update.
    again = keys.plan.model_copy(update={"nonce": "0" * 32})
    with pytest.raises(RoundRefusedError, match="signed an update of this round"):
        SecureRounds().answer(KeysRequest(plan=again), site)
    # Nor is it sent in clear.
    with pytest.raises(RoundRefusedError, match="in clear"):
        run_round(masked.request, site)


def _copy(rounds):
    other = SecureRounds()
    other._session = rounds._session
    return other


def test_site_that_only_adds_up_in_secret_sends_nothing_in_clear(tmp_path) -> None:
    folders = write_secure_sites(tmp_path, people=1, only=True)
    config = write_secure_federation(tmp_path, folders, is_secure=False)
    got, _ = run_local(config.model_copy(update={"stages": config.stages[1:]}), folders)
    assert set(got.summaries[0].refused.values()) == {RefusalCode.PLAN_NOT_ALLOWED}


def test_frames_weigh_in_secret_as_they_do_in_clear(tmp_path) -> None:
    config, folders = finetuning(tmp_path / "s", weighting="frames", max_frames=1000)
    secure, grid = run_local(config, folders, keep_raw=True)
    clear = write_secure_sites(tmp_path / "p", people=1)
    for folder in clear.values():
        text = folder.config.read_text()
        folder.config.write_text(text.replace("[caps]", "[caps]\nmay_send_counts = true"))
    plain_config = write_secure_federation(
        tmp_path / "p", clear, is_secure=False, weighting="frames"
    )
    plain, _ = run_local(plain_config.model_copy(update={"stages": plain_config.stages[1:]}), clear)
    assert secure.summaries[0].sum_lost is None
    # 4 frames of 1000: two digits fewer than with public weights.
    assert far(secure.arrays, plain.arrays) < 2e-5
    assert not any(b"frames" in c.raw for c in grid.crossings if c.message_type == "train")


REFUSED = {
    "trimmed mean": ({"aggregation": {"rule": "trimmed_mean"}}, "needs to see single updates"),
    "Krum": ({"aggregation": {"rule": "multi_krum"}}, "needs to see single updates"),
    "no bound": ({"max_update_norm": None}, "set max_update_norm"),
    "half": ({"secure_sum": {"threshold": 2}}, "above half of the 4 sites"),
}


@pytest.mark.parametrize(("stage", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_settings_that_do_not_go_together_are_refused(tmp_path, stage, says) -> None:
    folders = write_secure_sites(tmp_path, num=4, people=1)
    config = write_secure_federation(tmp_path, folders, threshold=3)
    good = {"rounds": 1, "training": FINETUNING, "max_update_norm": 1.0,
            "secure_sum": {"threshold": 3}}  # fmt: skip
    type(config).model_validate({**config.model_dump(), "stages": [good]})
    with pytest.raises(ValueError, match=says):
        type(config).model_validate({**config.model_dump(), "stages": [{**good, **stage}]})
    assert least_in_sum(4, 3) == 3
