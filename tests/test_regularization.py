"""Dropout against JAX, its state, EarlyStopping, penalties, and bad input."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from backprop_lit.activations import Tanh
from backprop_lit.losses import CrossEntropyLoss
from backprop_lit.network import Linear, Sequential
from backprop_lit.normalization import BatchNorm1d, LayerNorm
from backprop_lit.optimizers import SGD
from backprop_lit.regularization import (
    Dropout,
    EarlyStopping,
    decay_mask,
    l2_penalty,
)
from backprop_lit.symbolic import prove, symbols

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)


def rng(seed=0):
    return np.random.default_rng(seed)


def new_model(dtype=np.float64, p=0.5):
    source = rng()
    return Sequential(
        Dropout(0.2, rng=source),
        Linear(6, 5, rng=source, dtype=dtype),
        Tanh(),
        Dropout(p, rng=source),
        Linear(5, 3, rng=source, dtype=dtype),
    )


def steps(model, many=3):
    """A few steps of descent with dropout; the θ they end in."""
    x = rng(1).standard_normal((8, 6)).astype(model.theta.dtype)
    y, loss = np.arange(8) % 3, CrossEntropyLoss()
    for _ in range(many):
        loss.forward(model.forward(x, training=True), y)
        model.backward(loss.backward())
        model.theta -= 0.5 * model.gradient
    return model.theta.copy()


# --- dropout: values and v -----------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(
    shape=array_shapes(max_dims=3, max_side=5),
    p=st.sampled_from([0.0, 0.1, 0.5, 0.75]),
    seed=st.integers(0, 2**32 - 1),
)
def test_value_and_v_agree_with_jax_for_a_given_mask(shape, p, seed):
    draw = rng(seed)
    x, v = draw.normal(size=shape), draw.normal(size=shape)
    mask = draw.random(shape) >= p

    def theirs(x):
        return jax.numpy.where(mask, x / (1 - p), 0.0)

    h, pull = jax.vjp(theirs, x)
    layer = Dropout(p, rng=draw)
    ours = layer.forward(x, training=True, mask=mask)
    np.testing.assert_allclose(ours, h, rtol=1e-15)
    np.testing.assert_allclose(layer.backward(v), pull(v)[0], rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [0, 0.3, 0.5, 1])
def test_backward_uses_the_mask_that_forward_drew(p, dtype):
    layer, ones = Dropout(p, rng=rng()), np.ones((40, 50), dtype)
    h = layer.forward(ones, training=True)
    assert h.dtype == dtype
    assert np.array_equal(layer.backward(ones), h)
    assert layer.backward(ones).dtype == dtype
    kept = {0.0} if p == 1 else {np.dtype(dtype).type(1) / dtype(1 - p)}
    assert set(h.ravel()) == kept | ({0.0} if p else set())


def test_backward_uses_the_p_of_its_forward():
    layer, ones = Dropout(0.5, rng=rng()), np.ones((4, 5))
    h = layer.forward(ones, training=True)
    layer.p = 0.9
    assert np.array_equal(layer.backward(ones), h)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_the_share_dropped_is_p(p):
    h = Dropout(p, rng=rng()).forward(np.ones((400, 500)), training=True)
    error = np.sqrt(p * (1 - p) / h.size)
    assert abs((h == 0).mean() - p) < 5 * error


def test_entries_and_calls_are_dropped_independently():
    layer, ones = Dropout(0.5, rng=rng()), np.ones((200, 300))
    first, second = (layer.forward(ones, training=True) - 1 for _ in range(2))
    for one, other in [
        (first, second),
        (first[1:], first[:-1]),
        (first[:, 1:], first[:, :-1]),
    ]:
        assert abs((one * other).mean()) < 5 / np.sqrt(one.size)


def test_evaluation_is_the_identity_and_draws_nothing():
    layer, x, v = Dropout(0.5, rng=rng()), np.ones((4, 3)), np.ones((4, 3))
    before = layer.state["rng"]
    assert layer.forward(x) is x
    assert layer.backward(v) is v
    assert np.array_equal(layer.state["rng"], before)


def test_a_given_mask_draws_nothing_and_is_not_changed():
    layer, mask = Dropout(0.5, rng=rng()), np.array([[True, False]])
    before = layer.state["rng"]
    layer.forward(np.ones((1, 2)), training=True, mask=mask)
    layer.backward(np.ones((1, 2)))
    assert np.array_equal(layer.state["rng"], before)
    assert mask.tolist() == [[True, False]]


def test_all_dropped_is_zero_and_not_nan():
    layer = Dropout(1, rng=rng())
    assert not layer.forward(np.full((5, 4), 7.0), training=True).any()
    assert not layer.backward(np.full((5, 4), 7.0)).any()
    nothing = np.zeros((1, 2), bool)
    assert not layer.forward(np.ones((1, 2)), training=True, mask=nothing).any()


def test_the_proof_holds_for_every_mask_of_four_entries():
    for bits in range(16):
        mask = np.array([[bits >> k & 1 for k in range(4)]], bool)
        proof = prove(
            Dropout(0.25, rng=rng()),
            (1, 4),
            training=True,
            mask=mask,
            formula=lambda x, mask=mask: [
                [a * int(z) * 4 / 3 for a, z in zip(x, mask[0], strict=True)]
            ],
            zero="dropped",
        )
        assert proof
        assert len(proof.zeros) == 4 - mask.sum()


def test_a_fresh_mask_breaks_the_proof():
    class Forgetful(Dropout):
        def backward(self, v):
            mask, p = self.recall(v)
            return self._masked(v, ~mask, p)

    mask = np.array([[True, False, True]])
    assert not prove(
        Forgetful(0.5, rng=rng()), (1, 3), training=True, mask=mask, zero="dropped"
    )


def test_proof_numbers_pass_without_a_given_mask():
    h = Dropout(0.5, rng=rng()).forward(symbols("x", (3, 4)), training=True)
    assert {str(a) for a in h.expression.ravel()} >= {"0"}


# --- dropout: its generator ----------------------------------------------------


def test_one_number_is_drawn_whatever_p_is():
    after = []
    for p in (0.0, 0.5, 1.0):
        source = rng(3)
        Dropout(p, rng=source).forward(np.ones((9, 9)), training=True)
        after.append(source.random())
    assert len(set(after)) == 1


def test_layers_from_one_generator_have_masks_of_their_own():
    source, ones = rng(), np.ones((20, 20))
    one, other = (Dropout(rng=source) for _ in range(2))
    assert not np.array_equal(
        one.forward(ones, training=True), other.forward(ones, training=True)
    )


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.Philox])
def test_any_kind_of_generator_may_be_given(kind):
    layer = Dropout(rng=np.random.Generator(kind(0)))
    assert layer.state["rng"].shape == (256,)


def test_the_state_has_one_size_and_no_memory_of_the_layer():
    layer = Dropout(rng=rng())
    states = []
    for _ in range(50):
        states.append(layer.state["rng"])
        layer.forward(np.ones((3, 3)), training=True)
    assert {s.shape for s in states} == {(256,)}
    assert {s.dtype for s in states} == {np.dtype(np.uint8)}
    assert len({s.tobytes() for s in states}) == 50
    states[0][...] = 0
    layer.forward(np.ones((3, 3)), training=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_resumed_training_is_bit_identical(dtype, tmp_path):
    model = new_model(dtype)
    steps(model)
    np.savez(tmp_path / "saved", theta=model.theta, **model.state)
    end = steps(model)
    other = new_model(dtype)
    with np.load(tmp_path / "saved.npz") as saved:
        other.theta[...] = saved["theta"]
        other.state |= {name: saved[name] for name in other.state}
    assert np.array_equal(steps(other), end)
    assert sorted(model.state) == ["0.rng", "3.rng"]


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), copy.copy]
)
def test_copies_go_on_alike_and_apart(copied):
    model = new_model()
    steps(model)
    other = copied(model)
    end = steps(model)
    assert np.array_equal(steps(other), end)
    assert not np.shares_memory(model.theta, other.theta)


def test_a_copied_layer_has_a_generator_of_its_own():
    layer, ones = Dropout(rng=rng()), np.ones((6, 6))
    layer.forward(ones, training=True)
    other = copy.deepcopy(layer)
    h = layer.forward(ones, training=True)
    assert np.array_equal(other.forward(ones, training=True), h)
    with pytest.raises(RuntimeError, match="backward before forward"):
        copy.deepcopy(layer).backward(ones)


@pytest.mark.parametrize(
    "saved",
    [
        {"rng": np.zeros(256, np.uint8)},
        {"rng": np.frombuffer(b"{}", np.uint8)},
        {"rng": np.frombuffer(b'{"bit_generator": "MT19937"}', np.uint8)},
        {"rng": np.frombuffer(b"[1, 2]", np.uint8)},
        {"rng": "text"},
        {"rng": np.frombuffer(b"[300", np.uint8)},
        {"rng": [300]},
        {"rng": [-1]},
        {"rng": None},
        {"generator": np.zeros(1)},
    ],
)
def test_a_bad_state_is_refused_and_changes_nothing(saved):
    layer = Dropout(rng=rng())
    before = layer.state["rng"]
    with pytest.raises(ValueError, match=r"Dropout\(p=0.5\)"):
        layer.state = saved
    assert np.array_equal(layer.state["rng"], before)


@pytest.mark.parametrize("number", ['"x"', "-1", str(2**40), "1.5"])
def test_half_a_state_changes_nothing(number):
    layer = Dropout(rng=rng())
    before = layer.state["rng"]
    text = before.tobytes().decode().replace('"uinteger": 0', f'"uinteger": {number}')
    with pytest.raises(ValueError, match="JSON"):
        layer.state = {"rng": np.frombuffer(text.encode(), np.uint8)}
    assert np.array_equal(layer.state["rng"], before)


# --- dropout: bad input --------------------------------------------------------


@pytest.mark.parametrize("p", [-0.1, 1.1, np.nan, np.inf])
def test_p_outside_is_refused(p):
    with pytest.raises(ValueError, match="wants p from 0 to 1"):
        Dropout(p, rng=rng())


@pytest.mark.parametrize("p", ["half", None, True, 0.5j, [0.5]])
def test_p_that_is_no_number_is_refused(p):
    with pytest.raises(TypeError, match="wants p as a number"):
        Dropout(p, rng=rng())


@pytest.mark.parametrize("source", [None, 0, np.random, np.random.RandomState(0)])
def test_no_generator_is_refused(source):
    with pytest.raises(TypeError, match=r"Dropout\(p=0.5\) wants rng"):
        Dropout(rng=source)


@pytest.mark.parametrize(
    ("x", "options", "error", "told"),
    [
        (np.ones((2, 3), int), {}, TypeError, "floating-point"),
        ([[1.0]], {}, TypeError, "NumPy array"),
        (np.ones(3), {"mask": np.ones(3, bool)}, ValueError, "only with training"),
        (
            np.ones(3),
            {"training": True, "mask": np.ones(2, bool)},
            ValueError,
            r"shape \(3,\) of x, got \(2,\)",
        ),
        (np.ones(3), {"training": True, "mask": np.ones(3)}, TypeError, "float64"),
        (np.ones(3), {"training": True, "mask": [True] * 3}, TypeError, "list"),
    ],
)
def test_bad_input_is_refused_and_draws_nothing(x, options, error, told):
    layer = Dropout(rng=rng())
    before = layer.state["rng"]
    with pytest.raises(error, match=told):
        layer.forward(x, **options)
    assert np.array_equal(layer.state["rng"], before)


def test_nothing_can_be_kept_at_one():
    with pytest.raises(ValueError, match="keeps nothing"):
        Dropout(1, rng=rng()).forward(
            np.ones(2), training=True, mask=np.array([True, False])
        )


def test_v_of_another_shape_is_refused():
    layer = Dropout(rng=rng())
    with pytest.raises(RuntimeError, match="backward before forward"):
        layer.backward(np.ones((2, 3)))
    for training in (True, False):
        layer.forward(np.ones((2, 3)), training=training)
        with pytest.raises(ValueError, match=r"\(2, 3\), got \(3, 2\)"):
            layer.backward(np.ones((3, 2)))


# --- L2 ------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), each=st.booleans())
def test_the_penalty_agrees_with_jax_and_with_the_optimizer(seed, each):
    draw = rng(seed)
    theta = draw.standard_normal(7)
    decay = draw.random(7) if each else float(draw.random())

    def theirs(theta):
        return 0.5 * jax.numpy.sum(decay * theta**2)

    assert np.isclose(l2_penalty(theta, decay), theirs(theta), rtol=1e-14, atol=0)
    moved = theta.copy()
    SGD(0.1, weight_decay=decay).step(moved, np.zeros(7))
    np.testing.assert_allclose(
        moved, theta - 0.1 * np.asarray(jax.grad(theirs)(theta)), rtol=1e-14
    )


def test_the_penalty_keeps_float32():
    theta = np.ones(4, np.float32)
    assert l2_penalty(theta, 0.5).dtype == np.float32
    for decay in (np.float64(0.5), np.full(4, 0.5), np.full(4, 0.5, np.float32)):
        assert l2_penalty(theta, decay).dtype == np.float32
        assert l2_penalty(theta, decay) == 1


@pytest.mark.parametrize(
    ("decay", "error", "told"),
    [
        (-0.1, ValueError, "from 0 on"),
        (np.nan, ValueError, "finite"),
        (np.inf, ValueError, "finite"),
        (np.array([0.1, -0.1]), ValueError, "from 0 on"),
        (np.ones(3), ValueError, r"shape \(2,\), got \(3,\)"),
        ("much", TypeError, "as a number"),
        (None, TypeError, "as a number"),
        (np.array([1 + 1j, 2]), TypeError, "complex128"),
        (np.array(["a", "b"]), TypeError, "real numbers"),
    ],
)
def test_a_bad_strength_is_refused(decay, error, told):
    with pytest.raises(error, match=told):
        l2_penalty(np.ones(2), decay)


def test_a_bad_theta_is_refused():
    with pytest.raises(TypeError, match="floating-point"):
        l2_penalty(np.ones(2, int), 0.1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_mask_spares_biases_and_normalization(dtype):
    source = rng()
    model = Sequential(
        Linear(4, 3, rng=source, dtype=dtype),
        BatchNorm1d(3, dtype=dtype),
        Sequential(
            LayerNorm(3, dtype=dtype),
            Linear(3, 2, bias=False, rng=source, dtype=dtype),
        ),
    )
    mask = decay_mask(model)
    assert mask.dtype == dtype
    assert mask.shape == model.theta.shape
    model.theta[...] = mask
    kept = {name for name, q in model.parameters.items() if q.all()}
    gone = {name for name, q in model.parameters.items() if not q.any()}
    assert kept == {"0.weight", "2.1.weight"}
    assert kept | gone == set(model.parameters)


def test_more_can_be_spared_by_name():
    model = new_model()
    spared = decay_mask(model, spare=("4.weight",))
    assert decay_mask(model).sum() - spared.sum() == 15


def test_decay_mask_refuses():
    with pytest.raises(TypeError, match="wants a layer"):
        decay_mask(np.ones(3))
    with pytest.raises(ValueError, match=r"'5\.weight'"):
        decay_mask(new_model(), spare=("5.weight",))
    with pytest.raises(TypeError, match="as a tuple"):
        decay_mask(new_model(), spare="1.weight")


# --- early stopping --------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(
    values=st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]), min_size=1),
    patience=st.integers(1, 4),
    min_delta=st.sampled_from([0.0, 0.5]),
)
def test_it_stops_after_patience_and_restores_the_best(values, patience, min_delta):
    stopping = EarlyStopping(patience, min_delta)
    best, waited = np.inf, 0
    for k, value in enumerate(values):
        improved = value < best - min_delta
        waited = 0 if improved else waited + 1
        if improved:
            best, where = value, k
        theta = np.full(3, float(k))
        assert stopping.update(value, theta) == (waited >= patience)
        theta[...] = -1
    stopping.restore(theta)
    assert stopping.best == best
    assert stopping.best_update == where + 1
    assert stopping.updates == len(values)
    assert (theta == where).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_its_state_resumes(dtype, tmp_path):
    values = rng().random(12)
    stopping, other = EarlyStopping(4), EarlyStopping(4)
    assert stopping.state == {}
    for k in range(6):
        stopping.update(values[k], np.full(2, k, dtype))
    np.savez(tmp_path / "saved", **stopping.state)
    with np.load(tmp_path / "saved.npz") as saved:
        other.state = dict(saved)
    for k in range(6, 12):
        theta = np.full(2, k, dtype)
        assert stopping.update(values[k], theta) == other.update(values[k], theta)
    for name, array in stopping.state.items():
        assert np.array_equal(array, other.state[name])
        assert array.dtype == other.state[name].dtype
    stopping.state = {}
    assert stopping.state == {}
    assert stopping.best == np.inf


def test_its_state_is_a_copy_in_both_directions():
    stopping = EarlyStopping()
    stopping.update(1.0, np.ones(2))
    saved = stopping.state
    saved["theta"][...] = 5
    assert (stopping.state["theta"] == 1).all()
    stopping.state = saved
    saved["theta"][...] = 6
    assert (stopping.state["theta"] == 5).all()


def test_an_infinite_value_is_worse_than_any_and_may_come_first():
    stopping, theta = EarlyStopping(2), np.zeros(1)
    assert not stopping.update(np.inf, theta + 1)
    assert not stopping.update(3.0, theta + 2)
    assert not stopping.update(np.inf, theta + 3)
    stopping.restore(theta)
    assert theta == 2


@pytest.mark.parametrize(
    ("value", "theta", "error", "told"),
    [
        (np.nan, np.ones(2), ValueError, "got nan"),
        ("low", np.ones(2), TypeError, "wants a number"),
        (None, np.ones(2), TypeError, "wants a number"),
        (0.5, np.ones(3), ValueError, r"shape \(2,\), got \(3,\)"),
        (0.5, np.ones(2, np.float32), TypeError, "float64, got float32"),
        (0.5, [1.0, 1.0], TypeError, "NumPy array"),
    ],
)
def test_a_bad_update_is_refused_and_changes_nothing(value, theta, error, told):
    stopping = EarlyStopping()
    stopping.update(1.0, np.ones(2))
    before = stopping.state
    with pytest.raises(error, match=told):
        stopping.update(value, theta)
    assert {k: v.tolist() for k, v in stopping.state.items()} == {
        k: v.tolist() for k, v in before.items()
    }


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"patience": 0}, ValueError),
        ({"patience": 2.0}, TypeError),
        ({"patience": True}, TypeError),
        ({"min_delta": -1}, ValueError),
        ({"min_delta": np.nan}, ValueError),
        ({"min_delta": "small"}, TypeError),
    ],
)
def test_bad_settings_are_refused(options, error):
    with pytest.raises(error, match=f"EarlyStopping wants .*{next(iter(options))}"):
        EarlyStopping(**options)


@pytest.mark.parametrize(
    "change",
    [
        {"best": np.ones(2)},
        {"best": np.array(np.nan)},
        {"best": np.array("1.0")},
        {"theta": np.ones(2, int)},
        {"other": 1},
        {"updates": np.array(-3)},
        {"best_update": np.array(0)},
        {"best_update": np.array(9)},
        {"updates": np.array(2.7)},
        {"updates": np.array([1])},
    ],
)
def test_a_bad_saved_state_is_refused_and_changes_nothing(change):
    stopping = EarlyStopping()
    stopping.update(1.0, np.ones(2))
    before = stopping.state
    with pytest.raises((ValueError, TypeError)):
        stopping.state = before | change
    assert stopping.best == 1
    assert (stopping.state["theta"] == before["theta"]).all()


def test_restore_before_update_is_refused():
    with pytest.raises(RuntimeError, match="restore before update"):
        EarlyStopping().restore(np.ones(2))
