"""The look of the site: its weight, type, frame, and what it remembers of a reader."""

import functools
import itertools
import re

import look
import pytest
import yaml
from conftest import ROOT
from docutils import nodes
from docutils.core import publish_doctree
from myst_parser.docutils_ import Parser
from test_site import PAGES, SITE, address, browser, needs_browser

from backprop_lit.figures import LIGHT

__all__ = ["address", "browser"]
CHAPTERS = [page for page in PAGES if re.match(r"nbs/\d\d_", page)]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text("utf8"))
READING = [
    f"{entry['file']}.html" for part in TOC["parts"] for entry in part["chapters"]
]
DARK = "rgb(18, 18, 18)"  # the paper of figures.DARK


@pytest.fixture
def visit(browser, address):
    """Open a page in a context of its own; close it afterwards."""
    contexts = []

    def open_page(page, init="", **options):
        options = {"viewport": {"width": 1400, "height": 900}} | options
        context = browser.new_context(**options)
        contexts.append(context)
        if init:
            context.add_init_script(init)
        tab = context.new_page()
        tab.faults = []
        tab.on("pageerror", lambda error: tab.faults.append(str(error)))
        tab.goto(f"{address}/{page}", wait_until="load")
        return tab

    yield open_page
    for context in contexts:
        context.close()


@functools.cache
def text_of(page):
    return (SITE / page).read_text("utf8")


# What is loaded


def test_a_page_loads_nothing_of_a_theme():
    for page in PAGES:
        head = text_of(page).partition("</head>")[0]
        loaded = re.findall(r'(?:src|href)="[^"]*_static/([^"?]*)', head)
        foreign = ("theme", "bootstrap", "awesome", "button", "doctools", "basic")
        assert not [name for name in loaded if any(word in name for word in foreign)]
    assert not (SITE / "_static" / "vendor").exists()


def test_the_fonts_travel_with_their_licenses():
    said = (SITE / "_static" / "fonts" / "LICENSES.txt").read_text("utf8")
    for package in ("source-serif-4", "source-sans-3", "source-code-pro", "dejavu"):
        assert package in said
    assert said.count("SIL OPEN FONT LICENSE") >= 3


# Type


@needs_browser
def test_every_letter_of_a_page_comes_from_the_fonts_of_the_site(visit):
    tab = visit(PAGES[0])
    wire = tab.context.new_cdp_session(tab)
    wire.send("DOM.enable")
    wire.send("CSS.enable")
    elsewhere = {}
    for page in PAGES:
        tab.goto(tab.url.partition("/nbs/")[0] + f"/{page}", wait_until="load")
        tab.evaluate("document.fonts.ready.then(() => 0)")
        root = wire.send("DOM.getDocument", {"depth": 0})["root"]["nodeId"]
        body = wire.send("DOM.querySelector", {"nodeId": root, "selector": "main"})
        used = wire.send("CSS.getPlatformFontsForNode", {"nodeId": body["nodeId"]})
        for font in used["fonts"]:
            if not font["isCustomFont"]:
                elsewhere.setdefault(page, []).append(font["familyName"])
    assert elsewhere == {}


LINES = """() => [...document.querySelectorAll('article section > p')].flatMap(p => {
  const height = parseFloat(getComputedStyle(p).lineHeight);
  const lines = Math.round(p.getBoundingClientRect().height / height);
  const plain = !p.querySelector('.math, code, span');
  return lines > 3 && plain ? [p.textContent.length / (lines - 0.5)] : [];
})"""


