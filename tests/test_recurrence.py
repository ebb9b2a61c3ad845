"""RNN and LSTM: against JAX and PyTorch's layout, states, cuts, the text, bad input."""

import copy
import hashlib
import pickle
import re

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop_lit.differences import gradcheck
from backprop_lit.network import Flatten, Linear, Sequential
from backprop_lit.normalization import BatchNorm1d
from backprop_lit.recurrence import (
    LSTM,
    RNN,
    Alphabet,
    LastStep,
    TimeDistributed,
    load_text,
    split_text,
    text_windows,
)
from backprop_lit.symbolic import prove

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)
jnp = jax.numpy

ASSETS = ROOT / "backprop_lit" / "assets"
KINDS = pytest.mark.parametrize("kind", [RNN, LSTM])


def rng(seed=0):
    return np.random.default_rng(seed)


def states(layer, n, r):
    names = ("h_0", "c_0") if isinstance(layer, LSTM) else ("h_0",)
    return {name: r.normal(size=(n, layer.hidden_size)) for name in names}


# --- JAX ----------------------------------------------------------------------


def jax_rnn(f):
    def run(x, parameters, h_0):
        W, U, *b = parameters

        def step(h, x):
            h = f(x @ W.T + h @ U.T + sum(b))
            return h, h

        return jax.lax.scan(step, h_0, x.swapaxes(0, 1))[1].swapaxes(0, 1)

    return run


