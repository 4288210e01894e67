import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from http.client import HTTPException

import pytest
from typer.testing import CliRunner

from consent.cli import app

run = CliRunner()
PASSWORD = "correct horse battery\n"


def add(folder, *more, name="hanako", password=PASSWORD):
    arguments = ["desk-user", "add", name, "--folder", str(folder), "--password-stdin", *more]
    return run.invoke(app, arguments, input=password)


def test_accounts_are_made_listed_and_removed_and_no_password_is_an_argument(tmp_path) -> None:
    assert add(tmp_path).exit_code == 0
    assert (tmp_path / "desk-accounts.json").stat().st_mode & 0o777 == 0o600
    again = add(tmp_path)
    assert (again.exit_code, "--replace" in again.output) == (1, True)
    assert add(tmp_path, "--replace").exit_code == 0
    assert add(tmp_path, name="jiro", password="short\n").exit_code == 1
    listed = run.invoke(app, ["desk-user", "list", "--folder", str(tmp_path)])
    assert listed.output == "hanako\n"
    run.invoke(app, ["desk-user", "remove", "hanako", "--folder", str(tmp_path)])
    assert run.invoke(app, ["desk-user", "list", "--folder", str(tmp_path)]).output == ""
    assert run.invoke(app, ["desk-user", "add", "x", "--password", "y"]).exit_code == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--listen", "0.0.0.0"], "can be reached from other machines"),
        (["--listen", "::"], "can be reached from other machines"),
        (["--listen", "192.0.2.7", "--expose"], "--tls-cert, --tls-key and --name"),
        (["--listen", "0.0.0.0", "--expose", "--name", "desk.example"], "--tls-cert"),
        (["--listen", "desk.example"], "expected an IP address"),
        (["--tls-cert", "cert.pem"], "needs both --tls-cert and --tls-key"),
    ],
)
def test_a_desk_that_others_could_reach_needs_a_flag_and_tls(tmp_path, options, told) -> None:
    stopped = run.invoke(app, ["desk", "--folder", str(tmp_path), *options])
    assert (stopped.exit_code, told in stopped.output) == (2, True), stopped.output


def test_a_desk_without_accounts_or_log_says_what_to_do(tmp_path, registry) -> None:
    stopped = run.invoke(app, ["desk", "--folder", str(registry.folder)])
    assert (stopped.exit_code, "desk-user add" in stopped.output) == (1, True)
    add(tmp_path)
    stopped = run.invoke(app, ["desk", "--folder", str(tmp_path)])
    assert stopped.exit_code == 1
    assert "Traceback" not in stopped.output


@pytest.fixture
def certificate(tmp_path):
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def test_an_exposed_desk_serves_tls_alone_with_secure_cookies(registry, certificate) -> None:
    add(registry.folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cert, key = certificate
    command = [sys.executable, "-c", "from consent.cli import app; app()", "desk"]
    command += ["--folder", registry.folder, "--port", str(port), "--expose"]
    command += ["--name", "localhost", "--tls-cert", cert, "--tls-key", key]
    served = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        with _fetch(f"https://localhost:{port}/login", cert) as page:
            assert page.headers["set-cookie"].startswith("__Host-omote-desk=")
            assert "; Secure" in page.headers["set-cookie"]
            assert page.headers["strict-transport-security"]
        with pytest.raises((OSError, HTTPException)):
            urllib.request.urlopen(f"http://localhost:{port}/login", timeout=5)
    finally:
        served.terminate()
        told = served.communicate(timeout=20)[0]
    assert "can be reached from other machines" in told
    assert "GET" not in told


def _fetch(url, cert):
    context = ssl.create_default_context(cafile=cert)
    for _ in range(300):
        try:
            return urllib.request.urlopen(url, timeout=5, context=context)
        except ConnectionRefusedError:
            time.sleep(0.1)
        except urllib.error.URLError as e:
            if not isinstance(e.reason, ConnectionRefusedError):
                raise
            time.sleep(0.1)
    raise AssertionError("the desk did not start")
