"""The mold of every layer: memory, binding, copies and messages."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop_lit.differences import gradcheck
from backprop_lit.layer import Layer, check_shape
from backprop_lit.symbolic import symbols

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)


class Neuron(Layer):
    """The neuron of chapter 4, at module level, so that it can be pickled."""

    def forward(self, x, *, training=False):
        weight, bias = self.parameters.values()
        check_shape(self, "x", x, ("n", weight.size))
        u = 1 / (1 + np.exp(-(x @ weight + bias)))
        return self.keep(u, (x, u))

    def backward(self, v):
        x, u = self.recall(v)
        v_d = v * u * (1 - u)
        self.gradients["weight"][...] = v_d @ x
        self.gradients["bias"][...] = v_d.sum()
        return np.outer(v_d, self.parameters["weight"])


def neuron(inputs=3, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return Neuron(
        weight=rng.normal(size=inputs).astype(dtype),
        bias=rng.normal(size=1).astype(dtype),
    )


def bound(layer):
    """Whether all parameters and gradients are views of the two vectors."""
    pairs = ((layer.parameters, layer.theta), (layer.gradients, layer.gradient))
    return all(
        np.shares_memory(array, vector)
        for arrays, vector in pairs
        for array in arrays.values()
    )


@pytest.mark.parametrize(
    ("array", "shape", "error", "message"),
    [
        (np.ones((8, 63)), ("n", 64), ValueError,
         "Linear(64 → 32) wants x of shape (n, 64), got (8, 63)"),
        (np.ones((0, 64)), ("n", 64), ValueError,
         "Linear(64 → 32) wants x of shape (n, 64), got (0, 64)"),
        (np.ones(64), ("n", 64), ValueError,
         "Linear(64 → 32) wants x of shape (n, 64), got (64,)"),
        (np.ones(3), (4,), ValueError,
         "Linear(64 → 32) wants x of shape (4,), got (3,)"),
        (np.float64(1), ("n",), ValueError,
         "Linear(64 → 32) wants x of shape (n,), got ()"),
        (np.ones((2, 0)), None, ValueError,
         "Linear(64 → 32) wants x of shape (any, any), got (2, 0)"),
        ([1.0], ("n",), TypeError,
         "Linear(64 → 32) wants x as a plain NumPy array, got list"),
        (np.ma.ones((8, 64)), ("n", 64), TypeError,
         "Linear(64 → 32) wants x as a plain NumPy array, got MaskedArray"),
        (np.ones((8, 64), int), ("n", 64), TypeError,
         "Linear(64 → 32) wants x of floating-point numbers, got int64"),
        (np.ones((8, 64), bool), ("n", 64), TypeError,
         "Linear(64 → 32) wants x of floating-point numbers, got bool"),
        (np.array(["a"]), ("n",), TypeError,
         "Linear(64 → 32) wants x of floating-point numbers, got <U1"),
    ],
)
def test_the_message_says_who_wanted_what_and_what_came(
    array, shape, error, message
):
    with pytest.raises(error) as raised:
        check_shape("Linear(64 → 32)", "x", array, shape)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (np.ones((8, 64)), ("n", 64)),
        (np.ones((8, 64), np.float32), ("n", "features")),
        (np.ones((2, 3), complex), (2, 3)),
        (symbols("x", (2, 3)), ("n", 3)),
        (np.ones((2, 3), object), None),
        (np.float64(1), ()),
        (np.float64(1), None),
        (np.empty(0), (0,)),
    ],
)
def test_what_fits_passes_in_silence(array, shape):
    assert check_shape("layer", "x", array, shape) is None


def test_parameters_are_copied_and_are_views_of_theta():
    weight = np.array([[1.0, 2.0], [3.0, 4.0]])
    layer = Layer(weight=weight, bias=np.array([5.0]))
    assert layer.theta.tolist() == [1, 2, 3, 4, 5]
    assert layer.gradient.tolist() == [0] * 5
    assert not np.shares_memory(weight, layer.theta)
    layer.parameters["weight"][0, 1] = 9
    assert layer.theta[1] == 9
    assert weight[0, 1] == 2
    assert bound(layer)
    assert list(layer.parameters) == list(layer.gradients) == ["weight", "bias"]
    assert layer.state == {}


def test_a_layer_without_parameters_has_empty_vectors():
    layer = Layer()
    assert layer.theta.shape == layer.gradient.shape == (0,)
    assert layer.parameters == layer.gradients == {}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, object])
def test_the_dtype_is_that_of_the_parameters(dtype):
    layer = neuron(dtype=dtype)
    assert layer.theta.dtype == layer.gradient.dtype == dtype


def test_integer_parameters_are_refused():
    with pytest.raises(TypeError, match=r"Neuron\(\) wants weight of floating"):
        Neuron(weight=np.arange(3), bias=np.ones(1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, object])
def test_bind_takes_what_stands_in_theta(dtype):
    layer = neuron()
    theta = np.array([10.0, 20.0, 30.0, 40.0]).astype(dtype)
    gradient = np.zeros_like(theta)
    layer.bind(theta, gradient)
    assert layer.theta is theta
    assert layer.gradient is gradient
    assert layer.parameters["weight"].tolist() == [10, 20, 30]
    assert layer.parameters["bias"].tolist() == [40]
    theta[0] = -1
    assert layer.parameters["weight"][0] == -1
    assert bound(layer)


def test_bind_to_a_part_of_a_longer_vector():
    theta, gradient = np.arange(10.0), np.zeros(10)
    layer = neuron()
    layer.bind(theta[3:7], gradient[3:7])
    layer.forward(np.ones((2, 3)))
    layer.backward(np.ones(2))
    assert gradient[3:7].all()
    assert not gradient[:3].any()
    assert not gradient[7:].any()


def test_bind_to_proof_numbers():
    layer = neuron()
    theta = symbols("theta", (4,))
    layer.bind(theta, symbols("stale", (4,)))
    assert layer.parameters["bias"][0] is theta[3]
    assert layer.forward(symbols("x", (2, 3))).shape == (2,)


@pytest.mark.parametrize(
    ("theta", "gradient", "error"),
    [
        (np.ones(5), np.ones(4), ValueError),
        (np.ones(4), np.ones(3), ValueError),
        (np.ones((2, 2)), np.ones(4), ValueError),
        ([1.0] * 4, np.ones(4), TypeError),
        (np.ones(4, int), np.ones(4), TypeError),
        (np.ones(4), None, TypeError),
    ],
)
def test_a_refused_bind_changes_nothing(theta, gradient, error):
    layer = neuron()
    x = np.ones((2, 3))
    layer.forward(x)
    before, views = layer.theta, layer.parameters
    with pytest.raises(error, match=r"Neuron\(\) wants (theta|gradient)"):
        layer.bind(theta, gradient)
    assert layer.theta is before
    assert layer.parameters is views
    layer.backward(np.ones(2))


@pytest.mark.parametrize("kind", ["parameters", "gradients"])
@pytest.mark.parametrize(
    "write",
    [
        lambda views: views.__setitem__("weight", np.ones(3)),
        lambda views: views.__setitem__("other", np.ones(3)),
        lambda views: views.__delitem__("weight"),
        lambda views: views.update(weight=np.ones(3)),
        lambda views: views.__ior__({"weight": np.ones(3)}),
        lambda views: views.setdefault("other", np.ones(3)),
        lambda views: views.pop("weight"),
        lambda views: views.popitem(),
        lambda views: views.clear(),
    ],
)
def test_a_view_cannot_be_let_go(kind, write):
    layer = neuron()
    views = getattr(layer, kind)
    before = dict(views)
    with pytest.raises(TypeError, match=rf"Neuron: write into .*{kind}\[\"") as e:
        write(views)
    assert "[...] = …" in str(e.value)
    assert views == before
    assert bound(layer)


def test_a_backward_that_rebinds_its_gradient_is_loud():
    class Rebinding(Neuron):
        def backward(self, v):
            x, u = self.recall(v)
            self.gradients["weight"] = (v * u * (1 - u)) @ x

    layer = Rebinding(weight=np.ones(3), bias=np.ones(1))
    layer.forward(np.ones((2, 3)))
    with pytest.raises(TypeError, match=r'gradients\["weight"\]\[\.\.\.\] = …'):
        layer.backward(np.ones(2))


@pytest.mark.parametrize("name", ["theta", "gradient", "parameters", "gradients"])
def test_only_bind_gives_a_layer_other_vectors(name):
    layer = neuron()
    other = copy.deepcopy(getattr(layer, name))
    with pytest.raises(AttributeError, match=rf"Neuron\(\): write into {name}"):
        setattr(layer, name, other)
    assert bound(layer)


def test_writing_in_place_is_welcome():
    layer = neuron()
    start = layer.theta.copy()
    layer.gradient += 1
    layer.gradients["weight"] += 1
    layer.gradients["bias"][...] = 5
    layer.theta -= layer.gradient
    layer.parameters["weight"] *= 2
    assert layer.gradient.tolist() == [2, 2, 2, 5]
    assert np.allclose(layer.theta, (start - [2, 2, 2, 5]) * [2, 2, 2, 1])
    assert bound(layer)


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda views: pickle.loads(pickle.dumps(views))],
)
def test_a_copy_of_the_views_is_an_ordinary_dict(duplicate):
    layer = neuron()
    saved = duplicate(layer.parameters)
    assert type(saved) is dict
    layer.theta[...] = 0
    assert saved["weight"].any()
    saved["weight"] = np.ones(3)


OVERLAP = np.ones(5)
READ_ONLY = np.ones(4)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("theta", "gradient", "error", "message"),
    [
        (OVERLAP[:4], OVERLAP[:4], ValueError, "share memory"),
        (OVERLAP[:4], OVERLAP[1:], ValueError, "share memory"),
        (READ_ONLY, np.zeros(4), ValueError, "read-only"),
        (np.ones(4), READ_ONLY, ValueError, "read-only"),
        (np.broadcast_to(1.0, 4), np.zeros(4), ValueError, "read-only"),
        (np.ones(4, complex), np.zeros(4), TypeError, "complex128 and float64"),
        (np.ones(4), np.zeros(4, np.float32), TypeError, "float64 and float32"),
    ],
)
def test_bind_refuses_vectors_that_would_go_wrong_later(
    theta, gradient, error, message
):
    layer = neuron()
    before = layer.theta
    with pytest.raises(error, match=rf"Neuron\(\) wants theta and .*{message}"):
        layer.bind(theta, gradient)
    assert layer.theta is before


def test_parameters_of_two_dtypes_are_refused():
    with pytest.raises(TypeError, match="one dtype, got float32 and float64"):
        Neuron(weight=np.ones(3, np.float32), bias=np.ones(1))


def test_bind_forgets_what_was_kept():
    layer = neuron()
    layer.forward(np.ones((2, 3)))
    layer.bind(np.ones(4), np.zeros(4))
    with pytest.raises(RuntimeError, match="backward before forward"):
        layer.backward(np.ones(2))


def test_backward_before_forward():
    with pytest.raises(RuntimeError, match=r"Neuron\(\): backward before forward"):
        neuron().backward(np.ones(2))


@pytest.mark.parametrize(
    ("v", "error"),
    [
        (np.ones((2, 1)), ValueError),
        (np.ones(3), ValueError),
        (np.float64(1), ValueError),
        ([1.0, 1.0], TypeError),
        (np.ones(2, int), TypeError),
    ],
)
def test_a_refused_v_leaves_the_gradients_as_they_were(v, error):
    layer = neuron()
    layer.forward(np.ones((2, 3)))
    layer.backward(np.ones(2))
    before = layer.gradient.copy()
    with pytest.raises(error, match=r"Neuron\(\) wants v "):
        layer.backward(v)
    assert np.array_equal(layer.gradient, before)


def test_a_refused_x_leaves_what_was_kept():
    layer = neuron()
    layer.forward(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"wants x of shape \(n, 3\)"):
        layer.forward(np.ones((5, 4)))
    assert layer.backward(np.ones(2)).shape == (2, 3)


def test_gradients_are_written_not_added():
    layer = neuron()
    x = np.random.default_rng(1).normal(size=(5, 3))
    layer.forward(x)
    layer.backward(np.ones(5))
    once = layer.gradient.copy()
    layer.backward(np.ones(5))
    assert np.array_equal(layer.gradient, once)


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))]
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_copy_is_bound_again_and_shares_nothing(duplicate, inside):
    layer = neuron()
    if inside:
        theta, gradient = np.arange(10.0), np.zeros(10)
        layer.bind(theta[3:7], gradient[3:7])
    layer.state["mean"] = np.zeros(2)
    x = np.random.default_rng(1).normal(size=(5, 3))
    h = layer.forward(x)
    layer.backward(np.ones(5))
    twin = duplicate(layer)
    assert bound(twin)
    assert twin.theta.size == 4
    assert np.array_equal(twin.theta, layer.theta)
    assert np.array_equal(twin.gradient, layer.gradient)
    assert not np.shares_memory(twin.theta, layer.theta)
    assert not np.shares_memory(twin.state["mean"], layer.state["mean"])
    with pytest.raises(RuntimeError, match="backward before forward"):
        twin.backward(np.ones(5))
    assert np.array_equal(twin.forward(x), h)
    twin.theta[...] = 0
    assert layer.theta.any()


def test_pickle_leaves_the_batch_behind():
    layer = neuron()
    empty = len(pickle.dumps(layer))
    layer.forward(np.ones((10_000, 3)))
    assert len(pickle.dumps(layer)) == empty


def test_the_mold_itself_has_no_forward_and_no_backward():
    for method in (Layer().forward, Layer().backward):
        with pytest.raises(NotImplementedError, match=r"Layer\(\) has no"):
            method(np.ones(1))


@settings(deadline=None, max_examples=6)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_the_neuron_agrees_with_jax(rows, inputs, seed):
    rng = np.random.default_rng(seed)
    layer = neuron(inputs, seed)
    x, v = rng.normal(size=(rows, inputs)), rng.normal(size=rows)

    def whole(x, weight, bias):
        return v @ jax.nn.sigmoid(x @ weight + bias)

    wanted = jax.grad(whole, (0, 1, 2))(x, *layer.parameters.values())
    layer.forward(x)
    got = (layer.backward(v), *layer.gradients.values())
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


def test_gradcheck_agrees():
    assert gradcheck(neuron(), np.random.default_rng(2).normal(size=(4, 3)))
