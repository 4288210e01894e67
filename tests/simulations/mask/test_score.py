"""What masking costs and brings is told as it is; the command hides what it says it hides."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from core_model.data.labels import Labels, write_labels
from core_model.data.recordings import read_recordings, write_recordings
from core_model.predictor import Predictor
from core_model.release.model_file import read_model, write_model
from simulations.cli import app
from simulations.mask.reenact import Mask
from simulations.mask.score import WayScore, score, table
from simulations.real_faces import write_orl_site
from tests.core_model.released import AUS, permit_of, release_bytes, scene, write_video

CACHE = Path.home() / ".cache" / "omote"
RUN = CliRunner()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    write_model(path, release_bytes(tmp_path_factory.getbasetemp()), None)
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return labelled(tmp_path_factory.mktemp("orl") / "site", range(1, 9))


def labelled(folder, people):
    """Write photographs of people with labels by chance; return the list."""
    listed = []
    for k, recording in enumerate(read_recordings(write_orl_site(folder, people, 64))):
        labels = folder / f"{recording.recording_id}.csv"
        values = np.random.default_rng(k).integers(0, 5, (5, len(AUS))).astype(np.int8)
        write_labels(labels, Labels(AUS, np.arange(1, 6), values))
        listed.append(recording.model_copy(update={"labels": labels}))
    write_recordings(folder / "recordings.csv", listed)
    return folder / "recordings.csv"


@pytest.fixture(scope="module")
def scores(model, site):
    predictor = Predictor(read_model(model, [], may_be_unsigned=True))
    seen = []
    mask = Mask(CACHE, size=64)
    found = score(site, predictor, mask, ("pixelate", "cutout"), lambda *a: seen.append(a))
    assert seen[-1] == ("attacking", 3, 3)
    assert ("hiding", 80, 80) in seen
    return {s.way: s for s in found}


def test_the_original_agrees_with_itself_and_its_people_are_named(scores) -> None:
    original = scores["original"]
    assert original.agreement == 1.0
    assert original.chance == pytest.approx(1 / 8)
    assert original.named > 0.8  # ten photographs of each of eight people
    assert original.equal_error_rate < 0.3


def test_hiding_changes_decisions_and_names_no_more_people_than_before(scores) -> None:
    for way in ("pixelate", "cutout"):
        assert scores[way].agreement < 1.0
        assert scores[way].named <= scores["original"].named + 0.05


def test_the_table_has_a_row_for_each_way_and_numbers_under_the_right_heads() -> None:
    row = WayScore("reenact", 0.1, 0.2, 0.3, 0.4, 0.5)
    head, rule, line = table([row])
    assert [c.strip() for c in head.strip("|").split("|")] == [
        "way", "AU decisions kept", "macro F1", "people named", "guessing", "equal error rate",
    ]  # fmt: skip
    assert rule.count("---") == 6
    assert line == "| reenact | 0.100 | 0.200 | 0.300 | 0.400 | 0.500 |"


def mask(model, tmp_path, *inputs, way="pixelate"):
    (tmp_path / "use.permit").write_text(permit_of())
    typed = ["mask", *map(str, inputs), "--model", str(model), "--unsigned", "--way", way]
    typed += ["--permit", str(tmp_path / "use.permit"), "--out", str(tmp_path / "out")]
    return RUN.invoke(app, [*typed, "--cache", str(CACHE)])


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    while True:
        is_there, bgr = capture.read()
        if not is_there:
            return
        yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(int)


@pytest.mark.parametrize("way", ["pixelate", "cutout", "reenact"])
def test_a_video_comes_out_with_its_faces_hidden_in_every_frame(model, tmp_path, way) -> None:
    video = write_video(tmp_path / "one.mp4", 3, people=(1,))
    done = mask(model, tmp_path, video, way=way)
    assert done.exit_code == 0, done.output
    assert "one: 3 frames" in done.output
    pairs = list(zip(frames_of(video), frames_of(tmp_path / "out/one.mp4"), strict=True))
    assert len(pairs) == 3
    for before, after in pairs:
        assert np.abs(before - after)[180:300, 90:210].mean() > 6
        assert np.abs(before - after)[:60].mean() < 4


def test_a_picture_without_a_face_comes_out_black_and_that_is_said(model, tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((200, 300, 3), 90, np.uint8))
    image = cv2.cvtColor(scene(0), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(tmp_path / "two.png"), image)
    (tmp_path / "no.png").write_bytes(b"not a picture")
    done = mask(model, tmp_path, *(tmp_path / f"{n}.png" for n in ("wall", "two", "no")))
    assert done.exit_code == 0, done.output
    assert "no face found in 1" in done.output
    assert "skipped: no.png" in done.output
    assert cv2.imread(str(tmp_path / "out" / "wall.png")).max() == 0
    assert np.abs(cv2.imread(str(tmp_path / "out" / "two.png")).astype(int) - image).max() > 60
    assert not (tmp_path / "out" / "no.png").exists()


def test_nothing_is_hidden_or_written_without_a_permit(model, tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "two.png"), scene(0))
    typed = ["mask", str(tmp_path / "two.png"), "--model", str(model), "--unsigned"]
    typed += ["--permit", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    done = RUN.invoke(app, typed)
    assert (done.exit_code, "no permit" in done.output) == (1, True)
    assert not (tmp_path / "out").exists()


def test_the_score_of_too_few_people_is_refused(model, tmp_path) -> None:
    few = labelled(tmp_path / "few", range(1, 3))
    done = RUN.invoke(app, ["mask-score", str(few), "--model", str(model), "--unsigned"])
    assert done.exit_code == 1
    assert "Traceback" not in done.output
