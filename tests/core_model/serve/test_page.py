"""What is asked of the page by its script, and by others who should not."""

import json
import logging
import re
import struct
import zlib
from datetime import timedelta
from importlib.resources import files

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from core_model.action_units import NAMES
from core_model.serve import studio as studio_module
from core_model.serve.page import make_app
from core_model.serve.studio import MAX_PICTURE_BYTES
from core_model.serve.texts import load_texts, preferred
from tests.core_model.released import AUS, scene
from tests.core_model.serve.conftest import now, picture

TOKEN = "t" * 32
HOST = "127.0.0.1:8348"
MINE = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def http(studio):
    app = make_app(studio, [HOST], TOKEN)
    return TestClient(app, base_url=f"http://{HOST}", raise_server_exceptions=False)


def parts(answer):
    """Return what a /read says, and its picture (RGB) or None."""
    assert answer.status_code == 200, answer.text
    end = 4 + int.from_bytes(answer.content[:4])
    raw = answer.content[end:]
    image = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR_RGB) if raw else None
    return json.loads(answer.content[4:end]), image


def test_two_people_in_a_picture_are_read(http, two) -> None:
    told, image = parts(http.post("/read", content=two, headers=MINE))
    assert (told["width"], told["height"], image) == (640, 480, None)
    assert [p["person"] for p in told["people"]] == [1, 2]
    for person in told["people"]:
        assert set(person["aus"]) == {str(au) for au in AUS}
        assert all(0 <= au["p"] <= 1 for au in person["aus"].values())
        assert all(au["occurs"] in (True, False, None) for au in person["aus"].values())


def test_people_keep_their_numbers_in_a_stream(http) -> None:
    headers = MINE | {"X-Omote-Stream": "one"}
    for t in range(4):
        told, _ = parts(http.post("/read", content=picture(scene(t)), headers=headers))
        left = {p["person"]: p["box"][0] for p in told["people"]}
        assert left[1] < 320 < left[2] or left[2] < 320 < left[1]
        assert set(left) == {1, 2}
    assert http.post("/end", headers=headers).status_code == 204


def test_a_stream_that_ended_leaves_nothing(http, studio, two) -> None:
    headers = MINE | {"X-Omote-Stream": "one"}
    http.post("/read?way=cutout", content=two, headers=headers)
    http.post("/read", content=two, headers=headers)
    assert len(studio._streams) == 2
    http.post("/end", headers=headers)
    assert not studio._streams


def test_streams_that_are_left_alone_or_too_many_are_forgotten(http, studio, two, monkeypatch):
    monkeypatch.setattr(studio_module, "MAX_STREAMS", 2)
    for name in "abc":
        http.post("/read", content=two, headers=MINE | {"X-Omote-Stream": name})
    assert [name for name, _ in studio._streams] == ["page-b", "page-c"]
    monkeypatch.setattr(studio_module, "IDLE_S", -1.0)
    http.post("/read", content=two, headers=MINE | {"X-Omote-Stream": "d"})
    assert [name for name, _ in studio._streams] == ["page-d"]


@pytest.mark.parametrize("way", ["pixelate", "cutout"])
def test_a_hidden_face_is_hidden_and_the_rest_stays(http, two, way) -> None:
    told, hidden = parts(http.post(f"/read?way={way}", content=two, headers=MINE))
    before = scene(0).astype(int)
    for person in told["people"]:
        x, y, w, h = (round(v) for v in person["box"])
        mid = slice(y + h // 4, y + 3 * h // 4), slice(x + w // 4, x + 3 * w // 4)
        assert np.abs(hidden[mid] - before[mid]).mean() > 6
    assert np.abs(hidden[:40] - before[:40]).mean() < 3


def test_a_picture_in_which_no_face_was_found_comes_back_black(http) -> None:
    wall = np.full((200, 300, 3), 180, np.uint8)
    told, hidden = parts(http.post("/read?way=pixelate", content=picture(wall), headers=MINE))
    assert told["people"] == []
    assert hidden.max() < 4


def test_when_faces_are_hidden_every_frame_is_searched(studio) -> None:
    """Who comes in between two detections would be shown."""
    hidden = {"stream": "s", "way": "pixelate"}
    studio.read(picture(scene(0, people=(1,))), **hidden)
    answer = studio.read(picture(scene(1, people=(1, 4))), **hidden)
    assert len(answer.readings) == 2


# --- what is not read ------------------------------------------------------------------------


def bomb() -> bytes:
    """A PNG of 2 GB in 2 kB."""
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1_000_000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
    )


