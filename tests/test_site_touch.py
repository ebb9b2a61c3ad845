"""Pictures to touch: the numbers of the package, by mouse, keys, touch, or none."""

import contextlib
import gzip
import json
import re
import socket
import subprocess
import sys
import time
from urllib.request import urlopen

import nbformat
import numpy as np
import pytest
from conftest import ROOT
from test_site import PAGES, SITE, address, browser, needs_browser

from backprop_lit import SGD, Adam, descend, sample_network, sweep_steps
from backprop_lit.figures import Step, diagram

__all__ = ["address", "browser"]  # fixtures
TOUCHED = {
    "03_graph",
    "07_v_values",
    "08_matrices",
    "10_gradient_descent",
    "11_optimizers",
    "12_initialization",
    "17_convolution",
    "18_recurrence",
    "99_figures",
}
SCRIPT = ROOT / "backprop_lit" / "assets" / "touch.js"
SEEN = """figure => [...figure.querySelectorAll("svg[role] text")]
    .filter(text => getComputedStyle(text).visibility === "visible")
    .map(text => text.textContent.replaceAll("\\u200b", ""))"""


@pytest.fixture(scope="module")
def opened(browser, address):
    """Pages, each opened once."""
    tabs = {}

    def open_page(name):
        if name not in tabs:
            size = {"width": 390, "height": 900}
            tabs[name] = browser.new_page(viewport=size, reduced_motion="reduce")
            tabs[name].goto(f"{address}/nbs/{name}.html", wait_until="load")
        return tabs[name]

    yield open_page
    for tab in tabs.values():
        tab.close()


def figure_of(tab):
    return tab.locator("figure.touch").first


def press(figure, name):
    figure.locator(f"button.{name}").dispatch_event("click")


def test_the_script_is_small():
    assert len(gzip.compress(SCRIPT.read_bytes())) <= 20_000


def test_the_script_is_loaded_once_and_only_where_it_is_used():
    for page in PAGES:
        text = (SITE / page).read_text("utf8")
        name = page.removeprefix("nbs/").removesuffix(".html")
        used = name in TOUCHED
        assert ('class="picture touch"' in text) == used, page
        assert len(re.findall(r'<script[^>]*src="[^"]*touch\.js', text)) == used, page
        assert len(re.findall(r'<link[^>]*href="[^"]*touch\.css', text)) == used, page
        assert 'class="touch-source"' not in text
    for name in ("touch.js", "touch.css"):
        served = (SITE / "_static" / name).read_bytes()
        assert served == (SCRIPT.parent / name).read_bytes()


@needs_browser
def test_every_step_of_the_sample_network_shows_what_python_computed(opened):
    figure = figure_of(opened("07_v_values"))
    neurons, x, _, w, b = sample_network()
    steps = sweep_steps(neurons, x, w, b, {"N3": 1 / 2, "N4": -3 / 2})
    assert len(steps) == 8
    press(figure, "first")
    for k in range(1, 11):
        press(figure, "next")
        seen = figure.evaluate(SEEN)
        if k in (5, 6):  # the loss has its turn
            assert ("5/4" in seen, "−3/2" in seen) == (True, k == 6)
            continue
        step = steps[k - 1 if k < 5 else k - 3]
        words = figure.locator(".spoken").inner_text()
        assert step.neuron in words
        numbers = [text.split(" = ")[1] for text in seen if re.match("[huv] =", text)]
        h = [step.h[name] for name in step.h if name in neurons]
        wanted = sorted(map(float, [*h, *step.v.values()]))
        assert sorted(map(number, numbers)) == wanted
        plain = re.sub(r"\s", "", step.line.split(" = ", 1)[1])
        tail = plain.rpartition(",h=")[2] if "," in plain else plain
        assert tail in re.sub(r"\s", "", words)


def number(text):
    top, _, bottom = text.replace("−", "-").partition("/")
    return float(top) / float(bottom or 1)


