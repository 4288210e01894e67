"""The driver against a grid that misbehaves, with real sites behind it."""

import dataclasses
from collections import Counter

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, RecordDict

from consent.attestation import open_attestation, sign_attestation
from core_model.protocol.messages import RefusalCode, digest
from core_model.protocol.records import encode_refusal, encode_site_id
from fl_client.round import run_round
from fl_client.site import open_site
from fl_server import app, asking
from fl_server.coordinator import Coordinator
from simulations.client_app import direct_app
from simulations.grid import InProcessGrid
from simulations.loop import run_plain
from tests.federation import write_federation, write_sites

IMPOSTOR = 0  # asked before the real sites, 1 and 2


class RoughGrid(InProcessGrid):
    """An in-process grid with one more node, which answers as ``strange`` likes.

    Replies come in reverse, one at a time, and those of ``lost`` nodes never.
    """

    def __init__(self, folders, strange=None, lost=(), run=run_round) -> None:
        sites = {str(f.config): open_site(f.config) for f in folders.values()}
        nodes = {n: {"site": path} for n, path in enumerate(sites, start=1)}
        super().__init__(direct_app(lambda c: sites[c.node_config["site"]], run), nodes)
        self.strange, self.lost = strange, lost
        self.asked: Counter[tuple[int, str]] = Counter()
        self.held: list[int] = []  # replies pulled in one call

    def get_node_ids(self):
        return ([IMPOSTOR] if self.strange else []) + super().get_node_ids()

    def pull_messages(self, message_ids):
        replies = super().pull_messages(message_ids)
        self.held.append(len(replies))
        return replies

    def _deliver(self, message):
        node, kind = message.metadata.dst_node_id, message.metadata.message_type
        self.asked[node, kind] += 1
        if node == IMPOSTOR:
            reply = self.strange(kind, message)
            if isinstance(reply, Error):
                return Message(reply, reply_to=message)
            return Message(reply, reply_to=message)
        if kind == "train" and node in self.lost:
            return Message(Error(5, "node is gone"), reply_to=message)
        return super()._deliver(message)


@pytest.fixture
def federation(tmp_path, monkeypatch):
    monkeypatch.setattr(asking, "POLL_S", 0.01)
    folders = write_sites(tmp_path)
    return write_federation(tmp_path, folders, join_timeout_s=0.0, max_asks=1), folders


def drive(federation, **rough):
    config, folders = federation
    coordinator, grid = Coordinator(config), RoughGrid(folders, **rough)
    app.drive(grid, coordinator)
    return coordinator, grid


def test_each_node_is_asked_once_who_it_is(federation) -> None:
    coordinator, grid = drive(federation)
    assert [s.admitted for s in coordinator.summaries] == [("site-a", "site-b")] * 3
    assert grid.asked == {
        (1, "query.site"): 1, (2, "query.site"): 1, (1, "train"): 3, (2, "train"): 3,
    }  # fmt: skip
    assert max(grid.held) == 1  # one model in memory, however many sites are ready


def test_lost_site_is_refused_as_silent_and_the_rounds_go_on(federation) -> None:
    coordinator, _ = drive(federation, lost=(2,))
    assert [(s.admitted, s.refused) for s in coordinator.summaries] == [
        (("site-a",), {"site-b": RefusalCode.NO_ANSWER})
    ] * 3


def test_site_that_raises_is_told_apart_from_one_that_is_gone(federation) -> None:
    def raises(request, site):
        if site.site_id == "site-b":
            raise RuntimeError("/data/anna")
        return run_round(request, site)

    coordinator, _ = drive(federation, run=raises)
    assert coordinator.summaries[0].refused == {"site-b": RefusalCode.SITE_FAULT}
    assert "anna" not in (coordinator.config.output / "run.json").read_text()


def no_site(kind, message):
    return RecordDict()


def claims_nobody(kind, message):
    return RecordDict({"site": ArrayRecord()})


def raises_error(kind, message):
    return Error(2, "boom")


