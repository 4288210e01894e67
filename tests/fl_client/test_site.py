import dataclasses
import json
import logging

import numpy as np
import pytest
from typer.testing import CliRunner

from consent.attestation import open_attestation
from consent.manifest import manifest_root
from consent.model import Purpose
from consent.model import Role as ConsentRole
from core_model.config import PretrainConfig
from core_model.protocol.messages import RefusalCode, Weighting, digest
from core_model.schema import ParameterSchema, ParameterSpec, Role
from core_model.settings_file import SettingsError
from fl_client.cli import app
from fl_client.config import load_site_config
from fl_client.errors import LocalStateError, RoundRefusedError
from fl_client.local_state import LocalState
from fl_client.round import run_round
from fl_client.selection import recording_digest
from fl_client.site import open_site
from fl_server.coordinator import Coordinator
from tests.federation import write_federation, write_sites

run = CliRunner()


@pytest.fixture
def setting(tmp_path):
    folders = write_sites(tmp_path)
    coordinator = Coordinator(write_federation(tmp_path, folders))
    return folders["site-a"], coordinator.request("site-a")


def with_caps(folder, line):
    folder.config.write_text(folder.config.read_text().replace("[caps]", f"[caps]\n{line}"))
    return open_site(folder.config)


CAPS = {
    "another purpose": 'purposes = ["finetuning"]',
    "a smaller model": "max_weights = 100",
    "more people": "min_subjects = 4",
}


@pytest.mark.parametrize("line", CAPS.values(), ids=CAPS.keys())
def test_the_site_disposes(setting, line) -> None:
    folder, request = setting
    run_round(request, open_site(folder.config))
    with pytest.raises(RoundRefusedError) as caught:
        run_round(request, with_caps(folder, line))
    assert caught.value.code in {RefusalCode.PLAN_NOT_ALLOWED, RefusalCode.TOO_FEW_SUBJECTS}


