import sqlite3
from datetime import timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from consent.assets import Frames, usable_frames
from consent.errors import ConsentChangedError, LogDamagedError, LogRolledBackError
from consent.log import ConsentLog
from consent.model import Purpose, Role, Span
from consent.registry import Registry
from consent.site_events import AssetEnded, AssetLinked
from consent.site_folder import SiteFolder
from consent.standing import AssetState, Logged
from consent.state import Status
from tests.consent.conftest import give
from tests.consent.replaying import day
from tests.consent.test_registry import status

F = Purpose.FINETUNING
VIDEO = "a" * 64


@pytest.fixture
def people(registry, notice):
    found = [registry.register(f"staff {n}") for n in range(3)]
    for person in found:
        give(registry, person, notice)
    return found


# --- case 6: the clock is set back ----------------------------------------------------------------


def test_clock_set_back_revives_nothing_and_is_written_down(registry, notice, clock) -> None:
    person = registry.register("a")
    give(registry, person, notice, expires_at=clock() + timedelta(days=1))
    clock.tick(days=2)
    assert status(registry, person) is Status.EXPIRED
    registry.register("b")  # an entry of that day
    clock.tick(days=-2)
    assert status(registry, person) is Status.EXPIRED
    registry.register("c")
    assert [a.event.seconds for a in registry.state().anomalies] == [2 * 86_400]
    assert status(registry, person) is Status.EXPIRED


def test_cosignature_of_a_witness_tells_the_time_as_well(registry, notice, clock) -> None:
    from consent.cosignature import Cosigner

    person = registry.register("a")
    give(registry, person, notice, expires_at=clock() + timedelta(days=1))
    cosigner = Cosigner.generate("witness.example/w1")
    note = registry.snapshot().tree_head
    later = int((clock() + timedelta(days=2)).timestamp())
    log = ConsentLog(SiteFolder(registry.folder).log)
    from consent.note import parse_tree_head, split_note

    head = parse_tree_head(split_note(note)[0])
    log.add_cosignatures(note + cosigner.cosign(head, later), [cosigner.verifier])
    assert status(registry, person) is Status.EXPIRED


# --- case 8: a withdrawal during a round ----------------------------------------------------------


def test_withdrawal_by_another_process_during_a_round_is_seen(registry, people, clock) -> None:
    ruling = registry.gate.rule(people, F)
    assert registry.gate.recheck(ruling).allowed == set(people)
    Registry.open(registry.folder, clock).withdraw(people[1])
    with pytest.raises(ConsentChangedError, match="1 subject") as caught:
        registry.gate.recheck(ruling)
    assert people[1] not in str(caught.value)
    assert registry.gate.rule(people, F).allowed == {people[0], people[2]}


def test_recheck_does_not_trust_an_old_read_of_the_database(registry, people, clock) -> None:
    """A reader that keeps its transaction open does not see the withdrawal; the gate does."""
    ruling = registry.gate.rule(people, F)
    log = SiteFolder(registry.folder).log
    copy = sqlite3.connect(":memory:")  # what a transaction from before the withdrawal shows
    old = sqlite3.connect(log)
    old.backup(copy)
    old.close()
    Registry.open(registry.folder, clock).withdraw(people[0])
    stale = copy.execute("SELECT COUNT(*) FROM entry").fetchone()[0]
    assert stale == ruling.snapshot.size < registry.snapshot().size
    with pytest.raises(ConsentChangedError):
        registry.gate.recheck(ruling)


def test_consent_that_expires_during_a_round_voids_it(registry, notice, clock) -> None:
    person = registry.register("a")
    give(registry, person, notice, expires_at=clock() + timedelta(hours=1))
    ruling = registry.gate.rule([person], F)
    clock.tick(hours=1)
    with pytest.raises(ConsentChangedError):
        registry.gate.recheck(ruling)


# --- a withdrawal that was made unreadable --------------------------------------------------------


def delete_opening(registry, index):
    with registry.journal.replay.log.store.transaction(write=True) as tx:
        tx.delete_openings([index])


