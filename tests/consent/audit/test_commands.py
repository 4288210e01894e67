import json

import pytest
from typer.testing import CliRunner

from consent.cli import app
from consent.model import Role
from tests.consent.conftest import key_of

LOG = key_of(Role.LOG).verifier.vkey
MODEL = "a" * 64
PLANTED = ("employee 0731234", "Ben Ferrum")
runner = CliRunner()


@pytest.fixture
def run(site, tmp_path, monkeypatch, clock):
    for module in ("audit", "audit_options", "shell"):
        monkeypatch.setattr(f"consent.commands.{module}.now", clock)
    for name in PLANTED:
        site.add(name)
    site.train(1)
    site.registry.withdraw(site.people["Ben Ferrum"])
    site.train(2)
    site.publish(MODEL, (1, 2))
    monkeypatch.chdir(tmp_path)

    def call(*args, code=0, person=""):
        got = runner.invoke(app, ["audit", *map(str, args)], input=f"{person}\n")
        assert got.exit_code == code, got.output
        for name in PLANTED:
            assert name not in got.output
        return got.output

    return call


def test_verify(run, site) -> None:
    assert "Intact: 17 entries of site-a/consent-log" in run("verify", LOG)
    assert json.loads(run("verify", LOG, "--json"))["size"] == 17
    other = key_of(Role.DPO).verifier.vkey
    assert "error " in run("verify", other, code=3)
    run("verify", "rubbish", code=2)
    run("verify", LOG, "--folder", "nowhere", code=2)


def test_verify_since_a_head_that_was_cut_off(run, site, tmp_path) -> None:
    """Adversarial case 2: the log goes back behind a withdrawal, and is signed again."""
    (tmp_path / "old.note").write_text(site.registry.snapshot().tree_head)
    run("verify", LOG, "--since", "old.note")
    log = site.registry.folder / "log.sqlite"
    newer = tmp_path / "newer.sqlite"
    newer.write_bytes(log.read_bytes())
    site.registry.withdraw(site.people[PLANTED[0]])
    (tmp_path / "new.note").write_text(site.registry.snapshot().tree_head)
    log.write_bytes(newer.read_bytes())
    run("verify", LOG)  # by itself it is sound
    assert "error " in run("verify", LOG, "--since", "new.note", code=3)


def test_bundle_goes_to_another_machine(run, tmp_path) -> None:
    out = run("export", "bundle", "--out", "b.tar")
    assert f"audit verify --bundle b.tar {LOG}" in out
    data = (tmp_path / "b.tar").read_bytes()
    assert "Attestations that hold: 2" in run("verify", "--bundle", "b.tar", LOG)
    assert json.loads(run("verify", "--bundle", "b.tar", LOG, "--json"))["rounds"] == 2
    at = data.index(b'"type":"round.signed"') + 10
    (tmp_path / "b.tar").write_bytes(data[:at] + b"X" + data[at + 1 :])
    out = run("verify", "--bundle", "b.tar", LOG, code=3)
    assert out == "error    entry 13 (roXnd.signed): bad signature by site-a/operator\n"


def test_report(run, tmp_path) -> None:
    out = run("report", "--key", LOG)
    assert "Some points need a person" in out
    assert "Read audit.html" in out
    made = json.loads((tmp_path / "audit.json").read_bytes())
    assert (made["outcome"], len(made["answers"])) == ("look", 21)
    assert json.loads(run("report", "--json"))["site"] == "site-a"
    run("report", "--before", "audit.json")
    assert "The log grew by 0" in run("diff", "audit.json", "audit.json")


def test_report_of_a_damaged_log(run, site, tmp_path) -> None:
    (site.registry.folder / "high-water").unlink()
    (site.registry.folder / "log.sqlite").write_bytes(b"x" * 10000)
    run("report", code=3)
    assert "does not hold" in (tmp_path / "audit.html").read_text()


def test_who(run, site, tmp_path) -> None:
    out = run("who", person="Ben Ferrum")
    assert "finetuning      withdrawn at entry" in out
    assert "used in round   run-1/1 (finetuning)" in out
    out = run("who", "--model", MODEL, person="Ben Ferrum")
    assert out.startswith("USED: in the updates that this site signed for run-1/1")
    got = json.loads(run("who", site.people["Ben Ferrum"], "--model", MODEL, "--json"))
    assert (got["answer"], len(got["uses"][0]["recordings"])) == ("used", 1)
    assert "CANNOT BE DETERMINED" in run("who", "--model", MODEL, person="nobody")
    run("who", code=2, person="nobody")
    (tmp_path / "id").write_text("Ben Ferrum\n")
    assert "withdrawn" in run("who", "--outside-id-file", "id")
    run("who", "--model", "f" * 64, code=2, person="Ben Ferrum")


def test_model_and_round(run, site) -> None:
    assert run("model").strip() == MODEL
    assert "rounds     run-1/1, run-1/2\npeople     2" in run("model", MODEL)
    assert json.loads(run("model", MODEL, "--json"))["people"] == 2
    assert "recomputed" in run("round", "run-1/1")
    run("round", "run-1/9", code=2)
    site.train(3, signed={"min_subjects": 9})
    assert "WRONG" in run("round", "run-1/3", code=1)
    assert json.loads(run("round", "run-1/3", "--json", code=1))["rounds"][0]["faults"]


def test_papers(run, tmp_path) -> None:
    assert run("export", "ropa").startswith('"Controllers')
    run("export", "dpia", "--out", "dpia.html")
    assert "To be judged by a person" in (tmp_path / "dpia.html").read_text()
    assert "What site-a knows about you" in run("export", "sar", person="Ben Ferrum")
    assert "standing" in json.loads(run("export", "sar", "--json", person="Ben Ferrum"))
    run("export", "sar", code=2, person="nobody")
    run("export", "nonsense", code=2)


def test_prove(run, site, tmp_path) -> None:
    from consent.proof_file import parse_proof
    from consent.trust import parse_policy

    run("prove", 6, "6.tlog-proof")
    proof = parse_proof((tmp_path / "6.tlog-proof").read_text())
    entry = (tmp_path / "6.tlog-proof.entry").read_bytes()
    assert entry == site.registry.snapshot().entry(6)
    proof.check(entry, parse_policy(f"log {LOG}\nquorum none\n"))
    run("prove", 99, "99.tlog-proof", code=2)


def test_server_and_site(run, site, tmp_path) -> None:
    record = {"run_id": "run-1", "summaries": []}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert "no such round" in run("diff", "--server", "run.json", code=1)
    record["run_id"] = "another"
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert "Both tell the same story." in run("diff", "--server", "run.json")
    run("diff", code=2)
    (tmp_path / "run.json").write_text("{}")
    run("diff", "--server", "run.json", code=2)
