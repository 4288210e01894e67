"""What goes wrong with data, each by name: a recording is whole afterwards or absent."""

from __future__ import annotations

import importlib
import resource
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from consent.model import Purpose, Role, Span
from consent.site_events import AssetEnded, AssetLinked
from core_model.data import bp4d, people_folder
from core_model.data.face import RECIPES
from core_model.data.frames import FrameDataset
from core_model.data.recordings import read_recordings
from fl_client import crop_cache
from fl_client.cli import app
from fl_client.crop_cache import locked
from fl_client.errors import CropCacheError
from fl_client.forgetting import forget_withdrawn
from fl_client.ingest import ahead
from fl_client.ingest.plan import NO_CONSENT
from fl_client.ingest.receipts import Place
from fl_client.ingest.run import check_room, run_plan
from fl_client.site import open_site
from tests.fixtures.data_sets import RATES_BP4D
from tests.fixtures.films import in_room, make_film, write_video
from tests.fixtures.sites import SIZE, found_site, ingest_all, opened, planned

NAMES = ("p1", "p2", "p3")


@pytest.fixture(scope="module")
def films(cache):
    return {name: make_film(cache, k, 0, 6, RATES_BP4D) for k, name in enumerate(NAMES)}


@pytest.fixture
def data(films, tmp_path):
    """Three unlabelled videos, a person each."""
    root = tmp_path / "videos"
    for name, film in films.items():
        write_video(root / f"{name}.avi", film.images)
    return root


@pytest.fixture
def site(tmp_path):
    return found_site(tmp_path / "site", NAMES, ())


@pytest.fixture
def work(site, detector):
    return opened(site, detector)


def left_over(work) -> list[str]:
    """Return the drafts that lie about."""
    return [p.name for p in work.place.folder.rglob("*.draft")]


def whole(work) -> set[str]:
    listed = {r.recording_id for r in read_recordings(work.place.listing)}
    assert listed == set(work.place.read())
    assert len(list(work.place.folder.glob("crops/*"))) == len(listed)
    assert not left_over(work)
    return listed


def test_a_truncated_video_is_named_and_left_out(work, data) -> None:
    path = data / "p2.avi"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    summary = ingest_all(work, people_folder.find(data))
    (skipped,) = summary.skipped
    assert skipped.what == "p2"
    assert "p2.avi: cut off or damaged after frame" in skipped.why
    assert whole(work) == {"p1", "p3"}
    write_video(path, make_film_images(data))
    assert {r.recording_id for r in ingest_all(work, people_folder.find(data)).done} == {"p2"}
    assert whole(work) == set(NAMES)


def make_film_images(data) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(data / "p1.avi"))
    images = []
    while (read := capture.read())[0]:
        images.append(np.ascontiguousarray(read[1][:, ::-1, ::-1]))
    return images


def labelled(data, frames: range):
    """Return p1's video as a recording of BP4D with labels for some frames."""
    (data / "AUCoding").mkdir(exist_ok=True)
    (data / "p1.avi").rename(data / "F001_T1.avi")
    rows = [",".join(map(str, range(40)))]
    rows += [",".join(map(str, [n, *[0] * 39])) for n in frames]
    (data / "AUCoding" / "F001_T1.csv").write_text("\n".join(rows) + "\n")
    return bp4d.find(data)


def as_p1(found):
    return replace(found, sources=tuple(replace(s, subject="p1") for s in found.sources))


def test_labels_longer_than_the_video_are_counted_and_left_out(work, data) -> None:
    (receipt,) = ingest_all(work, as_p1(labelled(data, range(1, 9)))).done
    assert (receipt.counts.cropped, receipt.counts.no_frame) == (6, 2)


def test_labels_far_longer_than_the_video_are_taken_for_another_recording(work, data) -> None:
    summary = ingest_all(work, as_p1(labelled(data, range(1, 60))))
    assert not summary.done
    assert "53 of 59 labelled frames are not there" in summary.skipped[0].why


