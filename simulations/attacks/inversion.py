"""Draw the face again from what an update holds of one image.

Closed form (APRIL, arXiv 2112.14087): where positions train, their gradient is the signal at every
patch; the gradient of the patch projection is the product of that signal with the patches, so the
patches are the solution of linear equations. Our encoder never trains positions (docs/adr/0010).
The attacker who lacks them searches for a picture with the same gradient (Geiping et al., arXiv
2003.14053).

Shapes: L = patches, D = features, V = values of a patch, S = image side.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from core_model.config import EncoderConfig
from core_model.data.augment import MEAN, STD, standardise
from core_model.data.frames import FrameDataset
from core_model.data.recordings import read_recordings
from core_model.evaluation.attack_result import Row
from core_model.evaluation.bootstrap import draw_people
from core_model.evaluation.metrics import Score
from core_model.nn.iat import IATModel, au_losses
from core_model.privacy.chance import SimulationChance, add_noise
from core_model.training.seeds import derive_seed
from simulations.attacks.setting import AUS, Setting
from simulations.attacks.training import plan_of, settings_of
from simulations.real_faces import IMAGES_PER_PERSON, NUM_PEOPLE, orl_folder, write_orl_site

SIDE, EPSILON = 64, 8.0
ENCODER = EncoderConfig(
    image_size=SIDE, patch_size=8, embed_dim=96, depth=1, num_heads=4, positions="stored"
)
SMOOTH = 2e-2  # weight of total variation in a search
OPEN = "one image, positions trained and sent"
OURS = "one image, as here: positions fixed, found by search"
MEAN_OF = f"mean of {IMAGES_PER_PERSON // 2} images of a person, positions trained and sent"
NOISY = f"one image, positions trained and sent, epsilon {EPSILON:g} a step"
UNDEFENDED = (OPEN, MEAN_OF)
PATCHES = ("encoder.patches.project.weight", "encoder.positions.table")


@dataclass(frozen=True)
class Album:
    """Pictures of people, two recordings of each, and what was drawn from updates."""

    enrolled: Tensor  # (everybody, images, 3, S, S) of the first recording
    hidden: Tensor  # (attacked people, images, 3, S, S) of the second; the first of everybody
    drawn: dict[str, Tensor]  # by what the attacker saw: the first hidden image, (People, 3, S, S)


def reconstruct(setting: Setting) -> tuple[Row, ...]:
    """Compare what was drawn with what was hidden, in decibels."""
    made = album(setting)
    target = made.hidden[:, 0]
    average = made.enrolled.mean(dim=(0, 1))
    guess = float(_psnr(average.expand_as(target), target).mean())
    rows = []
    for against, pictures in made.drawn.items():
        each = _psnr(pictures, target)
        drawn = (draw_people(len(each)) @ each) / len(each)
        score = Score.of(float(each.mean()), drawn, len(each))
        rows.append(
            Row.of(against, "PSNR, dB", score, guess, is_baseline=against == OPEN,
                   is_reference=against in UNDEFENDED)
        )  # fmt: skip
    return tuple(rows)


@lru_cache(maxsize=1)
def album(setting: Setting) -> Album:
    """Take the first hidden image of each person, make its update, and draw it again."""
    faces = pictures_of(setting)
    people = min(setting.effort.pictures, len(faces.subjects))
    shots = [_by_recording(faces, person) for person in range(len(faces.subjects))]
    enrolled = torch.stack([first for first, _ in shots])
    hidden = torch.stack([second for _, second in shots[:people]])
    model = _detector(setting.seed)
    drawn: dict[str, list[Tensor]] = {OPEN: [], MEAN_OF: [], NOISY: [], OURS: []}
    for person, images in enumerate(hidden):
        aus = torch.randint(0, 2, (1, len(AUS)), generator=_generator(setting, person)).float()
        sent = _gradient(model, images[:1], aus)
        drawn[OPEN].append(solve(sent))
        drawn[MEAN_OF].append(solve(_gradient(model, images, aus.expand(len(images), -1))))
        drawn[NOISY].append(solve(_noisy(sent, derive_seed(setting.seed, "noise", person))))
        ours = {n: g for n, g in sent.items() if n != PATCHES[1]}
        drawn[OURS].append(
            search(model, ours, aus, setting.effort.iterations, _generator(setting, -1 - person))
        )
    return Album(enrolled, hidden, {name: torch.stack(found) for name, found in drawn.items()})


def solve(gradient: dict[str, Tensor]) -> Tensor:
    """Return the image whose patches solve the equations. Shape: (3, S, S), in [0, 1]."""
    signal = gradient[PATCHES[1]][1:].double()  # (L, D); row 0 is the class token's
    projected = gradient[PATCHES[0]].double()  # (D, 3, side, side)
    patches = torch.linalg.pinv(signal.T, rtol=1e-6) @ projected.flatten(1)  # (L, V)
    side, size = ENCODER.image_size // ENCODER.patch_size, ENCODER.patch_size
    grid = patches.view(side, side, 3, size, size).permute(2, 0, 3, 1, 4)
    return _shown(grid.reshape(3, ENCODER.image_size, ENCODER.image_size).float())


def search(
    model: IATModel, sent: dict[str, Tensor], aus: Tensor, iterations: int, chance: torch.Generator
) -> Tensor:
    """Return an image whose gradient points where the sent one does. Shape: (3, S, S).

    The attacker knows the labels, and that there is one image: the strongest case.
    """
    image = (0.1 * torch.randn(1, 3, SIDE, SIDE, generator=chance)).requires_grad_()
    optimiser = torch.optim.Adam([image], lr=0.05)
    wanted = torch.cat([g.flatten() for g in sent.values()])
    weights = [w for n, w in model.named_parameters() if n in sent]
    for step in range(iterations):
        optimiser.param_groups[0]["lr"] = 0.05 * (1 - step / iterations) + 1e-3
        with sdpa_kernel(SDPBackend.MATH):  # the fast kernel has no second derivative
            loss = au_losses(model(image)[0], aus, torch.ones_like(aus)).mean()
            found = torch.autograd.grad(loss, weights, create_graph=True)
            flat = torch.cat([g.flatten() for g in found])
            rough = image.diff(dim=-1).abs().mean() + image.diff(dim=-2).abs().mean()
            apart = 1 - F.cosine_similarity(flat, wanted, dim=0)
            optimiser.zero_grad()
            (apart + SMOOTH * rough).backward()
        optimiser.step()
    return _shown(image.detach()[0])


def pictures_of(setting: Setting) -> FrameDataset:
    """Return photographs of real people (ORL), or generated ones where these are not installed."""
    try:
        orl_folder()
    except FileNotFoundError:
        return setting.pictures(SIDE)
    with tempfile.TemporaryDirectory() as folder:
        listing = write_orl_site(Path(folder), range(1, NUM_PEOPLE + 1), SIDE)
        return FrameDataset(read_recordings(listing), SIDE)


def as_bytes(images: Tensor) -> NDArray[np.uint8]:
    """Return pictures for others. Shape: (N, 3, S, S) -> (N, S, S, 3)."""
    return (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def _detector(seed: int) -> IATModel:
    """Return a detector whose positions train, with a head that sends signals back."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "inverted weights"))
        model = IATModel(ENCODER, AUS, 1, settings_of())
        torch.nn.init.normal_(model.au_head.weight, std=0.3)
    model.requires_grad_(True)
    return model.eval()