def not_enrolled(kind, message):
    return encode_site_id("site-z")


@pytest.mark.parametrize("strange", [no_site, claims_nobody, raises_error, not_enrolled])
def test_strange_node_does_not_end_the_run(federation, strange) -> None:
    coordinator, grid = drive(federation, strange=strange)
    assert [(s.admitted, s.refused) for s in coordinator.summaries] == [
        (("site-a", "site-b"), {})
    ] * 3
    assert grid.asked[IMPOSTOR, "train"] == 0


ANSWERS = {
    "a refusal": lambda message: encode_refusal(RefusalCode.CONSENT_CHANGED),
    "rubbish": lambda message: RecordDict({"x": ConfigRecord()}),
    "the request": lambda message: message.content,
    "an error": lambda message: Error(2, "boom"),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_node_that_claims_a_site_cannot_keep_it_out(federation, tmp_path, answer) -> None:
    """It answers first, under the name of a real site, and has no key."""

    def impostor(kind, message):
        return encode_site_id("site-b") if kind == "query.site" else answer(message)

    coordinator, grid = drive(federation, strange=impostor)
    assert grid.asked[IMPOSTOR, "train"] == 3
    assert [(s.admitted, s.refused) for s in coordinator.summaries] == [
        (("site-a", "site-b"), {})
    ] * 3
    folders = write_sites(tmp_path / "alone")
    alone = run_plain(write_federation(tmp_path / "alone", folders), folders)
    assert digest(coordinator.arrays) == digest(alone.arrays)


def test_silence_of_one_node_does_not_hide_what_the_other_said(federation) -> None:
    coordinator = Coordinator(federation[0])
    coordinator.request("site-a")
    coordinator.refuse("site-a", RefusalCode.CONSENT_CHANGED)
    coordinator.refuse("site-a", RefusalCode.NO_ANSWER)
    assert coordinator.finish().refused == {"site-a": RefusalCode.CONSENT_CHANGED}


def test_quorum_not_met_leaves_the_weights_as_they_were(federation) -> None:
    config, folders = federation
    config = config.model_copy(update={"quorum": 2})
    before = digest(Coordinator(config).arrays)
    coordinator, _ = drive((config, folders), lost=(2,))
    assert [s.has_quorum for s in coordinator.summaries] == [False] * 3
    assert digest(coordinator.arrays) == before


@pytest.mark.parametrize(("count", "code"), [(0, RefusalCode.WRONG_LABELS), (5, None)])
def test_site_that_counts_nothing_never_makes_the_model_nan(tmp_path, count, code) -> None:
    """Alone in its round, a total weight of zero would divide by zero."""
    folders = write_sites(tmp_path, may_send_counts=True)
    config = write_federation(tmp_path, folders, weighting="frames")

    def counts_nothing(request, site):
        update = run_round(request, site)
        if request.plan.round != 2:
            return update
        signed = open_attestation(update.attestation, site.key.verifier).attestation
        frames = tuple(c.model_copy(update={"frames": count}) for c in signed.counts.frames)
        counts = signed.counts.model_copy(update={"frames": frames})
        bent = sign_attestation(signed.model_copy(update={"counts": counts}), site.key)
        return dataclasses.replace(update, attestation=bent)

    summary = run_plain(config, folders, run=counts_nothing).summaries[1]
    assert summary.refused == ({"site-a": code, "site-b": code} if code else {})


@pytest.mark.parametrize("code", [RefusalCode.SITE_FAULT, RefusalCode.NO_ANSWER])
def test_what_another_node_says_later_does_not_undo_an_admission(federation, code) -> None:
    config, folders = federation
    coordinator, site = Coordinator(config), open_site(folders["site-a"].config)
    coordinator.answer("site-a", run_round(coordinator.request("site-a"), site))
    coordinator.refuse("site-a", code)
    summary = coordinator.finish()
    assert (summary.admitted, summary.refused) == (("site-a",), {})
