"""The ledger under crashes, tampering and old copies: it may make people poorer, never richer."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_model.privacy.accounting import Kind, Spend, rdp_epsilon
from core_model.privacy.ledger import Ledger, Occasion
from core_model.privacy.ledger_lines import LedgerError, Noise, digest_of, ranges

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOISE = Noise(
    unit="subject", noise_multiplier=2.0, sampling_rate=0.25, frames_per_subject=4,
    clip_norm=1.0, denominator=8.0, delta=1e-5,
)  # fmt: skip
KIND = Kind(2.0, 0.25)
OCCASION = Occasion("run", 1, "finetuning", NOISE, "a" * 64, "b" * 64)
UNPROTECTED = Occasion("run", 1, "finetuning", None, "a" * 64, "b" * 64)
PEOPLE = ["anna", "ben", "cleo"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "privacy-ledger.jsonl"


def open_ledger(path):
    return Ledger(path, "site-a")


def charged(path, times=3):
    ledger = open_ledger(path)
    for n in range(times):
        ledger.charge(OCCASION, PEOPLE, n, 1, NOW)
    return ledger


def epsilon(steps):
    return rdp_epsilon([Spend(KIND, steps)], 1e-5)


def test_charges_add_up_by_person_and_survive_a_restart(path) -> None:
    ledger = charged(path)
    ledger.charge(OCCASION, ["cleo", "dora"], 3, 5, NOW)
    for again in (ledger, open_ledger(path)):
        found = again.epsilons(["anna", "cleo", "dora", "never-charged"], 1e-5)
        assert found == pytest.approx([epsilon(3), epsilon(8), epsilon(5), 0])
        assert again.epsilons(None, 1e-5) == pytest.approx([epsilon(n) for n in (3, 3, 8, 5)])
        assert sum(steps for _, steps in again.spends()) == 8
        assert (again.num_people, again.delta, len(again.lines())) == (4, 1e-5, 5)


def test_planned_steps_are_projected_and_not_charged(path) -> None:
    ledger = charged(path)
    want = pytest.approx([epsilon(13), epsilon(10)])
    assert ledger.epsilons(["anna", "dora"], 1e-5, Spend(KIND, 10)) == want
    other = Spend(Kind(3.0, 0.5), 10)
    both = rdp_epsilon([Spend(KIND, 3), other], 1e-5)
    assert ledger.epsilons(["anna"], 1e-5, other) == pytest.approx([both])
    assert ledger.epsilons(["anna"], 1e-5) == pytest.approx([epsilon(3)])


def test_training_without_noise_costs_everything(path) -> None:
    ledger = charged(path)
    ledger.charge(UNPROTECTED, ["ben"], 0, 1, NOW)
    assert ledger.epsilons(["anna", "ben"], 1e-5) == pytest.approx([epsilon(3), np.inf])


def test_a_promise_about_frames_is_none_about_people(path) -> None:
    ledger = open_ledger(path)
    frames = Occasion("r", 1, "finetuning", NOISE.model_copy(update={"unit": "frame"}), "a" * 64,
                      "b" * 64)  # fmt: skip
    ledger.charge(frames, ["anna"], 0, 1, NOW)
    assert ledger.epsilons(["anna"], 1e-5)[0] == np.inf
    assert ledger.spends() == (Spend(KIND, 1),)


def test_no_person_stands_in_the_file_and_only_the_owner_reads_it(path) -> None:
    charged(path)
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
        assert not any(person.encode() in file.read_bytes() for person in PEOPLE)
    line = json.loads(path.read_bytes().splitlines()[2])
    assert (line["pool"], line["joined"], line["step_from"]) == ([[0, 2]], [], 1)


# --- crashes ---------------------------------------------------------------------------------


def test_crash_anywhere_in_a_write(path, monkeypatch) -> None:
    """What was acknowledged is there; what was not may be there or not, but never half."""
    ledger = charged(path, 1)
    before = path.read_bytes()
    ledger.charge(OCCASION, [*PEOPLE, "dora"], 1, 7, NOW)
    line = path.read_bytes()[len(before) :]
    real = os.pwrite
    for written in (*range(0, len(line), 7), len(line) - 1, len(line)):
        path.write_bytes(before)
        fresh = open_ledger(path)

        def crash(handle, data, offset, written=written):
            real(handle, data[:written], offset)
            raise OSError("the machine stops")

        monkeypatch.setattr(os, "pwrite", crash)
        with pytest.raises(OSError, match="stops"):
            fresh.charge(OCCASION, [*PEOPLE, "dora"], 1, 7, NOW)
        monkeypatch.setattr(os, "pwrite", real)
        again = open_ledger(path)
        is_whole = written == len(line)
        assert again.epsilons(["anna"], 1e-5) == pytest.approx([epsilon(8 if is_whole else 1)])
        again.charge(OCCASION, PEOPLE, 1, 1, NOW)  # and it goes on from there
        assert len(open_ledger(path).lines()) == (4 if is_whole else 3)


def test_crash_before_the_sync_is_no_charge_that_anyone_may_rely_on(path, monkeypatch) -> None:
    ledger = charged(path, 1)

    def fail(handle):
        raise OSError("the disk stops")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="stops"):
        ledger.charge(OCCASION, PEOPLE, 1, 1, NOW)
    monkeypatch.undo()
    assert open_ledger(path).epsilons(["anna"], 1e-5)[0] >= epsilon(1)


def test_disk_that_takes_half_a_line_stops_the_step(path, monkeypatch) -> None:
    ledger = charged(path, 1)
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda h, data, at: real(h, data[:40], at))
    with pytest.raises(OSError, match="full"):
        ledger.charge(OCCASION, PEOPLE, 1, 1, NOW)
    monkeypatch.undo()
    ledger.charge(OCCASION, PEOPLE, 1, 1, NOW)
    assert open_ledger(path).epsilons(["anna"], 1e-5) == pytest.approx([epsilon(2)])


CHILD = """
import sys
from pathlib import Path
from tests.core_model.privacy.test_ledger import NOW, OCCASION, PEOPLE, open_ledger
ledger = open_ledger(Path(sys.argv[1]))
for n in range(10**6):
    ledger.charge(OCCASION, PEOPLE, n, 1, NOW)
    print(n + 1, flush=True)
