"""Pictures: they follow the theme, can be heard, and refuse what would not show."""

import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT

from backprop_lit import figures
from backprop_lit.figures import (
    BACKWARD,
    DARK,
    FORWARD,
    LIGHT,
    LOSS,
    MUTED,
    PARAMETER,
    Arrow,
    Frame,
    Picture,
    Step,
    Touch,
    Vertex,
    Walk,
    contrast,
    diagram,
    drawing,
    network_diagram,
    plots,
    shades,
    show,
    slider,
    sliding,
    table,
    typeset,
    walks,
)

SAID = {"title": "A title", "alt": "What there is to see."}


def curves():
    fig, axes = plots(1, 2)
    axes[0].plot([0, 1], [0, 1], label="$f(d_1)$")
    axes[0].scatter([0, 1], [1, 0])
    axes[0].fill_between([0, 1], [0, 1], alpha=0.3)
    axes[0].axhline(0.5)
    axes[0].grid(True)
    axes[0].legend()
    axes[0].set_title("50 % of <h>")
    axes[1].loglog([1, 10], [1e-3, 1])
    axes[1].set_xlabel("step $\\theta_{11}$")
    return show(fig, "Curves", "Two plots.", "See $w_11$.")


def pixels():
    fig, ax = plots()
    ax.imshow(np.eye(3), cmap=shades(FORWARD, below=BACKWARD))
    return show(fig, "Pixels", "A diagonal.")


def network():
    return network_diagram(
        [["x_1", "x_2"], ["N_1", "N_2"], ["e"]],
        weights={("x_1", "N_1"): "w_1"},
        forward={"N_1": ["d = 1", "h = 1/2"]},
        backward={"N_1": "v = -5/64"},
        biases={"N_1": "b = -2"},
        paths=[["x_1", "N_1", "e"]],
        loss="e",
        headings=["inputs", "hidden", "loss"],
        mirrored=True,
        **SAID,
    )


def graph():
    edges = [("a", "b"), ("a", "b", "2"), ("b", "c"), ("a", "c"), ("w", "c")]
    return diagram(edges, colors={"c": LOSS}, forward={"a": "3"}, **SAID)


STEPS = [
    Step("b", "forward", "$b = 3 + 3$", {"b": "6"}, [("a", "b")]),
    Step("b", "backward", "$v_b = 1$", {"b": "v = 1", "a": "v = 1 + …"}, [("a", "b")]),
    Step("a", "backward", "$v_a = 2$", {"a": "v = 2"}, (), "$g = 2$"),
]


def stepped(steps=STEPS):
    return diagram([("a", "b"), ("a", "b")], forward={"a": "3"}, steps=steps, **SAID)


def slid():
    fig, ax = plots()
    for k in range(3):
        ax.plot([0, 1], [0, k], marker="o", gid=f"at {k}")
    frames = [Frame(f"slope {k}", f"slope ${k}$") for k in range(3)]
    return slider(fig, "slope", frames, home=1, **SAID)


def convolved():
    return sliding(np.eye(3), [[1, -1]], [[1, 0], [-1, 1], [0, -1]], **SAID)


def walked(start=(1, 1)):
    fig, ax = plots()
    ax.set(xlim=(-1, 2), ylim=(-1, 2))
    paths = {
        "one": Walk([(1, 1), (0.5, 1)], FORWARD, "SGD", {"lr": 0.25}),
        "two": Walk([start, (0, 1)], BACKWARD, "SGD", {"lr": 0.5}),
    }
    return walks(fig, ax, {(2, 0): 1}, paths, **SAID)


MAKERS = (curves, pixels, network, graph, stepped, slid, convolved, walked)
named = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


def ids(picture):
    return re.findall(r' id="([^"]+)"', picture.svg)


def parts(picture):
    """Each <svg> of a picture, parsed."""
    return list(ET.fromstring(f"<div>{picture.svg}</div>"))


