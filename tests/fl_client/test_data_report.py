"""The data report of a site that ingested BP4D's fixture: figures are those that were written."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from consent.model import Purpose
from fl_client.cli import app
from fl_client.data_report import measure_site
from fl_client.ingest.formats import Details, Format, find
from fl_client.site import open_site
from tests.fixtures.data_sets import write_bp4d
from tests.fixtures.sites import found_site, ingest_all, opened

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    from core_model.data.face import FaceDetector

    root = tmp_path_factory.mktemp("report")
    data = write_bp4d(root / "data", root / "cache")
    site = found_site(root / "site", data.subjects, (1, 6, 12))
    ingest_all(opened(site, FaceDetector()), find(Format.BP4D, data.root, Details()), "bp4d-")
    return data, site


def test_figures_equal_what_was_written(ingested) -> None:
    data, site = ingested
    report = measure_site(open_site(site.config))
    assert (report.people, report.recordings) == (3, 6)
    assert report.frames == sum(data.frames.values()) == report.measured_pose == report.examined
    for figures in report.action_units:
        known = sum(k[figures.au] for k in data.known.values())
        present = sum(p[figures.au] for p in data.present.values())
        assert (figures.known, figures.base_rate) == (known, pytest.approx(present / known))
    assert report.yaw["frontal"] > 0.5
    assert any("More people before more frames" in text for text in report.advice)


def test_the_command_writes_a_page_that_loads_nothing_and_names_nobody(ingested, tmp_path) -> None:
    data, site = ingested
    words = ["data", "report", "--site", str(site.config), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "out" / "data.html").read_text()
    figures = json.loads((tmp_path / "out" / "data.json").read_text())
    assert figures["people"] == 3
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)=["']?https?:|url\(https?:""", page)
    assert "<script" not in page
    for subject in data.subjects:
        assert subject not in page + json.dumps(figures) + done.output


def test_who_agrees_to_nothing_is_not_measured(ingested) -> None:
    data, site = ingested
    site.withdraw("bp4d-F002", list(Purpose))
    report = measure_site(open_site(site.config))
    assert (report.people, report.people_left_out) == (2, 1)
    assert report.frames == sum(n for name, n in data.frames.items() if "F002" not in name)
