"""A site with a few people and a recipe of seconds, for tests of training at the site alone."""

from __future__ import annotations

from pathlib import Path

from core_model.config import FinetuneConfig, OptimiserConfig, PretrainConfig
from core_model.recipe import Recipe
from fl_client.local_run import Result, Wishes, train_here
from fl_client.long_training import Loop
from fl_client.site import Site, open_site
from fl_client.stopping import Stop
from simulations.sites import SiteFolder, write_site
from tests.federation import write_faces

AUS = (1, 2)
OPTIMISER = OptimiserConfig(learning_rate=1e-3, batch_size=8)
COMMON = {"size": "micro", "image_size": 32, "starts_from": "fresh weights", "title": "Test"}
FINETUNING = Recipe(
    **COMMON, name="finetuning", aus="1,2", epochs=3,
    training=FinetuneConfig(
        optimiser=OPTIMISER, reversal="relative", reversal_scale=0.5, drop_path=0.1
    ),
)  # fmt: skip
PRETRAINING = Recipe(
    **COMMON, name="pretraining", epochs=3,
    training=PretrainConfig(
        optimiser=OPTIMISER, decoder_dim=16, decoder_depth=1, decoder_heads=2, mask_ratio=0.5
    ),
)  # fmt: skip
RECIPES = {"finetuning": FINETUNING, "pretraining": PRETRAINING}
HELD_OUT = {"held_out": 0.35, "seed": 2}  # two of six people: p2 and p3


def write_pilot(root: Path, people: int = 6, **caps: object) -> SiteFolder:
    """Write a site."""
    listing = write_faces(root / "data", "clinic", AUS, people=people)
    allowed = {"allows_training_without_privacy": True, **caps}
    return write_site(root, "clinic", [listing], labelled_aus=AUS, seed=0, caps=allowed)


class Silent:
    """A bar that counts, and asks to stop after a step."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop, self.stop_after = Stop(), stop_after
        self.began_at = self.step = self.num_steps = 0

    def begin(self, num_steps: int, done: int) -> None:
        self.num_steps, self.began_at = num_steps, done

    def advance(self, done, epochs: int) -> None:
        self.step = done.step
        self.stop.is_asked = done.step == self.stop_after


def train(
    folder: SiteFolder | Site, out: Path, purpose: str = "finetuning", bar: Silent | None = None,
    say=lambda _: None, loop: dict[str, object] | None = None, **wishes: object,
) -> Result:  # fmt: skip
    """Train at the site."""
    site = folder if isinstance(folder, Site) else open_site(folder.config)
    bar = bar or Silent()
    asked = Wishes(**{"recipe": RECIPES[purpose], "out": out, **HELD_OUT, **wishes})
    return train_here(asked, Loop(stop=bar.stop, bar=bar, **(loop or {})), site, say)
