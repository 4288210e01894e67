"""The partitions of people that the literature tests on, by name. No torch.

BP4D and DISFA: as in JAA-Net's and ME-GraphAU's lists and FMAE's code, which agree. BP4D+: FMAE's
own random four. Named P1-P3 and B1-B4, never 'fold': FMAE's fold k tests on Pk, ME-GraphAU's fold 1
on P3. The rest of a dataset is what one may train on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from core_model.data.recordings import Recording

_BP4D = {
    "P1": "F001 F002 F008 F009 F010 F016 F018 F023 M001 M004 M007 M008 M012 M014",
    "P2": "F003 F005 F011 F013 F020 F022 M002 M005 M010 M011 M013 M016 M017 M018",
    "P3": "F004 F006 F007 F012 F014 F015 F017 F019 F021 M003 M006 M009 M015",
}
_DISFA = {
    "P1": "SN001 SN002 SN009 SN010 SN016 SN026 SN027 SN030 SN032",
    "P2": "SN006 SN011 SN012 SN013 SN018 SN021 SN024 SN028 SN031",
    "P3": "SN003 SN004 SN005 SN007 SN008 SN017 SN023 SN025 SN029",
}
_BP4D_PLUS = {
    "B1": "M040 F072 M015 M029 M003 F076 F053 F026 F044 F066 F057 F061 F071 M050 M033 F079 F020 "
    "M025 F014 F004 F013 M017 F033 M042 M004 F038 F019 M036 M026 M048 F039 F046 M051 F047 M020",
    "B2": "F074 F012 F034 M001 F056 F075 M009 M038 F024 M047 F016 M045 M034 M022 F060 M011 M044 "
    "M046 M005 M028 F077 F028 M055 M019 F032 F030 M037 M043 F031 F022 M023 M018 M016 F065 M052",
    "B3": "F029 F054 F064 F045 F009 F040 F008 M041 F063 M056 M024 F001 F080 M010 F062 F035 M054 "
    "F052 F027 F043 F042 F050 M057 F078 F058 F017 M035 M030 M027 F021 M031 F069 F002 M008 F068",
    "B4": "M058 F037 F010 F023 M007 M002 F025 F073 F048 F041 F051 F011 M032 F005 M021 F018 M013 "
    "M049 M014 F070 F006 F067 M039 M006 F059 F003 F007 F049 M053 F081 F055 M012 F082 F015 F036",
}

_NAME = re.compile(r"((?:bp4d|bp4d_plus|disfa)-)?(SN|F|M)0*(\d{1,3})", re.IGNORECASE)
_RECORDING = re.compile(r"(bp4d|bp4d_plus|disfa)-[A-Za-z0-9]*?((?:SN|F|M)\d{2,3})(?=[-_]|$)")

PARTITIONS: dict[str, dict[str, frozenset[str]]] = {
    dataset: {name: frozenset(text.split()) for name, text in parts.items()}
    for dataset, parts in (("bp4d", _BP4D), ("bp4d_plus", _BP4D_PLUS), ("disfa", _DISFA))
}


def people_of(name: str) -> frozenset[str]:
    """Return the people of a partition such as ``bp4d/P1`` or ``bp4d_plus/B3``.

    Each by both names: ``F001``, and ``bp4d-F001`` where several data sets lie together.

    Raises:
        ValueError: There is none of this name; says which there are.
    """
    for dataset, parts in PARTITIONS.items():
        for part, people in parts.items():
            if name == f"{dataset}/{part}":
                return people | {f"{dataset}-{person}" for person in people}
    known = ", ".join(f"{d}/{p}" for d, parts in PARTITIONS.items() for p in parts)
    raise ValueError(f"no partition {name!r}; there are: {known}")


def subjects_of(recordings: Iterable[Recording], name: str) -> frozenset[str]:
    """Return the subject ids of those in a partition, however the site calls them.

    A site that ingested a data set may know its people by other names: then the recordings tell.
    Whoever is in the partition by one recording is so by all.
    """
    people = people_of(name)
    return frozenset(
        r.subject_id
        for r in recordings
        if {plain_id(r.subject_id), _ingested_name(r.recording_id)} & people
    )


def plain_id(subject_id: str) -> str:
    """Return a subject id as the partitions write it.

    ``SN1`` is ``SN001``, ``f7`` is ``F007``, and ``bp4d-f7`` is ``bp4d-F007``.
    """
    found = _NAME.fullmatch(subject_id.strip())
    if not found:
        return subject_id
    return f"{(found[1] or '').lower()}{found[2].upper()}{int(found[3]):03d}"


def _ingested_name(recording_id: str) -> str | None:
    """Return the person in a name that ingest gives: ``bp4d-F001-T1``, ``bp4d-2F01_T1``."""
    found = _RECORDING.match(recording_id)
    return plain_id(f"{found[1]}-{found[2]}") if found else None


def is_held_out(subject_id: str, share: float, seed: int = 0) -> bool:
    """Tell whether a person chooses thresholds and epochs instead of being trained on.

    Depends on the id and the seed alone, so that training and evaluation agree without a file.
    """
    text = hashlib.sha256(f"{seed}\0{plain_id(subject_id)}".encode()).digest()
    return int.from_bytes(text[:8], "big") < share * 2**64


def check_apart(**groups: Iterable[str]) -> None:
    """Check that no person is in two groups.

    Raises:
        ValueError: Someone is. Says in which groups and how many, never who.
    """
    seen: dict[str, str] = {}
    for name, people in groups.items():
        for person in {plain_id(p) for p in people}:
            if person in seen:
                shared = {plain_id(p) for p in groups[seen[person]]} & {plain_id(p) for p in people}
                raise ValueError(
                    f"{len(shared)} people are among both {seen[person]} and {name}; "
                    "give lists of different people"
                )
            seen[person] = name
