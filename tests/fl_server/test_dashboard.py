"""The dashboard: what it shows of a run, who may see it, and in which language."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from consent.desk.accounts import Accounts, add_account
from core_model.protocol.messages import RefusalCode
from fl_server.config import EnrolledSite, load_draft
from fl_server.dashboard import overview
from fl_server.dashboard.app import Dashboard, make_app
from fl_server.dashboard.overview import look
from fl_server.folder import ServerFolder
from fl_server.founding import found
from fl_server.round_state import RememberedSite, RoundSummary, RunState, save_state
from simulations.loop import write_initial
from tests.federation import AUS, ENCODER

NAME, PASSWORD = "operator", "a long password"
STARTED = datetime(2026, 11, 26, 9, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = STARTED

    def __call__(self):
        return self.now


@pytest.fixture
def folder(tmp_path):
    """A server with three finished rounds of three sites."""
    place = ServerFolder(tmp_path / "server")
    found(place, "pilot", "localhost:9443", STARTED)
    config = load_draft(place.federation)
    codes = [
        {},
        {"site-b": RefusalCode.TOO_LARGE, "site-c": RefusalCode.NO_ANSWER},
        {"site-c": RefusalCode.NO_ANSWER},
    ]
    summaries = tuple(
        RoundSummary(
            round=number, purpose="finetuning",
            admitted=tuple(s for s in ("site-a", "site-b") if s not in refused),
            attestations={}, refused=refused, has_quorum=number != 2, weights=("w",),
            bytes_received={"site-a": 2_000_000}, model_in="0" * 64, model_out=f"{number}" * 64,
            seconds=12.5, ended_at=int((STARTED + timedelta(minutes=number)).timestamp()),
        )
        for number, refused in enumerate(codes, start=1)
    )  # fmt: skip
    seen = RememberedSite(
        origin="site-a/consent", size=9, root="AA==", attestation="0", epsilon_total="3.25"
    )
    save_state(config.output, RunState(run_id="pilot", summaries=summaries, sites={"site-a": seen}))
    write_initial(config.output / "round-0003.safetensors", ENCODER, AUS, seed=1)
    return place


@pytest.fixture
def sites(monkeypatch):
    """Enrolled sites, without the keys that enrolment would ask for."""
    plain = overview.load_draft

    def with_sites(path):
        config = plain(path)
        rows = [
            config_site("site-a", (1, 2)), config_site("site-b", (4,)),
            config_site("site-c", (), suspended=True),
        ]  # fmt: skip
        return config.model_copy(update={"sites": tuple(rows)})

    monkeypatch.setattr(overview, "load_draft", with_sites)


def config_site(site_id, aus, *, suspended=False):
    return EnrolledSite.model_construct(site_id=site_id, labelled_aus=aus, suspended=suspended)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def browser(folder, clock, sites):
    accounts = folder.root / "keys" / "dashboard-accounts.json"
    add_account(accounts, NAME, PASSWORD)
    app = make_app(Dashboard(folder, Accounts(accounts), clock), {"127.0.0.1:8348"})
    with TestClient(app, base_url="http://127.0.0.1:8348") as client:
        yield client


def sign_in(browser, name=NAME, password=PASSWORD):
    token = re.search('name="csrf" value="([0-9a-f]+)"', browser.get("/login").text)[1]
    return browser.post("/login", data={"csrf": token, "name": name, "password": password})


def test_a_look_tells_of_each_site_what_came_of_each_round(folder, sites) -> None:
    now = look(folder)
    assert (now.run_id, now.health, now.finished) == ("pilot", "stopped", 3)
    a, b, c = now.sites
    assert [kind for _, kind, _ in a.cells] == ["admitted"] * 3
    assert b.cells[1] == (2, "refused", "TOO_LARGE")
    assert (a.epsilon, b.epsilon, a.megabytes) == ("3.25", None, 6.0)
    assert b.last_contact == STARTED + timedelta(minutes=3)
    assert c.last_contact is None  # it never answered: no answer is no contact
    assert c.cells[0][1] == "absent"
    assert now.reasons == (
        ("NO_ANSWER", "no answer in time", 2),
        ("TOO_LARGE", "changed the model further than max_update_norm", 1),
    )
    assert [m.round for m in now.models] == [3, 2, 1]
    assert now.models[0].licence
    assert now.models[1].licence is None  # its file is not there
    assert now.certificate_ends > STARTED


@pytest.mark.parametrize("path", ["/", "/model/3"])
def test_nobody_sees_anything_before_signing_in(browser, path) -> None:
    answer = browser.get(path, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert sign_in(browser, password="another password").status_code == 403
    assert browser.get(path, follow_redirects=False).status_code == 303


def test_an_operator_sees_the_run_and_takes_its_model(browser, folder) -> None:
    page = sign_in(browser).text
    assert "3 of 20 rounds are finished" in page
    assert "Not running" in page
    assert page.count('class="refused"') == 3
    assert "no quorum: as before" in page
    assert '<meta http-equiv="refresh" content="10">' in page
    assert "http" not in re.sub(r"http-equiv|href=\"/", "", page)  # nothing from elsewhere
    taken = browser.get("/model/3")
    stored = load_draft(folder.federation).output / "round-0003.safetensors"
    assert taken.content == stored.read_bytes()
    assert browser.get("/model/2").status_code == 404
    assert browser.get("/model/..%2Ffederation.toml").status_code in (404, 422)


def test_the_page_speaks_japanese(browser) -> None:
    browser.headers["accept-language"] = "ja"
    assert "全20ラウンドのうち3ラウンドが完了" in sign_in(browser).text
    assert 'lang="en"' in browser.get("/language/en").text


def test_a_session_ends_by_itself_and_by_signing_out(browser, clock) -> None:
    sign_in(browser)
    clock.now += timedelta(minutes=21)
    assert browser.get("/", follow_redirects=False).status_code == 303
    page = sign_in(browser).text
    token = re.search('name="csrf" value="([0-9a-f]+)"', page)[1]
    browser.post("/logout", data={"csrf": token})
    assert browser.get("/", follow_redirects=False).status_code == 303


def test_guessing_is_slowed_down(browser) -> None:
    for _ in range(5):
        assert sign_in(browser, password="guess guess guess").status_code == 403
    assert sign_in(browser).status_code == 429


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"host": "evil.example"}, 421), ({"origin": "https://evil.example"}, 403)],
)
def test_other_sites_cannot_use_the_operators_browser(browser, headers, status) -> None:
    sign_in(browser)
    assert browser.post("/logout", headers=headers).status_code == status


def test_a_form_without_its_token_is_refused(browser) -> None:
    sign_in(browser)
    assert browser.post("/logout", data={"csrf": "0" * 64}).status_code == 403
    assert browser.get("/").status_code == 200


def test_a_damaged_record_is_told_and_not_hidden(browser, folder) -> None:
    sign_in(browser)
    (load_draft(folder.federation).output / "run.json").write_text("{")
    answer = browser.get("/")
    assert answer.status_code == 500
    assert "damaged" in answer.text
