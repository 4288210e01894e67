"""The pages of the dashboard. Everyone signs in; nothing can be changed here but who is signed in.

Sessions, passwords and the guard in front of every request are those of the consent desk.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from importlib import resources

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from consent.desk.accounts import Accounts
from consent.desk.guard import Guard
from consent.desk.session import Clock, Session, Sessions, Throttle
from consent.desk.texts import LANGUAGES, preferred
from core_model.settings_file import SettingsError
from fl_server.dashboard.overview import look, model_file
from fl_server.errors import ServerError
from fl_server.folder import ServerFolder

COOKIE, LANGUAGE_COOKIE = "omote-dashboard", "omote-language"
REFRESH_S = 10
STATIC = {
    "dashboard.css": ("fl_server.dashboard", "text/css; charset=utf-8"),
    "icon.svg": ("consent.desk", "image/svg+xml"),
}


class Dashboard:
    """Everything behind the pages."""

    def __init__(self, folder: ServerFolder, accounts: Accounts, clock: Clock) -> None:
        self.folder, self.accounts, self.clock = folder, accounts, clock
        self._sessions, self._throttle = Sessions(clock), Throttle(clock)
        self._texts = _load_texts()
        self._templates = Environment(
            loader=PackageLoader("fl_server.dashboard"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True,
        )  # fmt: skip

    def session(self, request: Request) -> Session | None:
        """Return who is signed in; an account that was removed is not."""
        found = self._sessions.find(request.cookies.get(COOKIE))
        return found if found and found.account in self.accounts.names() else None

    def show(self, request: Request, template: str) -> Response:
        """A page of the run as it stands, for those who are signed in."""
        if self.session(request) is None:
            return RedirectResponse("/login", 303)
        try:
            now = look(self.folder)
        except (ServerError, SettingsError, OSError) as e:
            words = f"{self.words(request)['broken']}: {e}"
            return self.draw(request, "message.html", 500, message=words)
        return self.draw(request, template, now=now, at=self.clock(), every_s=REFRESH_S)

    async def sign_in(self, request: Request) -> Response:
        """Check a password; five wrong ones for a name are free, then one waits."""
        form = await self._form(request)
        name, password = form["name"], form["password"]
        words = self.words(request)
        if wait := self._throttle.wait_s(name):
            return self.draw(request, "login.html", 429, message=words["wait"].format(seconds=wait))
        # A password takes a tenth of a second to check: other pages must not wait for it.
        if not await run_in_threadpool(self.accounts.is_right, name, password):
            self._throttle.wrong(name)
            return self.draw(request, "login.html", 403, message=words["wrong"])
        self._throttle.right(name)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, self._sessions.begin(name), httponly=True, samesite="strict")
        return answer

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        await self._form(request)
        self._sessions.end(request.cookies.get(COOKIE))
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE)
        return answer

    def draw(
        self, request: Request, template: str, status: int = 200, **context: object
    ) -> Response:
        """Draw a page in this browser's language."""
        session = self.session(request)
        # Before signing in, the form's token goes with a cookie of its own.
        cookie = request.cookies.get(COOKIE) or self._sessions.csrf_of(str(self.clock()))
        page = self._templates.get_template(template).render(
            t=self.words(request),
            language=_language(request),
            languages=LANGUAGES,
            account=session.account if session else "",
            csrf=self._sessions.csrf_of(cookie),
            **context,
        )
        answer = HTMLResponse(page, status)
        if COOKIE not in request.cookies:
            answer.set_cookie(COOKIE, cookie, httponly=True, samesite="strict")
        return answer

    async def _form(self, request: Request) -> dict[str, str]:
        form = await request.form(max_files=0, max_fields=4, max_part_size=4096)
        if not self._sessions.is_csrf_of(request.cookies.get(COOKIE), form.get("csrf")):
            raise HTTPException(403)
        return {name: str(form.get(name, "")) for name in ("name", "password")}

    def words(self, request: Request) -> dict[str, str]:
        """The texts in this browser's language."""
        return self._texts[_language(request)]


def make_app(dashboard: Dashboard, hosts: Iterable[str]) -> Guard:
    """Return the whole application. ``hosts`` are the names, with port, that it answers to."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/")
    def overview(request: Request) -> Response:
        return dashboard.show(request, "overview.html")

    @app.get("/figures")
    def figures(request: Request) -> Response:
        return dashboard.show(request, "figures.html")

    @app.get("/model/{number}")
    def model(number: int, request: Request) -> Response:
        if dashboard.session(request) is None:
            return RedirectResponse("/login", 303)
        path = model_file(dashboard.folder, number)
        if path is None:
            raise HTTPException(404)
        return FileResponse(path, media_type="application/octet-stream", filename=path.name)

    @app.get("/login")
    def login(request: Request) -> Response:
        return dashboard.draw(request, "login.html", message="")

    @app.get("/language/{code}")
    def language(code: str) -> Response:
        answer = RedirectResponse("/", 303)
        if code in LANGUAGES:
            answer.set_cookie(LANGUAGE_COOKIE, code, samesite="strict")
        return answer

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = dashboard.words(request)["forged" if error.status_code == 403 else "not_found"]
        return dashboard.draw(request, "message.html", error.status_code, message=message)

    for name, (package, media_type) in STATIC.items():
        app.get(f"/static/{name}")(_file(package, name, media_type))
    app.post("/login")(dashboard.sign_in)
    app.post("/logout")(dashboard.sign_out)
    app.add_exception_handler(HTTPException, on_http_error)
    return Guard(app, hosts, tls=False)


def _file(package: str, name: str, media_type: str) -> Callable[[], Response]:
    content = (resources.files(package) / "static" / name).read_bytes()
    return lambda: Response(content, media_type=media_type)


def _language(request: Request) -> str:
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    return chosen if chosen in LANGUAGES else preferred(request.headers.get("accept-language", ""))


def _load_texts() -> dict[str, dict[str, str]]:
    folder = resources.files("fl_server.dashboard") / "texts"
    texts = {c: tomllib.loads((folder / f"{c}.toml").read_text("utf-8")) for c in LANGUAGES}
    if odd := texts["en"].keys() ^ texts["ja"].keys():
        raise ValueError(f"the texts of the dashboard differ in {sorted(odd)}")
    return texts
