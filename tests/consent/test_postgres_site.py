"""A site whose log is in PostgreSQL, by the commands that a site uses. A real server."""

import json
import logging

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from consent.cli import app
from consent.errors import KeyFileError, LogRolledBackError, StoreError
from consent.log import ConsentLog
from consent.model import ConsentKind, Grant, Purpose, Role
from consent.registry import Registry
from consent.verify import verify_log
from tests.consent.postgres_server import binaries, postgres_server

pytestmark = pytest.mark.skipif(binaries() is None, reason="needs Debian's package postgresql")
SECRET = "s3cret-pass"
F = Purpose.FINETUNING


@pytest.fixture(scope="module")
def server():
    with postgres_server() as url:
        engine = sa.create_engine(url.replace("postgresql", "postgresql+psycopg"))
        with engine.begin() as db:
            db.execute(sa.text("CREATE ROLE omote LOGIN"))
        engine.dispose()
        yield url


@pytest.fixture
def urls(server, request):
    """URLs of a new schema, for its owner and for the role that appends."""
    schema = f"s{abs(hash(request.node.name))}"
    engine = sa.create_engine(server.replace("postgresql", "postgresql+psycopg"))
    with engine.begin() as db:
        db.execute(sa.text(f"CREATE SCHEMA {schema}"))
    engine.dispose()
    owner = f"{server}?options=-csearch_path%3D{schema}"
    return owner, owner.replace("owner@", "omote@")


def omote(*args, stdin=None, code=0) -> str:
    done = CliRunner().invoke(app, [str(a) for a in args], input=stdin)
    assert done.exit_code == code, done.output
    return done.output


def test_a_site_is_kept_in_postgresql_by_the_usual_commands(urls, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    omote("log", "prepare", urls[0], "omote")
    vkey = omote("init", "clinic", "--territory", "DE", "--store", urls[1]).splitlines()[1].strip()
    assert not (tmp_path / "consent" / "log.sqlite").exists()
    (tmp_path / "notice.txt").write_text("We film your face.")
    omote("notice", "add", "study", "notice.txt", "--purpose", "finetuning")
    anna = omote("subject", "add", stdin="staff 0417\n").strip()
    ben = omote("subject", "add", stdin="staff 0731\n").strip()
    for person in (anna, ben):
        omote(
            "give", person, "--notice", "study", "--evidence", "notice.txt",
            "--purpose", "finetuning",
        )  # fmt: skip
    omote("withdraw", ben)
    assert "Intact" in omote("log", "verify", vkey)
    omote("log", "heads")
    omote("log", "prove", "0", tmp_path / "0.tlog-proof")
    omote("audit", "report")
    omote("audit", "export", "bundle", "--out", "evidence.tar")
    assert "Intact" in omote("audit", "verify", "--bundle", "evidence.tar", vkey)
    decisions = json.loads(omote("subject", "show", ben, "--json"))["decisions"]
    assert decisions["finetuning"]["status"] == "withdrawn"


def test_gate_erasure_and_mark_work_as_with_a_file(urls, tmp_path, clock) -> None:
    omote("log", "prepare", urls[0], "omote")
    registry = Registry.create(tmp_path / "site", "site-a", clock, store=urls[1])
    notice = registry.publish_notice("study", "en", "text", [F])
    people = [registry.register() for _ in range(2)]
    for person in people:
        registry.give(person, [Grant(purpose=F)], notice, ConsentKind.EXPLICIT, "0" * 64)
    again = Registry.open(tmp_path / "site", clock)
    registry.erase(people[0], "GDPR 17(1)(b)")
    assert again.gate.rule(people, F).allowed == {people[1]}
    found = verify_log(urls[1], registry.signing_key(Role.LOG).verifier, registry._vault)
    assert found.num_erased == 2
    mark = tmp_path / "site" / "high-water"
    mark.write_text(f"{found.size + 1:020d} {'0' * 64}\n")
    with pytest.raises(LogRolledBackError, match="restored backup"):
        again.register()


def test_nothing_is_made_where_a_log_cannot_begin(urls, tmp_path, clock) -> None:
    place = tmp_path / "site"
    with pytest.raises(FileNotFoundError, match="log prepare"):
        Registry.create(place, "site-a", clock, store=urls[1])
    omote("log", "prepare", urls[0], "omote")
    Registry.create(place, "site-a", clock, store=urls[1])
    with pytest.raises(FileExistsError):
        Registry.create(tmp_path / "other", "site-b", clock, store=urls[1])
    assert not (tmp_path / "other").exists()


UNWRITABLE = {
    "a password": f"postgresql://omote:{SECRET}@127.0.0.1/consent",
    "a password as an option": f"postgresql://omote@127.0.0.1/consent?password={SECRET}",
    "another database": f"mysql://omote:{SECRET}@127.0.0.1/consent",
    "a path": f"/srv/{SECRET}",
}


@pytest.mark.parametrize("url", UNWRITABLE.values(), ids=UNWRITABLE.keys())
def test_a_url_that_must_not_be_written_down_is_not_shown_either(tmp_path, url) -> None:
    for args in (
        ("init", "clinic", "--folder", tmp_path / "consent", "--store", url),
        ("log", "prepare", url, "omote"),
    ):
        assert SECRET not in omote(*args, code=2)
    assert not (tmp_path / "consent").exists()


UNREACHABLE = {
    "nobody listens": f"postgresql://omote:{SECRET}@127.0.0.1:1/consent?connect_timeout=2",
    "no number as port": f"postgresql://omote:{SECRET}@127.0.0.1:{SECRET}/consent",
}


@pytest.mark.parametrize("url", UNREACHABLE.values(), ids=UNREACHABLE.keys())
def test_no_error_and_no_log_line_tells_password_or_server(tmp_path, url, caplog) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(StoreError) as caught:
        ConsentLog(url, high_water=tmp_path / "high-water").snapshot()
    told = f"{caught.value!r} {caught.value.__cause__!r} {caplog.text}"
    assert SECRET not in told
    assert "127.0.0.1" not in told


def test_where_the_log_is_is_nobody_elses_to_read(urls, tmp_path, clock) -> None:
    omote("log", "prepare", urls[0], "omote")
    Registry.create(tmp_path / "site", "site-a", clock, store=urls[1])
    (tmp_path / "site" / "store.url").chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        Registry.open(tmp_path / "site", clock)