def _gradient(model: IATModel, images: Tensor, aus: Tensor) -> dict[str, Tensor]:
    loss = au_losses(model(standardise(images))[0], aus, torch.ones_like(aus)).mean()
    weights = {n: w for n, w in model.named_parameters() if not n.startswith("identity_head.")}
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))


def _noisy(gradient: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Clip to length 1 and add the noise of one private step."""
    flat = torch.cat([g.flatten() for g in gradient.values()])
    noise = plan_of(EPSILON, 1, 1).noise_multiplier
    noisy = add_noise(flat / flat.norm(), noise, SimulationChance(seed))
    parts = noisy.split([g.numel() for g in gradient.values()])
    return {n: p.view_as(g) for (n, g), p in zip(gradient.items(), parts, strict=True)}


def _by_recording(faces: FrameDataset, person: int) -> tuple[Tensor, Tensor]:
    own = torch.nonzero(faces.identities == person).flatten()
    first, second = own.split(len(own) // 2)[:2]
    return faces[first].images, faces[second].images


def _shown(image: Tensor) -> Tensor:
    """Undo the standardisation. Shape: (3, S, S), in [0, 1]."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    return (image * std + mean).clamp(0, 1)


def _psnr(pictures: Tensor, targets: Tensor) -> NDArray[np.float64]:
    error = (pictures - targets).double().square().mean(dim=(1, 2, 3)).clamp(min=1e-10)
    return np.asarray((-10 * error.log10()).numpy())


def _generator(setting: Setting, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(setting.seed, "inversion", number))