"""


@pytest.mark.parametrize("charges", [1, 7, 40])
def test_killed_process_loses_no_acknowledged_charge(path, charges) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True
    ) as child:
        for line in child.stdout:
            if int(line) >= charges:
                break
        child.send_signal(signal.SIGKILL)
        acknowledged = [int(rest) for rest in child.stdout.read().split()] or [charges]
    ledger = open_ledger(path)
    written = sum(steps for _, steps in ledger.spends())
    assert acknowledged[-1] <= written <= acknowledged[-1] + 1


def test_two_processes_share_one_ledger(path) -> None:
    first, second = open_ledger(path), open_ledger(path)
    first.charge(OCCASION, ["anna"], 0, 1, NOW)
    second.charge(OCCASION, ["ben", "anna"], 0, 1, NOW)
    first.charge(OCCASION, ["ben"], 1, 1, NOW)
    for ledger in (first, second, open_ledger(path)):
        assert ledger.epsilons(["anna", "ben"], 1e-5) == pytest.approx([epsilon(2)] * 2)


# --- tampering -------------------------------------------------------------------------------


def edit_less_steps(lines):
    return [*lines[:2], lines[2].replace(b'"steps":1', b'"steps":0'), lines[3]]


def edit_more_noise(lines):
    return [lines[0], lines[1].replace(b'"noise_multiplier":2.0', b'"noise_multiplier":9.0'),
            *lines[2:]]  # fmt: skip


def edit_smaller_pool(lines):
    return [*lines[:2], lines[2].replace(b'"pool":[[0,2]]', b'"pool":[[0,1]]'), lines[3]]


def edit_chain_too(lines):
    """Someone who knows the format, but changes only one line after it."""
    changed = lines[1].replace(b'"steps":1', b'"steps":2')
    old, new = digest_of(lines[1]).encode(), digest_of(changed).encode()
    return [lines[0], changed, lines[2].replace(old, new), lines[3]]


TAMPERED = {
    "fewer steps": edit_less_steps,
    "more noise": edit_more_noise,
    "fewer people": edit_smaller_pool,
    "the chain mended for one line": edit_chain_too,
    "a line taken out": lambda lines: [lines[0], lines[1], lines[3]],
    "the first charge taken out": lambda lines: [lines[0], *lines[2:]],
    "two lines swapped": lambda lines: [lines[0], lines[2], lines[1], lines[3]],
    "a line twice": lambda lines: [*lines, lines[3]],
    "another spelling": lambda lines: [*lines[:3], lines[3].replace(b":", b": ", 1)],
    "an unknown field": lambda lines: [*lines[:3], lines[3].replace(b'{"at"', b'{"a":1,"at"')],
    "no opening": lambda lines: lines[1:],
    "garbage": lambda lines: [*lines, b"\0" * 40 + b"\n"],
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED.keys())
def test_tampered_ledger_is_refused(path, tamper) -> None:
    charged(path)
    lines = path.read_bytes().splitlines(keepends=True)
    changed = tamper(lines)
    assert changed != lines
    path.write_bytes(b"".join(changed))
    with pytest.raises(LedgerError):
        open_ledger(path)


def test_ledger_of_another_site_or_with_another_key_is_refused(path) -> None:
    charged(path)
    with pytest.raises(LedgerError, match="not the privacy ledger of site-b"):
        Ledger(path, "site-b")
    key = path.with_suffix(".key")
    key.write_bytes(bytes(32))
    with pytest.raises(LedgerError, match="restore both files"):
        open_ledger(path)
    key.unlink()
    with pytest.raises(LedgerError, match="restore it from the backup"):
        open_ledger(path)


def test_ledger_that_shrinks_or_goes_while_open_is_refused(path) -> None:
    ledger = charged(path)
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    with pytest.raises(LedgerError, match="shortened"):
        ledger.charge(OCCASION, PEOPLE, 3, 1, NOW)
    path.write_bytes(whole)
    path.unlink()
    with pytest.raises(LedgerError, match="gone"):
        ledger.epsilons(PEOPLE, 1e-5)


def test_filter_over_10_000_people_takes_less_than_50_ms(path) -> None:
    people = [f"subject-{n:05d}" for n in range(10_000)]
    ledger = open_ledger(path)
    for n in range(4):
        ledger.charge(OCCASION, people[n * 1000 :], n, 1, NOW)
    ledger.epsilons(people, 1e-5)
    started = time.process_time()
    found = ledger.epsilons(people, 1e-5, Spend(KIND, 20))
    assert time.process_time() - started < 0.05
    assert found[[0, 1500, 9999]] == pytest.approx([epsilon(n) for n in (21, 22, 24)])
    assert len(path.read_bytes().splitlines()[2]) < 1000  # ranges, not people


@given(st.sets(st.integers(0, 60)))
@settings(max_examples=50)
def test_ranges_hold_just_these_numbers(numbers) -> None:
    found = ranges(numbers)
    assert [n for first, last in found for n in range(first, last + 1)] == sorted(numbers)
    assert all(b[0] > a[1] + 1 for a, b in itertools.pairwise(found))
