import logging

import pytest
from fastapi.routing import APIRoute

from consent.desk import guardian_pages, pages, person_pages
from tests.consent.desk.conftest import ACCOUNT, HOST, OUTSIDE_ID, PASSWORD, SOME, Visitor

ROUTES = [
    route
    for module in (pages, guardian_pages, person_pages)
    for route in module.router.routes
    if isinstance(route, APIRoute)
]


def test_every_form_without_its_token_is_refused(registrar_at_desk, registry) -> None:
    person = registrar_at_desk.register()
    size = registry.state().size
    paths = [r.path for r in ROUTES if "POST" in r.methods]
    assert len(paths) >= 8
    for path in paths:
        for token in ({}, {"csrf": "0" * 64}):
            data = {"outside_id": OUTSIDE_ID, "to": "ja"} | token
            address = path.replace("/person/{handle}", person)
            refused = registrar_at_desk.http.post(address, data=data)
            assert refused.status_code == 403, path
    assert registry.state().size == size


def test_every_page_but_the_way_in_asks_to_sign_in(visitor) -> None:
    asked = 0
    for route in ROUTES:
        for method in route.methods:
            path = route.path.format(handle="x", index=1)
            answer = visitor.http.request(method, path, follow_redirects=False)
            if path not in {"/login", "/language"}:
                assert answer.status_code == 303, path
                assert answer.headers["location"].partition("?")[0] == "/login"
                asked += 1
    assert asked > 12


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:80", f"{HOST}.evil", ""])
def test_a_name_that_points_here_by_dns_rebinding_is_refused(visitor, host) -> None:
    answer = visitor.http.get("/login", headers={"host": host})
    assert (answer.status_code, "form" in answer.text) == (421, False)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"https://{HOST}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_form_on_another_site_cannot_sign_in_for_someone(visitor, headers) -> None:
    token = visitor.get("/login").text.split('name="csrf" value="')[1][:64]
    data = {"account": ACCOUNT, "password": PASSWORD, "csrf": token}
    assert visitor.http.post("/login", data=data, headers=headers).status_code == 403
    assert visitor.http.post("/login", data=data).url.path == "/"


@pytest.mark.parametrize("path", ["/", "/login", "/static/desk.css", "/no-such-page"])
def test_nothing_is_cached_framed_or_loaded_from_elsewhere(registrar_at_desk, path) -> None:
    headers = registrar_at_desk.get(path).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_pages_name_no_other_host_and_carry_no_inline_script_or_style(registrar_at_desk) -> None:
    person = registrar_at_desk.register()
    done = registrar_at_desk.answer(person, **SOME)
    for page in [done, *map(registrar_at_desk.get, ("/", "/new", person, f"{person}/ask"))]:
        for sign in ("http:", "https:", "//", "<style", " style=", "onclick", "javascript:"):
            assert sign not in page.text, sign
        assert page.text.count("<script") == page.text.count('<script src="/static/print.js"')


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/%2e%2e/keys/log.key",
        "/static//etc/passwd",
        "/person/..%2f..%2fkeys",
        "/person/x/entry/../../../keys/log.key",
    ],
)
def test_no_path_leads_to_a_file(registrar_at_desk, path) -> None:
    assert registrar_at_desk.get(path).status_code == 404


def test_a_body_that_is_too_large_is_refused_by_its_length_and_while_it_comes(visitor) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    visitor.get("/login")
    assert visitor.http.post("/login", content=b"x" * 65_537, headers=form).status_code == 413
    chunks = (b"x" * 8_192 for _ in range(9))
    assert visitor.http.post("/login", content=chunks, headers=form).status_code == 413
    upload = {"content-type": "multipart/form-data; boundary=b"}
    assert visitor.http.post("/login", content=b"x" * 20_971_521, headers=upload).status_code == 413


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(visitor, method) -> None:
    assert visitor.http.request(method, "/").status_code == 405


def test_an_error_tells_the_log_its_kind_and_place_and_not_what_was_typed(
    registrar_at_desk, desk, monkeypatch, caplog, capfd
) -> None:
    def break_down(outside_id):
        raise ValueError(f"cannot cope with {outside_id}")

    monkeypatch.setattr(desk.book, "find", break_down)
    with caplog.at_level(logging.DEBUG):
        page = registrar_at_desk.send("/find", outside_id=OUTSIDE_ID)
    assert page.status_code == 500
    told = caplog.text + "".join(capfd.readouterr()) + page.text
    assert "ValueError at" in told
    assert OUTSIDE_ID not in told


def test_no_outside_id_password_or_handle_is_in_a_log_line_or_an_address(
    app, caplog, capfd
) -> None:
    visitor = Visitor(app)
    with caplog.at_level(logging.DEBUG):
        visitor.get("/login")
        visitor.send("/login", account=ACCOUNT, password="planted wrong password")
        visitor.send("/login", account=ACCOUNT, password=PASSWORD)
        seen = []
        visitor.http.event_hooks["request"] = [lambda request: seen.append(str(request.url))]
        visitor.send("/find", outside_id=OUTSIDE_ID)
        person = visitor.register(OUTSIDE_ID)
        visitor.answer(person, **SOME)
        visitor.get("/")
        visitor.send("/find", outside_id=OUTSIDE_ID)
        visitor.get(f"{person}/withdraw")
        visitor.send(f"{person}/withdraw", purpose="finetuning")
    assert len(seen) > 8
    addresses = "".join(seen)
    ours = "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith("httpx"))
    told = addresses + ours + "".join(capfd.readouterr())
    assert not any(word in told for word in (OUTSIDE_ID, "planted", PASSWORD))
    assert person not in ours
