from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Occurrence(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNSURE: _ClassVar[Occurrence]
    OCCURS: _ClassVar[Occurrence]
    OCCURS_NOT: _ClassVar[Occurrence]
UNSURE: Occurrence
OCCURS: Occurrence
OCCURS_NOT: Occurrence

class AboutRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AboutReply(_message.Message):
    __slots__ = ("about_json",)
    ABOUT_JSON_FIELD_NUMBER: _ClassVar[int]
    about_json: str
    def __init__(self, about_json: _Optional[str] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("image", "hide", "may_skip")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    HIDE_FIELD_NUMBER: _ClassVar[int]
    MAY_SKIP_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    hide: str
    may_skip: bool
    def __init__(self, image: _Optional[bytes] = ..., hide: _Optional[str] = ..., may_skip: bool = ...) -> None: ...

class Readings(_message.Message):
    __slots__ = ("frame", "width", "height", "people", "hidden", "took_ms", "problem")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    PEOPLE_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    TOOK_MS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    frame: int
    width: int
    height: int
    people: _containers.RepeatedCompositeFieldContainer[Person]
    hidden: bytes
    took_ms: float
    problem: str
    def __init__(self, frame: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., people: _Optional[_Iterable[_Union[Person, _Mapping]]] = ..., hidden: _Optional[bytes] = ..., took_ms: _Optional[float] = ..., problem: _Optional[str] = ...) -> None: ...

class Person(_message.Message):
    __slots__ = ("person", "box", "aus")
    PERSON_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    AUS_FIELD_NUMBER: _ClassVar[int]
    person: int
    box: Box
    aus: _containers.RepeatedCompositeFieldContainer[ActionUnit]
    def __init__(self, person: _Optional[int] = ..., box: _Optional[_Union[Box, _Mapping]] = ..., aus: _Optional[_Iterable[_Union[ActionUnit, _Mapping]]] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("left", "top", "width", "height")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    left: float
    top: float
    width: float
    height: float
    def __init__(self, left: _Optional[float] = ..., top: _Optional[float] = ..., width: _Optional[float] = ..., height: _Optional[float] = ...) -> None: ...

class ActionUnit(_message.Message):
    __slots__ = ("au", "probability", "occurrence")
    AU_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    OCCURRENCE_FIELD_NUMBER: _ClassVar[int]
    au: int
    probability: float
    occurrence: Occurrence
    def __init__(self, au: _Optional[int] = ..., probability: _Optional[float] = ..., occurrence: _Optional[_Union[Occurrence, str]] = ...) -> None: ...
