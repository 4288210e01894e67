"""omote-model serve: who is asked first, and who could reach it."""

import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from typer.testing import CliRunner

from core_model.cli import app
from tests.core_model.serve.conftest import options

RUN = CliRunner()

EXPOSED = {
    "all addresses": (["--listen", "0.0.0.0"], "can be reached from other machines"),
    "all addresses of IPv6": (["--listen", "::"], "can be reached from other machines"),
    "without TLS": (["--listen", "192.0.2.7", "--expose"], "--tls-cert, --tls-key and --name"),
    "without a certificate": (["--listen", "0.0.0.0", "--expose", "--name", "a.example"],
                              "--tls-cert"),
    "by a name": (["--listen", "omote.example"], "expected an IP address"),
    "with half of TLS": (["--tls-cert", "cert.pem"], "needs both --tls-cert and --tls-key"),
    "nothing at all": (["--no-page"], "leaves nothing to serve"),
}  # fmt: skip


@pytest.mark.parametrize(("more", "told"), EXPOSED.values(), ids=EXPOSED.keys())
def test_a_page_that_others_could_reach_needs_a_flag_and_tls(given, more, told) -> None:
    stopped = RUN.invoke(app, ["serve", *options(given), *more])
    assert (stopped.exit_code, told in stopped.output) == (2, True), stopped.output


def test_nothing_is_served_without_a_permit_that_holds(given, tmp_path) -> None:
    typed = options(given)
    typed[typed.index("--permit") + 1] = str(tmp_path / "none")
    stopped = RUN.invoke(app, ["serve", *typed])
    assert (stopped.exit_code, "no permit" in stopped.output) == (4, True), stopped.output


def test_a_model_that_nobody_trusted_signed_is_not_served(given, tmp_path) -> None:
    from core_model.release.signature import new_key

    typed = options(given)
    typed[typed.index("--trust") + 1] = new_key("other", tmp_path / "other.key").text
    stopped = RUN.invoke(app, ["serve", *typed])
    assert (stopped.exit_code, "not among those that you trust" in stopped.output) == (4, True)


def test_the_key_is_not_told_when_another_program_has_the_port(given) -> None:
    """That program would be handed the key, and a page that looks like ours."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        stopped = RUN.invoke(app, ["serve", *options(given), "--port", str(port)])
    assert (stopped.exit_code, "--port" in stopped.output) == (1, True), stopped.output
    assert "Open" not in stopped.output


def test_it_listens_on_this_machine_alone_needs_no_torch_and_ends_when_told(given) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = """
import sys
from core_model.cli import app
try:
    app()
finally:
    heavy = {"torch", "timm", "scipy", "onnx", "flwr", "consent", "grpc"}
    print("heavy:", heavy & set(sys.modules))
"""
    typed = [sys.executable, "-c", code, "serve", *options(given), "--port", str(port)]
    process = subprocess.Popen(typed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = [next(line for line in process.stdout if line.startswith("Open "))]
        assert re.fullmatch(rf"Open http://127\.0\.0\.1:{port}/#[\w-]{{32}}\n", said[0])
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                    assert b"Omote" in page.read()
                break
            except urllib.error.URLError:
                continue
        with socket.socket() as other:
            other.settimeout(1)
            assert other.connect_ex((socket.gethostbyname(socket.gethostname()), port)) != 0 or (
                socket.gethostbyname(socket.gethostname()).startswith("127.")
            )
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0, rest
    assert "heavy: set()" in rest
    assert "GET" not in rest  # no access log
