"""Conv2d and pooling: against JAX on random sizes, PyTorch's numbers, bad input."""

import copy
import inspect
import pickle
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop_lit import convolution
from backprop_lit.activations import Tanh
from backprop_lit.convolution import AvgPool2d, Conv2d, MaxPool2d, Unflatten
from backprop_lit.differences import gradcheck
from backprop_lit.network import Flatten, Linear, Sequential
from backprop_lit.symbolic import prove

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)
jnp = jax.numpy


def rng(seed=0):
    return np.random.default_rng(seed)


def conv(*sizes, **options):
    return Conv2d(*sizes, rng=rng(), **options)


def agree(got, wanted):
    assert np.shape(got) == np.shape(wanted)
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-11)


def frame(padding):
    return [(p, p) for p in padding]


# --- JAX, on random sizes, strides and paddings -------------------------------

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
borders = st.tuples(st.integers(0, 2), st.integers(0, 2))
spare = st.tuples(st.integers(0, 3), st.integers(0, 3))


def fitting(kernel, padding, spare):
    """A height and a width with room for at least one window."""
    return tuple(max(1, k - 2 * p) + s
                 for k, p, s in zip(kernel, padding, spare, strict=True))


def compare(layer, peer, x, *parameters):
    """Forward, v_x and gradients against jax.vjp of a function of the same."""
    h = layer.forward(x)
    wanted, pull = jax.vjp(peer, x, *parameters)
    agree(h, wanted)
    v = rng(7).normal(size=h.shape)
    agree(layer.backward(v), pull(v)[0])
    for gradient, slope in zip(
            layer.gradients.values(), pull(v)[1:], strict=True):
        agree(gradient, slope)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 3), channels=pairs, kernel=pairs, stride=pairs,
       padding=borders, spare=spare, bias=st.booleans())
def test_conv2d_agrees_with_jax(n, channels, kernel, stride, padding, spare, bias):
    layer = conv(*channels, kernel, stride, padding, bias=bias)
    x = rng(1).normal(size=(n, channels[0], *fitting(kernel, padding, spare)))

    def peer(x, weight, *bias):
        d = jax.lax.conv_general_dilated(
            x, weight, stride, frame(padding),
            dimension_numbers=("NCHW", "OIHW", "NCHW"))
        return d + bias[0][:, None, None] if bias else d

    compare(layer, peer, x, *layer.parameters.values())


def jax_pool(x, kernel, stride, padding, start, reduce):
    return jax.lax.reduce_window(
        x, start, reduce, (1, 1, *kernel), (1, 1, *stride),
        [(0, 0), (0, 0), *frame(padding)])


@settings(max_examples=10, deadline=None)
@given(n=st.integers(1, 3), kernel=pairs, stride=pairs, data=st.data(), spare=spare)
def test_pooling_agrees_with_jax(n, kernel, stride, data, spare):
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    shape = (n, 2, *fitting(kernel, padding, spare))
    x = rng(2).permutation(np.prod(shape)).reshape(shape) / 7.0 - 3  # no ties
    most = partial(jax_pool, kernel=kernel, stride=stride, padding=padding,
                   start=-jnp.inf, reduce=jax.lax.max)
    total = partial(jax_pool, kernel=kernel, stride=stride, padding=padding,
                    start=0.0, reduce=jax.lax.add)
    compare(MaxPool2d(kernel, stride, padding), most, x)
    compare(AvgPool2d(kernel, stride, padding),
            lambda x: total(x) / np.prod(kernel), x)
    compare(AvgPool2d(kernel, stride, padding, count_include_pad=False),
            lambda x: total(x) / total(jnp.ones(x.shape)), x)


# --- PyTorch ------------------------------------------------------------------


def test_the_first_of_several_largest_takes_v_as_in_pytorch():
    pool = MaxPool2d(2, stride=1)
    pool.forward(np.array([[[[7.0, 7.0, 1.0], [7.0, 0.0, 2.0]]]]))
    v_x = pool.backward(np.array([[[[1.0, 10.0]]]]))
    assert v_x.tolist() == [[[[1, 10, 0], [0, 0, 0]]]]


