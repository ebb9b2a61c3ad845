"""The site as it lies on the disk: its pages, its links, and names that are doors."""

import os
import re

import pytest
import report
from conftest import ROOT
from report import FLAGS, parsed

SITE = ROOT / "_build" / "html"
PAGES = [page for page in report.pages() if page.startswith("nbs/")]
BROWSER = report.browser_path()
__all__ = ["FLAGS", "parsed"]
needs_browser = pytest.mark.skipif(
    BROWSER is None and not os.environ.get("REQUIRE_BROWSER"),
    reason="no Chromium on this machine: install one to test the site in a browser",
)


@pytest.fixture(scope="module")
def address():
    assert SITE.exists(), "build the site first: make book"
    with report.serve() as where:
        yield where


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


@pytest.mark.parametrize("page", ["index.html", *report.pages()])
def test_no_internal_link_is_dead(page):
    assert report.dead(page) == []


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
