"""BatchNorm1d and LayerNorm: against PyTorch and JAX, state, copies, bad input."""

import copy
import json
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop_lit import normalization
from backprop_lit.activations import Tanh
from backprop_lit.differences import gradcheck
from backprop_lit.network import Linear, Sequential
from backprop_lit.normalization import BatchNorm1d, LayerNorm
from backprop_lit.symbolic import prove

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)
jnp = jax.numpy

# Written by record_normalization.py with the PyTorch that it names.
RECORDED = json.loads(
    Path(__file__).with_name("normalization_recorded.json").read_text("utf8"))
STATE = ("running_mean", "running_var", "num_batches_tracked")


def rng(seed=0):
    return np.random.default_rng(seed)


def stored(q):
    return pickle.loads(pickle.dumps(q))


TWINS = pytest.mark.parametrize("twin", [copy.deepcopy, stored])


def agree(got, wanted):
    assert np.shape(got) == np.shape(wanted)
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


# --- PyTorch ------------------------------------------------------------------


def begin(layer, record):
    for name, values in record["start"].items():
        layer.parameters[name][...] = values
    return layer


def follow(layer, step, training):
    agree(layer.forward(np.array(step["x"]), training=training), step["h"])
    agree(layer.backward(np.array(step["v"])), step["v_x"])
    agree(layer.gradients["weight"], step["g_weight"])
    agree(layer.gradients["bias"], step["g_bias"])


def test_the_record_is_of_the_pytorch_that_the_book_names():
    assert RECORDED["torch"].startswith("2.13.0")
    assert [len(r["steps"]) for r in RECORDED["batch_norm"]] == [7, 7]
    assert len(RECORDED["layer_norm"]) == 4


@pytest.mark.parametrize("record", RECORDED["batch_norm"],
                         ids=lambda r: f"eps {r['eps']}")
def test_batch_norm_agrees_with_pytorch_step_by_step(record):
    layer = begin(BatchNorm1d(4, record["eps"], record["momentum"]), record)
    for step in record["steps"]:
        follow(layer, step, True)
        for name in STATE:
            agree(layer.state[name], step["state"][name])
        layer.theta -= 0.1 * layer.gradient
    for step in record["evaluation"]:
        before = layer.state
        follow(layer, step, False)
        assert all(layer.state[name] is before[name] for name in STATE)


@pytest.mark.parametrize("record", RECORDED["layer_norm"],
                         ids=lambda r: str(r["normalized_shape"]))
def test_layer_norm_agrees_with_pytorch(record):
    shape = tuple(record["normalized_shape"])
    for training in (False, True):
        follow(begin(LayerNorm(shape, record["eps"]), record), record, training)


# --- JAX ----------------------------------------------------------------------


@partial(jax.jit, static_argnums=4)
def jax_norm(v, x, weight, bias, axes):
    def norm(x, weight, bias):
        c = x - x.mean(axes, keepdims=True)
        s = jnp.sqrt((c * c).mean(axes, keepdims=True) + 1e-2)
        return weight * c / s + bias

    h, pull = jax.vjp(norm, x, weight, bias)
    return h, *pull(v)


@pytest.mark.parametrize(("make", "shape", "axes"), [
    (lambda: BatchNorm1d(3, eps=1e-2), (2, 3), 0),
    (lambda: BatchNorm1d(1, eps=1e-2), (7, 1), 0),
    (lambda: LayerNorm(4, eps=1e-2), (2, 4), -1),
    (lambda: LayerNorm([2, 3], eps=1e-2), (4, 1, 2, 3), (-2, -1)),
], ids=["batch", "one column", "rows", "two axes"])
def test_the_layers_agree_with_jax(make, shape, axes):
    layer = make()
    for seed in range(5):
        r = rng(seed)
        layer.theta[...] = r.normal(size=layer.theta.shape)
        x, v = r.normal(size=(2, *shape)) * 10.0 ** (seed - 2)
        h = layer.forward(x, training=True)
        ours = h, layer.backward(v), *layer.gradients.values()
        peer = jax_norm(v, x, *layer.parameters.values(), axes)
        for got, wanted in zip(ours, peer, strict=True):
            np.testing.assert_allclose(
                got, wanted, rtol=1e-9, atol=1e-11 * abs(wanted).max())


