"""Make a site: its folder, site.toml, keys, consent log, and the file that the server is sent.

What is there is kept, so that an interrupted start goes on where it stopped, and a site that began
with ``omote-consent init`` keeps its log.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from consent import private_file
from consent.log import Clock
from consent.model import Role
from consent.registry import Registry
from core_model.data.recordings import write_recordings
from core_model.protocol.enrolment import Enrolment, write_json
from fl_client.config import SiteConfig, load_site_config
from fl_client.errors import SiteError
from fl_client.node_folder import NodeFolder

SITE_TOML = """\
# One site of a federation. This file stays here. Paths are relative to it.
site_id = {site_id}                # public name, as the server knows it
recordings = ["data/recordings.csv"] # lists of recordings: docs/formats.md
labelled_aus = {labelled_aus}                  # AUs of your labels; none: pretraining only
consent = "consent"                  # consent log and its keys: omote-consent --folder
state = "state"                      # weights that never leave, and the worker's diary
# use = "use.toml"                   # what you do with the data; needed: docs/policy.md
device = "auto"                      # cuda, cuda:1, cpu; auto takes the GPU when there is one
threads = 0                          # of the processor; 0: as many as torch likes

# The SuperNode, which carries messages and knows nothing of the rest.
node = "node"
socket = "socket/worker"             # where it finds the worker
# socket_group = "omote"             # if the SuperNode runs as another user: docs/site.md

# What you allow. The server proposes, this site disposes; a plan beyond it is refused.
[caps]
purposes = ["pretraining", "finetuning"]
max_weights = 400_000_000            # of the largest model to train
max_epochs_per_round = 50
max_proximal = 10.0                  # how strongly a plan may hold training back (FedProx)
min_subjects = 1                     # never train on fewer people
may_share_decoder = false            # an MAE decoder can draw faces
may_send_counts = false              # numbers of labelled frames
max_epsilon = 8.0                    # of a person, over all time: docs/ledger.md
allows_training_without_privacy = false # then no promise covers whoever takes part
# hours = "20:00-06:00"              # when rounds may begin, in local time
# max_minutes_per_day = 240          # of rounds, in any 24 hours
# max_bytes_per_day = 2_000_000_000  # received and sent, in any 24 hours

# What a pilot costs, for: omote-site pilot report
# [costs]
# currency = "EUR"
# fixed = 0                          # set-up, training of staff, legal review
# per_subject = 0                    # recruiting, explaining, paying
# per_labelled_minute = 0            # human coders
# per_machine_hour = 0
# machine_hours = 0
# frames_per_second = 25             # of the recordings

# Updates that are added up in secret: docs/site.md. With whom, and with how many.
[caps.secure_sum]
only = false                         # true: nothing leaves in clear
min_sites = 3                        # honest ones in any sum
max_colluding = 0                    # sites that may side with the server

[peers]                              # key of each other site, as its operator reads it to you
# "clinic-2" = "clinic-2/operator+..."
"""


def found(
    folder: Path,
    site_id: str,
    labelled_aus: Sequence[int],
    clock: Clock,
    territory: str | None = None,
) -> Path:
    """Make what is not there yet; return the file to send to the server's operator.

    Args:
        folder: Of the site.
        site_id: Public name.
        labelled_aus: AUs that the site's labels are for.
        clock: Tells the time.
        territory: ISO 3166 code of where the data are used.

    Raises:
        SiteError: There is a site of another name.
        SettingsError: The site.toml that is there, or a name or AU given, is not right.
        ConsentError: The consent log that is there cannot be used.
    """
    path = folder / "site.toml"
    if not path.exists():
        SiteConfig.model_validate(  # says what is wrong before anything is made
            {"site_id": site_id, "labelled_aus": tuple(labelled_aus), "recordings": ["x"],
             "consent": "x", "state": "x"}
        )  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = SITE_TOML.format(
            site_id=json.dumps(site_id), labelled_aus=json.dumps(list(labelled_aus))
        )
        private_file.write_new(path, text.encode())
    config = load_site_config(path)
    if config.site_id != site_id:
        raise SiteError(f"{path} is of {config.site_id}, not of {site_id}")
    for place in (config.state, config.node):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    _first_list(config)
    if not (config.consent / "log.sqlite").exists():
        Registry.create(config.consent, site_id, clock, territory=territory)
    enrolment = enrolment_of(config, Registry.open(config.consent, clock))
    write_json(folder / "enrolment.json", enrolment)
    return folder / "enrolment.json"


def enrolment_of(config: SiteConfig, registry: Registry) -> Enrolment:
    """Return what the server is told about a site. Nothing in it is secret.

    Raises:
        SiteError: The consent log is of a site of another name.
        KeyFileError: A key is missing or readable by others.
    """
    if registry.site != config.site_id:
        raise SiteError(f"{config.consent} is of {registry.site}, not of {config.site_id}")
    return Enrolment(
        site_id=config.site_id,
        key=registry.signing_key(Role.OPERATOR).verifier.vkey,
        log_key=registry.log_vkey,
        node_key=NodeFolder(config.node).make_key(),
        labelled_aus=config.labelled_aus,
    )


def _first_list(config: SiteConfig) -> None:
    """Write an empty list of recordings where none is."""
    for listing in config.recordings:
        if not listing.exists():
            listing.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_recordings(listing, [])