@needs_browser
def test_a_graph_shows_each_sum_as_it_grows(opened):
    figure = figure_of(opened("03_graph"))
    grown = []
    press(figure, "first")
    for _ in range(6):
        press(figure, "next")
        v = [text for text in figure.evaluate(SEEN) if text.startswith("v =")]
        grown.append(sorted(v))
    assert grown[:3] == [[], [], []]
    assert grown[3] == ["v = 1", "v = 1", "v = 1 + …"]
    assert grown[4] == ["v = 1", "v = 1", "v = 1 + …", "v = 12"]
    assert grown[5] == sorted(["v = 1", "v = 1", "v = 12", "v = 25", "v = 36"])


@needs_browser
def test_keys_move_a_focused_figure_and_the_page_stays(opened):
    tab = opened("07_v_values")
    figure, place = figure_of(tab), tab.url
    slide = figure.locator("input")
    slide.focus()
    outline = slide.evaluate("q => getComputedStyle(q).outlineStyle")
    moves = [
        ("Home", 0),
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("End", 10),
        ("ArrowRight", 10),
        ("Home", 0),
        ("ArrowLeft", 0),
    ]
    for key, frame in moves:
        tab.keyboard.press(key)
        assert figure.get_attribute("data-now") == str(frame), key
        assert slide.input_value() == str(frame)
    figure.locator("button.next").focus()
    tab.keyboard.press("Enter")
    tab.keyboard.press("ArrowRight")
    assert figure.get_attribute("data-now") == "2"
    assert tab.url == place
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "last"
    assert outline != "none"


@needs_browser
def test_taps_and_swipes_step(browser, address):
    context = browser.new_context(
        viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True
    )
    tab = context.new_page()
    tab.goto(f"{address}/nbs/07_v_values.html")
    figure = figure_of(tab)
    picture = figure.locator("> div").first
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    y = box["y"] + box["height"] / 2

    def now():
        return int(figure.get_attribute("data-now"))

    tab.touchscreen.tap(box["x"] + 0.8 * box["width"], y)
    assert now() == 1
    swipe = """([x, y, across]) => {
        const target = document.querySelector("figure.touch > div");
        const at = (type, x) => target.dispatchEvent(new PointerEvent(type,
            {clientX: x, clientY: y, bubbles: true, pointerType: "touch"}));
        at("pointerdown", x); at("pointerup", x + across);
    }"""
    tab.evaluate(swipe, [box["x"] + 200, y, -90])
    assert now() == 2
    tab.evaluate(swipe, [box["x"] + 200, y, 90])
    tab.touchscreen.tap(box["x"] + 0.1 * box["width"], y)
    assert now() == 0
    context.close()


@needs_browser
@pytest.mark.parametrize("name", sorted(TOUCHED))
def test_controls_have_names_and_what_changes_is_said(opened, name):
    tab = opened(name)
    for figure in tab.locator("figure.touch").all():
        controls = figure.locator(".panel button, .panel input").all()
        assert controls
        names = [control.get_attribute("aria-label") for control in controls]
        assert all(names), names
        assert len(set(names)) == len(names)
        for control in controls:
            box = control.bounding_box()
            if "play" in (control.get_attribute("class") or ""):
                assert box is None  # motion is unwanted here
                continue
            assert min(box["width"], box["height"]) >= 24
        assert figure.locator(".panel[role=group]").get_attribute("aria-label")
        slide = figure.locator("input").first
        assert slide.get_attribute("aria-valuetext")
        before = figure.locator("[role=status]").inner_text()
        slide.focus()
        at_the_end = slide.input_value() == slide.get_attribute("max")
        tab.keyboard.press("ArrowLeft" if at_the_end else "ArrowRight")
        after = figure.locator("[role=status]").inner_text()
        assert after not in ("", before)
        assert figure.evaluate("q => q.scrollWidth - q.clientWidth") <= 0


@needs_browser
def test_without_scripts_a_picture_is_whole_and_has_no_dead_control(browser, address):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{address}/nbs/07_v_values.html")
    figure = figure_of(tab)
    assert figure.locator("button, input").count() == 0
    words = figure.locator("svg[role] text").all()
    shown = [
        word.text_content().replace("\u200b", "") for word in words if word.is_visible()
    ]
    assert {"5/4", "h = 3/4", "u = −1/2", "v = 7/32", "v = −5/64"} <= set(shown)
    wide = figure.locator('svg[role] path[stroke-width="3"]').all()
    assert wide
    assert not any(path.is_visible() for path in wide)
    assert figure.locator("details li").count() == 11
    context.close()


