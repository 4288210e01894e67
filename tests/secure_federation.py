"""A tiny federation on disk whose updates are added up in secret."""

from __future__ import annotations

from pathlib import Path

from fl_server.config import FederationConfig, Stage
from simulations.sites import SiteFolder, introduce, write_site
from tests.federation import FINETUNING, PRETRAINING, write_faces, write_federation

LABELLED = {
    "site-a": (1, 2),
    "site-b": (2, 4),
    "site-c": (1, 2, 4),
    "site-d": (1, 2),
    "site-e": (2,),
}
LENIENT = {"min_sites": 2, "min_sites_per_row": 1}


def write_secure_sites(
    root: Path, num: int = 3, people: int = 2, **secure_caps: object
) -> dict[str, SiteFolder]:
    """Write some sites that know each other's keys."""
    folders = {
        site_id: write_site(
            root / site_id,
            site_id,
            [write_faces(root / site_id / "data", site_id, aus, people)],
            labelled_aus=aus,
            seed=0,
            caps={"allows_training_without_privacy": True},
        )
        for site_id, aus in list(LABELLED.items())[:num]
    }
    introduce(folders, {**LENIENT, **secure_caps})
    return folders


def write_secure_federation(
    root: Path,
    folders: dict[str, SiteFolder],
    threshold: int = 2,
    *,
    is_secure: bool = True,
    max_frames: int | None = None,
    max_update_norm: float = 50.0,
    **changes: object,
) -> FederationConfig:
    """Return one pretraining and one fine-tuning round; the same in clear to compare with."""
    secure = {"threshold": threshold, "max_frames": max_frames} if is_secure else None
    stages = tuple(
        Stage(rounds=1, training=t, max_update_norm=max_update_norm, secure_sum=secure)
        for t in (PRETRAINING, FINETUNING)
    )
    wanted = {"stages": stages, "join_timeout_s": 0.0, **changes}
    return write_federation(root, folders, **wanted)