def test_labels_shorter_than_the_video_leave_frames_out(work, data) -> None:
    (receipt,) = ingest_all(work, as_p1(labelled(data, range(2, 5)))).done
    assert (receipt.counts.cropped, receipt.counts.unlabelled) == (3, 3)


def test_a_subject_without_consent_is_never_decoded(site, work, data, monkeypatch) -> None:
    site.withdraw("p2", list(Purpose))
    write_video(data / "stranger.avi", make_film_images(data))
    seen = []
    cut = ahead.cut_recording
    monkeypatch.setattr(
        ahead, "cut_recording", lambda *a: seen.append(a[0].recording_id) or cut(*a)
    )
    summary = ingest_all(work, people_folder.find(data))
    assert {s.what for s in summary.skipped if s.why == NO_CONSENT} == {"p2", "stranger"}
    assert set(seen) == whole(work) == {"p1", "p3"}


def test_consent_withdrawn_while_faces_are_cut_keeps_nothing(site, work, data) -> None:
    def withdraw_at_once(task) -> None:
        if task.subject_id == "p1":
            site.withdraw("p1", list(Purpose))

    plan = planned(work, people_folder.find(data))
    summary = run_plan(plan, work, on_recording=withdraw_at_once)
    assert [s.what for s in summary.skipped if s.why == NO_CONSENT] == ["p1"]
    assert whole(work) == {"p2", "p3"}


