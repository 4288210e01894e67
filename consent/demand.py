"""What a declared use says about everyone in the data; whoever it does not speak of is left out.

The rules judge the declaration. This holds it against each person's own record.
"""

from __future__ import annotations

from dataclasses import dataclass

from consent.errors import DeniedError
from consent.model import ConsentKind, Purpose
from consent.policy import CONSENT_GRADES, Declaration
from consent.state import Decision, State, Status
from consent.subject_events import ConsentGiven


@dataclass(frozen=True)
class Demand:
    """The weakest grade of consent, the relations and the places that were declared."""

    grade: ConsentKind
    relations: frozenset[str]
    places: frozenset[str]

    @classmethod
    def of(cls, declaration: Declaration) -> Demand:
        """Return what a declaration demands of each person.

        Its grade of consent is no less than what the rules need, or they would have denied it.

        Raises:
            DeniedError: It declares no grade of consent.
        """
        if declaration.consent not in set(ConsentKind):
            raise DeniedError("nobody is trained on without consent; the use declares none")
        return cls(
            ConsentKind(declaration.consent),
            frozenset(declaration.subject_relation),
            frozenset(declaration.jurisdictions.subjects),
        )

    def judge(self, state: State, subject_id: str, purpose: Purpose, found: Decision) -> Decision:
        """Return the decision on a person, less if the declared use does not speak of them."""
        person = state.subjects.get(subject_id)
        if found.status is not Status.ALLOWED or person is None or person.registered is None:
            return found
        given, who = person.answers[purpose].event, person.registered.event
        assert isinstance(given, ConsentGiven)
        if not set(CONSENT_GRADES[self.grade]) <= set(CONSENT_GRADES[given.kind]):
            why = f"{found.why}, but {given.kind}, where the declared use demands {self.grade}"
            return Decision(Status.LESSER_GRADE, found.index, why)
        for name, value, declared in (
            ("relation", who.relation, self.relations),
            ("jurisdiction", who.jurisdiction, self.places),
        ):
            if value not in declared:
                why = f"{found.why}, but the declared use names no {name} {value}"
                return Decision(Status.UNDECLARED, found.index, why)
        return found