@needs_browser
def test_on_paper_stands_the_end_and_no_control(browser, address):
    tab = browser.new_page(reduced_motion="reduce")  # nothing is seen fading
    tab.goto(f"{address}/nbs/07_v_values.html")
    figure = figure_of(tab)
    assert figure.get_attribute("data-now") == "0"
    assert "v = 7/32" not in figure.evaluate(SEEN)
    tab.emulate_media(media="print")
    assert "v = 7/32" in figure.evaluate(SEEN)
    assert not figure.locator(".panel").is_visible()
    tab.close()


@needs_browser
def test_play_goes_to_the_end_and_is_not_offered_where_motion_is_unwanted(
    browser, address
):
    tab = browser.new_page()
    tab.clock.install()
    tab.goto(f"{address}/nbs/03_graph.html")
    figure = figure_of(tab)
    play = figure.locator("button.play")
    play.click()
    assert play.get_attribute("aria-label") == "Pause"
    tab.clock.run_for(20_000)
    assert figure.get_attribute("data-now") == "6"
    assert play.get_attribute("aria-label") == "Play"
    tab.emulate_media(reduced_motion="reduce")
    assert not play.is_visible()
    part = figure.locator("[data-at]").first
    seconds = part.evaluate("q => parseFloat(getComputedStyle(q).transitionDuration)")
    assert seconds < 1e-3
    tab.close()


@needs_browser
def test_every_rate_shows_the_descent_of_the_package(opened):
    figure = figure_of(opened("10_gradient_descent"))
    A = np.array([[9.0, -7.0], [-7.0, 9.0]]) / 2
    slide = figure.locator("input")
    last = int(slide.get_attribute("max"))
    factors = []
    for frame in range(0, last + 1):
        slide.fill(str(frame))
        said = figure.locator(".spoken").inner_text()
        rate = float(re.search(r"r = ([\d.]+)", said)[1])
        rate = round(rate * 144) / 144
        down = descend(
            lambda theta: (theta @ A @ theta / 2, A @ theta),
            np.array([4.0, 1.0]),
            rate,
            steps=20,
        )
        power = float(re.search(r"e = 10([−\d.]+\d)", said)[1].replace("−", "-"))
        assert power == pytest.approx(np.log10(down.values[-1]), abs=0.051)
        assert ("never" in said) == (rate >= 2 / 8)
        factors.append(rate)
        shown = figure.evaluate(
            """q => [...q.querySelectorAll("[data-at]")].filter(part =>
            getComputedStyle(part).visibility === "visible").length"""
        )
        assert shown == 2
    assert factors == sorted(factors)
    assert 1 / 4 in factors


def bent(theta):
    one, two = theta
    off = two - one**2
    gradient = np.array([-2 * (1 - one) - 40 * one * off, 20 * off])
    return (1 - one) ** 2 + 10 * off**2, gradient


@needs_browser
def test_the_walks_of_the_script_are_those_of_the_package(opened):
    figure = figure_of(opened("11_optimizers"))
    data = json.loads(figure.locator("script").text_content())
    makers = {"SGD": SGD, "SGD, momentum": SGD, "Adam": Adam}
    assert list(data["rules"]) == list(makers)
    lost = set()
    for start in (data["start"], [0.0, -0.9], [0.0, 2.8], [1.7, -0.8]):
        for slide, value in zip(figure.locator("input").all(), start, strict=True):
            slide.fill(str(value))
        ends = json.loads(figure.get_attribute("data-ends"))
        for name, maker in makers.items():
            settings = {k: v for k, v in data["rules"][name].items() if k != "rule"}
            optimizer, theta, count = maker(**settings), np.array(start), 0
            e, g = bent(theta)
            while count < data["steps"] and e <= data["lost"]:
                optimizer.step(theta, g)
                e, g = bent(theta)
                count += 1
            steps, loss, *place = ends[name]
            assert steps == count
            if e > data["lost"]:
                lost.add((name, tuple(start)))
                assert "lost" in figure.locator(".said").inner_text()
            else:
                assert loss == pytest.approx(e, rel=1e-4, abs=1e-12)
                assert place == pytest.approx(theta, rel=1e-4, abs=1e-6)
    assert lost == {  # as the chapter says
        ("SGD, momentum", (0.0, 2.8)),
        ("SGD, momentum", (1.7, -0.8)),
        ("SGD", (1.7, -0.8)),
    }


