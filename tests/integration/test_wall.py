"""What leaves a site, seen on the wire; and what the server does with what should not."""

import dataclasses
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from consent.model import Purpose
from core_model.protocol.messages import RefusalCode
from fl_client.round import run_round
from simulations.dishonest import hide_withdrawal, sign_again
from simulations.loop import run_local, run_plain
from tests.federation import write_federation, write_sites

ENCODER_WEIGHTS = {
    "encoder.patches.project.weight", "encoder.patches.project.bias", "encoder.class_token.token",
    "encoder.norm.weight", "encoder.norm.bias",
    *(f"encoder.blocks.0.{n}.{kind}" for n in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1",
                                               "mlp.fc2") for kind in ("weight", "bias")),
}  # fmt: skip
HEAD = {"au_head.weight", "au_head.bias"}
FIELDS = {"site-id", "attestation", "labelled-aus", "cosignature"}


def test_exactly_these_names_leave_a_site(tmp_path) -> None:
    folders = write_sites(tmp_path)
    _, grid = run_local(write_federation(tmp_path, folders), folders, keep_raw=True)
    updates = [c for c in grid.crossings if c.message_type == "train"]
    assert [set(c.arrays) for c in updates] == (
        [ENCODER_WEIGHTS] * 2 + [ENCODER_WEIGHTS | HEAD] * 4
    )
    assert all(set(c.fields) == FIELDS for c in updates)
    others = {(c.message_type, c.arrays, c.fields) for c in grid.crossings if c not in updates}
    assert others == {("query.site", (), ("site-id",))}


def test_no_person_and_no_identity_row_is_in_the_bytes(tmp_path) -> None:
    folders = write_sites(tmp_path)
    _, grid = run_local(write_federation(tmp_path, folders), folders, keep_raw=True)
    raw = b"".join(c.raw for c in grid.crossings)
    for folder in folders.values():
        kept = load_file(folder.folder / "state" / "test-run" / "finetuning.safetensors")
        decoder = load_file(folder.folder / "state" / "test-run" / "pretraining.safetensors")
        assert set(kept) == {"identity_head.weight", "identity_head.bias"}
        assert all(name.startswith("decoder.") for name in decoder)
        for array in (*kept["identity_head.weight"], *decoder.values()):
            assert array.tobytes() not in raw or not array.any()
        assert f"{folder.site_id}-p".encode() not in raw
        assert str(folder.folder).encode() not in raw
    # The last update of each site: weights and little else.
    weights = sum(a.nbytes for a in _shared(folders, tmp_path).values())
    assert all(c.num_bytes < weights + 12_000 for c in grid.crossings)


def _shared(folders, tmp_path):
    config = write_federation(tmp_path / "again", folders)
    from core_model.checkpoint import load_checkpoint

    return load_checkpoint(config.initial)[0]


def test_the_search_finds_an_identity_row_that_is_sent(tmp_path) -> None:
    """The search above can fail."""
    folders = write_sites(tmp_path)

    def careless(request, site):
        update = run_round(request, site)
        if request.plan.purpose == "pretraining":
            return update
        return dataclasses.replace(update, arrays={**update.arrays, "x": local_head(site)})

    _, grid = run_local(write_federation(tmp_path, folders), folders, run=careless, keep_raw=True)
    raw = b"".join(c.raw for c in grid.crossings)
    for folder in folders.values():
        kept = load_file(folder.folder / "state" / "test-run" / "finetuning.safetensors")
        assert all(row.tobytes() in raw for row in kept["identity_head.weight"])


def local_head(site):
    path = site.config.state / "test-run" / "finetuning.safetensors"
    return load_file(path)["identity_head.weight"]


def smuggle_under_own_name(arrays, head):
    arrays["identity_head.weight"] = head


def smuggle_under_another_name(arrays, head):
    arrays["encoder.extra.weight"] = head


def smuggle_in_place_of_a_weight(arrays, head):
    arrays["encoder.norm.weight"] = head


def smuggle_as_rows_of_the_au_head(arrays, head):
    arrays["au_head.weight"] = np.concatenate([arrays["au_head.weight"], head])


