"""One site whose consent a reader keeps by hand: faces for its people, and rounds of training.

For docs/consent.md. The people are those that the site's consent log knows; nobody's face is real.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from consent.envelope import canonical_json
from consent.errors import RecordError
from consent.model import Role, Span
from consent.registry import Registry
from consent.site_events import AssetLinked
from core_model.config import FinetuneConfig, OptimiserConfig, encoder_config
from core_model.data.recordings import read_recordings, write_recordings
from core_model.protocol.messages import digest
from fl_client.config import load_site_config
from fl_client.errors import RoundRefusedError
from fl_client.round import run_round
from fl_client.selection import recording_digest
from fl_client.site import open_site
from fl_server.config import EnrolledSite, FederationConfig, Stage
from fl_server.coordinator import Coordinator
from fl_server.round_state import RoundSummary
from simulations.faces.site import LICENCE, make_face_site
from simulations.faces.spec import LOOKS, FaceSiteSpec
from simulations.loop import write_initial

AUS = (1, 4, 12, 25)
FRAMES, PIXELS = 10, 64
KEEP = timedelta(days=730)
SEED = 1


def film(folder: Path, cache: Path) -> Path:
    """Draw one recording of everyone registered; write the links for the log.

    A site.toml is written unless there is one, from ``omote-site init``.

    Returns:
        The file for ``omote-consent asset link``.

    Raises:
        FileExistsError: There are recordings already.
        RecordError: Nobody is registered.
    """
    toml, listing = folder / "site.toml", folder / "recordings.csv"
    if is_founded := toml.exists():
        listing = load_site_config(toml).recordings[0]
        if read_recordings(listing):
            raise FileExistsError(f"{listing} has recordings; this site was filmed already")
    registry = Registry.open(folder / "consent", _now)
    people = [s for s, p in registry.state().subjects.items() if p.registered]
    if not people:
        raise RecordError("nobody is registered; start with: omote-consent subject add")
    spec = FaceSiteSpec(
        name="walk", seed=SEED, first_person=0, num_people=len(people), recordings_per_person=1,
        frames_per_recording=FRAMES, image_size=PIXELS, labelled_aus=AUS, look=LOOKS["clinic"],
    )  # fmt: skip
    shutil.copytree(make_face_site(spec, cache), folder / "data", dirs_exist_ok=True)
    drawn = read_recordings(folder / "data" / "recordings.csv")
    recordings = [
        r.model_copy(update={"subject_id": s}) for r, s in zip(drawn, people, strict=True)
    ]
    write_recordings(listing, recordings)
    links = folder / "links.jsonl"
    links.write_bytes(b"".join(_link(r.frames, r.subject_id) for r in recordings))
    if is_founded:
        return links
    settings = {
        "site_id": registry.site, "recordings": ["recordings.csv"], "consent": "consent",
        "state": "state", "use": "use.toml", "labelled_aus": list(AUS), "threads": 1,
    }  # fmt: skip
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    lines += "\n[caps]\nallows_training_without_privacy = true  # nobody's face is real\n"
    toml.write_text(lines)
    return links


def train(folder: Path, server: Path, rounds: int, on_round: Callable[[RoundSummary], None]) -> str:
    """Train more rounds with this one site, in this process; return the digest of the model.

    Args:
        folder: The site.
        server: Folder of the server: model and record of rounds. A later call goes on there.
        rounds: How many.
        on_round: Called after each.
    """
    site = open_site(folder / "site.toml")
    keys = site.registry.state().keys.keys.values()
    by_role = {k.role: k.vkey for k in keys}
    initial = server / "initial.safetensors"
    server.mkdir(parents=True, exist_ok=True)
    if not initial.exists():
        write_initial(initial, encoder_config("micro", PIXELS), AUS, SEED)
    done = len(list(server.glob("round-*.safetensors")))
    optimiser = OptimiserConfig(learning_rate=1e-3, batch_size=8)
    stage = Stage(rounds=done + rounds, training=FinetuneConfig(optimiser=optimiser))
    enrolled = EnrolledSite(
        site_id=site.site_id, key=by_role[Role.OPERATOR], log_key=by_role[Role.LOG],
        labelled_aus=AUS,
    )  # fmt: skip
    config = FederationConfig(
        run_id="pilot", action_units=AUS, initial=initial, output=server, stages=(stage,),
        sites=(enrolled,),
    )  # fmt: skip
    coordinator = Coordinator(config)
    while not coordinator.is_done:
        try:
            coordinator.answer(site.site_id, run_round(coordinator.request(site.site_id), site))
        except RoundRefusedError as e:
            coordinator.refuse(site.site_id, e.code)
        on_round(coordinator.finish())
    return digest(coordinator.arrays)


def _link(frames: Path, subject_id: str) -> bytes:
    event = AssetLinked(
        asset=recording_digest(frames).hex(),
        spans=(Span(first=1, last=FRAMES, num_faces=1, subjects=(subject_id,)),),
        licence=LICENCE,
        source="drawn by omote-sim",
        keep_until=_now() + KEEP,
    )
    return canonical_json(event.model_dump(mode="json")) + b"\n"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
