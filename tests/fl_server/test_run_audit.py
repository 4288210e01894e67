"""``omote-consent audit run``: a whole run, verified from the server's files and public keys."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from consent import merkle
from consent.cli import app as consent_app
from consent.envelope import canonical_json
from consent.note import TreeHead, sign_tree_head
from fl_server import app
from fl_server.round_log import ENTRIES
from fl_server.round_state import load_state
from tests.fl_client.test_private_round import private_federation
from tests.fl_server.test_witnessing import KEY, Federation

runner = CliRunner()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A server's folder after a round of pretraining and two private ones of fine-tuning."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "POLL_S", 0.01)
        federation = Federation(tmp_path_factory.mktemp("server"))
        assert [s.refused for s in federation.run(3)] == [{}] * 3
    write_keys(federation)
    return federation


def write_keys(federation):
    (federation.root / "sites").mkdir()
    for site in federation.config.sites:
        text = f'site_id = "{site.site_id}"\nkey = "{site.key}"\nlog_key = "{site.log_key}"\n'
        (federation.root / "sites" / f"{site.site_id}.toml").write_text(text)


def audit(root, *options):
    return runner.invoke(
        consent_app, ["audit", "run", str(root), "--key", KEY.verifier.vkey, *options]
    )


def copied(finished, tmp_path):
    """Only what an auditor is handed: no settings, no model."""
    for name in ("round-log", "sites"):
        shutil.copytree(finished.root / name, tmp_path / name)
    shutil.copytree(finished.config.output / "attestations", tmp_path / "rounds" / "attestations")
    return tmp_path


def test_run_that_is_in_order_tells_who_stands_behind_its_model(finished, tmp_path) -> None:
    result = audit(copied(finished, tmp_path))
    assert result.exit_code == 0, result.output
    assert "3 rounds signed by pilot/round-log" in result.output
    assert "cosigned by site-a: 2 entries, site-b: 2 entries" in result.output
    assert "run test-run: 3 rounds, 6 attestations hold, 1 version(s)" in result.output
    state = load_state(finished.config.output, "test-run")
    last = state.summaries[-1]
    assert f"model {last.model_out} of round 3:" in result.output
    for site_id, head in last.tree_heads.items():
        line = next(x for x in result.output.splitlines() if x.startswith(f"  {site_id}: "))
        assert f"3 rounds, last test-run/3; consent log {head}; no promise of privacy" in line
        policy = finished.sites[site_id].registry.state().policies
        assert (f"rules {policy[-1].event.sha256[:16]}" if policy else "rules none told") in line


def test_model_of_an_earlier_round_and_json(finished, tmp_path) -> None:
    root = copied(finished, tmp_path)
    first = load_state(finished.config.output, "test-run").summaries[0]
    assert f"model {first.model_out} of round 1:" in audit(root, "--model", first.model_out).output
    told = json.loads(audit(root, "--json").output)
    assert told["runs"][0]["models"]["1"]["sites"].keys() == {"site-a", "site-b"}
    assert (told["faults"], told["cosigned"]) == ([], {"site-a": 2, "site-b": 2})


def drop_attestation(root):
    (root / "rounds" / "attestations" / "0002" / "site-a.json").unlink()


def swap_attestations(root):
    folder = root / "rounds" / "attestations" / "0002"
    shutil.copy(folder / "site-b.json", folder / "site-a.json")


def older_attestation(root):
    folder = root / "rounds" / "attestations"
    shutil.copy(folder / "0001" / "site-a.json", folder / "0002" / "site-a.json")


def swap_keys(root):
    one, other = (root / "sites" / f"site-{x}.toml" for x in "ab")
    keys = [path.read_text().partition("\n")[2] for path in (one, other)]
    one.write_text(f'site_id = "site-a"\n{keys[1]}')
    other.write_text(f'site_id = "site-b"\n{keys[0]}')


FAULTS = {
    "an attestation that is gone": (drop_attestation, "test-run/2, site-a: the attestation"),
    "one of another site": (swap_attestations, "test-run/2, site-a"),
    "one of another round": (older_attestation, "test-run/2, site-a: the attestation"),
    "keys of another site": (swap_keys, "site-a"),
}


@pytest.mark.parametrize(("spoil", "says"), FAULTS.values(), ids=FAULTS.keys())
def test_what_sites_did_not_sign_is_found(finished, tmp_path, spoil, says) -> None:
    root = copied(finished, tmp_path)
    spoil(root)
    result = audit(root)
    assert result.exit_code == 1, result.output
    assert says in result.output.partition("FAULT: ")[2]


LIES = {
    "a head of another consent log": ("tree_heads", {"site-a": "3 AAAA", "site-b": "3 AAAA"},
                                      "another head of its consent log"),
    "a model from nowhere": ("model_in", "f" * 64, "does not start from"),
    "another purpose": ("purpose", "pretraining", "expected ("),
}  # fmt: skip


@pytest.mark.parametrize(("name", "value", "says"), LIES.values(), ids=LIES.keys())
def test_server_that_signs_another_story_is_found(finished, tmp_path, name, value, says) -> None:
    """It has its key, so the log verifies; but sites signed, and cosigned, something else."""
    root = copied(finished, tmp_path)
    entries = [json.loads(x) for x in (root / "round-log" / ENTRIES).read_bytes().splitlines()]
    entries[2][name] = value
    lines = b"".join(canonical_json(e) + b"\n" for e in entries)
    sign(root / "round-log", lines)
    result = audit(root)
    assert result.exit_code == 1, result.output
    assert says in result.output


def sign(folder, lines):
    leaves = merkle.leaf_hashes(lines.splitlines())
    root = merkle.root(merkle.tree_of(leaves), len(leaves))
    (folder / ENTRIES).write_bytes(lines)
    (folder / "tree-head").write_text(
        sign_tree_head(TreeHead(KEY.name, len(leaves), root), KEY), encoding="utf-8"
    )


def test_history_that_sites_cosigned_otherwise_is_found(finished, tmp_path) -> None:
    root = copied(finished, tmp_path)
    lines = (root / "round-log" / ENTRIES).read_bytes().splitlines()
    first = {**json.loads(lines[0]), "ended_at": 1}
    sign(root / "round-log", b"\n".join([canonical_json(first), *lines[1:], b""]))
    result = audit(root)
    assert result.exit_code == 1
    assert "00000001.note: sites cosigned 1 other entries than these" in result.output


def test_log_that_is_not_as_signed_does_not_hold(finished, tmp_path) -> None:
    root = copied(finished, tmp_path)
    path = root / "round-log" / ENTRIES
    path.write_bytes(path.read_bytes().replace(b"test-run", b"best-run"))
    assert audit(root).exit_code == 3


def test_epsilon_of_private_rounds_is_recomputed(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(app, "POLL_S", 0.01)
    federation = Federation(tmp_path)
    federation.config = private_federation(tmp_path, federation.folders)
    rounds = len([s for s in federation.config.stages for _ in range(s.rounds)])
    summaries = federation.run(rounds)
    assert all(s.refused == {} for s in summaries)
    write_keys(federation)
    shutil.copytree(federation.config.output, tmp_path / "rounds", dirs_exist_ok=True)
    result = audit(tmp_path)
    assert result.exit_code == 0, result.output
    seen = load_state(federation.config.output, federation.config.run_id).sites["site-a"]
    assert f"; epsilon {seen.epsilon_total}" in result.output
