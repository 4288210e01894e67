"""The table of admission in docs/server.md is the code's list; each refusal is told three times."""

import re
from pathlib import Path

import pytest

from core_model.protocol.messages import RefusalCode
from fl_server.monitoring import RoundMetrics
from fl_server.refusals import EXPLAINED
from fl_server.round_log import entry_of
from tests.fl_server.test_round_log import summary

PAGE = Path(__file__).parents[2] / "docs" / "server.md"
OF_THE_SERVER = [code for code in RefusalCode if code >= 300]


def test_the_table_is_the_list_of_the_code() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## Admission")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if re.match(r"\| (\d+|sum) \|", line)]
    steps = [int(s) for s in re.findall(r"(?m)^\| (\d+) \|", table)]
    assert steps == list(range(1, len(steps) + 1))
    told = [(n, int(c)) for row in rows for n, c in re.findall(r"`([A-Z_]+)` (\d+)", row)]
    assert sorted(told) == sorted((c.name, int(c)) for c in OF_THE_SERVER)


def metrics(told):
    samples = [s for m in RoundMetrics(lambda: (told,), dict).collect() for s in m.samples]
    return {(s.name, *s.labels.values()): s.value for s in samples}


@pytest.mark.parametrize("code", RefusalCode, ids=lambda c: c.name)
def test_each_refusal_has_an_entry_a_metric_and_words(code) -> None:
    told = summary(1, refused={"site-b": code})
    assert f'"refused":{{"site-b":{int(code)}}}'.encode() in entry_of("run-1", told).line()
    assert metrics(told)["omote_updates_refused_total", "site-b", code.name] == 1
    assert EXPLAINED[code.name]


@pytest.mark.parametrize("code", [RefusalCode.TOO_FEW_LEFT, RefusalCode.WRONG_SUM])
def test_sum_that_is_lost_has_them_too(code) -> None:
    told = summary(1, sum_lost=code, has_quorum=False, model_out=summary(1).model_in)
    assert f'"sum_lost":{int(code)}'.encode() in entry_of("run-1", told).line()
    assert metrics(told)["omote_sums_lost_total", code.name] == 1
    assert b"sum_lost" not in entry_of("run-1", summary(1)).line()
