"""Every page, for every reader: valid, quiet, light, and open to keyboard and ear."""

import functools
import re

import access
import linkcheck
import pytest
import report
from test_site import SITE, address, browser, needs_browser

__all__ = ["address", "browser"]  # fixtures
PAGES = report.pages()
JUDGES = report.TOOLS / "node_modules"


@pytest.fixture(scope="module")
def found(browser, address):
    """What the browser finds on a page, which is loaded once for all tests."""
    assert (JUDGES / "axe-core").exists(), "make test installs axe-core"
    return functools.cache(
        functools.partial(report.examine, browser, address, whole=False)
    )


# In the browser ------------------------------------------------------------------


@needs_browser
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_quiet_self_contained_and_fits(found, page):
    assert found(page).errors == []
    assert found(page).foreign == []
    assert found(page).overflow == {}


@needs_browser
@pytest.mark.parametrize("page", PAGES)
def test_a_first_visit_is_light(found, page):
    assert sum(found(page).weight.values()) <= 1000 * report.KILOBYTES


@needs_browser
@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_nothing_and_every_text_has_contrast(found, page):
    assert found(page).light == []
    assert found(page).dark == []


@needs_browser
@pytest.mark.parametrize("page", PAGES)
def test_headings_formulas_and_what_scrolls_are_in_order(found, page):
    assert found(page).structure == []


FOCUSED = """() => {
    const at = document.activeElement, style = getComputedStyle(at);
    const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
    const label = at.closest("label");
    const mark = label && getComputedStyle(label, "::after").outlineStyle !== "none";
    return {seen: ring || Boolean(mark), what: at.outerHTML.slice(0, 80)};
}"""


@needs_browser
@pytest.mark.parametrize("page", ["nbs/index.html", "nbs/07_v_values.html"])
def test_the_focus_is_seen_wherever_it_goes(browser, address, page):
    tab = browser.new_page(viewport={"width": 1000, "height": 700})
    tab.goto(f"{address}/{page}", wait_until="load")
    for _ in range(40):
        tab.keyboard.press("Tab")
        focused = tab.evaluate(FOCUSED)
        assert focused["seen"], focused["what"]
    tab.close()


@needs_browser
def test_the_first_key_leads_past_the_contents(browser, address):
    tab = browser.new_page(viewport={"width": 1400, "height": 900})
    tab.goto(f"{address}/nbs/07_v_values.html", wait_until="load")
    tab.keyboard.press("Tab")
    skip = tab.locator("a:focus")
    assert skip.get_attribute("href") == "#main-content"
    assert skip.bounding_box()["y"] >= 0
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.closest('main') !== null")
    tab.close()


@needs_browser
def test_nothing_moves_for_those_who_want_less_motion(browser, address):
    tab = browser.new_page(reduced_motion="reduce")
    tab.goto(f"{address}/nbs/07_v_values.html", wait_until="load")
    longest = tab.evaluate("""() => Math.max(...[...document.querySelectorAll("*")].map(
        (one) => Math.max(...["transitionDuration", "animationDuration"].flatMap(
            (name) => getComputedStyle(one)[name].split(",").map(parseFloat)))))""")
    tab.close()
    assert longest <= 0.001


# Without one ---------------------------------------------------------------------


def test_every_page_is_valid_html():
    assert (JUDGES / "html-validate").exists(), "make test installs html-validate"
    faults = report.validate(["index.html", *PAGES], whole=False)
    assert {page: some for page, some in faults.items() if some} == {}


def head_of(page):
    return (SITE / page).read_text("utf8").partition("</head>")[0]


@pytest.mark.parametrize("page", ["index.html", *PAGES])
def test_a_page_says_in_its_head_what_it_is(page):
    head = head_of(page)
    assert re.search(r"<title>\s*[^<\s][^<]*</title>", head)
    told = re.findall(r'<meta name="description" content="([^"]*)"', head)
    assert len(told) == 1
    assert 30 <= len(told[0]) <= access.LONGEST + 50
    assert '<html lang="en"' in head
    assert "noindex" not in head


def test_no_two_pages_say_that_they_are_the_same():
    for pattern in (r"<title>([^<]*)", r'<meta name="description" content="([^"]*)'):
        said = [re.search(pattern, head_of(page))[1].strip() for page in PAGES]
        assert len(set(said)) == len(said)


