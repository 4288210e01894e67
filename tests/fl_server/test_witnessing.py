"""Server and sites watch each other's logs, in the messages of real rounds."""

import dataclasses
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent import merkle
from consent.cosignature import cosigner, open_cosigned, witness_key
from consent.keys import SigningKey, VerifierKey
from consent.note import TreeHead
from consent.registry import Registry
from consent.witness import check_equivocation
from core_model.protocol.messages import RefusalCode
from fl_client.errors import RoundRefusedError
from fl_client.round import run_round
from fl_client.site import open_site
from fl_client.witnessing import check_grown
from fl_server import app
from fl_server.coordinator import Coordinator
from fl_server.round_log import RoundLog
from fl_server.witnessing import HEADS, SiteHeads, Witnesses
from simulations.client_app import direct_app
from simulations.grid import InProcessGrid
from tests.federation import write_federation, write_sites

KEY = SigningKey.from_seed("pilot/round-log", b"k" * 32)
NOW = datetime.now(UTC)
UNSOUND = RefusalCode.SERVER_LOG_UNSOUND


class Federation:
    """A server that can be started again, and two sites that joined it."""

    def __init__(self, root, **changes) -> None:
        self.root = root
        self.folders = write_sites(root)
        changes = {"join_timeout_s": 0.0, "quorum": 1, **changes}
        self.config = write_federation(root, self.folders, **changes)
        self.sites = {
            f: dataclasses.replace(open_site(s.config), server_key=KEY.verifier)
            for f, s in self.folders.items()
        }

    def run(self, rounds=1, answer=run_round, log="round-log", clock=lambda: NOW):
        """Run rounds as ``run_federation`` does; return their summaries."""
        log = RoundLog(self.root / log, KEY)
        heads = SiteHeads(self.root / "witness", KEY, clock)
        coordinator = Coordinator(self.config, cosigned=heads.last)
        witnesses = Witnesses(log, heads, self.config.sites)

        class EnoughError(Exception):
            pass

        def on_round(_):
            log.catch_up(self.config.run_id, coordinator.summaries)
            witnesses.cosign(coordinator.last_head)
            if len(coordinator.summaries) == until:
                raise EnoughError

        until = len(coordinator.summaries) + rounds
        by_name = {str(n): s for n, s in self.sites.items()}
        grid = InProcessGrid(
            direct_app(lambda c: by_name[c.node_config["site"]], answer),
            {n: {"site": name} for n, name in enumerate(by_name, start=1)},
        )
        with pytest.raises(EnoughError):
            app.drive(grid, coordinator, on_round, witnesses)
        return coordinator.summaries[-rounds:]

    def witnesses_of(self, size):
        """Return who cosigned the server's head of a size, after checking."""
        note = (self.root / "round-log" / HEADS / f"{size:08d}.note").read_text()
        keys = [witness_key(VerifierKey.parse(s.key)) for s in self.config.sites]
        head, times = open_cosigned(note, [KEY.verifier], keys)
        assert head.size == size
        return {key.name.split("/")[0] for key in times}


@pytest.fixture
def federation(tmp_path, monkeypatch):
    monkeypatch.setattr(app, "POLL_S", 0.01)
    return Federation(tmp_path)


def test_each_side_keeps_what_the_other_cosigned(federation) -> None:
    assert [s.refused for s in federation.run(3)] == [{}] * 3
    for size in (1, 2):  # the head of three entries goes out with the fourth request
        assert federation.witnesses_of(size) == {"site-a", "site-b"}
    for site in federation.sites.values():
        cosigned = site.registry.journal.replay.log.cosigned_snapshot()
        (log_key,) = [s.log_key for s in federation.config.sites if s.site_id == site.site_id]
        own = VerifierKey.parse(log_key)
        witness = witness_key(KEY.verifier)
        head, times = open_cosigned(cosigned.tree_head, [own], [witness])
        assert times == {witness: int(NOW.timestamp())}
        assert 0 < head.size < site.registry.snapshot().size


def other_log(federation, name, rounds):
    """Give the server another log that it signed with the same key."""
    coordinator = Coordinator(federation.config)
    lies = [s.model_copy(update={"ended_at": 1}) for s in coordinator.summaries[:rounds]]
    RoundLog(federation.root / name, KEY).catch_up(federation.config.run_id, lies)


FORKS = {"as long": 2, "shorter": 1, "empty": 0}


@pytest.mark.parametrize("rounds", FORKS.values(), ids=FORKS.keys())
def test_server_that_forks_or_cuts_its_log_is_refused(federation, monkeypatch, rounds) -> None:
    federation.run(3)
    federation.config = federation.config.model_copy(
        update={"stages": federation.config.stages * 2}
    )
    federation.run(1)  # the sites have cosigned three entries
    other_log(federation, "other", rounds)
    monkeypatch.setattr(RoundLog, "catch_up", lambda *_: None)
    (summary,) = federation.run(1, log="other")
    assert summary.refused == {"site-a": UNSOUND, "site-b": UNSOUND}
    state = federation.sites["site-a"].config.state / "server-log"
    name = KEY.verifier.key_id.hex()
    shown = (state / f"{name}.refused.note").read_text()
    assert f"\n{rounds}\n" in shown
    (summary,) = federation.run(1)  # the true log again: the sites go on
    assert summary.refused == {}


