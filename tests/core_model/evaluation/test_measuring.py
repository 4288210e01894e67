"""Figures of a model on a public set: the clean protocol and the identity probe, whole or not."""

import shutil

import numpy as np
import pytest
import torch

from core_model.checkpoint import load_checkpoint
from core_model.config import EncoderConfig
from core_model.data.frames import FrameDataset
from core_model.data.labels import UNKNOWN, read_labels, write_labels
from core_model.data.recordings import read_recordings, write_recordings
from core_model.evaluation.figures import Job, ModelToMeasure, read_figures, write_figures
from core_model.evaluation.identity import identity_probe
from core_model.evaluation.measuring import measure_all
from core_model.evaluation.model_run import People, evaluate_model
from core_model.evaluation.public_set import PublicSet, read_public
from simulations.loop import write_initial
from tests.core_model.faces import write_site

AUS = (1, 2, 12)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model of chance, twelve people to test on and five others."""
    root = tmp_path_factory.mktemp("public")
    encoder = EncoderConfig(image_size=64, patch_size=16, embed_dim=16, depth=1, num_heads=2)
    write_initial(root / "model.safetensors", encoder, AUS, seed=3)
    write_site(root / "test", num_people=12)
    write_site(root / "others", num_people=5, first_person=40)
    return root


@pytest.fixture
def root(made, tmp_path):
    """A copy to change."""
    return shutil.copytree(made, tmp_path / "public")


def settings(root, *, validation=True):
    others = (root / "others" / "recordings.csv",) if validation else ()
    return PublicSet(recordings=(root / "test" / "recordings.csv",), validation=others)


def measured(root, public=None):
    out = root / "figures" / "round-0002.json"
    model = ModelToMeasure(round=2, checkpoint=root / "model.safetensors", out=out)
    wrong = measure_all(Job(public=public or settings(root), models=(model,)), CPU)
    return read_figures(out), wrong


def test_they_are_those_of_the_clean_protocol_and_the_identity_probe(root) -> None:
    figures, wrong = measured(root)
    assert (wrong, figures.left_out) == ((), {})
    public = read_public(settings(root))
    people = People("x", public.test, public.validation)
    model = root / "model.safetensors"
    other = evaluate_model(model, people, protocols=["clean"], policy=None, device=CPU)
    clean = other.protocols["clean"]
    assert figures.macro_f1 == clean.macro["f1"]
    assert figures.f1 == {au: values["f1"] for au, values in clean.per_au.items()}
    assert figures.threshold_policy == "val_swept_common"
    assert set(clean.thresholds.values()) == {figures.threshold}
    assert (figures.data.num_people, figures.data.num_validation_people) == (12, 5)
    assert figures.model == load_checkpoint(model)[1].digest
    dataset = FrameDataset(public.test, 64, AUS)
    recordings = np.unique(dataset.recording_ids, return_inverse=True)[1]
    labels = identity_probe(dataset.aus.numpy(), dataset.identities.numpy(), recordings)
    assert figures.probe.labels == labels.accuracy
    assert figures.probe.accuracy > 0.5 > labels.accuracy  # colour tells who it is
    assert figures.probe.chance == pytest.approx(1 / 12)


def test_the_people_tested_on_never_choose_the_threshold(root) -> None:
    """Other labels of those tested on change F1 and no threshold."""
    before, _ = measured(root)
    for recording in read_recordings(root / "test" / "recordings.csv"):
        labels = read_labels(recording.labels)
        flipped = np.where(labels.intensities == UNKNOWN, UNKNOWN, 5 - labels.intensities)
        write_labels(recording.labels, labels.__class__(labels.aus, labels.frames, flipped))
    after, _ = measured(root)
    assert after.threshold == before.threshold
    assert after.macro_f1 != before.macro_f1
    assert after.people != before.people
    alone, _ = measured(root, settings(root, validation=False))
    assert (alone.threshold, alone.threshold_policy) == (0.5, "fixed_0.5")


def test_without_a_second_recording_nobody_can_be_probed(root) -> None:
    listing = root / "test" / "recordings.csv"
    write_recordings(listing, read_recordings(listing)[1:])
    figures, _ = measured(root)
    assert figures.probe is None
    assert figures.macro_f1.value is not None


def test_a_model_that_cannot_be_read_is_told_and_the_others_are_measured(root) -> None:
    broken = ModelToMeasure(round=3, checkpoint=root / "none", out=root / "figures" / "3.json")
    whole = broken.model_copy(
        update={"round": 2, "checkpoint": root / "model.safetensors", "out": root / "2.json"}
    )
    wrong = measure_all(Job(public=settings(root), models=(broken, whole)), CPU)
    assert [w.split(":")[0] for w in wrong] == ["round 3"]
    assert read_figures(root / "2.json").round == 2
    assert not (root / "figures" / "3.json").exists()


def test_someone_who_is_tested_on_cannot_choose_the_threshold(root) -> None:
    listing = root / "test" / "recordings.csv"
    both = PublicSet(recordings=(listing,), validation=(listing,))
    with pytest.raises(ValueError, match="12 people are among both recordings and validation"):
        read_public(both)
    with pytest.raises(ValueError, match="in two lists"):
        read_public(PublicSet(recordings=(listing, listing)))


def test_a_file_that_was_cut_off_at_any_byte_is_not_read(root) -> None:
    figures, _ = measured(root)
    path = root / "cut.json"
    write_figures(path, figures)
    whole = path.read_bytes()
    assert read_figures(path) == figures
    for length in range(0, len(whole) - 2, 7):
        path.write_bytes(whole[:length])
        assert read_figures(path) is None
