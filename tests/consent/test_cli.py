import json
import re

import pytest
from typer.testing import CliRunner

from consent.cli import app

NAME, OUTSIDE, NOTICE = "Yamada Taro", "employee-0731234", "We train a detector with your face."


@pytest.fixture
def cli(tmp_path):
    """Run a command in a folder; return (exit code, all that was printed)."""
    runner, printed = CliRunner(), []

    def run(*arguments, typed=None, code=0):
        folder = ["--folder", str(tmp_path / "consent")]
        result = runner.invoke(app, [*map(str, arguments), *folder], input=typed)
        printed.append(result.output)
        assert result.exit_code == code, result.output
        return result.output

    run.printed = printed
    return run


@pytest.fixture
def files(tmp_path):
    (tmp_path / "en.txt").write_text(NOTICE)
    (tmp_path / "ja.txt").write_text("お顔の映像で検出器を訓練します。")
    (tmp_path / "form.pdf").write_bytes(f"signed by {NAME}".encode())
    return tmp_path


def start(cli, files):
    cli("init", "site-a", "--territory", "JP")
    purposes = ["--purpose", "finetuning", "--purpose", "pretraining"]
    cli("notice", "add", "study", files / "en.txt", *purposes)
    cli("notice", "add", "study", files / "ja.txt", "--language", "ja", *purposes)
    return cli("subject", "add", "--relation", "employee", typed=OUTSIDE + "\n").strip()


def test_a_typed_story(cli, files) -> None:
    anna = start(cli, files)
    assert re.fullmatch("[0-9a-f]{32}", anna)
    form = ["--evidence", files / "form.pdf"]
    cli("give", anna, "--purpose", "finetuning", "--notice", "study", "--language", "ja", *form,
        "--valid-days", 20)  # fmt: skip
    assert cli("subject", "find", typed=f" {OUTSIDE} \n").strip() == anna
    assert "finetuning       allowed" in cli("subject", "show", anna)
    status = cli("status")
    assert re.search(r"finetuning +1 +1 +1 +1", status)
    assert re.search(r"publication +0 .*never_given 1", status)
    cli("renew", anna, "--notice", "study", *form, "--valid-days", 400)
    assert re.search(r"finetuning +1 +0 +0 +0", cli("status"))
    withdrawn = cli("withdraw", anna)
    assert "Rounds that used the data: 0" in withdrawn
    assert "omote-site purge" in withdrawn
    shown = json.loads(cli("subject", "show", anna, "--json"))
    assert shown["decisions"]["finetuning"]["status"] == "withdrawn"
    assert [h["type"] for h in shown["history"]][-2:] == ["consent.renewed", "consent.withdrawn"]
    cli("subject", "erase", anna, "--yes")
    assert "erased" in cli("subject", "show", anna)
    cli("subject", "find", typed=OUTSIDE, code=1)


def test_notices_have_versions_and_languages(cli, files) -> None:
    start(cli, files)
    (files / "en.txt").write_text(NOTICE + "\nAnd we publish the model.")
    purposes = ["--purpose", "finetuning", "--purpose", "publication"]
    added = cli("notice", "add", "study", files / "en.txt", *purposes, "--changed", "finetuning")
    assert "version 2 (en)" in added
    listed = json.loads(cli("notice", "list", "--json"))
    assert [(n["notice"]["version"], n["notice"]["language"]) for n in listed] == [
        (1, "en"), (1, "ja"), (2, "en")]  # fmt: skip
    diff = cli("notice", "diff", "study", 1, 2)
    assert "+And we publish the model." in diff
    assert "Changed promises: finetuning" in diff


def test_terms_of_a_notice_are_checked(cli, files) -> None:
    cli("init", "site-a")
    terms = files / "terms.toml"
    terms.write_text('storage_locations = ["DE"]\nretention = "three years"\n')
    wrong = cli("notice", "add", "study", files / "en.txt", "--purpose", "finetuning",
                "--terms", terms, code=2)  # fmt: skip
    assert "retention" in wrong
    assert "controllers" in wrong
    terms.write_text(
        'storage_locations = ["DE"]\nretention = "P3Y"\nwithdrawal_method = "at the desk"\n'
        '[[controllers]]\nname = "Clinic"\naddress = "Berlin"\ncontact = "dpo@clinic.example"\n'
    )
    cli("notice", "add", "study", files / "en.txt", "--purpose", "finetuning", "--terms", terms)


REFUSED = {
    "an unknown person": (["withdraw", "nobody"], "no such person"),
    "an unknown notice": (["refuse", "{anna}", "--purpose", "finetuning", "--notice", "other"],
                          "notice list"),
    "a purpose that the notice does not ask for": (
        ["give", "{anna}", "--purpose", "publication", "--notice", "study", "--evidence", "{form}"],
        "does not ask for publication"),
    "an unknown language": (
        ["give", "{anna}", "--purpose", "finetuning", "--notice", "study", "--evidence", "{form}",
         "--language", "fr"], "in fr was not published"),
    "a recording of a stranger": (["asset", "link", "{links}"], "not registered"),
    "a key that is not there": (["key", "revoke", "00000000"], "no key 00000000"),
}  # fmt: skip