def test_site_makes_a_withdrawal_unreadable_and_the_gate_allows_nobody(
    registry, people, clock
) -> None:
    index = registry.withdraw(people[0])
    delete_opening(registry, index)
    again = Registry.open(registry.folder, clock)
    with pytest.raises(LogDamagedError, match=f"entry {index}: its opening is gone") as caught:
        again.gate.rule(people, F)
    assert people[0] not in str(caught.value)
    with pytest.raises(LogDamagedError):
        again.gate.rule_assets(["0" * 64], F)


def test_keystore_restored_without_the_newest_people_allows_nobody(registry, people, clock) -> None:
    keystore = registry.folder / "keystore.sqlite"
    backup = keystore.read_bytes()
    registry.register("newest")
    keystore.write_bytes(backup)
    with pytest.raises(LogDamagedError, match="its opening is gone"):
        Registry.open(registry.folder, clock).gate.rule(people, F)


def test_erased_people_do_not_stop_the_gate(registry, people, clock) -> None:
    registry.erase(people[0], "GDPR 17(1)(b)")
    for gate in (registry.gate, Registry.open(registry.folder, clock).gate):
        assert gate.rule(people, F).allowed == set(people[1:])


def test_erasure_between_snapshot_and_reading_is_no_loss(
    registry, people, clock, monkeypatch
) -> None:
    reader, real, erased = Registry.open(registry.folder, clock), ConsentLog.snapshot, []
    reader.journal.replay.take_back(-1)  # reads all anew

    def snapshot(log):
        found = real(log)
        if not erased and log is reader.journal.replay.log:
            erased.append(people[0])
            registry.erase(people[0], "GDPR 17(1)(b)")
        return found

    monkeypatch.setattr(ConsentLog, "snapshot", snapshot)
    assert reader.gate.rule(people, F).allowed == set(people[1:])


@pytest.mark.parametrize("grows", [False, True])
def test_gate_allows_nothing_on_a_restored_backup(registry, people, clock, grows) -> None:
    log = SiteFolder(registry.folder).log
    mark = registry.folder / "high-water"
    backup, old_mark = log.read_bytes(), mark.read_bytes()
    registry.withdraw(people[0])
    assert status(registry, people[0]) is Status.WITHDRAWN
    log.write_bytes(backup)
    mark.write_bytes(old_mark)
    if grows:  # as long as before, with other entries
        other = Registry.open(registry.folder, clock)
        other.register("x")
        other.register("y")
    with pytest.raises(LogRolledBackError, match="restored"):
        registry.gate.rule(people, F)


def test_each_ruling_reads_only_what_is_new(registry, people, monkeypatch) -> None:
    from consent.vault import Vault

    opened, real = [], Vault.unseal

    def counting(vault, seq, sealed):
        opened.append(seq)
        return real(vault, seq, sealed)

    registry.gate.rule(people, F)
    monkeypatch.setattr(Vault, "unseal", counting)
    registry.gate.rule(people, F)
    assert opened == []
    Registry.open(registry.folder, registry.clock).withdraw(people[0])
    opened.clear()
    registry.gate.rule(people, F)
    assert opened == [registry.snapshot().size - 1]


# --- case 10: several people in a frame -----------------------------------------------------------


def link(registry, *spans, asset=VIDEO, **facts):
    registry.append([AssetLinked(asset=asset, spans=spans, **facts)], Role.OPERATOR)


def frames(registry, asset=VIDEO, purpose=F):
    return registry.gate.rule_assets([asset], purpose).frames[asset].ranges


def span(first, last, *subjects, num_faces=None):
    return Span(first=first, last=last, subjects=subjects,
                num_faces=len(subjects) if num_faces is None else num_faces)  # fmt: skip


def test_frame_is_used_only_if_everyone_in_it_agrees(registry, people) -> None:
    anna, ben, _ = people
    silent = registry.register("never asked")
    link(registry, span(1, 100, anna), span(40, 60, ben), span(70, 70, silent), span(101, 120, ben))
    assert frames(registry) == ((1, 69), (71, 120))
    registry.withdraw(ben)
    assert frames(registry) == ((1, 39), (61, 69), (71, 100))
    assert frames(registry, purpose=Purpose.PRETRAINING) == ()