def test_a_network_with_both_agrees_with_differences():
    r = rng(2)
    model = Sequential(Linear(3, 4, rng=r), BatchNorm1d(4), Tanh(),
                       Linear(4, 5, rng=r), LayerNorm(5), Tanh(),
                       Linear(5, 2, rng=r))
    x = r.normal(size=(6, 3))
    assert gradcheck(model, x, training=True)
    model.forward(x, training=True)
    model.backward(r.normal(size=(6, 2)))
    assert abs(model.gradients["0.bias"]).max() < 1e-14  # shifted away again
    assert abs(model.gradients["3.bias"]).max() > 1e-4
    assert gradcheck(model, x)


# --- proofs that the page does not show ---------------------------------------


def normalized(numbers, eps=1):
    mean = sum(numbers) / len(numbers)
    var = sum((q - mean) ** 2 for q in numbers) / len(numbers)
    return [(q - mean) / sp.sqrt(var + eps) for q in numbers]


def batch_norm(x, weight, bias):
    columns = sp.Matrix([normalized(list(x[:, k])) for k in range(x.cols)]).T
    return sp.Matrix(*x.shape, lambda i, k: weight[k] * columns[i, k] + bias[k])


def layer_norm(x, weight, bias):
    rows = sp.Matrix([normalized(list(x[k, :])) for k in range(x.rows)])
    return sp.Matrix(*x.shape, lambda i, k: weight[k] * rows[i, k] + bias[k])


@pytest.mark.parametrize(("n", "features"), [(2, 3), (6, 2)])
def test_batch_norm_is_proved_at_other_shapes(n, features):
    layer = BatchNorm1d(features, eps=1.0)
    assert prove(layer, (n, features), training=True, formula=batch_norm)
    assert [layer.state[name].tolist() for name in STATE] == [
        [0] * features, [1] * features, 0]


def test_layer_norm_is_proved_over_two_axes():
    def formula(x, weight, bias):
        flat = [sp.flatten(part.tolist()) for part in x]
        scale, shift = sp.flatten(weight.tolist()), sp.flatten(bias.tolist())
        return [[scale[k] * q + shift[k] for k, q in enumerate(normalized(part))]
                for part in flat]

    class Flat(LayerNorm):
        """Its formula is written for flat rows."""

        def forward(self, x, *, training=False):
            h = super().forward(x)
            return self.keep(h.reshape(len(h), -1), self.recall(h))

        def backward(self, v):
            x_hat, s = self.recall(v)
            self.keep(x_hat, (x_hat, s))
            return super().backward(v.reshape(x_hat.shape))

    assert prove(Flat((2, 2), eps=1.0), (2, 2, 2), formula=formula)


TERMS = {
    "no mean": lambda v, x_hat, s, axes: (
        v - x_hat * (v * x_hat).mean(axes, keepdims=True)) / s,
    "no variance": lambda v, x_hat, s, axes: (
        v - v.mean(axes, keepdims=True)) / s,
    "neither": lambda v, x_hat, s, axes: v / s,
    "not divided": lambda v, x_hat, s, axes: (
        v - v.mean(axes, keepdims=True)
        - x_hat * (v * x_hat).mean(axes, keepdims=True)),
    "n - 1": lambda v, x_hat, s, axes: (
        v - v.mean(axes, keepdims=True)
        - x_hat * (v * x_hat).sum(axes, keepdims=True)
        / (v.shape[axes if axes == 0 else -1] - 1)) / s,
    "the other axis": lambda v, x_hat, s, axes: (
        v - v.mean(1 if axes == 0 else 0, keepdims=True)
        - x_hat * (v * x_hat).mean(1 if axes == 0 else 0, keepdims=True)) / s,
}


