"""The story of docs/consent.md, typed by a machine: every command, and what it prints."""

import pytest

from tests.integration.story import PAGE, commands, outputs, run, shape


@pytest.mark.slow
def test_story_can_be_typed_and_prints_what_the_page_says(tmp_path) -> None:
    page = PAGE.read_text()
    printed = run(commands(page), tmp_path)
    for command, want, got in zip(commands(page), outputs(page), printed, strict=True):
        assert shape(got) == shape(want), command
    everything = b"".join(
        path.read_bytes()
        for path in [*(tmp_path / "auditor").iterdir(), *tmp_path.rglob("audit.*")]
    )
    for planted in (b"staff 0417", b"staff 0731", b"staff 1290"):
        assert planted not in everything
    for file in ("anna", "ben", "cleo"):
        subject_id = (tmp_path / "clinic" / file).read_bytes().strip()
        assert subject_id not in (tmp_path / "auditor" / "evidence.tar").read_bytes()
