"""Linear, Flatten and Sequential: against JAX, the vector θ, copies, bad input."""

import copy
import pickle
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop_lit.activations import ReLU, Softmax, Softsign, Tanh
from backprop_lit.layer import Layer
from backprop_lit.losses import CrossEntropyLoss, MSELoss
from backprop_lit.network import Flatten, Linear, Sequential
from backprop_lit.neurons import sample_network
from backprop_lit.symbolic import prove

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)
jnp = jax.numpy


def rng(seed=0):
    return np.random.default_rng(seed)


def small_model(dtype=np.float64, seed=0):
    r = rng(seed)
    return Sequential(Linear(4, 5, rng=r, dtype=dtype), Tanh(),
                      Linear(5, 3, bias=False, rng=r, dtype=dtype), ReLU(),
                      Linear(3, 2, rng=r, dtype=dtype))


def stored(q):
    return pickle.loads(pickle.dumps(q))


TWINS = pytest.mark.parametrize("twin", [copy.deepcopy, stored])


@jax.jit
def jax_linear(v, x, weight, bias):
    _, pull = jax.vjp(lambda x, weight, bias: x @ weight.T + bias, x, weight, bias)
    return pull(v)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 3), size=st.integers(1, 4), out=st.integers(1, 4),
       seed=st.integers(0, 2**32 - 1))
def test_linear_agrees_with_jax(n, size, out, seed):
    r = rng(seed)
    layer = Linear(size, out, rng=r)
    x, v = r.normal(size=(n, size)), r.normal(size=(n, out))
    weight, bias = layer.parameters.values()
    np.testing.assert_allclose(layer.forward(x), x @ weight.T + bias, rtol=1e-10)
    ours = layer.backward(v), *layer.gradients.values()
    for got, wanted in zip(ours, jax_linear(v, x, weight, bias), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-10)


def jax_network(theta, x, y, widths):
    h, start = x, 0
    for size, out in pairwise(widths):
        weight = theta[start:start + size * out].reshape(out, size)
        start += size * out
        h = jnp.tanh(h @ weight.T + theta[start:start + out])
        start += out
    return jnp.mean((h - y) ** 2)