@pytest.mark.parametrize("name", TERMS)
def test_a_backward_without_one_of_its_terms_is_refused(name, monkeypatch):
    monkeypatch.setattr(normalization, "_standardize_backward", TERMS[name])
    x = rng().normal(size=(4, 2))
    assert not prove(BatchNorm1d(2, eps=1.0), (4, 2), training=True,
                     formula=batch_norm)
    assert not gradcheck(BatchNorm1d(2, eps=1.0), x, training=True)
    assert not prove(LayerNorm(3, eps=1.0), (2, 3), formula=layer_norm)


def test_the_scale_cannot_be_taken_out_of_the_sums_of_layer_norm():
    class TakenOut(LayerNorm):
        def backward(self, v):
            super().backward(v)
            x_hat, s = self.recall(v)
            v_x = normalization._standardize_backward(v, x_hat, s, self._axes)
            return self.parameters["weight"] * v_x

    assert not prove(TakenOut(3, eps=1.0), (2, 3), formula=layer_norm)


# --- what v loses -------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 12), seed=st.integers(0, 2**32 - 1),
       eps=st.sampled_from([0.0, 1e-5, 2.0]))
def test_what_is_left_along_ones_and_along_x_hat(n, seed, eps):
    r = rng(seed)
    x, v = r.normal(size=(2, n, 3))
    layer = BatchNorm1d(3, eps=eps)
    x_hat = layer.forward(x, training=True)
    v_x = layer.backward(v)
    s = np.sqrt(x.var(0) + eps)
    size = (abs(v).sum(0) / s).max()
    np.testing.assert_allclose(v_x.sum(0), 0, atol=1e-13 * size)
    share = eps / (x.var(0) + eps)
    np.testing.assert_allclose(
        (v_x * x_hat).sum(0), share / s * (v * x_hat).sum(0), atol=1e-12 * size)


def test_a_row_does_not_know_of_the_others_in_evaluation_and_in_layer_norm():
    x = rng(3).normal(size=(8, 3))
    batch = BatchNorm1d(3)
    batch.forward(x, training=True)
    for layer in (batch, LayerNorm(3)):
        together = layer.forward(x)
        alone = np.concatenate([layer.forward(row[None]) for row in x])
        np.testing.assert_allclose(together, alone, rtol=1e-14, atol=1e-14)
    assert not np.allclose(batch.forward(x, training=True)[:4],
                           batch.forward(x[:4], training=True))


def test_backward_belongs_to_the_forward_before_it():
    x, v = rng(4).normal(size=(2, 5, 3))
    layer = BatchNorm1d(3)
    layer.forward(x, training=True)
    in_training = layer.backward(v)
    layer.forward(x)
    in_use = layer.backward(v)
    running = layer.state["running_var"]
    np.testing.assert_allclose(in_use, v / np.sqrt(running + 1e-5), rtol=1e-14)
    np.testing.assert_allclose(in_training.sum(0), 0, atol=1e-13)
    assert not np.allclose(in_use.sum(0), 0)


def test_a_column_far_from_zero_keeps_its_digits():
    x = rng(5).normal(size=(500, 1))
    near = BatchNorm1d(1, dtype=np.float32).forward(
        x.astype(np.float32), training=True)
    far = BatchNorm1d(1, dtype=np.float32).forward(
        (x + 4096).astype(np.float32), training=True)
    assert abs(near - far).max() < 2e-3
    assert np.isfinite(far).all()


@pytest.mark.parametrize("n", [10_000, 100_000])
def test_the_mean_of_many_float32_rows_is_not_lost(n):
    x = (10_000 + rng(5).normal(size=(n, 2))).astype(np.float32)
    layer = BatchNorm1d(2, momentum=1.0, dtype=np.float32)
    h = layer.forward(x, training=True).astype(float)
    exact = x.astype(float)
    assert abs(h.mean(0)).max() < 1e-3
    np.testing.assert_allclose(h.var(0), 1, atol=1e-3)
    assert abs(layer.state["running_mean"] - exact.mean(0)).max() < 2e-3
    np.testing.assert_allclose(
        layer.state["running_var"], exact.var(0, ddof=1), rtol=1e-3)