def test_two_heads_of_one_size_convict_the_server(federation, monkeypatch) -> None:
    federation.run(2)
    other_log(federation, "other", 1)
    monkeypatch.setattr(RoundLog, "catch_up", lambda *_: None)
    federation.run(1, log="other")
    state = federation.sites["site-a"].config.state / "server-log"
    notes = [p.read_text() for p in sorted(state.glob("*.note"))]
    one, two = check_equivocation(*notes, KEY.verifier)
    assert one.size == two.size == 1


def test_server_that_shows_no_log_is_refused(federation) -> None:
    def unseen(request, site):
        return run_round(dataclasses.replace(request, witnessing=None), site)

    (summary,) = federation.run(1, unseen)
    assert summary.refused == {"site-a": UNSOUND, "site-b": UNSOUND}


def test_answer_that_is_lost_costs_no_round(federation) -> None:
    """Site a cosigns, its answer is lost, and the server grows without it."""

    def loses(request, site):
        update = run_round(request, site)
        if site.site_id == "site-a":
            raise RoundRefusedError(RefusalCode.NO_ANSWER, "the cable was cut")
        return update

    federation.run(1)
    assert federation.run(1, loses)[0].admitted == ("site-b",)
    assert federation.witnesses_of(1) == {"site-b"}
    assert federation.run(1)[0].admitted == ("site-a", "site-b")
    assert federation.witnesses_of(2) == {"site-a", "site-b"}


def bad_line(line, site):
    return "— site-a/operator AAAA\n"


def of_another_head(line, site):
    return cosigner(site.key).cosign(TreeHead(KEY.name, 1, b"x" * 32), 1)


def by_the_other_site(line, site):
    return cosigner(SigningKey.generate(site.key.name)).cosign(TreeHead(KEY.name, 0, b"x" * 32), 1)


@pytest.mark.parametrize("bend", [bad_line, of_another_head, by_the_other_site, lambda *_: ""])
def test_wrong_cosignature_costs_no_round_and_is_not_kept(federation, bend) -> None:
    def bent(request, site):
        update = run_round(request, site)
        if site.site_id == "site-b":
            return update
        return dataclasses.replace(update, cosignature=bend(update.cosignature, site))

    federation.run(1)
    assert federation.run(1, bent)[0].refused == {}
    assert federation.witnesses_of(1) == {"site-b"}


def test_witness_whose_clock_runs_ahead_ends_no_consent(federation) -> None:
    ahead = NOW + timedelta(days=3650)
    assert [s.refused for s in federation.run(3, clock=lambda: ahead)] == [{}] * 3
    for site in federation.sites.values():
        assert site.registry.journal.replay.log.cosigned_snapshot() is None


def test_server_remembers_consent_logs_in_the_next_run_too(federation, tmp_path) -> None:
    """A site that lost its newest entries is refused by a run that never saw it."""
    before = tmp_path / "before"
    shutil.copytree(federation.folders["site-a"].folder / "consent", before)
    federation.run(1)
    old = federation.sites["site-a"]
    federation.config = federation.config.model_copy(
        update={"run_id": "next-run", "output": tmp_path / "next"}
    )
    registry = Registry.open(before, old.clock)

    def restored(request, site):
        if site.site_id == "site-b":
            return run_round(request, site)
        # It also leaves out the proof, which it cannot make.
        plan = request.plan.model_copy(update={"tree_size": 0})
        past = dataclasses.replace(site, registry=registry, gate=registry.gate)
        return run_round(dataclasses.replace(request, plan=plan), past)

    (summary,) = federation.run(1, restored)
    assert summary.refused == {"site-a": RefusalCode.LOG_NOT_GROWN}
    (summary,) = federation.run(1)
    assert summary.refused == {}


def leaf(number: int) -> bytes:
    return merkle.leaf_hash(b"%d" % number)


def head_of(leaves):
    root = merkle.root(merkle.tree_of(leaves), len(leaves)) if leaves else merkle.EMPTY_ROOT
    return TreeHead(KEY.name, len(leaves), root)


@given(st.integers(0, 70), st.data())
def test_growth_shows_from_any_head_and_no_lie_passes(size, data) -> None:
    leaves = [leaf(n) for n in range(size)]
    last = head_of(leaves[: data.draw(st.integers(0, size))])
    check_grown(leaves, head_of(leaves), last)
    check_grown(leaves, head_of(leaves), None)
    if last.size:
        at = data.draw(st.integers(0, last.size - 1))
        lied = [*leaves[:at], leaf(1000), *leaves[at + 1 :]]
        with pytest.raises(RoundRefusedError, match="rewritten"):
            check_grown(lied, head_of(lied), last)
        with pytest.raises(RoundRefusedError, match="SERVER_LOG_UNSOUND"):
            check_grown(leaves[: last.size - 1], head_of(leaves[: last.size - 1]), last)
        with pytest.raises(RoundRefusedError, match="not those of the head"):
            check_grown(lied, head_of(leaves), None)
