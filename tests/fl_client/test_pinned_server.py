"""The node's folder may belong to another user: it must not say whose log the site believes."""

import pytest
from typer.testing import CliRunner

from consent.keys import SigningKey
from core_model.protocol.enrolment import Invitation, write_json
from fl_client.cli import app
from fl_client.config import load_site_config
from fl_client.node_folder import NodeFolder
from fl_client.site import open_site
from tests.federation import write_sites
from tests.integration.secure_link import write_certificates

ONE, OTHER = (SigningKey.generate(f"{name}/round-log").verifier for name in ("pilot", "else"))


@pytest.fixture
def folder(tmp_path):
    return write_sites(tmp_path)["site-a"]


@pytest.fixture
def invitation(tmp_path):
    ca = write_certificates(tmp_path)
    return Invitation(
        site_id="site-a", address="localhost:9443", ca=ca, bundle="a" * 64, server_key=ONE.vkey
    )


def join(folder, invitation, *options):
    path = folder.folder / "from-the-server.json"
    path.unlink(missing_ok=True)
    write_json(path, invitation)
    done = CliRunner().invoke(app, ["join", str(path), "--site", str(folder.config), *options])
    assert done.exit_code == 0, done.output


def test_before_a_server_is_joined_there_is_no_key(folder) -> None:
    assert open_site(folder.config).server_key is None


def test_a_changed_invitation_does_not_change_whom_the_site_believes(folder, invitation) -> None:
    join(folder, invitation)
    place = load_site_config(folder.config).node / "invitation.json"
    write_json(place, invitation.model_copy(update={"server_key": OTHER.vkey}))
    assert open_site(folder.config).server_key == ONE
    place.unlink()  # or the folder is another user's, and cannot be looked into
    assert open_site(folder.config).server_key == ONE


def test_a_node_that_joined_before_keys_were_pinned_is_pinned_when_it_is_opened(
    folder, invitation
) -> None:
    place = NodeFolder(load_site_config(folder.config).node)
    place.join(invitation)
    assert open_site(folder.config).server_key == ONE
    write_json(place.invitation, invitation.model_copy(update={"server_key": OTHER.vkey}))
    assert open_site(folder.config).server_key == ONE


def test_the_operator_of_the_site_says_that_it_is_another_server(folder, invitation) -> None:
    join(folder, invitation)
    join(folder, invitation.model_copy(update={"server_key": OTHER.vkey}), "--replace")
    assert open_site(folder.config).server_key == OTHER


def test_a_server_without_a_log_does_not_keep_the_key_of_the_one_before(folder, invitation) -> None:
    join(folder, invitation)
    join(folder, invitation.model_copy(update={"server_key": None}), "--replace")
    assert open_site(folder.config).server_key is None
