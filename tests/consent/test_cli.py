import re

from typer.testing import CliRunner

from consent.cli import app

run = CliRunner()


def test_a_typed_story(tmp_path) -> None:
    folder, notice = str(tmp_path / "log"), tmp_path / "notice.txt"
    notice.write_text("We train a detector with your face.")
    made = run.invoke(app, ["init", "site-a", "--folder", folder])
    assert made.exit_code == 0, made.output
    vkey = re.search(r"site-a/consent-log\+\S+", made.output)[0]
    give = ["give", "--purpose", "finetuning", "--notice", str(notice), "--folder", folder]
    subject = run.invoke(app, give).output.strip()
    assert "finetuning   allowed" in run.invoke(app, ["show", subject, "--folder", folder]).output
    run.invoke(app, ["withdraw", subject, "--purpose", "finetuning", "--folder", folder])
    shown = run.invoke(app, ["show", subject, "--folder", folder]).output
    assert "finetuning   withdrawn" in shown
    assert "pretraining  never_given" in shown
    verified = run.invoke(app, ["verify", vkey, "--folder", folder])
    assert (verified.exit_code, "Intact: 4 entries" in verified.output) == (0, True)


def test_a_second_init_changes_nothing(tmp_path) -> None:
    folder = str(tmp_path / "log")
    run.invoke(app, ["init", "site-a", "--folder", folder])
    again = run.invoke(app, ["init", "site-a", "--folder", folder])
    assert again.exit_code == 1
    assert "nothing was changed" in again.output


def test_damage_has_its_own_exit_code(tmp_path) -> None:
    folder = tmp_path / "log"
    vkey = re.search(
        r"site-a/consent-log\+\S+",
        run.invoke(app, ["init", "site-a", "--folder", str(folder)]).output,
    )[0]
    path = folder / "consent.sqlite"
    data = path.read_bytes()
    at = data.index(b'"commit":"') + 12
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    broken = run.invoke(app, ["verify", vkey, "--folder", str(folder)])
    assert broken.exit_code == 3
    assert "DAMAGED: entry" in broken.output
