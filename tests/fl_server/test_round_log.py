"""The log of rounds: what it promises, and that no lie about it passes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent import merkle
from consent.envelope import canonical_json
from consent.keys import SigningKey
from consent.note import TreeHead, sign_tree_head
from core_model.protocol.messages import RefusalCode
from fl_server.coordinator import Coordinator
from fl_server.errors import RoundLogError
from fl_server.round_log import ENTRIES, HEAD, RoundLog, entry_of, read_log, verify_log
from fl_server.round_state import BranchPoint, RoundSummary
from simulations.loop import run_plain
from tests.federation import write_federation, write_sites

KEY = SigningKey.from_seed("pilot/round-log", b"k" * 32)


def model(number: int) -> str:
    return f"{number:064x}"


def summary(number: int, **changes: object) -> RoundSummary:
    fields = {
        "round": number,
        "purpose": "finetuning",
        "admitted": ("site-a",),
        "attestations": {"site-a": model(number + 1000)},
        "tree_heads": {"site-a": "3 AAAA"},
        "refused": {"site-b": RefusalCode.CONSENT_CHANGED},
        "has_quorum": True,
        "weights": (),
        "bytes_received": {},
        "model_in": model(number),
        "model_out": model(number + 1),
        "plan": model(7),
        "config": model(8),
        "ended_at": 1_790_000_000 + number,
        "seconds": 1.5,
    }
    return RoundSummary.model_validate({**fields, **changes})


def summaries(num: int) -> list[RoundSummary]:
    return [summary(number) for number in range(1, num + 1)]


def test_a_run_is_logged_and_read_back(tmp_path) -> None:
    log = RoundLog(tmp_path, KEY)
    log.catch_up("run-1", summaries(2))
    RoundLog(tmp_path, KEY).catch_up("run-1", summaries(5))  # another process goes on
    RoundLog(tmp_path, KEY).catch_up("run-2", summaries(1))
    found = read_log(tmp_path, KEY.verifier)
    assert [(e.run_id, e.round) for e in found.entries] == [
        *(("run-1", n) for n in range(1, 6)), ("run-2", 1),
    ]  # fmt: skip
    assert found.entries[0].refused == {"site-b": RefusalCode.CONSENT_CHANGED}
    assert (found.head.origin, found.head.size) == ("pilot/round-log", 6)


def test_logging_twice_adds_nothing(tmp_path) -> None:
    log = RoundLog(tmp_path, KEY)
    log.catch_up("run-1", summaries(3))
    log.catch_up("run-1", summaries(3))
    assert read_log(tmp_path, KEY.verifier).head.size == 3


@given(st.integers(1, 40), st.integers(0, 100), st.data())
def test_no_changed_byte_of_the_entries_passes(num, at, data) -> None:
    lines = b"".join(line + b"\n" for line in entry_lines(num))
    head = head_of(num)
    position = data.draw(st.integers(0, len(lines) - 1))
    changed = bytearray(lines)
    changed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RoundLogError):
        verify_log(head, bytes(changed), KEY.verifier)
    assert len(verify_log(head, lines, KEY.verifier).entries) == num


def entry_lines(num: int) -> list[bytes]:
    return [entry_of("run-1", s).line() for s in summaries(num)]


def head_of(num: int, lines: list[bytes] | None = None, key: SigningKey = KEY) -> str:
    leaves = merkle.leaf_hashes(entry_lines(num) if lines is None else lines)
    root = merkle.root(merkle.tree_of(leaves), len(leaves))
    return sign_tree_head(TreeHead(key.name, len(leaves), root), key)


def bend(lines: list[bytes], at: int, **changes: object) -> list[bytes]:
    bent = [json.loads(line) for line in lines]
    bent[at].update(changes)
    return [canonical_json(entry) for entry in bent]


LIES = {
    "a round is left out": lambda lines: lines[:1] + lines[2:],
    "a round stands twice": lambda lines: [*lines[:2], *lines[1:]],
    "two rounds are swapped": lambda lines: [lines[0], lines[2], lines[1], lines[3]],
    "a model from nowhere": lambda lines: bend(lines, 2, model_in="f" * 64),
    "a model that changed without a quorum": lambda lines: bend(lines, 1, has_quorum=False),
    "a refusal that does not exist": lambda lines: bend(lines, 1, refused={"site-b": 7}),
    "a field too many": lambda lines: bend(lines, 1, note="x"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_what_the_server_itself_signs_must_follow(lie) -> None:
    lines = lie(entry_lines(4))
    data = b"".join(line + b"\n" for line in lines)
    with pytest.raises(RoundLogError, match="entry"):
        verify_log(head_of(0, lines), data, KEY.verifier)


def test_a_head_by_another_key_or_of_more_entries_is_refused(tmp_path) -> None:
    data = b"".join(line + b"\n" for line in entry_lines(3))
    other = SigningKey.from_seed("pilot/round-log", b"o" * 32)
    with pytest.raises(RoundLogError, match="not signed"):
        verify_log(head_of(3, key=other), data, KEY.verifier)
    with pytest.raises(RoundLogError, match="expected 4 entries"):
        verify_log(head_of(4), data, KEY.verifier)


@pytest.mark.parametrize("tail", [b'{"v":1', b'{"v":1}\n', b"\x00" * 40])
def test_what_a_crash_left_behind_the_head_is_written_again(tmp_path, tail) -> None:
    RoundLog(tmp_path, KEY).catch_up("run-1", summaries(2))
    with (tmp_path / ENTRIES).open("ab") as f:
        f.write(tail)
    assert len(read_log(tmp_path, KEY.verifier).entries) == 2
    RoundLog(tmp_path, KEY).catch_up("run-1", summaries(3))
    assert len(read_log(tmp_path, KEY.verifier).entries) == 3


def test_a_crash_in_the_first_append_is_no_fault(tmp_path) -> None:
    tmp_path.joinpath(ENTRIES).write_bytes(entry_lines(1)[0] + b"\n")
    RoundLog(tmp_path, KEY).catch_up("run-1", summaries(1))
    assert len(read_log(tmp_path, KEY.verifier).entries) == 1


def test_a_head_that_was_taken_away_is_noticed(tmp_path) -> None:
    RoundLog(tmp_path, KEY).catch_up("run-1", summaries(3))
    (tmp_path / HEAD).unlink()
    with pytest.raises(RoundLogError, match="is missing"):
        RoundLog(tmp_path, KEY)


RESTORED = {
    "an older copy": summaries(2),
    "another story": [summary(1), summary(2, model_out=model(9)), summary(3)],
    "nothing at all": [],
}


@pytest.mark.parametrize("state", RESTORED.values(), ids=RESTORED.keys())
def test_a_run_that_was_restored_from_a_backup_is_not_logged_over(tmp_path, state) -> None:
    RoundLog(tmp_path, KEY).catch_up("run-1", summaries(3))
    with pytest.raises(RoundLogError, match="restored from a backup"):
        RoundLog(tmp_path, KEY).catch_up("run-1", state)


def test_a_real_run_is_logged_whole(tmp_path) -> None:
    folders = write_sites(tmp_path)
    config = write_federation(tmp_path, folders)
    log = RoundLog(tmp_path / "log", KEY)
    coordinator = run_plain(config, folders)
    log.catch_up(config.run_id, coordinator.summaries)
    entries = read_log(tmp_path / "log", KEY.verifier).entries
    assert [tuple(e.admitted) for e in entries] == [("site-a", "site-b")] * 3
    assert len({e.config for e in entries}) == 1
    assert len({e.plan for e in entries}) == 3
    sizes = [int(e.tree_heads["site-a"].split()[0]) for e in entries]
    assert sizes == sorted(set(sizes))  # each round adds to the site's own log
    assert entries[-1].model_out == Coordinator(config).summaries[-1].model_out


WRONG_BRANCHES = {
    "from a round that is not logged": ("run-1", 3),
    "from a run that is not logged": ("run-0", 2),
    "from another model than it had": ("run-1", 1),
}


@pytest.mark.parametrize(("run_id", "at"), WRONG_BRANCHES.values(), ids=WRONG_BRANCHES.keys())
def test_a_branch_must_follow_from_the_round_that_it_names(tmp_path, run_id, at) -> None:
    log = RoundLog(tmp_path, KEY)
    log.catch_up("run-1", summaries(2))
    branch = BranchPoint(run_id=run_id, round=at)
    told = [*summaries(at), summary(at + 1, model_in=model(77))]
    log.catch_up("run-2", told, branch)
    with pytest.raises(RoundLogError, match="entry 2"):
        read_log(tmp_path, KEY.verifier)


def test_lines_of_before_there_were_branches_are_as_they_were(tmp_path) -> None:
    RoundLog(tmp_path, KEY).catch_up("run-1", summaries(1))
    assert b"branch" not in (tmp_path / ENTRIES).read_bytes()