@settings(max_examples=6, deadline=None)
@given(widths=st.lists(st.integers(1, 5), min_size=2, max_size=5),
       n=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_a_whole_network_agrees_with_jax(widths, n, seed):
    r = rng(seed)
    layers = []
    for size, out in pairwise(widths):
        layers += [Linear(size, out, rng=r), Tanh()]
    model, loss = Sequential(*layers), MSELoss()
    x, y = r.normal(size=(n, widths[0])), r.normal(size=(n, widths[-1]))
    e = loss.forward(model.forward(x), y)
    v_x = model.backward(loss.backward())
    peer = jax.jit(jax.value_and_grad(jax_network, (0, 1)), static_argnums=3)
    wanted, (g, wanted_x) = peer(model.theta, x, y, tuple(widths))
    np.testing.assert_allclose(e, wanted, rtol=1e-10)
    np.testing.assert_allclose(model.gradient, g, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(v_x, wanted_x, rtol=1e-10, atol=1e-10)


def test_a_classifier_agrees_with_jax():
    r = rng(3)
    model = Sequential(Flatten(), Linear(6, 4, rng=r), ReLU(), Linear(4, 3, rng=r))
    x, y, loss = r.normal(size=(5, 2, 3)), np.array([0, 2, 1, 1, 0]), CrossEntropyLoss()

    @jax.jit
    @partial(jax.grad, argnums=(0, 1))
    def peer(parameters, x):
        first, b, second, c = parameters
        h = jax.nn.relu(x.reshape(5, 6) @ first.T + b)
        return -jnp.mean(jax.nn.log_softmax(h @ second.T + c)[jnp.arange(5), y])

    wanted, wanted_x = peer(list(model.parameters.values()), x)
    loss.forward(model.forward(x), y)
    v_x = model.backward(loss.backward())
    np.testing.assert_allclose(v_x, wanted_x, rtol=1e-10, atol=1e-12)
    for got, g in zip(model.gradients.values(), wanted, strict=True):
        np.testing.assert_allclose(got, g, rtol=1e-10, atol=1e-12)


def test_theta_is_laid_out_layer_by_layer_row_by_row():
    model = small_model()
    assert list(model.parameters) == [
        "0.weight", "0.bias", "2.weight", "4.weight", "4.bias"]
    shapes = [p.shape for p in model.parameters.values()]
    assert shapes == [(5, 4), (5,), (3, 5), (2, 3), (2,)]
    parts = [p.ravel() for layer in model.layers for p in layer.parameters.values()]
    assert (model.theta == np.concatenate(parts)).all()
    model.theta[:] = np.arange(model.theta.size)
    assert model.layers[0].parameters["weight"][1, 0] == 4
    assert model.layers[4].parameters["bias"][1] == 47
    model.forward(np.ones((3, 4)))
    model.backward(np.ones((3, 2)))
    parts = [g.ravel() for layer in model.layers for g in layer.gradients.values()]
    assert (model.gradient == np.concatenate(parts)).all()


def in_one_piece(model):
    for vector in (model.theta, model.gradient):
        assert vector.flags.c_contiguous
        assert vector.__array_interface__["data"][0] % 64 == 0
    for layer in model.layers:
        views = [*layer.parameters.values(), *layer.gradients.values()]
        owners = [model.theta] * len(layer.parameters)
        owners += [model.gradient] * len(layer.gradients)
        for view, owner in zip(views, owners, strict=True):
            assert np.shares_memory(view, owner)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(5))
def test_theta_is_aligned_and_shared(dtype, seed):
    in_one_piece(small_model(dtype, seed))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_of_the_model_stays(dtype):
    model = small_model(dtype)
    h = model.forward(np.ones((3, 4), dtype))
    v_x = model.backward(np.ones((3, 2), dtype))
    assert {q.dtype for q in (model.theta, model.gradient, h, v_x)} == {np.dtype(dtype)}


@TWINS
def test_a_copy_has_vectors_of_its_own(twin):
    model = small_model()
    other = twin(model)
    in_one_piece(other)
    x = rng(1).normal(size=(3, 4))
    assert (other.forward(x) == model.forward(x)).all()
    other.theta[:] = 0
    assert not other.forward(x).any()
    assert model.theta.all()
    other.backward(np.ones((3, 2)))
    assert not model.gradient.any()
    assert repr(other) == repr(model)


def test_a_shallow_copy_leaves_the_model_whole():
    model = small_model()
    copy.copy(model)
    in_one_piece(model)


def test_copying_a_model_at_work_on_unaligned_vectors_changes_nothing_in_it():
    model = small_model()
    size = model.theta.size
    theta, gradient = np.empty((2, size + 1))
    theta[1:] = model.theta
    model.bind(theta[1:], gradient[1:])
    x = rng(1).normal(size=(3, 4))
    h = model.forward(x)
    other = copy.copy(model)
    in_one_piece(other)
    assert not np.shares_memory(other.theta, model.theta)
    model.backward(np.ones((3, 2)))
    model.theta[...] = 0
    assert not model.forward(x).any()
    assert (other.forward(x) == h).all()


@pytest.mark.parametrize("name", ["theta", "gradient"])
def test_another_vector_is_refused_and_nothing_is_let_go(name):
    model = small_model()
    kept = getattr(model, name)
    with pytest.raises(AttributeError, match=name):
        setattr(model, name, kept - 1)
    assert getattr(model, name) is kept
    model.theta -= 1.0
    in_one_piece(model)


def test_after_a_failed_forward_backward_is_refused_and_writes_nothing():
    model = Sequential(Flatten(), Sequential(Linear(6, 2, rng=rng())))
    model.forward(np.ones((5, 2, 3)))
    model.backward(np.ones((5, 2)))
    model.gradient[...] = 7
    with pytest.raises(ValueError, match="Linear"):
        model.forward(np.ones((5, 2, 4)))
    with pytest.raises(RuntimeError, match="before forward"):
        model.backward(np.ones((5, 2)))
    assert (model.gradient == 7).all()
    with pytest.raises(RuntimeError, match="before forward"):
        Sequential().backward(np.ones((1, 1)))


@TWINS
def test_nesting_changes_nothing(twin):
    r = rng(5)
    first, last = Linear(4, 5, rng=r), Linear(5, 2, rng=r)
    inner = Sequential(first, Tanh())
    flat = np.concatenate([first.theta, last.theta])
    model = twin(Sequential(inner, Sequential(last)))
    assert (model.theta == flat).all()
    assert next(iter(model.parameters)) == "0.0.weight"
    in_one_piece(model)
    assert np.shares_memory(model[0][0].parameters["weight"], model.theta)
    h = model.forward(np.ones((3, 4)))
    model.theta[:] = 0
    assert h.any()
    assert not model.forward(np.ones((3, 4))).any()


def test_binding_takes_the_values_of_the_vector():
    model = small_model()
    theta, gradient = rng(6).normal(size=(2, model.theta.size))
    model.bind(theta, gradient)
    assert model.theta is theta
    assert (model.layers[0].parameters["weight"].ravel() == theta[:20]).all()
    with pytest.raises(ValueError, match="theta"):
        model.bind(theta[:-1], gradient)
    assert model.theta is theta


def test_gradients_are_written_not_added():
    model = small_model()
    x, v = rng(7).normal(size=(3, 4)), rng(8).normal(size=(3, 2))
    model.forward(x)
    model.backward(v)
    once = model.gradient.copy()
    model.backward(v)
    assert (model.gradient == once).all()
    assert once.any()


def test_a_batch_is_the_sum_of_its_rows():
    model = small_model()
    x, v = rng(9).normal(size=(4, 4)), rng(10).normal(size=(4, 2))
    total = np.zeros_like(model.gradient)
    for k in range(4):
        model.forward(x[k:k + 1])
        model.backward(v[k:k + 1])
        total += model.gradient
    model.forward(x)
    model.backward(v)
    np.testing.assert_allclose(model.gradient, total, rtol=1e-12, atol=1e-14)


def test_the_sample_network_comes_out_exactly():
    model = Sequential(Linear(2, 2, rng=rng()), Softsign(),
                       Linear(2, 2, rng=rng()), Softsign())
    w, b = (list(q.values()) for q in sample_network()[3:])
    model.theta[:] = w[:4] + b[:2] + w[4:] + b[2:]
    u = model.forward(np.array([[2.0, 1.0]]))
    model.backward(u - [[0.0, 1.0]])
    assert (model.gradient * 64 == [
        28, 14, -10, -5, 14, -5, 4, 6, -12, -18, 8, -24]).all()


def test_the_initial_distribution_is_pytorchs():
    layer = Linear(25, 400, rng=rng(11))
    for q in layer.parameters.values():
        assert abs(q).max() <= 0.2
        assert abs(q).max() > 0.19
        assert abs(q.mean()) < 0.02
        assert q.std() == pytest.approx(0.2 / np.sqrt(3), rel=0.05)
    twin = Linear(25, 400, rng=rng(11))
    assert (twin.theta == layer.theta).all()


def test_state_is_named_and_shared():
    class Counter(Layer):
        def __init__(self):
            super().__init__()
            self.state = {"calls": np.zeros(1)}

        def forward(self, x, *, training=False):
            self.state["calls"] += training
            return x

    model = Sequential(Linear(2, 2, rng=rng()), Counter())
    model.forward(np.ones((1, 2)), training=True)
    model.forward(np.ones((1, 2)))
    assert model.state["1.calls"] == 1
    other = copy.deepcopy(model)
    other.forward(np.ones((1, 2)), training=True)
    assert (other.state["1.calls"], model.state["1.calls"]) == (2, 1)


def test_state_that_a_layer_replaces_is_seen_and_can_be_put_back():
    class Replacing(Layer):
        def __init__(self):
            super().__init__()
            self.state = {"calls": 0}

        def forward(self, x, *, training=False):
            self.state = {"calls": self.state["calls"] + 1}
            return x

    model = Sequential(Tanh(), Sequential(Replacing()))
    model.forward(np.ones((1, 2)))
    assert model.state == {"1.0.calls": 1}
    saved = dict(model.state)
    model.forward(np.ones((1, 2)))
    model.state |= saved
    assert model[1][0].state == {"calls": 1}
    assert copy.deepcopy(model).state == saved


def test_a_layer_hidden_in_another_kind_of_layer_counts():
    class Around(Layer):
        def __init__(self, *inner):
            self.blocks = list(inner)
            super().__init__()

    layer = Linear(2, 2, rng=rng())
    with pytest.raises(ValueError, match="the same Linear"):
        Sequential(layer, Around(Tanh(), layer))


@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 2, 2), (2, 1, 3, 2)])
def test_flatten_keeps_every_number_in_its_place(shape):
    flatten, x = Flatten(), rng(12).normal(size=shape)
    h = flatten.forward(x)
    assert h.shape == (shape[0], x[0].size)
    assert (h.ravel() == x.ravel()).all()
    assert (flatten.backward(h) == x).all()


