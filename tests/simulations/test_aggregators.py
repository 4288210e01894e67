"""The comparison of ways to join updates, in miniature: real sites, one of which is too loud."""

import pytest
from typer.testing import CliRunner

from simulations.aggregators import cell
from simulations.cli import app

SMALL = {
    "rounds": 1, "public_people": 3, "public_epochs": 1, "epochs": 1, "frames": 3, "people": 2,
}  # fmt: skip


def never(*_):
    raise AssertionError("a finished run was run again")


@pytest.mark.slow
def test_every_run_is_kept_and_stands_in_the_table(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cell, "SETTINGS", ("scaled",))
    monkeypatch.setattr(cell, "WAYS", ("mean", "median"))
    monkeypatch.setattr(cell, "TEST_PEOPLE", 3)
    effort = cell.Effort
    monkeypatch.setattr(cell, "Effort", lambda **given: effort(**SMALL | given))
    table = tmp_path / "table.md"
    words = ["aggregators", "--rounds", "1", "--out", str(tmp_path / "out"),
             "--cache", str(tmp_path / "cache"), "--table", str(table)]  # fmt: skip
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    kept = [cell.CellResult.model_validate_json(p.read_text())
            for p in sorted((tmp_path / "out").glob("scaled-*.json"))]  # fmt: skip
    assert [(r.setting, r.way) for r in kept] == [("scaled", "mean"), ("scaled", "median")]
    assert all(0 <= r.auc <= 1 and r.honest_norm > 0 for r in kept)
    assert kept[0].honest_norm == kept[1].honest_norm  # equal sites, equal seeds
    assert all(f"| {r.way} |" in table.read_text() and f"{r.auc:.3f}" in table.read_text()
               for r in kept)  # fmt: skip
    monkeypatch.setattr(cell, "run_cell", never)
    again = CliRunner().invoke(app, words)
    assert (again.exit_code, again.output) == (0, first.output)
