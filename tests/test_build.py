"""The pipeline: what hangs on what, and faults that name their place."""

import json
import re
import subprocess
import sys
from pathlib import Path

import execute
import nbformat
import notebooks
import pytest
from conftest import ROOT


def notebook(*sources, text="# Title\n\n> Promise."):
    code = [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text), *code])


def write(path, nb):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(nbformat.writes(nb), "utf8")
    return path


def test_directives_never_reach_the_reader():
    nb = notebook("#| export\n#| code-fold: true\nx = 1", "#| default_exp x")
    out = notebooks.read(nbformat.writes(nb))
    assert [cell.source for cell in out.cells[1:]] == ["x = 1", ""]
    assert {"export", "hide-input"} <= set(out.cells[1].metadata.tags)
    assert "remove-cell" in out.cells[2].metadata.tags


@pytest.fixture
def small_package(tmp_path, monkeypatch):
    files = {
        "__init__": "_names: dict = {'first': ('a',), 'second': ('b',)}",
        "first": "a = 1",
        "second": "def b():\n    from .first import a\n    return a",
        "third": "c = 3",
    }
    for name, source in files.items():
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.setattr(notebooks, "PACKAGE", tmp_path)
    notebooks.public_names.cache_clear()
    yield tmp_path
    notebooks.public_names.cache_clear()


def test_an_edit_touches_the_chapters_that_depend_on_it_and_no_others(small_package):
    pages = {
        "first": notebook("from backprop_lit.first import a"),
        "through": notebook("from backprop_lit import b"),
        "third": notebook("#| export\nfrom backprop_lit.third import c"),
    }
    before = {name: notebooks.key(nb) for name, nb in pages.items()}
    (small_package / "first.py").write_text("a = 2")
    after = {name: notebooks.key(nb) for name, nb in pages.items()}
    changed = {name for name in pages if before[name] != after[name]}
    assert changed == {"first", "through"}


def test_the_table_of_names_is_read():
    assert "Linear" in notebooks.public_names()["network"]
    assert notebooks.imported("from backprop_lit import Linear") == {"network"}


def test_a_failing_cell_and_a_line_on_stderr_name_notebook_and_cell(tmp_path):
    bad = write(tmp_path / "bad.ipynb", notebook("x = 1", "1 / 0"))
    loud = write(
        tmp_path / "loud.ipynb", notebook("import sys; print('!', file=sys.stderr)")
    )
    faults = execute.refresh([bad, loud], tmp_path / "cache")
    assert re.search(r"bad\.ipynb, cell 3 .*ZeroDivisionError", faults[0])
    assert re.search(r"loud\.ipynb, cell 2 .*stderr: !", faults[1])
    assert execute.refresh([bad], tmp_path / "cache") != [], "a failure is not cached"


def test_a_notebook_runs_once(tmp_path, capsys):
    path = write(tmp_path / "good.ipynb", notebook("x = 1"))
    assert execute.refresh([path], tmp_path / "cache") == []
    assert "good.ipynb" in capsys.readouterr().out
    assert execute.refresh([path], tmp_path / "cache") == []
    assert capsys.readouterr().out == ""


@pytest.fixture(scope="module")
def broken_site(tmp_path_factory):
    """A book of one page with bad TeX, a dead link and a duplicate heading link."""
    folder = tmp_path_factory.mktemp("broken")
    text = "# Title\n\n$\\frac{1$\n\nSee [](nowhere) and {eq}`eq-none`."
    write(folder / "nbs" / "page.ipynb", notebook("x = 1", text=text))
    (folder / "nbs" / "references.bib").write_text("")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: nbs/page\n")
    config = (ROOT / "_config.yml").read_text("utf8")
    config = config.replace("bridge: book", f"bridge: {ROOT / 'book'}")
    config = config.replace("book/static", str(ROOT / "book/static"))
    (folder / "_config.yml").write_text(config)
    program = str(Path(sys.executable).parent / "jupyter-book")
    command = [program, "build", str(folder), "-W", "-n", "--keep-going"]
    return subprocess.run(command, capture_output=True, text=True)


def test_bad_tex_fails_the_build_and_names_its_cell(broken_site):
    assert broken_site.returncode
    log = re.sub(r"\x1b\[[0-9;]*m", "", broken_site.stdout + broken_site.stderr)
    assert re.search(r"page\.ipynb, cell 1, line \d+: WARNING: bad TeX", log), log


def test_a_dead_link_fails_the_build_and_names_its_cell(broken_site):
    log = re.sub(r"\x1b\[[0-9;]*m", "", broken_site.stdout + broken_site.stderr)
    assert re.search(r"page\.ipynb, cell 1, line \d+: .*nowhere", log), log


def test_katex_is_the_version_that_renders():
    import sphinxcontrib.katex as katex

    lock = json.loads((ROOT / "book" / "package-lock.json").read_text("utf8"))
    locked = lock["packages"]["node_modules/katex"]["version"]
    assert locked == katex.katex_version


def test_the_locks_name_no_address():
    for name in ("requirements.lock", "book/package-lock.json"):
        text = (ROOT / name).read_text("utf8")
        text = re.sub(r'"https://(opencollective|github)\.com[^"]*"', "", text)
        assert "://" not in text, name
    lock = (ROOT / "requirements.lock").read_text("utf8")
    assert lock.count("==") <= lock.count("--hash=sha256:")


def test_links_to_a_repository_appear_only_when_one_is_configured(monkeypatch):
    import bridge

    class Config:
        def __init__(self):
            self.html_theme_options, self.html_baseurl = {}, ""

    config = Config()
    monkeypatch.delenv("BOOK_REPOSITORY", raising=False)
    bridge.site_options(None, config)
    assert config.html_theme_options == {}
    monkeypatch.setenv("BOOK_REPOSITORY", "https://example.org/book")
    bridge.site_options(None, config)
    assert config.html_theme_options["repository_url"] == "https://example.org/book"
