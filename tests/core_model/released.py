"""A small released model, people to film, and permits: all made here in a second or two."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

import cv2
import numpy as np

from consent.permit import permit_text
from consent.policy import decide_use, parse_declaration
from consent.rulebook import load_rule_book
from core_model.checkpoint import CheckpointManifest, save_checkpoint
from core_model.config import encoder_config
from core_model.nn.initial import initial_weights
from core_model.protocol.messages import digest
from core_model.release.build import Order, build
from simulations.real_faces import orl_folder

AUS = (1, 2, 4, 6, 9, 12, 25, 26)
CARD = "# A model for tests\n\nIt was trained on nothing and knows nothing about faces."
PURPOSE = "Tests of the programs around a model"
USE = """
title = "Tests"
output_kind = ["au"]
context = ["research"]
effect = ["research"]
subject_relation = ["volunteer"]
purposes = ["deployment"]
data_terms = ["own_recordings"]
consent = "explicit"
overrides = []
[jurisdictions]
subjects = ["DE"]
sites = ["DE"]
deployment = ["DE"]
"""
NOTICE = f'[[evidence]]\nkind = "posted_notice"\nsha256 = "{"0" * 64}"\n'


def write_checkpoint(path, *, size="micro", image_size=64, licence="Apache-2.0"):
    """Write fresh weights whose AU head says different things of different faces."""
    encoder = encoder_config(size, image_size)
    arrays, schema = initial_weights(encoder, AUS, seed=3)
    chance = np.random.default_rng(3)
    arrays["au_head.weight"] = chance.normal(
        0, 0.3, arrays["au_head.weight"].shape
    ).astype(np.float32)  # fmt: skip
    manifest = CheckpointManifest(
        digest=digest(arrays), weights=schema, encoder=encoder, action_units=AUS, licence=licence
    )
    save_checkpoint(path, arrays, manifest)
    return path


def order(checkpoint, **changes):
    """Return an order for a release."""
    usual = {"precision": "fp32", "purpose": PURPOSE, "card": CARD, "recipe": "aligned5"}
    return Order(checkpoint=checkpoint, **(usual | changes))


@lru_cache(maxsize=1)
def release_bytes(folder):
    """Return a released model of fp32. ``folder`` is where its checkpoint goes."""
    return build(order(write_checkpoint(folder / "weights.safetensors")), lambda _: None)[0]


def orl_face(person, number, side=220):
    """Return a photograph of a person (1-40), number 1-10, grown to a usual size. RGB."""
    grey = cv2.imread(str(orl_folder() / f"s{person}" / f"{number}.pgm"), cv2.IMREAD_GRAYSCALE)
    height = round(side * grey.shape[0] / grey.shape[1])
    return cv2.cvtColor(cv2.resize(grey, (side, height)), cv2.COLOR_GRAY2RGB)


def scene(t, people=(1, 4), width=640, height=480):
    """Return frame ``t`` of people who sway. RGB."""
    image = np.full((height, width, 3), 128, np.uint8)
    for k, person in enumerate(people):
        face = orl_face(person, 1)
        x = 40 + 310 * k + round(20 * np.sin(t / 8 + k))
        y = 100 + round(12 * np.cos(t / 10 + k))
        image[y : y + face.shape[0], x : x + face.shape[1]] = face
    return image


def write_video(path, num_frames, people=(1, 4)):
    """Write a video of ``scene``."""
    file = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (640, 480))
    for t in range(num_frames):
        file.write(cv2.cvtColor(scene(t, people), cv2.COLOR_RGB2BGR))
    file.release()
    return path


def permit_of(use=USE + NOTICE, days_ago=0):
    """Return the text of a permit, as omote-consent policy permit writes it."""
    declared = parse_declaration(use)
    at = datetime.now(UTC) - timedelta(days=days_ago)
    return permit_text(declared, decide_use(declared, load_rule_book(), at))
