"""Losses: against JAX, at the extremes, and what they refuse."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop_lit.differences import gradcheck
from backprop_lit.losses import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HingeLoss,
    HuberLoss,
    Loss,
    MSELoss,
)

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)
jnp = jax.numpy


def jax_bce(u, y):
    return jnp.mean(-y * jax.nn.log_sigmoid(u) - (1 - y) * jax.nn.log_sigmoid(-u))


def jax_cross_entropy(u, y):
    return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(u, axis=1), axis=1))


def jax_huber(u, y):
    a = jnp.abs(u - y)
    return jnp.mean(jnp.where(a <= 0.7, a**2 / 2, 0.7 * (a - 0.35)))


def probabilities(rng, shape):
    y = rng.uniform(size=shape)
    return y / y.sum(axis=1, keepdims=True)


# loss, the same in JAX, targets for a shape
PEERS = {
    "MSE": (MSELoss(), lambda u, y: jnp.mean((u - y) ** 2),
            lambda rng, shape: rng.normal(size=shape)),
    "BCE": (BCEWithLogitsLoss(), jax_bce, lambda rng, shape: rng.uniform(size=shape)),
    "cross-entropy": (CrossEntropyLoss(), jax_cross_entropy, probabilities),
    "hinge": (HingeLoss(), lambda u, y: jnp.mean(jax.nn.relu(1 - y * u)),
              lambda rng, shape: rng.choice([-1.0, 1.0], size=shape)),
    "Huber": (HuberLoss(delta=0.7), jax_huber,
              lambda rng, shape: rng.normal(size=shape)),
}
SLOPES = {name: jax.jit(jax.value_and_grad(peer))
          for name, (_, peer, _) in PEERS.items()}
EVERY = pytest.mark.parametrize("name", PEERS)


@EVERY
@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 4), columns=st.integers(1, 3),
       scale=st.sampled_from([0.1, 1.0, 30.0]), seed=st.integers(0, 2**32 - 1))
def test_loss_and_derivative_agree_with_jax(name, rows, columns, scale, seed):
    loss, _, targets = PEERS[name]
    rng = np.random.default_rng(seed)
    u = scale * rng.normal(size=(rows, columns))
    y = targets(rng, u.shape)
    e, v = SLOPES[name](u, y)
    np.testing.assert_allclose(loss.forward(u, y), e, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(loss.backward(), v, rtol=1e-10, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 6), classes=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_labels_are_rows_with_one_1(n, classes, seed):
    rng = np.random.default_rng(seed)
    u, y = rng.normal(size=(n, classes)), rng.integers(classes, size=n)
    labels, rows = CrossEntropyLoss(), CrossEntropyLoss()
    assert labels.forward(u, y) == rows.forward(u, np.eye(classes)[y])
    assert (labels.backward() == rows.backward()).all()


@EVERY
def test_every_row_twice_changes_nothing(name):
    loss, _, targets = PEERS[name]
    rng = np.random.default_rng(1)
    u = rng.normal(size=(4, 3))
    y = targets(rng, u.shape)
    e, v = loss.forward(u, y), loss.backward()
    assert loss.forward(np.tile(u, (2, 1)), np.tile(y, (2, 1))) == pytest.approx(e)
    np.testing.assert_allclose(loss.backward()[:4], v / 2, rtol=1e-14)


@EVERY
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_of_u_stays(name, dtype):
    loss, _, targets = PEERS[name]
    rng = np.random.default_rng(2)
    u = rng.normal(size=(4, 3)).astype(dtype)
    assert loss.forward(u, targets(rng, u.shape)).dtype == dtype
    assert loss.backward().dtype == dtype
    assert loss.backward().shape == u.shape


# ±1000 and the exact answers: a sure and wrong logit costs its own size.
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("u", "y", "e", "v"), [
    (1000, 1, 0, 0), (1000, 0, 1000, 1), (-1000, 0, 0, 0), (-1000, 1, 1000, -1)])
def test_binary_cross_entropy_at_the_extremes(u, y, e, v, dtype):
    loss = BCEWithLogitsLoss()
    assert loss.forward(np.array([u], dtype), np.array([y])) == e
    assert loss.backward() == v


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_at_the_extremes(dtype):
    loss = CrossEntropyLoss()
    u = np.array([[1000, -1000, 0], [1000, -1000, 0]], dtype)
    assert loss.forward(u, np.array([0, 1])) == 1000
    assert (loss.backward() == [[0, 0, 0], [0.5, -0.5, 0]]).all()
    assert np.isfinite(loss.forward(1e30 * u, np.array([0, 1])))


def test_a_tiny_loss_is_not_lost():
    e = BCEWithLogitsLoss().forward(np.array([40.0]), np.array([1]))
    assert e == pytest.approx(np.exp(-40.0), rel=1e-12)


@pytest.mark.parametrize("gap", [1.0, 20.0, 30.0, 36.0, 37.0, 40.0, 700.0])
def test_cross_entropy_keeps_a_tiny_loss(gap):
    u = np.array([[gap, 0.0, -1.0], [gap, gap, 0.0]])
    loss = CrossEntropyLoss()
    wanted = np.log1p(np.exp(-gap) + np.exp(-gap - 1))
    assert loss.forward(u[:1], np.array([0])) == pytest.approx(wanted, rel=4e-16)
    wanted = np.log(2) + np.log1p(np.exp(-gap) / 2)  # two largest, the label one
    assert loss.forward(u[1:], np.array([1])) == pytest.approx(wanted, rel=4e-16)


def test_a_perfect_answer_costs_plus_0():
    e = CrossEntropyLoss().forward(np.array([[1000.0, 0.0]]), np.array([0]))
    assert e == 0
    assert not np.signbit(e)


@pytest.mark.parametrize("label", [0, 1])
def test_minus_infinity_rules_a_class_out(label):
    masked, without = CrossEntropyLoss(), CrossEntropyLoss()
    u, y = np.array([[1.0, 2.0, -np.inf]]), np.array([label])
    assert masked.forward(u, y) == without.forward(u[:, :2], y)
    assert (masked.backward()[:, :2] == without.backward()).all()
    assert masked.backward()[0, 2] == 0


def test_logits_up_to_half_the_largest_float():
    loss = CrossEntropyLoss()
    u = np.array([[8e307, -8e307]])
    assert loss.forward(u, np.array([0])) == 0
    assert loss.forward(u, np.array([1])) == 1.6e308
    assert (loss.backward() == [[1, -1]]).all()


def test_probabilities_that_add_to_1_only_nearly():
    y = np.array([[0.2, 0.3, 0.500009]])
    u = np.random.default_rng(8).normal(size=(1, 3))
    assert gradcheck(CrossEntropyLoss(), u, y, tolerance=1e-8)
    loss = CrossEntropyLoss()
    loss.forward(u, y)
    assert abs(loss.backward().sum()) < 1e-15


def test_huber_keeps_float32_with_a_delta_of_numpy():
    loss = HuberLoss(delta=np.float64(0.5))
    assert loss.forward(np.ones(3, np.float32), np.zeros(3)).dtype == np.float32
    assert loss.backward().dtype == np.float32
    assert repr(loss) == "HuberLoss(delta=0.5)"


def test_cross_entropy_does_not_see_a_shift():
    rng = np.random.default_rng(3)
    u, y = rng.integers(-5, 5, size=(4, 3)) * 1.0, np.array([0, 1, 2, 0])
    plain, shifted = CrossEntropyLoss(), CrossEntropyLoss()
    assert plain.forward(u, y) == shifted.forward(u + 64.0, y)
    np.testing.assert_allclose(plain.backward().sum(axis=1), 0, atol=1e-16)


def test_conventions_at_the_kinks():
    hinge, huber = HingeLoss(), HuberLoss(delta=2.0)
    hinge.forward(np.array([1.0, -1.0]), np.array([1, -1]))
    assert (hinge.backward() == 0).all()
    assert huber.forward(np.array([2.0, -2.0]), np.zeros(2)) == 2.0
    assert (huber.backward() == [1.0, -1.0]).all()


def test_huber_is_half_the_square_within_delta():
    rng = np.random.default_rng(4)
    u, y = rng.uniform(-1, 1, size=(2, 5, 2))
    huber, mse = HuberLoss(delta=3.0), MSELoss()
    assert huber.forward(u, y) == pytest.approx(mse.forward(u, y) / 2)
    np.testing.assert_allclose(huber.backward(), mse.backward() / 2)


U = np.ones((3, 2))


@pytest.mark.parametrize(("loss", "u", "y", "error", "words"), [
    (MSELoss(), np.ones((8, 1)), np.ones(8), ValueError, r"\(8, 1\), got \(8,\)"),
    (MSELoss(), np.ones((0, 3)), np.ones((0, 3)), ValueError, r"got \(0, 3\)"),
    (MSELoss(), np.array([1, 2]), np.ones(2), TypeError, "u of floating-point"),
    (MSELoss(), [], [], ValueError, "at least one entry in u"),
    (MSELoss(), np.ones(2) * 1j, np.ones(2), TypeError, "real u, got complex128"),
    (BCEWithLogitsLoss(), U * 1j, U, TypeError, "real u, got complex128"),
    (CrossEntropyLoss(), U * 1j, np.zeros(3, int), TypeError, "real u"),
    (MSELoss(), [1.0], [1.0], TypeError, "u as a plain NumPy array"),
    (MSELoss(), np.ones(2), np.array(["a", "b"]), TypeError, "y that fits"),
    (MSELoss(), np.ones(2), np.ones(2) * 1j, TypeError, "got complex128"),
    (BCEWithLogitsLoss(), U, 2 * U, ValueError, "y between 0 and 1, got 2.0"),
    (BCEWithLogitsLoss(), U, np.nan * U, ValueError, "got nan"),
    (CrossEntropyLoss(), U, np.array([0, 1, 2]), ValueError, "0 to 1, got 0 to 2"),
    (CrossEntropyLoss(), U, np.array([0, -1, 1]), ValueError, "got -1 to 1"),
    (CrossEntropyLoss(), U, np.array([0, 1]), ValueError, r"\(3,\).*got \(2,\)"),
    (CrossEntropyLoss(), U, np.array([[0], [1], [1]]), ValueError, r"got \(3, 1\)"),
    (CrossEntropyLoss(), U, np.array([0.0, 1.0, 1.0]), TypeError, "of integers"),
    (CrossEntropyLoss(), U, U, ValueError, "got row sums 2.0 to 2.0"),
    (CrossEntropyLoss(), U, U * [2, -1], ValueError, "least -1.0"),
    (CrossEntropyLoss(), U[:0], np.array([], int), ValueError, r"got \(0, 2\)"),
    (CrossEntropyLoss(), U[0], np.array([0, 1]), ValueError, r"\(n, classes\)"),
    (HingeLoss(), U, 0 * U, ValueError, "−1 and \\+1, got values from 0.0"),
])
def test_bad_input_is_named(loss, u, y, error, words):
    with pytest.raises(error, match=words) as caught:
        loss.forward(u, y)
    assert type(loss).__name__ in str(caught.value)


@pytest.mark.parametrize("delta", [0.0, -1.0, float("nan")])
def test_huber_wants_a_positive_delta(delta):
    with pytest.raises(ValueError, match="HuberLoss wants delta > 0"):
        HuberLoss(delta=delta)


@EVERY
def test_backward_comes_after_forward(name):
    with pytest.raises(RuntimeError, match="before forward"):
        type(PEERS[name][0])().backward()


def test_a_refused_forward_leaves_the_last_one():
    loss = MSELoss()
    loss.forward(np.array([2.0, 0.0]), np.zeros(2))
    with pytest.raises(ValueError, match="shape"):
        loss.forward(np.ones(3), np.ones(2))
    assert (loss.backward() == [2.0, 0.0]).all()


@EVERY
def test_inputs_are_left_alone(name):
    loss, _, targets = PEERS[name]
    rng = np.random.default_rng(5)
    u = rng.normal(size=(4, 3))
    y = targets(rng, u.shape)
    before = u.copy(), y.copy()
    loss.forward(u, y)
    v = loss.backward()
    u[...], y[...] = 0, 0  # what the caller does later is no business of v
    assert (loss.backward() == v).all()
    u[...], y[...] = before
    loss.forward(u, y)
    assert (u == before[0]).all()
    assert (y == before[1]).all()


def stored(loss):
    return pickle.loads(pickle.dumps(loss))


@EVERY
@pytest.mark.parametrize("twin", [copy.deepcopy, stored])
def test_losses_can_be_copied_and_stored(name, twin):
    loss, _, targets = PEERS[name]
    u = np.random.default_rng(6).normal(size=(4, 3))
    y = targets(np.random.default_rng(7), u.shape)
    other = twin(loss)
    assert repr(other) == repr(loss)
    assert other.forward(u, y) == loss.forward(u, y)


def test_the_base_class_is_abstract():
    with pytest.raises(NotImplementedError):
        Loss().forward(U, U)
    with pytest.raises(NotImplementedError):
        Loss().backward()
