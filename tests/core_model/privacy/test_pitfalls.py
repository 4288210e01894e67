"""The table of pitfalls in docs/privacy.md names tests; each must be there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def rows():
    lines = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("| pitfall | how it is stopped | test |")
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def tests():
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    return found


def test_every_pitfall_names_tests_that_there_are() -> None:
    there = tests()
    table = rows()
    assert len(table) >= 15
    for pitfall, stopped, named in table:
        names = re.findall(r"`(test_\w+)`", named)
        assert names, pitfall
        assert stopped, pitfall
        assert set(names) <= there, (pitfall, sorted(set(names) - there))
