"""Make all the people of a scenario, and hand out who is trained on and who is tested on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core_model.data.recordings import Recording, read_recordings, write_recordings
from simulations.faces.site import drawing_pool, make_face_site
from simulations.real_faces import write_orl_site
from simulations.scenario import VALIDATION_SHARE, Scenario, ScenarioSite

Progress = Callable[[int, int], None]
REAL_PROBE_PEOPLE = range(31, 41)  # of ORL: never trained on


@dataclass(frozen=True)
class People:
    """Lists of recordings of one scenario, in ``folder``.

    * ``<site>.csv``: a site's people to train on, as its coder labelled them
    * ``<site>.real.csv``: real people for pretraining, if the site has some
    * ``<site>.validation.csv``: its people that choose the threshold
    """

    folder: Path
    groups: dict[str, Path]  # folder of the generated faces of each group

    def training(self, site: ScenarioSite) -> list[Path]:
        """Return the lists that a site trains on."""
        real = self.folder / f"{site.site_id}.real" / "recordings.csv"
        return [self.groups[site.site_id] / "training.csv", *([real] if real.exists() else [])]

    def validation(self, sites: Sequence[ScenarioSite]) -> list[Recording]:
        """Return recordings of people that no arm trains on, as their sites labelled them."""
        lists = [self.groups[s.site_id] / "validation.csv" for s in sites]
        return [r for listing in lists for r in read_recordings(listing)]

    def public(self) -> Path:
        """Return the list of the public people to train on."""
        return self.groups["public"] / "training.csv"

    def public_validation(self) -> list[Recording]:
        """Return recordings of public people that no arm trains on."""
        return list(read_recordings(self.groups["public"] / "validation.csv"))

    def unseen_people(self, sites: Sequence[ScenarioSite]) -> list[Recording]:
        """Return recordings of new people at the known places, with true labels."""
        lists = [self.groups[f"unseen-{s.site_id}"] / "truth.csv" for s in sites]
        return [r for listing in lists for r in read_recordings(listing)]

    def unseen_site(self) -> list[Recording]:
        """Return recordings of the site that takes no part, with true labels."""
        return list(read_recordings(self.groups["unseen-site"] / "truth.csv"))

    def real_probe(self) -> list[Recording]:
        """Return recordings of real people that no arm trains on."""
        return list(read_recordings(self.folder / "real-probe" / "recordings.csv"))


def make_people(
    scenario: Scenario, folder: Path, cache: Path, workers: int, progress: Progress
) -> People:
    """Make the faces of a scenario, or take them from ``cache``."""
    specs = scenario.face_specs()
    total, before, groups = sum(s.num_people for s in specs.values()), 0, {}
    with drawing_pool(workers) as pool:
        for name, spec in specs.items():
            tell = partial(_tell, progress, before, total)
            groups[name] = make_face_site(spec, cache, pool=pool, progress=tell)
            before += spec.num_people
            progress(before, total)
    if "public" in groups:
        split_people(groups["public"])
    for site in scenario.sites:
        split_people(groups[site.site_id])
        first, last = site.real_people
        if last >= first:
            out = folder / f"{site.site_id}.real"
            write_orl_site(out, range(first, last + 1), scenario.image_size)
    write_orl_site(folder / "real-probe", REAL_PROBE_PEOPLE, scenario.image_size)
    return People(folder, groups)


def _tell(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    progress(before + done, total)


def split_people(group: Path) -> None:
    """Write who of a site is trained on, and who chooses the threshold."""
    recordings = read_recordings(group / "recordings.csv")
    people = sorted({r.subject_id for r in recordings})
    held_out = set(people[::VALIDATION_SHARE])
    write_recordings(
        group / "training.csv", [r for r in recordings if r.subject_id not in held_out]
    )
    write_recordings(group / "validation.csv", [r for r in recordings if r.subject_id in held_out])
