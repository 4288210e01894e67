"""The dashboard of a real run in a real browser: wide and on a phone, in both languages."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from typer.testing import CliRunner

from fl_server.cli import app
from simulations.faces.site import CACHE
from simulations.scenario import load_scenario
from tests.integration.measured_run import make_run

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver"),
]
NAME, PASSWORD = "operator", "a long password"
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SIZES_OF_TEXT = """return [...document.querySelectorAll('.plot text')]
  .map(e => parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a)"""
TALL_ROWS = """return [...document.querySelectorAll('tbody tr')]
  .filter(e => e.getBoundingClientRect().height > 120).map(e => e.outerHTML)"""
UNNAMED = """return [...document.querySelectorAll('svg[role=img], a, button')]
  .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label'))).map(e => e.outerHTML)"""
OUTSIDE = """return [...document.querySelectorAll('.plot *')].filter(e => {
  const inner = e.getBoundingClientRect(), outer = e.ownerSVGElement.getBoundingClientRect();
  return inner.left < outer.left - 1 || inner.right > outer.right + 1
    || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1 }).map(e => e.outerHTML)"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A run of real rounds of two sites, measured on a public set."""
    demo = load_scenario("demo")
    sites = tuple(s.model_copy(update={"num_people": 6}) for s in demo.sites[:2])
    small = demo.model_copy(
        update={"sites": sites, "pretraining_rounds": 1, "finetuning_rounds": 5}
    )
    folder = make_run(tmp_path_factory.mktemp("run"), small, (6, 3), CACHE)
    runner = CliRunner()
    done = runner.invoke(app, ["evaluate", str(folder)])
    assert done.exit_code == 0, done.output
    user = ["dashboard-user", str(folder), NAME, "--password-stdin"]
    assert runner.invoke(app, user, input=PASSWORD + "\n").exit_code == 0
    return folder


@pytest.fixture(scope="module")
def address(server):
    """The address of omote-server dashboard, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from fl_server.cli import app; app()", "dashboard"]
    process = subprocess.Popen([*command, str(server), "--port", str(port)])
    try:
        _wait_for(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(
    params=[(1280, "en"), (1280, "ja"), (390, "en"), (390, "ja")],
    ids=lambda p: f"{p[0]} pixels, {p[1]}",
)
def browser(request, tmp_path):
    from selenium import webdriver

    width, language = request.param
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS, f"--user-data-dir={tmp_path}/profile"]:
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"intl.accept_languages": language})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    yield Browser(driver, width, language, tmp_path)
    driver.quit()


class Browser:
    """Signs in, and looks at pages."""

    def __init__(self, driver, width, language, folder) -> None:
        self.driver, self.width, self.language, self._folder = driver, width, language, folder

    def sign_in(self, address) -> None:
        self.driver.get(address)
        self.driver.find_element("id", "name").send_keys(NAME)
        self.driver.find_element("id", "password").send_keys(PASSWORD)
        self.driver.find_element("css selector", "form[action='/login'] button").click()
        self.wait_for("progress")

    def wait_for(self, css) -> None:
        """Wait until the next page is there: a password takes time to check."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 60).until(lambda d: d.find_elements("css selector", css))

    def look(self, name) -> None:
        """Check what holds on every page, and keep a picture of all of it."""
        script = self.driver.execute_script
        assert script("return document.documentElement.scrollWidth") <= self.width
        assert script("return document.documentElement.lang") == self.language
        assert script(UNNAMED) == []
        assert script(TALL_ROWS) == []
        assert script(OUTSIDE) == []
        assert self.driver.get_log("browser") == []
        self.shoot(name)

    def shoot(self, name) -> None:
        import base64

        shot = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True}
        )
        path = self._folder / f"{self.width}-{self.language}-{name}.png"
        path.write_bytes(base64.b64decode(shot["data"]))


def test_f1_and_the_identity_probe_are_drawn_and_can_be_read(browser, address) -> None:
    browser.sign_in(address)
    browser.look("overview")
    find = browser.driver.find_elements
    assert len(find("css selector", ".plot:not(.small)")) == 2
    aus = len(find("css selector", ".plot.small"))
    assert aus >= 10
    assert len(find("css selector", ".plot:not(.small) .dot")) == 2 * 5  # rounds 2 to 6
    assert len(find("css selector", ".plot .level")) == 1 + 2 + aus
    assert min(browser.driver.execute_script(SIZES_OF_TEXT)) >= 10  # pixels
    find("css selector", "a[href='/figures']")[0].click()
    browser.wait_for("tbody th")
    browser.look("figures")
    rows = find("css selector", "tbody tr")
    assert [row.find_element("css selector", "th").text for row in rows[:5]] == list("65432")
    assert len(rows[0].find_elements("css selector", "td")) == 3 + aus


def _wait_for(address) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the dashboard did not start")