@contextmanager
def little_room(num_bytes: int):
    """Let no file grow beyond some bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing_half_written_and_says_so(work, data) -> None:
    plan = planned(work, people_folder.find(data))
    with little_room(30_000), pytest.raises(CropCacheError, match="no room left in"):
        run_plan(plan, work)
    assert whole(work) == set()
    assert len(ingest_all(work, people_folder.find(data)).done) == 3


def test_too_little_room_is_told_before_anything_is_cut(work, data) -> None:
    plan = planned(work, people_folder.find(data))
    need = plan.num_bytes(work.recipe)
    check_room(plan, work.recipe, need)
    with pytest.raises(CropCacheError, match="--step"):
        check_room(plan, work.recipe, need - 1)


def test_a_second_process_on_one_cache_is_refused(work, data) -> None:
    plan = planned(work, people_folder.find(data))
    with locked(work.place.folder), pytest.raises(CropCacheError, match="another omote-site"):
        run_plan(plan, work)
    assert len(run_plan(plan, work).done) == 3


STEPS = {
    "while a frame is read": "core_model.data.face.FaceDetector.detect",
    "before the draft is finished": "fl_client.crop_shard.ShardWriter.finish",
    "before the log is asked": "fl_client.ingest.run.may_be_cut",
    "before the log is written": "consent.registry.Registry.append",
    "after the log, before the files": "fl_client.ingest.receipts.Place.commit",
    "between crops and receipt": "fl_client.ingest.receipts.write_private",
}


@pytest.mark.parametrize("target", STEPS.values(), ids=STEPS.keys())
def test_control_c_at_any_step_leaves_whole_recordings(work, data, monkeypatch, target) -> None:
    plan = planned(work, people_folder.find(data))
    calls = []
    monkeypatch.setattr(target, interrupting(target, calls))
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, work)
    monkeypatch.undo()
    before = {r.recording_id for r in read_recordings(work.place.listing)}
    assert before == set(work.place.read()) == {"p1"}
    ingest_all(work, people_folder.find(data))
    assert whole(work) == set(NAMES)
    assert not left_over(work)


def interrupting(target: str, calls: list[int]):
    """Return what stands for a function: it works for the first recording, then Ctrl-C comes."""
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        break
    allowed = 6 if target.endswith("detect") else 1

    def stand_in(*args, **kwargs):
        calls.append(1)
        if len(calls) > allowed:
            raise KeyboardInterrupt
        return found(*args, **kwargs)

    return stand_in


def test_a_cache_of_another_recipe_version_is_not_used(site, work, data, monkeypatch) -> None:
    ingest_all(work, people_folder.find(data))
    newer = replace(RECIPES["aligned5"], version=2)
    monkeypatch.setitem(crop_cache.RECIPES, "aligned5", newer)
    opened_site = open_site(site.config)
    with pytest.raises(CropCacheError, match=r"cut by recipe aligned5\.v1\.64.*ingest again"):
        FrameDataset(opened_site.recordings, SIZE, source=opened_site.frames)
    again = replace(work, recipe=newer.resized(SIZE))
    assert len(ingest_all(again, people_folder.find(data)).done) == 3
    assert len(FrameDataset(opened_site.recordings, SIZE, source=opened_site.frames)) == 18


def test_a_frame_with_two_faces_is_barred_until_everyone_is_named(
    site, work, data, films, tmp_path
) -> None:
    alone, both = films["p1"].images[:3], []
    for left, right in zip(films["p1"].images[3:], films["p2"].images[3:], strict=True):
        both.append(in_room(left[16:112, 32:128], right[16:112, 32:128]))
    wide = [np.pad(image, ((0, 0), (0, 160), (0, 0)), mode="edge") for image in alone]
    root = tmp_path / "pairs"
    write_video(root / "p1.avi", wide + both)
    (receipt,) = ingest_all(work, people_folder.find(root)).done
    assert (receipt.counts.cropped, receipt.counts.several_faces) == (6, 3)
    gate = open_site(site.config).gate
    ruling = gate.rule_assets([receipt.asset], Purpose.PRETRAINING)
    assert ruling.frames[receipt.asset].ranges == ((1, 3),)
    everyone = Span(first=1, last=6, num_faces=2, subjects=("p1", "p2"))
    site.consent.append([AssetLinked(asset=receipt.asset, spans=(everyone,))], Role.OPERATOR)
    ingest_all(work, people_folder.find(root))  # keeps what people wrote by hand
    again = open_site(site.config).gate.rule_assets([receipt.asset], Purpose.PRETRAINING)
    assert again.frames[receipt.asset].ranges == ((1, 6),)


def test_a_recording_that_the_log_ended_is_not_taken_in_again(site, work, data) -> None:
    (first, *_) = ingest_all(work, people_folder.find(data)).done
    ended = AssetEnded(type="asset.deleted", asset=first.asset)
    site.consent.append([ended], Role.OPERATOR)
    work.place.receipt(first.recording_id).unlink()
    summary = ingest_all(work, people_folder.find(data))
    assert [(s.what, s.why) for s in summary.skipped] == [
        (first.recording_id, "the consent log says that it is used no more")
    ]


def test_a_copy_of_another_recording_is_left_out(work, data) -> None:
    shutil.copy(data / "p1.avi", data / "p2.avi")
    summary = ingest_all(work, people_folder.find(data))
    assert [s.what for s in summary.skipped] == ["p2"]
    assert "a copy, byte for byte" in summary.skipped[0].why


def test_a_video_without_a_face_is_explained(work, data) -> None:
    write_video(data / "p3.avi", [np.full((128, 160, 3), 90, np.uint8)] * 4)
    summary = ingest_all(work, people_folder.find(data))
    assert [s.why for s in summary.skipped] == ["p3.avi: no face in any of 4 frames"]


# --- withdrawal ------------------------------------------------------------------------------


def test_a_withdrawal_purges_key_crops_and_list_at_once(site, work, data) -> None:
    ingest_all(work, people_folder.find(data))
    shard = work.place.crops("p2")
    copy = shard.read_bytes()  # a backup of the cache
    opened_site = open_site(site.config)
    recording = next(r for r in opened_site.recordings if r.subject_id == "p2")
    site.withdraw("p2", list(Purpose))
    assert forget_withdrawn(open_site(site.config)) == 1
    assert whole(work) == {"p1", "p3"}
    shard.write_bytes(copy)
    with pytest.raises(CropCacheError, match="was purged"):
        next(opened_site.frames.read(recording, [1]))


def test_who_still_agrees_to_something_keeps_the_crops(site, work, data) -> None:
    ingest_all(work, people_folder.find(data))
    site.withdraw("p2", [Purpose.FINETUNING])
    assert forget_withdrawn(open_site(site.config)) == 0
    assert whole(work) == set(NAMES)


# --- the command -----------------------------------------------------------------------------


def run_cli(*words: object):
    return CliRunner().invoke(app, [str(w) for w in words])


def test_the_command_plans_ingests_and_says_what_became_of_every_frame(site, data) -> None:
    words = ("ingest", "folder", data, "--site", site.config, "--size", SIZE)
    dry = run_cli(*words, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "To do: 3 recordings of 3 people, 18 frames" in dry.output
    listing = Place(site.folder / "data" / "recordings.csv")
    assert not listing.listing.exists()
    done = run_cli(*words)
    assert done.exit_code == 0, done.output
    assert "Ingested: 3 recordings now, 0 before." in done.output
    assert "18  with a face cut out" in done.output
    again = run_cli(*words)
    assert "Ingested: 0 recordings now, 3 before." in again.output


@pytest.mark.parametrize(
    ("words", "message"),
    {
        "an unknown format": (["mpeg", "."], "FORMAT: expected one of bp4d, bp4d_plus"),
        "an unknown recipe": (["folder", ".", "--recipe", "x"], "--recipe: expected one of box5"),
        "no labels": (["table", "."], "table needs --labels"),
        "nothing there": (["bp4d", "."], "expected label files such as AUCoding"),
    }.values(),
)
def test_a_wrong_wish_says_what_was_expected(site, tmp_path, words, message) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    words = [str(empty) if w == "." else w for w in words]
    done = run_cli("ingest", *words, "--site", site.config)
    assert done.exit_code == 1
    assert message in done.output


def test_a_list_made_by_other_means_is_never_overwritten(site, data, tmp_path) -> None:
    from tests.federation import write_faces

    listing = write_faces(tmp_path / "noise", "other", (1,))
    words = ("ingest", "folder", data, "--site", site.config, "--to", listing)
    before = listing.read_bytes()
    done = run_cli(*words)
    assert done.exit_code == 1
    assert "was not written by omote-site ingest" in done.output
    assert listing.read_bytes() == before


def test_several_workers_cut_the_same_as_one(site, work, data, detector, tmp_path) -> None:
    alone, other = work, found_site(tmp_path / "other", NAMES, ())
    together = replace(opened(other, detector), workers=3)
    found = people_folder.find(data)
    one, three = ingest_all(alone, found), ingest_all(together, found)
    assert three.done == one.done  # in the same order, with the same counts and digests
    assert not left_over(together)
    crops = [
        [frame for r in read_recordings(w.place.listing) for frame in pixels(w, r)]
        for w in (alone, together)
    ]
    assert len(crops[0]) == one.counts.cropped > 0
    np.testing.assert_array_equal(np.stack(crops[0]), np.stack(crops[1]))


def pixels(work, recording) -> list:
    frames = crop_cache.SiteFrames(work.keys)
    return list(frames.read(recording, frames.numbers(recording)))


def test_a_fault_in_one_stops_the_others_and_leaves_no_draft(work, data, monkeypatch) -> None:
    """The second recording meets a full disk while the third is being cut."""
    work = replace(work, workers=3)
    plan = planned(work, people_folder.find(data))
    cut, third_began, drafts = ahead.cut_recording, threading.Event(), []

    def stand_in(source, draft, key, net, recipe, step, tell):
        if source.recording_id == "p2":
            assert third_began.wait(30)
            raise CropCacheError("no room left")
        if source.recording_id == "p3":
            third_began.set()
            drafts.append(draft)
            while True:  # a long recording: only being told to stop ends it
                tell(0)
                time.sleep(0.01)
        return cut(source, draft, key, net, recipe, step, tell)

    monkeypatch.setattr(ahead, "cut_recording", stand_in)
    with pytest.raises(CropCacheError, match="no room left"):
        run_plan(plan, work)
    assert drafts
    assert whole(work) == {"p1"}