# The judges see, and the mends mend ------------------------------------------------

GOOD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
</head>
<body><main><h1>A page</h1>{}</main></body></html>"""
FAULTS = {
    "errors": "<script>console.error('a fault')</script>",
    "foreign": "<img alt='' src='http://127.0.0.2:9/picture.png'>",
    "overflow": "<div style='width: 900px'>wide</div>",
    "light": "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>",
    "dark": "<style>[data-theme=dark] p { color: #eee }</style><p>pale</p>",
    "structure": "<h3>after h1</h3>",
}
MORE = {
    "a drawing": (
        "light",
        "<svg role=img aria-label=drawn><rect width=90 height=90 fill=#004></rect>"
        "<text x=10 y=40 fill=#333>dim</text></svg>",
    ),
    "a fold": ("light", "<details><summary>fold</summary><p style='color: #ccc'>pale"),
    "a formula": ("structure", "<span class=katex><i class=katex-html>x</i></span>"),
    "a region": (
        "structure",
        "<pre style='overflow: auto; width: 99px'>one very long line of code</pre>",
    ),
}


@needs_browser
@pytest.mark.parametrize("name", ["nothing", *FAULTS, *MORE])
def test_the_browser_finds_what_is_wrong(browser, tmp_path, name):
    kind, fault = (name, FAULTS[name]) if name in FAULTS else MORE.get(name, ("", ""))
    (tmp_path / "page.html").write_text(GOOD.format(fault))
    with report.serve(tmp_path) as address:
        seen = report.examine(browser, address, "page.html", whole=False)
    wrong = {field: some for field in FAULTS if (some := getattr(seen, field))}
    assert kind in wrong if kind else wrong == {}


def test_dead_links_are_found(tmp_path):
    (tmp_path / "other.html").write_text(GOOD.format("<h2 id=there>There</h2>"))
    links = "".join(
        f'<a href="{link}">x</a>'
        for link in ("other.html#there", "other.html#gone", "no.html", "#", "#nor")
    )
    (tmp_path / "page.html").write_text(GOOD.format(links))
    assert report.dead("page.html", tmp_path) == ["other.html#gone", "no.html", "#nor"]


def test_an_external_link_is_dead_where_no_page_answers(tmp_path):
    (tmp_path / "page.html").write_text(GOOD.format(""))
    with report.serve(tmp_path) as address:
        assert linkcheck.answer(f"{address}/page.html") == "ok"
        assert linkcheck.answer(f"{address}/gone.html").startswith("dead: 404")
    assert linkcheck.answer(f"{address}/page.html").startswith("dead")


def test_drawn_formulas_are_cut_out_whole():
    text = '<b>a</b><span class="katex-html" aria-hidden="true"><span>x</span></span>!'
    assert report.undrawn(text + text) == "<b>a</b>!<b>a</b>!"


def test_a_figure_does_not_weigh(tmp_path):
    light, heavy = tmp_path / "light.html", tmp_path / "heavy.html"
    light.write_text(GOOD.format("text"))
    drawing = "".join(f"<path d='M{i}'/>" for i in range(999))
    heavy.write_text(GOOD.format(f"text<figure class='picture'>{drawing}</figure>"))
    assert report.transferred(heavy) == report.transferred(light)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "<head></head><body><div><style>a{}</style>x</div><style>a{}</style>y",
            "<head><style>a{}</style></head><body><div>x</div>y",
        ),
        (
            '<summary aria-label="Toggle hidden content"><p class="c">Show</p>'
            "</summary>",
            '<summary><span class="c">Show</span></summary>',
        ),
        ("<p><ul>\n<li><p>a</p></li></ul>\n</p>", "<ul>\n<li><p>a</p></li></ul>"),
        ("<p>a</p><ul><li>b</li></ul><p>c</p>", "<p>a</p><ul><li>b</li></ul><p>c</p>"),
        (
            '<thead><tr><th scope="col"></th><th>a</th></tr></thead>'
            "<tr><th>b</th></tr>",
            '<thead><tr><td></td><th scope="col">a</th></tr></thead>'
            '<tr><th scope="row">b</th></tr>',
        ),
        ('<div role="doc-biblioentry">', '<div role="listitem">'),
    ],
)
def test_a_mend_mends(before, after):
    assert access.mend(before) == after