@pytest.mark.parametrize(("layer", "wanted"), [
    (lambda: AvgPool2d(2, padding=1), [[0.25, 0.75], [1.5, 2.0]]),
    (lambda: AvgPool2d(2, padding=1, count_include_pad=False),
     [[1.0, 1.5], [3.0, 2.0]]),
], ids=["counted", "not counted"])
def test_padding_counts_unless_told_otherwise(layer, wanted):
    x = np.array([[[[1.0, 3.0, 0.0], [6.0, 8.0, 0.0], [0.0, 0.0, 0.0]]]])
    h = layer().forward(x)
    assert h[0, 0].tolist() == wanted


def test_names_shapes_and_first_weights_are_pytorch_s():
    layer = conv(50, 40, (3, 5))
    assert {name: p.shape for name, p in layer.parameters.items()} == {
        "weight": (40, 50, 3, 5), "bias": (40,)}
    bound = 1 / np.sqrt(50 * 3 * 5)
    weight = layer.parameters["weight"]
    assert bound * 0.999 < abs(weight).max() <= bound
    assert bound * 0.8 < abs(layer.parameters["bias"]).max() <= bound
    assert abs(weight.std() - bound / np.sqrt(3)) < 0.01 * bound


# --- the layers among others --------------------------------------------------


def network():
    r = rng(3)
    return Sequential(
        Unflatten(1, (1, 6, 6)), Conv2d(1, 2, 3, padding=1, rng=r), Tanh(),
        MaxPool2d(2), Conv2d(2, 3, 2, stride=2, padding=1, rng=r), Tanh(),
        AvgPool2d(2, 1), Flatten(), Linear(3, 2, rng=r))


def test_a_network_agrees_with_differences():
    assert gradcheck(network(), rng(4).normal(size=(3, 36)))


