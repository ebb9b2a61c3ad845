"""Initialization: PyTorch's recorded formulas, statistics, orthogonality, bad input."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backprop_lit.initialization as initialization
from backprop_lit.activations import (
    LeakyReLU,
    ReLU,
    Sigmoid,
    Softmax,
    Softsign,
    Tanh,
)
from backprop_lit.initialization import (
    calculate_gain,
    expected_squares,
    initialize,
    kaiming_normal,
    kaiming_uniform,
    layer_statistics,
    orthogonal,
    xavier_normal,
    xavier_uniform,
)
from backprop_lit.layer import Layer
from backprop_lit.network import Linear, Sequential
from backprop_lit.regularization import Dropout

RECORD = json.loads(
    Path(__file__).with_name("initialization_recorded.json").read_text()
)
SCHEMES = [xavier_uniform, xavier_normal, kaiming_uniform, kaiming_normal, orthogonal]
EVERY_SCHEME = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda f: f.__name__)
SEEDS = st.integers(0, 2**32 - 1)


def rng(seed=0):
    return np.random.default_rng(seed)


class Watched(np.random.Generator):
    """A generator that tells between which bounds it was asked to draw."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))
        self.bounds = []

    def uniform(self, low=0.0, high=1.0, size=None):
        self.bounds.append((low, high))
        return super().uniform(low, high, size)

    def standard_normal(self, size=None, **options):
        return np.ones(size)  # so that what comes out is the deviation itself


# --- agreement with PyTorch ---------------------------------------------------


@pytest.mark.parametrize(("name", "param", "gain"), RECORD["gains"])
def test_gains_are_those_of_pytorch(name, param, gain):
    assert calculate_gain(name, param) == pytest.approx(gain, rel=1e-15)


@pytest.mark.parametrize(("name", "shape", "options", "size"), RECORD["sizes"])
def test_bounds_and_deviations_are_those_of_pytorch(name, shape, options, size):
    watched = Watched()
    weight = getattr(initialization, name)(np.empty(shape), watched, **options)
    if "uniform" in name:
        assert watched.bounds == [pytest.approx((-size, size), rel=1e-14)]
    else:
        np.testing.assert_allclose(weight, size, rtol=1e-14)


def test_the_default_of_linear_is_that_of_pytorch():
    gain = calculate_gain("leaky_relu", 5**0.5)
    watched = Watched()
    kaiming_uniform(np.empty((7, 48)), watched, gain)
    assert watched.bounds[0][1] == pytest.approx(RECORD["linear"], rel=1e-6)  # float32
    layer = Linear(48, 7, rng=rng(3))
    drawn = kaiming_uniform(np.empty((7, 48)), rng(3), gain)
    np.testing.assert_allclose(layer.parameters["weight"], drawn, rtol=1e-14)


def test_recorded_with_the_version_that_the_book_names():
    assert RECORD["torch"].startswith("2.13.0")


# --- statistics, with limits that a wrong factor would break ------------------


def wanted_variance(scheme, out, size):
    if "xavier" in scheme.__name__:
        return 2 / (size + out)
    return 2 / size if "kaiming" in scheme.__name__ else 1 / max(size, out)


@EVERY_SCHEME
@pytest.mark.parametrize("shape", [(300, 100), (100, 300), (200, 200)])
def test_mean_and_variance(scheme, shape):
    weight = scheme(np.empty(shape), rng(1))
    variance = wanted_variance(scheme, *shape)
    # the variance of a squared normal is 2 Var²: five deviations of its mean
    room = 5 * np.sqrt(2 / weight.size)
    assert abs((weight**2).mean() / variance - 1) < room
    assert abs(weight.mean()) < 5 * np.sqrt(variance / weight.size)


@pytest.mark.parametrize("scheme", [xavier_uniform, kaiming_uniform])
def test_a_uniform_weight_fills_its_interval_evenly(scheme):
    weight = scheme(np.empty((200, 200)), rng(2))
    bound = np.sqrt(3 * wanted_variance(scheme, 200, 200))
    counts, _ = np.histogram(weight, bins=20, range=(-bound, bound))
    assert counts.sum() == weight.size
    surprise = ((counts - 2000) ** 2 / 2000).sum()  # chi square, 19 degrees
    assert surprise < 60


