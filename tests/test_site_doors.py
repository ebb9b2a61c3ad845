"""Every name is a door: what code, prose, formulas and terms of the site lead to."""

import functools
import gzip
import html
import re
import textwrap

import notebooks
import pytest
import survey
from test_site import PAGES, SITE, address, browser, needs_browser

__all__ = ["address", "browser"]  # fixtures
CELL = re.compile(
    r'id="cell-(\w+)">(?:(?!id="cell-).)*?<div class="cell_input.*?<pre>(.*?)</pre>',
    re.S,
)


@functools.cache
def text(page):
    return (SITE / page).read_text("utf8")


catalog = functools.cache(survey.Catalog)


def read(source, module="", exported=False):
    """Words and what they mean."""
    doors = survey.Reader(catalog(), module).read(textwrap.dedent(source), exported)
    return [(door.word, door.target) for door in doors]


# What a name means -------------------------------------------------------------


def test_an_attribute_is_a_door_when_the_class_is_sure():
    doors = read("""
        from backprop_lit.network import Linear
        layer = Linear(2, 3, rng=rng)
        layer.forward(x), layer.parameters, unknown.forward(x)
    """)
    assert ("forward", "network.Linear.forward") in doors
    assert ("parameters", "layer.Layer.parameters") in doors
    assert len([word for word, _ in doors if word == "forward"]) == 1


def test_what_a_function_returns_has_doors():
    doors = read("""
        from backprop_lit import prove
        proof = prove(subject, (2, 3))
        proof.failures
    """)
    assert ("failures", "symbolic.Proof.failures") in doors


def test_a_name_bound_anew_is_no_door_from_there_on():
    doors = read("""
        from backprop_lit.network import Linear, Sequential
        Linear
        Linear = 3
        Linear, Sequential

        def f(Sequential):
            return Sequential
    """)
    assert [word for word, _ in doors].count("Linear") == 2
    assert [word for word, _ in doors].count("Sequential") == 2


@pytest.mark.parametrize(
    "ways",
    [
        "if x:\n    layer = Linear(2, 3)\nelse:\n    layer = Sequential()",
        "layer = Linear(2, 3)\nfor x in y:\n    layer.forward(x)\n    layer = x",
        "try:\n    layer = Linear(2, 3)\nexcept ValueError:\n    layer = 3",
        "for layer in (Linear(2, 3), Sequential()):\n    pass",
    ],
)
def test_where_two_ways_meet_there_is_no_door(ways):
    head = "from backprop_lit.network import Linear, Sequential\n"
    doors = read(f"{head}{ways}\nlayer.forward(x)")
    assert "forward" not in [word for word, _ in doors]


def test_self_of_a_wrong_layer_leads_to_what_it_inherits():
    doors = read("""
        from backprop_lit.layer import Layer

        class Wrong(Layer):
            def forward(self, x):
                return self.keep(x, x), self.backward
    """)
    assert ("keep", "layer.Layer.keep") in doors
    assert ("Wrong", "@Wrong") not in doors


def page(*sources, folder):
    import nbformat

    nb = nbformat.v4.new_notebook()
    for source in sources:
        new = nbformat.v4.new_code_cell if "#|" in source or "=" in source else None
        kind = new or nbformat.v4.new_markdown_cell
        kind = nbformat.v4.new_markdown_cell if source.startswith("%") else kind
        nb.cells.append(kind(source.removeprefix("%")))
    nbformat.write(nb, folder / "page.ipynb")
    return survey.survey(folder / "page.ipynb", catalog())


EQUATION = "%## A section\n\n$$ x $$ (eq-01-x)"
IMPORT = "from backprop_lit import Linear, prove; b = 1"


def test_a_proof_that_is_refuted_holds_nothing(tmp_path):
    wrong = "proof = prove(Linear(2, 3), (4, 2))\nassert not proof"
    right = "proof = prove(Linear(2, 3), (4, 2))\nassert proof"
    found = page(EQUATION, IMPORT, wrong, right, folder=tmp_path)
    assert [names for _, names in found.proofs] == [{"network.Linear"}]
    assert found.formulas[0].proof == found.cells[3].id
    assert found.formulas[0].near
    found = page(EQUATION, IMPORT, wrong, folder=tmp_path)
    assert found.formulas[0].proof == ""


def test_the_text_before_a_cell_says_which_formula_it_is_the_twin_of(tmp_path):
    cells = [
        "#| default_exp page",
        EQUATION,
        "%## Another",
        "%The twin of {eq}`eq-01-x`.",
        "#| export\ndef twin(x):\n    return x",
    ]
    found = page(*cells, folder=tmp_path)
    assert found.formulas[0].code == (found.cells[4].id,)
    cells[3] = "%This is not {eq}`eq-01-x`."
    assert page(*cells, folder=tmp_path).formulas[0].code == ()


# On the pages ------------------------------------------------------------------


