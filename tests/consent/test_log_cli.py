import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from consent.cli import app
from consent.commands import log as log_commands
from consent.commands import witness as witness_commands
from consent.model import Role
from consent.site_events import LogNote

run = CliRunner()


def call(*args, code=0):
    result = run.invoke(app, [str(a) for a in args])
    assert result.exit_code == code, (args, result.output, result.exception)
    return result.output


@pytest.fixture
def site(registry):
    registry.append([LogNote(text=f"remark {i}") for i in range(300)], Role.OPERATOR)
    return ["--folder", registry.folder]


COMMANDS = [
    (name, command.name or command.callback.__name__.replace("_", "-"))
    for name, group in (("log", log_commands.app), ("witness", witness_commands.app))
    for command in group.registered_commands
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command) -> None:
    assert "Usage" in call(*command, "--help")


def test_a_typed_story_of_proofs_and_tiles(registry, site, tmp_path) -> None:
    vkey = registry.log_vkey
    assert "Cosigned by no witness yet" in call("log", "heads", *site)
    proof = tmp_path / "9.tlog-proof"
    assert "rests on the site alone" in call("log", "prove", 9, proof, *site)
    assert "Entry 9 is in site-a/consent-log" in call("log", "check", proof, vkey)
    call("log", "tiles", tmp_path / "tiles", *site)
    assert "Intact" in call("log", "check-tiles", tmp_path / "tiles", vkey)
    assert "Intact" in call("log", "verify", vkey, *site, "--remember", tmp_path / "checked")
    assert "Intact" in call("log", "verify", vkey, *site, "--remember", tmp_path / "checked")
    assert "no entry was opened" in call("log", "verify", vkey, *site, "--quick")

    entry = proof.with_name(proof.name + ".entry")
    entry.write_bytes(entry.read_bytes().replace(b'"seq":9', b'"seq":8'))
    assert "DAMAGED" in call("log", "check", proof, vkey, code=3)
    tile = tmp_path / "tiles" / "tile" / "entries" / "000"
    tile.write_bytes(tile.read_bytes().replace(b'"seq":9,', b'"seq":8,'))
    assert "tile/0/000" in call("log", "check-tiles", tmp_path / "tiles", vkey, code=3)


def test_damage_is_named_and_has_its_own_exit_code(registry, site) -> None:
    db = sqlite3.connect(registry.folder / "log.sqlite")
    db.execute("DROP TRIGGER entry_UPDATE")
    db.execute("UPDATE entry SET body = CAST(replace(CAST(body AS TEXT), '\"v\":1', '\"v\":2') AS "
               "BLOB) WHERE seq = 77")  # fmt: skip
    db.commit()
    db.close()
    assert "DAMAGED: entry 77" in call("log", "verify", registry.log_vkey, *site, code=3)
    assert "DAMAGED: entries 76 to 77" in call(
        "log", "verify", registry.log_vkey, *site, "--quick", code=3
    )


def test_a_truncated_log_fails_verify_since(registry, site, tmp_path) -> None:
    shutil.copytree(registry.folder, tmp_path / "old")
    registry.append([LogNote(text="later")], Role.OPERATOR)
    seen = tmp_path / "seen.note"
    seen.write_text(registry.snapshot().tree_head, encoding="utf-8")
    old = ["--folder", tmp_path / "old"]
    call("log", "verify", registry.log_vkey, *site, "--since", seen)
    call("log", "verify", registry.log_vkey, *old)
    told = call("log", "verify", registry.log_vkey, *old, "--since", seen, code=3)
    assert "were seen before" in told


def test_a_lost_high_water_mark_is_written_only_by_hand(registry, site) -> None:
    mark = registry.folder / "high-water"
    before = mark.read_text()
    assert "there already" in call("log", "trust-size", 3, *site, code=2)
    mark.unlink()
    assert "it was cut" in call("log", "trust-size", 9999, *site, code=3)
    call("log", "trust-size", registry.snapshot().size, *site)
    assert mark.read_text() == before
    registry.append([LogNote(text="on")], Role.OPERATOR)


USAGE = {
    "no such log": ("log", "heads", "--folder", "/nowhere"),
    "no such key": ("log", "verify", "nonsense", "--folder", "/nowhere"),
    "no such proof": ("log", "check", "/nowhere", "nonsense"),
    "no witness": ("witness", "status", "--folder", "/nowhere"),
    "not a key of a log": ("witness", "add", "nonsense", "--folder", "/nowhere"),
    "not a database": ("log", "prepare", "mysql://x/y", "role"),
    "not a role": ("log", "prepare", "postgresql://x/y", "role; DROP"),
}


@pytest.mark.parametrize("args", USAGE.values(), ids=USAGE.keys())
def test_mistakes_are_told_in_one_line(args) -> None:
    told = call(*args, code=2)
    assert "Traceback" not in told
    assert told.strip()


def test_a_witness_in_another_process(registry, site, tmp_path) -> None:
    """init, add, serve; the log is cosigned, proven, forked: the witness convicts it."""
    folder = ["--folder", str(tmp_path / "w")]
    witness = call("witness", "init", "w.example/1", *folder).split("\n")[0]
    call("witness", "add", registry.log_vkey, *folder)
    command = "from consent.cli import app; app()"
    served = subprocess.Popen(
        [sys.executable, "-c", command, "witness", "serve", "--port", "0", *folder],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        url = re.search(r"http://\S+", served.stdout.readline())[0]
        policy = tmp_path / "policy"
        policy.write_text(f"log {registry.log_vkey}\nwitness w {witness} {url}\nquorum w\n")
        shutil.copytree(registry.folder, tmp_path / "fork")
        registry.append([LogNote(text="here")], Role.OPERATOR)
        size = registry.snapshot().size
        assert f"w: cosigned {size} entries" in call("log", "cosign", policy, *site)
        assert f"Cosigned by a witness: {size}" in call("log", "heads", *site)
        proof = tmp_path / "5.tlog-proof"
        assert "site alone" not in call("log", "prove", 5, proof, *site)
        assert "Cosigned at 20" in call("log", "check", proof, policy)

        from consent.registry import Registry

        fork = Registry.open(tmp_path / "fork", registry.clock)
        fork.append([LogNote(text="there")], Role.OPERATOR)
        told = call("log", "cosign", policy, "--folder", tmp_path / "fork", code=1)
        assert "w: 409" in told
    finally:
        served.send_signal(signal.SIGINT)
        served.wait(60)
    evidence = tmp_path / "evidence"
    assert "SIGNED TWO HEADS" in call("witness", "status", *folder, "--evidence", evidence, code=1)
    pair = [evidence / "0-a.note", evidence / "0-b.note"]
    told = call("witness", "judge", *pair, registry.log_vkey, code=1)
    assert f"two histories of {size} entries" in told
    assert "prove nothing" in call("witness", "judge", pair[0], pair[0], registry.log_vkey)
