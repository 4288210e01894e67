"""The models of rounds are measured beside the rounds: what is lost is made up, none is half."""

import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from core_model.evaluation.figures import Job, ModelToMeasure, read_figures
from core_model.evaluation.measuring import measure_all
from core_model.evaluation.public_set import PublicSet
from core_model.settings_file import SettingsError
from fl_server.cli import app
from fl_server.config import load_draft
from fl_server.digests import config_digest
from fl_server.evaluating import Evaluator
from fl_server.figures import (
    figures_path,
    missing_figures,
    newest_figures,
    shown_figures,
)
from fl_server.folder import ServerFolder
from fl_server.founding import TEMPLATE
from fl_server.journal import Journal
from fl_server.monitoring import RoundMetrics
from fl_server.report import write_report
from fl_server.round_state import model_path
from simulations.loop import run_plain
from simulations.toml_text import to_toml
from tests.core_model.faces import write_site
from tests.federation import FINETUNING, PRETRAINING, Stage, write_federation, write_sites

STAGES = (Stage(rounds=1, training=PRETRAINING), Stage(rounds=3, training=FINETUNING))
run = CliRunner()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of a round of pretraining and three of fine-tuning, and a public set."""
    root = tmp_path_factory.mktemp("federation")
    sites = write_sites(root)
    config = write_federation(root, sites, stages=STAGES)
    summaries = run_plain(config, sites).summaries
    write_site(root / "public" / "test", num_people=6)
    write_site(root / "public" / "others", num_people=4, first_person=40)
    return root, config, summaries


class Server:
    """A copy of all that, to be damaged."""

    def __init__(self, made, root: Path) -> None:
        source, config, self.summaries = made
        for name in ("output", "public"):
            shutil.copytree(source / name, root / name)
        self.test, others = (root / "public" / n / "recordings.csv" for n in ("test", "others"))
        public = PublicSet(recordings=(self.test,), validation=(others,))
        self.config = config.model_copy(update={"output": root / "output", "evaluation": public})
        self.folder = ServerFolder(root)
        self.said: list[str] = []

    def evaluator(self) -> Evaluator:
        return Evaluator(self.folder, self.config, Journal(self.said.append))

    def measure(self) -> None:
        """Have processes measure, as a server does."""
        with self.evaluator() as evaluator:
            evaluator.finish(self.summaries)

    def measure_here(self) -> tuple[int, ...]:
        """Measure what is missing in this process, which is quicker; return the rounds."""
        rounds = self.evaluator().missing(self.summaries)
        output = self.config.output
        models = tuple(
            ModelToMeasure(round=n, checkpoint=model_path(output, n), out=self.path(n))
            for n in rounds
        )
        measure_all(Job(public=self.config.evaluation, models=models), torch.device("cpu"))
        return rounds

    def path(self, number: int) -> Path:
        return figures_path(self.config.output, number)

    def shown(self) -> list[int]:
        return [f.round for f in shown_figures(self.config.output, self.summaries)]


@pytest.fixture
def server(made, tmp_path):
    return Server(made, tmp_path)


def test_every_round_of_finetuning_gets_its_figures_the_newest_first(server) -> None:
    server.measure()
    assert server.shown() == [2, 3, 4]  # the first round was pretraining
    assert [line.split(":")[0] for line in server.said] == ["round 4", "round 3", "round 2"]
    assert "; identity probe 1.000, guessing 0.167" in server.said[0]  # by the colour of a face
    before = {n: server.path(n).stat().st_mtime_ns for n in (2, 3, 4)}
    server.measure()
    assert {n: server.path(n).stat().st_mtime_ns for n in (2, 3, 4)} == before


def test_figures_that_are_lost_cut_off_or_of_other_weights_are_made_up(server) -> None:
    server.measure_here()
    whole = {n: server.path(n).read_text() for n in (2, 3, 4)}
    server.path(2).unlink()
    server.path(3).write_text(whole[3][: len(whole[3]) // 2])
    for suffix in ("", ".json"):  # round 4 has other weights now, as after a backup came back
        shutil.copy(f"{model_path(server.config.output, 2)}{suffix}",
                    f"{model_path(server.config.output, 4)}{suffix}")  # fmt: skip
    assert server.shown() == []
    assert newest_figures(server.config.output, server.summaries) is None
    assert server.measure_here() == (4, 3, 2)
    assert server.shown() == [2, 3, 4]
    assert _without_time(server.path(3).read_text()) == _without_time(whole[3])
    assert read_figures(server.path(4)).model == read_figures(server.path(2)).model


def _without_time(text: str) -> list[str]:
    return [line for line in text.splitlines() if '"seconds"' not in line]


@pytest.mark.slow
def test_killed_while_it_measures_it_goes_on_where_it_was(server) -> None:
    with server.evaluator() as evaluator:
        assert evaluator.step(server.summaries)
        pid = evaluator._program.pid
        _wait_for(lambda: server.path(4).exists())
        os.kill(pid, signal.SIGKILL)
        evaluator.finish(server.summaries)
    assert server.shown() == [2, 3, 4]


@pytest.mark.slow
def test_what_measures_ends_with_a_server_that_was_killed(server) -> None:
    """And leaves no file that is half of one."""
    code = "import sys; from tests.fl_server.test_evaluating import hold_on; hold_on(sys.argv[1])"
    job = server.folder.root / "config.json"
    job.write_text(server.config.model_dump_json())
    with subprocess.Popen([sys.executable, "-c", code, str(job)], stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        _wait_for(lambda: server.path(4).parent.exists())
        parent.kill()
    _wait_for(lambda: not Path(f"/proc/{child}").exists())
    for path in server.path(4).parent.glob("*.json"):
        assert read_figures(path) is not None
    server.measure()
    assert server.shown() == [2, 3, 4]


def hold_on(job: str) -> None:
    """Begin to measure as a server does, and be killed."""
    from fl_server.config import FederationConfig
    from fl_server.round_state import load_state

    config = FederationConfig.model_validate_json(Path(job).read_text())
    evaluator = Evaluator(ServerFolder(Path(job).parent), config, Journal(lambda _: None))
    evaluator.step(load_state(config.output, config.run_id).summaries)
    sys.stdout.write(f"{evaluator._program.pid}\n")
    sys.stdout.flush()
    time.sleep(900)


def _wait_for(is_so) -> None:
    end = time.monotonic() + 600  # it gives way to everything else
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


WRONG_LISTS = {
    "another heading": (lambda text: text.replace("subject_id", "name"), "expected columns"),
    "a line that was cut off": (lambda text: text[: text.rindex(",subj")], "expected 5 values"),
    "no text": (lambda _: "\udcff", "'utf-8' codec"),
    "a field without an end": (lambda text: text + '"' + "x" * 200_000, "field larger than"),
}


@pytest.mark.parametrize(("broken", "says"), WRONG_LISTS.values(), ids=WRONG_LISTS.keys())
def test_a_public_set_that_is_not_right_costs_figures_and_no_round(server, broken, says) -> None:
    text = server.test.read_text()
    server.test.write_text(broken(text), errors="surrogateescape")
    with server.evaluator() as evaluator:
        assert not evaluator.step(server.summaries)
        assert not evaluator.step(server.summaries)  # and nothing is tried until another round
        assert len(server.said) == 1
        assert says in server.said[0]
        server.test.write_text(text)
        assert not evaluator.step(server.summaries)
        assert evaluator.step(server.summaries[:3])  # another number of rounds


def test_models_that_cannot_be_measured_are_told_with_the_place_of_the_reason(server) -> None:
    for number in (2, 3, 4):
        model_path(server.config.output, number).write_bytes(b"broken")
    server.measure()
    (told,) = server.said
    assert "no figures: round 4, 3, 2: see " in told
    assert "damaged or not a checkpoint" in (server.folder.logs / "figures.log").read_text()


def test_figures_of_two_public_sets_are_never_shown_together(server) -> None:
    server.measure_here()
    text = server.test.read_text()
    server.test.write_text("\n".join(text.splitlines()[:-2]) + "\n")  # one person fewer
    people = read_figures(server.path(4)).people
    missing = missing_figures(server.config.output, server.summaries, people)
    assert missing == ()
    with server.evaluator() as evaluator:
        assert evaluator.missing(server.summaries) == (4, 3, 2)
    server.path(2).unlink()
    server.path(3).unlink()
    server.measure_here()
    server.path(2).write_text(server.path(2).read_text().replace(_people(server, 2), people))
    assert server.shown() == [3, 4]


def _people(server, number) -> str:
    return read_figures(server.path(number)).people


def test_prometheus_sees_the_newest_figures(server) -> None:
    server.measure_here()
    output, summaries = server.config.output, server.summaries
    metrics = RoundMetrics(lambda: summaries, lambda: {}, lambda: newest_figures(output, summaries))
    found = {m.name: {tuple(s.labels.values()): s.value for s in m.samples}
             for m in metrics.collect()}  # fmt: skip
    newest = read_figures(server.path(4))
    assert found["omote_figures_round"] == {(): 4}
    assert found["omote_macro_f1"] == {(): newest.macro_f1.value}
    assert found["omote_f1"] == {(str(au),): m.value for au, m in newest.f1.items()}
    assert found["omote_identity_probe"] == {(): newest.probe.accuracy}
    assert found["omote_identity_chance"] == {(): newest.probe.chance}
    without = {m.name for m in RoundMetrics(lambda: summaries, lambda: {}).collect()}
    assert "omote_macro_f1" not in without


def test_the_report_has_the_figures_of_each_round(server, tmp_path) -> None:
    server.measure_here()
    server.folder.federation.write_text(to_toml(server.config))
    write_report(server.folder, tmp_path / "page.html", datetime(2026, 1, 1, tzinfo=UTC))
    page = (tmp_path / "page.html").read_text()
    assert f"{read_figures(server.path(3)).macro_f1.value:.3f} [" in page
    assert page.count("(guessing 0.167)") == 3
    assert "Figures are of 6 people" in page


def test_the_template_shows_a_section_that_is_right(tmp_path) -> None:
    text = TEMPLATE.read_text().replace("@NAME@", "x").replace("@ADDRESS@", "localhost:1")
    text = text.replace("@PORT@", "1")
    for line in ("[evaluation]", "recordings =", "validation ="):
        assert f"# {line}" in text
        text = text.replace(f"# {line}", line)
    path = tmp_path / "federation.toml"
    path.write_text(text)
    assert load_draft(path).evaluation == PublicSet(
        recordings=(tmp_path / "public/test.csv",), validation=(tmp_path / "public/validation.csv",)
    )
    path.write_text(text.replace("recordings = [", "recording = ["))
    with pytest.raises(SettingsError, match="recording"):
        load_draft(path)


def test_what_is_measured_changes_no_digest_of_the_settings(server) -> None:
    without = server.config.model_copy(update={"evaluation": None})
    assert config_digest(without) == config_digest(server.config)


def test_by_hand_a_server_without_a_public_set_says_what_to_do(server) -> None:
    without = server.config.model_copy(update={"evaluation": None})
    server.folder.federation.write_text(to_toml(without))
    done = run.invoke(app, ["evaluate", str(server.folder.root)])
    assert (done.exit_code, "add [evaluation]" in done.output) == (1, True), done.output


def test_check_says_on_whom_is_measured(server) -> None:
    server.folder.federation.write_text(to_toml(server.config))
    done = run.invoke(app, ["check", str(server.folder.root)])
    assert "measured on 6 people of the public set; 4 others choose" in done.output
    server.test.unlink()
    done = run.invoke(app, ["check", str(server.folder.root)])
    assert (done.exit_code, "recordings.csv" in done.output) == (1, True)
