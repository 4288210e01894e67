import cv2
import numpy as np
import pytest
import torch

from core_model.data.augment import flip, jitter, standardise
from core_model.data.frames import FrameDataset
from core_model.data.labels import UNKNOWN, Labels, read_labels, write_labels
from core_model.data.recordings import read_recordings
from tests.federation import write_faces


def test_labels_round_trip_and_unknown_is_a_mask(tmp_path) -> None:
    values = np.array([[0, 1, 9], [2, 5, 0]], np.int8)
    labels = Labels((1, 4, 12), np.array([3, 7]), values)
    write_labels(tmp_path / "a.csv", labels)
    got = read_labels(tmp_path / "a.csv")
    assert (got.aus, got.frames.tolist()) == ((1, 4, 12), [3, 7])
    assert np.array_equal(got.intensities, values)
    occurs, known = got.occurrence((12, 2, 4))
    assert occurs.tolist() == [[0, 0, 0], [0, 0, 1]]
    assert known.tolist() == [[0, 0, 1], [1, 0, 1]]
    assert UNKNOWN == 9


WRONG_LABELS = {
    "another header": "image,AU1\n1,0\n",
    "an unknown AU": "frame,AU3\n1,0\n",
    "AUs out of order": "frame,AU4,AU1\n1,0,0\n",
    "an intensity of 7": "frame,AU1\n1,7\n",
    "a missing value": "frame,AU1,AU2\n1,0\n",
    "a decimal": "frame,AU1\n1,0.5\n",
}


@pytest.mark.parametrize("text", WRONG_LABELS.values(), ids=WRONG_LABELS.keys())
def test_wrong_label_files_are_refused(tmp_path, text) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.csv|action units"):
        read_labels(path)


WRONG_LISTS = {
    "another header": "id,subject\n",
    "a line cut off": "recording_id,subject_id,frames,labels,licence\nr,s\n",
    "no subject": "recording_id,subject_id,frames,labels,licence\nr,,f,,CC0\n",
    "one recording twice": (
        "recording_id,subject_id,frames,labels,licence\nr,s,f,,CC0\nr,s,f,,CC0\n"
    ),
}


@pytest.mark.parametrize("text", WRONG_LISTS.values(), ids=WRONG_LISTS.keys())
def test_wrong_recording_lists_are_refused(tmp_path, text) -> None:
    path = tmp_path / "recordings.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"recordings\.csv"):
        read_recordings(path)


def test_dataset(tmp_path) -> None:
    recordings = read_recordings(write_faces(tmp_path, "t", (1, 2)))
    dataset = FrameDataset(recordings, 32, (2, 4))
    assert (len(dataset), dataset.subjects) == (12, ("t-p0", "t-p1", "t-p2"))
    assert dataset.labelled_frames() == {2: 12, 4: 0}
    batch = dataset[torch.tensor([5])]
    first = cv2.imread(str(recordings[1].frames / "000002.png"))[..., ::-1]
    assert np.array_equal((batch.images[0] * 255).round().byte().permute(1, 2, 0), first)
    assert batch.identities.tolist() == [1]
    order = torch.cat([b.identities for b in dataset.in_order(5)])
    assert order.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    shuffled = torch.cat([b.images for b in dataset.shuffled(5, torch.Generator().manual_seed(0))])
    assert shuffled.shape == (12, 3, 32, 32)
    assert {float(i.sum()) for i in shuffled} == {
        float(i.sum()) for b in dataset.in_order(12) for i in b.images
    }


def test_unlabelled_recordings_are_for_pretraining_only(tmp_path) -> None:
    labelled, other, *_ = read_recordings(write_faces(tmp_path, "t", (1,)))
    unlabelled = other.model_copy(update={"labels": None})
    assert len(FrameDataset([labelled, unlabelled], 32)) == 8
    assert len(FrameDataset([labelled, unlabelled], 32, (1,))) == 4
    with pytest.raises(ValueError, match="no frames"):
        FrameDataset([unlabelled], 32, (1,))


def test_broken_images_are_named(tmp_path) -> None:
    recordings = read_recordings(write_faces(tmp_path, "t", (1,)))
    (recordings[0].frames / "000002.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="000002"):
        FrameDataset(recordings, 32)


def test_augmentation_stays_a_picture() -> None:
    images = torch.rand(16, 3, 32, 32)
    chance = torch.Generator().manual_seed(0)
    moved = jitter(images, chance)
    assert moved.shape == images.shape
    assert 0 <= moved.min() <= moved.max() <= 1
    assert (moved - images).abs().mean() > 0.01
    mirrored = flip(images, chance)
    each = [
        torch.equal(a, b) or torch.equal(a, b.flip(-1))
        for a, b in zip(mirrored, images, strict=True)
    ]
    assert all(each)
    assert standardise(torch.full((1, 3, 2, 2), 0.5))[0, 0, 0, 0] == pytest.approx(0.0655, abs=1e-3)
