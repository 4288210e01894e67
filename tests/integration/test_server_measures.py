"""A real server measures the model of each round, also when it was killed in between."""

import json
import time

import pytest

from core_model.evaluation.figures import read_figures
from fl_server.config import load_federation
from fl_server.figures import figures_path
from fl_server.run_lock import wait_until_free
from tests.core_model.faces import write_site
from tests.federation import write_sites
from tests.integration.server_folder import make_server, node_key, started, told

ROUNDS = 3


@pytest.mark.slow
@pytest.mark.deployment
def test_a_server_measures_each_round_and_makes_up_what_a_kill_took(tmp_path) -> None:
    """No site is there: the rounds end at once without a quorum, and the model stays."""
    sites = write_sites(tmp_path)
    server = make_server(tmp_path / "server", sites, {s: node_key()[1] for s in sites}, ROUNDS)
    write_site(server.root / "public", num_people=4)
    text = server.federation.read_text().replace("join_timeout_s = 120.0", "join_timeout_s = 0.0")
    text += '\n[evaluation]\nrecordings = ["public/recordings.csv"]\n'
    server.federation.write_text(text)
    output = load_federation(server.federation).output
    paths = [figures_path(output, number) for number in range(1, ROUNDS + 1)]
    options = ("--insecure-on-loopback", "--log-format", "json")
    with started(server, *options) as process:
        end = time.monotonic() + 600  # measuring gives way to everything else
        while not any(path.exists() for path in paths):
            assert process.poll() is None, told(server)
            assert time.monotonic() < end, told(server)
            time.sleep(0.05)
        process.kill()
    assert wait_until_free(server.lock, 60) is None
    assert all(read_figures(path) is not None for path in paths if path.exists())
    paths[0].unlink(missing_ok=True)  # as if the kill had come earlier
    with started(server, *options) as process:
        assert process.wait(timeout=600) == 0, told(server)
    assert [read_figures(path).round for path in paths] == [1, 2, 3]
    events = [json.loads(line) for line in (server.root / "said.txt").read_text().splitlines()]
    assert 1 in [e["round"] for e in events if e["event"] == "measured"]
    assert events[-1]["event"] == "finished"
