"""The desk in a real browser: by keyboard alone, in Japanese, on a wide screen and on a phone."""

import base64
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime

import pytest

from consent.model import Purpose
from consent.registry import Registry
from consent.state import Status, decide
from tests.consent.desk.conftest import ACCOUNT, ASKED, OUTSIDE_ID, PASSWORD

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver"),
]
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
JAPANESE = {"intl.accept_languages": "ja"}
UNLABELLED = """return [...document.querySelectorAll('input:not([type=hidden]), select, button, a')]
  .filter(e => !(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label')))
  .map(e => e.outerHTML)"""
TOO_SMALL = """return [...document.querySelectorAll('.button, button, .choice, select')]
  .filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 44)
  .map(e => e.outerHTML)"""


@pytest.fixture
def served(tmp_path, accounts_file):
    """A desk in a process of its own; its address, its folder, and what it printed at the end."""
    folder = tmp_path / "consent"
    registry = Registry.create(folder, "asahi.example", lambda: datetime.now(UTC), territory="JP")
    for language, text in (("en", "We train a detector."), ("ja", "検出器を学習させます。")):
        registry.publish_notice("study", language, text, ASKED)
    shutil.copy(accounts_file, folder / "desk-accounts.json")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from consent.cli import app; app()", "desk"]
    command += ["--folder", folder, "--port", str(port)]
    with (tmp_path / "desk.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield f"http://127.0.0.1:{port}", registry, tmp_path / "desk.log"
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(params=[1280, 390], ids=["wide", "phone"])
def keyboard(request, served, tmp_path):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS, f"--user-data-dir={tmp_path}/profile"]:
        options.add_argument(flag)
    options.add_experimental_option("prefs", JAPANESE)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    screen = {"width": request.param, "height": 800, "deviceScaleFactor": 1}
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", screen | {"mobile": request.param < 500}
    )
    yield Keyboard(driver, tmp_path, request.param)
    driver.quit()


class Keyboard:
    """Presses keys, and looks at each page that comes."""

    def __init__(self, driver, folder, width) -> None:
        self.driver, self._folder, self._width, self._shots = driver, folder, width, 0

    def type(self, text) -> None:
        self._press(text)

    def tab_to(self, css) -> None:
        """Go on with the tabulator until the focus is there."""
        for _ in range(60):
            if self.driver.execute_script(
                "return document.activeElement.matches(arguments[0])", css
            ):
                return
            self._press(self.key.TAB)
        raise AssertionError(f"the tabulator does not reach {css}")

    def enter(self, css=None) -> None:
        """Press Enter and wait for the next page."""
        from selenium.webdriver.support.ui import WebDriverWait

        if css:
            self.tab_to(css)
        self.driver.execute_script("window.isOld = true")
        self._press(self.key.ENTER)
        WebDriverWait(self.driver, 60).until(
            lambda d: d.execute_script("return !window.isOld && document.readyState == 'complete'")
        )
        self.look()

    def choose(self, css, key=None) -> None:
        self.tab_to(css)
        self._press(key or self.key.SPACE)

    def look(self) -> None:
        """Check what holds on every page, and keep a picture of it."""
        script = self.driver.execute_script
        assert script("return document.documentElement.scrollWidth") <= self._width
        assert script(UNLABELLED) == []
        assert script(TOO_SMALL) == []
        self._shots += 1
        self.driver.save_screenshot(str(self._folder / f"{self._width}-{self._shots:02}.png"))

    @property
    def title(self):
        return self.driver.find_element("tag name", "h1").text

    @property
    def key(self):
        from selenium.webdriver.common.keys import Keys

        return Keys

    def _press(self, keys) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(keys).perform()


def test_consent_is_given_in_japanese_printed_and_withdrawn_by_keyboard_alone(
    served, keyboard
) -> None:
    address, registry, log = served
    _wait_for(address)
    keyboard.driver.get(address)
    keyboard.look()
    keyboard.type(ACCOUNT)
    keyboard.tab_to("#password")
    keyboard.type(PASSWORD)
    keyboard.enter()
    assert keyboard.title == "今日"
    keyboard.type(OUTSIDE_ID)  # the field has the focus already
    keyboard.enter()
    keyboard.enter("button[formaction]")
    keyboard.choose("#relation", keyboard.key.DOWN)
    keyboard.choose("#jurisdiction", keyboard.key.DOWN)
    keyboard.choose("input[value=adult]")
    keyboard.enter("main .buttons button")
    assert keyboard.title == OUTSIDE_ID
    keyboard.enter("a[href$='/ask']")
    assert "検出器を学習させます。" in keyboard.driver.page_source
    _answer(keyboard)
    assert keyboard.title == "記録しました"
    assert _statuses(registry) == [Status.ALLOWED, Status.ALLOWED, Status.REFUSED]
    _print_receipt(keyboard)
    keyboard.enter("main a[href^='/person/']:not([target])")
    keyboard.enter("a[href$='/withdraw']")  # the first click
    keyboard.enter()  # the second: the button has the focus
    assert keyboard.title == "撤回しました"
    assert _statuses(registry) == [Status.WITHDRAWN, Status.WITHDRAWN, Status.REFUSED]
    loud = [m["message"] for m in keyboard.driver.get_log("browser")]
    assert all("status of 404" in m and "/find" in m for m in loud), loud
    assert OUTSIDE_ID not in log.read_text()


def _answer(keyboard) -> None:
    """Answer two of three, find that it cannot be sent, and answer the third."""
    keyboard.choose("#answer-pretraining-yes")
    keyboard.choose("#answer-finetuning-yes")
    keyboard.choose("input[value=explicit]")
    keyboard.tab_to("main .buttons button")
    keyboard.type(keyboard.key.ENTER)  # the browser holds it back and goes to the open question
    focused = keyboard.driver.switch_to.active_element.get_attribute("name")
    assert focused == "answer_evaluation"
    assert keyboard.title == "同意の確認"
    keyboard.type(keyboard.key.RIGHT)
    assert keyboard.driver.find_element("id", "answer-evaluation-no").is_selected()
    keyboard.enter("main .buttons button")


def _print_receipt(keyboard) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    driver = keyboard.driver
    assert driver.find_element("css selector", "[data-print]").is_displayed()
    desk = driver.current_window_handle
    keyboard.tab_to("a[target]")
    keyboard.type(keyboard.key.ENTER)
    WebDriverWait(driver, 60).until(lambda d: len(d.window_handles) == 2)
    driver.switch_to.window(next(w for w in driver.window_handles if w != desk))
    WebDriverWait(driver, 60).until(lambda d: d.find_elements("tag name", "svg"))
    assert keyboard.title == "同意の控え"
    assert base64.b64decode(driver.print_page()).startswith(b"%PDF-")
    driver.close()
    driver.switch_to.window(desk)


def _statuses(registry):
    state = registry.state()
    (subject_id,) = state.subjects
    purposes = (Purpose.PRETRAINING, Purpose.FINETUNING, Purpose.EVALUATION)
    return [decide(state, subject_id, p, registry.now()).status for p in purposes]


def _wait_for(address) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the desk did not start")
