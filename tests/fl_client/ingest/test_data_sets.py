"""Data sets in their true layouts are ingested to the frame, and train two rounds."""

from __future__ import annotations

import dataclasses

import pytest

from core_model.action_units import DISFA_8
from core_model.config import EncoderConfig
from core_model.data.frames import FrameDataset
from core_model.data.labels import read_labels
from core_model.data.recordings import read_recordings
from fl_client.ingest.formats import Details, Format, find, prefix_of
from fl_client.site import open_site
from fl_server.config import FederationConfig, Stage
from simulations.loop import run_local, run_plain, write_initial
from tests.federation import FINETUNING
from tests.fixtures.data_sets import FRAMES, write_fmae
from tests.fixtures.sites import SIZE, found_site, ingest_all, opened

TRAINED = {"bp4d": (1, 6, 12), "bp4d_plus": (1, 6, 12), "disfa": DISFA_8}


@pytest.fixture(scope="module", params=TRAINED)
def ingested(request, written, detector, tmp_path_factory):
    data, form = written(request.param), Format(request.param)
    folder = tmp_path_factory.mktemp("site")
    site = found_site(folder, data.subjects, TRAINED[request.param])
    found = find(form, data.root, Details())
    summary = ingest_all(opened(site, detector), found, prefix_of(form, Details()))
    return data, site, summary


def test_counts_equal_what_was_written_to_the_frame(ingested) -> None:
    data, site, summary = ingested
    assert not summary.skipped
    assert {r.recording_id: r.counts.cropped for r in summary.done} == data.frames
    assert {r.recording_id: r.counts.unlabelled for r in summary.done} == data.uncoded
    assert summary.counts.no_face == summary.counts.no_frame == summary.counts.several_faces == 0
    recordings = {r.recording_id: r for r in open_site(site.config).recordings}
    assert set(recordings) == set(data.frames)
    for name, recording in recordings.items():
        assert recording.labels is not None
        occurs, known = read_labels(recording.labels).occurrence(data.aus)
        assert dict(zip(data.aus, occurs.sum(axis=0), strict=True)) == data.present[name]
        assert dict(zip(data.aus, known.sum(axis=0), strict=True)) == data.known[name]


def test_a_data_set_reads_from_the_cache_alone(ingested) -> None:
    data, site, _ = ingested
    opened_site = open_site(site.config)
    dataset = FrameDataset(opened_site.recordings, SIZE, data.aus, source=opened_site.frames)
    assert len(dataset) == sum(data.frames.values())
    assert dataset.labelled_frames() == {
        au: sum(known[au] for known in data.known.values()) for au in data.aus
    }
    images = dataset[dataset.identities.new_tensor([0])].images
    assert images.std() > 0.05  # a face, not a blank
    pictures = {".png", ".jpg", ".jpeg"}
    assert not [p for p in site.folder.rglob("*") if p.suffix in pictures]


def test_a_second_run_has_nothing_to_do(ingested, detector) -> None:
    data, site, _ = ingested
    name = next(iter(data.frames)).split("-")[0]
    work = opened(site, detector)
    stamps = {p: p.stat().st_mtime_ns for p in work.place.folder.glob("crops/*")}
    summary = ingest_all(work, find(Format(name), data.root, Details()), f"{name}-")
    assert not summary.done
    assert len(summary.before) == len(data.frames)
    assert {p: p.stat().st_mtime_ns for p in work.place.folder.glob("crops/*")} == stamps


def test_two_rounds_are_trained_in_the_loop_and_through_flower(ingested, tmp_path) -> None:
    _, site, _ = ingested
    aus = site.labelled_aus
    encoder = EncoderConfig(image_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)
    initial = tmp_path / "initial.safetensors"
    write_initial(initial, encoder, aus, seed=7)
    config = FederationConfig(
        run_id="ingested", seed=3, action_units=aus, initial=initial, output=tmp_path / "plain",
        stages=(Stage(rounds=2, training=FINETUNING),), sites=(site.enrolment(),), timeout_s=300.0,
    )  # fmt: skip
    told = []
    run_plain(config, {site.site_id: site}, told.append)
    other = {**config.model_dump(), "run_id": "by-flower", "output": tmp_path / "flower"}
    run_local(FederationConfig.model_validate(other), {site.site_id: site}, told.append)
    assert [(s.round, len(s.admitted), s.refused) for s in told] == [(1, 1, {}), (2, 1, {})] * 2


def test_fmaes_label_file_gives_the_same_frames(written, detector, tmp_path) -> None:
    data = written("bp4d")
    labels = write_fmae(tmp_path / "fmae", data)
    site = found_site(tmp_path / "site", ("bp4d-F001", "bp4d-F002"), (1, 6, 12))
    details = Details(labels=labels)
    found = find(Format.FMAE, tmp_path / "fmae", details)
    summary = ingest_all(opened(site, detector), found, prefix_of(Format.FMAE, details))
    assert len(summary.done) == 4
    assert summary.counts.cropped == summary.counts.labelled == 4 * FRAMES
    recordings = read_recordings(site.folder / "data" / "recordings.csv")
    present = {
        r.recording_id: read_labels(r.labels).occurrence(data.aus)[0].sum() for r in recordings
    }
    assert present["bp4d-2F01_T2"] == sum(data.present["bp4d-F001-T2"].values())


def test_the_other_camera_is_another_recording(written, detector, tmp_path) -> None:
    data = written("disfa")
    site = found_site(tmp_path / "site", data.subjects, DISFA_8)
    work = opened(site, detector)
    for camera in ("right", "left"):
        found = find(Format.DISFA, data.root, dataclasses.replace(Details(), camera=camera))
        assert len(ingest_all(work, found, "disfa-").done) == 3
    assert len(work.place.read()) == 6