NOT_READ = {
    "nothing": (b"", 415, "no_picture"),
    "noise": (b"\xff" * 500, 415, "no_picture"),
    "a page": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "no_picture"),
    "a picture cut off": (picture(scene(0))[:60], 415, "no_picture"),
    "a bomb": (bomb(), 413, "too_large"),
    "too many bytes": (b"\x89PNG" + bytes(MAX_PICTURE_BYTES), 413, "too_large"),
}


@pytest.mark.parametrize(("content", "status", "code"), NOT_READ.values(), ids=NOT_READ.keys())
def test_what_is_not_a_small_picture_is_refused_with_a_code(http, content, status, code) -> None:
    answer = http.post("/read", content=content, headers=MINE)
    assert (answer.status_code, answer.json()) == (status, {"problem": code})


def test_too_much_sent_in_pieces_is_cut_off(http) -> None:
    pieces = (bytes(500_000) for _ in range(20))
    answer = http.post("/read", content=pieces, headers=MINE)
    assert (answer.status_code, answer.json()) == (413, {"problem": "too_large"})


def test_an_unknown_way_to_hide_is_refused_rather_than_ignored(http, two) -> None:
    answer = http.post("/read?way=nothing", content=two, headers=MINE)
    assert (answer.status_code, answer.json()) == (400, {"problem": "unknown_way"})


def test_nothing_is_read_once_the_permit_ran_out(http, studio, two, monkeypatch) -> None:
    monkeypatch.setattr(studio, "_clock", lambda: now() + timedelta(days=91))
    answer = http.post("/read", content=two, headers=MINE)
    assert (answer.status_code, answer.json()) == (403, {"problem": "permit_ran_out"})


def test_an_error_tells_neither_browser_nor_log_what_was_in_it(
    http, studio, two, monkeypatch, caplog
) -> None:
    def fails(*_, **__):
        raise RuntimeError("the face of Hanako")

    monkeypatch.setattr(studio, "read", fails)
    with caplog.at_level(logging.DEBUG, logger="omote.serve"):
        answer = http.post("/read", content=two, headers=MINE)
    assert answer.status_code == 500
    assert "Hanako" not in answer.text + caplog.text
    assert "RuntimeError at" in caplog.text


# --- who may ask -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/read", "/end", "/about"])
@pytest.mark.parametrize("known", [None, "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN])
def test_whoever_does_not_know_the_address_that_was_printed_is_refused(
    http, two, path, known
) -> None:
    headers = {} if known is None else {"Authorization": known}
    answer = http.request("GET" if path == "/about" else "POST", path, headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"problem": "token"})


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:80", f"{HOST}.evil", ""])
def test_a_name_that_points_here_by_dns_rebinding_is_refused(http, host) -> None:
    answer = http.get("/", headers={"host": host})
    assert (answer.status_code, answer.json()) == (421, {"problem": "name"})


OTHERS = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": f"https://{HOST}"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]


@pytest.mark.parametrize("headers", OTHERS)
def test_a_picture_from_another_sites_page_is_refused(http, two, headers) -> None:
    answer = http.post("/read", content=two, headers=MINE | headers)
    assert (answer.status_code, answer.json()) == (403, {"problem": "origin"})


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
def test_no_other_method_is_answered(http, method) -> None:
    answer = http.request(method, "/read", headers=MINE)
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


def test_pages_fetch_nothing_from_elsewhere_and_nobody_frames_them(http) -> None:
    page = http.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["cache-control"] == "no-store"
    assert TOKEN not in page.text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sources
    assert all(s.startswith(("/", "#")) for s in sources)
    assert not re.findall(r"<script(?![^>]*(?:src|application/json))|\sstyle=|\son\w+=", page.text)
    for name in ("page.js", "view.js", "page.css"):
        text = (files("core_model.serve") / "static" / name).read_text("utf-8")
        assert not re.findall(r"https?:|url\(|@import|innerHTML|eval\(", text)
        assert http.get(f"/static/{name}").text == text


def test_the_page_speaks_the_language_of_the_browser_or_the_one_asked_for(http) -> None:
    japanese = {"accept-language": "ja,en;q=0.5"}
    assert '<html lang="ja">' in http.get("/", headers=japanese).text
    assert '<html lang="en">' in http.get("/?lang=en", headers=japanese).text
    assert '<html lang="en">' in http.get("/?lang=<script>").text
    assert preferred("fr") == "en"
    assert load_texts()["ja"].keys() >= {f"au{au}" for au in NAMES}


def test_the_page_is_told_what_the_use_is_permitted_for(http) -> None:
    about = http.get("/about", headers=MINE).json()
    assert about["permit"]["use"] == "Tests"
    assert "No emotion" in about["permit"]["duties"][0]
    assert about["model"]["signed_by"] == "lab"
    assert [a["au"] for a in about["aus"]] == list(AUS)