@pytest.mark.parametrize("scheme", [xavier_normal, kaiming_normal])
def test_a_normal_weight_has_the_fourth_moment_of_the_bell_curve(scheme):
    weight = scheme(np.empty((300, 300)), rng(3))
    kurtosis = (weight**4).mean() / (weight**2).mean() ** 2
    assert abs(kurtosis - 3) < 5 * np.sqrt(24 / weight.size)


def test_rotations_prefer_no_direction():
    # for Haar matrices: E[trace] = 0, E[trace²] = 1, and every entry is as
    # often negative as positive; without the sign fix the first one fails all
    draws = np.stack([orthogonal(np.empty((3, 3)), g) for g in [rng(4)]
                      for _ in range(3000)])
    traces = np.trace(draws, axis1=1, axis2=2)
    assert abs(traces.mean()) < 5 / np.sqrt(3000)
    assert abs((traces**2).mean() - 1) < 5 * np.sqrt(2 / 3000)
    negative = (draws < 0).mean(axis=0)
    assert (abs(negative - 0.5) < 5 * 0.5 / np.sqrt(3000)).all()
    # rotations and reflections alike
    assert abs((np.linalg.det(draws) > 0).mean() - 0.5) < 0.05


# --- orthogonality ------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(shape=st.lists(st.integers(1, 6), min_size=2, max_size=4), seed=SEEDS,
       gain=st.sampled_from([1.0, 0.0, 2**0.5, 3]))
def test_all_singular_values_are_the_gain(shape, seed, gain):
    weight = orthogonal(np.empty(shape), rng(seed), gain)
    matrix = weight.reshape(shape[0], -1)
    values = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(values, gain, atol=1e-13)


def test_a_v_keeps_its_length_where_rows_are_orthogonal():
    v = rng(5).normal(size=(7, 4))
    W = orthogonal(np.empty((4, 9)), rng(6))
    np.testing.assert_allclose(np.linalg.norm(v @ W, axis=1),
                               np.linalg.norm(v, axis=1), rtol=1e-13)


# --- filling in place ---------------------------------------------------------


@EVERY_SCHEME
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_array_is_filled_in_place_and_returned(scheme, dtype):
    weight = np.full((5, 4), np.nan, dtype)
    assert scheme(weight, rng()) is weight
    assert weight.dtype == dtype
    assert np.isfinite(weight).all()
    np.testing.assert_allclose(weight, scheme(np.empty((5, 4)), rng()), rtol=1e-6)


@EVERY_SCHEME
def test_a_view_that_is_not_contiguous_is_filled(scheme):
    base = np.zeros((8, 5))
    scheme(base[::2].T, rng())
    assert base[::2].all()
    assert not base[1::2].any()


@EVERY_SCHEME
def test_the_same_seed_gives_the_same_weight_and_another_one_does_not(scheme):
    first, again, other = (scheme(np.empty((4, 3)), rng(s)) for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).all()


@pytest.mark.parametrize("scheme", [xavier_uniform, xavier_normal, orthogonal])
def test_a_gain_multiplies(scheme):
    once, twice = (scheme(np.empty((6, 3)), rng(), gain=g) for g in (1.0, 2.0))
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-13)
    assert not scheme(np.ones((6, 3)), rng(), gain=0).any()


@pytest.mark.parametrize("scheme", [kaiming_uniform, kaiming_normal])
def test_a_number_in_the_place_of_a_name_is_a_gain(scheme):
    named, given_ = (scheme(np.empty((6, 3)), rng(), g) for g in ("tanh", 5 / 3))
    assert (named == given_).all()
    out = scheme(np.empty((6, 3)), rng(), mode="fan_out")
    back = scheme(np.empty((6, 3)), rng())
    np.testing.assert_allclose(out, back / np.sqrt(2), rtol=1e-13)


# --- bad input ----------------------------------------------------------------

BAD_WEIGHTS = [
    (np.zeros(3), ValueError, "shape"),
    (np.zeros(()), ValueError, "shape"),
    (np.zeros((0, 3)), ValueError, r"\(0, 3\)"),
    (np.zeros((3, 0)), ValueError, r"\(3, 0\)"),
    (np.zeros((3, 2, 0)), ValueError, r"\(3, 2, 0\)"),
    (np.zeros((3, 2), int), TypeError, "int64"),
    (np.zeros((3, 2), complex), TypeError, "complex128"),
    (np.zeros((3, 2), object), TypeError, "object"),
    ([[0.0, 0.0]], TypeError, "list"),
    (np.broadcast_to(np.zeros(2), (3, 2)), ValueError, "read-only"),
]


