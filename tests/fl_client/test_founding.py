"""omote-site init and join: a folder, keys with closed modes, and two files that hold no secret."""

import json
import shutil
import stat
import subprocess
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from consent.keys import VerifierKey
from core_model.protocol.enrolment import Enrolment, Invitation, read_json, write_json
from core_model.settings_file import SettingsError
from fl_client.cli import app
from fl_client.config import load_site_config
from fl_client.node_folder import NodeFolder
from fl_client.site import open_site
from fl_server.certificates import make_authority

run = CliRunner()


def init(folder, *more):
    return run.invoke(app, ["init", str(folder), "--site-id", "clinic", *more])


def authority():
    """Return a CA certificate in PEM form."""
    return make_authority("test", datetime.now(UTC)).certificate_pem().decode()


def invitation(path, **changes):
    fields = {
        "site_id": "clinic", "address": "fl.example.org:9092", "ca": authority(), "bundle": "a" * 64
    }  # fmt: skip
    write_json(path, Invitation.model_validate({**fields, **changes}))
    return path


def test_init_makes_a_site_that_opens(tmp_path) -> None:
    done = init(tmp_path / "site", "--au", "1", "--au", "12", "--territory", "DE")
    assert done.exit_code == 0, done.output
    site = open_site(tmp_path / "site" / "site.toml")
    assert (site.site_id, site.config.labelled_aus, site.recordings) == ("clinic", (1, 12), ())
    enrolment = read_json(tmp_path / "site" / "enrolment.json", Enrolment)
    assert enrolment.key == site.key.verifier.vkey
    assert VerifierKey.parse(enrolment.log_key).name == "clinic/consent-log"
    assert enrolment.labelled_aus == (1, 12)


def test_nothing_secret_is_in_the_file_that_is_sent(tmp_path) -> None:
    init(tmp_path / "site")
    sent = (tmp_path / "site" / "enrolment.json").read_text()
    keys = [*(tmp_path / "site" / "consent" / "keys").iterdir(), tmp_path / "site/node/node.key"]
    secrets = [line for key in keys for line in key.read_text().splitlines() if len(line) > 30]
    assert len(secrets) >= 6
    assert not [line for line in secrets if line in sent]
    assert str(tmp_path) not in sent


