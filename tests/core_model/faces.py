"""A site of tiny coloured images: enough to run commands on, nothing to learn a face from."""

import cv2
import numpy as np

from core_model.data.labels import UNKNOWN, Labels, write_labels
from core_model.data.recordings import Recording, write_recordings


def write_site(
    folder, num_people=6, recordings=2, frames=8, aus=(1, 2, 4, 6, 9, 12, 25, 26), first_person=0
):
    """Write a site whose brightness tells AU 12 and whose colour tells the person."""
    folder.mkdir(parents=True)
    listed = []
    for person in range(first_person, first_person + num_people):
        colour = np.random.default_rng([7, person]).uniform(60, 160, 3)
        for number in range(recordings):
            chance = np.random.default_rng([8, person, number])
            name = f"subj-{person}-r{number}"
            (folder / name).mkdir()
            values = chance.integers(0, 5, (frames, len(aus))).astype(np.int8)
            values[chance.random(values.shape) < 0.05] = UNKNOWN
            for i in range(frames):
                smile = 50.0 * (2 <= values[i, aus.index(12)] < UNKNOWN)
                image = colour + smile + chance.normal(0, 8, (64, 64, 3))
                path = str(folder / name / f"{i + 1:06d}.png")
                assert cv2.imwrite(path, image.clip(0, 255).astype(np.uint8))
            write_labels(folder / f"{name}.csv", Labels(aus, np.arange(1, frames + 1), values))
            listed.append(
                Recording(
                    recording_id=name, subject_id=f"subj-{person}", frames=folder / name,
                    labels=folder / f"{name}.csv", licence="CC0-1.0",
                )
            )  # fmt: skip
    listing = folder / "recordings.csv"
    write_recordings(listing, listed)
    return listing