@EVERY_SCHEME
@pytest.mark.parametrize(("weight", "error", "told"), BAD_WEIGHTS)
def test_a_weight_that_cannot_be_filled_is_refused(scheme, weight, error, told):
    with pytest.raises(error, match=told) as caught:
        scheme(weight, rng())
    assert str(caught.value).startswith(f"{scheme.__name__} wants")


@EVERY_SCHEME
@pytest.mark.parametrize("source", [None, 0, np.random, np.random.RandomState(0)])
def test_a_generator_is_wanted(scheme, source):
    weight = np.ones((3, 2))
    with pytest.raises(TypeError, match=r"numpy\.random\.Generator"):
        scheme(weight, source)
    assert (weight == 1).all()


@EVERY_SCHEME
@pytest.mark.parametrize(
    ("gain", "error"),
    [(-1.0, ValueError), (float("nan"), ValueError), (float("inf"), ValueError),
     (True, TypeError), (1j, TypeError), (None, TypeError), (np.ones(2), TypeError),
     (1.7e308, ValueError), (10**400, ValueError)],
)
def test_a_gain_is_a_number_from_0_on(scheme, gain, error):
    weight = np.ones((3, 2))
    with pytest.raises(error, match="gain"):
        scheme(weight, rng(), gain)
    assert (weight == 1).all()


@pytest.mark.parametrize("scheme", [kaiming_uniform, kaiming_normal])
def test_unknown_names_are_refused(scheme):
    weight = np.ones((3, 2))
    with pytest.raises(ValueError, match=r"leaky_relu.*'gelu'"):
        scheme(weight, rng(), "gelu")
    with pytest.raises(ValueError, match="'fan_in' or 'fan_out', got 'fan_avg'"):
        scheme(weight, rng(), mode="fan_avg")
    assert (weight == 1).all()


@EVERY_SCHEME
@pytest.mark.parametrize(("dtype", "gain"), [(np.float16, 1e6), (np.float32, 1e90)])
def test_a_gain_too_large_for_the_dtype_is_refused(scheme, dtype, gain):
    weight = np.ones((3, 2), dtype)
    with pytest.raises(ValueError, match=f"gain.*{np.dtype(dtype)}"):
        scheme(weight, rng(), gain)
    assert (weight == 1).all()


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [(("swish",), ValueError, "'swish'"), ((None,), ValueError, "None"),
     (("relu", 0.1), ValueError, "no param for 'relu'"),
     (("leaky_relu", True), TypeError, "bool"),
     (("leaky_relu", "0.1"), TypeError, "str"),
     (("leaky_relu", float("nan")), ValueError, "nan"),
     (("leaky_relu", 1e200), ValueError, "1e100"), ((["relu"],), ValueError, "relu"),
     ((np.array(["relu", "tanh"]),), ValueError, "relu")],
)
def test_a_gain_that_nobody_knows(arguments, error, told):
    with pytest.raises(error, match=told):
        calculate_gain(*arguments)


# --- whole models -------------------------------------------------------------


def nested(seed=0, bias=True):
    r = rng(seed)
    inner = Sequential(Linear(5, 4, bias, rng=r), ReLU())
    return Sequential(Linear(3, 5, bias, rng=r), Tanh(), inner, Dropout(0.5, rng=r),
                      Linear(4, 2, bias, rng=r))


def test_every_linear_layer_is_filled_in_order_and_biases_are_0():
    model, source = nested(), rng(7)
    assert initialize(model, kaiming_uniform, rng(7), nonlinearity="tanh") is model
    for name, q in model.parameters.items():
        if "weight" in name:
            drawn = kaiming_uniform(np.empty(q.shape), source, "tanh")
            assert (q == drawn).all(), name
        else:
            assert not q.any(), name


def test_the_weights_stay_views_of_theta():
    model = initialize(nested(), orthogonal, rng(1))
    assert all(np.shares_memory(q, model.theta) for q in model.parameters.values())
    parts = [q.ravel() for q in model.parameters.values()]
    assert (np.concatenate(parts) == model.theta).all()


