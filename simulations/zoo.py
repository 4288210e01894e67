"""Build the model that anyone may use: from generated faces alone, by one seed.

Nobody's face is in it, so nobody's consent is needed and its licence is our own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from core_model.data.recordings import Recording, read_recordings, write_recordings
from core_model.evaluation.model_run import People, evaluate_model
from core_model.evaluation.result import Measures
from core_model.recipe import load_recipe
from core_model.release.build import Order, build
from core_model.release.model_file import write_model
from core_model.run_folder import epoch_files, epoch_path
from core_model.training.recipe_run import run_recipe, split_recordings
from simulations.faces.site import drawing_pool, make_face_site
from simulations.faces.spec import LOOKS, FaceSiteSpec

RECIPE = "zoo_micro"
HELD_OUT = 0.2  # of the people at the known places: they choose the threshold
KNOWN = ("lab", "clinic", "office", "factory")
AWAY = "home"  # a place that the model never saw
PURPOSE = "To try Omote, and to test software that uses AU detectors. Not for decisions on people."
FIRST_NEW = 1000  # numbers of people who are only tested on


def build_zoo(out: Path, *, people: int, seed: int, tell: Callable[[str], None]) -> Path:
    """Draw faces, train, measure on new people, and write ``zoo_micro.onnx`` with its card.

    Args:
        out: Folder for faces, run and model; what is finished in it is taken as it is.
        people: At each of the four known places.
        seed: Of people and training.
        tell: Called with lines on what happens.

    Returns:
        The model's file.
    """
    out = out.resolve()
    recipe, cpu = load_recipe(RECIPE), torch.device("cpu")
    tell(f"drawing {people} people at each of {len(KNOWN)} places")
    groups = _draw(out, people, seed)
    run = out / "run"
    if not epoch_path(run, recipe.epochs).exists():
        for half in epoch_files(run):  # of an interrupted training
            half.unlink()
        run_recipe(
            recipe, groups["own"], run, held_out_share=HELD_OUT, seed=seed, device=cpu, tell=tell
        )
    held = split_recordings(groups["own"], None, HELD_OUT, seed)["validation"]
    write_recordings(out / "validation.csv", held)
    last = epoch_path(run, recipe.epochs)
    found = {
        name: evaluate_model(
            last, People(name, groups[name], held), protocols=["clean"], policy=None, device=cpu
        )
        for name in ("new", "away")
    }
    card = _card(
        people, seed, {name: result.protocols["clean"].macro for name, result in found.items()}
    )
    order = Order(last, "fp32", PURPOSE, card, "aligned5", validation=out / "validation.csv")
    content, _ = build(order, tell)
    path = out / f"{RECIPE}.onnx"
    write_model(path, content, None)
    return path


def _draw(out: Path, people: int, seed: int) -> dict[str, tuple[Recording, ...]]:
    def of(name: str, look: str, first: int, number: int, listing: str) -> tuple[Recording, ...]:
        spec = FaceSiteSpec(
            name=f"zoo-{name}-{look}",
            seed=seed,
            first_person=first,
            num_people=number,
            frames_per_recording=20,
            image_size=load_recipe(RECIPE).image_size,
            labelled_aus=load_recipe(RECIPE).action_units,
            recording_variation=0.6,
            look=LOOKS[look],
        )
        return read_recordings(make_face_site(spec, out, pool=pool) / listing)

    new = max(2, people // 4)
    with drawing_pool(2) as pool:
        own = [of("own", look, 200 * k, people, "recordings.csv") for k, look in enumerate(KNOWN)]
        met = [of("new", look, FIRST_NEW + 200 * k, new, "truth.csv")
               for k, look in enumerate(KNOWN)]  # fmt: skip
        away = of("away", AWAY, FIRST_NEW + 900, 4 * new, "truth.csv")
    return {"own": _flat(own), "new": _flat(met), "away": away}


def _flat(groups: Sequence[Sequence[Recording]]) -> tuple[Recording, ...]:
    return tuple(recording for group in groups for recording in group)


def _card(people: int, seed: int, found: dict[str, Measures]) -> str:
    def said(measures: Measures) -> str:
        f1, auc = measures["f1"], measures["auc"]
        return f"{f1.value:.3f} [{f1.low:.3f}, {f1.high:.3f}], AUC {auc.value:.3f}"

    return f"""# Micro detector of twelve Action Units, from generated faces

Made by `omote-sim zoo --people {people} --seed {seed}`: {people} generated people at each of
four places, none of them real. Licence Apache-2.0; the head model behind the faces is CC0.

**Can.** Show what Omote does, on any machine, without data of anybody. On generated people whom
it never saw: macro F1 {said(found["new"])}. At a place that it never
saw: {said(found["away"])}.

**Cannot.** Nothing is known about real faces: it never saw one, its pictures are 64 pixels, and
generated wrinkles are simpler than real ones. Expect it to be wrong. Do not use it on people for
any decision. Skin colour, age and glasses were varied in the generator; how well each group is
served was not studied.
"""
