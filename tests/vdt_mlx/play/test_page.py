"""The page in a real browser: with the mouse, with keys alone, on a phone, two at once, and when all goes wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vdt_mlx.play.process import find_browser

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = find_browser()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]
QUIET = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
WAIT = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with sync_api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--no-first-run", *QUIET])
        yield opened
        opened.close()


class Page:
    """A visitor's page, with what went wrong in it."""

    def __init__(self, browser, address: str, toured: bool = True, **options) -> None:
        self.context = browser.new_context(viewport={"width": 1200, "height": 1000}, accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT)
        self.faults: list[str] = []
        self.page.on("console", lambda said: said.type == "error" and self.faults.append(said.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        if toured:
            self.page.add_init_script("localStorage.setItem('toured', 'yes')")
        self.page.goto(address)
        self.dreams = 0
        self.wait()

    def wait(self) -> None:
        """Until one more dream has come."""
        self.dreams += 1
        self.page.wait_for_selector(f'body[data-dreamt="{self.dreams}"]')

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the world is on the page."""
        box = self.page.locator("#stage").bounding_box()
        assert box is not None
        return box["x"] + box["width"] * x / 10, box["y"] + box["height"] * (1 - y / 10)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at((start[0] + end[0]) / 2, (start[1] + end[1]) / 2))
        self.page.mouse.move(*self.at(*end))
        self.page.mouse.up()

    def scene(self) -> dict:
        with self.page.expect_download() as told:
            self.page.click('[data-keep="json"]')
        return json.loads(Path(told.value.path()).read_text())

    def body(self, name: str) -> dict:
        return next(body for body in self.scene()["bodies"] if body["name"] == name)


@pytest.fixture
def page(browser, play) -> Iterator[Page]:
    opened = Page(browser, play.address)
    yield opened
    opened.context.close()
    assert opened.faults == []


def settle(page: Page) -> None:
    """Until nothing is being dreamt; counts from there."""
    page.page.wait_for_selector("#again:not(.busy)")
    page.page.wait_for_timeout(150)
    page.page.wait_for_selector("#again:not(.busy)")
    page.dreams = int(page.page.get_attribute("body", "data-dreamt") or 0)


def test_a_scene_is_drawn_thrown_and_dreamt_as_the_library_does(page: Page, tiny_checkpoint: Path) -> None:
    from physics_sim.clip import Clip
    from physics_sim.world import simulate
    from vdt_mlx.pipeline import Pipeline
    from vdt_mlx.play import pictures
    from vdt_mlx.play.scene import read_scene

    p = page.page
    p.uncheck("#ask")
    p.select_option("#preset", "room")
    p.wait_for_selector("#faults:has-text('red agent')")
    assert "older scene" in p.inner_text("#status") and p.locator("#out-box.stale").count() == 1
    p.click('[data-add="ball"]')
    p.click('[data-add="ball"]')
    settle(page)
    agent = page.body("ball-1")
    assert agent["role"] == "agent" and page.body("ball-2")["role"] == "patient"
    x, y = agent["parts"][0]["position"]
    page.drag((x, y), (2.0, 5.0))
    page.wait()
    assert page.body("ball-1")["parts"][0]["position"] == pytest.approx([2, 5], abs=0.1)
    page.drag((2.0, 5.0 + 0.8 + 0.45), (2.0 + 0.8 + 0.3 + 0.45 * 3, 5.0))
    page.wait()
    scene = page.scene()
    assert scene["bodies"][1]["parts"][0]["velocity"] == pytest.approx([3, 0], abs=0.2)

    shown = float(p.get_attribute("body", "data-error") or "nan")
    read = read_scene(scene)
    truth = Clip(read, simulate(read, frames=16), "drawn", "drawn", 0, 0, 64).frames
    hidden, mask = truth.copy(), np.ones((16, 8, 8), np.float32)
    hidden[8:], mask[:8] = 0, 0
    made = Pipeline.load(tiny_checkpoint).fill(hidden[None], mask, seeds=[0])[0]
    last = [value for value in pictures.errors(truth, made) if value is not None][-1]
    assert shown == pytest.approx(last, abs=1e-6)
    assert f"{last:.1f} px" in p.inner_text("#status")

    p.click("#undo")
    settle(page)
    assert page.body("ball-1")["parts"][0]["velocity"] == [0, 0]
    p.click("#redo")
    settle(page)
    assert page.body("ball-1")["parts"][0]["velocity"] == pytest.approx([3, 0], abs=0.2)


def test_keys_alone_are_enough(page: Page) -> None:
    p = page.page
    before = page.body("agent")["parts"][0]
    p.focus("#things button:has-text('agent')")
    p.keyboard.press("Enter")
    for key in ("ArrowUp", "ArrowUp", "Shift+ArrowLeft", "]"):
        p.keyboard.press(key)
    settle(page)
    after = page.body("agent")["parts"][0]
    assert after["position"][1] == pytest.approx(before["position"][1] + 0.2, abs=1e-6)
    assert after["velocity"][0] == pytest.approx(before["velocity"][0] - 0.25, abs=1e-6)
    assert after["angle"] == pytest.approx(before["angle"] - 0.1, abs=1e-6)
    p.keyboard.press("Control+z")
    settle(page)
    assert page.body("agent")["parts"][0]["angle"] == pytest.approx(before["angle"], abs=1e-6)


def test_what_is_wrong_is_said_on_the_thing_itself(page: Page) -> None:
    p = page.page
    p.click("#things button:has-text('agent')")
    p.focus("#stage")
    # How many pixels of the canvas have the colour of the label.
    dark = """() => { const c = document.querySelector('#stage');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0;
        for (let i = 0; i < d.length; i += 4) n += d[i] === 140 && d[i + 1] === 29 && d[i + 2] === 24;
        return n; }"""
    assert p.evaluate(dark) == 0
    for _ in range(40):
        p.keyboard.press("Shift+ArrowUp")
    p.wait_for_selector("#faults:has-text('Too fast')")
    assert p.evaluate(dark) > 1000
    p.keyboard.press("Control+z")
    p.click("#undo")
    for _ in range(60):
        if p.is_disabled("#undo"):
            break
        p.click("#undo")
    p.wait_for_selector("#faults", state="hidden")
    assert p.evaluate(dark) == 0


def test_the_question_is_asked_before_it_is_answered(page: Page) -> None:
    p = page.page
    assert p.inner_text("#score-you") == "–"
    p.click("#again")
    p.wait_for_selector("#question:not([hidden])")
    page.wait()
    assert p.locator("#errors polyline").count() == 0, "an older curve would tell the answer"
    assert "What do you think?" in p.inner_text("#status")
    p.click('[data-guess="yes"]')
    p.wait_for_selector("#score-you:has-text('1 of 1')")
    assert "Touch: truth yes" in p.inner_text("#status")


def test_holes_frames_and_futures(page: Page) -> None:
    p = page.page
    p.uncheck("#ask")
    p.click("#hole")
    box = p.locator("#truth").bounding_box()
    assert box is not None
    p.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.6 * box["height"])
    p.mouse.down()
    p.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.6 * box["height"], steps=6)
    with p.expect_request("**/api/dream") as asked:
        p.mouse.up()
    mask = asked.value.post_data_json["mask"]
    assert 0 < mask[0].count("1") < 64 and mask[0].count("1") % 4 == 0 and mask[15] == "1" * 64
    assert len(set(mask[:8])) == 1
    page.wait()
    p.click("#hole-clear")
    page.wait()
    p.click('[data-hole="this"]')
    p.evaluate("const c = document.querySelector('#clock'); c.value = 2; c.dispatchEvent(new Event('input'))")
    p.focus("#truth")
    with p.expect_request("**/api/dream") as asked:
        p.keyboard.press("Space")
    mask = asked.value.post_data_json["mask"]
    assert [row.count("1") for row in mask] == [0, 0, 4, 0, 0, 0, 0, 0, *[64] * 8], "by keys, in one frame alone"
    page.wait()
    assert p.input_value("#task") == "" and p.is_visible("#hole-bar")
    p.click("#hole-clear")
    page.wait()
    assert p.input_value("#task") == "predict"
    p.click("#hole")
    assert p.is_hidden("#hole-bar")
    with p.expect_request("**/api/dream") as asked:
        p.click("#strip button >> nth=12")
    assert "0" in asked.value.post_data_json["mask"][12]
    page.wait()
    p.select_option("#futures", "3")
    page.wait()
    assert p.locator("#fan button").count() == 3
    p.click("#fan button >> nth=2")
    assert p.get_attribute("#fan button >> nth=2", "aria-checked") == "true"
    for task in ("backward", "interpolate", "unconditional", "spatial"):
        with p.expect_request("**/api/dream") as asked:
            p.select_option("#task", task)
        rows = asked.value.post_data_json["mask"]
        given = [row == "0" * 64 for row in rows]
        assert sum(given) == {"backward": 8, "interpolate": 4, "unconditional": 0, "spatial": 0}[task]


def test_a_probe_turns_its_cause_and_mass_is_in_kilograms(page: Page) -> None:
    from vdt_mlx.play.scene import read_scene

    p = page.page
    p.uncheck("#ask")
    p.select_option("#preset", "probe-gravity")
    page.wait()
    assert "Gravity: 0.5 m/s" in p.inner_text("#note") and page.scene()["gravity"] == 0.5
    p.click("#another")
    page.wait()
    assert "Gravity: 1.5 m/s" in p.inner_text("#note") and page.scene()["gravity"] == 1.5
    p.select_option("#preset", "room")
    for number, kind in enumerate(("ball", "box", "capsule")):
        p.click(f'[data-add="{kind}"]')
        p.eval_on_selector("#mass", "m => { m.value = m.max / 2; m.dispatchEvent(new Event('input')); }")
        shown = float(p.inner_text("#mass + output").removesuffix(" kg"))
        body = read_scene(page.scene()).bodies[number + 1]
        assert body.mass == pytest.approx(shown, abs=0.006) and body.density == pytest.approx(2.5, abs=0.02)


def test_a_visitor_sees_a_collision_already_dreamt(browser, play) -> None:
    visit = Page(browser, play.address)
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    visit.page.reload()
    visit.page.wait_for_selector('body[data-dreamt="1"]')
    assert not [url for url in asked if "/api/" in url], "nothing is asked for before something is seen"
    assert "Touch: truth yes" in visit.page.inner_text("#status")
    with visit.page.expect_download() as told:
        visit.page.click('[data-keep="gif"]')
    assert Path(told.value.path()).read_bytes()[:4] == b"GIF8"
    visit.context.close()
    assert visit.faults == []


def test_a_video_is_dropped_and_a_link_is_shared(page: Page, tmp_path: Path, browser, play) -> None:
    from vdt_mlx.media import video

    path = tmp_path / "noise.gif"
    video.write_gif(path, np.random.default_rng(0).integers(0, 255, (16, 64, 64, 3), np.uint8), 8)
    page.page.set_input_files("#open", path)
    page.wait()
    page.page.click('[data-keep="link"]')
    page.page.wait_for_selector("#status:has-text('address bar')")
    link = page.page.url
    assert "#" in link
    other = Page(browser, link)
    assert other.scene() == page.scene() and other.faults == []
    other.context.close()
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    page.page.set_input_files("#open", broken)
    page.page.wait_for_selector("#status:has-text('is not a scene')")


def test_two_tabs_and_a_phone_and_no_motion(browser, play) -> None:
    phone = Page(browser, play.address, color_scheme="dark", reduced_motion="reduce")
    tab = Page(browser, play.address)
    phone.page.set_viewport_size({"width": 390, "height": 844})
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone.page.input_value("#clock") == "15", "without motion the end is shown, and nothing plays"
    assert phone.page.inner_text("#playpause") == "Play"
    assert phone.faults == [] and tab.faults == []
    phone.context.close()
    tab.context.close()


def test_a_first_visit_has_a_tour_that_can_be_closed(browser, play) -> None:
    first = Page(browser, play.address, toured=False)
    assert first.page.is_visible("#tour") and "1 of 3" in first.page.inner_text("#tour-title")
    first.page.click("#tour-close")
    assert not first.page.is_visible("#tour") and first.faults == []
    first.context.close()


def test_a_server_that_dies_is_said_to_be_dead(browser, own_server) -> None:
    page = Page(browser, own_server.address)
    own_server.process.kill()
    own_server.process.wait(20)
    page.page.click("#again")
    page.page.wait_for_selector("#status:has-text('does not answer')")
    page.context.close()
