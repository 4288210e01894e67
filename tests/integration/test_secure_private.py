"""Private rounds that are added up in secret: noise at each site, and the server sees a sum."""

import dataclasses
import json
from contextlib import ExitStack

import numpy as np
import pytest

from core_model.checkpoint import load_checkpoint
from core_model.privacy.accounting import Kind, Spend, rdp_epsilon
from core_model.privacy.chance import SimulationChance
from core_model.privacy.ledger import Ledger
from core_model.protocol.enrolment import Invitation, read_json
from core_model.schema import Arrays
from fl_client import secure_round
from fl_client.config import load_site_config
from fl_client.ledger_head import ledger_state
from fl_client.node import Node
from fl_client.node_folder import NodeFolder
from fl_client.private_round import epsilon_text
from fl_server.aggregation import Aggregator
from fl_server.config import load_federation
from fl_server.coordinator import Coordinator
from fl_server.round_state import load_state
from simulations.loop import run_local
from tests.federation import AUS
from tests.fl_client.serving import served
from tests.fl_client.test_private_round import PLAN, PRIVATE, SIMULATED
from tests.integration.server_folder import TRAINING, has_proxy, make_server, started, told
from tests.integration.test_private_rounds import in_simulation
from tests.secure_federation import write_secure_federation, write_secure_sites

ROUNDS = 2
CODE = 2e-6  # float32 of both means, and the fixed-point code of the sum


@pytest.fixture
def changes(monkeypatch):
    """Collect what each site was about to mask: round, site, request, and update in clear."""
    seen, encode = [], secure_round.encode_change

    def noted(request, trained, labelled, summed, roster, site_id):
        vector = encode(request, trained, labelled, summed, roster, site_id)
        seen.append((request, site_id, trained, labelled, vector.copy()))
        return vector

    monkeypatch.setattr(secure_round, "encode_change", noted)
    return seen


def mean_in_clear(changes, number) -> Arrays:
    """Return the model that the plain mean of one round's private updates makes."""
    own = [c for c in changes if c[0].plan.round == number]
    mean = Aggregator(own[0][2].schema, AUS)
    for _, _, trained, labelled, _ in own:
        mean.fold(trained.shared, 1.0, dict.fromkeys(labelled, 1.0))
    return own[0][0].arrays | mean.mean(own[0][0].arrays)


def furthest(one, other):
    return max(float(np.abs(one[n] - other[n]).max()) for n in one if n in other)


def each_site_is_charged_once(folders, state) -> None:
    """Every step of every round stands in the ledger once; the server knows head and epsilon."""
    every = [(n, s) for n in range(1, ROUNDS + 1) for s in range(PLAN.steps_per_round)]
    spent = Spend(Kind(PLAN.noise_multiplier, PLAN.sampling_rate), len(every))
    for site_id, folder in folders.items():
        lines = Ledger(folder.folder / "state" / "privacy-ledger.jsonl", site_id).lines()
        charged = [json.loads(line) for line in lines[1:]]
        assert [(c["round"], c["step_from"]) for c in charged] == every, site_id
        assert {c["steps"] for c in charged} == {1}
        remembered = state.sites[site_id]
        assert remembered.ledger == ledger_state(lines, None).head
        assert remembered.epsilon_total == epsilon_text(rdp_epsilon([spent], PLAN.delta))


def secure_private(root, folders, **options):
    config = write_secure_federation(root, folders, demands=SIMULATED, **options)
    stage = config.stages[1].model_copy(
        update={"rounds": ROUNDS, "training": PRIVATE, "privacy": PLAN}
    )
    return config.model_copy(update={"stages": (stage,)})


def seeded(rounds, message, site):
    return rounds.answer(
        message, dataclasses.replace(site, chance=lambda plan: SimulationChance(plan.round))
    )


def test_equal_noise_ends_at_the_same_model_in_secret_and_in_clear(tmp_path) -> None:
    models = {}
    for kind in (True, False):
        folders = write_secure_sites(tmp_path / str(kind))
        config = secure_private(tmp_path / str(kind), folders, is_secure=kind)
        models[kind], _ = run_local(config, folders, run=in_simulation, run_secure=seeded)
        assert all((len(s.admitted), s.refused) == (3, {}) for s in models[kind].summaries)
        each_site_is_charged_once(folders, load_state(config.output, config.run_id))
    begun = load_checkpoint(config.initial)[0]
    assert furthest(begun, models[True].arrays) > 1e-3
    assert furthest(models[True].arrays, models[False].arrays) < CODE