def test_models_with_every_kind_of_layer_are_proved_whole():
    model = Sequential(Flatten(), Linear(4, 3, rng=rng()), Tanh(),
                       Sequential(Linear(3, 2, bias=False, rng=rng()), Softmax()))
    assert prove(model, (3, 2, 2))


@pytest.mark.parametrize(("attempt", "error", "words"), [
    (lambda: Linear(64, 32, rng=rng()).forward(np.ones((8, 63))), ValueError,
     r"Linear\(64 → 32\) wants x of shape \(n, 64\), got \(8, 63\)"),
    (lambda: Linear(4, 3, rng=rng()).forward(np.ones((0, 4))), ValueError,
     r"got \(0, 4\)"),
    (lambda: Linear(4, 3, rng=rng()).forward(np.ones((2, 4), int)), TypeError,
     "got int64"),
    (lambda: Linear(4, 3, rng=rng()).forward([[1.0] * 4]), TypeError, "got list"),
    (lambda: Linear(4, 3, rng=rng()).backward(np.ones((2, 3))), RuntimeError,
     "before forward"),
    (lambda: Linear(0, 3, rng=rng()), ValueError, r"Linear\(0 → 3\) wants sizes"),
    (lambda: Linear("4", 3, rng=rng()), TypeError, "integers as sizes, got str"),
    (lambda: Linear(4, 3.0, rng=rng()), TypeError, "integers as sizes, got float"),
    (lambda: Linear(True, 3, rng=rng()), TypeError, "integers as sizes, got bool"),
    (lambda: Linear(4, 3, rng=rng(), dtype=complex), TypeError, "a dtype of floats"),
    (lambda: Flatten().forward([[1.0], [1.0, 2.0]]), TypeError, "got list"),
    (lambda: Linear(4, 3, rng=0), TypeError, "numpy.random.Generator, got int"),
    (lambda: Flatten().forward(np.ones((0, 2, 2))), ValueError, "Flatten"),
    (lambda: Flatten().forward([1.0, 2.0]), TypeError, "got list"),
    (lambda: Sequential(Tanh), TypeError, "Sequential wants layers, got <class"),
    (lambda: Sequential([Tanh()]), TypeError, "Sequential wants layers"),
    (lambda: Sequential(Linear(2, 2, rng=rng()),
                        Linear(2, 2, rng=rng(), dtype=np.float32)),
     ValueError, "one dtype, got float32 and float64"),
])
def test_bad_input_is_named(attempt, error, words):
    with pytest.raises(error, match=words):
        attempt()


def test_v_of_a_wrong_shape_changes_no_gradient():
    model = small_model()
    model.forward(np.ones((3, 4)))
    model.backward(np.ones((3, 2)))
    before = model.gradient.copy()
    with pytest.raises(ValueError, match=r"wants v of shape \(3, 2\), got \(2, 2\)"):
        model.backward(np.ones((2, 2)))
    assert (model.gradient == before).all()


def test_the_same_layer_twice_is_refused():
    layer = Linear(2, 2, rng=rng())
    with pytest.raises(ValueError, match="the same Linear"):
        Sequential(layer, Tanh(), layer)
    assert layer.theta.base is None  # refused before anything was bound
    with pytest.raises(ValueError, match="the same Linear"):
        Sequential(layer, Sequential(Tanh(), layer))


def test_a_model_can_be_indexed_and_counted():
    model = small_model()
    assert len(model) == 5
    assert model[0] is model.layers[0]
    assert [type(layer).__name__ for layer in model] == [
        "Linear", "Tanh", "Linear", "ReLU", "Linear"]
