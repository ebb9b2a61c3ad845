"""What the reader of chapter 3 need not see: random programs, depth, bad input."""

import gc
import re

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop_lit.differences import complex_step_gradient, numerical_gradient
from backprop_lit.graph import (
    RULES,
    Node,
    Rule,
    absolute,
    count_paths,
    draw,
    exp,
    maximum,
    minimum,
    power,
    relu,
    replay,
    sigmoid,
    sin,
    step_through,
    sweep,
    tanh,
    topological_order,
    v_values,
    weighted_sum,
)
from backprop_lit.symbolic import prove, symbols

SMOOTH = [n for n in RULES if n not in ("maximum", "minimum", "relu", "absolute")]
STEPS = ("add", "subtract", "multiply", "negative", "tanh", "sin", "sigmoid")
numbers = st.floats(-2, 2).map(lambda x: round(x, 3))
programs = st.lists(
    st.tuples(st.sampled_from(STEPS), st.integers(0, 99), st.integers(0, 99)),
    min_size=1, max_size=25,
)


def run(program, leaves):
    """Take the steps; each reads two of the quantities that are there already."""
    quantities = list(leaves)
    for name, i, j in program:
        inputs = [quantities[i % len(quantities)], quantities[j % len(quantities)]]
        quantities.append(RULES[name](*inputs[: len(RULES[name].derivatives)]))
    return quantities[-1]


def recorded(program, values):
    leaves = [Node(x) for x in values]
    return leaves, run(program, leaves)


