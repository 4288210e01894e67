import pytest

from consent.errors import RecordError, RoleError
from consent.model import Purpose, Role
from consent.registry import Registry
from consent.state import Status
from consent.subject_events import ConsentGiven
from tests.consent.conftest import EVIDENCE, give


def status(registry, subject_id, purpose=Purpose.FINETUNING):
    return registry.gate.rule([subject_id], purpose).decisions[subject_id].status


def test_consent_from_given_to_erased(registry, notice, clock) -> None:
    person = registry.register("employee 0731234")
    assert registry.find("  employee 0731234 ") == person
    assert status(registry, person) is Status.NEVER_GIVEN
    index = give(registry, person, notice)
    ruling = registry.gate.rule([person, "nobody"], Purpose.FINETUNING)
    assert (ruling.entries, ruling.allowed) == ({person: index}, {person})
    assert status(registry, person, Purpose.PUBLICATION) is Status.NEVER_GIVEN
    registry.withdraw(person, [Purpose.FINETUNING])
    assert status(registry, person) is Status.WITHDRAWN
    give(registry, person, notice)
    assert status(registry, person) is Status.ALLOWED
    registry.erase(person, "GDPR 17(1)(b)")
    assert status(registry, person) is Status.ERASED
    assert registry.find("employee 0731234") is None


def test_another_process_sees_the_same(registry, notice, clock) -> None:
    person = registry.register("a")
    give(registry, person, notice)
    other = Registry.open(registry.folder, clock)
    assert other.state() == registry.state()
    other.withdraw(person)
    assert status(registry, person) is Status.WITHDRAWN
    assert other.state() == registry.state()


def test_what_is_refused_is_not_written(registry, notice) -> None:
    size = registry.state().size
    with pytest.raises(RecordError, match="no such person"):
        give(registry, "nobody", notice)
    person = registry.register("a")
    event = ConsentGiven(subject_id=person, grants=[{"purpose": "finetuning"}], notice=notice,
                         evidence=EVIDENCE)  # fmt: skip
    with pytest.raises(RoleError, match="not by operator"):
        registry.append([event], Role.OPERATOR)
    assert registry.state().size == size + 1
    assert status(registry, person) is Status.NEVER_GIVEN
