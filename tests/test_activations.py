"""Activations against JAX, at the extremes, in every dtype, and on bad input."""

import copy
import pickle
import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from backprop_lit import activations
from backprop_lit.activations import (
    GELU,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from backprop_lit.symbolic import prove, symbols

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)

CASES = {
    "sigmoid": (Sigmoid(), jax.nn.sigmoid),
    "tanh": (Tanh(), jax.numpy.tanh),
    "relu": (ReLU(), jax.nn.relu),
    "leaky": (LeakyReLU(), partial(jax.nn.leaky_relu, negative_slope=0.01)),
    "steep": (LeakyReLU(2.5), partial(jax.nn.leaky_relu, negative_slope=2.5)),
    "folded": (LeakyReLU(-1.0), partial(jax.nn.leaky_relu, negative_slope=-1.0)),
    "softplus": (Softplus(), jax.nn.softplus),
    "sharp": (Softplus(3.0), lambda d: jax.nn.softplus(3.0 * d) / 3.0),
    "softsign": (Softsign(), jax.nn.soft_sign),
    "gelu": (GELU(), partial(jax.nn.gelu, approximate=True)),
    "silu": (SiLU(), jax.nn.silu),
    "softmax": (Softmax(), jax.nn.softmax),
    "softmax by columns": (Softmax(0), partial(jax.nn.softmax, axis=0)),
}
LAYERS = {name: layer for name, (layer, _) in CASES.items()}
every = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@settings(deadline=None, max_examples=6)
@given(
    shape=array_shapes(max_dims=3, max_side=4),
    scale=st.sampled_from([0.1, 1.0, 10.0, 300.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_value_and_v_agree_with_jax(case, shape, scale, seed):
    layer, theirs = case
    rng = np.random.default_rng(seed)
    d, v = scale * rng.normal(size=shape), rng.normal(size=shape)
    h, pull = jax.vjp(theirs, d)
    np.testing.assert_allclose(layer.forward(d), h, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(
        layer.backward(v), pull(v)[0], rtol=1e-10, atol=1e-10
    )


def test_softmax_along_a_middle_axis():
    rng = np.random.default_rng(0)
    d, v = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
    layer = Softmax(1)
    h, pull = jax.vjp(partial(jax.nn.softmax, axis=1), d)
    np.testing.assert_allclose(layer.forward(d), h, atol=1e-14)
    np.testing.assert_allclose(layer.backward(v), pull(v)[0], atol=1e-14)


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_finite_silent_and_of_one_dtype_at_the_extremes(layer, dtype):
    d = np.array([-1000, -88.8, -38, -1, 0, 1, 38, 88.8, 1000], dtype)[:, None]
    with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("error")
        h = layer.forward(d)
        v = layer.backward(np.ones_like(d))
    assert h.dtype == v.dtype == dtype
    assert h.shape == v.shape == d.shape
    assert np.isfinite(h).all()
    assert np.isfinite(v).all()


@every
def test_inputs_are_left_alone_and_strides_do_not_matter(layer):
    rng = np.random.default_rng(3)
    d, v = rng.normal(size=(6, 8))[::2, ::-2], rng.normal(size=(4, 3)).T
    before = d.copy(), v.copy()
    h, v_d = layer.forward(d), layer.backward(v)
    assert np.array_equal(d, before[0])
    assert np.array_equal(v, before[1])
    assert np.array_equal(layer.forward(before[0]), h)
    assert np.allclose(layer.backward(before[1]), v_d, atol=1e-15)


@every
def test_backward_is_linear_and_repeatable(layer):
    rng = np.random.default_rng(4)
    d, v, w = rng.normal(size=(3, 4, 5))
    layer.forward(d)
    together = layer.backward(2 * v + w)
    apart = 2 * layer.backward(v) + layer.backward(w)
    np.testing.assert_allclose(together, apart, atol=1e-14)
    assert np.array_equal(layer.backward(v), layer.backward(v))


@every
def test_nan_is_not_hidden(layer):
    assert np.isnan(layer.forward(np.array([[np.nan], [1.0]]))).any()


@every
def test_no_parameters_and_proof_numbers_pass_through(layer):
    assert layer.parameters == layer.gradients == layer.state == {}
    d = symbols("d", (2, 3))
    assert layer.forward(d).shape == layer.backward(symbols("v", (2, 3))).shape


@every
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))]
)
def test_copies_keep_their_settings(layer, duplicate):
    twin = duplicate(layer)
    d = np.random.default_rng(5).normal(size=(2, 3))
    assert repr(twin) == repr(layer)
    assert np.array_equal(twin.forward(d), layer.forward(d))


@every
def test_a_flipped_sign_is_refuted(layer):
    class Flipped(type(layer)):
        def backward(self, v):
            return -super().backward(v)

    flipped = copy.deepcopy(layer)
    flipped.__class__ = Flipped
    assert prove(layer, (2, 3))
    assert not prove(flipped, (2, 3))