def test_a_single_linear_layer_and_one_without_biases_will_do():
    layer = initialize(Linear(3, 2, rng=rng()), orthogonal, rng(2))
    assert not layer.parameters["bias"].any()
    model = initialize(nested(bias=False), xavier_normal, rng(2))
    assert model.theta.all()


def test_an_error_in_the_third_layer_changes_nothing():
    model, calls = nested(), []

    def failing(weight, source):
        calls.append(weight.shape)
        weight[...] = 0
        if len(calls) == 3:
            raise ArithmeticError("no luck")
        return weight

    before = model.theta.copy()
    with pytest.raises(ArithmeticError):
        initialize(model, failing, rng())
    assert calls == [(5, 3), (4, 5), (2, 4)]
    assert (model.theta == before).all()
    with pytest.raises(TypeError, match="Generator"):
        initialize(model, orthogonal, None)
    with pytest.raises(TypeError, match="power"):
        initialize(model, orthogonal, rng(), power=2)
    assert (model.theta == before).all()


@pytest.mark.parametrize(
    ("scheme", "error", "told"),
    [(lambda w, source: np.ones_like(w), TypeError, "in place"),
     (lambda w, source: w.fill(np.nan), ValueError, "nan"),
     (lambda w, source: 1.0, TypeError, "in place")],
)
def test_a_scheme_that_does_not_fill_is_refused(scheme, error, told):
    model = nested()
    before = model.theta.copy()
    with pytest.raises(error, match=told):
        initialize(model, scheme, rng())
    assert (model.theta == before).all()


def test_a_scheme_may_fill_and_return_nothing():
    model = initialize(nested(), lambda w, source: w.fill(2.0), rng())
    assert set(model.theta) == {0.0, 2.0}
    with pytest.raises(TypeError, match="Generator"):
        initialize(model, lambda w, source: w.fill(2.0), None)


def test_layers_inside_another_kind_of_layer_are_not_reached():
    class Holder(Layer):
        def __init__(self, inner):
            self.inner = inner
            super().__init__(**inner.parameters)

        def forward(self, x, *, training=False):
            return self.keep(self.inner.forward(x), None)

        def backward(self, v):
            return self.inner.backward(v)

    held = Linear(2, 2, rng=rng(1))
    before = held.parameters["weight"].copy()
    initialize(Sequential(Holder(held), Linear(2, 2, rng=rng())), orthogonal, rng())
    assert (held.parameters["weight"] == before).all()


def test_models_that_cannot_be_initialized():
    with pytest.raises(TypeError, match="list"):
        initialize([Linear(3, 2, rng=rng())], orthogonal, rng())
    with pytest.raises(ValueError, match="with a Linear layer"):
        initialize(Sequential(Tanh()), orthogonal, rng())
    with pytest.raises(TypeError, match=r"function.*str"):
        initialize(nested(), "orthogonal", rng())


# --- the instrument -----------------------------------------------------------


def by_hand(model, x, v):
    """d, h and v of a plain stack of Linear and Tanh, from the formulas alone."""
    weights = [q for k, q in model.parameters.items() if "weight" in k]
    biases = [q for k, q in model.parameters.items() if "bias" in k]
    d, h = [], [x]
    for W, b in zip(weights, biases, strict=True):
        d.append(h[-1] @ W.T + b)
        h.append(np.tanh(d[-1]))
    slopes = [v * (1 - h[-1] ** 2)]
    for W, before in zip(weights[:0:-1], h[-2:0:-1], strict=True):
        slopes.append(slopes[-1] @ W * (1 - before**2))
    slopes.reverse()
    gradients = [s.T @ before for s, before in zip(slopes, h, strict=False)]
    return [[(a**2).mean() for a in q] for q in (d, h[1:], slopes, gradients)]


