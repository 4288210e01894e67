"""omote-model predict on photographs and videos of real faces, from the command to the table."""

import csv
import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from consent.errors import DeniedError
from consent.keys import SigningKey
from consent.permit import sign_permit
from core_model.cli import app
from core_model.release.model_file import write_model
from core_model.release.signature import new_key
from core_model.use import run as run_module
from core_model.use.inputs import read
from core_model.use.permit import PermitError, read_permit
from tests.core_model.released import (
    AUS,
    NOTICE,
    USE,
    orl_face,
    permit_of,
    release_bytes,
    write_video,
)

RUNNER = CliRunner()
FRAMES = 24


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A signed model, a permit, and a video of two people."""
    root = tmp_path_factory.mktemp("desk")
    (root / "trusted").write_text(new_key("lab", root / "lab.key").text + "\n")
    write_model(root / "m.onnx", release_bytes(tmp_path_factory.getbasetemp()), root / "lab.key")
    (root / "use.permit").write_text(permit_of())
    write_video(root / "two.mp4", FRAMES)
    return root


def predict(desk, *inputs, out, options=(), **named):
    usual = {"model": "m.onnx", "permit": "use.permit", "trust": "trusted"} | named
    args = [str(i) for i in inputs]
    for option, value in usual.items():
        args += [f"--{option}", str(desk / value)]
    return RUNNER.invoke(app, ["predict", *args, "--out", str(out), *map(str, options)])


def rows_of(path):
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def test_two_people_are_read_in_every_frame_and_keep_their_numbers(desk, tmp_path) -> None:
    done = predict(desk, desk / "two.mp4", out=tmp_path, options=["--video"])
    assert done.exit_code == 0, done.output
    rows = rows_of(tmp_path / "two.csv")
    assert sorted((int(r["frame"]), r["person"]) for r in rows) == [
        (t, p) for t in range(1, FRAMES + 1) for p in "12"
    ]
    left = {r["person"]: float(r["left"]) for r in rows[:2]}
    assert all(abs(float(r["left"]) - left[r["person"]]) < 60 for r in rows)
    assert {f"AU{au}" for au in AUS} <= set(rows[0])
    capture = cv2.VideoCapture(str(tmp_path / "two.annotated.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == FRAMES
    assert "AU12 Lip corner puller" in (tmp_path / "two.html").read_text()


def test_what_was_permitted_and_what_was_used_stand_beside_the_numbers(desk, tmp_path) -> None:
    predict(desk, desk / "two.mp4", out=tmp_path, options=["--format", "csv,jsonl,parquet"])
    about = json.loads((tmp_path / "run.json").read_text())["about"]
    assert about["permit"]["use"] == "Tests"
    assert "No emotion" in about["permit"]["duties"][0]
    assert about["model"]["signed_by"] == "lab"
    assert about["settings"]["smooth_s"] == 0.0
    first, *lines = (tmp_path / "two.jsonl").read_text().splitlines()
    table = pq.read_table(tmp_path / "two.parquet")
    assert json.loads(first)["about"] == about == json.loads(table.schema.metadata[b"omote"])
    digest = about["permit"]["declaration"][:12]
    rows = rows_of(tmp_path / "two.csv")
    assert {r["use"] for r in rows} == {digest}
    for mine, line, theirs in zip(rows, lines, table.to_pylist(), strict=True):
        other = json.loads(line)
        assert {k: "" if v is None else str(v) for k, v in other.items()} == mine
        assert {k: pytest.approx(v, abs=1e-5) if isinstance(v, float) else v
                for k, v in theirs.items()} == other  # fmt: skip
    assert digest[:8] in (tmp_path / "two.html").read_text()


NAMES = {
    "openface": ["frame", "face_id", "timestamp", "confidence", "success", "AU01_c"],
    "pyfeat": ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore", "AU01"],
}


@pytest.mark.parametrize("names", NAMES)
def test_tables_under_the_names_that_others_use(desk, tmp_path, names) -> None:
    done = predict(desk, desk / "two.mp4", out=tmp_path, options=["--names", names])
    assert done.exit_code == 0, done.output
    rows = rows_of(tmp_path / "two.csv")
    assert list(rows[0])[:6] == NAMES[names]
    if names == "openface":
        assert {r["success"] for r in rows} == {"1"}
        assert {r["AU12_c"] for r in rows} <= {"0", "1", ""}
        assert not any(c.endswith("_r") for c in rows[0])  # no intensity is made up
    else:
        assert all(0 <= float(r["AU12"]) <= 1 for r in rows)
        assert rows[0]["frame"] == "0"
    assert not any("emotion" in c or c in ("anger", "happiness") for c in rows[0])


def test_a_frame_without_a_face_has_a_row_that_says_so(desk, tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((200, 300, 3), 90, np.uint8))
    done = predict(desk, tmp_path / "wall.png", out=tmp_path / "out")
    assert done.exit_code == 0, done.output
    (row,) = rows_of(tmp_path / "out" / "images.csv")
    assert row["input"] == "wall.png"
    assert row["person"] == ""
    assert row["AU12"] == ""


def test_an_interrupted_video_goes_on_and_ends_as_if_nothing_had_been(
    desk, tmp_path, monkeypatch
) -> None:
    whole = predict(desk, desk / "two.mp4", out=tmp_path / "whole")
    assert whole.exit_code == 0, whole.output

    def interrupted(given, skip=0):
        for frame in read(given, skip):
            if frame.number == 11:
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setattr(run_module, "read", interrupted)
    options = ["--format", "csv,jsonl"]
    done = predict(desk, desk / "two.mp4", out=tmp_path / "parts", options=options)
    assert done.exit_code == 130
    assert "goes on from here" in done.output
    state = tmp_path / "parts" / "two.unfinished.json"
    assert state.stat().st_mode & 0o777 == 0o600
    with (tmp_path / "parts" / "two.csv.part").open("a") as f:
        f.write("half a ro")  # written after the last mark: cut off again
    seen = []
    monkeypatch.setattr(run_module, "read", lambda g, skip=0: seen.append(skip) or read(g, skip))
    done = predict(desk, desk / "two.mp4", out=tmp_path / "parts", options=options)
    assert done.exit_code == 0, done.output
    assert seen == [9]
    assert not state.exists()
    assert (tmp_path / "parts/two.csv").read_bytes() == (tmp_path / "whole/two.csv").read_bytes()
    again = predict(desk, desk / "two.mp4", out=tmp_path / "parts", options=options)
    assert again.exit_code == 0
    assert "finished before" in again.output


def test_results_of_other_settings_are_not_mixed(desk, tmp_path) -> None:
    assert predict(desk, desk / "two.mp4", out=tmp_path).exit_code == 0
    other = predict(desk, desk / "two.mp4", out=tmp_path, options=["--smooth", 0.2])
    assert other.exit_code == 1
    assert "--fresh" in other.output
    fresh = predict(desk, desk / "two.mp4", out=tmp_path, options=["--smooth", 0.2, "--fresh"])
    assert fresh.exit_code == 0


def test_damaged_input_is_named_and_the_rest_is_read(desk, tmp_path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for k in (1, 3):
        cv2.imwrite(str(folder / f"{k}.png"), orl_face(k, 1))
    (folder / "2.png").write_bytes(b"not a picture")
    raw = (desk / "two.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(raw[: len(raw) // 2])
    write_video(folder / "whole.mp4", 5)
    done = predict(desk, folder, out=tmp_path / "out")
    assert done.exit_code == 3
    assert "2.png" in done.output
    assert "cut.mp4" in done.output
    assert {r["input"] for r in rows_of(tmp_path / "out/images.csv")} == {"1.png", "3.png"}
    assert len(rows_of(tmp_path / "out/whole.csv")) == 10
    record = json.loads((tmp_path / "out/run.json").read_text())["inputs"]
    assert len(record["cut"]["problems"]) == 1
    assert not record["whole"]["problems"]


def test_crops_are_read_without_a_detector(desk, tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), orl_face(1, 1, 64)[:64])
    done = predict(desk, tmp_path / "1.png", out=tmp_path / "out", options=["--crops"])
    assert done.exit_code == 0, done.output
    (row,) = rows_of(tmp_path / "out/images.csv")
    assert row["person"] == "0"
    assert row["AU12_p"]
    assert row["left"] == ""


# --- may it be done, and with this model? ----------------------------------------------------


def test_a_denied_use_gets_no_permit() -> None:
    with pytest.raises(DeniedError, match="eu-gdpr:A13"):
        permit_of(USE)  # nobody was told that they are filmed
    with pytest.raises(DeniedError):
        permit_of(USE.replace('"au"', '"emotion"').replace('"research"', '"workplace"') + NOTICE)


PERMITS = {
    "none": (None, "no permit"),
    "that ran out": (permit_of(days_ago=91), "ran out"),
    "from the future": (permit_of(days_ago=-2), "ran out"),
    "for training": (permit_of(USE.replace("deployment\"]\ndata", "finetuning\"]\ndata")),
                     "deployment"),
    "that is noise": ("omote.dev/permit/v1\n{}\n", "not a permit"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "says"), PERMITS.values(), ids=PERMITS.keys())
def test_nothing_is_read_under_a_permit(desk, tmp_path, text, says) -> None:
    if text is not None:
        (tmp_path / "p").write_text(text)
    done = predict(desk, desk / "two.mp4", out=tmp_path / "out", permit=tmp_path / "p")
    assert done.exit_code == 4
    assert says in done.output
    assert not (tmp_path / "out").exists()


def test_a_permit_must_be_signed_where_that_is_asked_for(desk, tmp_path) -> None:
    now, officer = datetime.now(UTC), SigningKey.generate("clinic/dpo")
    keys = [officer.verifier.vkey]
    (tmp_path / "signed").write_text(sign_permit(permit_of(), officer))
    (tmp_path / "trusted").write_text(keys[0])
    done = predict(
        desk, desk / "two.mp4", out=tmp_path / "out", permit=tmp_path / "signed",
        options=["--permit-key", keys[0]],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    about = json.loads((tmp_path / "out/run.json").read_text())["about"]
    assert about["permit"]["signed_by"] == "clinic/dpo"
    unsigned = predict(
        desk, desk / "two.mp4", out=tmp_path / "no", options=["--permit-key", keys[0]]
    )
    assert unsigned.exit_code == 4
    changed = (tmp_path / "signed").read_text().replace('"Tests"', '"Other"')
    (tmp_path / "changed").write_text(changed)
    from core_model.release.signature import PublicKey

    with pytest.raises(PermitError, match="does not hold"):
        read_permit(tmp_path / "changed", now, [PublicKey.parse(keys[0])])


def test_a_tampered_model_is_refused_before_anything_is_read(desk, tmp_path) -> None:
    raw = bytearray((desk / "m.onnx").read_bytes())
    raw[-100] ^= 1
    (tmp_path / "m.onnx").write_bytes(raw)
    (tmp_path / "m.onnx.sig").write_bytes((desk / "m.onnx.sig").read_bytes())
    done = predict(desk, desk / "two.mp4", out=tmp_path / "out", model=tmp_path / "m.onnx")
    assert done.exit_code == 4
    assert "changed or swapped" in done.output
    assert not (tmp_path / "out").exists()


# --- what it takes ---------------------------------------------------------------------------


def test_it_needs_no_torch_and_starts_in_a_second_and_a_half(desk, tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), orl_face(1, 1, 64)[:64])
    args = ["predict", tmp_path / "1.png", "--crops", "--model", desk / "m.onnx", "--permit",
            desk / "use.permit", "--trust", desk / "trusted", "--out", tmp_path]  # fmt: skip
    code = f"""
import resource, sys
from core_model.cli import app
try:
    app({[str(a) for a in args]!r})
except SystemExit as e:
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(l for l in open("/proc/self/status") if l.startswith("VmHWM"))
    heavy = {{"torch", "timm", "scipy", "sklearn", "pandas", "onnx", "flwr", "consent"}}
    seconds, mib = used.ru_utime + used.ru_stime, int(peak.split()[1]) // 1024
    print("|", e.code, seconds, mib, heavy & set(sys.modules))
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    status, seconds, mib, heavy = done.stdout.rpartition("|")[2].split(maxsplit=3)
    assert status == "0", done.stderr
    assert heavy.strip() == "set()"
    assert float(seconds) < 1.5  # of processor time: other programs do not count
    assert int(mib) < 400
