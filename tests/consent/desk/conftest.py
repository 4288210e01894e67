import re
import shutil
from html import unescape

import pytest
from starlette.testclient import TestClient

from consent.desk.accounts import Accounts, add_account
from consent.desk.app import make_app
from consent.desk.book import Book
from consent.desk.web import Desk
from consent.model import Purpose

ACCOUNT, PASSWORD = "hanako", "correct horse battery"
OUTSIDE_ID = "P-0042-planted"
ASKED = [Purpose.PRETRAINING, Purpose.FINETUNING, Purpose.EVALUATION]
HOST = "127.0.0.1:8347"


@pytest.fixture(scope="session")
def accounts_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("accounts") / "desk-accounts.json"
    add_account(path, ACCOUNT, PASSWORD)
    return path


@pytest.fixture
def notices(registry):
    return [
        registry.publish_notice("study", "en", "We train a detector.", ASKED),
        registry.publish_notice("study", "ja", "検出器を学習させます。", ASKED),
    ]


@pytest.fixture
def desk(registry, notices, clock, accounts_file):
    path = registry.folder / accounts_file.name
    shutil.copy(accounts_file, path)
    return Desk(Book(registry, registry.folder, clock), Accounts(path), clock, tls=False)


@pytest.fixture
def app(desk):
    return make_app(desk, {HOST})


@pytest.fixture
def visitor(app):
    """Somebody at the sign-in page."""
    return Visitor(app)


@pytest.fixture
def registrar_at_desk(visitor, desk):
    """Somebody who has signed in, without the time that a password takes."""
    visitor.http.cookies.set(desk.cookie, desk.sessions.begin(ACCOUNT), domain="127.0.0.1")
    assert visitor.get("/").url.path == "/"
    return visitor


class Visitor:
    """A browser without scripts: keeps cookies, sends the hidden fields of the page it is on."""

    def __init__(self, app) -> None:
        self.http = TestClient(app, base_url=f"http://{HOST}", raise_server_exceptions=False)
        self.page = None

    def get(self, path, **kwargs):
        self.page = self.http.get(path, **kwargs)
        return self.page

    def send(self, action, files=None, **fields):
        """Fill in the form of this page that goes to ``action``, and send it."""
        forms = re.findall(r'<form[^>]*action="([^"]+)"[^>]*>(.*?)</form>', self.page.text, re.S)
        inside = next(body for to, body in forms if to == action)
        hidden = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', inside)
        data = {name: unescape(value) for name, value in hidden} | fields
        self.page = self.http.post(action, data=data, files=files)
        return self.page

    def register(self, outside_id=OUTSIDE_ID, *, jurisdiction="DE", **fields):
        """Register somebody; return the address of their page."""
        self.get("/new")
        fields = {"relation": "volunteer", "age": "adult", **fields}
        self.send("/new", outside_id=outside_id, jurisdiction=jurisdiction, **fields)
        assert self.page.url.path.startswith("/person/"), self.page.text
        return self.page.url.path

    def answer(self, person, files=None, **fields):
        """Open the page of questions of a person and send it with these answers."""
        self.get(f"{person}/ask", params={"notice": "study:en"})
        return self.send(f"{person}/ask", files=files, **fields)


YES = {"answer_pretraining": "yes", "answer_finetuning": "yes", "answer_evaluation": "yes"}
SOME = YES | {"answer_evaluation": "no", "kind": "explicit", "months": "12"}
