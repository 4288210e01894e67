"""What a server may make a site do; and what it may not, however it asks."""

import dataclasses

import pytest

from core_model.config import EncoderConfig, FinetuneConfig, PretrainConfig, encoder_config
from core_model.nn.iat import IATModel
from core_model.nn.mae import MaskedAutoencoder
from core_model.norms import change_norm
from core_model.protocol.messages import RefusalCode, RoundPlan, digest
from fl_client.caps import check_request, most_weights
from fl_client.errors import RoundRefusedError
from fl_client.round import run_round
from fl_client.site import open_site
from fl_server.config import Stage
from fl_server.coordinator import Coordinator
from simulations.loop import run_plain
from tests.federation import AUS, FINETUNING, write_federation, write_sites


@pytest.fixture
def setting(tmp_path):
    folders = write_sites(tmp_path, max_weights=50_000)
    site = open_site(folders["site-a"].config)
    return site, Coordinator(write_federation(tmp_path, folders)).request("site-a")


def asked(request, **changes):
    plan = RoundPlan.model_validate({**request.plan.model_dump(), **changes})
    return dataclasses.replace(request, plan=plan)


HUGE = {
    "a decoder that is never sent": {"training": PretrainConfig(decoder_dim=2048)},
    "a deep encoder": {"encoder": EncoderConfig(image_size=32, patch_size=8, depth=10_000)},
    "a patch as large as a house": {
        "encoder": EncoderConfig(image_size=8000, patch_size=8000, embed_dim=16, num_heads=2)
    },
}


@pytest.mark.parametrize("changes", HUGE.values(), ids=HUGE.keys())
def test_a_model_beyond_the_cap_is_refused_before_it_is_built(setting, changes) -> None:
    site, request = setting
    check_request(request, site.config)
    with pytest.raises(RoundRefusedError, match="weights") as caught:
        check_request(asked(request, **changes), site.config)
    assert caught.value.code is RefusalCode.PLAN_NOT_ALLOWED


@pytest.mark.parametrize("run_id", ["../escaped", "..", "/tmp/escaped", "a/b", "", ".hidden"])
def test_server_names_a_run_like_a_path(setting, tmp_path, run_id) -> None:
    site, request = setting
    before = sorted(tmp_path.rglob("*"))
    plan = request.plan.model_copy(update={"run_id": run_id})
    with pytest.raises(RoundRefusedError) as caught:
        run_round(dataclasses.replace(request, plan=plan), site)
    assert caught.value.code is RefusalCode.PLAN_NOT_ALLOWED
    assert sorted(tmp_path.rglob("*")) == before


SMALL_DECODER = PretrainConfig(decoder_dim=64, decoder_depth=2, decoder_heads=4)
MODELS = {
    "micro, convolution stem": (encoder_config("micro"), SMALL_DECODER),
    "tiny, plain": (encoder_config("tiny"), SMALL_DECODER),
    "tiny, the paper's decoder": (encoder_config("tiny"), PretrainConfig()),
    "tiny, adapters": (
        encoder_config("tiny").model_copy(update={"lora_rank": 16}),
        FinetuneConfig(),
    ),
    "micro, fine-tuned": (encoder_config("micro"), FinetuneConfig()),
    "wide mlp": (EncoderConfig(embed_dim=64, depth=2, num_heads=2, mlp_ratio=7.3), SMALL_DECODER),
}


@pytest.mark.parametrize(("encoder", "training"), MODELS.values(), ids=MODELS.keys())
def test_the_bound_holds_and_is_not_far_off(setting, encoder, training) -> None:
    _, request = setting
    if isinstance(training, FinetuneConfig):
        model = IATModel(encoder, AUS, 1, training)
    else:
        model = MaskedAutoencoder(encoder, training)
    real = sum(p.numel() for p in model.parameters())
    bound = most_weights(request.plan.model_copy(update={"encoder": encoder, "training": training}))
    assert real <= bound + encoder.embed_dim + 1 <= 1.3 * real  # one person's row is not counted


def test_site_that_labels_more_than_the_federation_asks_for(tmp_path) -> None:
    folders = write_sites(tmp_path, may_send_counts=True)
    path = folders["site-a"].config
    path.write_text(path.read_text().replace("aus = [1, 2]", "aus = [1, 2, 26]"))
    config = write_federation(tmp_path, folders, weighting="frames")
    assert [s.refused for s in run_plain(config, folders).summaries] == [{}, {}, {}]


def test_labels_that_the_operator_did_not_name_teach_nothing(tmp_path) -> None:
    """The files of site-a label AU 1 and 2; with AU 1 alone in site.toml, AU 2 may say anything."""
    digests = {}
    cases = {"as is": ([1], False), "turned": ([1], True), "both named": ([1, 2], False)}
    for name, (named, turned) in {**cases, "turned too": ([1, 2], True)}.items():
        folders = write_sites(tmp_path / name)
        path = folders["site-a"].config
        path.write_text(path.read_text().replace("aus = [1, 2]", f"aus = {named}"))
        if turned:
            for labels in (tmp_path / name / "site-a" / "data").glob("*-r0.csv"):
                turn_last_column(labels)
        stages = [Stage(rounds=1, training=FINETUNING).model_dump()]
        request = Coordinator(write_federation(tmp_path / name, folders, stages=stages)).request(
            "site-a"
        )
        digests[name] = digest(run_round(request, open_site(path)).arrays)
    assert digests["as is"] == digests["turned"]
    assert digests["both named"] != digests["turned too"]


def turn_last_column(labels) -> None:
    header, *rows = (line.split(",") for line in labels.read_text().split())
    turned = [[*row[:-1], "0" if int(row[-1]) >= 2 else "5"] for row in rows]
    labels.write_text("\n".join(",".join(row) for row in [header, *turned]) + "\n")


def test_a_plan_that_holds_training_back_beyond_the_cap_is_refused(tmp_path) -> None:
    folders = write_sites(tmp_path, max_proximal=0.5)
    site = open_site(folders["site-a"].config)
    stages = [{"rounds": 1, "training": FINETUNING, "proximal": 0.5}]
    config = write_federation(tmp_path, folders, stages=stages)
    request = Coordinator(config).request("site-a")
    assert request.plan.proximal == 0.5
    check_request(request, site.config)
    with pytest.raises(RoundRefusedError, match="max_proximal") as caught:
        check_request(asked(request, proximal=0.6), site.config)
    assert caught.value.code is RefusalCode.PLAN_NOT_ALLOWED


def test_a_plan_that_holds_training_back_ends_nearer_to_the_model_that_came(tmp_path) -> None:
    moved = {}
    for proximal in (0.0, 10.0):
        root = tmp_path / str(proximal)
        folders = write_sites(root, max_proximal=10.0)
        stages = [{"rounds": 1, "training": MANY_EPOCHS, "proximal": proximal}]
        request = Coordinator(write_federation(root, folders, stages=stages)).request("site-a")
        update = run_round(request, open_site(folders["site-a"].config))
        moved[proximal] = change_norm(request.arrays, update.arrays)
    assert moved[10.0] < 0.8 * moved[0.0]


MANY_EPOCHS = FINETUNING.model_copy(
    update={"optimiser": FINETUNING.optimiser.model_copy(update={"epochs_per_round": 5})}
)
