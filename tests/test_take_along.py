"""The book to take along: notebooks, an archive that opens without a server, TeX."""

import re
import subprocess
import sys
import zipfile

import nbformat
import notebooks
import paper
import pytest
import take_along
from conftest import ROOT
from test_site import BROWSER, FLAGS, PAGES, SITE, needs_browser


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    paper.zipped()
    with zipfile.ZipFile(ROOT / "_build" / f"{paper.NAME}.zip") as packed:
        packed.extractall(folder)
    return folder / paper.NAME


@pytest.mark.parametrize("path", notebooks.notebooks(), ids=lambda path: path.stem)
def test_each_page_offers_the_notebook_it_was_made_from(path):
    offered = nbformat.read(SITE / "notebooks" / path.name, 4)
    own = nbformat.read(path, 4)
    assert [cell.source for cell in offered.cells] == [c.source for c in own.cells]
    page = SITE / ("index.html" if path.stem == "index" else f"nbs/{path.stem}.html")
    if path.stem != "index":
        assert f'href="../notebooks/{path.name}" download' in page.read_text("utf8")


def test_an_offered_notebook_runs_where_the_package_is_installed(tmp_path):
    code = (
        "import sys, nbformat, nbclient; nb = nbformat.read(sys.argv[1], 4); "
        "nbclient.NotebookClient(nb, timeout=60).execute()"
    )
    offered = SITE / "notebooks" / "04_neuron.ipynb"
    command = [sys.executable, "-c", code, str(offered)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@needs_browser
def test_the_archive_opens_without_a_server(archive):
    sync_api = pytest.importorskip("playwright.sync_api")
    faults = []
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        tab = chromium.new_page()
        tab.on("pageerror", lambda error: faults.append((str(error), "")))
        tab.on("requestfailed", lambda r: faults.append((r.url, r.failure)))
        for page in ("index.html", "nbs/07_v_values.html", PAGES[-1]):
            tab.goto((archive / page).as_uri())
            tab.wait_for_load_state("load")
            tab.wait_for_selector("article h1", timeout=10_000)  # index leads on
        chromium.close()
    left = "net::ERR_ABORTED"  # by going on to the next page
    assert [fault for fault in faults if fault[1] != left] == []


def test_the_archive_is_the_same_for_the_same_site(archive):
    target = ROOT / "_build" / f"{paper.NAME}.zip"
    before = target.read_bytes()
    paper.zipped()
    assert target.read_bytes() == before


def test_without_tex_there_is_a_message_and_no_failure(monkeypatch):
    monkeypatch.setattr(paper.shutil, "which", lambda name: None)
    assert re.match(r"No PDF: this machine has no TeX \(.*texlive", paper.pdf())


def test_every_part_of_the_contents_is_a_part_of_the_pdf():
    opened = take_along.captions()
    assert opened["nbs/01_derivative"] == "I The chain rule"
    assert r"\part{The chain rule}" in take_along.part("I The chain rule")
    assert r"\part*{Reference}" in take_along.part("Reference")


def test_html_of_a_cell_becomes_xml_with_literal_colors():
    body = '<p>a&nbsp;b<br><b style="color: var(--forward, #0072b2)">&lt;</b></p>'
    wanted = '<p>a\xa0b<br/><b style="color: #0072b2">&lt;</b></p>'
    assert take_along.xhtml(body) == wanted
    assert take_along.xhtml("<script>x</script><p/>") == "<p/>"
