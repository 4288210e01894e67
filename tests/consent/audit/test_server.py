"""Question 21: a server's record and a site's log tell the same story, or they do not."""

import json

import pytest

from consent.audit.server import ServerRecord, compare, read_server_record
from consent.errors import MalformedError
from consent.model import Role
from consent.site_events import RoundDiscarded


@pytest.fixture
def both(site):
    """Three rounds: signed, discarded by the site, signed."""
    site.add("anna")
    first = site.train(1)
    event = RoundDiscarded(run_id="run-1", round=2, reason="consent ended")
    site.registry.append([event], Role.OPERATOR)
    third = site.train(3)
    rounds = [
        {"round": 1, "admitted": ["site-a"], "attestations": {"site-a": first}, "refused": {}},
        {"round": 2, "admitted": [], "attestations": {}, "refused": {"site-a": 204}},
        {"round": 3, "admitted": ["site-a"], "attestations": {"site-a": third}, "refused": {}},
    ]
    for told in rounds:
        told |= {"purpose": "finetuning", "model_in": f"{told['round']:064x}", "model_out": "0"}
    return site, rounds


def differences(site, rounds, run="run-1"):
    facts = site.facts()
    record = ServerRecord.model_validate({"run_id": run, "summaries": rounds, "sites": {}})
    return compare("site-a", record, facts.checks, facts.state.discarded)


def test_the_same_story(both) -> None:
    assert differences(*both) == []


def bend(number, **changes):
    return lambda rounds: rounds[number - 1].update(changes)


LIES = {
    "the server counts an update that was never signed": (
        bend(3, attestations={"site-a": "f" * 64}), "this site's log does not have"),
    "the server counts one in a round that the site gave up": (
        bend(2, admitted=["site-a"], attestations={"site-a": "f" * 64}), "discarded its update"),
    "the server swapped the model": (bend(3, model_in="0" * 64), "another model"),
    "the server says that the site gave up": (
        bend(3, admitted=[], refused={"site-a": 204}), "says that this site gave up"),
    "the server says that it never asked": (
        bend(3, admitted=[], refused={}), "never asked this site"),
    "the server dropped a round": (lambda r: r.pop(), "no such round"),
    "the server refused it, which is its right": (
        bend(3, admitted=[], refused={"site-a": 304}), None),
}  # fmt: skip


@pytest.mark.parametrize(("lie", "message"), LIES.values(), ids=LIES.keys())
def test_stories_that_differ(both, lie, message) -> None:
    site, rounds = both
    lie(rounds)
    found = differences(site, rounds)
    assert any(message in line for line in found) if message else found == []


def test_other_runs_are_no_matter(both) -> None:
    site, _ = both
    assert differences(site, [], run="run-2") == []


def test_record_of_the_real_server_is_read(tmp_path) -> None:
    from fl_server.round_state import RoundSummary, RunState, save_state

    summary = RoundSummary(
        round=1, purpose="finetuning", admitted=("site-a",), attestations={"site-a": "f" * 64},
        refused={"site-b": 204}, has_quorum=True, weights=(), bytes_received={}, model_in="1" * 64,
        model_out="2" * 64, seconds=1.5,
    )  # fmt: skip
    save_state(tmp_path, RunState(run_id="r", summaries=(summary,)))
    record = read_server_record(tmp_path / "run.json")
    assert record.summaries[0].refused == {"site-b": 204}
    (tmp_path / "run.json").write_text(json.dumps({"run_id": 5}))
    with pytest.raises(MalformedError):
        read_server_record(tmp_path / "run.json")
