"""Let a site take part, and keep one out. Files for people to read; nothing in them is secret."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import ValidationError

from consent.keys import SigningKey
from core_model.protocol.enrolment import Enrolment, Invitation, read_json, write_json
from core_model.settings_file import SettingsError, explain
from fl_server.bundle import make_bundle
from fl_server.config import (
    EnrolledSite,
    FederationDraft,
    enrolled_sites,
    load_draft,
)
from fl_server.errors import StartError
from fl_server.folder import ServerFolder


def enroll(folder: ServerFolder, enrolment: Path, weight: float = 1.0) -> Invitation:
    """Enrol a site; return what its operator is to be sent.

    Enrolling the same file again changes nothing and gives the invitation anew.

    Raises:
        SettingsError: The enrolment or the federation is not right.
        StartError: A site of this name has other keys.
    """
    told = read_json(enrolment, Enrolment)
    draft = load_draft(folder.federation)
    site = _site(enrolment, told, draft, weight)
    path = folder.sites / f"{site.site_id}.toml"
    known = {s.site_id: s for s in draft.sites}.get(site.site_id)
    if known is not None and _keys(known) != _keys(site):
        raise StartError(
            f"{site.site_id} is enrolled with other keys. If they were renewed, and you heard so "
            f"from people you know there, remove {path} and enrol the site again"
        )
    if known is None:
        others = {**dict(draft), "sites": (*draft.sites, site)}
        try:
            FederationDraft.model_validate(others)
        except ValidationError as e:
            raise SettingsError(explain(enrolment, e)) from e
        folder.sites.mkdir(exist_ok=True)
        _write(path, site)
    return Invitation(
        site_id=site.site_id,
        address=draft.link.address,
        ca=folder.ca.read_text(encoding="ascii"),
        bundle=make_bundle().digest,
        server_key=SigningKey.load(folder.log_key).verifier.vkey,
    )


def suspend(folder: ServerFolder, site_id: str, *, lift: bool = False) -> None:
    """Count nothing from a site from now on, in the running round too; or count it again.

    Raises:
        StartError: It was not enrolled by ``enroll``.
    """
    for site in enrolled_sites(folder.federation):
        if site.site_id == site_id:
            changed = site.model_copy(update={"suspended": not lift})
            _write(folder.sites / f"{site_id}.toml", changed)
            return
    raise StartError(f"{site_id} is not among the sites in {folder.sites}")


def _site(path: Path, told: Enrolment, draft: FederationDraft, weight: float) -> EnrolledSite:
    labelled = tuple(au for au in told.labelled_aus if au in draft.action_units)
    try:
        return EnrolledSite(
            site_id=told.site_id,
            key=told.key,
            log_key=told.log_key,
            node_key=told.node_key,
            labelled_aus=labelled,  # a site may label more than this federation learns
            weight=weight,
        )
    except ValidationError as e:
        raise SettingsError(explain(path, e)) from e


def _keys(site: EnrolledSite) -> tuple[str, str, str | None]:
    return site.key, site.log_key, site.node_key


def _write(path: Path, site: EnrolledSite) -> None:
    fields = json.loads(site.model_dump_json(exclude_none=True))
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def write_invitation(path: Path, invitation: Invitation) -> None:
    """Write the file for the site's operator."""
    write_json(path, invitation)
