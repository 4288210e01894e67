"""The dashboard: what it shows of a run, who may see it, and in which language."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from consent.desk.accounts import Accounts, add_account
from core_model.evaluation.figures import ProbeFigures, RoundFigures
from core_model.evaluation.result import DataFacts, Measure
from core_model.protocol.messages import RefusalCode
from fl_server.config import EnrolledSite, load_draft
from fl_server.dashboard import overview
from fl_server.dashboard.app import Dashboard, make_app
from fl_server.dashboard.curves import Box, plot, ticks
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


@pytest.mark.parametrize("path", ["/", "/model/3", "/figures"])
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


def measured(number, f1, low, high, probe=0.4):
    """Figures of a round on 24 people who do not exist."""
    one = Measure(value=f1, low=low, high=high)
    return RoundFigures(
        round=number, model=f"{number}" * 64, people="a" * 64,
        data=DataFacts(
            name="public set", num_people=24, num_recordings=48, num_frames=960,
            num_validation_people=8, positives={1: 9, 12: 9}, licences=("CC0-1.0",),
        ),
        threshold_policy="val_swept_common", threshold=0.43, macro_f1=one,
        f1={1: one, 12: Measure(value=0.75, low=0.5, high=1.0)}, always_f1={1: 0.25, 12: 0.35},
        left_out={9: "only one label occurs"}, seconds=1.0,
        probe=ProbeFigures(accuracy=probe, chance=1 / 24, labels=0.21, num_people=24),
    )  # fmt: skip


@pytest.fixture
def figures(monkeypatch):
    """Two measured rounds, as if their weights were there."""
    found = (measured(2, 0.5, 0.25, 0.75), measured(3, 0.625, 0.5, 0.75, probe=0.3))
    monkeypatch.setattr(overview, "shown_figures", lambda *_: found)
    return found


def test_figures_are_drawn_over_rounds_with_what_they_are_to_be_read_against(
    browser, figures
) -> None:
    page = " ".join(sign_in(browser).text.split())
    assert "On 24 people of the public set, who are of no site (960 frames, CC0-1.0)." in page
    assert "The threshold, 0.43, was chosen by 8 others. Numbers: round 3." in page
    assert re.search(r"Macro F1</b> <b class=\"value\">0\.625</b> .*?0\.500 to 0\.750", page)
    assert "saying “always”: 0.300" in page  # the mean over the AUs that can be scored
    assert "guessing: 0.042" in page
    assert "from the true AUs alone: 0.210" in page
    assert "Cannot be scored on these people: AU9" in page
    assert page.count('<svg class="plot"') == 2
    assert page.count('<svg class="plot small"') == 2
    assert 'aria-label="AU12, over rounds; newest: 0.750"' in page
    assert "style=" not in page  # the guard's policy would drop it
    browser.headers["accept-language"] = "ja"
    assert "本人識別プローブ" in browser.get("/").text


@pytest.mark.parametrize(("low", "is_said"), [(0.29, True), (0.31, False)])
def test_a_model_that_may_find_nothing_is_said_to(browser, monkeypatch, low, is_said) -> None:
    found = (measured(3, 0.5, low, 0.75),)  # saying "always" gets 0.3
    monkeypatch.setattr(overview, "shown_figures", lambda *_: found)
    assert ("it is not shown that the model finds anything" in sign_in(browser).text) == is_said


def test_all_figures_stand_in_a_table_for_those_who_see_no_plot(browser, figures) -> None:
    sign_in(browser)
    page = browser.get("/figures").text
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in page.split("<tr>")[1:]]
    assert rows[0] == ["Round", "Macro F1", "Threshold", "Identity probe", "AU1", "AU12"]
    assert [row[0] for row in rows[1:]] == [
        "3", "2", "saying “always”", "guessing", "true AUs alone",
    ]  # fmt: skip
    assert rows[1][1] == '0.625<br><span class="quiet">0.500–0.750</span>'
    assert rows[1][2:4] == ["0.43", "0.300"]
    assert 'http-equiv="refresh"' not in page  # it would take a reader back to its beginning


def test_a_server_that_measures_nothing_says_so(browser, folder) -> None:
    assert "This server has no public set" in sign_in(browser).text
    text = folder.federation.read_text()
    folder.federation.write_text(text + '\n[evaluation]\nrecordings = ["people.csv"]\n')
    assert "Nothing is measured yet." in browser.get("/").text


def test_a_curve_is_where_its_values_are() -> None:
    box = Box(width=120, height=60, left=10, right=110, top=10, bottom=50)
    values = [
        (4, Measure(value=0.0, low=None, high=None)),
        (6, Measure(value=None, low=None, high=None)),
        (8, Measure(value=0.5, low=0.25, high=1.0)),
    ]
    drawn = plot(box, values, {"always": 0.25})
    assert drawn.line == "M10.0 50.0L110.0 30.0"
    assert drawn.whisker == "M110.0 40.0V10.0"
    assert drawn.levels == (("always", 40.0),)
    assert drawn.rounds == ((4, 10.0), (5, 35.0), (6, 60.0), (7, 85.0), (8, 110.0))
    alone = plot(box, values[2:], {})
    assert alone.dots == ((60.0, 30.0),)  # one round stands in the middle


@pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 6), (3, 22), (1, 100), (7, 4321)])
def test_few_round_numbers_are_named_below_a_curve(first, last) -> None:
    named = ticks(first, last)
    assert named[0] == first
    assert 1 <= len(named) <= 6
    assert last - named[-1] < max(1, named[1] - named[0] if len(named) > 1 else 1)
