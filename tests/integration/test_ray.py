import pytest

from core_model.protocol.messages import digest
from simulations.loop import run_plain
from tests.federation import write_federation, write_sites


@pytest.mark.slow
@pytest.mark.ray
def test_ray_gives_the_same_weights(tmp_path) -> None:
    pytest.importorskip("ray")
    from simulations.ray_run import run_ray

    folders = write_sites(tmp_path / "plain")
    want = run_plain(write_federation(tmp_path / "plain", folders), folders)
    folders = write_sites(tmp_path / "ray")
    got = run_ray(write_federation(tmp_path / "ray", folders), folders)
    assert [s.admitted for s in got.summaries] == [("site-a", "site-b")] * 3
    assert digest(got.arrays) == digest(want.arrays)
