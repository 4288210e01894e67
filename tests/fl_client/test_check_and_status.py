"""omote-site check, status and a dry run: what the operator is told, and what stays as it was."""

import contextlib
import re
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core_model.protocol.enrolment import Invitation
from core_model.protocol.messages import RefusalCode
from core_model.protocol.records import encode_request, write_records
from fl_client.cli import app
from fl_client.config import Caps
from fl_client.diary import SIGNED, Diary, Entry, Running
from fl_client.doctor import examine
from fl_client.host_check import examine_host
from fl_client.limits import DAY
from fl_client.node_folder import NodeFolder
from fl_client.server_check import examine_server
from fl_client.site import open_site
from fl_client.standing import Standing
from fl_server.coordinator import Coordinator
from tests.federation import write_federation, write_sites
from tests.integration.secure_link import write_certificates

NOW = datetime.now(UTC).replace(microsecond=0)
run = CliRunner()


@pytest.fixture
def setting(tmp_path):
    folders = write_sites(tmp_path)
    return folders["site-a"], Coordinator(write_federation(tmp_path, folders))


def levels(findings):
    return {f.text: f.level for f in findings}


# --- check -----------------------------------------------------------------------------------


def test_the_machine_is_looked_at_and_every_fault_has_a_remedy(setting) -> None:
    folder, _ = setting
    site = open_site(folder.config)
    findings = list(examine_host(site))
    for word in ("device", "disk", "clock", "packages"):
        assert any(word in f.text for f in findings), word
    assert all(f.remedy for f in findings if f.level != "ok")


def close_state_no_more(folder):
    (folder.folder / "state").mkdir(exist_ok=True)
    (folder.folder / "state").chmod(0o755)


def open_node_key(folder):
    node = NodeFolder(folder.folder / "node")
    node.make_key()
    node.key.chmod(0o644)


HOST_FAULTS = {
    "a folder that others can enter": (close_state_no_more, "others can enter"),
    "a SuperNode's key that others can read": (open_node_key, "can be read by others"),
}


@pytest.mark.parametrize(("fault", "text"), HOST_FAULTS.values(), ids=HOST_FAULTS.keys())
def test_modes_that_are_too_open_are_errors_with_the_command_to_type(setting, fault, text) -> None:
    folder, _ = setting
    fault(folder)
    done = run.invoke(app, ["check", str(folder.config)])
    assert done.exit_code == 1
    (found,) = [ln for ln in done.output.splitlines() if text in ln and ln.startswith("error")]
    assert "chmod" in done.output[done.output.index(found) :]


def test_people_whom_the_declared_use_does_not_speak_of_are_told_apart(setting) -> None:
    folder, _ = setting
    use = folder.folder / "use.toml"
    use.write_text(re.sub(r"subjects = \[.*\]", 'subjects = ["JP"]', use.read_text()))
    found = [f for f in examine(open_site(folder.config)) if f.text.startswith("consent to")]
    assert {f.level for f in found} == {"warning"}
    assert all("the declared use does not speak of them" in f.remedy for f in found)


def test_a_clock_behind_the_consent_log_is_an_error(setting) -> None:
    folder, _ = setting
    early = open_site(folder.config, clock=lambda: NOW - timedelta(days=2))
    found = [f for f in examine_host(early) if "behind the last entry" in f.text]
    assert [f.level for f in found] == ["error"]