def test_keys_and_folders_are_closed_to_others(tmp_path) -> None:
    init(tmp_path / "site")
    site = tmp_path / "site"
    for folder in (
        site,
        site / "consent",
        site / "consent" / "keys",
        site / "state",
        site / "node",
    ):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    for key in (*(site / "consent" / "keys").iterdir(), site / "node" / "node.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600, key


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_ssh_keygen_reads_the_same_node_key(tmp_path) -> None:
    init(tmp_path / "site")
    command = ["ssh-keygen", "-y", "-f", str(tmp_path / "site" / "node" / "node.key")]
    public = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    told = json.loads((tmp_path / "site" / "enrolment.json").read_text())["node_key"]
    assert public == told


def test_flower_takes_the_node_key_for_registration(tmp_path) -> None:
    from flwr.cli.supernode.register import try_load_public_key

    init(tmp_path / "site")
    told = read_json(tmp_path / "site" / "enrolment.json", Enrolment).node_key
    (tmp_path / "node.pub").write_text(told)
    assert try_load_public_key(tmp_path / "node.pub").startswith(b"-----BEGIN PUBLIC KEY")


def test_init_again_keeps_what_is_there(tmp_path) -> None:
    init(tmp_path / "site", "--au", "1")
    before = (tmp_path / "site" / "enrolment.json").read_text()
    (tmp_path / "site" / "enrolment.json").unlink()
    assert init(tmp_path / "site").exit_code == 0
    assert (tmp_path / "site" / "enrolment.json").read_text() == before


def test_init_keeps_a_log_that_was_there_first(tmp_path) -> None:
    from consent.cli import app as consent_app

    folder = tmp_path / "site" / "consent"
    folder.parent.mkdir()
    assert run.invoke(consent_app, ["init", "clinic", "--folder", str(folder)]).exit_code == 0
    assert init(tmp_path / "site").exit_code == 0
    shutil.rmtree(folder)
    assert run.invoke(consent_app, ["init", "other", "--folder", str(folder)]).exit_code == 0
    assert "is of other, not of clinic" in init(tmp_path / "site").output


def test_init_over_another_site_is_refused(tmp_path) -> None:
    init(tmp_path / "site")
    done = run.invoke(app, ["init", str(tmp_path / "site"), "--site-id", "ward"])
    assert (done.exit_code, "is of clinic, not of ward" in done.output) == (1, True)


def test_init_with_a_wrong_name_or_au_makes_nothing(tmp_path) -> None:
    for arguments in (["--site-id", "a b"], ["--site-id", "clinic", "--au", "3"]):
        assert run.invoke(app, ["init", str(tmp_path / "site"), *arguments]).exit_code == 1
    assert not (tmp_path / "site").exists()


def test_join_keeps_the_server_and_shows_what_to_compare(tmp_path) -> None:
    init(tmp_path / "site")
    path = invitation(tmp_path / "invitation.json")
    done = run.invoke(app, ["join", str(path), "--site", str(tmp_path / "site" / "site.toml")])
    assert done.exit_code == 0, done.output
    assert "a" * 64 in done.output
    node = NodeFolder(load_site_config(tmp_path / "site" / "site.toml").node)
    assert node.joined() == read_json(path, Invitation)
    assert node.ca.read_text() == node.joined().ca


def test_another_bundle_or_server_is_joined_only_on_purpose(tmp_path) -> None:
    init(tmp_path / "site")
    toml = ["--site", str(tmp_path / "site" / "site.toml")]
    first = invitation(tmp_path / "first.json")
    assert run.invoke(app, ["join", str(first), *toml]).exit_code == 0
    assert run.invoke(app, ["join", str(first), *toml]).exit_code == 0
    second = invitation(tmp_path / "second.json", bundle="b" * 64)
    refused = run.invoke(app, ["join", str(second), *toml])
    assert (refused.exit_code, "--replace" in refused.output) == (1, True)
    assert run.invoke(app, ["join", str(second), *toml, "--replace"]).exit_code == 0


WRONG = {
    "of another site": ("site_id", '"ward"', "not for clinic"),
    "a bundle that is no digest": ("bundle", '"abc"', "bundle"),
    "no port": ("address", '"fl.example.org"', "address"),
    "an address with a path": ("address", '"fl.example.org:1/x"', "address"),
    "an unknown field": ("token", '"x"', "token"),
    "another format": ("format", '"omote-invitation-v2"', "format"),
    "a CA that is none": ("ca", '"-----BEGIN CERTIFICATE-----"', "ca"),
}


@pytest.mark.parametrize(("field", "value", "message"), WRONG.values(), ids=WRONG.keys())
def test_invitations_that_are_not_right_are_told_by_field(tmp_path, field, value, message) -> None:
    init(tmp_path / "site")
    path = invitation(tmp_path / "invitation.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), field: json.loads(value)}))
    done = run.invoke(app, ["join", str(path), "--site", str(tmp_path / "site" / "site.toml")])
    assert (done.exit_code, message in done.output) == (1, True), done.output
    assert not (tmp_path / "site" / "node" / "invitation.json").exists()


def test_a_file_without_end_is_not_read(tmp_path) -> None:
    (tmp_path / "x").write_bytes(b" " * 300_000)
    with pytest.raises(SettingsError, match="at most"):
        read_json(tmp_path / "x", Invitation)


def test_run_without_a_server_says_what_to_do(tmp_path) -> None:
    init(tmp_path / "site")
    done = run.invoke(app, ["run", str(tmp_path / "site" / "site.toml")])
    assert (done.exit_code, "omote-site join" in done.output) == (1, True)