CHANGES = {
    "sharing the decoder": {"training": PretrainConfig(share_decoder=True)},
    "counting frames": {"weighting": Weighting.FRAMES},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
def test_what_the_server_may_not_ask_for(setting, changes) -> None:
    folder, request = setting
    asked = dataclasses.replace(request, plan=request.plan.model_copy(update=changes))
    with pytest.raises(RoundRefusedError) as caught:
        run_round(asked, open_site(folder.config))
    assert caught.value.code is RefusalCode.PLAN_NOT_ALLOWED


def test_weights_other_than_the_plan_names(setting) -> None:
    folder, request = setting
    arrays = {n: a + 1 for n, a in request.arrays.items()}
    with pytest.raises(RoundRefusedError) as caught:
        run_round(dataclasses.replace(request, arrays=arrays), open_site(folder.config))
    assert caught.value.code is RefusalCode.REQUEST_DAMAGED


def test_a_fault_leaves_as_a_code_and_stays_in_the_log(setting, caplog) -> None:
    folder, request = setting
    site = open_site(folder.config)
    (site.recordings[0].frames / "000001.png").write_bytes(b"broken")
    with caplog.at_level(logging.ERROR), pytest.raises(RoundRefusedError) as caught:
        run_round(request, site)
    assert caught.value.code is RefusalCode.SITE_FAULT
    assert "000001" not in str(caught.value)
    assert "round 1 failed" in caplog.text


def test_local_rows_are_kept_by_person(tmp_path) -> None:
    state = LocalState(tmp_path, "run", "finetuning")
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    names = {"identity_head.weight": rows, "identity_head.bias": rows[:, 0].copy()}
    state.save(names, ("anna", "ben", "cleo"))
    (path,) = (tmp_path / "run").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    schema = ParameterSchema(
        parameters=tuple(
            ParameterSpec(name=n, shape=a.shape, role=Role.IDENTITY_HEAD) for n, a in names.items()
        )
    )
    fresh = {
        "identity_head.weight": np.full((3, 2), -1, np.float32),
        "identity_head.bias": np.full(3, -1, np.float32),
    }
    got = state.load(schema, ("ben", "cleo", "dora"), fresh)["identity_head.weight"]
    assert got.tolist() == [[2, 3], [4, 5], [-1, -1]]
    assert fresh["identity_head.weight"].tolist() == [[-1, -1]] * 3
    wider = {n: np.zeros((3, 5)[: a.ndim], np.float32) for n, a in fresh.items()}
    with pytest.raises(LocalStateError, match="another shape"):
        state.load(schema, ("ben", "cleo", "dora"), wider)
    assert state.purge(frozenset({"anna", "cleo"})) == 1
    assert b"ben" not in path.read_bytes()
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(LocalStateError, match="delete it"):
        state.load(schema, ("anna",), fresh)


BROKEN = {
    "an unknown key": ('site_id = "site-a"', 'site_id = "site-a"\nserver = "x"', "server"),
    "an unknown AU": ("labelled_aus = [1, 2]", "labelled_aus = [3]", "unknown action units"),
    "no recordings": ("recordings = [", "recordings = []\nother = [", "recordings|other"),
}


@pytest.mark.parametrize(("old", "new", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_site_toml_errors_name_the_field(setting, old, new, message) -> None:
    folder, _ = setting
    folder.config.write_text(folder.config.read_text().replace(old, new, 1))
    with pytest.raises(SettingsError, match=message):
        load_site_config(folder.config)


def test_doctor(setting) -> None:
    folder, _ = setting
    good = run.invoke(app, ["check", str(folder.config)])
    assert good.exit_code == 0, good.output
    assert "consent to finetuning: 3 of 3 people" in good.output
    assert "This site can take part." in good.output
    for person in range(3):
        folder.withdraw(f"site-a-p{person}", [Purpose.FINETUNING])
    assert (
        "warning  consent to finetuning: 0 of 3"
        in run.invoke(app, ["check", str(folder.config)]).output
    )
    (folder.folder / "consent" / "keys" / "operator.key").chmod(0o644)
    bad = run.invoke(app, ["check", str(folder.config)])
    assert (bad.exit_code, "chmod 600" in bad.output) == (1, True)


def test_doctor_finds_aus_without_labels(setting) -> None:
    folder, _ = setting
    text = folder.config.read_text()
    folder.config.write_text(text.replace("labelled_aus = [1, 2]", "labelled_aus = [1, 2, 26]"))
    found = run.invoke(app, ["check", str(folder.config)])
    assert (found.exit_code, "[26]" in found.output) == (1, True)


def test_purge_deletes_rows_of_people_who_left(setting) -> None:
    folder, _ = setting
    kept = LocalState(folder.folder / "state", "earlier-run", "finetuning")
    rows = {"identity_head.weight": np.ones((2, 2), np.float32)}
    kept.save(rows, ("site-a-p0", "never-asked"))
    done = run.invoke(app, ["purge", str(folder.config)])
    assert (done.exit_code, "of 1 people" in done.output) == (0, True)
    assert kept.subjects() == ("site-a-p0",)


def test_changed_frames_have_another_digest(setting) -> None:
    folder, _ = setting
    frames = open_site(folder.config).recordings[0].frames
    before = recording_digest(frames)
    assert recording_digest(frames) == before
    (frames / "000001.png").write_bytes((frames / "000002.png").read_bytes())
    changed = recording_digest(frames)
    (frames / "000003.png").unlink()
    assert len({before, changed, recording_digest(frames)}) == 3


def test_an_auditor_at_the_site_can_recompute_the_manifest(setting) -> None:
    folder, request = setting
    site = open_site(folder.config)
    update = run_round(request, site)
    signed = open_attestation(update.attestation, folder.keys[ConsentRole.OPERATOR].verifier)
    path = folder.folder / "state" / "test-run" / "manifests.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    (line,) = path.read_text().splitlines()
    kept = json.loads(line)
    digests = {recording_digest(r.frames).hex() for r in site.recordings}
    assert {asset for asset, _ in kept["assets"]} == digests
    assets = [(bytes.fromhex(asset), entry) for asset, entry in kept["assets"]]
    root = manifest_root(assets, bytes.fromhex(kept["salt"])).hex()
    assert (root, kept["update"]) == (signed.manifest, digest(update.arrays))
    assert manifest_root(assets[1:], bytes.fromhex(kept["salt"])).hex() != signed.manifest
