"""The site in a real browser: no error, no foreign request, no sideways scroll."""

import functools
import http.server
import os
import re
import shutil
import threading
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlparse

import pytest
from conftest import ROOT

SITE = ROOT / "_build" / "html"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.glob("nbs/*.html"))
BROWSER = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
        if (found := shutil.which(name))
    ),
    None,
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
needs_browser = pytest.mark.skipif(
    BROWSER is None and not os.environ.get("REQUIRE_BROWSER"),
    reason="no Chromium on this machine: install one to test the site in a browser",
)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


class Links(HTMLParser):
    """The ids and the links of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.ids |= {named["id"]} if named.get("id") else set()
        for name in ("href", "src"):
            if named.get(name) and (tag, named.get("rel")) != ("link", "canonical"):
                self.links.append(named[name])


@functools.cache
def parsed(page):
    return Links((SITE / page).read_text("utf8"))


@pytest.fixture(scope="module")
def address():
    assert SITE.exists(), "build the site first: make book"
    handler = functools.partial(Quiet, directory=str(SITE))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield chromium
        chromium.close()


def test_there_are_pages():
    assert "nbs/index.html" in PAGES or (SITE / "index.html").exists()
    assert len(PAGES) >= 10


@pytest.mark.parametrize("page", PAGES)
def test_no_internal_link_is_dead(page):
    for link in parsed(page).links:
        target = urlparse(urljoin(f"http://site/{page}", link))
        if target.netloc != "site" or target.scheme not in ("http", "https"):
            continue
        file = unquote(target.path).lstrip("/") or "index.html"
        assert (SITE / file).exists(), link
        if target.fragment and file.endswith(".html"):
            assert unquote(target.fragment) in parsed(file).ids, link


def test_a_name_in_the_code_leads_to_its_entry_and_the_entry_to_its_cell():
    page, api = (SITE / f"nbs/{n}.html" for n in ("08_matrices", "api"))
    assert 'href="api.html#backprop_lit.network.Linear"' in page.read_text("utf8")
    homes = re.findall(r'href="08_matrices.html#(cell-\w+)"', api.read_text("utf8"))
    assert homes
    assert set(homes) <= parsed("nbs/08_matrices.html").ids


@pytest.mark.parametrize("page", PAGES)
def test_no_directive_and_no_bad_tex_is_printed(page):
    text = (SITE / page).read_text("utf8")
    assert not re.search(r"#\|\s*(export|hide|default_exp|solution|code-fold)", text)
    assert "katex-error" not in text


@needs_browser
@pytest.mark.parametrize("width", [320, 390, 1400])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_quiet_self_contained_and_fits(browser, address, page, width):
    tab = browser.new_page(viewport={"width": width, "height": 900})
    errors, foreign = [], []
    tab.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on(
        "request",
        lambda r: (
            None
            if r.url.startswith((address, "data:", "blob:"))
            else foreign.append(r.url)
        ),
    )
    tab.goto(f"{address}/{page}", wait_until="load")
    tab.wait_for_load_state("networkidle")
    sideways = tab.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    tab.close()
    assert errors == []
    assert foreign == []
    assert sideways <= 0
