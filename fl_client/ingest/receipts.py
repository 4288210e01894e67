"""What was ingested, and where it lies: a receipt for each recording makes it whole.

::

    recordings.csv      the list that site.toml names
    crops/*.crops       face crops, encrypted
    labels/*.csv        labels of the frames that have a crop
    receipts/*.json     written last: what has no receipt was never ingested

All of it names people and stays at the site, readable by its owner alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core_model.data.labels import Labels, write_labels
from core_model.data.recordings import Recording, read_recordings, write_recordings
from fl_client.crop_cache import CropKeys
from fl_client.crop_shard import ENDING
from fl_client.errors import CropCacheError

DRAFT = ".draft"


class Counts(BaseModel):
    """Frames of one recording, by what became of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    looked_at: int = 0  # decoded
    cropped: int = 0  # of them, with a face cut out
    no_face: int = 0  # of them, the detector found nothing
    several_faces: int = 0  # cropped, but used only once everyone in them is known
    labelled: int = 0  # cropped, with at least one known label
    unlabelled: int = 0  # of the recording, left out: nobody coded them
    no_frame: int = 0  # labels beyond the end of the recording

    def plus(self, other: Counts) -> Counts:
        """Return the sum."""
        mine, theirs = self.model_dump(), other.model_dump()
        return Counts(**{name: mine[name] + theirs[name] for name in mine})


class Receipt(BaseModel):
    """One recording that was ingested."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    v: int = Field(1, ge=1, le=1)
    recording_id: str
    subject_id: str
    asset: str  # digest of the recording as it came
    fingerprint: str  # of the files it came from and of how it was cut
    has_labels: bool
    licence: str
    counts: Counts


@dataclass(frozen=True)
class Place:
    """The folder of a list of recordings."""

    listing: Path

    @property
    def folder(self) -> Path:
        """Where everything lies."""
        return self.listing.parent

    def crops(self, recording_id: str) -> Path:
        """Return the file of a recording's crops."""
        return self.folder / "crops" / f"{_plain(recording_id)}{ENDING}"

    def labels(self, recording_id: str) -> Path:
        """Return the file of its labels."""
        return self.folder / "labels" / f"{_plain(recording_id)}.csv"

    def receipt(self, recording_id: str) -> Path:
        """Return the file of its receipt."""
        return self.folder / "receipts" / f"{_plain(recording_id)}.json"

    def prepare(self) -> None:
        """Make the folders, and clear away what an interrupted run left.

        Raises:
            CropCacheError: The list was made by other means: it would be lost.
        """
        receipts = self.folder / "receipts"
        if self.listing.exists() and not receipts.is_dir() and read_recordings(self.listing):
            raise CropCacheError(
                f"{self.listing} was not written by omote-site ingest and stays as it is; name "
                "another list with --to, and add it to recordings in site.toml"
            )
        for name in ("crops", "labels", "receipts"):
            (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            for draft in (self.folder / name).glob(f"*{DRAFT}"):
                draft.unlink()

    def read(self) -> dict[str, Receipt]:
        """Return the receipts of recordings that are whole, by recording id.

        Raises:
            CropCacheError: A receipt is damaged.
        """
        found = {}
        for path in sorted((self.folder / "receipts").glob("*.json")):
            receipt = _parse(path)
            if self.crops(receipt.recording_id).exists():
                found[receipt.recording_id] = receipt
        return found

    def commit(self, receipt: Receipt, draft: Path, labels: Labels | None) -> None:
        """Make a recording whole: crops, labels, and last the receipt."""
        name = receipt.recording_id
        self.receipt(name).unlink(missing_ok=True)  # of an older cut
        draft.replace(self.crops(name))
        if labels is not None:
            text = self.labels(name).with_suffix(DRAFT)
            write_labels(text, labels)
            text.chmod(0o600)
            text.replace(self.labels(name))
        write_private(self.receipt(name), receipt.model_dump_json(indent=1).encode() + b"\n")

    def write_listing(self) -> None:
        """Write the list of all recordings that are whole."""
        draft = self.listing.with_name(f"{self.listing.name}{DRAFT}")
        write_recordings(draft, (self._recording(r) for r in self.read().values()))
        draft.chmod(0o600)
        draft.replace(self.listing)

    def _recording(self, receipt: Receipt) -> Recording:
        root, name = self.folder.resolve(), receipt.recording_id
        here = Place(root / self.listing.name)
        return Recording(
            recording_id=name,
            subject_id=receipt.subject_id,
            frames=here.crops(name),
            labels=here.labels(name) if receipt.has_labels else None,
            licence=receipt.licence,
        )

    def purge(self, allowed: Container[str], keys: CropKeys) -> set[str]:
        """Delete everything of people who are not allowed; return whose it was.

        Their keys go first: what is left after a crash opens nothing.
        """
        gone: set[str] = set()
        for path in sorted((self.folder / "receipts").glob("*.json")):
            receipt = _parse(path)
            if receipt.subject_id in allowed:
                continue
            keys.destroy(receipt.subject_id)
            self.crops(receipt.recording_id).unlink(missing_ok=True)
            self.labels(receipt.recording_id).unlink(missing_ok=True)
            path.unlink()
            gone.add(receipt.subject_id)
        if gone:
            self.write_listing()
        return gone

    def subjects(self) -> set[str]:
        """Return whose recordings are here."""
        return {_parse(p).subject_id for p in (self.folder / "receipts").glob("*.json")}


def total(receipts: Iterable[Receipt]) -> Counts:
    """Return the counts of several recordings together."""
    counts = Counts()
    for receipt in receipts:
        counts = counts.plus(receipt.counts)
    return counts


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = path.with_suffix(DRAFT)
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    draft.replace(path)


def _parse(path: Path) -> Receipt:
    try:
        return Receipt.model_validate_json(path.read_bytes())
    except ValidationError as e:
        raise CropCacheError(f"{path} is damaged; delete it and run ingest again") from e


def _plain(recording_id: str) -> str:
    """Return a file name that no recording id can lead elsewhere with, or share with another."""
    return hashlib.sha256(recording_id.encode()).hexdigest()[:24]
