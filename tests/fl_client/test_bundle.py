"""Which app bundle may run at a site: the pinned one, and none with code."""

import hashlib
import io
import json
import zipfile

import pytest

from fl_client.bundle import App, check_bundle
from fl_client.errors import NodeError

PROJECT = """\
[project]
name = "omote"
version = "0.1.0"
[tool.flwr.app]
publisher = "omote"
[tool.flwr.app.components]
clientapp = "{app}"
"""
GOOD = {"pyproject.toml": PROJECT.format(app="fl_client.app:app"), "README.md": "hello"}


def bundle(files, twice=()):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as f:
        for name, text in [*files.items(), (".info/CONTENT", ""), *twice]:
            f.writestr(name, text)
    return out.getvalue()


def digest(content):
    return hashlib.sha256(content).hexdigest()


def told(content, **changes):
    return App(**{"fab_id": "omote/omote", "version": "0.1.0", "sha256": digest(content)} | changes)


def test_the_pinned_bundle_runs() -> None:
    good = bundle(GOOD)
    check_bundle(good, digest(good), told(good))


def test_another_bundle_does_not_even_if_it_is_harmless() -> None:
    good, other = bundle(GOOD), bundle({**GOOD, "README.md": "hello!"})
    with pytest.raises(NodeError, match="expected the pinned bundle"):
        check_bundle(other, digest(good), told(other))


EVIL = {
    "code beside the project": {**GOOD, "fl_client/app.py": "import os"},
    "code that Python runs at start": {**GOOD, "sitecustomize.py": "import os"},
    "data": {**GOOD, "settings.json": "{}"},
    "another app of ours": {"pyproject.toml": PROJECT.format(app="fl_server.app:app")},
    "an app of anybody's": {"pyproject.toml": PROJECT.format(app="os:system")},
    "no app": {"pyproject.toml": '[project]\nname = "omote"'},
    "no project": {"README.md": "hello"},
    "a project that is no TOML": {"pyproject.toml": "[["},
}


@pytest.mark.parametrize("files", EVIL.values(), ids=EVIL.keys())
def test_a_bundle_with_code_is_refused_even_if_it_was_pinned(files) -> None:
    content = bundle(files)
    with pytest.raises(NodeError):
        check_bundle(content, digest(content), told(content))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_stands_twice_is_refused() -> None:
    evil = PROJECT.format(app="os:system")
    content = bundle(GOOD, twice=[("pyproject.toml", evil)])
    with pytest.raises(NodeError, match="twice"):
        check_bundle(content, digest(content), told(content))


TOLD = {
    "another name": {"fab_id": "omote/../../x"},
    "another version": {"version": "1/../../../x"},
    "another digest": {"sha256": "0" * 64},
}


@pytest.mark.parametrize("change", TOLD.values(), ids=TOLD.keys())
def test_what_the_server_says_of_a_bundle_must_be_in_it(change) -> None:
    good = bundle(GOOD)
    with pytest.raises(NodeError):
        check_bundle(good, digest(good), told(good, **change))


def test_the_pin_sees_what_flower_sees(tmp_path) -> None:
    """The names of Flower that the pin replaces are there, and it stands in their place."""
    from flwr.supercore.fab import Fab
    from flwr.supercore.run import Run

    from fl_client.pinned_node import Pin

    good = bundle(GOOD)
    evil = bundle({**GOOD, "evil.py": "import os"})
    run = Run.create_empty(1)
    pin = Pin(digest(good), tmp_path / "bundle.json")
    for content, is_admitted in ((good, True), (evil, False)):
        run.fab_id, run.fab_version, run.fab_hash = "omote/omote", "0.1.0", digest(content)
        assert pin.seeing_runs(lambda _: run)(1) is run
        fab = Fab(digest(content), content, {})
        got = pin.seeing_bundles(lambda *_, fab=fab: fab)(fab.hash_str, 1)
        assert got.verifications["valid_license"]  # else Flower would not ask
        assert pin.verify(got, {}) is is_admitted
        noted = json.loads((tmp_path / "bundle.json").read_text())
        assert (noted["sha256"], noted["admitted"]) == (digest(content), is_admitted)
    assert not pin.verify(Fab(digest(good), good, {}), {})  # of no run that was seen