@named
def test_names_are_the_same_in_every_run(make):
    assert make()._repr_html_() == make()._repr_html_()
    code = (
        "import sys; sys.path[:0] = ['tests', 'book']\n"
        f"import test_figures as t; print(*t.ids(t.{make.__name__}()))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert other.stdout.split() == ids(make())


def test_names_differ_between_pictures_and_every_reference_is_met():
    pictures = [make() for make in MAKERS]
    every = [name for picture in pictures for name in ids(picture)]
    assert len(every) == len(set(every))
    for picture in pictures:
        used = re.findall(r'(?:href="|url\()#([^")]+)', picture.svg)
        assert set(used) <= set(ids(picture))


@named
def test_every_color_is_a_variable_of_the_theme(make):
    svg = make().svg
    tags = re.findall(r"<[^>]+>", svg)
    found = set()
    for tag in tags:
        bare = re.sub(r"var\(--[\w-]+,#[0-9A-F]{6}\)|href=\"[^\"]*\"", "", tag)
        assert not re.search(r"#[0-9a-fA-F]{3,6}\b|rgb|black|white", bare), tag
        found |= set(re.findall(r"var\(--([\w-]+),(#\w+)\)", tag))
    assert found
    assert all(LIGHT[name] == color for name, color in found)


@named
def test_letters_are_text_in_shades_for_text(make):
    svg = make().svg
    for tag in re.findall(r"<text[^>]*>", svg):
        for name in re.findall(r"var\(--([\w-]+),", tag):
            assert name == "muted" or name.endswith("-text"), tag
    assert "DejaVu" not in svg
    assert "STIXGeneral" not in svg


@named
def test_a_picture_has_a_role_a_title_and_a_description(make):
    picture = make()
    first, *rest = parts(picture)
    space = "{http://www.w3.org/2000/svg}" if "xmlns" in picture.svg else ""
    title, words = first.find(f"{space}title"), first.find(f"{space}desc")
    assert first.get("role") == "img"
    assert first.get("aria-labelledby").split() == [title.get("id"), words.get("id")]
    assert (title.text, words.text) == (picture.title, picture.alt)
    assert all(part.get("aria-hidden") == "true" for part in rest)
    assert repr(picture) == f"{picture.title}: {picture.alt}"


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_of_lines_and_of_letters_on_the_paper(theme):
    for name in ("forward", "backward", "parameter", "loss", "muted"):
        assert contrast(theme[name], theme["paper"]) >= 3, name
        text = theme.get(f"{name}-text", theme[name])
        assert contrast(text, theme["paper"]) >= 4.5, name


def test_contrast_is_that_of_the_guidelines():
    # Values of the definition for pure colors on white: 21, 1, 4.00 (red), 1.37 (lime).
    pairs = {"#000000": 21, "#FFFFFF": 1, "#FF0000": 3.998, "#00FF00": 1.372}
    for color, expected in pairs.items():
        assert contrast(color, "#FFFFFF") == pytest.approx(expected, abs=1e-3)
        assert contrast("#FFFFFF", color) == contrast(color, "#FFFFFF")


def test_the_site_sets_these_colors(tmp_path):
    pytest.importorskip("sphinx")
    import bridge

    (tmp_path / "_static").mkdir()
    html = SimpleNamespace(format="html")
    app = SimpleNamespace(outdir=tmp_path, builder=html)
    bridge.write_palette(app, None)
    sheet = (tmp_path / "_static" / "palette.css").read_text("utf8").upper()
    for theme in (LIGHT, DARK):
        for name, color in theme.items():
            assert re.search(rf"--{name.upper()}: ?{color}", sheet), name


def test_formulas_of_a_plot_are_typeset_as_in_a_drawing():
    svg = curves().svg
    assert 'class="letter">f</tspan>' in svg
    assert "θ" in svg
    assert "mathdefault" not in svg
    assert ">50 % of &lt;h&gt;</text>" in svg
    assert re.search(r">10</tspan><tspan[^>]*>−3</tspan>", svg)


def test_a_narrow_page_may_cut_between_two_plots_and_not_elsewhere():
    views = [tuple(map(float, p.get("viewBox").split())) for p in parts(curves())]
    (left, _, wide, _), (start, _, rest, _) = views
    assert left == 0
    assert start == pytest.approx(wide)
    assert wide + rest == pytest.approx(720)
    assert len(parts(pixels())) == 1


def test_cards_of_a_column_do_not_touch():
    columns = [["a"], [f"n_{k}" for k in range(5)], ["z"]]
    words = {name: ["d = 1", "h = 2", "v = 3"] for name in columns[1]}
    picture = network_diagram(columns, forward=words, **SAID)
    boxes = [
        [float(rect.get(key)) for key in ("x", "y", "width", "height")]
        for rect in parts(picture)[0].iter()
        if rect.tag.endswith("rect")
    ]
    assert len(boxes) == 7
    for (x, y, w, h), (p, q, u, v) in itertools.combinations(boxes, 2):
        assert x + w < p or p + u < x or y + h < q or q + v < y


@pytest.mark.parametrize(
    ("edges", "layers"),
    [
        ([("a", "b"), ("b", "c"), ("a", "c")], [["a"], ["b"], ["c"]]),
        (
            [("x", "m"), ("w", "m"), ("m", "d"), ("b", "d")],
            [["x", "w"], ["m", "b"], ["d"]],
        ),
    ],
)
def test_a_column_is_the_length_of_the_longest_path(edges, layers):
    names = list(dict.fromkeys(name for edge in edges for name in edge))
    assert figures._layers(names, edges) == layers


def test_an_edge_goes_around_a_node_in_its_way_and_twins_go_apart():
    places = {name: Vertex(name, 100.0 * k, 0, name) for k, name in enumerate("abc")}
    around = figures._route(Arrow("a", "c"), places)
    assert not figures._hits(around, places["b"])
    assert figures._hits(figures._curve(places["a"], places["c"], 0), places["b"])
    one, two = figures._fan([("a", "b"), ("a", "b")], [])
    assert one.bend == -two.bend != 0


def test_an_arrow_between_wide_cards_that_stand_close_is_straight():
    wide = Vertex("b", 120, 0, "a label that is much wider than the gap")
    assert wide.extent()[0] > 80
    x, y = wide.border((60, 0))
    assert (x, y) == (120 - wide.extent()[0], 0)


def test_mirrored_shows_every_neuron_twice_and_the_inputs_once():
    words = re.sub(r"<[^>]+>|\u200b", "", network().svg)
    assert words.count("N1") == 2
    assert words.count("x1") == 1


def test_exp_is_written_out():
    import sympy

    d = sympy.Symbol("d", real=True)
    latex = typeset(
        "f", 1 / (1 + sympy.exp(-d)), sympy.log(d) + sympy.exp(d) ** 2
    ).latex
    assert "e^" not in latex
    assert latex.count(r"\exp") == 2
    assert r"\ln" in latex
    assert latex.startswith(r"\begin{aligned} f &=")
    assert typeset("a", "b")._repr_latex_() == "$$\na = b\n$$"


def test_a_table_is_read_by_its_headings():
    from fractions import Fraction

    made = table(
        [["$w_1$", -0.25, Fraction(7, 32), 1.5e-11]],
        ["weight", "$h$", "$v$", "error"],
        "Values.",
        colors=[PARAMETER, FORWARD, BACKWARD, None],
    )
    page = made._repr_html_()
    assert page.count('scope="col"') == 4
    assert page.count('scope="row"') == 1
    assert "<caption>Values.</caption>" in page
    assert "−0.25" in page
    assert "7/32" in page
    assert "1.5\u2009·\u200910<sup>−11</sup>" in page
    assert "color:var(--forward-text" in page
    assert repr(made).splitlines()[2].split() == [
        "w_1",
        "−0.25",
        "7/32",
        "1.5·10^{−11}",
    ]


def seen(touch, frame):
    """What the static picture shows, or what a frame shows: its texts in order."""
    found = []

    def walk(node, hidden):
        at = node.get("data-at")
        if at is not None:
            home = node.get("visibility") == "hidden"
            hidden = hidden or (
                home if frame is None else frame not in map(int, at.split())
            )
        if node.tag == "text" and not hidden:
            found.append("".join(node.itertext()).replace("\u200b", ""))
        for child in node:
            walk(child, hidden)

    walk(parts(touch)[0], False)
    return found


def test_steps_put_numbers_on_cards_and_the_picture_itself_shows_the_end():
    touch = stepped()
    assert isinstance(touch, Touch)
    shown = [sorted(seen(touch, k)) for k in range(4)]
    assert shown[0] == ["3", "a", "b"]
    assert shown[1] == ["3", "6", "a", "b"]
    assert shown[2] == ["3", "6", "a", "b", "v = 1", "v = 1 + …"]
    assert shown[3] == ["3", "6", "a", "b", "v = 1", "v = 2"]
    assert sorted(seen(touch, None)) == shown[3]


def test_arrows_light_up_along_the_way_and_rest_in_the_picture_itself():
    tree = parts(stepped())[0]
    lit = {}
    for group in tree.iter("g"):
        wide = [q for q in group.findall("path") if q.get("stroke-width") == "3"]
        if wide:
            assert group.get("visibility") == "hidden"
            color = re.search(r"--(\w+)", wide[0].get("stroke"))[1]
            lit.setdefault((group.get("data-at"), color), []).append(wide[0])
    assert {key: len(paths) for key, paths in lit.items()} == {
        ("1", "forward"): 2,
        ("2", "backward"): 2,
    }


def test_the_words_of_every_frame_stand_in_the_page():
    page = stepped()._repr_html_()
    items = re.findall(r"<li.*?</li>", page)
    assert len(items) == 4
    assert "Step 3 of 3, backward" in items[3]
    assert "var(--backward-text" in items[3]
    assert "var(--parameter-text" in items[3]
    assert page.count('<script class="touch-source">') == 1
    assert "</script" not in (ROOT / "backprop_lit/assets/touch.js").read_text("utf8")


def test_a_slider_shows_one_frame_and_always_what_does_not_move():
    touch = slid()
    groups = [g for g in parts(touch)[0].iter("g") if g.get("data-at")]
    assert [g.get("data-at") for g in groups] == ["0", "1", "2"]
    assert [g.get("visibility") for g in groups] == ["hidden", None, "hidden"]
    assert touch.start == 1


def test_a_kernel_slides_over_every_place():
    touch = convolved()
    assert len(touch.frames) == 1 + 6
    assert "0\u202f·\u202f1 + 1\u202f·\u202f(−1) = −1" in re.sub(
        "<[^>]*>", "", touch.frames[3]._repr_html_()
    )


def viridis():
    figure, axes = plots()
    axes.imshow(np.eye(2))
    return figure


MISTAKES = {
    "the color #123456": lambda: Picture('<g fill="#123456"/>', 9, 9, **SAID),
    "the color red": lambda: Picture('<rect fill="red"/>', 9, 9, **SAID),
    "the color #f00": lambda: Picture('<rect stroke="#f00"/>', 9, 9, **SAID),
    "the color #FF0000AA": lambda: Picture('<g fill="#FF0000AA"/>', 9, 9, **SAID),
    "the color rgb(1,2,3)": lambda: Picture(
        '<g style="opacity: 1; fill: rgb(1,2,3)"/>', 9, 9, **SAID
    ),
    "the color blue": lambda: diagram([("a", "b")], colors={"a": "blue"}, **SAID),
    "cmap=shades(…), got 'viridis'": lambda: show(viridis(), **SAID),
    "at least one node": lambda: diagram([], **SAID),
    "a path wants edges that are there, got ('a', 'z')": lambda: diagram(
        [("a", "b")], paths=[["a", "z"]], **SAID
    ),
    "are there, got ('b', 'a')": lambda: network_diagram(
        [["a"], ["b"]], paths=[["b", "a"]], **SAID
    ),
    "2 columns wants no more headings": lambda: network_diagram(
        [["a"], ["b"]], headings=["x", "y", "z"], **SAID
    ),
    "a title and an alternative text": lambda: Picture("", 9, 9, title=" ", alt="x"),
    "dollar signs in pairs": lambda: Picture(
        "", 9, 9, caption="$w", **SAID
    )._repr_html_(),
    "names that differ": lambda: drawing(
        [Vertex("a", 0, 0), Vertex("a", 1, 1)], [], **SAID
    ),
    "got 'z'": lambda: drawing([Vertex("a", 0, 0)], [Arrow("a", "z")], **SAID),
    "one of the edges": lambda: network_diagram(
        [["a"], ["b"]], weights={("b", "a"): "w"}, **SAID
    ),
    "a label wants one of ['a', 'b'], got 'q'": lambda: diagram(
        [("a", "b")], backward={"q": "1"}, **SAID
    ),
    "no cycle, got one in ['a', 'b']": lambda: diagram(
        [("a", "b"), ("b", "a")], **SAID
    ),
    "places for all nodes, got none for ['b']": lambda: diagram(
        [("a", "b")], places={"a": (0, 0)}, **SAID
    ),
    "got \\frac": lambda: network_diagram(
        [["a"]], labels={"a": r"\frac{1}{2}"}, **SAID
    ),
    "at least one expression": typeset,
    "a step wants vertices and arrows": lambda: stepped(
        [Step("z", "forward", "", {}, ())]
    ),
    "of the drawing, forward or backward": lambda: stepped(
        [Step("b", "sideways", "", {}, ())]
    ),
    "got Step(vertex='b', way='forward', words='', shows={}, reads=[('b', 'a')]": (
        lambda: stepped([Step("b", "forward", "", {}, [("b", "a")])])
    ),
    "got 'slope' and frame 1 of 1": lambda: slider(
        plots()[0], "slope", [Frame("one", "")], home=1, **SAID
    ),
    "a result of shape (3, 2), got (3, 3)": lambda: sliding(
        np.eye(3), [[1, -1]], np.eye(3), **SAID
    ),
    "sums of products, got 9": lambda: sliding(
        np.eye(3), [[1, -1]], [[9, 0], [-1, 1], [0, -1]], **SAID
    ),
    "walks wants one start": lambda: walked((2, 2)),
    "2 entries in row 1, got 1": lambda: table([[1, 2], [3]], ["a", "b"]),
    "2 entries in colors, got 1": lambda: table([[1, 2]], ["a", "b"], colors=[MUTED]),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_is_named(message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MISTAKES[message]()