@pytest.mark.parametrize("path", notebooks.notebooks(), ids=lambda path: path.stem)
def test_every_door_of_the_code_is_on_its_page(path):
    """Each name that is known and public is linked, wherever the cell is shown."""
    known = survey.survey(path, catalog())
    shown = dict(CELL.findall(text(f"nbs/{path.stem}.html")))
    names = notebooks.public_names()
    checked = 0
    for cell in known.cells:
        code = shown.get(cell.id)
        links = re.findall(r'<a class="name" href="[^"]+">(.*?)</a>', code or "")
        linked = [html.unescape(re.sub(r"<[^>]*>", "", link)) for link in links]
        for door in known.doors.get(cell.id, []) if code else []:
            module, _, name = door.target.partition(".")
            if name in names.get(module, ()):
                assert door.word in linked, (cell.id, door)
                checked += 1
    assert checked or path.stem in ("00_how_to_read", "99_figures")  # no chapters


def test_methods_private_names_and_modules_have_doors_too():
    found = text("nbs/08_matrices.html")
    for target in (
        "api.html#backprop_lit.network.Linear.forward",
        "api.html#backprop_lit.layer.Layer.keep",
        "api.html#module-backprop_lit.symbolic",
    ):
        assert f'<a class="name" href="{target}"' in found, target
    assert re.search(r'<a class="name" href="[^"]*#cell-\w+">_check_arguments', found)
    assert not re.search(r'<a class="name"[^>]*>(?:np|self|x)<', found)


def test_prose_leads_to_names_too():
    found = text("nbs/08_matrices.html")
    entry = "api.html#backprop_lit.network.Linear"
    assert re.search(rf'<a class="name[^"]*" href="{entry}"><code', found)
    for page in PAGES:
        start = text(page).find('id="the-same-in-pytorch"')
        section = text(page)[start:].partition("</section>")[0]
        assert start < 0 or not re.search(r'class="name[^>]*><code', section), page


def test_entries_of_the_api_tell_where_they_are_derived_proved_and_used():
    found = text("nbs/api.html")
    entry = found[found.index('id="backprop_lit.network.Linear"') :][:8000]
    line = re.search(r'<p class="doors">(.*?)</p>', entry, re.S)[1]
    words = re.sub(r"<[^>]*>", "", line)
    assert words.startswith("Derived in 8.4. Linear") or "Linear" in words
    for part in ("Derived in", "Formulas (8.", "Proved in", "Used in"):
        assert part in words, words
    assert re.search(r'href="1\d_\w+.html#cell-\w+"', line)
    assert found.count('<p class="doors">') >= 130


def test_each_labelled_equation_is_in_the_index_and_leads_there():
    index, total = text("nbs/formulas.html"), 0
    for page in PAGES:
        labels = re.findall(r'id="equation-(eq-[\w-]+)"', text(page))
        for label in labels:
            assert f'id="formula-{label}"' in index, (page, label)
            assert f'href="formulas.html#formula-{label}"' in text(page), label
        total += len(labels)
    assert total >= 200
    assert index.count('id="formula-') == total
    assert "no proof on the page" in index


def test_the_index_of_formulas_is_light():
    assert len(gzip.compress((SITE / "nbs/formulas.html").read_bytes())) < 150_000


def test_a_formula_knows_its_code_and_its_proof():
    index = text("nbs/formulas.html")
    entry = index[index.index('id="formula-eq-05-tanh"') :]
    entry = entry[: entry.index('id="formula-', 20)]
    assert 'href="api.html#backprop_lit.activations.Tanh"' in entry
    assert re.search(r'Proof</strong>\s*<a [^>]*href="05_activations.html#cell-', entry)


def test_every_public_name_is_in_the_index():
    index = text("nbs/identifiers.html")
    listed = re.findall(r"<dt[^>]*>.*?<span class=\"pre\">(\w+)</span>", index)
    public = [name for names in notebooks.public_names().values() for name in names]
    assert sorted(listed) == sorted(public)
    assert listed == sorted(listed, key=str.lower)


def test_no_title_of_a_term_shows_tex():
    titles = [
        title
        for page in PAGES
        for title in re.findall(
            r'<a class="[^"]*term[^"]*"[^>]*title="([^"]*)"', text(page)
        )
    ]
    assert len(titles) > 80
    assert not [title for title in titles if re.search(r"[\\{}$]|\^\w", title)]


# In a browser ------------------------------------------------------------------


@pytest.fixture
def tab(browser):
    tab = browser.new_page(viewport={"width": 1200, "height": 900})
    tab.faults = []
    tab.on("pageerror", lambda error: tab.faults.append(str(error)))
    tab.on(
        "console",
        lambda m: tab.faults.append(m.text) if m.type == "error" else None,
    )
    yield tab
    tab.close()


def tip(tab):
    tab.wait_for_selector("#door-tip:not([hidden])", timeout=3000)
    return tab.inner_text("#door-tip")