@contextlib.contextmanager
def tls_server(place, date=None):
    """Serve one line of HTTP over TLS; yield the address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "server.pem", place / "server.key")
    listening = socket.create_server(("127.0.0.1", 0))
    said = f"HTTP/1.1 404 Not Found\r\nDate: {date or NOW:%a, %d %b %Y %H:%M:%S} GMT\r\n\r\n"

    def serve():
        while True:
            try:
                plain, _ = listening.accept()
            except OSError:  # closed: the test is over
                return
            with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as s:
                s.recv(1000)
                s.sendall(said.encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def join(folder, address, ca):
    invitation = Invitation(site_id="site-a", address=address, ca=ca, bundle="a" * 64)
    NodeFolder(folder.folder / "node").join(invitation, replace=True)
    return open_site(folder.config).config


def test_a_server_that_is_vouched_for_is_ok(setting, tmp_path) -> None:
    folder, _ = setting
    ca = write_certificates(tmp_path)
    with tls_server(tmp_path) as address:
        findings = list(examine_server(join(folder, address, ca), NOW))
    assert [f.level for f in findings] == ["ok"] * 4
    assert "clock agrees" in findings[2].text


def test_what_is_wrong_with_a_server_is_told_apart(setting, tmp_path) -> None:
    folder, _ = setting
    (tmp_path / "other").mkdir()
    ca, another = write_certificates(tmp_path), write_certificates(tmp_path / "other")
    with tls_server(tmp_path, date=NOW - timedelta(minutes=9)) as address:
        late = levels(examine_server(join(folder, address, ca), NOW))
        stranger = levels(examine_server(join(folder, address, another), NOW))
        soon = levels(examine_server(join(folder, address, ca), NOW + timedelta(days=40)))
        over = levels(examine_server(join(folder, address, ca), NOW + timedelta(days=90)))
    gone = levels(examine_server(join(folder, address, ca), NOW))
    assert [v for k, v in late.items() if "540 s off" in k] == ["error"]
    assert [v for k, v in stranger.items() if "does not hold" in k] == ["error"]
    assert [v for k, v in soon.items() if "valid until" in k] == ["ok", "warning"]
    assert [v for k, v in over.items() if "valid until" in k] == ["ok", "error"]
    assert [v for k, v in gone.items() if "not reached" in k] == ["error"]


def test_a_site_that_joined_nothing_is_told_how(setting) -> None:
    folder, _ = setting
    (found,) = examine_server(open_site(folder.config).config, NOW)
    assert (found.level, "omote-site join" in found.remedy) == ("warning", True)


def test_what_the_node_says_of_a_bundle_is_not_printed_unless_it_is_a_digest(
    setting, tmp_path
) -> None:
    folder, _ = setting
    ca = write_certificates(tmp_path)
    config = join(folder, "127.0.0.1:1", ca)
    last = NodeFolder(config.node).last_bundle
    for evil in ("[]", "\x1b[2J", '{"sha256": "\\u001b[2J", "admitted": true}', "{}"):
        last.write_text(evil)
        found = [f for f in examine_server(config, NOW) if "bundle pinned" in f.text]
        assert [(f.level, "\x1b" in f.text) for f in found] == [("warning", False)]


# --- status ----------------------------------------------------------------------------------


def entry(hours, outcome=SIGNED, **fields):
    return Entry(
        started_at=NOW - timedelta(hours=hours), run_id="pilot", round=3, purpose="finetuning",
        outcome=outcome, seconds=60.0, num_bytes=1000, **fields,
    )  # fmt: skip


def test_status_shows_rounds_refusals_with_remedies_and_what_is_left(setting) -> None:
    folder, _ = setting
    diary = Diary(folder.folder / "state")
    for e in (entry(30), entry(2), entry(1, "NOT_NOW", detail="rounds may begin 20:00-06:00")):
        diary.end(e)
    diary.begin(Running(started_at=NOW, run_id="pilot", round=4, purpose="finetuning"))
    text = folder.config.read_text()
    folder.config.write_text(text.replace("[caps]", "[caps]\nmax_minutes_per_day = 240"))
    done = run.invoke(app, ["status", str(folder.config)])
    assert done.exit_code == 0, done.output
    for line in (
        "worker: not running",
        "server: none joined",
        "rounds: 2 signed, 1 not",
        "running: pilot/4",
        "NOT_NOW, 1 times: outside hours",
        "last time: rounds may begin 20:00-06:00",
        "last 24 hours: 2.0 minutes of 240, 2,000 bytes of any",
        "consent to finetuning: 3 agree, 0 asked and not answered",
    ):
        assert line in done.output, (line, done.output)


def test_status_tells_numbers_of_people_and_no_person(setting) -> None:
    folder, _ = setting
    done = run.invoke(app, ["status", str(folder.config)])
    assert "site-a-p" not in done.output


def test_people_who_were_asked_and_did_not_answer_are_counted(setting) -> None:
    from consent.model import Purpose
    from fl_client.standing import pending

    folder, _ = setting
    consent = folder.consent
    notice = next(iter(consent.state().notices["simulation"].versions[1].values())).event.ref
    consent.request("site-a-p0", [Purpose.FINETUNING], notice)
    consent.request("site-a-p1", [Purpose.FINETUNING, Purpose.EVALUATION], notice)
    assert pending(consent.state()) == {Purpose.FINETUNING: 2, Purpose.EVALUATION: 1}
    consent.refuse("site-a-p1", [Purpose.FINETUNING], notice)
    assert pending(consent.state())[Purpose.FINETUNING] == 1


def test_a_run_that_the_worker_never_named_is_no_round() -> None:
    refused = Entry(started_at=NOW, outcome=RefusalCode.REQUEST_DAMAGED.name)
    standing = Standing(Caps(), [refused], None, None, NOW + DAY)
    assert "no round" in list(standing.rounds())[1]


# --- dry run ---------------------------------------------------------------------------------


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.suffix != ".lock"
    }


def test_a_dry_run_tells_what_would_be_sent_and_keeps_nothing(setting, tmp_path) -> None:
    folder, coordinator = setting
    request = tmp_path / "request"
    request.write_bytes(write_records(encode_request(coordinator.request("site-a"))))
    (folder.folder / "state").mkdir()
    before = everything(folder.folder)
    done = run.invoke(app, ["run", str(folder.config), "--dry-run", str(request)])
    assert done.exit_code == 0, done.output
    assert "encoder.norm.weight (16,)" in done.output
    assert everything(folder.folder) == before


def test_a_dry_run_that_would_be_refused_says_why(setting, tmp_path) -> None:
    folder, coordinator = setting
    request = tmp_path / "request"
    request.write_bytes(write_records(encode_request(coordinator.request("site-a"))))
    text = folder.config.read_text()
    folder.config.write_text(text.replace("[caps]", "[caps]\nmin_subjects = 4"))
    done = run.invoke(app, ["run", str(folder.config), "--dry-run", str(request)])
    assert (done.exit_code, "TOO_FEW_SUBJECTS" in done.output) == (1, True)
    request.write_bytes(b"no request")
    done = run.invoke(app, ["run", str(folder.config), "--dry-run", str(request)])
    assert (done.exit_code, "wire format" in done.output) == (1, True)
