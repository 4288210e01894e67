"""Which face is the recording's own person, and who is seen in which frames. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from consent.model import Span
from core_model.data.face import Face, Floats

LEAST_OVERLAP = 0.3  # of two boxes, for them to be the same face a moment later


def own_face(faces: Sequence[Face], before: Face | None) -> Face | None:
    """Return the face to cut out: the one that was there before, else the largest.

    Args:
        faces: Of one frame, the largest first.
        before: What was cut out of the last frame.
    """
    if not faces:
        return None
    if before is None or len(faces) == 1:
        return faces[0]
    nearest = max(faces, key=lambda face: overlap(face.box, before.box))
    return nearest if overlap(nearest.box, before.box) >= LEAST_OVERLAP else faces[0]


def overlap(a: Floats, b: Floats) -> float:
    """Return the area that two boxes share, of the area that they cover together."""
    left, top = max(a[0], b[0]), max(a[1], b[1])
    right, bottom = min(a[0] + a[2], b[0] + b[2]), min(a[1] + a[3], b[1] + b[3])
    shared = max(0.0, float(right - left)) * max(0.0, float(bottom - top))
    together = float(a[2] * a[3] + b[2] * b[3]) - shared
    return shared / together if together > 0 else 0.0


def spans(found: Iterable[tuple[int, int]], subject_id: str) -> tuple[Span, ...]:
    """Return who is seen in which frames, for the consent log.

    Frames next to each other with as many faces are one span. Where there is more than one face,
    only the recording's own person is known: those frames stay barred until the operator links the
    recording again and names everyone.

    Args:
        found: Frame number and number of faces, in rising order; frames without a face left out.
        subject_id: The recording's own person.
    """
    runs: list[list[int]] = []  # first, last, number of faces
    for number, num_faces in found:
        if runs and runs[-1][1] == number - 1 and runs[-1][2] == num_faces:
            runs[-1][1] = number
        else:
            runs.append([number, number, num_faces])
    return tuple(
        Span(first=first, last=last, num_faces=faces, subjects=(subject_id,))
        for first, last, faces in runs
    )