@pytest.mark.slow
@pytest.mark.deployment
@pytest.mark.skipif(not has_proxy(), reason="needs HAProxy: apt install haproxy")
def test_a_real_server_sees_private_updates_as_a_sum_alone(tmp_path, changes) -> None:
    """Three real sites, noise of the system, and nobody who would send an update without it."""
    folders = write_secure_sites(tmp_path / "far")
    for folder in folders.values():
        text = folder.config.read_text()
        assert "without_privacy = true" in text
        folder.config.write_text(text.replace("without_privacy = true", "without_privacy = false"))
    nodes = {s: NodeFolder(load_site_config(f.config).node) for s, f in folders.items()}
    public = {s: node.make_key() for s, node in nodes.items()}
    server = make_server(tmp_path / "server", folders, public, ROUNDS, max_update_norm=50.0)
    ask_for_noise_and_a_sum(server)
    config = load_federation(server.federation)
    with ExitStack() as stack:
        process = stack.enter_context(started(server))
        for site_id, node in nodes.items():
            node.join(read_json(folders[site_id].folder / "invitation.json", Invitation))
            _, socket = stack.enter_context(served(folders[site_id].config))
            stack.callback(Node(node, socket).stop)
        assert process.wait(timeout=400) == 0, told(server)

    ended = Coordinator(config)
    for summary in ended.summaries:
        assert (set(summary.admitted), summary.refused, summary.sum_lost) == (
            set(folders), {}, None,
        )  # fmt: skip
    each_site_is_charged_once(folders, load_state(config.output, config.run_id))
    assert {(r.plan.round, s) for r, s, *_ in changes} == {
        (n, s) for n in range(1, ROUNDS + 1) for s in folders
    }
    begun = [next(c[0] for c in changes if c[0].plan.round == n).arrays for n in (1, 2)]
    assert furthest(begun[0], begun[1]) > 1e-3
    assert furthest(mean_in_clear(changes, 1), begun[1]) < CODE
    assert furthest(mean_in_clear(changes, 2), ended.arrays) < CODE
    no_update_lies_on_the_server(server, changes, ended.arrays)


def ask_for_noise_and_a_sum(server) -> None:
    plan = ", ".join(
        f"{k} = {json.dumps(v)}" for k, v in PLAN.model_dump(exclude_none=True).items()
    )
    text = server.federation.read_text()
    for old, new in {
        TRAINING: TRAINING.replace("reversal_scale = 0.5", "reversal_scale = 0.0"),
        "max_update_norm = 50.0": "max_update_norm = 50.0\nsecure_sum = { threshold = 2 }\n"
        f"privacy = {{ {plan} }}",
        "# needs_noise = true": "needs_noise = true",
        '# max_epsilon = "8.0"': 'max_epsilon = "8.0"',
    }.items():
        assert old in text, old
        text = text.replace(old, new, 1)
    server.federation.write_text(text)


def no_update_lies_on_the_server(server, changes, model) -> None:
    """Neither weights nor words before their mask; the model itself is found by the same look."""
    updates: set[bytes] = set()
    for request, _, trained, _, words in changes:
        # Rows of AUs that a site does not label stay as they came, and count as zero in its words.
        sent = beginnings(request.arrays)
        updates |= set(beginnings(trained.shared).values()) - set(sent.values())
        updates |= {w.tobytes() for w in words[: len(words) // 8 * 8].reshape(-1, 8) if w.all()}
    assert len(updates) > 100
    want = {b for n, b in beginnings(model).items() if n in changes[0][2].shared}
    found = set()
    for path in server.root.rglob("*"):
        if path.is_file() and path.stat().st_size:
            data = path.read_bytes()
            assert not [u for u in updates if u in data], path
            found |= {b for b in want if b in data}
    assert found == want


def beginnings(arrays: Arrays) -> dict[str, bytes]:
    return {n: a.tobytes()[:32] for n, a in arrays.items() if a.size >= 8}