def test_bound_to_float32_it_answers_in_float32_at_once():
    layer = BatchNorm1d(2)
    layer.bind(layer.theta.astype(np.float32), layer.gradient.astype(np.float32))
    x = np.ones((3, 2), np.float32)
    h = layer.forward(x)
    assert h.dtype == layer.backward(h).dtype == np.float32


def test_a_constant_column_is_brought_to_the_shift():
    layer = BatchNorm1d(2)
    layer.parameters["bias"][...] = 3, 4
    h = layer.forward(np.full((5, 2), 0.1), training=True)
    np.testing.assert_allclose(h, np.tile([3.0, 4.0], (5, 1)), atol=1e-11)
    assert np.isfinite(layer.backward(np.ones((5, 2)))).all()


# --- state, copies, dtypes ----------------------------------------------------


def test_the_running_statistics_approach_those_of_the_rows():
    r, layer = rng(6), BatchNorm1d(2)
    for _ in range(400):
        layer.forward(r.normal((1, -2), (3, 0.5), (64, 2)), training=True)
    np.testing.assert_allclose(layer.state["running_mean"], [1, -2], atol=0.4)
    np.testing.assert_allclose(layer.state["running_var"], [9, 0.25], rtol=0.2)
    assert layer.state["num_batches_tracked"] == 400


def test_the_variance_of_small_batches_is_unbiased_in_the_long_run():
    r, layer = rng(7), BatchNorm1d(200, momentum=0.01)
    for _ in range(1500):
        layer.forward(r.normal(size=(2, 200)), training=True)
    assert abs(layer.state["running_var"].mean() - 1) < 0.03


@pytest.mark.parametrize(("momentum", "weight"), [(0, 0.0), (1, 1.0), (0.25, 0.25)])
def test_momentum_weighs_the_new(momentum, weight):
    layer = BatchNorm1d(1, momentum=momentum)
    layer.forward(np.array([[1.0], [5.0]]), training=True)
    agree(layer.state["running_mean"], [3 * weight])
    agree(layer.state["running_var"], [1 - weight + 8 * weight])


@pytest.mark.parametrize("bad", [
    np.ones((1, 3)), np.ones((4, 2)), np.ones((0, 3)), np.ones(3),
    np.ones((4, 3), dtype=int), [[1.0, 2.0, 3.0]]])
def test_a_refused_batch_changes_nothing(bad):
    layer = BatchNorm1d(3)
    x, v = rng(8).normal(size=(2, 4, 3))
    layer.forward(x, training=True)
    before = layer.state
    with pytest.raises((ValueError, TypeError), match=r"BatchNorm1d\(3\) wants"):
        layer.forward(bad, training=True)
    after = layer.state
    assert all(after[name] is before[name] for name in STATE)
    np.testing.assert_allclose(layer.backward(v).sum(0), 0, atol=1e-13)


def test_the_message_of_a_single_row_says_what_to_do():
    with pytest.raises(ValueError, match=r"at least 2 rows in training, "
                       r"got x of shape \(1, 3\).*training=False"):
        BatchNorm1d(3).forward(np.ones((1, 3)), training=True)
    assert BatchNorm1d(3).forward(np.ones((1, 3))).shape == (1, 3)


def test_a_state_that_was_saved_stays_as_it_was():
    layer, r = BatchNorm1d(2), rng(9)
    layer.forward(r.normal(size=(4, 2)), training=True)
    saved = layer.state
    values = [saved[name].tolist() for name in STATE]
    layer.forward(r.normal(size=(4, 2)), training=True)
    assert [saved[name].tolist() for name in STATE] == values
    assert layer.state["num_batches_tracked"] == 2
    layer.state = saved
    assert [layer.state[name].tolist() for name in STATE] == values
    saved["running_mean"][...] = 99
    assert [layer.state[name].tolist() for name in STATE] == values


def test_a_model_saves_and_restores_the_state_of_its_layers():
    r = rng(10)
    model = Sequential(Linear(3, 4, rng=r), BatchNorm1d(4), Sequential(BatchNorm1d(4)))
    model.forward(r.normal(size=(6, 3)), training=True)
    saved = copy.deepcopy(model.state)
    assert set(saved) == {f"{place}.{name}" for place in ("1", "2.0") for name in STATE}
    x = r.normal(size=(5, 3))
    h = model.forward(x)
    model.forward(x, training=True)
    assert not np.allclose(model.forward(x), h)
    model.state |= saved
    assert (model.forward(x) == h).all()


