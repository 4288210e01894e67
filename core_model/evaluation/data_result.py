"""What a data set is made of, as plain values: the figures of a data report."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AuFigures(_Part):
    """Of one AU. Rates are of the frames in which it is known."""

    au: int
    known: int
    unknown: int  # of labelled frames
    base_rate: float | None
    people_showing: int  # in how many people it occurs at all
    people_known: int
    least_rate: float | None  # of a person
    most_rate: float | None
    shortcut_auc: float | None  # how well knowing who it is predicts the AU


class Spread(_Part):
    """How a measure is spread over frames: quantiles."""

    low: float  # 5 %
    median: float
    high: float  # 95 %


class DataReport(_Part):
    """All figures. Nothing in it is of one person."""

    people: int
    recordings: int
    frames: int
    labelled_frames: int
    people_left_out: int  # agree to nothing now
    licences: dict[str, int]
    action_units: tuple[AuFigures, ...]
    co_occurrence: tuple[tuple[float | None, ...], ...]  # P(row | column); diagonal P(row)
    frames_per_person: Spread | None
    largest_share: float | None  # of all frames, those of the person with most
    effective_people: float | None  # as many equal shares would be as even
    shortcut_auc: float | None  # mean over AUs
    yaw: dict[str, float]  # share of frames
    pitch: dict[str, float]
    measured_pose: int  # frames whose points are known
    brightness: Spread | None
    unevenness: Spread | None
    sharpness: Spread | None
    eye_distance: Spread | None  # pixels of the original
    lightness: dict[str, str]  # class of ITA: number of people, small ones hidden
    examined: int  # frames looked at for light, blur and copies
    repeated_share: float | None  # of examined frames, nearly equal to one before in the recording
    shared_between_people: int  # examined frames nearly equal to one of another person
    advice: tuple[str, ...]
