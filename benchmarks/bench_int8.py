"""What int8 costs in F1, on people other than those whose crops fixed its ranges.

    python benchmarks/bench_int8.py                       # micro at 64 pixels; five minutes
    python benchmarks/bench_int8.py --size tiny --pixels 112 --people 60 --epochs 12

Trains a detector on generated faces, releases it in fp32, fp16 and int8 (calibrated on people in
training, threshold chosen by a third group), and reads the same new people with all of them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from core_model.data.frames import FrameDataset
from core_model.data.recordings import read_recordings
from core_model.evaluation.metrics import Predictions
from core_model.predictor import Predictor
from core_model.recipe import Recipe, load_recipe
from core_model.release.build import Order, build
from core_model.release.fit import f1_by_au
from core_model.release.model_file import read_model, write_model
from core_model.run_folder import epoch_path
from core_model.training.recipe_run import run_recipe
from simulations.faces.site import CACHE, make_face_site
from simulations.faces.spec import LOOKS, FaceSiteSpec

PRECISIONS = ("fp32", "fp16", "int8")
FIRST_HELD, FIRST_NEW = 500, 1000  # numbers of people


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("micro", "tiny", "small"), default="micro")
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--people", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    recipe = load_recipe("zoo_micro").model_copy(
        update={"size": options.size, "image_size": options.pixels, "epochs": options.epochs}
    )
    with tempfile.TemporaryDirectory() as folder:
        compare(recipe, options.people, options.seed, Path(folder))


def compare(recipe: Recipe, people: int, seed: int, folder: Path) -> None:
    """Train, release in each precision, and print F1 of the same new people."""
    own = draw(recipe, seed, 0, people) / "recordings.csv"
    held = draw(recipe, seed, FIRST_HELD, max(8, people // 4)) / "recordings.csv"
    new = draw(recipe, seed, FIRST_NEW, 40) / "truth.csv"
    begin = time.perf_counter()
    run_recipe(
        recipe, read_recordings(own), folder / "run", held_out_share=0.1, seed=seed,
        device=torch.device("cpu"), tell=lambda _: None,
    )  # fmt: skip
    minutes = (time.perf_counter() - begin) / 60
    print(f"{recipe.size} at {recipe.image_size} pixels, {people} people, seed {seed}: "
          f"{minutes:.1f} minutes of training")  # fmt: skip
    found = {}
    for precision in PRECISIONS:
        order = Order(
            epoch_path(folder / "run", recipe.epochs), precision, "To be measured, not used",
            "Generated faces only. " * 3, "aligned5", validation=held,
            calibration=own, max_f1_loss=1.0,
        )  # fmt: skip
        path = folder / f"{precision}.onnx"
        write_model(path, build(order, lambda _: None)[0], None)
        found[precision] = read(path, new, recipe)
        f1 = found[precision]
        loss = np.mean([found["fp32"][au] - f1[au] for au in f1])
        worst = max(f1, key=lambda au: found["fp32"][au] - f1[au])
        print(f"{precision}: macro F1 {np.mean(list(f1.values())):.4f}, loss {loss:+.4f}, "
              f"worst AU{worst} {found['fp32'][worst] - f1[worst]:+.4f}")  # fmt: skip


def draw(recipe: Recipe, seed: int, first: int, people: int) -> Path:
    """Return the folder of some generated people at one place."""
    spec = FaceSiteSpec(
        name="int8", seed=seed, first_person=first, num_people=people, frames_per_recording=20,
        image_size=recipe.image_size, labelled_aus=recipe.action_units, recording_variation=0.6,
        look=LOOKS["lab"],
    )  # fmt: skip
    return make_face_site(spec, CACHE)


def read(path: Path, listing: Path, recipe: Recipe) -> dict[int, float]:
    """Return F1 of each AU with the released model's own thresholds."""
    model = read_model(path, [], may_be_unsigned=True)
    predictor = Predictor(model)
    dataset = FrameDataset(read_recordings(listing), recipe.image_size, recipe.action_units)
    crops = [(b.images * 255).round().byte().permute(0, 2, 3, 1).numpy()
             for b in dataset.in_order(64)]  # fmt: skip
    probabilities = np.concatenate([predictor.predict(c).probabilities for c in crops])
    labels = Predictions(
        recipe.action_units, probabilities, dataset.aus.numpy(), dataset.known.numpy(),
        dataset.identities.numpy(),
    )  # fmt: skip
    thresholds = np.array([model.card.thresholds[au] for au in recipe.action_units])
    return f1_by_au(labels, thresholds)


if __name__ == "__main__":
    main()
