"""From consent to a round on record, and from a withdrawal to what it touches."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from consent import cli as consent_cli
from consent.model import Conditions, ConsentKind, Grant, Purpose, Role, Span
from consent.site_events import AssetLinked, ModelPublished
from consent.state import Status, decide
from consent.upkeep import touched_by
from fl_client import cli as site_cli
from fl_client.forgetting import forget_withdrawn
from fl_client.linking import link_recordings
from fl_client.selection import recording_digest, select
from fl_client.site import open_site
from fl_server.coordinator import Coordinator
from simulations.loop import run_plain
from tests.federation import write_federation, write_sites

FINETUNING = Purpose.FINETUNING
run = CliRunner()


@pytest.fixture
def folders(tmp_path):
    return write_sites(tmp_path)


def test_rounds_are_on_record_and_a_withdrawal_finds_them(tmp_path, folders) -> None:
    consent = folders["site-b"].consent

    def withdraw(summary):
        if summary.round == 2:
            folders["site-b"].withdraw("site-b-p1", [FINETUNING])

    run_plain(write_federation(tmp_path, folders), folders, withdraw)
    state = consent.state()
    assert [(r.event.round, r.event.purpose) for r in state.started] == [
        (1, "pretraining"), (2, "finetuning"), (3, "finetuning")]  # fmt: skip
    assert [len(r.event.entries) for r in state.rounds] == [3, 3, 2]
    consent.append([ModelPublished(model="a" * 64, run_id="test-run", rounds=(1, 2))],
                   Role.OPERATOR)  # fmt: skip
    consent.append(
        [
            ModelPublished(model="b" * 64, run_id="other", rounds=(1,)),
            ModelPublished(model="c" * 64, run_id="other", rounds=(2,), parents=("a" * 64,)),
        ],
        Role.OPERATOR,
    )
    touched = touched_by(consent.state(), "site-b-p1")
    assert touched.rounds == tuple(r.index for r in state.rounds[:2])
    assert touched.models == ("a" * 64, "c" * 64)
    consent.erase("site-b-p1", "GDPR 17(1)(b)")
    assert touched_by(consent.state(), "site-b-p1") == touched
    model = ["model", "touched", "site-b-p1", "--folder", str(consent.folder)]
    told = run.invoke(consent_cli.app, model).output
    assert told.count("Nothing was done yet.") == 2
    remedy = ["model", "remediate", "a" * 64, "--kind", "none_justified", "--reason", "one of many",
              "--folder", str(consent.folder)]  # fmt: skip
    done = run.invoke(consent_cli.app, remedy).output
    assert "still had its part" in done
    assert "removed" not in done + run.invoke(consent_cli.app, model).output


def test_person_who_agreed_to_one_round_is_left_out_of_the_second(tmp_path, folders) -> None:
    consent = folders["site-b"].consent
    (notice,) = consent.state().notices["simulation"].versions[1].values()
    once = Grant(purpose=FINETUNING, conditions=Conditions(max_rounds=1))
    consent.give("site-b-p1", [once], notice.event.ref, ConsentKind.EXPLICIT, "0" * 64)
    run_plain(write_federation(tmp_path, folders), folders)
    state = consent.state()
    assert [len(r.event.entries) for r in state.rounds] == [3, 3, 2]
    assert decide(state, "site-b-p1", FINETUNING, consent.now()).status is Status.EXHAUSTED


def test_frames_with_someone_else_in_them_are_not_trained_on(tmp_path, folders) -> None:
    site = open_site(folders["site-a"].config)
    plan = Coordinator(write_federation(tmp_path, folders)).request("site-a").plan
    recording = site.recordings[0]
    spans = (
        Span(first=1, last=4, num_faces=1, subjects=(recording.subject_id,)),
        Span(first=2, last=3, num_faces=2, subjects=("site-a-p1",)),
    )
    digest = recording_digest(recording.frames).hex()
    site.registry.append([AssetLinked(asset=digest, spans=spans)], Role.OPERATOR)
    chosen = select(site.recordings, site.gate, plan, 1).recordings
    frames = {r.recording_id: [int(p.stem) for p in r.frame_paths()] for r in chosen}
    assert frames[recording.recording_id] == [1, 4]
    assert sorted(len(f) for f in frames.values()) == [2, 4, 4]


def test_linked_recordings_of_a_list_count_as_one_person_each(tmp_path, folders) -> None:
    config = folders["site-a"].config
    assert "Linked 3 recordings" in run.invoke(site_cli.app, ["link", str(config)]).output
    site = open_site(config)
    assert link_recordings(site) == 0
    plan = Coordinator(write_federation(tmp_path, folders)).request("site-a").plan
    assert len(select(site.recordings, site.gate, plan, 1).recordings) == 3
    digest = recording_digest(site.recordings[0].frames).hex()
    unlink = ["asset", "unlink", digest, "--folder", str(site.config.consent)]
    assert run.invoke(consent_cli.app, unlink).exit_code == 0
    assert len(select(site.recordings, site.gate, plan, 1).recordings) == 2


@pytest.mark.slow
def test_withdrawal_at_the_desk_purges_what_the_site_keeps(tmp_path, folders) -> None:
    run_plain(write_federation(tmp_path, folders), folders)
    config = folders["site-b"].config
    kept = folders["site-b"].folder / "state" / "test-run" / "finetuning.safetensors"
    assert b"site-b-p1" in kept.read_bytes()
    command = [sys.executable, "-m", "fl_client.cli", "purge", str(config), "--install"]
    subprocess.run(command, check=True, capture_output=True)
    consent = open_site(config).config.consent
    told = run.invoke(consent_cli.app, ["withdraw", "site-b-p1", "--folder", str(consent)])
    assert told.exit_code == 0, told.output
    assert "Deleted identity rows and face crops of 1 people." in told.output
    assert b"site-b-p1" not in kept.read_bytes()
    assert forget_withdrawn(open_site(config)) == 0
