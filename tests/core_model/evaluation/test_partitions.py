from pathlib import Path

import pytest

from core_model.data.recordings import Recording
from core_model.evaluation.partitions import (
    PARTITIONS,
    check_apart,
    is_held_out,
    people_of,
    plain_id,
    subjects_of,
)

PEOPLE = {
    "bp4d": [f"F{i:03d}" for i in range(1, 24)] + [f"M{i:03d}" for i in range(1, 19)],
    "bp4d_plus": [f"F{i:03d}" for i in range(1, 83)] + [f"M{i:03d}" for i in range(1, 59)],
    "disfa": [f"SN{i:03d}" for i in (*range(1, 14), 16, 17, 18, 21, *range(23, 33))],
}
SIZES = {"bp4d": [14, 14, 13], "bp4d_plus": [35] * 4, "disfa": [9] * 3}


@pytest.mark.parametrize("dataset", PEOPLE)
def test_partitions_hold_every_person_of_the_dataset_once(dataset) -> None:
    parts = list(PARTITIONS[dataset].values())
    assert [len(p) for p in parts] == SIZES[dataset]
    assert sorted(p for part in parts for p in part) == sorted(PEOPLE[dataset])
    check_apart(**{str(i): p for i, p in enumerate(parts)})


def test_names() -> None:
    assert "SN016" in people_of("disfa/P1")
    with pytest.raises(ValueError, match=r"there are: bp4d/P1.*bp4d_plus/B4.*disfa/P3"):
        people_of("disfa/fold1")
    assert [plain_id(i) for i in ("sn1", "F7", "M014", "lab-p3", "bp4d-f7", "DISFA-SN1")] == [
        "SN001", "F007", "M014", "lab-p3", "bp4d-F007", "disfa-SN001",
    ]  # fmt: skip


INGESTED = {
    "its own name": ("F001", "a", True),
    "with the data set before it": ("bp4d-F001", "a", True),
    "another data set's F001": ("bp4d_plus-F001", "a", False),
    "a random name, ingested": ("k7x2", "bp4d-F001-T1", True),
    "a random name, by FMAE's labels": ("k7x2", "bp4d-2F01_T1", True),
    "a random name, another data set": ("k7x2", "bp4d_plus-F001-T1", False),
    "a random name, another partition": ("k7x2", "bp4d-F003-T1", False),
    "a random name, DISFA": ("k7x2", "disfa-RightVideoSN001_comp", False),
    "own recordings": ("k7x2", "clinic-F001x-T1", False),
}


@pytest.mark.parametrize(("subject", "name", "want"), INGESTED.values(), ids=INGESTED.keys())
def test_a_partition_finds_ingested_people(subject, name, want) -> None:
    recordings = [
        Recording(recording_id=r, subject_id=s, frames=Path("x"), labels=None, licence="")
        for s, r in ((subject, name), (subject, "another"), ("other", "third"))
    ]
    assert subjects_of(recordings, "bp4d/P1") == ({subject} if want else set())
    assert subjects_of(recordings, "disfa/P1") == ({subject} if "SN001" in name else set())


def test_shared_people_are_counted_and_never_named() -> None:
    with pytest.raises(ValueError, match="1 people are among both test and validation") as e:
        check_apart(test=["F001", "F002"], validation=["f1"])
    assert "F001" not in str(e.value)


def test_held_out_people_are_a_share_and_stay_the_same() -> None:
    people = [f"p{i}" for i in range(2000)]
    held = [p for p in people if is_held_out(p, 0.2)]
    assert 330 < len(held) < 470
    assert held == [p for p in people if is_held_out(p, 0.2)]
    assert held != [p for p in people if is_held_out(p, 0.2, seed=1)]
    assert set(held) < {p for p in people if is_held_out(p, 0.4)}