@pytest.mark.parametrize(("command", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_mistakes_are_told_plainly(cli, files, command, says) -> None:
    anna = start(cli, files)
    links = files / "links.jsonl"
    links.write_text(json.dumps({"asset": "a" * 64, "spans": [
        {"first": 1, "last": 2, "num_faces": 1, "subjects": ["stranger"]}]}))  # fmt: skip
    filled = [c.format(anna=anna, form=files / "form.pdf", links=links) for c in command]
    assert says in cli(*filled, code=2)


def test_recordings_of_people_who_left_are_listed(cli, files) -> None:
    anna = start(cli, files)
    cli("give", anna, "--purpose", "finetuning", "--notice", "study", "--evidence",
        files / "form.pdf")  # fmt: skip
    links = files / "links.jsonl"
    span = {"first": 1, "last": 9, "num_faces": 1, "subjects": [anna]}
    links.write_text(json.dumps({"asset": "a" * 64, "spans": [span]}))
    assert "1 recordings linked" in cli("asset", "link", links)
    cli("asset", "orphans")
    cli("withdraw", anna)
    assert "a" * 64 in cli("asset", "orphans", code=1)
    cli("asset", "delete", "a" * 64)
    cli("asset", "orphans")


def test_sweep_writes_down_what_time_has_ended(cli, files, monkeypatch) -> None:
    from datetime import timedelta

    from consent.commands import records, shell

    anna = start(cli, files)
    cli("give", anna, "--purpose", "finetuning", "--notice", "study", "--evidence",
        files / "form.pdf", "--valid-days", 2)  # fmt: skip
    assert "0 entries" in cli("sweep")
    real = shell.now
    for module in (shell, records):
        monkeypatch.setattr(module, "now", lambda: real() + timedelta(days=3))
    assert "1 entries" in cli("sweep")
    assert "0 entries" in cli("sweep")


def test_a_second_init_changes_nothing(cli, tmp_path) -> None:
    cli("init", "site-a")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert "never overwritten" in cli("init", "site-a", code=2)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_what_follows_a_withdrawal_is_run_and_its_failure_is_told(cli, files, tmp_path) -> None:
    anna = start(cli, files)
    hook = tmp_path / "consent" / "hooks" / "after-withdrawal"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\necho purged\n")
    hook.chmod(0o700)
    assert "purged" in cli("withdraw", anna)
    hook.chmod(0o720)
    assert "chmod 700" in cli("withdraw", anna, code=1)
    hook.write_text("#!/bin/sh\nexit 3\n")
    hook.chmod(0o700)
    assert "run it again" in cli("withdraw", anna, code=1)
    assert "withdrawn" in cli("subject", "show", anna)  # the withdrawal itself stands


def test_a_restored_backup_has_its_own_exit_code(cli, files, tmp_path) -> None:
    anna = start(cli, files)
    log = tmp_path / "consent" / "log.sqlite"
    old = log.read_bytes()
    cli("withdraw", anna)
    log.write_bytes(old)
    assert "restored backup" in cli("withdraw", anna, code=3)


def test_nothing_secret_is_printed_or_lies_about_in_the_clear(cli, files, tmp_path, caplog) -> None:
    """Planted: a name, an outside id, a notice's text; and all private keys of the site."""
    caplog.set_level(0)
    anna = start(cli, files)
    form = ["--evidence", files / "form.pdf"]
    cli("give", anna, "--purpose", "finetuning", "--notice", "study", *form)
    cli("give", anna, "--purpose", "publication", "--notice", "study", *form, code=2)
    cli("subject", "add", typed=OUTSIDE, code=2)  # is registered already
    cli("asset", "link", files / "form.pdf", code=2)
    cli("status", "--json")
    cli("key", "export", "--json")
    cli("withdraw", anna)
    cli("withdraw", NAME, code=2)
    cli("subject", "erase", anna, "--yes", "--suppress")
    cli("subject", "add", typed=OUTSIDE, code=2)
    told = "".join([*cli.printed, caplog.text])
    consent = tmp_path / "consent"
    private = [p.read_text().split("\n")[2] for p in consent.glob("keys/*.key")
               if p.name != "kek.key"]  # fmt: skip
    private += json.loads((consent / "keys" / "kek.key").read_text()).values()
    assert len(private) == 6
    for secret in (NAME, OUTSIDE, *private):
        assert secret not in told
    clear = b"".join(p.read_bytes() for p in consent.rglob("*") if p.suffix == ".sqlite")
    for secret in (NAME, OUTSIDE, NOTICE, "finetuning"):
        assert secret.encode() not in clear


def test_help_of_every_command_says_what_it_does() -> None:
    runner = CliRunner()

    def commands(path, group):
        for command in group.registered_commands:
            name = command.name or command.callback.__name__.replace("_", "-")
            yield [*path, name]
        for sub in group.registered_groups:
            yield from commands([*path, sub.name] if sub.name else path, sub.typer_instance)

    found = list(commands([], app))
    assert len(found) > 20
    for path in found:
        result = runner.invoke(app, [*path, "--help"])
        assert result.exit_code == 0, path
        assert len(result.output) > 200, path