@pytest.mark.parametrize(("saved", "told"), [
    ({"running_mean": np.ones(2)}, r"running_mean of shape \(3,\), got \(2,\)"),
    ({"running_var": np.ones(3, int)}, "running_var of floating-point"),
    ({"running_var": [1.0, 1, 1]}, "running_var as a .*NumPy array, got list"),
    ({"num_batches_tracked": 1.5}, "num_batches_tracked as one integer"),
    ({"num_batches_tracked": np.array([1])}, "num_batches_tracked as one integer"),
    ({"mean": np.ones(3)}, "has the state running_mean"),
    ({"mean": np.ones(3), 5: 1}, r"got \['5', 'mean'\]"),
    ({"running_var": np.array([1.0, -1, 1])}, "finite numbers from 0 on in"),
    ({"running_var": np.array([1.0, np.nan, 1])}, "finite numbers from 0 on"),
    ({"running_mean": np.array([1.0, np.inf, 1])}, "finite numbers in running_mean"),
    ({"running_mean": np.ones(3, complex)}, "running_mean of real"),
    ({"running_mean": np.array([None, 1.0, 1.0])}, "running_mean of real"),
    ({"num_batches_tracked": -5}, "from 0 to"),
    ({"num_batches_tracked": np.uint64(2**63)}, "from 0 to"),
])
def test_a_wrong_state_is_refused_as_a_whole(saved, told):
    layer = BatchNorm1d(3)
    before = layer.state
    with pytest.raises((ValueError, TypeError), match=told):
        layer.state |= {"running_mean": np.full(3, 7.0)} | saved
    after = layer.state
    assert all(after[name] is before[name] for name in STATE)


def test_the_count_of_batches_never_wraps():
    layer = BatchNorm1d(2)
    layer.state |= {"num_batches_tracked": np.uint8(255)}
    layer.forward(rng().normal(size=(3, 2)), training=True)
    assert layer.state["num_batches_tracked"] == 256


@TWINS
def test_a_copy_has_statistics_of_its_own(twin):
    layer, r = BatchNorm1d(2, eps=0.1, momentum=0.3), rng(11)
    layer.forward(r.normal(size=(4, 2)), training=True)
    other = twin(layer)
    x = r.normal(size=(4, 2))
    assert (other.forward(x) == layer.forward(x)).all()
    assert (other.forward(x, training=True) == layer.forward(x, training=True)).all()
    layer.forward(10 * x, training=True)
    assert other.state["num_batches_tracked"] == 2
    assert not np.allclose(other.forward(x), layer.forward(x))
    assert repr(other) == repr(layer) == "BatchNorm1d(2)"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_of_the_layer_stays(dtype):
    r = rng(12)
    batch, row = BatchNorm1d(3, dtype=dtype), LayerNorm((2, 3), dtype=dtype)
    x = r.normal(size=(4, 3)).astype(dtype)
    for layer, q in ((batch, x), (row, r.normal(size=(5, 2, 3)).astype(dtype))):
        for training in (True, False):
            h = layer.forward(q, training=training)
            assert h.dtype == layer.backward(h).dtype == dtype
            assert layer.gradient.dtype == dtype
    batch.forward(x.astype(np.float64), training=True)  # a slip: nothing drifts
    assert {batch.state[name].dtype for name in STATE[:2]} == {np.dtype(dtype)}
    assert batch.state["num_batches_tracked"].dtype == np.int64
    assert batch.forward(x).dtype == dtype


def test_gradients_are_written_not_added_and_v_is_left_alone():
    for layer in (BatchNorm1d(3), LayerNorm(3)):
        x, v = rng(13).normal(size=(2, 4, 3))
        kept = x.copy(), v.copy()
        layer.forward(x, training=True)
        layer.gradient[...] = np.nan
        first = layer.backward(v), layer.gradient.copy()
        second = layer.backward(v), layer.gradient.copy()
        assert all((a == b).all() for a, b in zip(first, second, strict=True))
        assert (x == kept[0]).all()
        assert (v == kept[1]).all()


