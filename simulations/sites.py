"""Write a whole site to disk, as an operator would have it: keys, consent log, site.toml."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from consent.events import ConsentEvent
from consent.keys import SigningKey
from consent.model import Grant, NoticeRef, Purpose, Role
from consent.policy_log import set_rules
from consent.registry import Registry
from consent.site_folder import OWN_ROLES
from consent.site_keys import key_name
from consent.subject_events import ConsentGiven, SubjectRegistered
from core_model.data.recordings import read_recordings
from fl_server.config import EnrolledSite

NOTICE = (
    "This person does not exist, or is in a published research data set. "
    "The notice stands for the text that a site would show."
)
USE = """\
title = "Simulation: train an Action Unit detector"
output_kind = ["au"]
context = ["research"]
effect = ["research"]
subject_relation = ["volunteer"]
purposes = ["pretraining", "finetuning"]
data_terms = ["own_recordings"]
consent = "explicit"

[jurisdictions]
subjects = ["EU"]
sites = ["EU"]
deployment = ["EU"]
"""


@dataclass(frozen=True)
class SiteFolder:
    """A site on disk, with the keys that its staff would hold."""

    folder: Path
    site_id: str
    labelled_aus: tuple[int, ...]
    keys: Mapping[Role, SigningKey]

    @property
    def config(self) -> Path:
        """The site.toml."""
        return self.folder / "site.toml"

    @property
    def consent(self) -> Registry:
        """The consent of its people."""
        return Registry.open(self.folder / "consent", now)

    def enrolment(self, weight: float = 1.0) -> EnrolledSite:
        """What the server operator is told about this site."""
        return EnrolledSite(
            site_id=self.site_id,
            key=self.keys[Role.OPERATOR].verifier.vkey,
            log_key=self.keys[Role.LOG].verifier.vkey,
            labelled_aus=self.labelled_aus,
            weight=weight,
        )

    def withdraw(self, subject_id: str, purposes: Sequence[Purpose]) -> None:
        """Record that a person takes consent back."""
        self.consent.withdraw(subject_id, purposes)


def write_site(
    folder: Path,
    site_id: str,
    listings: Sequence[Path],
    *,
    labelled_aus: tuple[int, ...],
    seed: int,
    threads: int = 1,
    caps: Mapping[str, object] | None = None,
) -> SiteFolder:
    """Write a site whose people all consent: to pretraining, and to fine-tuning if labelled.

    Args:
        folder: Empty or not there yet.
        site_id: Public name.
        listings: Lists of recordings in the standard format.
        labelled_aus: AUs that the site trains.
        seed: Of the keys, so that a simulation can be repeated.
        threads: Of the processor, for its training.
        caps: What differs from the default caps.

    Raises:
        KeyFileError: There is a site already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    site = _site_folder(folder, site_id, labelled_aus, seed)
    consent = Registry.create(folder / "consent", site_id, now, keys=site.keys)
    notice = consent.publish_notice("simulation", "en", NOTICE, list(Purpose))
    set_rules(consent, [], [])
    (folder / "use.toml").write_text(USE)
    consent.append(list(_consents(listings, notice)), Role.REGISTRAR)
    lines = {
        "site_id": site_id,
        "recordings": [str(p.resolve()) for p in listings],
        "consent": "consent",
        "state": "state",
        "use": "use.toml",
        "labelled_aus": list(labelled_aus),
        "threads": threads,
    }
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
    text += "\n[caps]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in (caps or {}).items())
    site.config.write_text(text)
    return site


def introduce(folders: Mapping[str, SiteFolder], secure_caps: Mapping[str, object]) -> None:
    """Have each site know the keys of the others, as their operators would read them out.

    Args:
        folders: The sites.
        secure_caps: With how many each of them adds up in secret.
    """
    for own in folders.values():
        keys = {f.site_id: f.enrolment().key for f in folders.values() if f is not own}
        lines = ["[caps.secure_sum]", *(f"{k} = {json.dumps(v)}" for k, v in secure_caps.items())]
        lines += ["[peers]", *(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in keys.items())]
        own.config.write_text("\n".join([own.config.read_text(), *lines]) + "\n")


def site_at(
    folder: Path,
    site_id: str,
    listings: Sequence[Path],
    *,
    labelled_aus: tuple[int, ...],
    seed: int,
    caps: Mapping[str, object] | None = None,
) -> SiteFolder:
    """Return the site in ``folder`` as it stands; write it if it is not there."""
    if (folder / "site.toml").exists():
        return _site_folder(folder, site_id, labelled_aus, seed)
    shutil.rmtree(folder, ignore_errors=True)  # an interrupted write
    return write_site(folder, site_id, listings, labelled_aus=labelled_aus, seed=seed, caps=caps)


def _site_folder(
    folder: Path, site_id: str, labelled_aus: tuple[int, ...], seed: int
) -> SiteFolder:
    keys = {role: _key(key_name(site_id, role), seed) for role in OWN_ROLES}
    return SiteFolder(folder, site_id, labelled_aus, keys)


def _consents(listings: Sequence[Path], notice: NoticeRef) -> Iterator[ConsentEvent]:
    purposes: dict[str, set[Purpose]] = {}
    for listing in listings:
        for recording in read_recordings(listing):
            agreed = purposes.setdefault(recording.subject_id, {Purpose.PRETRAINING})
            if recording.labels is not None:
                agreed.add(Purpose.FINETUNING)
    form = hashlib.sha256(b"a simulated person signs nothing").hexdigest()
    for subject_id, agreed in sorted(purposes.items()):
        grants = tuple(Grant(purpose=purpose) for purpose in sorted(agreed))
        yield SubjectRegistered(subject_id=subject_id)
        yield ConsentGiven(subject_id=subject_id, grants=grants, notice=notice, evidence=form)


def _key(name: str, seed: int) -> SigningKey:
    material = hashlib.sha256(f"omote simulation\0{seed}\0{name}".encode()).digest()
    return SigningKey.from_seed(name, material)


def now() -> datetime:
    """Return the time of the clock on the wall."""
    return datetime.now(UTC)
