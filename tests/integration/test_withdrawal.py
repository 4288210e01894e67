import contextlib
from datetime import timedelta

from safetensors import safe_open

from consent.model import ConsentKind, Grant, Purpose
from consent.registry import Registry
from core_model.protocol.messages import RefusalCode
from fl_client import round as site_round
from fl_client.local_state import LocalState
from simulations.loop import run_plain
from simulations.sites import now
from tests.federation import write_federation, write_sites


def test_withdrawal_voids_the_running_round_and_excludes_from_the_next(
    tmp_path, monkeypatch
) -> None:
    folders = write_sites(tmp_path)
    real, seen = site_round.train, []

    def train_while_someone_withdraws(request, recordings, *rest):
        trained = real(request, recordings, *rest)
        if "site-b" in recordings[0].recording_id:
            seen.append((request.plan.round, sorted({r.subject_id for r in recordings})))
            if request.plan.round == 2:
                folders["site-b"].withdraw("site-b-p1", [Purpose.FINETUNING])
        return trained

    monkeypatch.setattr(site_round, "train", train_while_someone_withdraws)
    coordinator = run_plain(write_federation(tmp_path, folders), folders)
    assert coordinator.summaries[1].refused == {"site-b": RefusalCode.CONSENT_CHANGED}
    assert coordinator.summaries[2].admitted == ("site-a", "site-b")
    everyone = ["site-b-p0", "site-b-p1", "site-b-p2"]
    assert seen == [(1, everyone), (2, everyone), (3, ["site-b-p0", "site-b-p2"])]


def subjects_kept(folder):
    path = folder.folder / "state" / "test-run" / "finetuning.safetensors"
    with safe_open(path, framework="numpy") as f:
        return f.metadata()["subjects"], f.get_tensor("identity_head.weight")


def test_identity_rows_of_people_who_left_are_deleted(tmp_path) -> None:
    folders = write_sites(tmp_path)
    config = write_federation(tmp_path, folders)

    class PauseError(Exception):
        pass

    def pause(summary):
        if summary.round == 2:
            raise PauseError

    with contextlib.suppress(PauseError):
        run_plain(config, folders, pause)
    names, rows = subjects_kept(folders["site-b"])
    assert ("site-b-p1" in names, len(rows)) == (True, 3)
    leaving = rows[1].copy()
    folders["site-b"].withdraw("site-b-p1", [Purpose.FINETUNING])
    run_plain(config, folders)
    names, rows = subjects_kept(folders["site-b"])
    assert ("site-b-p1" in names, len(rows)) == (False, 2)
    state = b"".join(p.read_bytes() for p in (folders["site-b"].folder / "state").rglob("*.*"))
    assert leaving.tobytes() not in state


def names_kept(folder, run_id="test-run"):
    """Whose rows lie on the disk, however the round ended."""
    return LocalState(folder.folder / "state", run_id, "finetuning").subjects()


def test_rows_are_deleted_when_the_round_itself_is_refused(tmp_path) -> None:
    folders = write_sites(tmp_path)

    def withdraw_all(summary):
        if summary.round == 2:
            assert len(names_kept(folders["site-b"])) == 3
            for person in range(3):
                folders["site-b"].withdraw(f"site-b-p{person}", [Purpose.FINETUNING])

    coordinator = run_plain(write_federation(tmp_path, folders), folders, withdraw_all)
    assert coordinator.summaries[2].refused == {"site-b": RefusalCode.NO_CONSENTED_DATA}
    assert names_kept(folders["site-b"]) == ()


def test_rows_are_deleted_after_a_withdrawal_in_the_last_round(tmp_path, monkeypatch) -> None:
    folders, real = write_sites(tmp_path), site_round.train

    def train_while_someone_withdraws(request, recordings, *rest):
        trained = real(request, recordings, *rest)
        if request.plan.round == 3 and "site-b" in recordings[0].recording_id:
            folders["site-b"].withdraw("site-b-p1", [Purpose.FINETUNING])
        return trained

    monkeypatch.setattr(site_round, "train", train_while_someone_withdraws)
    coordinator = run_plain(write_federation(tmp_path, folders), folders)
    assert coordinator.summaries[2].refused == {"site-b": RefusalCode.CONSENT_CHANGED}
    assert names_kept(folders["site-b"]) == ("site-b-p0", "site-b-p2")


def test_rows_of_an_earlier_run_are_deleted_too(tmp_path) -> None:
    folders = write_sites(tmp_path)
    run_plain(write_federation(tmp_path, folders), folders)
    folders["site-b"].withdraw("site-b-p1", [Purpose.FINETUNING])
    later = write_federation(tmp_path, folders, output="later", run_id="later-run")
    run_plain(later, folders)
    for run_id in ("test-run", "later-run"):
        assert names_kept(folders["site-b"], run_id) == ("site-b-p0", "site-b-p2")
    assert len(names_kept(folders["site-a"])) == 3


def test_everyone_gone_is_a_refusal_and_the_others_go_on(tmp_path) -> None:
    folders = write_sites(tmp_path)
    for person in range(3):
        folders["site-b"].withdraw(f"site-b-p{person}", [Purpose.FINETUNING])
    coordinator = run_plain(write_federation(tmp_path, folders), folders)
    codes = [s.refused for s in coordinator.summaries]
    assert codes == [{}, *[{"site-b": RefusalCode.NO_CONSENTED_DATA}] * 2]


def test_consent_that_expires_is_seen_without_an_event(tmp_path) -> None:
    consent = write_sites(tmp_path)["site-a"].consent
    end = now() + timedelta(days=1)
    (notice,) = consent.state().notices["simulation"].versions[1].values()
    consent.register(subject_id="x")
    grant = Grant(purpose=Purpose.FINETUNING, expires_at=end)
    consent.give("x", [grant], notice.event.ref, ConsentKind.EXPLICIT, "0" * 64)
    assert consent.gate.rule(["x"], Purpose.FINETUNING).allowed == {"x"}
    later = Registry.open(consent.folder, lambda: end)
    assert later.gate.rule(["x"], Purpose.FINETUNING).allowed == frozenset()
