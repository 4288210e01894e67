"""The stories of a site, typed by a machine: every command, and what it prints."""

import pytest

from tests.integration.story import DOCS, SITE_PAGE, commands, outputs, run, shape


@pytest.mark.slow
@pytest.mark.deployment
def test_story_of_a_site_can_be_typed_and_prints_what_the_page_says(tmp_path) -> None:
    page = SITE_PAGE.read_text()
    printed = run(commands(page), tmp_path)
    for command, want, got in zip(commands(page), outputs(page), printed, strict=True):
        assert shape(got) == shape(want), command
    for planted in ("staff 0417", "staff 0731", "staff 1290"):
        assert not [p for p in (tmp_path / "clinic").rglob("*") if holds(p, planted)]


def holds(path, text):
    return path.is_file() and text.encode() in path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ingest", "training", "use"])
def test_shorter_stories_print_what_their_pages_say(tmp_path, name) -> None:
    page = (DOCS / f"{name}.md").read_text()
    printed = run(commands(page), tmp_path)
    for command, want, got in zip(commands(page), outputs(page), printed, strict=True):
        assert shape(got) == shape(want), command