@needs_browser
def test_a_line_of_text_has_65_to_75_characters(visit):
    lengths = []
    for page in CHAPTERS[:8]:
        lengths += visit(page).evaluate(LINES)
    lengths.sort()
    assert 65 <= lengths[len(lengths) // 2] <= 75


WIDE = """() => [...document.querySelectorAll('.cell_input pre')].filter(pre =>
  pre.offsetParent && pre.scrollWidth > pre.clientWidth + 1 &&
  Math.max(...pre.textContent.split('\\n').map(line => line.length)) <= 80)
  .map(pre => pre.textContent.slice(0, 200))"""


@needs_browser
def test_80_columns_of_code_fit_a_wide_page(visit):
    for page in CHAPTERS:
        tab = visit(page)
        tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        tab.evaluate("document.fonts.ready.then(() => 0)")
        assert tab.evaluate(WIDE) == [], page


# The frame


def test_the_strip_under_the_title_says_where_you_are():
    for page in CHAPTERS:
        text = text_of(page)
        strip = re.search(r'</h1>\s*<ul class="where">(.*?)</ul>', text, re.S)
        assert strip, page
        if page.startswith("nbs/0") and "00_" not in page:
            assert re.search(r"Part [IV]+: .*chapter \d+ of \d+", strip[1], re.S), page
        assert re.search(r"about \d+ minutes|class=\"fact\"><strong>Time", text), page


def test_before_and_after_follow_the_order_of_reading():
    for before, after in itertools.pairwise(READING):
        assert 'rel="next" title=' in text_of(before)
        turn = re.search(r'<a class="on" href="([^"]*)"', text_of(before))
        back = re.search(r'<a class="back" href="([^"]*)"', text_of(after))
        assert (turn and turn[1], back and back[1]) == (after[4:], before[4:])


def test_the_contents_name_every_page_and_its_minutes():
    for page in READING:
        contents = re.search(r'<nav id="contents".*?</nav>', text_of(page), re.S)[0]
        assert [
            f"nbs/{href}"
            for href in re.findall(r'href="(\w+\.html)" data-page', contents)
        ] == READING
        assert len(re.findall('aria-current="page"', contents)) == 1
        assert contents.count(" minutes</span>") >= len(CHAPTERS) - 1


@needs_browser
def test_a_page_can_be_read_without_scripts(visit):
    for scheme, paper in (("light", "rgb(255, 255, 255)"), ("dark", DARK)):
        tab = visit(READING[7], java_script_enabled=False, color_scheme=scheme)
        assert tab.locator(".bd-article h2").first.is_visible()
        assert tab.locator("#contents a[aria-current=page]").is_visible()
        color = "getComputedStyle(document.body).backgroundColor"
        assert tab.evaluate(color) == paper
        assert not tab.locator("button.theme").is_visible()
        aside = tab.locator("details.sd-dropdown").first
        aside.locator("summary").click()
        assert aside.get_attribute("open") is not None
    phone = {"width": 390, "height": 800}
    tab = visit(READING[7], java_script_enabled=False, viewport=phone)
    assert not tab.locator("#contents").is_visible()
    tab.locator("button.menu").click()
    assert tab.locator("#contents a[aria-current=page]").is_visible()


@needs_browser
def test_the_button_overrules_the_colors_of_the_system(visit):
    tab = visit(READING[1], color_scheme="light")
    theme = "document.documentElement.dataset.theme"
    button = tab.locator("button.theme")
    assert (tab.evaluate(theme), button.get_attribute("aria-pressed")) == (
        "light",
        "false",
    )
    button.click()
    tab.reload()
    assert (tab.evaluate(theme), button.get_attribute("aria-pressed")) == (
        "dark",
        "true",
    )
    button.click()
    assert tab.evaluate(
        "[localStorage.mode, document.documentElement.dataset.theme]"
    ) == [None, "light"]


@needs_browser
def test_asides_and_definitions_stand_in_the_margin_of_a_wide_page(visit):
    beside = """() => [...document.querySelectorAll('.definition, .aside')].map(
      note => note.getBoundingClientRect()).map((box, k, all) => [
        box.height > 0,
        box.left >= document.querySelector('.bd-article').getBoundingClientRect().right,
        box.right <= innerWidth,
        all.every((other, l) => l == k || other.top >= box.bottom
          || other.bottom <= box.top)])"""
    noted = [page for page in CHAPTERS if 'class="margin definition"' in text_of(page)]
    aside = [page for page in CHAPTERS if 'class="aside"' in text_of(page)]
    assert len(noted) >= 8
    assert len(aside) >= 15
    for page in {*noted, *aside}:
        assert all(map(all, visit(page).evaluate(beside))), page
    tab = visit(noted[0], viewport={"width": 390, "height": 800})
    assert not tab.locator(".definition").first.is_visible()
    tab = visit(aside[0], viewport={"width": 390, "height": 800})
    float_of = "note => getComputedStyle(note).float"
    assert tab.locator(".aside").first.evaluate(float_of) == "none"


def test_an_aside_is_a_whole_sentence_in_parentheses_among_others():
    told = "(It stands aside, with *emphasis* and `f(x)`, over two lines\nof text.)"
    for text, asides in (
        (f"Before.\n{told}\nAfter.", [told]),
        (f"{told}\nAfter.", [told]),
        (told, []),  # nothing to stand beside
        (f"Before {told} after.", []),  # part of a line
        (f"Before.\n{told[:-1]}:)", []),  # leads on to what follows
        ("Before.\n(Short.)", []),
        (f"Before.\n({'long ' * 80})", []),
        (f"Before.\n- in a list\n  {told}", []),
    ):
        tree = publish_doctree(text, parser=Parser())
        tree.children = [nodes.section("", *tree.children)]
        look.set_aside(None, tree)
        found = [part.astext() for part in tree.findall(nodes.inline)]
        assert found == [re.sub("[*`]", "", aside) for aside in asides], text
        assert tree.astext().replace("\n", " ").count("aside") == text.count("aside")


# What is remembered


@needs_browser
def test_what_was_read_and_solved_is_remembered_and_can_be_forgotten(visit):
    tab = visit(READING[2])
    assert tab.locator("#contents .read").count() == 0
    read = tab.get_by_label("I have read this chapter")
    assert not read.is_checked()
    read.scroll_into_view_if_needed()
    tab.wait_for_selector("#contents .read", state="attached")
    assert read.is_checked()
    tab.get_by_label("I have solved exercise 02.1").check()
    tab.reload()
    assert tab.get_by_label("I have solved exercise 02.1").is_checked()
    tab.goto(tab.url.rpartition("/")[0] + "/index.html")
    told = tab.locator("#progress")
    assert re.search(r"read 1 of \d+ chapters and solved 1 of \d\d", told.inner_text())
    assert tab.locator(".read").count() == 2  # in the contents, and on the page
    told.get_by_role("button").click()
    assert tab.locator(".read").count() == 0
    assert not told.is_visible()
    assert tab.faults == []


@needs_browser
def test_a_reader_decides_what_counts_as_read(visit):
    tab = visit(READING[2])
    read = tab.get_by_label("I have read this chapter")
    read.scroll_into_view_if_needed()
    tab.wait_for_selector("#contents .read", state="attached")
    read.uncheck()
    tab.reload()
    read.scroll_into_view_if_needed()
    tab.wait_for_timeout(200)
    assert not read.is_checked()


CLOSED = """Object.defineProperty(window, 'localStorage',
  {get() { throw new DOMException('closed', 'SecurityError') }})"""
BROKEN = "localStorage.setItem('backpropagation-literally', '{\"read\": 3')"


@needs_browser
def test_a_closed_or_broken_memory_is_no_fault(visit):
    for page in (READING[2], "nbs/index.html"):
        tab = visit(page, init=CLOSED)
        assert tab.locator(".done").count() == 0
        tab.locator("button.theme").click()
        assert tab.faults == []
    tab = visit(READING[2], init=BROKEN)
    assert tab.get_by_label("I have read this chapter").count() == 1
    assert tab.faults == []


# On paper


@needs_browser
def test_paper_has_the_text_alone(visit):
    tab = visit(READING[7], color_scheme="dark")
    tab.emulate_media(media="print")
    ink = "getComputedStyle(document.body).color"
    assert tab.evaluate(ink) == "rgb(0, 0, 0)"
    link = "getComputedStyle(document.documentElement).getPropertyValue('--forward')"
    assert tab.evaluate(link).strip().upper() == LIGHT["forward"].upper()
    for selector in ("#contents", ".bar", ".turn", ".done", ".foot", ".copy"):
        assert not tab.locator(selector).first.is_visible(), selector
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("details.sd-dropdown:not([open])").count() == 0
    assert tab.locator(".tag_solution details[open]").count() == 0
    assert tab.locator(".doc-rest").first.is_visible()
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.locator("details.sd-dropdown[open]").count() == 0