def test_frame_with_a_face_that_nobody_knows_is_left_out(registry, people) -> None:
    anna, ben, _ = people
    link(registry, span(1, 100, anna), span(50, 50, ben, num_faces=2))
    assert frames(registry) == ((1, 49), (51, 100))
    link(registry, span(1, 100, anna), span(50, 50, ben))  # it was ben alone: linked again
    assert frames(registry) == ((1, 100),)


def test_frames_without_a_face_are_no_reason_to_use_them(registry, people) -> None:
    link(registry, span(1, 10), span(11, 20, people[0]))
    assert frames(registry) == ((11, 20),)


def test_masked_copy_is_another_recording_and_stands_for_itself(registry, people) -> None:
    anna, ben, _ = people
    link(registry, span(1, 10, anna, ben))
    link(registry, span(1, 10, anna), asset="b" * 64, derived_from=VIDEO)
    registry.withdraw(ben)
    assert (frames(registry), frames(registry, "b" * 64)) == ((), ((1, 10),))


@pytest.mark.parametrize("how", ["asset.unlinked", "asset.deleted"])
def test_recording_that_ended_is_not_used(registry, people, how) -> None:
    link(registry, span(1, 10, people[0]))
    registry.append([AssetEnded(type=how, asset=VIDEO)], Role.OPERATOR)
    assert frames(registry) == ()


def test_recording_is_not_used_longer_than_it_may_be_kept(registry, people, clock) -> None:
    link(registry, span(1, 10, people[0]), keep_until=clock() + timedelta(days=3))
    assert frames(registry) == ((1, 10),)
    clock.tick(days=3)
    assert frames(registry) == ()


def test_unknown_recording_is_not_used(registry, people) -> None:
    ruling = registry.gate.rule_assets(["c" * 64], F, people)
    assert (ruling.frames["c" * 64].ranges, ruling.unlinked) == ((), {"c" * 64})
    assert ruling.ruling.allowed == set(people)


def test_withdrawal_of_anyone_seen_in_a_recording_voids_the_round(registry, people) -> None:
    anna, ben, _ = people
    link(registry, span(1, 10, anna), span(5, 5, ben))
    before = registry.gate.rule_assets([VIDEO], F)
    assert registry.gate.recheck_assets(before).frames == before.frames
    assert len(before.entries_of(VIDEO)) == 2
    registry.withdraw(ben)
    with pytest.raises(ConsentChangedError, match="1 subject"):
        registry.gate.recheck_assets(before)


def test_recording_that_is_linked_otherwise_during_a_round_voids_it(registry, people) -> None:
    link(registry, span(1, 10, people[0]))
    before = registry.gate.rule_assets([VIDEO], F)
    link(registry, span(1, 10, people[0], num_faces=2))
    with pytest.raises(ConsentChangedError, match="1 recording"):
        registry.gate.recheck_assets(before)


spans = st.builds(
    lambda first, length, who, more: Span(
        first=first, last=first + length, subjects=who, num_faces=len(who) + more
    ),
    st.integers(1, 25),
    st.integers(0, 10),
    st.lists(st.sampled_from("abc"), max_size=2, unique=True),
    st.integers(0, 1),
)


@settings(max_examples=300)
@for_all(st.lists(spans, min_size=1, max_size=8), st.sets(st.sampled_from("abc")))
def test_spans_say_the_same_as_looking_at_each_frame(linked, allowed) -> None:
    event = AssetLinked(asset=VIDEO, spans=tuple(linked))
    asset = AssetState(Logged(0, day(0), "00000000", event))

    def covered(frame):
        seen = [s for s in linked if s.first <= frame <= s.last]
        return bool(seen) and all(
            s.subjects and s.num_faces <= len(s.subjects) and set(s.subjects) <= allowed
            for s in seen
        )

    got = usable_frames(asset, allowed, day(1))
    assert list(got) == [n for n in range(1, 40) if covered(n)]
    assert len(got) == len(list(got))
    assert all(n in got for n in got)
    assert 41 not in got
    assert isinstance(got, Frames)