def jax_lstm(x, parameters, h_0, c_0):
    W, U, *b = parameters

    def step(state, x):
        h, c = state
        i, f, g, o = jnp.split(x @ W.T + h @ U.T + sum(b), 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    said = jax.lax.scan(step, (h_0, c_0), x.swapaxes(0, 1))[1]
    return said.swapaxes(0, 1)


SIZES = st.integers(1, 4)


@settings(max_examples=30, deadline=None)
@given(kind=st.sampled_from(["tanh", "relu", "LSTM"]), n=SIZES,
       steps=st.integers(1, 7), size=SIZES, hidden=SIZES, bias=st.booleans(),
       seed=st.integers(0, 2**16))
def test_layers_agree_with_jax(kind, n, steps, size, hidden, bias, seed):
    r = rng(seed)
    if kind == "LSTM":
        layer, peer = LSTM(size, hidden, bias=bias, rng=r), jax_lstm
    else:
        layer = RNN(size, hidden, nonlinearity=kind, bias=bias, rng=r)
        peer = jax_rnn(jnp.tanh if kind == "tanh" else jax.nn.relu)
    layer.theta[...] = r.normal(size=layer.theta.shape)
    x, v = r.normal(size=(n, steps, size)), r.normal(size=(n, steps, hidden))
    first = states(layer, n, r)
    h = layer.forward(x, **first)
    ours = [h, layer.backward(v), *layer.gradients.values(),
            *layer.v_inputs.values()]
    wanted, pull = jax.vjp(peer, x, list(layer.parameters.values()),
                           *first.values())
    v_x, gradients, *v_states = pull(v)
    for got, want in zip(ours, [wanted, v_x, *gradients, *v_states],
                         strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


# --- PyTorch's layout ---------------------------------------------------------


@KINDS
def test_names_shapes_order_and_range_are_those_of_pytorch(kind):
    layer = kind(3, 100, rng=rng())
    rows = 400 if kind is LSTM else 100
    assert {name: q.shape for name, q in layer.parameters.items()} == {
        "weight_ih_l0": (rows, 3), "weight_hh_l0": (rows, 100),
        "bias_ih_l0": (rows,), "bias_hh_l0": (rows,)}
    assert 0.099 < abs(layer.theta).max() <= 0.1
    assert abs(layer.theta.std() - 0.1 / np.sqrt(3)) < 2e-3
    assert list(kind(3, 2, bias=False, rng=rng()).parameters) == [
        "weight_ih_l0", "weight_hh_l0"]


def test_the_gates_stand_in_pytorchs_order():
    torch = pytest.importorskip("torch")
    ours = LSTM(3, 4, rng=rng())
    peer = torch.nn.LSTM(3, 4, batch_first=True, dtype=torch.float64)
    for name, q in peer.named_parameters():
        q.data = torch.tensor(ours.parameters[name])
    x = rng(1).normal(size=(2, 5, 3))
    np.testing.assert_allclose(
        ours.forward(x), peer(torch.tensor(x))[0].detach().numpy(), rtol=1e-12)


# --- states, cuts, copies -----------------------------------------------------


@KINDS
def test_a_sequence_in_two_parts_is_the_sequence(kind):
    r = rng()
    layer = kind(2, 3, rng=r)
    x = r.normal(size=(4, 9, 2))
    whole = layer.forward(x)
    last = layer.last_state
    early = layer.forward(x[:, :4])
    late = layer.forward(x[:, 4:], **layer.last_state)
    np.testing.assert_array_equal(np.concatenate([early, late], 1), whole)
    for name, state in layer.last_state.items():
        np.testing.assert_array_equal(state, last[name])


@KINDS
@pytest.mark.parametrize("truncate", [1, 2, 3, 4, 7, 8, 100])
def test_a_cut_hands_on_states_and_no_v(kind, truncate):
    r = rng()
    cut, layer = kind(2, 3, truncate=truncate, rng=rng(5)), kind(2, 3, rng=rng(5))
    x, v = r.normal(size=(4, 8, 2)), r.normal(size=(4, 8, 3))
    whole, state, v_x, total = cut.forward(x), {}, [], 0
    for k in range(0, 8, truncate):
        h = layer.forward(x[:, k:k + truncate], **state)
        np.testing.assert_array_equal(h, whole[:, k:k + truncate])
        v_x.append(layer.backward(v[:, k:k + truncate]))
        total, state = total + layer.gradient, layer.last_state
        if k == 0:
            v_first = layer.v_inputs
    np.testing.assert_allclose(cut.backward(v), np.concatenate(v_x, 1))
    np.testing.assert_allclose(cut.gradient, total, rtol=1e-12, atol=1e-14)
    for name, v_state in cut.v_inputs.items():
        np.testing.assert_allclose(v_state, v_first[name])
    assert bool(gradcheck(cut, x)) == (truncate >= 8)


@KINDS
def test_a_cut_shorter_than_the_sequence_is_refused_by_the_proof(kind):
    assert not prove(kind(1, 2, truncate=1, rng=rng()), (2, 2, 1))


@KINDS
def test_arrays_that_were_handed_out_stay_as_they_are(kind):
    r = rng()
    layer = kind(2, 3, rng=r)
    x, v = r.normal(size=(4, 5, 2)), r.normal(size=(4, 5, 3))
    h, state = layer.forward(x), layer.last_state
    v_x, v_state = layer.backward(v), layer.v_inputs
    kept = copy.deepcopy((h, state, v_x, v_state))
    np.testing.assert_array_equal(layer.backward(v), v_x)  # twice: the same
    layer.backward(layer.forward(2 * x) * 3)
    for old, new in zip(kept, (h, state, v_x, v_state), strict=True):
        if isinstance(old, dict):
            assert all((old[name] == new[name]).all() for name in old)
        else:
            np.testing.assert_array_equal(old, new)


@KINDS
@pytest.mark.parametrize("twin", [
    copy.deepcopy, lambda q: pickle.loads(pickle.dumps(q))])
def test_copies_work_alone(kind, twin):
    layer = Sequential(kind(2, 3, rng=rng()),
                       TimeDistributed(Linear(3, 2, rng=rng())))
    x = rng(1).normal(size=(4, 5, 2))
    h = layer.forward(x)
    other = twin(layer)
    with pytest.raises(RuntimeError, match="backward before forward"):
        other[0].backward(np.ones((4, 5, 3)))
    with pytest.raises(RuntimeError, match="no last state"):
        assert other[0].last_state
    assert np.array_equal(other.forward(x), h)
    other.theta[...] = 0
    assert (other.forward(x) == 0).all()
    assert np.array_equal(layer.forward(x), h)


@KINDS
def test_float32_stays_float32(kind):
    layer = kind(2, 3, rng=rng(), dtype=np.float32)
    x = np.ones((4, 5, 2), np.float32)
    assert layer.forward(x).dtype == np.float32
    assert layer.backward(np.ones((4, 5, 3), np.float32)).dtype == np.float32
    assert layer.gradient.dtype == np.float32
    assert {q.dtype for q in layer.v_inputs.values()} == {np.dtype("f4")}


def test_large_inputs_do_not_overflow():
    layer = LSTM(1, 2, rng=rng())
    with np.errstate(all="raise"):
        h = layer.forward(np.array([[[1e6], [-1e6], [0.0]]]))
        v_x = layer.backward(np.ones_like(h))
    assert np.isfinite(h).all()
    assert np.isfinite(v_x).all()


# --- every step a row ---------------------------------------------------------


def test_time_distributed_is_its_layer_on_rows():
    layer = TimeDistributed(Linear(3, 2, rng=rng()))
    plain = Linear(3, 2, rng=rng())
    x, v = rng(1).normal(size=(4, 5, 3)), rng(2).normal(size=(4, 5, 2))
    np.testing.assert_array_equal(
        layer.forward(x).reshape(20, 2), plain.forward(x.reshape(20, 3)))
    np.testing.assert_array_equal(
        layer.backward(v).reshape(20, 3), plain.backward(v.reshape(20, 2)))
    np.testing.assert_array_equal(layer.gradient, plain.gradient)
    assert list(layer.parameters) == ["weight", "bias"]


def test_time_distributed_hands_on_training_and_state():
    layer = TimeDistributed(BatchNorm1d(3))
    before = layer.state["running_mean"]
    layer.forward(rng().normal(size=(4, 5, 3)), training=True)
    assert (layer.state["running_mean"] != before).any()
    saved = {name: q.copy() for name, q in layer.state.items()}
    other = TimeDistributed(BatchNorm1d(3))
    other.state |= saved
    assert (other.state["running_mean"] == saved["running_mean"]).all()
    flat = TimeDistributed(Flatten())
    assert flat.forward(np.ones((2, 3, 4, 5))).shape == (2, 3, 20)


def test_last_step_takes_v_to_the_last_step_alone():
    last = LastStep()
    x = rng().normal(size=(2, 3, 4))
    said = last.forward(x)
    assert (said == x[:, 2]).all()
    assert not np.shares_memory(said, x)
    v = last.backward(np.ones((2, 4)))
    assert v.sum() == 8
    assert (v[:, 2] == 1).all()


# --- bad input ----------------------------------------------------------------


@KINDS
@pytest.mark.parametrize(("x", "error", "told"), [
    (np.ones((2, 3)), ValueError, r"x of shape \(n, s, 3\), got \(2, 3\)"),
    (np.ones((2, 5, 4)), ValueError, r"got \(2, 5, 4\)"),
    (np.ones((2, 0, 3)), ValueError, r"got \(2, 0, 3\)"),
    (np.ones((0, 2, 3)), ValueError, r"got \(0, 2, 3\)"),
    (np.ones((2, 5, 3), int), TypeError, "floating-point"),
    ([np.ones((5, 3)), np.ones((2, 3))], ValueError, "of lengths 2, 5"),
    (np.array([np.ones((5, 3)), np.ones((2, 3))], object), ValueError,
     "of lengths 2, 5"),
    (None, TypeError, "plain NumPy array"),
], ids=str)
def test_bad_sequences_are_refused_and_nothing_changes(kind, x, error, told):
    layer = kind(3, 2, rng=rng())
    good = rng(1).normal(size=(2, 4, 3))
    v = np.ones((2, 4, 2))
    layer.forward(good)
    wanted = layer.backward(v)
    with pytest.raises(error, match=told):
        layer.forward(x)
    np.testing.assert_array_equal(layer.backward(v), wanted)


@KINDS
def test_bad_states_and_v_are_refused_and_nothing_changes(kind):
    layer = kind(3, 2, rng=rng())
    x = np.ones((4, 5, 3))
    layer.forward(x)
    layer.backward(np.ones((4, 5, 2)))
    before = layer.gradient.copy(), layer.last_state["h_0"]
    for state in (np.ones((3, 2)), np.ones((4, 3)), np.ones((1, 4, 2))):
        with pytest.raises(ValueError, match=r"wants h_0 of shape \(4, 2\)"):
            layer.forward(2 * x, h_0=state)
    with pytest.raises(TypeError, match="h_0"):
        layer.forward(2 * x, h_0=np.ones((4, 2), int))
    for bad in (np.ones((4, 2), complex), np.full((4, 2), "a", object)):
        with pytest.raises(TypeError, match="wants h_0 of the kind of x"):
            layer.forward(2 * x, h_0=bad)
    with pytest.raises(ValueError, match="wants v of shape"):
        layer.backward(np.ones((4, 4, 2)))
    assert (layer.gradient == before[0]).all()
    assert (layer.last_state["h_0"] == before[1]).all()


@KINDS
@pytest.mark.parametrize(("settings", "error"), [
    ({"truncate": 0}, ValueError), ({"truncate": 2.0}, TypeError),
    ({"truncate": True}, TypeError), ({"rng": 3}, TypeError),
    ({"dtype": int}, TypeError)], ids=str)
def test_bad_settings_are_refused(kind, settings, error):
    with pytest.raises(error, match=f"{kind.__name__}"):
        kind(3, 2, **{"rng": rng()} | settings)


@KINDS
@pytest.mark.parametrize("value", [1j, 1], ids=["complex", "object"])
def test_numbers_that_the_gradients_cannot_hold_are_refused(kind, value):
    layer = kind(3, 2, rng=rng())
    x, v = rng(1).normal(size=(2, 4, 3)), rng(2).normal(size=(2, 4, 2))
    layer.forward(x)
    wanted, state = layer.backward(v), layer.last_state
    odd = v * value if value == 1j else v.astype(object)
    with pytest.raises(TypeError, match="cannot hold v of"):
        layer.backward(odd)
    np.testing.assert_array_equal(layer.backward(v), wanted)
    v_inputs = layer.v_inputs
    if value == 1j:
        layer.forward(x * value)
        with pytest.raises(TypeError, match="cannot hold v of complex128"):
            layer.backward(v)
        assert layer.v_inputs is v_inputs
    else:
        with pytest.raises(TypeError):  # floats as objects have no tanh
            layer.forward(x.astype(object))
        for name, kept in layer.last_state.items():
            assert kept.dtype == float
            np.testing.assert_array_equal(kept, state[name])


@KINDS
def test_sizes_may_be_of_any_kind_of_integer(kind):
    assert kind(np.uint8(3), np.uint8(64), rng=rng()).forward(
        np.ones((1, 2, 3))).shape == (1, 2, 64)


@KINDS
def test_a_cut_set_later_is_looked_at_before_backward(kind):
    layer = kind(3, 2, rng=rng())
    h = layer.forward(np.ones((1, 4, 3)))
    for bad, error in ((-2, ValueError), ("a", TypeError)):
        layer.truncate = bad
        with pytest.raises(error, match="truncate"):
            layer.backward(h)


@pytest.mark.parametrize("x", [None, [[[1.0]]], "a", 1.0], ids=str)
def test_rows_of_no_array_are_refused(x):
    for layer in (TimeDistributed(Linear(3, 2, rng=rng())), LastStep()):
        with pytest.raises(TypeError, match="wants x as a plain NumPy array"):
            layer.forward(x)
        with pytest.raises(ValueError, match="wants x of shape"):
            layer.forward(np.ones((2, 3, 0)))


def test_bad_sizes_kinds_and_layers_are_refused():
    with pytest.raises(ValueError, match="sizes from 1 on"):
        LSTM(0, 2, rng=rng())
    with pytest.raises(TypeError, match="integers as sizes"):
        RNN(3, 2.0, rng=rng())
    with pytest.raises(ValueError, match="'tanh' or 'relu', got 'sin'"):
        RNN(3, 2, nonlinearity="sin", rng=rng())
    with pytest.raises(ValueError, match="'tanh' or 'relu', got "):
        RNN(3, 2, nonlinearity=["tanh"], rng=rng())
    with pytest.raises(TypeError, match="wants a layer, got 3"):
        TimeDistributed(3)
    for layer in (TimeDistributed(Linear(3, 2, rng=rng())), LastStep()):
        with pytest.raises(ValueError, match="of shape"):
            layer.forward(np.ones((4, 3)))


# --- the text -----------------------------------------------------------------


def test_the_file_is_the_one_that_its_note_describes():
    data = (ASSETS / "moby_dick.txt").read_bytes()
    note = (ASSETS / "MOBY_DICK.md").read_text(encoding="utf-8")
    assert hashlib.sha256(data).hexdigest() in re.findall(
        r"\b[0-9a-f]{64}\b", note)
    assert data.decode("ascii") == load_text()
    for word in ("1851", "public domain", "CC0", "0.2.3", "book/make_text.py"):
        assert word in note
    script = (ROOT / "book" / "make_text.py").read_text("utf8")
    (tarball,) = re.findall(r"\b[0-9a-f]{64}\b", script)
    assert tarball in note


def test_the_text_is_melvilles_alone_and_its_alphabet_small():
    text = load_text()
    assert text.startswith("call me ishmael.")
    assert text.endswith("\n")
    assert len(text) == 169034
    assert len(set(text)) == 40
    assert "gutenberg" not in text
    assert "chapter 1" not in text
    assert "  " not in text
    assert "\n\n" not in text
    assert not re.search("[A-Z1-9]", text)


def test_the_parts_of_the_text_are_the_text():
    text = load_text()
    parts = split_text(text)
    assert "".join(parts) == text
    assert set(parts[0]) == set(text)  # nothing unheard of in the others
    for bad, error in (("short", ValueError), (3, TypeError)):
        with pytest.raises(error, match="split_text wants"):
            split_text(bad)


@given(st.text(min_size=1, max_size=50))
def test_an_alphabet_reads_what_it_writes(text):
    alphabet = Alphabet(text)
    tokens = alphabet.encode(text)
    assert alphabet.decode(tokens) == text
    assert tokens.dtype == np.int64
    assert tokens.shape == (len(text),)
    assert len(alphabet) == len(set(text)) == len(alphabet.characters)
    assert alphabet.encode("").shape == (0,)
    assert alphabet.decode([]) == ""


def test_strange_characters_and_tokens_are_refused():
    alphabet = Alphabet("banana")
    with pytest.raises(ValueError, match="3 characters has no character 'x'"):
        alphabet.encode("bax")
    for bad in (3, None, ["a"], b"a"):
        with pytest.raises(TypeError, match="wants a str, got"):
            alphabet.encode(bad)
    for tokens in ([3], [-1], [[0]]):
        with pytest.raises(ValueError, match="wants tokens"):
            alphabet.decode(tokens)
    with pytest.raises(TypeError, match="integers as tokens, got float64"):
        alphabet.decode([0.0])
    for bad, error in (("", ValueError), (3, TypeError)):
        with pytest.raises(error, match="Alphabet wants"):
            Alphabet(bad)


@given(st.integers(2, 40), st.integers(1, 12))
def test_windows_lie_end_to_end_and_look_one_ahead(count, length):
    tokens = np.arange(count)
    if length >= count:
        with pytest.raises(ValueError, match="a length from 1 to"):
            text_windows(tokens, length)
        return
    x, y = text_windows(tokens, length)
    assert (y == x + 1).all()
    assert (x.ravel() == tokens[:x.size]).all()
    assert x.shape == y.shape == ((count - 1) // length, length)


def test_windows_refuse_what_is_no_text():
    for tokens in (np.ones(5), np.ones((2, 5), int)):
        with pytest.raises(TypeError, match="vector of integers"):
            text_windows(tokens, 2)
    for length, error in ((0, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match="text_windows wants"):
            text_windows(np.arange(9), length)