@every
def test_bad_input_is_refused_in_the_layer_s_name(layer):
    name = type(layer).__name__
    fresh = copy.deepcopy(layer)
    with pytest.raises(RuntimeError, match=f"{name}.*backward before forward"):
        fresh.backward(np.ones((2, 3)))
    for bad in ([[1.0]], np.ones((2, 3), int), "x", None):
        with pytest.raises(TypeError, match=f"{name}.* wants x "):
            fresh.forward(bad)
    with pytest.raises(ValueError, match=rf"{name}.* wants x .*\(0, 3\)"):
        fresh.forward(np.ones((0, 3)))
    fresh.forward(np.ones((2, 3)))
    with pytest.raises(ValueError, match=rf"{name}.* wants v of shape \(2, 3\)"):
        fresh.backward(np.ones((3, 2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LeakyReLU(np.nan), "negative_slope"),
        (lambda: LeakyReLU(np.inf), "negative_slope"),
        (lambda: Softplus(0), "beta"),
        (lambda: Softplus(-1.0), "beta"),
        (lambda: Softplus(np.inf), "beta"),
        (lambda: GELU("none"), "erf"),
        (lambda: Softmax(2).forward(np.ones((2, 3))), "axis"),
        (lambda: Softmax(-3).forward(np.ones((2, 3))), "axis"),
        (lambda: Softmax().forward(np.float64(1)), "axis"),
    ],
)
def test_settings_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LeakyReLU(None), "LeakyReLU wants a real negative_slope, got None"),
        (lambda: Softplus("1"), "Softplus wants a real beta, got '1'"),
        (lambda: Softplus(1j), "Softplus wants a real beta"),
        (lambda: Softplus(np.array([1.0, 2.0])), "Softplus wants a real beta"),
        (lambda: Softmax(None), "Softmax wants an integer dim, got None"),
        (lambda: Softmax(1.0), "Softmax wants an integer dim, got 1.0"),
    ],
)
def test_settings_of_a_wrong_type_are_named(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("number", [np.float64(2), np.float32(2), np.int64(2)])
@pytest.mark.parametrize("kind", [Softplus, LeakyReLU])
def test_numpy_s_scalars_as_settings_keep_float32(kind, number):
    layer = kind(number)
    x = np.linspace(-3, 3, 7, dtype=np.float32)
    assert layer.forward(x).dtype == layer.backward(x).dtype == np.float32
    assert np.array_equal(layer.forward(x), kind(2.0).forward(x))


TAILS = {"sigmoid": -80, "silu": -80, "softplus": -80, "sharp": -25, "gelu": -8}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", TAILS)
def test_the_left_tail_keeps_its_digits(name, dtype):
    layer, theirs = CASES[name]
    if name == "gelu":  # the plain form cancels: here is the definition again

        def theirs(d):
            cube = d + 0.044715 * d**3
            return d * jax.nn.sigmoid(2 * (2 / jax.numpy.pi) ** 0.5 * cube)

    d = np.linspace(TAILS[name], -1, 200).astype(dtype)
    h, pull = jax.vjp(theirs, d.astype(float))
    rtol = 400 * np.finfo(dtype).eps
    away = np.abs(d + 1.2784645) > 0.3  # the slope of SiLU is 0 there
    if name == "gelu":
        away = d < -1.5
    np.testing.assert_allclose(layer.forward(d), h, rtol=rtol)
    t = layer.backward(np.ones_like(d))
    np.testing.assert_allclose(t[away], pull(np.ones(200))[0][away], rtol=rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_is_silent_and_right_at_the_largest_floats(dtype):
    largest = np.finfo(dtype).max
    a_near_the_largest = 2.7 * float(largest) ** (1 / 3)
    d = np.array([-largest, -30, 30, a_near_the_largest, largest], dtype)
    gelu = GELU()
    with np.errstate(all="raise", under="ignore"):
        h, t = gelu.forward(d), gelu.backward(np.ones_like(d))
    assert np.array_equal(h, np.maximum(d, 0))
    assert np.array_equal(t, d > 0)
    assert h.dtype == t.dtype == dtype


def test_the_slope_at_zero_is_the_convention_of_pytorch():
    zero = np.zeros(1)
    for layer, wanted in ((ReLU(), 0.0), (LeakyReLU(0.3), 0.3)):
        layer.forward(zero)
        assert layer.backward(np.ones(1)) == wanted


@settings(deadline=None)
@given(
    rows=st.integers(1, 5),
    classes=st.integers(1, 6),
    shift=st.floats(-1e6, 1e6),
    seed=st.integers(0, 2**32 - 1),
)
def test_softmax_shares_shift_and_zero_sum(rows, classes, shift, seed):
    rng = np.random.default_rng(seed)
    d, v = rng.normal(size=(2, rows, classes))
    layer = Softmax()
    h = layer.forward(d)
    np.testing.assert_allclose(h.sum(1), 1)
    np.testing.assert_allclose(layer.forward(d + shift), h, atol=1e-8)
    np.testing.assert_allclose(layer.backward(v).sum(1), 0, atol=1e-14)


@given(st.floats(-700, 700))
def test_softplus_is_the_logarithm_that_the_sigmoid_cannot_give(d):
    got = Softplus().forward(np.array([d]))[0]
    assert np.isclose(got, np.logaddexp(0, d), rtol=1e-14, atol=0)


def test_nine_activations_are_public():
    tested = {type(layer).__name__ for layer in LAYERS.values()}
    assert tested == set(activations.__all__)