def test_the_statistics_are_those_of_the_formulas():
    r = rng(8)
    model = Sequential(*[layer for size, out in ((4, 6), (6, 5), (5, 3))
                         for layer in (Linear(size, out, rng=r), Tanh())])
    x, v = r.normal(size=(7, 4)), r.normal(size=(7, 3))
    seen = layer_statistics(model, x, v)
    for got, wanted in zip(seen[1:5], by_hand(model, x, v), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
    assert seen.layers == ("Linear(4 → 6)", "Linear(6 → 5)", "Linear(5 → 3)")
    assert not seen.silent.any()


def test_silent_columns_are_counted():
    r = rng(9)
    model = Sequential(Linear(3, 4, rng=r), ReLU(), Linear(4, 2, rng=r))
    model[0].parameters["bias"][:3] = -100
    model[0].parameters["bias"][3] = 100
    x = r.normal(size=(5, 3))
    seen = layer_statistics(model, x, np.ones((5, 2)))
    np.testing.assert_allclose(seen.silent, [0.75, 0])


def test_the_model_is_left_as_it_was():
    model = nested()
    x, v = rng(1).normal(size=(4, 3)), rng(2).normal(size=(4, 2))
    model.forward(x)
    model.backward(v)
    kept, state = model.gradient.copy(), copy.deepcopy(model.state)
    layer_statistics(model, -x, 2 * v)
    assert (model.gradient == kept).all()
    assert all((state[k] == q).all() for k, q in model.state.items())
    model.gradient[...] = 0
    model.backward(v)  # still that of the first forward
    np.testing.assert_array_equal(model.gradient, kept)


def test_float32_does_not_overflow_in_the_squares():
    r = rng(3)
    model = Sequential(Linear(2, 2, rng=r, dtype=np.float32))
    x = np.full((3, 2), 1e25, np.float32)
    seen = layer_statistics(model, x, np.ones((3, 2), np.float32))
    assert np.isfinite(seen.d).all()


def test_what_the_instrument_refuses():
    with pytest.raises(TypeError, match="layer_statistics wants a model"):
        layer_statistics(None, np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="Linear layer"):
        layer_statistics(Sequential(ReLU()), np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"\(n, 3\)"):
        layer_statistics(nested(), np.ones((2, 4)), np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        layer_statistics(nested(), np.ones((2, 3)), np.ones((2, 5)))


# --- expected squares ---------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(mean_square=st.floats(1e-6, 1e6), slope=st.floats(-2, 2))
def test_a_bend_with_two_slopes_has_a_formula(mean_square, slope):
    got = expected_squares(LeakyReLU(slope), mean_square)
    kept = (1 + slope**2) / 2
    np.testing.assert_allclose(got, (kept * mean_square, kept), rtol=1e-9)


@pytest.mark.parametrize("mean_square", [1.0, 100.0, 10_000.0])
def test_a_slope_with_a_kink_at_0_costs_no_digits(mean_square):
    # z = root⁵ has other points: a second rule, finer near 0
    root = (np.arange(200_000) + 0.5) / 200_000 * 9 ** (1 / 5)
    d = root**5 * np.sqrt(mean_square)
    weight = root**4 * np.exp(-root**10 / 2)
    wanted = [np.average(q, weights=weight)
              for q in ((d / (1 + d)) ** 2, (1 + d) ** -4.0)]
    np.testing.assert_allclose(expected_squares(Softsign(), mean_square), wanted,
                               rtol=1e-7)


@pytest.mark.parametrize("mean_square", [0.01, 0.3, 1.0, 1.178])
def test_tanh_agrees_with_gauss_and_hermite(mean_square):
    z, weight = np.polynomial.hermite_e.hermegauss(150)
    f = np.tanh(z * np.sqrt(mean_square))
    wanted = [np.average(q, weights=weight) for q in (f**2, (1 - f**2) ** 2)]
    np.testing.assert_allclose(expected_squares(Tanh(), mean_square), wanted, rtol=1e-6)


@pytest.mark.parametrize("mean_square", [1_000.0, 10_000.0])
def test_a_wide_spread_leaves_only_the_middle(mean_square):
    # ∫ sech⁴ = 4/3 and ∫ sech² = 2; the bell curve is flat where they live
    height = 1 / np.sqrt(2 * np.pi * mean_square)
    f_squared, t_squared = expected_squares(Tanh(), mean_square)
    assert t_squared == pytest.approx(4 / 3 * height, rel=1 / mean_square)
    assert 1 - f_squared == pytest.approx(2 * height, rel=1 / mean_square)


@pytest.mark.parametrize("mean_square", [0.01, 1.0, 45.0])
def test_sigmoid_is_a_tanh_of_half_the_argument(mean_square):
    # σ(2d) = ½ + ½ tanh d: the slope is a quarter's, f² has ¼ more
    f_squared, t_squared = expected_squares(Sigmoid(), 4 * mean_square)
    wide, steep = expected_squares(Tanh(), mean_square)
    assert t_squared == pytest.approx(steep / 16, rel=1e-9)
    assert f_squared == pytest.approx(1 / 4 + wide / 4, rel=1e-9)


def test_no_spread_at_all():
    assert expected_squares(Tanh(), 0.0) == pytest.approx((0, 1))
    assert expected_squares(Sigmoid(), 0) == pytest.approx((1 / 4, 1 / 16))


def test_the_activation_is_left_as_it_was():
    tanh = Tanh()
    tanh.forward(np.array([[0.5]]))
    expected_squares(tanh, 1.0)
    assert tanh.backward(np.ones((1, 1)))[0, 0] == pytest.approx(1 - np.tanh(0.5) ** 2)


@pytest.mark.parametrize(
    ("activation", "mean_square", "error"),
    [(np.tanh, 1.0, TypeError), (Linear(1, 1, rng=rng()), 1.0, TypeError),
     (Tanh(), -1.0, ValueError), (Tanh(), float("nan"), ValueError),
     (Tanh(), float("inf"), ValueError), (ReLU(), 1e308, ValueError),
     (Softmax(), 1.0, ValueError), (Tanh(), None, TypeError),
     (Tanh(), "1", TypeError), (Tanh(), 1j, TypeError), (Tanh(), True, TypeError),
     (Tanh(), np.ones(2), TypeError)],
)
def test_what_expected_squares_refuses(activation, mean_square, error):
    with pytest.raises(error, match="expected_squares wants"):
        expected_squares(activation, mean_square)


# --- the chapter's claims, on other seeds than the page's ---------------------


@pytest.mark.parametrize(
    ("kind", "gain"), [(Sigmoid, 1.0), (Tanh, 1.0), (Tanh, 5 / 3), (ReLU, 2**0.5)]
)
def test_twenty_layers_follow_the_prediction(kind, gain):
    r, depth, width = rng(11), 20, 300
    model = Sequential(*[layer for _ in range(depth)
                         for layer in (Linear(width, width, rng=r), kind())])
    initialize(model, kaiming_normal, r, nonlinearity=gain)
    x, v = r.normal(size=(2, 8, width))
    seen, d, factors = layer_statistics(model, x, v), [gain**2], []
    for _ in range(depth):
        f_squared, t_squared = expected_squares(kind(), d[-1])
        d.append(gain**2 * f_squared)
        factors.append(t_squared)
    slopes = [factors[-1]]
    for t_squared in factors[-2::-1]:
        slopes.append(gain**2 * t_squared * slopes[-1])
    # three deviations of ln: 5 · depth/width is the largest of the four
    room = 3 * np.sqrt(5 * depth / width)
    assert abs(np.log(seen.d / d[:-1])).max() < room
    assert abs(np.log(seen.v / slopes[::-1])).max() < room


def test_the_weights_of_a_layer_keep_nothing_but_floats():
    class Stubborn(Layer):
        def forward(self, x, *, training=False):
            return self.keep(x, None)

        def backward(self, v):
            return v

    model = Sequential(Stubborn(), Linear(2, 2, rng=rng(), dtype=np.float32))
    initialize(model, orthogonal, rng())
    assert model.theta.dtype == np.float32


def log_mean_square(depth, width, source):
    h = source.standard_normal(width)
    h *= np.sqrt(width / (h @ h))
    for _ in range(depth):
        h = np.maximum(source.standard_normal((width, width)) @ h, 0)
        h *= np.sqrt(2 / width)
    return np.log((h**2).mean())


def test_wide_relu_networks_scatter_by_depth_over_width():
    # the constants 5 and 5/2, each within four standard errors
    logs = np.array([log_mean_square(16, 128, g) for g in [rng(1300)]
                     for _ in range(600)])
    variance = 5 * 16 / 128
    assert abs(logs.var(ddof=1) / variance - 1) < 4 * np.sqrt(2 / 600)
    assert abs(logs.mean() + variance / 2) < 4 * np.sqrt(variance / 600)