@needs_browser
def test_a_term_says_what_it_means_to_pointer_and_keyboard(tab, address):
    tab.goto(f"{address}/nbs/07_v_values.html")
    link = tab.locator("main a.term").first
    link.scroll_into_view_if_needed()
    tab.wait_for_timeout(300)
    link.hover()
    assert len(tip(tab)) > 20
    tab.keyboard.press("Escape")
    tab.wait_for_selector("#door-tip", state="hidden")
    link.evaluate("node => node.focus({focusVisible: true})")
    assert len(tip(tab)) > 20
    assert link.get_attribute("aria-describedby") == "door-tip"
    tab.keyboard.press("Escape")
    assert link.get_attribute("aria-describedby") is None
    assert tab.faults == []


@needs_browser
def test_a_tap_tells_first_and_leads_on_the_second(browser, address):
    context = browser.new_context(
        has_touch=True, viewport={"width": 390, "height": 800}
    )
    tab = context.new_page()
    tab.goto(f"{address}/nbs/07_v_values.html")
    link = tab.locator("main a.term").first
    link.scroll_into_view_if_needed()
    tab.wait_for_timeout(500)  # what comes into view is laid out, then stands still
    link.tap()
    assert len(tip(tab)) > 20
    box = tab.locator("#door-tip").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    link.tap()
    tab.wait_for_url("**/glossary.html#term-*")
    context.close()


FIND = """([label, letter]) => {
  const formula = document.getElementById(`equation-${label}`)
    ?? document.getElementById(`formula-${label}`);
  const found = [...formula.querySelectorAll(".katex-html .mathnormal")]
    .find((span) => span.textContent === letter);
  found.scrollIntoView({ block: "center", behavior: "instant" });
  return found;
}"""


def point(tab, label, letter):
    """Rest the pointer on a letter of a formula."""
    found = tab.evaluate_handle(FIND, [label, letter]).as_element()
    tab.wait_for_timeout(300)
    box = found.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x - 2, y)
    tab.mouse.move(x, y)


@needs_browser
@pytest.mark.parametrize(
    ("page", "label", "letter", "told"),
    [
        ("05_activations", "eq-05-collapse", "w", "a weight"),
        ("05_activations", "eq-05-gelu", "a", "inside the tanh"),
        ("05_activations", "eq-05-leaky", "c", "leaky ReLU"),
        ("10_gradient_descent", "eq-10-steepest", "s", "a step"),
        ("14_normalization", "eq-14-forward", "w", "scale"),
        ("14_normalization", "eq-14-v-var", "v", "v-value"),
        ("formulas", "eq-14-forward", "μ", "mean of a column"),
        ("formulas", "eq-05-collapse", "w", "a weight"),
    ],
)
def test_a_letter_means_what_its_chapter_says(tab, address, page, label, letter, told):
    tab.goto(f"{address}/nbs/{page}.html")
    point(tab, label, letter)
    assert told in tip(tab)
    assert tab.faults == []


@needs_browser
def test_the_letters_of_other_books_are_not_explained(tab, address):
    tab.goto(f"{address}/nbs/07_v_values.html")
    point(tab, "eq-07-index-forward", "w")
    tab.wait_for_timeout(600)
    assert not tab.is_visible("#door-tip")


@needs_browser
def test_the_number_of_a_formula_lists_its_letters_and_leads_to_its_code(tab, address):
    tab.goto(f"{address}/nbs/08_matrices.html")
    number = tab.locator("#equation-eq-08-forward a.number")
    number.evaluate("node => node.focus({focusVisible: true})")
    found = tip(tab)
    assert "weights" in found
    assert "bias" in found
    number.evaluate("node => node.click()")
    tab.wait_for_url("**/formulas.html#formula-eq-08-forward")
    assert tab.faults == []


SEARCHES = {  # what must be among the first one or two results
    "cross-entropy": ("term-cross-entropy", 1),
    "v-value": ("term-v-value", 1),
    "Linear": ("backprop_lit.network.Linear", 1),
    "gradcheck": ("backprop_lit.differences.gradcheck", 2),
    "stable sigmoid": ("equation-eq-05-stable-sigmoid", 1),
    "steepest": ("equation-eq-10-steepest", 2),
    "learning rate": ("term-learning-rate", 1),
    "softmax backward": ("equation-eq-05-softmax-backward", 1),
}


@needs_browser
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_the_search_finds_formulas_terms_and_names(tab, address, scheme):
    base = address if scheme == "http" else SITE.as_uri()
    for query, (wanted, within) in SEARCHES.items():
        tab.goto(f"{base}/search.html?q={query.replace(' ', '+')}")
        tab.wait_for_function(
            "document.querySelectorAll('#search-results li').length > 2"
        )
        links = tab.eval_on_selector_all(
            "#search-results li > a", "list => list.map(node => node.href)"
        )
        found = [link.rpartition("#")[2] for link in links[:within]]
        assert wanted in found, (query, links[:4])