@settings(max_examples=300, deadline=None)
@given(programs, st.lists(numbers, min_size=3, max_size=3))
def test_random_programs_agree_with_the_complex_step(program, values):
    leaves, e = recorded(program, values)
    x = np.array(values)
    wanted = [
        np.imag(run(program, [*x[:k], x[k] + 1e-30j, *x[k + 1 :]])) / 1e-30
        for k in range(3)
    ]
    v = v_values(e)
    came = np.array([float(v[leaf]) for leaf in leaves])
    np.testing.assert_allclose(came, wanted, rtol=1e-9, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(programs, st.lists(numbers, min_size=3, max_size=3))
def test_every_intermediate_v_is_the_slope_that_nudging_measures(program, values):
    _, e = recorded(program, values)
    order, v = topological_order(e), v_values(e)
    for q in order[:: max(1, len(order) // 4)]:
        measured = numerical_gradient(
            lambda x, q=q: replay(order, {q: x})[0][e], np.float64(q.value)
        )
        np.testing.assert_allclose(float(v[q]), measured, rtol=1e-5, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.lists(
    st.tuples(st.sampled_from(("add", "subtract", "multiply")),
              st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=6))
def test_random_programs_on_symbols_agree_with_sympy(program):
    a, b = symbols("a", ()), symbols("b", ())
    leaves, e = recorded(program, (a, b))
    v = v_values(e)
    value = sympy.sympify(getattr(e.value, "expression", e.value))
    for leaf, symbol in zip(leaves, (a, b), strict=True):
        came = getattr(v[leaf], "expression", v[leaf])
        assert sympy.expand(came - sympy.diff(value, symbol.expression)) == 0


@settings(max_examples=100, deadline=None)
@given(programs, st.lists(numbers, min_size=2, max_size=2))
def test_the_order_and_the_counts_of_random_programs(program, values):
    _, e = recorded(program, values)
    order = topological_order(e)
    place = {node: k for k, node in enumerate(order)}
    assert len(place) == len(order)
    assert order[-1] is e
    assert all(place[x] < place[q] for q in order for x in q.inputs)

    def walk(q, target):
        return (q is target) + sum(walk(x, target) for x in q.inputs)

    paths = count_paths(e)
    if sum(paths.values()) < 10_000:
        assert all(walk(e, q) == paths[q] for q in order)


@pytest.mark.parametrize("name", SMOOTH)
def test_rules_against_the_complex_step_on_floats_and_arrays(name):
    rule = RULES[name]
    rng = np.random.default_rng(0)
    x = rng.uniform(0.4, 1.8, (len(rule.derivatives), 5))
    slopes = rule.slopes(rule.forward(*x), *x)
    for k, slope in enumerate(slopes):
        def f(row, k=k):
            return rule.forward(*[row if m == k else x[m] for m in range(len(x))]).sum()
        wanted = complex_step_gradient(f, x[k])
        np.testing.assert_allclose(np.broadcast_to(slope, 5), wanted, rtol=1e-13)
        for j in range(5):
            one = rule(*[Node(float(y)) for y in x[:, j]])
            assert np.isclose(one.slopes[k], wanted[j], rtol=1e-13, atol=0)
            assert type(one.slopes[k]) is not np.ndarray


def test_conventions_at_corners():
    zero = Node(0.0)
    assert relu(zero).slopes == (0,)
    assert absolute(zero).slopes == (0,)
    assert maximum(zero, 0.0).slopes == minimum(zero, 0.0).slopes == (0.5, 0.5)
    assert v_values(maximum(zero, zero))[zero] == 1
    assert [absolute(Node(x)).slopes[0] for x in (-2.0, 3.0)] == [-1, 1]


@pytest.mark.parametrize(("exponent", "slope"), [(0, 0), (0.0, 0), (1, 1), (2, 0)])
def test_powers_at_zero(exponent, slope):
    a = Node(0.0)
    assert v_values(a**exponent)[a] == slope
    both = Node(float(exponent))
    v = v_values(power(a, both))
    assert (v[a], v[both]) == (slope, 0)
    rows = np.array([0.0, 2.0])
    by_a, by_b = RULES["power"].slopes(rows**exponent, rows, float(exponent))
    np.testing.assert_allclose(by_a, [slope, exponent * 2.0 ** (exponent - 1)])
    np.testing.assert_allclose(by_b, [0, 2.0**exponent * np.log(2)])


def test_a_power_with_an_infinite_slope_is_refused():
    for exponent in (0.5, -1):
        with pytest.raises(ZeroDivisionError):
            Node(0.0) ** exponent


def test_the_left_tail_of_the_sigmoid_keeps_its_digits():
    a = np.array([-700.0, -40.0, -20.0, 0.0, 20.0, 800.0, -800.0])
    h = RULES["sigmoid"].forward(a)
    np.testing.assert_allclose(h[:3], np.exp(a[:3]) / (1 + np.exp(a[:3])), rtol=1e-15)
    assert (h[3], h[5], h[6]) == (0.5, 1, 0)
    slope = sigmoid(Node(-40.0)).slopes[0]
    assert np.isclose(slope, np.exp(-40), rtol=1e-14, atol=0)


def test_conventions_reach_further_than_their_corners():
    a = Node(0.0)
    assert v_values(relu(a) - relu(-a))[a] == 0  # the slope is 1


def test_numpy_integers_are_python_numbers():
    e = Node(np.int64(2)) ** Node(-1)
    assert e.value == 0.5
    big = Node(np.int64(2**62))
    assert (big * 4).value == 2**64


def test_a_node_elsewhere_moves_nothing():
    a, stranger = Node(3.0), Node(1.0)
    e = a * a
    assert replay(topological_order(e), {stranger: 5.0})[0][e] == 9


def test_a_plain_exponent_is_held_also_at_a_negative_base():
    a = Node(-2.0)
    for e in (a**3, power(a, 3)):
        assert len(e.inputs) == 1
        assert v_values(e)[a] == 12
    assert len(v_values(2 ** Node(3.0))) == 3


def test_depth_of_a_hundred_thousand_made_swept_drawn_from_and_forgotten():
    first = last = Node(0.5)
    for _ in range(100_000):
        last = -last
    assert last.level == 100_000
    assert v_values(last)[first] == 1
    assert count_paths(last)[first] == 1
    values, slopes = replay(topological_order(last), {first: 2.0})
    assert values[last] == 2
    del values, slopes, last
    gc.collect()


def test_exponentially_many_paths():
    first = last = Node(1.0)
    for _ in range(1000):
        last = last + last
    assert count_paths(last)[first] == v_values(last)[first] == 2**1000


def test_a_second_sweep_gives_the_same_answer():
    a, b = Node(0.3), Node(-1.2)
    e = tanh(a * b) * exp(a) + a * a
    once, twice = v_values(e), v_values(e)
    assert dict(once) == dict(twice)
    assert v_values(e + e)[a] == 2 * once[a]
    assert dict(v_values(e)) == dict(once)


def test_what_is_not_read_has_v_zero_and_two_edges_count_twice():
    a, b = Node(3.0), Node(2.0)
    v = v_values(a * a)
    assert v[a] == 6
    assert v[b] == 0
    assert b not in v
    assert (a * a).inputs == (a, a)
    assert v_values(a)[a] == 1
    assert v_values(a * 0 + 1)[a] == 0


def test_one_definition_serves_numbers_arrays_and_nodes():
    def f(x):
        return sin(x * x) + exp(-x) / (1 + x**2)

    x = np.linspace(-1, 1, 7)
    rows = f(x)
    np.testing.assert_allclose([f(Node(float(q))).value for q in x], rows)


def test_replay_of_many_samples_equals_one_by_one():
    rng = np.random.default_rng(1)
    w = [Node(q) for q in rng.standard_normal(3).tolist()]
    x = [Node(0.0) for _ in range(3)]
    e = tanh(weighted_sum(w, x, 0.5)) ** 2 * w[0]
    order = topological_order(e)
    rows = rng.standard_normal((3, 11))
    values, slopes = replay(order, dict(zip(x, rows, strict=True)))
    v = sweep(order, slopes, np.ones(11))
    for k in range(11):
        xs = [Node(q) for q in rows[:, k].tolist()]
        again = tanh(weighted_sum(w, xs, 0.5)) ** 2 * w[0]
        one = v_values(again)
        assert np.isclose(values[e][k], again.value)
        for q in range(3):
            assert np.isclose(v[w[q]][k], one[w[q]])
            assert np.isclose(v[x[q]][k], one[xs[q]])


def test_replay_cuts_the_wires_into_an_intermediate_node():
    a = Node(3.0)
    c = a * a
    e = a * c
    values, slopes = replay(topological_order(e), {c: 10.0})
    assert values[e] == 30
    assert sweep(topological_order(e), slopes)[a] == 10


def test_a_wrong_rule_is_not_proved():
    rule = Rule("sin", np.sin, lambda h, a: -np.cos(a))
    pair = (rule, lambda v, a: v * rule.slopes(rule(a), a)[0])
    assert not prove(pair, (), formula=lambda a: sympy.sin(a))


def test_the_drawing_says_what_it_shows():
    a, b = Node(3.0), Node(2.0)
    c = a * b
    picture = draw(tanh(c * c) + a**2 - 1, a=a, b=b, c=c)
    alt = " ".join(repr(picture).split())
    for part in ("a has the value 3", "c = a · b", "c · c", "tanh(□)", "a^{2}"):
        assert part in alt
    assert "<svg" in picture._repr_html_()
    draw(weighted_sum([a, b], [b, a]))


def test_nodes_are_small_and_die_without_the_collector():
    import weakref

    class Value(float):
        pass

    value = Value(2.0)
    alive = weakref.ref(value)
    e = exp(Node(value) * 3)
    assert not hasattr(e, "__dict__")
    gc.disable()
    try:
        v_values(e)
        del e, value
        assert alive() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("mistake", "error", "message"),
    [
        (lambda: Node(np.ones(3)), TypeError, r"array of shape \(3,\)"),
        (lambda: Node("3"), TypeError, "got str"),
        (lambda: Node(None), TypeError, "got NoneType"),
        (lambda: Node(np.bool_(True)), TypeError, "got bool"),
        (lambda: Node(1 + 2j), TypeError, "got complex"),
        (lambda: Node(Node(1.0)), TypeError, "got Node"),
        (lambda: Node(float("inf")), ValueError, "finite number, got inf"),
        (lambda: np.ones(3) * Node(1.0), TypeError, r"array of shape \(3,\)"),
        (lambda: Node(1.0) + np.ones((2, 2)), TypeError, r"array of shape \(2, 2\)"),
        (lambda: Node(1.0) ** np.ones(2), TypeError, "power wants one real number"),
        (lambda: np.exp(Node(1.0)), TypeError, "ufunc"),
        (lambda: v_values(3.0), TypeError, "wants a Node, got float"),
        (lambda: v_values(Node(1.0))[1.0], TypeError, "only a Node has a v"),
        (lambda: v_values(Node(-8.0) ** (1 / 3)), TypeError, "got complex"),
        (lambda: weighted_sum([1.0], [1.0, 2.0]), ValueError, "got 1 and 2"),
        (lambda: Rule("f", np.exp, np.exp)(1.0, 2.0), TypeError, "f wants 1 inputs"),
        (lambda: Rule("f", np.sin)(Node(1.0) * 1), TypeError, "f: 0 slopes, 1 inputs"),
    ],
)
def test_bad_input_is_named(mistake, error, message):
    with pytest.raises(error, match=message):
        mistake()


def test_an_infinite_result_has_no_v():
    with np.errstate(over="ignore"):
        e = exp(Node(1000.0))
    with pytest.raises(ValueError, match="finite number, got inf"):
        v_values(e)


def test_numpy_scalars_are_numbers():
    a = Node(np.float64(3.0))
    e = np.float64(2.0) * a + np.array(1.0)
    assert e.value == 7
    assert v_values(e)[a] == 2


def test_the_operators_record_what_their_rules_do():
    deep, flat = -Node(0.3), Node(-1.2)
    for a, b in ((deep, flat), (flat, deep), (deep, deep)):
        for name, made in (("add", a + b), ("multiply", a * b)):
            wanted = RULES[name](a, b)
            for part in Node.__slots__:
                assert getattr(made, part) == getattr(wanted, part)
    for made in (flat + 2, 2 + flat, flat * 2, 2 * flat):
        assert len(made.inputs) == 2
        assert v_values(made)[flat] in (1, 2)


def test_held_exponents_of_different_kinds_stay_apart():
    a = Node(3)
    assert type((a**2).value) is int
    assert type((a**2.0).value) is float
    assert (a**2).rule is (a**2).rule
    assert (a**2).rule is not (a**2.0).rule


@pytest.mark.parametrize("depth", [1, 3])
def test_the_last_step_leaves_every_v_behind(depth):
    a, b = Node(3.0), Node(-2.0)
    e = a
    for _ in range(depth):
        e = tanh(e * b) * a + 2 * e
    touch = step_through(e, a=a, b=b, e=e)
    order, v = topological_order(e), v_values(e)
    inner = sum(bool(node.inputs) for node in order)
    assert len(touch.frames) == 1 + 2 * inner
    shown = [f"{v[node]:.4g}".replace("-", "−") for node in order]
    text = re.sub(r"<g[^>]*visibility=\"hidden\".*?</g>", "", touch.svg)
    text = re.sub(r"<[^>]*>|\u200b", "", text.replace("</text>", "|"))
    left = re.findall(r"v = ([^|]*)", text)
    assert sorted(left) == sorted(shown)
    assert touch._repr_html_() == step_through(e, a=a, b=b, e=e)._repr_html_()