@pytest.mark.parametrize(
    "smuggle",
    [
        smuggle_under_own_name,
        smuggle_under_another_name,
        smuggle_in_place_of_a_weight,
        smuggle_as_rows_of_the_au_head,
    ],
)
def test_identity_head_smuggled_is_refused_and_the_round_goes_on(tmp_path, smuggle) -> None:
    """The site signs what it really sends, so that only the schema can find it out."""
    folders = write_sites(tmp_path)

    def dishonest(request, site):
        update = run_round(request, site)
        if site.site_id == "site-b" and request.plan.round == 2:
            arrays = dict(update.arrays)
            smuggle(arrays, local_head(site))
            return resigned(update, arrays, site)
        return update

    coordinator, _ = run_local(write_federation(tmp_path, folders), folders, run=dishonest)
    rounds = [(s.admitted, s.refused) for s in coordinator.summaries]
    assert rounds == [
        (("site-a", "site-b"), {}),
        (("site-a",), {"site-b": RefusalCode.WRONG_WEIGHTS}),
        (("site-a", "site-b"), {}),
    ]


def resigned(update, arrays, site):
    """Return the update with other arrays and an attestation that fits them."""
    return sign_again(update, arrays, site.key)


def bend_nan(update, site):
    arrays = {**update.arrays, "encoder.norm.bias": np.full(16, np.nan, np.float32)}
    return resigned(update, arrays, site)


def bend_without_signing(update, site):
    arrays = {n: a + 1 for n, a in update.arrays.items()}
    return dataclasses.replace(update, arrays=arrays)


def bend_more_aus(update, site):
    return dataclasses.replace(update, labelled_aus=(1, 2, 4))


def bend_signature(update, site):
    other = update.attestation.replace(b'"sig":"', b'"sig":"AAAA', 1)
    return dataclasses.replace(update, attestation=other)


def bend_huge(update, site):
    arrays = {n: a.copy() for n, a in update.arrays.items()}
    arrays["encoder.norm.bias"][:] = 1e30
    return resigned(update, arrays, site)


def bend_site(update, site):
    return dataclasses.replace(update, site_id="site-a")


BENT = {
    "not finite": (bend_nan, RefusalCode.WRONG_WEIGHTS),
    "other bytes than signed": (bend_without_signing, RefusalCode.WRONG_UPDATE),
    "AUs that it is not enrolled for": (bend_more_aus, RefusalCode.WRONG_LABELS),
    "a broken signature": (bend_signature, RefusalCode.BAD_SIGNATURE),
    "weights that drown the others": (bend_huge, RefusalCode.WRONG_WEIGHTS),
    "another site's name": (bend_site, RefusalCode.NOT_ENROLLED),
}


@pytest.mark.parametrize(("bend", "code"), BENT.values(), ids=BENT.keys())
def test_bent_updates_are_refused_by_code(tmp_path, bend, code) -> None:
    folders = write_sites(tmp_path)

    def dishonest(request, site):
        update = run_round(request, site)
        is_target = site.site_id == "site-b" and request.plan.round == 2
        return bend(update, site) if is_target else update

    coordinator = run_plain(write_federation(tmp_path, folders), folders, run=dishonest)
    assert coordinator.summaries[1].refused == {"site-b": code}
    assert coordinator.summaries[2].admitted == ("site-a", "site-b")


def test_replayed_update_is_refused(tmp_path) -> None:
    folders, kept = write_sites(tmp_path), {}

    def replaying(request, site):
        update = run_round(request, site)
        if site.site_id == "site-b":
            kept.setdefault("finetuning" if request.plan.round > 1 else "other", update)
            if request.plan.round == 3:
                return kept["finetuning"]
        return update

    coordinator = run_plain(write_federation(tmp_path, folders), folders, run=replaying)
    assert coordinator.summaries[2].refused == {"site-b": RefusalCode.WRONG_ROUND}


def test_site_that_goes_back_behind_a_withdrawal_is_refused(tmp_path) -> None:
    """The site restores its consent log from before a withdrawal that the server has seen."""
    folders = write_sites(tmp_path)
    before = tmp_path / "before"
    shutil.copytree(folders["site-b"].folder / "consent", before)
    folders["site-b"].withdraw("site-b-p2", [Purpose.FINETUNING])

    def hiding(request, site):
        if site.site_id == "site-b" and request.plan.round == 2:
            return hide_withdrawal(request, site, before)
        return run_round(request, site)

    coordinator = run_plain(write_federation(tmp_path, folders), folders, run=hiding)
    assert coordinator.summaries[0].admitted == ("site-a", "site-b")
    assert coordinator.summaries[1].refused == {"site-b": RefusalCode.LOG_NOT_GROWN}
