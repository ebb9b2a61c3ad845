"""Chapter 7: the sweeps on wirings that the page does not draw."""

from fractions import Fraction

import numpy as np
import pytest

from backprop_lit.differences import numerical_gradient
from backprop_lit.graph import Node, v_values
from backprop_lit.neurons import (
    Neuron,
    backward_sweep,
    draw_sweep_step,
    forward_sweep,
    gradients,
    left_to_right,
    loss_neurons,
    sample_network,
    softsign,
    softsign_slope,
    sweep_steps,
)
from backprop_lit.symbolic import prove

INPUTS = ("x1", "x2", "x3")


def random_net(seed, size=9, f=softsign, t=softsign_slope):
    """Any order of definition, skip edges, neurons that nobody reads."""
    rng = np.random.default_rng(seed)
    names = [*INPUTS, *(f"N{k}" for k in range(size))]
    neurons = {}
    for k in range(3, len(names)):
        count = int(rng.integers(1, min(k, 5) + 1))
        sources = rng.choice(names[:k], count, replace=False).tolist()
        neurons[names[k]] = Neuron(tuple(sources), f, t)
    used = {i for neuron in neurons.values() for i in neuron.sources}
    x = {i: float(rng.normal()) for i in INPUTS if i in used}
    w = {(j, i): float(rng.normal()) for j in neurons for i in neurons[j].sources}
    b = {j: float(rng.normal()) for j in neurons if rng.random() < 0.8}
    keys = rng.permutation(list(neurons)).tolist()
    v_u = {f"N{size - 1}": float(rng.normal()), "N1": float(rng.normal())}
    return {j: neurons[j] for j in keys}, x, w, b, v_u


def all_slopes(neurons, x, w, b, v_u):
    d, h = forward_sweep(neurons, x, w, b)
    v_h, v = backward_sweep(neurons, w, d, v_u)
    return d, h, v_h, v, *gradients(v, h, w, b)


def as_nodes(numbers):
    return {name: Node(number) for name, number in numbers.items()}