@needs_browser
def test_the_start_can_be_dragged_and_tapped(opened):
    tab = opened("11_optimizers")
    figure = figure_of(tab)
    slides = figure.locator("input").all()
    for slide, value in zip(slides, (-1.2, 1.6), strict=True):
        slide.fill(str(value))
    handle = figure.locator("[data-handle]").last
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + 60, y + 40, steps=3)
    tab.mouse.up()
    dragged = [float(slide.input_value()) for slide in slides]
    assert dragged[0] > -1.2
    assert dragged[1] < 1.6
    tab.mouse.click(x, y)
    tapped = [float(slide.input_value()) for slide in slides]
    assert tapped == pytest.approx([-1.2, 1.6], abs=0.06)


@needs_browser
def test_a_notebook_carries_the_script_along(browser):
    picture = diagram(
        [("a", "b")],
        steps=[Step("b", "forward", "$b = 9$", {"b": "9"}, [("a", "b")])],
        title="Two",
        alt="Two nodes.",
    )
    tab = browser.new_page(reduced_motion="reduce")
    errors = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.set_content(picture._repr_html_() * 2)
    assert tab.locator(".panel").count() == 2
    # As JupyterLab does it: first the page, then the scripts of the output.
    tab.evaluate(
        """html => {
            const host = document.createElement("div");
            host.innerHTML = html;
            for (const old of host.querySelectorAll("script")) {
                const script = document.createElement("script");
                script.textContent = old.textContent;
                old.replaceWith(script);
            }
            document.body.append(host);
        }""",
        picture._repr_html_(),
    )
    figures = tab.locator("figure.touch").all()
    assert len(figures) == 3
    for figure in figures:
        press(figure, "next")
        assert figure.get_attribute("data-now") == "1"
        assert "9" in figure.evaluate(SEEN)
    assert errors == []
    tab.close()


@contextlib.contextmanager
def jupyterlab(folder):
    """JupyterLab on a folder, on this machine alone; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    settings = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.root_dir": folder,
        "ServerApp.allow_root": True,
        "ServerApp.open_browser": False,
        "IdentityProvider.token": "",
    }
    command = [sys.executable, "-m", "jupyterlab"]
    command += [f"--{name}={value}" for name, value in settings.items()]
    with open(folder / "lab.log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        for _ in range(120):
            with contextlib.suppress(OSError), urlopen(f"{address}/api", timeout=5):
                break
            assert server.poll() is None, (folder / "lab.log").read_text("utf8")
            time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(60)


@needs_browser
def test_the_stepper_steps_in_jupyterlab(browser, tmp_path):
    pytest.importorskip("jupyterlab")
    sync_api = pytest.importorskip("playwright.sync_api")
    source = (
        "from backprop_lit.graph import Node, step_through\n"
        "a, b = Node(3.0), Node(2.0)\n"
        "step_through(a * b + a, a=a, b=b)"
    )
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, tmp_path / "stepper.ipynb")
    tab = browser.new_page(reduced_motion="reduce")
    errors, asked = [], []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    with jupyterlab(tmp_path) as address:
        tab.goto(f"{address}/lab/tree/stepper.ipynb")
        tab.locator(".jp-CodeCell").first.wait_for(timeout=60_000)
        cell = tab.locator(".jp-CodeCell .cm-content").first
        figure = tab.locator("figure.touch")
        for _ in range(20):  # until the kernel is there
            cell.click()
            tab.keyboard.press("Control+Enter")
            with contextlib.suppress(sync_api.TimeoutError):
                figure.wait_for(timeout=3_000)
                break
        for step in range(1, 4):
            press(figure, "next")
            assert figure.get_attribute("data-now") == str(step)
        assert "v = 1" in figure.evaluate(SEEN)
        tab.close()
    assert errors == []
    local = ("http://127.0.0.1", "data:", "blob:")
    assert [url for url in asked if not url.startswith(local)] == []