# --- bad input ----------------------------------------------------------------


@pytest.mark.parametrize(("make", "error", "told"), [
    (lambda: BatchNorm1d(0), ValueError, r"BatchNorm1d\(0\) wants sizes from 1"),
    (lambda: BatchNorm1d(2.0), TypeError, "integers as sizes, got float"),
    (lambda: BatchNorm1d(True), TypeError, "integers as sizes, got bool"),
    (lambda: BatchNorm1d(2, eps=-1e-5), ValueError, "eps from 0 on, got -1e-05"),
    (lambda: BatchNorm1d(2, eps=np.nan), ValueError, "eps from 0 on, got nan"),
    (lambda: BatchNorm1d(2, eps=np.inf), ValueError, "finite eps"),
    (lambda: BatchNorm1d(2, eps="small"), TypeError, "real eps, got str"),
    (lambda: BatchNorm1d(2, momentum=1.5), ValueError, "momentum from 0 to 1"),
    (lambda: BatchNorm1d(2, momentum=np.nan), ValueError, "momentum from 0 to 1"),
    (lambda: BatchNorm1d(2, momentum=True), TypeError, "real momentum, got bool"),
    (lambda: BatchNorm1d(2, eps=True), TypeError, "real eps, got bool"),
    (lambda: BatchNorm1d(2, dtype=np.float16), TypeError, "float32 or float64"),
    (lambda: BatchNorm1d(2, dtype=np.longdouble), TypeError, "float32 or float64"),
    (lambda: BatchNorm1d(2, dtype="foo"), TypeError, r"BatchNorm1d\(2\) wants float32"),
    (lambda: BatchNorm1d(2, momentum=None), TypeError, "real momentum, got NoneType"),
    (lambda: BatchNorm1d(2, dtype=int), TypeError, "float32 or float64"),
    (lambda: LayerNorm(()), ValueError, r"LayerNorm\(\(\)\) wants at least one"),
    (lambda: LayerNorm((3, 0)), ValueError, r"LayerNorm\(\(3, 0\)\) wants sizes"),
    (lambda: LayerNorm("ab"), TypeError, "integers as sizes, got str"),
    (lambda: LayerNorm(3, eps=-1), ValueError, "eps from 0 on"),
    (lambda: LayerNorm(3, dtype=complex), TypeError, "float32 or float64"),
    (lambda: LayerNorm(64).forward(np.ones((8, 63))), ValueError,
     r"LayerNorm\(64\) wants x of shape \(…, 64\), got \(8, 63\)"),
    (lambda: LayerNorm((2, 3)).forward(np.ones(3)), ValueError,
     r"LayerNorm\(\(2, 3\)\) wants x of shape \(2, 3\), got \(3,\)"),
    (lambda: LayerNorm(3).forward(np.ones((0, 3))), ValueError, "LayerNorm"),
    (lambda: LayerNorm(3).forward(np.ones((2, 3), int)), TypeError, "floating-point"),
    (lambda: LayerNorm(3).forward([1.0, 2, 3]), TypeError, "NumPy array, got list"),
    (lambda: BatchNorm1d(3).backward(np.ones((2, 3))), RuntimeError, "before forward"),
    (lambda: LayerNorm(3).backward(np.ones((2, 3))), RuntimeError, "before forward"),
])
def test_bad_input_is_refused_by_name(make, error, told):
    with pytest.raises(error, match=told):
        make()


@pytest.mark.parametrize("layer", [BatchNorm1d(3), LayerNorm(3)], ids=repr)
def test_a_v_of_another_shape_is_refused_and_nothing_written(layer):
    layer.forward(np.ones((4, 3)))
    layer.gradient[...] = 7
    with pytest.raises(ValueError, match=r"wants v of shape \(4, 3\), got \(3, 3\)"):
        layer.backward(np.ones((3, 3)))
    assert (layer.gradient == 7).all()
