"""The page in a real browser: a camera that plays a rendered person; by keyboard; two widths."""

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from core_model.action_units import UNION
from simulations.mask.reenact import Mask, Pose
from tests.core_model.released import scene
from tests.core_model.serve.conftest import options, picture

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromium-driver"),
]
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
]
UNLABELLED = """return [...document.querySelectorAll('input, select, button, a')]
  .filter(e => !(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label')))
  .map(e => e.outerHTML)"""
TOO_SMALL = """return [...document.querySelectorAll('.button, button, label, nav a, summary')]
  .filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 43.5)
  .map(e => e.outerHTML)"""
PIXELS = """const c = document.getElementById('picture');
  return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"""


def acted(k, of=12):
    """Return a frame of a generated person who begins to smile. (480, 640, 3), RGB."""
    activations = np.zeros(len(UNION), np.float32)
    activations[UNION.index(12)] = 0.45 - 0.45 * np.cos(2 * np.pi * k / of)
    pose = Pose(0.15 * np.sin(2 * np.pi * k / of), 0.0)
    face = cv2.resize(_person().draw(activations, pose, 15), (320, 320))
    image = np.full((480, 640, 3), (150, 160, 165), np.uint8)
    image[90:410, 170:490] = face
    return image


def _person():
    if not hasattr(_person, "made"):
        _person.made = Mask(Path.home() / ".cache" / "omote", person=3, size=192)
    return _person.made


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A recording that the fake camera plays in a loop: Motion JPEG."""
    path = tmp_path_factory.mktemp("film") / "film.mjpeg"
    path.write_bytes(b"".join(picture(acted(k), ".jpg") for k in range(12)))
    return path


@pytest.fixture(scope="module")
def address(given, tmp_path_factory):
    """The address of omote-sim serve, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    typed = [sys.executable, "-c", "from simulations.cli import app; app()", "serve"]
    typed += [*options(given), "--port", str(port)]
    process = subprocess.Popen(typed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        lines = (re.match(r"Open (\S+)", line) for line in process.stdout)
        yield next(found[1] for found in lines if found)
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "ERROR" not in rest


@pytest.fixture(params=[(1280, "en"), (390, "ja")], ids=["wide in English", "phone in Japanese"])
def page(request, address, film, tmp_path):
    from selenium import webdriver

    width, language = request.param
    made = webdriver.ChromeOptions()
    made.binary_location = CHROMIUM
    for flag in [*FLAGS, f"--user-data-dir={tmp_path}/profile"]:
        made.add_argument(flag)
    made.add_argument(f"--use-file-for-fake-video-capture={film}")
    made.add_experimental_option("prefs", {"intl.accept_languages": language})
    driver = webdriver.Chrome(made, webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    driver.get(address)
    yield Page(driver, width, tmp_path)
    driver.quit()


class Page:
    """Presses keys, and looks."""

    def __init__(self, driver, width, folder) -> None:
        self.driver, self.width, self._folder = driver, width, folder

    def press(self, css, key) -> None:
        """Go on with the tabulator until the focus is there, then press a key."""
        from selenium.webdriver import ActionChains, Keys

        for _ in range(40):
            if self.driver.execute_script(
                "return document.activeElement.matches(arguments[0])", css
            ):
                ActionChains(self.driver).send_keys(getattr(Keys, key)).perform()
                return
            ActionChains(self.driver).send_keys(Keys.TAB).perform()
        raise AssertionError(f"the tabulator does not reach {css}")

    def until(self, condition) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 90).until(lambda _: condition())

    def text(self, name) -> str:
        return self.driver.find_element("id", name).text

    def values(self) -> list[str]:
        return [e.text for e in self.driver.find_elements("css selector", ".aus .value")]

    def complaints(self) -> list[str]:
        """Return what the browser says of the page, but for how this test looks at pixels."""
        said = [m["message"] for m in self.driver.get_log("browser")]
        return [m for m in said if "readback" not in m]

    def pixels(self):
        """Return what the canvas shows. (H, W, 3)."""
        canvas = self.driver.find_element("id", "picture")
        height, width = (int(canvas.get_attribute(n)) for n in ("height", "width"))
        flat = np.array(self.driver.execute_script(PIXELS), np.uint8)
        return flat.reshape(height, width, 4)[..., :3]

    def look(self, name) -> None:
        """Check what holds at every moment, and keep a picture of it."""
        script = self.driver.execute_script
        assert script("return document.documentElement.scrollWidth") <= self.width
        assert script(UNLABELLED) == []
        assert script(TOO_SMALL) == []
        self.driver.save_screenshot(str(self._folder / f"{self.width}-{name}.png"))


def test_the_camera_is_read_live_and_faces_are_hidden_by_keyboard_alone(page, address) -> None:
    page.until(lambda: len(page.values()) == 8)
    assert page.values() == ["–"] * 8
    assert address.partition("#")[2] not in page.driver.current_url
    page.look("before")
    page.press("#camera", "ENTER")
    page.until(lambda: "1" in page.text("status") and "–" not in page.values())
    first = page.values()
    page.until(lambda: page.values() != first)  # the face moves, and so do the bars
    shown = page.pixels().astype(int)
    assert np.abs(shown[:80, :150] - (150, 160, 165)).mean() < 12  # our wall
    page.look("camera")
    page.press("input[name=way]", "RIGHT")
    page.until(lambda: is_pixelated(page.pixels()))
    page.look("hidden")
    page.press("#camera", "ENTER")
    page.press("summary", "ENTER")
    assert "lab" in page.text("facts")
    page.look("facts")
    assert page.text("problem") == ""
    assert page.complaints() == []


def is_pixelated(image) -> bool:
    """Are the cheeks of one colour, cell by cell?"""
    middle = image[240:330, 250:400].astype(int)
    steps = np.abs(np.diff(middle, axis=1)).max(axis=2)
    return bool((steps < 8).mean() > 0.8)


def test_a_picture_is_chosen_read_and_hidden_and_people_are_told_apart(page, tmp_path) -> None:
    page.until(lambda: len(page.values()) == 8)
    (tmp_path / "two.png").write_bytes(picture(scene(0)))
    page.driver.find_element("id", "file").send_keys(str(tmp_path / "two.png"))
    page.until(lambda: "–" not in page.values())
    one = page.values()
    page.press("input[name=person]", "RIGHT")
    page.until(lambda: page.values() != one)
    before = page.pixels().astype(int)
    page.press("input[name=way]", "LEFT")  # around to the last: another face
    page.until(lambda: page.pixels().max() > 0)
    page.until(lambda: np.abs(page.pixels().astype(int) - before)[150:300, 100:200].mean() > 15)
    page.look("picture")
    (tmp_path / "no.png").write_bytes(b"not a picture")
    page.driver.find_element("id", "file").send_keys(str(tmp_path / "no.png"))
    page.until(lambda: page.text("problem") != "")
    assert page.complaints() == []


def test_without_its_key_the_page_reads_nothing_and_says_why(page, address) -> None:
    page.until(lambda: len(page.values()) == 8)
    page.driver.execute_script("sessionStorage.clear()")
    page.driver.get(address.partition("#")[0])
    page.until(lambda: "omote-model serve" in page.text("problem"))
    assert page.values() == []