@pytest.mark.parametrize("seed", range(12))
def test_v_values_of_chapter_3_agree(seed):
    neurons, x, w, b, v_u = random_net(seed)
    _, _, v_h, v, g_w, g_b = all_slopes(neurons, x, w, b, v_u)
    x_n, w_n, b_n = as_nodes(x), as_nodes(w), as_nodes(b)
    d_n, h_n = forward_sweep(neurons, x_n, w_n, b_n)
    theirs = v_values(sum(h_n[j] * v_u[j] for j in v_u))
    for mine, nodes in ((v, d_n), (g_w, w_n), (g_b, b_n)):
        for name, node in nodes.items():
            assert mine[name] == pytest.approx(theirs[node], rel=1e-12, abs=1e-14)
    for name in x:
        assert v_h[name] == pytest.approx(theirs[x_n[name]], rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("seed", range(4))
def test_jax_agrees(seed):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    tanh = jax.numpy.tanh
    neurons, x, w, b, v_u = random_net(
        seed, f=np.tanh, t=lambda d: 1 - np.tanh(d) ** 2
    )
    _, _, v_h, _, g_w, g_b = all_slopes(neurons, x, w, b, v_u)
    theirs = {j: neuron._replace(f=tanh) for j, neuron in neurons.items()}

    def answer(x, w, b):
        h = forward_sweep(theirs, x, dict(zip(edges, w, strict=True)), b)[1]
        return sum(v_u[j] * h[j] for j in v_u)

    edges = list(w)
    their_x, their_w, their_b = jax.grad(answer, (0, 1, 2))(x, list(w.values()), b)
    np.testing.assert_allclose(list(g_w.values()), their_w, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(
        [v_h[i] for i in x], [their_x[i] for i in x], rtol=1e-10, atol=1e-14
    )
    np.testing.assert_allclose(
        [g_b[j] for j in b], [their_b[j] for j in b], rtol=1e-10, atol=1e-14
    )


@pytest.mark.parametrize("seed", range(4))
def test_nudging_a_bias_measures_v(seed):
    neurons, x, w, b, v_u = random_net(seed)
    b = dict.fromkeys(neurons, 0.0) | b
    *_, v, _, _ = all_slopes(neurons, x, w, b, v_u)

    def answer(biases):
        h = forward_sweep(neurons, x, w, dict(zip(b, biases, strict=True)))[1]
        return sum(v_u[j] * h[j] for j in v_u)

    slow = numerical_gradient(answer, np.array(list(b.values())))
    np.testing.assert_allclose([v[j] for j in b], slow, rtol=1e-6, atol=1e-9)


def test_the_numbers_of_the_sample_network_are_exact():
    neurons, x, y, w, b = sample_network()
    loss_part, ones = loss_neurons(y)
    d, h = forward_sweep(neurons | loss_part, x, w | ones, b)
    _, v = backward_sweep(neurons | loss_part, w | ones, d, {"e": 1})
    g_w, g_b = gradients(v, h, w, b)
    assert [d[j] for j in neurons] == [1, 3, 1, -1]
    assert [h[j] for j in neurons] == [1 / 2, 3 / 4, 1 / 2, -1 / 2]
    assert h["e"] == 5 / 4
    assert [v[j] for j in neurons] == [7 / 32, -5 / 64, 1 / 8, -3 / 8]
    assert [g * 64 for g in g_w.values()] == [28, 14, -10, -5, 4, 6, -12, -18]
    assert list(g_b.values()) == [v[j] for j in neurons]


def test_fractions_stay_fractions():
    neurons, x, y, w, b = sample_network()
    x = {i: Fraction(number) for i, number in x.items()}
    d, h = forward_sweep(neurons, x, w, b)
    _, v = backward_sweep(neurons, w, d, {j: h[j] - y[j] for j in y})
    assert v["N1"] == Fraction(7, 32)
    assert isinstance(v["N1"], Fraction)


def test_y1_at_seven_eighths_makes_n1_blameless():
    neurons, x, _, w, b = sample_network()
    loss_part, ones = loss_neurons({"N3": 7 / 8, "N4": 1})
    d, h = forward_sweep(neurons | loss_part, x, w | ones, b)
    _, v = backward_sweep(neurons | loss_part, w | ones, d, {"e": 1})
    assert (h["e"], v["N1"]) == (153 / 128, 0)


def test_backward_is_linear():
    neurons, x, w, b, v_u = random_net(3)
    d, _ = forward_sweep(neurons, x, w, b)
    one = backward_sweep(neurons, w, d, v_u)[1]
    two = backward_sweep(neurons, w, d, {j: 2 * v for j, v in v_u.items()})[1]
    assert two == {j: 2 * v for j, v in one.items()}


def test_a_skip_edge_is_proved_with_a_wide_and_a_narrow_layer():
    def tanh_slope(d):
        return 1 - np.tanh(d) ** 2

    feeds = {"a": ("p", "q"), "b": ("p", "q"), "c": ("p", "q"),
             "u": ("a", "b", "c", "p"), "z": ("u", "a")}
    neurons = {j: Neuron(feeds[j], np.tanh, tanh_slope) for j in feeds}
    edges = [(j, i) for j in feeds for i in feeds[j]]

    def parts(x, w, b):
        return (dict(zip("pq", x, strict=True)), dict(zip(edges, w, strict=True)),
                dict(zip(feeds, b, strict=True)))

    def forward(x, w, b):
        h = forward_sweep(neurons, *parts(x, w, b))[1]
        return np.array([h["z"], h["u"], h["c"]])

    def backward(v, x, w, b):
        v_u = dict(zip("zuc", v, strict=True))
        _, _, v_h, _, g_w, g_b = all_slopes(neurons, *parts(x, w, b), v_u)
        return (np.array([v_h["p"], v_h["q"]]), np.array(list(g_w.values())),
                np.array(list(g_b.values())))

    def wrong(v, x, w, b):
        v_x, g_w, g_b = backward(v, x, w, b)
        return v_x, g_w, -g_b

    assert prove((forward, backward), (2,), (12,), (5,))
    assert not prove((forward, wrong), (2,), (12,), (5,))


def test_neurons_that_nobody_reads_have_v_zero():
    bend = (softsign, softsign_slope)
    neurons = {"N1": Neuron(("x",), *bend), "dead": Neuron(("N1",), *bend)}
    w = {("N1", "x"): 1.0, ("dead", "N1"): 5.0}
    d, _ = forward_sweep(neurons, {"x": 1.0}, w, {})
    v_h, v = backward_sweep(neurons, w, d, {"N1": 1.0})
    assert v == {"dead": 0, "N1": 0.25}
    assert v_h["x"] == 0.25


def test_a_deep_chain_needs_no_recursion():
    depth = 20_000
    identity = (lambda d: d, lambda d: 1)
    neurons = {f"N{k}": Neuron((f"N{k - 1}",), *identity) for k in range(depth)}
    w = {(f"N{k}", f"N{k - 1}"): 1 for k in range(depth)}
    d, h = forward_sweep(neurons, {"N-1": 3}, w, {})
    v_h, _ = backward_sweep(neurons, w, d, {f"N{depth - 1}": 1})
    assert (h[f"N{depth - 1}"], v_h["N-1"]) == (3, 1)


@pytest.mark.parametrize("feeds", [
    {"a": ("b",), "b": ("a",)},
    {"a": ("a", "x")},
    {"a": ("x", "c"), "b": ("a",), "c": ("b",), "d": ("x",)},
])
def test_circles_are_named(feeds):
    neurons = {j: Neuron(feeds[j], softsign, softsign_slope) for j in feeds}
    with pytest.raises(ValueError, match=r"circle .*→"):
        left_to_right(neurons)
    with pytest.raises(ValueError, match="circle"):
        backward_sweep(neurons, {}, {}, {})


def altered(part, change):
    neurons, x, _, w, b = sample_network()
    given = {"x": x, "w": w, "b": b}
    change(given[part])
    return neurons, given["x"], given["w"], given["b"]


@pytest.mark.parametrize(("part", "change", "words"), [
    ("x", lambda x: x.pop("x2"), r"an x per input; missing: \['x2'\]"),
    ("x", lambda x: x.update(x3=1), r"unknown: \['x3'\]"),
    ("w", lambda w: w.pop(("N3", "N1")), r"weight .* missing: .*N3.*N1"),
    ("w", lambda w: w.update({("N1", "N3"): 1}), r"weight .* unknown"),
    ("b", lambda b: b.update(N9=0), r"biases of neurons; unknown: \['N9'\]"),
])
def test_bad_input_is_told_by_name(part, change, words):
    with pytest.raises(ValueError, match=words):
        forward_sweep(*altered(part, change))


def test_bad_backward_input_is_told_by_name():
    neurons, x, _, w, b = sample_network()
    d, h = forward_sweep(neurons, x, w, b)
    with pytest.raises(ValueError, match=r"d of each neuron; unknown: \['x1'"):
        backward_sweep(neurons, w, h, {"N3": 1})
    with pytest.raises(ValueError, match=r"v_u.*unknown: .*N7"):
        backward_sweep(neurons, w, d, {"N7": 1})
    with pytest.raises(ValueError, match="weight"):
        backward_sweep(neurons, {}, d, {"N3": 1})


def test_two_edges_from_one_source_are_refused():
    with pytest.raises(ValueError, match="one edge from each source"):
        left_to_right({"N": Neuron(("x", "x"), softsign, softsign_slope)})


def test_sweeps_do_not_touch_what_they_are_given():
    neurons, x, w, b, v_u = random_net(5)
    before = [dict(part) for part in (neurons, x, w, b, v_u)]
    all_slopes(neurons, x, w, b, v_u)
    assert before == [neurons, x, w, b, v_u]


def test_steps_end_with_what_the_sweeps_return():
    neurons, x, w, b, v_u = random_net(2)
    steps = sweep_steps(neurons, x, w, b, v_u)
    _, h, _, v, _, _ = all_slopes(neurons, x, w, b, v_u)
    assert len(steps) == 2 * len(neurons)
    assert steps[len(neurons) - 1].h == h
    assert steps[-1].v == v
    assert all(step.neuron in (step.v or step.h) for step in steps)


def test_steps_are_drawn_with_all_their_edges():
    neurons, x, _, w, b = sample_network()
    step = sweep_steps(neurons, x, w, b, {"N3": 0.5, "N4": -1.5})[-1]
    places = {name: (k * 60.0, 0.0) for k, name in enumerate([*x, *neurons])}
    vertices, arrows = draw_sweep_step(step, places, w)
    assert len(vertices) == 6
    assert len(arrows) == 8
    assert sum(arrow.wide for arrow in arrows) == 2  # N1 reads w5 and w7


def test_gradients_of_unknown_edges_are_told_by_name():
    v, h = {"a": 3.0}, {"x": 2.0}
    for edges in ([("a", "q")], [("b", "x")], ["bx"]):
        with pytest.raises(ValueError, match="edges from an h to a v; unknown"):
            gradients(v, h, edges, [])
    with pytest.raises(ValueError, match=r"biases of neurons; unknown: \['q'\]"):
        gradients(v, h, [], ["q"])


def test_gradients_take_iterators():
    given = iter([("a", "x")]), iter(["a"])
    assert gradients({"a": 3.0}, {"x": 2.0}, *given) == ({("a", "x"): 6.0}, {"a": 3.0})


def test_a_string_is_no_tuple_of_sources():
    with pytest.raises(ValueError, match="N wants a tuple of sources, got 'x1'"):
        left_to_right({"N": Neuron("x1", softsign, softsign_slope)})


def test_a_long_circle_has_a_short_message():
    neurons = {k: Neuron((k - 1,), abs, abs) for k in range(5000)}
    neurons[0] = Neuron((4999,), abs, abs)
    with pytest.raises(ValueError, match="more") as caught:
        left_to_right(neurons)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("targets", [{"e": 0}, {"N": 0, "e1": 1}, {}])
def test_names_of_loss_neurons_are_taken(targets):
    with pytest.raises(ValueError, match="loss_neurons wants"):
        loss_neurons(targets)


def test_steps_take_numpy_scalars():
    neurons, _, _, w, b = sample_network()
    x = {"x1": np.float32(2), "x2": np.float32(1)}
    steps = sweep_steps(neurons, x, w, b, {"N3": 0.5, "N4": -1.5})
    assert steps[-1].line.endswith("= 7/32")


def test_what_the_loss_reads_inside_the_network_counts():
    """A hidden neuron and an input that the loss reads themselves."""
    neurons, x, _, w, b = sample_network()
    d, _ = forward_sweep(neurons, x, w, b)
    outer = {"N3": 0.5, "N4": -1.5, "N1": 2.0, "x1": 3.0}
    v_h, v = backward_sweep(neurons, w, d, outer)
    assert v_h["N1"] == 7 / 8 + 2
    assert v["N1"] == (7 / 8 + 2) / 4
    assert v_h["x1"] == v["N1"] * 3 + v["N2"] * 4 + 3
