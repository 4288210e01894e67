"""The layouts of BP4D, BP4D+, DISFA and FMAE's label files, and each of their quirks by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core_model.action_units import BP4D, DISFA_12
from core_model.data import bp4d, bp4d_plus, disfa, fmae_jsonl, people_folder, table
from core_model.data.labels import UNKNOWN
from core_model.data.source import PRESENT, LayoutError


def touch(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def grid(*rows: list[int]) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def occurrence(frame: int, width: int = 40, last: int = 0, **values: int) -> list[int]:
    row = [frame] + [0] * (width - 1)
    for au, value in values.items():
        row[int(au[2:])] = value
    return [*row[:-1], last]


def read_bp4d(root: Path, *rows: list[int]):
    touch(root / "AUCoding" / "AU_OCC" / "F001_T1.csv", grid(list(range(40)), *rows))
    (root / "F001" / "T1").mkdir(parents=True, exist_ok=True)
    (source,) = bp4d.find(root).sources
    assert source.labels is not None
    return source.labels()


# --- BP4D ------------------------------------------------------------------------------------


def test_bp4d_column_k_is_au_k(tmp_path) -> None:
    labels = read_bp4d(tmp_path, occurrence(5, AU1=1, AU24=1), occurrence(6, AU12=1))
    assert labels.aus == BP4D
    assert labels.frames.tolist() == [5, 6]
    occurs, known = labels.occurrence(BP4D)
    assert [[au for au, v in zip(BP4D, row, strict=True) if v] for row in occurs] == [[1, 24], [12]]
    assert known.all()


def test_bp4d_nine_is_unknown_not_absent(tmp_path) -> None:
    labels = read_bp4d(tmp_path, occurrence(1, AU4=9, AU6=1))
    occurs, known = labels.occurrence((4, 6))
    assert known.tolist() == [[0, 1]]
    assert occurs.tolist() == [[0, 1]]


def test_bp4d_occluded_frames_are_unknown_altogether(tmp_path) -> None:
    labels = read_bp4d(tmp_path, occurrence(1, AU4=1, last=1), occurrence(2, AU4=1, last=0))
    assert (labels.intensities[0] == UNKNOWN).all()
    assert labels.occurrence((4,))[0].tolist() == [[0], [1]]


def test_bp4d_intensity_tells_how_strong_but_occurrence_decides(tmp_path) -> None:
    rows = [occurrence(f, AU6=int(f != 4)) for f in (1, 2, 3, 4)]
    touch(tmp_path / "AUCoding/AU_INT/AU06/F001_T1_AU06.csv", "1,1\n2,4\n3,9\n4,5\n")
    labels = read_bp4d(tmp_path, *rows)
    assert labels.intensities[:, labels.aus.index(6)].tolist() == [PRESENT, 4, PRESENT, 0]


MEDIA = {
    "a folder for each task": ("F001/T1/0732.jpg", "F001/T1"),
    "inside 2D+3D": ("2D+3D/F001/T1/1.jpg", "2D+3D/F001/T1"),
    "names in small letters": ("f001/t1/1.jpg", "f001/t1"),
    "a video by task": ("F001_T1.mp4", "F001_T1.mp4"),
    "FMAE's name of a video": ("2F01_T1.avi", "2F01_T1.avi"),
    "the raw name of a video": ("Videos/2F01_01.avi", "Videos/2F01_01.avi"),
}


@pytest.mark.parametrize(("file", "want"), MEDIA.values(), ids=MEDIA.keys())
def test_bp4d_frames_are_found_wherever_they_lie(tmp_path, file, want) -> None:
    touch(tmp_path / "AUCoding" / "F001_T1.csv", grid(list(range(40))))
    touch(tmp_path / file)
    (source,) = bp4d.find(tmp_path).sources
    assert source.media == tmp_path / want
    assert (source.subject, source.recording_id) == ("F001", "bp4d-F001-T1")


def test_bp4d_raw_videos_are_numbered_with_gaps(tmp_path) -> None:
    for task, raw in enumerate((1, 3, 7, 8, 9, 10, 11, 13), start=1):
        touch(tmp_path / "AUCoding" / f"M003_T{task}.csv", grid(list(range(40))))
        touch(tmp_path / f"2M03_{raw:02d}.avi")
    media = {s.recording_id: s.media.name for s in bp4d.find(tmp_path).sources}
    assert (media["bp4d-M003-T2"], media["bp4d-M003-T8"]) == ("2M03_03.avi", "2M03_13.avi")


def test_labels_without_frames_are_passed_over_by_name(tmp_path) -> None:
    touch(tmp_path / "AUCoding" / "F001_T1.csv", grid(list(range(40))))
    found = bp4d.find(tmp_path)
    assert not found.sources
    assert found.passed_over == ("F001_T1.csv: no frames: expected F001/T1/ or a video",)


WRONG_BP4D = {
    "no header of numbers": ("frame,AU1,AU2\n1,0,0\n", "expected a first row 0,1,2"),
    "a short row": (grid(list(range(40)), [1, 0]), "line 2: expected 40 cells"),
    "a word": (grid(list(range(40))) + "1," + "x," * 38 + "0\n", "line 2: expected whole numbers"),
    "another value": (grid(list(range(40)), occurrence(1, AU4=3)), "expected 0, 1 or 9"),
    "a frame twice": (grid(list(range(40)), occurrence(1), occurrence(1)), "each frame once"),
    "a frame 0": (grid(list(range(40)), occurrence(0)), "numbered from 1"),
}


@pytest.mark.parametrize(("text", "message"), WRONG_BP4D.values(), ids=WRONG_BP4D.keys())
def test_a_file_that_is_not_of_bp4d_is_refused(tmp_path, text, message) -> None:
    touch(tmp_path / "AUCoding" / "F001_T1.csv", text)
    (tmp_path / "F001" / "T1").mkdir(parents=True)
    (source,) = bp4d.find(tmp_path).sources
    assert source.labels is not None
    with pytest.raises(LayoutError, match=message):
        source.labels()


# --- BP4D+ -----------------------------------------------------------------------------------

HEADERS = {
    "AU numbers": [0, *bp4d_plus.COLUMNS],
    "words and AU numbers": ["Frame", *(f"AU{au}" for au in bp4d_plus.COLUMNS)],
    "column numbers": list(range(35)),
    "words": ["frame", *"abcdefghijklmnopqrstuvwxyzabcdefgh"],
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_bp4d_plus_columns_count_by_position(tmp_path, header) -> None:
    row = [7] + [0] * 34
    row[bp4d_plus.COLUMNS.index(12) + 1] = 1  # the tenth column: AU 10 if it were read as BP4D
    touch(tmp_path / "AUCoding" / "AU_OCC" / "F001_T6.csv", grid(header, row))
    touch(tmp_path / "2D+3D" / "F001" / "T6" / "0007.jpg")
    (source,) = bp4d_plus.find(tmp_path).sources
    assert source.labels is not None
    occurs, _ = source.labels().occurrence(BP4D)
    assert [au for au, v in zip(BP4D, occurs[0], strict=True) if v] == [12]


def test_bp4d_plus_with_other_columns_is_refused(tmp_path) -> None:
    path = touch(tmp_path / "F001_T6.csv", grid([0, *reversed(bp4d_plus.COLUMNS)]))
    with pytest.raises(LayoutError, match="expected the frame and 34 AU columns"):
        bp4d_plus.read_occurrence(path)
    with pytest.raises(LayoutError, match="got 40 columns"):
        bp4d_plus.read_occurrence(touch(tmp_path / "F001_T7.csv", grid(list(range(40)))))


def test_bp4d_plus_still_zipped_names_the_remedy(tmp_path) -> None:
    touch(tmp_path / "AUCoding" / "F001_T1.csv", grid(list(range(35))))
    touch(tmp_path / "2D+3D" / "F001.zip")
    with pytest.raises(LayoutError, match="unzip"):
        bp4d_plus.find(tmp_path)


# --- DISFA -----------------------------------------------------------------------------------


def write_disfa(root: Path, subject: str, frames: int = 3, **short: int) -> None:
    for au in DISFA_12:
        count = short.get(f"AU{au}", frames)
        lines = "".join(f"{f},{min(f, 5) if au == 12 else 0}\n" for f in range(1, count + 1))
        touch(root / "ActionUnit_Labels" / subject / f"{subject}_au{au}.txt", lines)


VARIANTS = {
    "as most": "Videos_RightCamera/RightVideoSN001_comp.avi",
    "small first letter": "Videos_RightCamera/rightVideoSN001_comp.avi",
    "capital Comp": "Videos_RightCamera/RightVideoSN001_Comp.avi",
    "a folder of images": "Videos_RightCamera/RightVideoSN001/1.jpg",
    "folder in small letters": "videos_rightcamera/RightVideoSN001_comp.mp4",
}


@pytest.mark.parametrize("file", VARIANTS.values(), ids=VARIANTS.keys())
def test_disfa_videos_are_found_however_they_are_spelt(tmp_path, file) -> None:
    write_disfa(tmp_path, "SN001")
    touch(tmp_path / file)
    (source,) = disfa.find(tmp_path).sources
    assert (source.subject, source.recording_id) == ("SN001", "disfa-SN001-right")


def test_disfa_takes_the_camera_asked_for(tmp_path) -> None:
    write_disfa(tmp_path, "SN002")
    touch(tmp_path / "Videos_LeftCamera" / "LeftVideoSN002_comp.avi")
    touch(tmp_path / "Videos_RightCamera" / "RightVideoSN002_comp.avi")
    names = [disfa.find(tmp_path, c).sources[0].media.name for c in ("left", "right")]
    assert names == ["LeftVideoSN002_comp.avi", "RightVideoSN002_comp.avi"]
    (tmp_path / "Videos_LeftCamera" / "LeftVideoSN002_comp.avi").unlink()
    assert disfa.find(tmp_path, "left").passed_over == ("SN002: no video of the left camera",)


def test_disfa_intensity_two_counts_as_occurrence_and_one_does_not(tmp_path) -> None:
    write_disfa(tmp_path, "SN001")
    labels = disfa.read_person(tmp_path / "ActionUnit_Labels" / "SN001")
    assert labels.aus == DISFA_12
    assert labels.intensities[:, labels.aus.index(12)].tolist() == [1, 2, 3]
    assert labels.occurrence((12,))[0].ravel().tolist() == [0, 1, 1]


def test_disfa_frames_that_one_au_file_leaves_out_are_unknown(tmp_path) -> None:
    write_disfa(tmp_path, "SN010", AU4=2)
    labels = disfa.read_person(tmp_path / "ActionUnit_Labels" / "SN010")
    assert labels.frames.tolist() == [1, 2, 3]
    assert labels.intensities[:, labels.aus.index(4)].tolist() == [0, 0, UNKNOWN]


def test_disfa_with_another_value_is_refused(tmp_path) -> None:
    write_disfa(tmp_path, "SN001")
    folder = tmp_path / "ActionUnit_Labels" / "SN001"
    touch(folder / "SN001_au1.txt", "1,7\n")
    with pytest.raises(LayoutError, match=r"expected values 0-5 or 9 \(unknown\), got \[7\]"):
        disfa.read_person(folder)
    touch(folder / "SN001_au1.txt", "1,0\n1,1\n")
    with pytest.raises(LayoutError, match="each frame once"):
        disfa.read_person(folder)


# --- FMAE's label files ----------------------------------------------------------------------


def jsonl(path: Path, *rows: tuple[str, list[int]]) -> Path:
    return touch(path, "".join(json.dumps({"img_path": p, "AUs": a}) + "\n" for p, a in rows))


def full(*present: int) -> list[int]:
    return [au if au in present else 999 for au in BP4D]


FORMS = {"an entry for each AU": full(4, 10), "those present alone": [4, 10]}


@pytest.mark.parametrize("entry", FORMS.values(), ids=FORMS.keys())
def test_fmae_lines_are_read_in_both_forms(tmp_path, entry) -> None:
    labels = jsonl(tmp_path / "train.json", ("2F15_T8/frame_2.jpg", entry))
    (tmp_path / "2F15_T8").mkdir()
    (source,) = fmae_jsonl.find(tmp_path, labels, "bp4d").sources
    assert (source.subject, source.media) == ("F015", tmp_path / "2F15_T8")
    assert source.labels is not None
    read = source.labels()
    occurs, known = read.occurrence(BP4D)
    assert read.frames.tolist() == [2]
    assert [au for au, v in zip(BP4D, occurs[0], strict=True) if v] == [4, 10]
    assert known.all()  # 999 is absent in FMAE's files, never unknown


PEOPLE = {
    "bp4d": ("2F15_T8/frame_1.jpg", "F015"),
    "bp4d_plus": ("F015_T1/frame_1.jpg", "F015"),
    "disfa": ("RightVideoSN001/frame_1.jpg", "SN001"),
}


@pytest.mark.parametrize(("data_set", "case"), PEOPLE.items(), ids=PEOPLE.keys())
def test_fmae_people_are_read_from_the_path(tmp_path, data_set, case) -> None:
    path, want = case
    (tmp_path / path).parent.mkdir()
    labels = jsonl(tmp_path / "a.json", (path, [12]))
    assert fmae_jsonl.find(tmp_path, labels, data_set).sources[0].subject == want


@pytest.mark.parametrize(
    ("path", "entry"),
    {
        "another AU": ("2F15_T8/frame_1.jpg", [3]),
        "an AU in another's place": ("2F15_T8/frame_1.jpg", [999, 1, *full()[2:]]),
        "too short": ("2F15_T8/frame_1.jpg", [999, 999]),
        "out of the data set": ("../../etc/frame_1.jpg", [4]),
        "no number of a frame": ("2F15_T8/cover.jpg", [4]),
    }.values(),
)
def test_a_line_that_is_not_fmaes_is_refused(tmp_path, path, entry) -> None:
    with pytest.raises(LayoutError, match=r"a\.json, line 1"):
        fmae_jsonl.find(tmp_path, jsonl(tmp_path / "a.json", (path, entry)), "bp4d")


# --- own data --------------------------------------------------------------------------------

ROWS = "media,subject,frame,AU4,AU12\na.mp4,p1,3,1,9\na.mp4,p1,1,0,\nb.mp4,p2,,,\n"


def test_a_table_of_own_data_keeps_unknown_as_unknown(tmp_path) -> None:
    for name in ("a.mp4", "b.mp4"):
        touch(tmp_path / name)
    a, b = table.find(tmp_path, touch(tmp_path / "own.csv", ROWS)).sources
    assert a.labels is not None
    assert b.labels is None
    labels = a.labels()
    assert labels.frames.tolist() == [1, 3]
    assert labels.intensities.tolist() == [[0, UNKNOWN], [PRESENT, UNKNOWN]]


def test_parquet_reads_as_csv_does(tmp_path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    touch(tmp_path / "a.mp4")
    columns = {
        "media": ["a.mp4"] * 2, "subject": ["p1"] * 2, "frame": [3, 1], "AU4": [1, 0],
        "AU12": [9, None],
    }  # fmt: skip
    parquet.write_table(pa.table(columns), tmp_path / "own.parquet")
    (source,) = table.find(tmp_path, tmp_path / "own.parquet").sources
    assert source.labels is not None
    labels = source.labels()
    assert labels.intensities.tolist() == [[0, UNKNOWN], [PRESENT, UNKNOWN]]
    touch(tmp_path / "bad.parquet", "no such thing")
    with pytest.raises(LayoutError, match="not a Parquet file"):
        table.find(tmp_path, tmp_path / "bad.parquet")


def test_one_is_present_or_the_faintest_intensity_as_the_operator_says(tmp_path) -> None:
    touch(tmp_path / "a.mp4")
    path = touch(tmp_path / "own.csv", "media,subject,frame,AU4\na.mp4,p1,1,1\n")
    occurs = []
    for values in ("occurrence", "intensity"):
        source = table.find(tmp_path, path, values).sources[0]
        assert source.labels is not None
        occurs.append(source.labels().occurrence((4,))[0].item())
    assert occurs == [1.0, 0.0]
    touch(path, "media,subject,frame,AU4\na.mp4,p1,1,3\n")
    with pytest.raises(LayoutError, match="--values intensity"):
        table.find(tmp_path, path)


@pytest.mark.parametrize(
    ("text", "message"),
    {
        "no subject column": ("media,frame\na.mp4,1\n", r"columns \['subject'\] are missing"),
        "a strange column": ("media,subject,smile\na.mp4,p1,1\n", "expected columns AU1"),
        "media elsewhere": ("media,subject\n../a.mp4,p1\n", "media inside the data set"),
        "two people": ("media,subject\na.mp4,p1\na.mp4,p2\n", "belongs to someone else"),
        "a short line": ("media,subject\na.mp4\n", "expected 2 cells"),
        "a word": ("media,subject,frame,AU4\na.mp4,p1,1,yes\n", "expected whole numbers"),
        "an unknown AU": ("media,subject,frame,AU3\na.mp4,p1,1,1\n", "no column of an AU"),
    }.values(),
)
def test_a_table_that_is_not_of_the_form_is_refused(tmp_path, text, message) -> None:
    touch(tmp_path / "a.mp4")
    path = touch(tmp_path / "own.csv", text)
    with pytest.raises(LayoutError, match=message):
        [s.labels() for s in table.find(tmp_path, path).sources if s.labels]


def test_folders_and_videos_without_labels_are_recordings_of_people(tmp_path) -> None:
    for name in ("p1/visit.mp4", "p2/a.jpg", "p2/b.jpg", "p3/x/1.jpg", "film.mp4", ".hidden/1.jpg"):
        touch(tmp_path / name)
    found = {(s.recording_id, s.subject) for s in people_folder.find(tmp_path).sources}
    assert found == {("p1-visit", "p1"), ("p2", "p2"), ("p3-x", "p3"), ("film", "film")}
    with pytest.raises(LayoutError, match="expected a folder for each person"):
        people_folder.find(tmp_path / ".hidden")
