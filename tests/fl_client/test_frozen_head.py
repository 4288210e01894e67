"""Private rounds with an identity head of public people: the named one, no other, never changed."""

import dataclasses

import numpy as np
import pytest
import torch

from core_model.config import encoder_config
from core_model.frozen_head import BIAS, WEIGHT, FrozenHeadError, read_frozen_head
from core_model.frozen_head import write_frozen_head as write
from core_model.protocol.messages import RefusalCode
from core_model.training.public_head import fit_head, share_named
from fl_client.errors import RoundRefusedError
from fl_client.round import run_round
from fl_server.config import Stage
from fl_server.coordinator import Coordinator
from tests.federation import ENCODER, FINETUNING, write_sites
from tests.fl_client.test_private_round import PLAN, private_federation, simulated


def head(people=4, dim=ENCODER.embed_dim, seed=0):
    chance = np.random.default_rng(seed)
    return {
        WEIGHT: chance.normal(0, 1, (people, dim)).astype(np.float32),
        BIAS: np.zeros(people, np.float32),
    }


@pytest.fixture
def asked(tmp_path):
    """Return a function: from a head's digest and scope to request and site."""
    folders = write_sites(tmp_path)
    folder = folders["site-a"]
    path = tmp_path / "head.safetensors"

    def ask(given, named):
        write(path, given)
        privacy = PLAN.model_copy(update={"identity_head": "frozen", "frozen_head": named})
        stages = (Stage(rounds=3, training=FINETUNING, privacy=privacy),)
        config = private_federation(tmp_path, folders, stages=stages)
        site = simulated(folder)
        site = dataclasses.replace(
            site, config=site.config.model_copy(update={"frozen_heads": (path,)})
        )
        return Coordinator(config).request("site-a"), site

    return ask, path


def refusal(request, site):
    with pytest.raises(RoundRefusedError) as caught:
        run_round(request, site)
    return caught.value.code, str(caught.value)


def test_the_named_head_moves_the_encoder_and_is_never_sent(asked) -> None:
    ask, path = asked
    named = write(path, head())
    request, site = ask(head(), named)
    with_head = run_round(request, site)
    assert not any(n.startswith("identity_head.") for n in with_head.arrays)
    other = head(seed=1)
    request, site = ask(other, write(path, other))
    with_other = run_round(request, site)
    # Equal chance and faces: what differs is whom the encoder learned to confuse.
    assert any(not np.array_equal(with_head.arrays[n], with_other.arrays[n])
               for n in with_head.arrays if n.startswith("encoder."))  # fmt: skip
    assert np.array_equal(read_frozen_head(path)[WEIGHT], other[WEIGHT])


def test_site_refuses_a_head_that_is_not_the_named_one(asked) -> None:
    ask, path = asked
    code, said = refusal(*ask(head(seed=1), write(path, head())))
    assert code is RefusalCode.PLAN_NOT_ALLOWED
    assert "not in site.toml" in said


def test_site_refuses_a_head_of_another_encoder(asked) -> None:
    ask, path = asked
    wide = head(dim=ENCODER.embed_dim + 4)
    assert refusal(*ask(wide, write(path, wide)))[0] is RefusalCode.PLAN_NOT_ALLOWED


def test_a_damaged_head_is_refused(asked, tmp_path) -> None:
    ask, path = asked
    request, site = ask(head(), write(path, head()))
    path.write_bytes(path.read_bytes()[:-3])
    assert refusal(request, site)[0] is RefusalCode.PLAN_NOT_ALLOWED
    write(path, {WEIGHT: head()[WEIGHT], BIAS: np.zeros(7, np.float32)})
    with pytest.raises(FrozenHeadError, match="expected"):
        read_frozen_head(path)
    write(path, head())
    with pytest.raises(FrozenHeadError, match="the plan names"):
        read_frozen_head(path, "0" * 64)


def test_a_head_of_public_people_names_them() -> None:
    chance = torch.Generator().manual_seed(0)
    dim, people = encoder_config("micro").embed_dim, 12
    centres = torch.randn(people, dim, generator=chance)
    identities = torch.arange(people).repeat(20)
    faces = centres[identities] + 0.5 * torch.randn(len(identities), dim, generator=chance)
    new = centres[identities] + 0.5 * torch.randn(len(identities), dim, generator=chance)
    found = fit_head(faces, identities, people, 0)
    assert share_named(found, new, identities) > 0.95
    with pytest.raises(ValueError, match="two or more"):
        fit_head(faces, identities, 1, 0)