@pytest.mark.parametrize("twin", [
    copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_compute_the_same(twin):
    model, x = network(), rng(4).normal(size=(3, 36))
    other = twin(model)
    h = model.forward(x)
    assert (other.forward(x) == h).all()
    assert (other.backward(h) == model.backward(h)).all()
    assert (other.gradient == model.gradient).all()


@pytest.mark.parametrize("layer", [
    conv(2, 3, 3, padding=1, dtype=np.float32), MaxPool2d(2), AvgPool2d(2),
    AvgPool2d(2, padding=1, count_include_pad=False)], ids=str)
def test_float32_stays_float32_and_inputs_are_left_alone(layer):
    x = rng().normal(size=(4, 2, 6, 6)).astype(np.float32)
    before = x.copy()
    h = layer.forward(x)
    v = np.ones_like(h)
    v_x = layer.backward(v)
    assert h.dtype == v_x.dtype == np.float32
    assert (x == before).all()
    assert (v == 1).all()
    first = layer.gradient.copy()
    assert (layer.backward(v) == v_x).all()
    assert (layer.gradient == first).all()  # written, not added


@pytest.mark.parametrize("change", [
    {"stride": (1, 1)}, {"stride": (1, 2)}, {"padding": (0, 1)},
    {"kernel_size": (1, 1)}], ids=str)
@pytest.mark.parametrize("make", [
    lambda: conv(1, 1, 2, stride=2), lambda: MaxPool2d(2),
    lambda: AvgPool2d(2), lambda: AvgPool2d(2, count_include_pad=False)])
def test_backward_uses_the_windows_of_its_forward(make, change):
    layer, x = make(), rng(5).normal(size=(2, 1, 4, 4))
    v = np.ones_like(layer.forward(x))
    wanted = layer.backward(v)
    vars(layer).update(change)
    agree(layer.backward(v), wanted)


@pytest.mark.parametrize(("dim", "sizes", "shape"), [
    (2, (2, 2), (2, 3, 4)), (2, (3, 1), (2, 5, 3, 2)), (3, (4,), (1, 2, 3, 4))])
def test_unflatten_lays_out_any_axis(dim, sizes, shape):
    layer, x = Unflatten(dim, sizes), rng().normal(size=shape)
    wanted = x.reshape(*shape[:dim], *sizes, *shape[dim + 1:])
    h = layer.forward(x)
    assert h.shape == wanted.shape
    assert (h == wanted).all()
    assert (layer.backward(h) == x).all()


def test_numpy_s_numbers_and_truth_values_are_settings_too():
    one = np.int64(1)
    assert str(Unflatten(one, (one, np.int64(8)))) == "Unflatten(1, (1, 8))"
    assert "bias" not in conv(1, 1, 1, bias=np.False_).parameters
    assert AvgPool2d(2, count_include_pad=np.True_).count_include_pad is True


def test_pixels_that_no_window_sees_get_nothing():
    layer = conv(1, 1, 3, stride=2)
    d = layer.forward(rng().normal(size=(2, 1, 8, 6)))
    v_x = layer.backward(np.ones_like(d))
    assert not v_x[:, :, 7].any()
    assert not v_x[:, :, :, 5].any()
    assert v_x[:, :, :7, :5].all()


def test_max_pooling_with_padding_is_proved_too():
    layer = MaxPool2d((2, 1), padding=(1, 0))

    def formula(x):
        import sympy as sp

        return [[[[x[0, c, 0, k] for k in (0, 1)],
                  [sp.Max(x[0, c, 1, k], x[0, c, 2, k]) for k in (0, 1)]]
                 for c in (0, 1)]]

    assert prove(layer, (1, 2, 3, 2), formula=formula)


BROKEN_FOLDS = [
    ("+= uses", "= uses"),
    ("x[:, *pixels] += uses[:, down, right]", "pass"),
    ("above:height - above", ":height - 2 * above"),
]


@pytest.mark.parametrize("layer", [
    conv(2, 3, (3, 2), (2, 1), (1, 0)), MaxPool2d((2, 1), 1, (1, 0)),
    AvgPool2d((2, 3), 1, (1, 0))], ids=str)
@pytest.mark.parametrize("fault", [None, *BROKEN_FOLDS], ids=str)
def test_proofs_reach_the_fold(layer, fault, monkeypatch):
    if fault is not None:
        source = inspect.getsource(convolution._fold)
        assert source.count(fault[0]) == 1
        scope = dict(vars(convolution))
        exec(source.replace(*fault), scope)
        monkeypatch.setattr(convolution, "_fold", scope["_fold"])
    assert bool(prove(layer, (1, 2, 3, 3))) == (fault is None)


def test_a_frame_of_padding_is_less_than_any_pixel():
    layer = MaxPool2d(2, 1, 1)
    x = rng().normal(size=(1, 1, 3, 3)) - 100
    assert layer.forward(x).max() < -90
    assert layer.backward(np.ones((1, 1, 4, 4))).sum() == 16


def test_a_pixel_that_is_nan_wins():
    layer = MaxPool2d(2)
    assert np.isnan(layer.forward(np.array([[[[1.0, np.nan], [3.0, 4.0]]]])))
    v_x = layer.backward(np.ones((1, 1, 1, 1)))
    assert v_x.tolist() == [[[[0, 1], [0, 0]]]]
    layer.forward(np.array([[[[np.nan, 1.0], [np.nan, 4.0]]]]))
    v_x = layer.backward(np.ones((1, 1, 1, 1)))
    assert v_x.tolist() == [[[[1, 0], [0, 0]]]]  # the first; PyTorch's last


def test_losers_get_nothing_of_an_infinite_v():
    layer = MaxPool2d(2)
    layer.forward(np.arange(4.0).reshape(1, 1, 2, 2))
    v_x = layer.backward(np.full((1, 1, 1, 1), np.inf))
    assert v_x.tolist() == [[[[0, 0], [0, np.inf]]]]


def test_v_is_not_cast_to_the_images_dtype():
    layer = MaxPool2d(1)
    layer.forward(np.ones((1, 1, 1, 1), np.float32))
    assert layer.backward(np.full((1, 1, 1, 1), 1e300)) == 1e300


def test_a_complex_v_is_not_cast_to_real_gradients():
    layer = conv(1, 1, 2)
    d = layer.forward(np.ones((1, 1, 3, 3)))
    layer.backward(d)
    before = layer.gradient.copy()
    with pytest.raises(TypeError, match="same_kind"):
        layer.backward(d * 1j)
    assert (layer.gradient == before).all()


def test_the_maximum_keeps_a_byte_of_each_use():
    layer = MaxPool2d(3, 1, 1)
    layer.forward(np.ones((2, 2, 6, 6)))
    assert layer._kept[1][0].dtype == bool


def test_layers_that_differ_print_differently():
    assert str(conv(1, 2, 3, bias=False)) == "Conv2d(1 → 2, 3 × 3, bias=False)"
    assert str(AvgPool2d(2, count_include_pad=False)) == (
        "AvgPool2d(2 × 2, count_include_pad=False)")
    assert str(AvgPool2d(2)) == "AvgPool2d(2 × 2)"


def test_settings_after_the_padding_are_named():
    with pytest.raises(TypeError, match="positional"):
        AvgPool2d(3, 2, 1, False)  # PyTorch's fourth is ceil_mode


# --- what is refused ----------------------------------------------------------


@pytest.mark.parametrize(("attempt", "kind", "message"), [
    (lambda: conv(1, 1, 0), ValueError, "kernel_size from 1 on"),
    (lambda: conv(1, 1, 3, 0), ValueError, "stride from 1 on, got 0"),
    (lambda: conv(1, 1, 3, 1, -1), ValueError, "padding from 0 on"),
    (lambda: conv(1, 1, 2.0), TypeError, "an integer or a pair"),
    (lambda: conv(1, 1, (2, 3, 4)), TypeError, "an integer or a pair"),
    (lambda: conv(1, 1, True), TypeError, "an integer or a pair"),
    (lambda: conv(1, 1, 3, padding="same"), TypeError, "padding, got 'same'"),
    (lambda: conv(0, 1, 3), ValueError, "sizes from 1 on"),
    (lambda: conv(1, 1, 3, dtype=int), TypeError, "dtype of floats"),
    (lambda: Conv2d(1, 1, 3, rng=0), TypeError, "wants rng"),
    (lambda: MaxPool2d(2, padding=2), ValueError, "at most half"),
    (lambda: AvgPool2d(2, 0), ValueError, "stride from 1 on"),
    (lambda: AvgPool2d(2, count_include_pad=1), TypeError, "as a bool"),
    (lambda: Unflatten(0, (1, 8)), ValueError, "from 1 on"),
    (lambda: Unflatten(1, 8), TypeError, "tuple of sizes"),
    (lambda: Unflatten(1, ()), ValueError, "a size or more"),
    (lambda: conv(1, 1, 3, bias="no"), TypeError, "bias as a bool"),
    (lambda: Unflatten(1, (2.0, 4)), TypeError, "integers"),
])
def test_settings_that_cannot_be(attempt, kind, message):
    with pytest.raises(kind, match=message):
        attempt()


@pytest.mark.parametrize(("layer", "shape", "message"), [
    (conv(1, 2, (5, 3)), (2, 1, 4, 9),
     r"Conv2d\(1 → 2, 5 × 3\) wants images of at least 5 × 3 pixels"),
    (conv(1, 2, 5, padding=1), (2, 1, 2, 9), "padding included, got 4 × 11"),
    (conv(3, 2, 3), (2, 1, 8, 8), r"shape \(n, 3, height, width\)"),
    (conv(1, 2, 3), (8, 8), r"got \(8, 8\)"),
    (conv(1, 2, 3), (0, 1, 8, 8), "wants x of shape"),
    (MaxPool2d(3), (2, 1, 2, 2), "at least 3 × 3"),
    (AvgPool2d((1, 9)), (2, 1, 8, 8), "at least 1 × 9"),
    (Unflatten(1, (1, 8, 8)), (2, 63), "64 entries along axis 1"),
    (Unflatten(2, (2, 4)), (2, 8), "8 entries along axis 2"),
])
def test_inputs_that_do_not_fit_leave_everything_as_it_was(layer, shape, message):
    before = layer.theta.copy(), layer._kept
    with pytest.raises(ValueError, match=message):
        layer.forward(np.ones(shape))
    assert (layer.theta == before[0]).all()
    assert layer._kept is before[1]


def test_backward_wants_a_forward_and_its_shape():
    layer = conv(1, 2, 3)
    with pytest.raises(RuntimeError, match="backward before forward"):
        layer.backward(np.ones((1, 2, 1, 1)))
    layer.forward(np.ones((1, 1, 3, 3)))
    with pytest.raises(ValueError, match="wants v of shape"):
        layer.backward(np.ones((1, 2, 2, 2)))
    with pytest.raises(TypeError, match="floating-point"):
        layer.forward(np.ones((1, 1, 3, 3), int))
