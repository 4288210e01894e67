"""The page and what its script asks for: ``/read`` takes a picture, ``/about`` tells of the model.

An answer to ``/read`` is four bytes (the length of the JSON, big-endian), the JSON, and if faces
were to be hidden the picture as JPEG.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool

from core_model.predictor import UNSURE
from core_model.serve.guard import Guard
from core_model.serve.studio import Answer, ServeRefusedError, Studio
from core_model.serve.texts import LANGUAGES, load_texts, preferred
from core_model.serve.turns import BusyError, PassedOverError
from core_model.use.reader import Reading

STATIC = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "view.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
OPEN_PATHS = ("/", *(f"/static/{name}" for name in STATIC))
STATUSES = {"too_large": 413, "no_picture": 415, "permit_ran_out": 403, "unknown_way": 400}
MAX_NAME = 40  # letters of a stream's name


def make_app(studio: Studio, hosts: Iterable[str], token: str, *, tls: bool = False) -> Guard:
    """Return the whole application. ``hosts`` are the names, with port, that it answers to."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    texts = load_texts()
    template = Environment(
        loader=PackageLoader("core_model.serve"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True,
    ).get_template("page.html")  # fmt: skip

    @app.get("/")
    def page(request: Request, lang: str = "") -> Response:
        accepted = preferred(request.headers.get("accept-language", ""))
        language = lang if lang in LANGUAGES else accepted
        return HTMLResponse(
            template.render(
                t=texts[language], language=language, languages=LANGUAGES, ways=list(studio.hiders)
            )
        )

    @app.get("/about")
    def about() -> Response:
        return JSONResponse(_about(studio))

    @app.post("/read")
    async def read(request: Request) -> Response:
        content = await request.body()
        named = request.headers.get("x-omote-stream", "")[:MAX_NAME]
        way = request.query_params.get("way")
        return await run_in_threadpool(
            _read, studio, content, f"page-{named}" if named else "", way
        )

    @app.post("/end")
    def end(request: Request) -> Response:
        studio.end(f"page-{request.headers.get('x-omote-stream', '')[:MAX_NAME]}")
        return Response(status_code=204)

    for name, media_type in STATIC.items():
        app.get(f"/static/{name}")(_file(name, media_type))
    return Guard(app, hosts, token, OPEN_PATHS, tls=tls)


def _read(studio: Studio, content: bytes, stream: str, way: str | None) -> Response:
    try:
        answer = studio.read(content, stream=stream or None, way=way)
    except ServeRefusedError as e:
        return JSONResponse({"problem": e.code}, STATUSES[e.code])
    except BusyError:
        return JSONResponse({"problem": "busy"}, 503, {"Retry-After": "1"})
    except PassedOverError:
        return JSONResponse({"problem": "passed_over"}, 409)
    head = json.dumps(_told(answer, studio.card.action_units)).encode()
    body = len(head).to_bytes(4) + head + (answer.hidden or b"")
    return Response(body, media_type="application/octet-stream")


def _told(answer: Answer, action_units: tuple[int, ...]) -> dict[str, Any]:
    return {
        "width": answer.width,
        "height": answer.height,
        "took_ms": round(answer.took_ms, 1),
        "people": [_person(reading, action_units) for reading in answer.readings],
    }


def _person(reading: Reading, action_units: tuple[int, ...]) -> dict[str, Any]:
    box = [] if reading.face is None else [round(float(v), 1) for v in reading.face.box]
    aus = {
        au: {
            "p": round(float(reading.probabilities[a]), 4),
            "occurs": None if reading.occurs[a] == UNSURE else bool(reading.occurs[a]),
        }
        for a, au in enumerate(action_units)
    }
    return {"person": reading.person, "box": box, "aus": aus}


def _about(studio: Studio) -> Mapping[str, Any]:
    card = studio.card
    return {
        **studio.about(),
        "aus": [{"au": au, "threshold": card.thresholds[au]} for au in card.action_units],
    }


def _file(name: str, media_type: str) -> Callable[[], Response]:
    data = (resources.files("core_model.serve") / "static" / name).read_bytes()

    def serve() -> Response:
        return Response(data, media_type=media_type)

    return serve
