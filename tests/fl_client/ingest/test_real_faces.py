"""Real faces that a package ships, as unlabelled recordings: found, cut out, and pretrained on."""

from __future__ import annotations

from core_model.config import EncoderConfig
from core_model.data import people_folder
from fl_server.config import FederationConfig, Stage
from simulations.loop import run_plain, write_initial
from simulations.real_faces import IMAGES_PER_PERSON, LICENCE, NUM_PEOPLE, orl_folder
from tests.federation import PRETRAINING
from tests.fixtures.sites import found_site, ingest_all, opened


def test_real_faces_are_found_and_pretraining_on_them_runs(tmp_path, detector) -> None:
    site = found_site(tmp_path / "site", [f"s{n}" for n in range(1, NUM_PEOPLE + 1)], ())
    summary = ingest_all(opened(site, detector), people_folder.find(orl_folder(), LICENCE))
    counts = summary.counts
    assert counts.looked_at == NUM_PEOPLE * IMAGES_PER_PERSON + 1  # the package left one in s10
    assert counts.cropped >= 0.99 * counts.looked_at
    assert len(summary.done) == NUM_PEOPLE

    encoder = EncoderConfig(image_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2)
    initial = tmp_path / "initial.safetensors"
    write_initial(initial, encoder, (1,), seed=7)
    config = FederationConfig(
        run_id="real", seed=3, action_units=(1,), initial=initial, output=tmp_path / "out",
        stages=(Stage(rounds=1, training=PRETRAINING),), sites=(site.enrolment(),), timeout_s=300.0,
    )  # fmt: skip
    told = []
    run_plain(config, {site.site_id: site}, told.append)
    assert [(s.purpose, len(s.admitted)) for s in told] == [("pretraining", 1)]
