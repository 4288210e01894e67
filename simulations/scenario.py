"""A simulated federation as a file: its sites, its people, and what is trained."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from core_model.action_units import UNION
from core_model.config import (
    EncoderConfig,
    FinetuneConfig,
    PretrainConfig,
    Settings,
    Size,
    encoder_config,
)
from core_model.settings_file import load_settings
from simulations.faces.spec import LOOKS, FaceSiteSpec
from simulations.private_arm import PrivateArm
from simulations.shipped import find_shipped

VALIDATION_SHARE = (
    5  # one person in so many of a site chooses the threshold and is never trained on
)


class ScenarioSite(Settings):
    """One site of the federation."""

    site_id: str
    look: str  # a name in simulations.faces.spec.LOOKS
    labelled_aus: tuple[int, ...]
    num_people: int = Field(gt=VALIDATION_SHARE)
    real_people: tuple[int, int] = (1, 0)  # first and last person of ORL, for pretraining


class Scenario(Settings):
    """Everything that a simulation depends on. Equal scenarios and seeds give equal numbers."""

    seed: int = Field(0, ge=0)
    size: Size = "micro"
    image_size: int = 64  # pixels
    sites: tuple[ScenarioSite, ...]
    unseen_look: str = "home"  # of the site that takes no part
    unseen_people: int = Field(gt=1)  # new people at each site's place
    unseen_site_people: int = Field(gt=1)
    recordings_per_person: int = Field(2, ge=2)
    frames_per_recording: int = Field(gt=0)
    shortcut_strength: float = Field(ge=0)  # how much AU rates differ by person
    recording_variation: float = Field(1.0, ge=0)  # of light and pose between recordings
    pretraining_rounds: int = Field(gt=0)
    finetuning_rounds: int = Field(gt=4)
    pretraining: PretrainConfig
    finetuning: FinetuneConfig  # with IAT; its reversal scale is that of the arm 'federated_iat'
    curve_scales: tuple[float, ...] = ()  # further reversal scales
    server_momentum: float = Field(0.0, ge=0, lt=1)  # of arms with more than one site
    server_learning_rate: float = Field(1.0, gt=0, le=2)
    private: PrivateArm | None = None  # None: no arm promises anything about a person

    @property
    def encoder(self) -> EncoderConfig:
        """The encoder of every arm."""
        return encoder_config(self.size, self.image_size)

    @property
    def action_units(self) -> tuple[int, ...]:
        """AUs that at least one site labels."""
        labelled = {au for site in self.sites for au in site.labelled_aus}
        return tuple(au for au in UNION if au in labelled)

    def face_specs(self) -> dict[str, FaceSiteSpec]:
        """Return the spec of every group of generated people.

        Names: a site's id for its own people, ``unseen-`` and the id for new people at its place,
        ``unseen-site`` for the site that takes no part, ``public`` for people at no site.
        """
        groups: list[tuple[str, str, tuple[int, ...], int]] = [
            (s.site_id, s.look, s.labelled_aus, s.num_people) for s in self.sites
        ]
        groups += [(f"unseen-{s.site_id}", s.look, UNION, self.unseen_people) for s in self.sites]
        groups.append(("unseen-site", self.unseen_look, UNION, self.unseen_site_people))
        if self.private is not None:  # last, so that nobody else's number changes
            look, people = self.private.public_look, self.private.public_people
            groups.append(("public", look, self.action_units, people))
        specs, first = {}, 0
        for name, look, aus, people in groups:
            specs[name] = FaceSiteSpec(
                name=name,
                seed=self.seed,
                first_person=first,
                num_people=people,
                recordings_per_person=self.recordings_per_person,
                frames_per_recording=self.frames_per_recording,
                image_size=self.image_size,
                labelled_aus=aus,
                shortcut_strength=self.shortcut_strength,
                recording_variation=self.recording_variation,
                look=LOOKS[look],
            )
            first += people
        return specs


def load_scenario(name: str, seed: int | None = None) -> Scenario:
    """Read a scenario: a file, or the name of one that is shipped.

    Raises:
        FileNotFoundError: There is none; names those that are shipped.
        SettingsError: It is not right; names file and field.
    """
    path = find_shipped(name, Path(__file__).parent / "scenarios", "scenario")
    scenario = load_settings(path, Scenario)
    return scenario if seed is None else scenario.model_copy(update={"seed": seed})
