import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from core_model.protocol.messages import digest
from simulations.flower_run import PROJECT, FlowerRunError, run_deployment
from simulations.loop import run_plain
from tests.federation import write_federation, write_sites


@pytest.mark.slow
@pytest.mark.deployment
def test_a_real_superlink_gives_the_same_weights(tmp_path) -> None:
    """Two SuperNodes and a SuperLink on loopback, started as an operator would."""
    plain = tmp_path / "plain"
    folders = write_sites(plain)
    want = run_plain(write_federation(plain, folders), folders)
    far = tmp_path / "far"
    folders = write_sites(far)
    got = run_deployment(write_federation(far, folders), folders, tmp_path / "link")
    assert [s.admitted for s in got.summaries] == [("site-a", "site-b")] * 3
    assert digest(got.arrays) == digest(want.arrays)


@pytest.mark.slow
@pytest.mark.deployment
def test_a_server_that_cannot_start_is_told_at_once_and_leaves_nothing_running(tmp_path) -> None:
    folders = write_sites(tmp_path)
    config = write_federation(tmp_path, folders)
    config.initial.write_bytes(b"broken")
    started = time.monotonic()
    with pytest.raises(FlowerRunError, match=r"before the last round: see .*run\.log"):
        run_deployment(config, folders, tmp_path / "link")
    assert time.monotonic() - started < 120
    assert "not a checkpoint of Omote" in (tmp_path / "link" / "run.log").read_text()
    commands = (p / "cmdline" for p in Path("/proc").glob("[0-9]*"))
    assert not [c for c in commands if str(tmp_path).encode() in read_or_nothing(c)]


def read_or_nothing(path):
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile
        return b""


def test_the_app_bundle_holds_no_code_data_keys_or_logs(tmp_path) -> None:
    """Built from a project folder in which all of these lie."""
    project = tmp_path / "app"
    project.mkdir()
    for name in ("pyproject.toml", "README.md"):
        (project / name).write_bytes((PROJECT / name).read_bytes())
    for planted in ("site.toml", "site.key", "keys.yaml", "consent.json", "faces.jsonl",
                    "data/a.json", "data/README.md", "fl_client/app.py"):  # fmt: skip
        path = project / planted
        path.parent.mkdir(exist_ok=True)
        path.write_text("secret")
    flwr = Path(sys.executable).parent / "flwr"
    built = subprocess.run(
        [flwr, "build", "--app", project], check=False, cwd=project, capture_output=True
    )
    assert built.returncode == 0, (built.stdout + built.stderr).decode()
    (bundle,) = project.glob("*.fab")
    with zipfile.ZipFile(bundle) as f:
        names = {n for n in f.namelist() if not n.startswith(".info/")}
        assert names == {"pyproject.toml", "README.md"}
        assert b"secret" not in b"".join(f.read(n) for n in f.namelist())
