"""Attention and the GPT: against JAX, PyTorch's names, causality, masks, bad input."""

import copy
import pickle
from math import sqrt

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop_lit.attention import (
    GPT,
    Embedding,
    MultiheadAttention,
    TransformerBlock,
    causal_mask,
    padding_mask,
    scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
)
from backprop_lit.differences import gradcheck
from backprop_lit.losses import CrossEntropyLoss
from backprop_lit.network import Flatten, Linear, Sequential
from backprop_lit.symbolic import prove, symbols

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)
jnp = jax.numpy

# JAX compiles anew for every shape: few examples, of many shapes.
FEW = settings(max_examples=7, deadline=None)
FEWER = settings(max_examples=4, deadline=None)
SIZES = st.integers(1, 5)


def rng(seed=0):
    return np.random.default_rng(seed)


def agree(got, wanted):
    wanted = np.asarray(wanted)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)


def some_mask(r, shape):
    """Truth values with at least one True in each row."""
    mask = r.random(shape) < 0.5
    np.put_along_axis(mask, r.integers(shape[-1], size=(*shape[:-1], 1)), True, -1)
    return mask


# --- JAX ----------------------------------------------------------------------


def jax_attention(query, key, content, mask=None):
    d = query @ key.swapaxes(-1, -2) / sqrt(query.shape[-1])
    if mask is not None:
        d = jnp.where(mask, d, -jnp.inf)
    return jax.nn.softmax(d, -1) @ content


def jax_heads(q, x, heads, mask, prefix=""):
    n, s, features = x.shape
    d = x @ q[prefix + "in_proj_weight"].T + q.get(prefix + "in_proj_bias", 0)
    parts = jnp.moveaxis(d.reshape(n, s, 3, heads, -1), (2, 3), (0, 2))
    mask = mask[:, None] if np.ndim(mask) == 3 else mask
    h = jnp.moveaxis(jax_attention(*parts, mask), 1, 2).reshape(n, s, features)
    return h @ q[prefix + "out_proj.weight"].T + q.get(prefix + "out_proj.bias", 0)


def jax_norm(q, x, name):
    c = x - x.mean(-1, keepdims=True)
    s = jnp.sqrt((c * c).mean(-1, keepdims=True) + 1e-5)
    return q[name + "weight"] * c / s + q[name + "bias"]


def jax_block(q, x, heads, mask, prefix=""):
    a = x + jax_heads(q, jax_norm(q, x, prefix + "norm1."), heads, mask,
                      prefix + "self_attn.")
    d = jax_norm(q, a, prefix + "norm2.") @ q[prefix + "linear1.weight"].T
    d = jax.nn.gelu(d + q.get(prefix + "linear1.bias", 0), approximate=True)
    d = d @ q[prefix + "linear2.weight"].T
    return a + d + q.get(prefix + "linear2.bias", 0)


def jax_gpt(q, tokens, heads, layers):
    size = tokens.shape[1]
    h = q["token.weight"][tokens] + q["position.weight"][:size]
    for k in range(layers):
        h = jax_block(q, h, heads, np.tri(size, dtype=bool), f"blocks.{k}.")
    return jax_norm(q, h, "norm.") @ q["head.weight"].T


def both_ways(peer, v, *given):
    """The peer's output and its v of all that was given, compiled once."""
    def run(v, *given):
        h, pull = jax.vjp(peer, *given)
        return h, pull(v)

    return jax.jit(run)(v, *given)


def hold(layer, peer, x, v, **options):
    """Output, v of x and every gradient, against JAX's."""
    q = {name: jnp.array(array) for name, array in layer.parameters.items()}
    h, (gradients, v_x) = both_ways(peer, v, q, x)
    agree(layer.forward(x, **options), h)
    agree(layer.backward(v), v_x)
    for name, g in gradients.items():
        agree(layer.gradients[name], g)


@FEW
@given(st.lists(st.integers(1, 3), max_size=2), SIZES, SIZES, SIZES, SIZES,
       st.booleans(), st.integers(0, 9))
def test_attention_agrees_with_jax(leading, queries, keys, dim, out, masked, seed):
    r = rng(seed)
    query, key, content = (r.normal(size=(*leading, *shape)) * 2 for shape in (
        (queries, dim), (keys, dim), (keys, out)))
    mask = some_mask(r, (queries, keys)) if masked else None
    h, p = scaled_dot_product_attention(query, key, content, mask)
    v = r.normal(size=h.shape)
    peer, wanted_v = both_ways(lambda *q: jax_attention(*q, mask), v,
                               query, key, content)
    agree(h, peer)
    agree(p.sum(-1), np.ones(p.shape[:-1]))
    ours = scaled_dot_product_attention_backward(v, query, key, content, h, p)
    for got, wanted in zip(ours, wanted_v, strict=True):
        agree(got, wanted)


def draw_mask(kind, r, n, size):
    """A mask of this kind in which every position sees itself, if it is to see."""
    itself = np.eye(size, dtype=bool)
    if kind == "padding":
        return padding_mask(r.integers(1, size + 1, size=n), size)
    if kind == "keys":  # of shape (s,); all see the first
        return np.arange(size) < r.integers(1, size + 1)
    shape = {"pairs": (n, size, size), "shared": (size, size)}.get(kind)
    return None if shape is None else some_mask(r, shape) | itself


def seen_by(mask, causal, size):
    seen = np.tri(size, dtype=bool) if causal else np.ones((size, size), bool)
    return seen if mask is None else seen & mask


KINDS = ["", "pairs", "shared", "padding", "keys"]


@FEW
@given(st.integers(1, 3), SIZES, st.integers(1, 3), st.integers(1, 3),
       st.booleans(), st.booleans(), st.sampled_from(KINDS), st.integers(0, 9))
def test_heads_agree_with_jax(n, size, heads, dim, bias, causal, kind, seed):
    r = rng(seed)
    layer = MultiheadAttention(heads * dim, heads, bias=bias, causal=causal, rng=r)
    layer.theta[...] = r.normal(size=layer.theta.shape)
    x, v = r.normal(size=(2, n, size, heads * dim))
    mask = draw_mask(kind, r, n, size)
    whole = seen_by(mask, causal, size)
    hold(layer, lambda q, x: jax_heads(q, x, heads, whole), x, v, mask=mask)


@pytest.mark.parametrize(("kind", "bias"), [
    ("", True), ("pairs", False), ("shared", True), ("padding", False), ("keys", True)])
@settings(max_examples=3, deadline=None)
@given(st.integers(1, 3), st.integers(2, 5), st.integers(1, 3), st.integers(2, 3),
       SIZES, st.booleans(), st.integers(0, 9))
def test_a_block_agrees_with_jax(kind, bias, n, size, heads, dim, hidden, causal,
                                 seed):
    r = rng(seed)
    layer = TransformerBlock(heads * dim, heads, hidden, causal=causal, bias=bias,
                             rng=r)
    biases = [name for name in layer.parameters
              if name.endswith("bias") and not name.startswith("norm")]
    assert len(biases) == (4 if bias else 0)
    layer.theta[...] = r.normal(size=layer.theta.shape)
    x, v = r.normal(size=(2, n, size, heads * dim))
    mask = draw_mask(kind, r, n, size)
    whole = seen_by(mask, causal, size)
    hold(layer, lambda q, x: jax_block(q, x, heads, whole), x, v, mask=mask)


@FEWER
@given(st.integers(1, 3), SIZES, st.integers(0, 3), st.integers(1, 5),
       st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 9))
def test_a_gpt_agrees_with_jax(n, size, longer, kinds, heads, dim, layers, seed):
    r = rng(seed)
    model = GPT(kinds, size + longer, embed_dim=(dim + 1) * heads,
                num_heads=heads, num_layers=layers, rng=r)
    model.theta[...] = r.normal(size=model.theta.shape)
    tokens = r.integers(kinds, size=(n, size))
    v = r.normal(size=(n, size, kinds))
    q = {name: jnp.array(array) for name, array in model.parameters.items()}
    u, (gradients,) = both_ways(
        lambda q: jax_gpt(q, tokens, heads, layers), v, q)
    agree(model.forward(tokens), u)
    assert model.backward(v) is None
    for name, g in gradients.items():
        agree(model.gradients[name], g)


@FEW
@given(st.lists(SIZES, min_size=1, max_size=3), SIZES, SIZES, st.integers(0, 9))
def test_a_table_adds_over_repeated_tokens(shape, kinds, dim, seed):
    r = rng(seed)
    table, tokens = Embedding(kinds, dim, rng=r), r.integers(kinds, size=shape)
    v = r.normal(size=(*shape, dim))
    rows = np.eye(kinds)[tokens.ravel()]
    agree(table.forward(tokens), (rows @ table.theta.reshape(kinds, dim)).reshape(
        *shape, dim))
    assert table.backward(v) is None
    agree(table.gradients["weight"], rows.T @ v.reshape(-1, dim))
    table.backward(v)  # it writes, and does not add to what it wrote
    agree(table.gradients["weight"], rows.T @ v.reshape(-1, dim))


# --- PyTorch's names, orders, first weights -----------------------------------


def test_names_shapes_and_orders_are_those_of_pytorch():
    block = TransformerBlock(6, 3, 5, rng=rng())
    assert {name: q.shape for name, q in block.parameters.items()} == {
        "self_attn.in_proj_weight": (18, 6), "self_attn.in_proj_bias": (18,),
        "self_attn.out_proj.weight": (6, 6), "self_attn.out_proj.bias": (6,),
        "linear1.weight": (5, 6), "linear1.bias": (5,),
        "linear2.weight": (6, 5), "linear2.bias": (6,),
        "norm1.weight": (6,), "norm1.bias": (6,),
        "norm2.weight": (6,), "norm2.bias": (6,)}


def test_first_weights_are_those_of_pytorch():
    layer = MultiheadAttention(64, 4, rng=rng())
    q = layer.parameters
    xavier, default = sqrt(6 / (64 + 192)), 1 / sqrt(64)
    for name, bound in (("in_proj_weight", xavier), ("out_proj.weight", default)):
        assert 0.98 * bound < abs(q[name]).max() <= bound
        assert abs(q[name].std() * sqrt(3) / bound - 1) < 0.03
    assert not q["in_proj_bias"].any()
    assert not q["out_proj.bias"].any()
    table = Embedding(500, 40, rng=rng()).parameters["weight"]
    assert abs(table.std() - 1) < 0.02


def test_first_weights_of_a_gpt_are_softened():
    for layers in (1, 3):
        model = GPT(200, 50, embed_dim=64, num_heads=4, num_layers=layers,
                    rng=rng())
        q = model.parameters
        for name in ("token.weight", "position.weight"):
            assert abs(q[name].std() / 0.1 - 1) < 0.03
        for k in range(layers):
            for name, inputs in (("self_attn.out_proj", 64), ("linear2", 256)):
                weight = q[f"blocks.{k}.{name}.weight"]
                bound = 1 / sqrt(inputs) / sqrt(2 * layers)
                assert 0.98 * bound < abs(weight).max() <= bound
            assert abs(q[f"blocks.{k}.linear1.weight"]).max() > 0.98 / sqrt(64)


# --- masks and causality ------------------------------------------------------


@pytest.mark.parametrize("kind", [MultiheadAttention, TransformerBlock])
def test_what_comes_later_neither_matters_nor_gets_v(kind):
    layer, x = kind(6, 3, causal=True, rng=rng()), rng(1).normal(size=(2, 5, 6))
    before = layer.forward(x)
    for cut in range(1, 5):  # a mask may be right at one cut only
        other = x.copy()
        other[:, cut:] += 10
        np.testing.assert_allclose(layer.forward(other)[:, :cut],
                                   before[:, :cut], rtol=0, atol=1e-13)
        v = rng(2).normal(size=x.shape)
        v[:, cut:] = 0
        v_x = layer.backward(v)
        assert (v_x[:, cut:] == 0).all()
        assert (v_x[:, :cut] != 0).all()


def late(size):
    """Blind only together with causality: position 0 sees the last alone."""
    mask = np.ones((size, size), bool)
    mask[0, :-1] = False
    return mask


@pytest.mark.parametrize("kind", [MultiheadAttention, TransformerBlock])
@pytest.mark.parametrize("mask", [np.zeros((3, 3), bool), late(3),
                                  np.ones((3, 2), bool), np.ones((3, 3))])
def test_a_refused_forward_leaves_what_was_kept(kind, mask):
    layer = kind(4, 2, causal=True, rng=rng())
    x, other, v = rng(1).normal(size=(3, 2, 3, 4))
    layer.forward(x)
    v_x, gradient = layer.backward(v), layer.gradient.copy()
    with pytest.raises((TypeError, ValueError), match=f"^{kind.__name__}|^Multi"):
        layer.forward(other, mask=mask)
    assert (layer.backward(v) == v_x).all()
    assert (layer.gradient == gradient).all()


def test_filling_neither_matters_nor_gets_v():
    layer, x = MultiheadAttention(4, 2, rng=rng()), rng(1).normal(size=(2, 5, 4))
    mask = padding_mask([3, 5], 5)
    before = layer.forward(x, mask=mask)[0, :3]
    agree(before, MultiheadAttention.forward(layer, x[:1, :3])[0])
    x[0, 3:] = 1e30  # far above all others, and still unseen
    agree(layer.forward(x, mask=mask)[0, :3], before)
    v = np.zeros_like(x)
    v[0, :3] = 1
    assert (layer.backward(v)[0, 3:] == 0).all()


def test_huge_scores_do_not_overflow():
    q = np.array([[1000.0], [-1000.0]])
    h, p = scaled_dot_product_attention(q, q, q, causal_mask(2))
    assert (p == np.eye(2)).all()
    assert (h == q).all()
    back = scaled_dot_product_attention_backward(np.ones((2, 1)), q, q, q, h, p)
    assert all(np.isfinite(v).all() for v in back)


def test_the_bias_of_keys_learns_nothing():
    layer = MultiheadAttention(4, 2, rng=rng())
    layer.theta[...] = rng(1).normal(size=layer.theta.shape)
    layer.forward(rng(2).normal(size=(3, 5, 4)))
    layer.backward(rng(3).normal(size=(3, 5, 4)))
    assert abs(layer.gradients["in_proj_bias"][4:8]).max() < 1e-13


def test_shares_are_only_to_be_read():
    layer = MultiheadAttention(4, 2, rng=rng())
    layer.forward(rng(1).normal(size=(2, 3, 4)))
    with pytest.raises(ValueError, match="read-only"):
        layer.shares[...] = 0


def test_a_sequence_of_one_looks_at_itself():
    layer = MultiheadAttention(4, 2, causal=True, rng=rng())
    layer.forward(rng(1).normal(size=(2, 1, 4)))
    assert (layer.shares == 1).all()


# --- proofs notice ------------------------------------------------------------


def pair(spoil):
    def backward(v, *given):
        return spoil(*scaled_dot_product_attention_backward(
            v, *given, *scaled_dot_product_attention(*given)))

    return (lambda query, key, content: scaled_dot_product_attention(
        query, key, content)[0], backward)


@pytest.mark.parametrize("spoil", [
    lambda q, k, c: (-q, k, c), lambda q, k, c: (q, -k, c),
    lambda q, k, c: (q, k, -c), lambda q, k, c: (2 * q, k, c),
    lambda q, k, c: (q, k[::-1], c), lambda q, k, c: (q, k, c[::-1])])
def test_a_wrong_backward_is_not_proved(spoil):
    assert not prove(pair(spoil), (2, 4), (3, 4), (3, 2))


def test_attention_with_its_biases_is_proved():
    def shares(scores, mask):
        grown = scores.applyfunc(sp.exp).multiply_elementwise(mask)
        return sp.diag(*(1 / sum(grown[i, :]) for i in range(2))) * grown

    def formula(x, **q):
        weight_in, weight_out, bias_in, bias_out = (
            q[f"{name}{kind}"] for kind in ("weight", "bias")
            for name in ("in_proj_", "out_proj."))
        ones, found = sp.ones(2, 1), []
        d = sp.Matrix(x[0]) * weight_in.T + ones * bias_in
        for k in (0, 2):
            query, key, content = (d[:, k + j:k + j + 2] for j in (0, 4, 8))
            scores = query * key.T / sp.Rational(repr(sqrt(2)))
            found.append(shares(scores, sp.Matrix([[1, 0], [1, 1]])) * content)
        return sp.Matrix.hstack(*found) * weight_out.T + ones * bias_out

    layer = MultiheadAttention(4, 2, causal=True, rng=rng())
    assert prove(layer, (1, 2, 4), formula=formula,
                 sample=lambda r, shape: 0.4 * r.normal(size=shape),
                 zero={f"in_proj_bias[{k}": "softmax" for k in range(4, 8)})


class NoStraightEdge(TransformerBlock):
    def backward(self, v):
        return super().backward(v) - v


def test_gradcheck_refutes_wrong_wirings():
    x = rng(1).normal(size=(2, 3, 4))
    assert gradcheck(TransformerBlock(4, 2, rng=rng()), x)
    assert not gradcheck(NoStraightEdge(4, 2, rng=rng()), x)
    block = TransformerBlock(4, 2, rng=rng())
    block.theta[...] = rng(2).normal(size=block.theta.shape)
    assert gradcheck(block, x)


def test_a_backward_takes_what_its_forward_took():
    """A query of symbols, keys and contents of floats: no array is written into."""
    query = symbols("q", (2, 4), rng=rng())
    key, content = rng().normal(size=(2, 3, 4))
    h, p = scaled_dot_product_attention(query, key, content)
    v_query, _, v_content = scaled_dot_product_attention_backward(
        np.ones((2, 4)), query, key, content, h, p)
    assert v_query.shape == (2, 4)
    assert v_content.shape == (3, 4)


# --- behavior -----------------------------------------------------------------

MAKERS = [
    lambda **o: MultiheadAttention(4, 2, rng=rng(), **o),
    lambda **o: TransformerBlock(4, 2, rng=rng(), **o),
]


def test_one_head_is_no_heads():
    for kind in (MultiheadAttention, TransformerBlock):
        assert repr(kind(4, 1, rng=rng())) == f"{kind.__name__}(4, 1 head)"
        assert repr(kind(4, 2, rng=rng())) == f"{kind.__name__}(4, 2 heads)"



@pytest.mark.parametrize("make", MAKERS, ids=["heads", "block"])
@pytest.mark.parametrize("twin", [
    copy.copy, copy.deepcopy, lambda q: pickle.loads(pickle.dumps(q))])
def test_copies_are_apart(make, twin):
    layer, x = make(), rng(1).normal(size=(2, 3, 4))
    h = layer.forward(x)
    other = twin(layer)
    assert (other.forward(x) == h).all()
    other.theta += 1
    assert (layer.forward(x) == h).all()
    assert not np.allclose(other.forward(x), h)


@pytest.mark.parametrize("make", MAKERS, ids=["heads", "block"])
def test_float32_stays_float32(make):
    layer = make(dtype=np.float32)
    x = rng(1).normal(size=(2, 3, 4)).astype(np.float32)
    assert layer.forward(x).dtype == np.float32
    assert layer.backward(x).dtype == np.float32


def test_a_gpt_fits_a_sequential_and_counts_its_parts_once():
    model = Sequential(GPT(3, 4, embed_dim=4, num_heads=2, num_layers=2, rng=rng()),
                       Flatten(), Linear(12, 2, rng=rng()))
    tokens = rng(1).integers(3, size=(5, 4))
    u = model.forward(tokens)
    loss = CrossEntropyLoss()
    loss.forward(u, np.zeros(5, int))
    assert model.backward(loss.backward()) is None
    assert (model.gradient != 0).mean() > 0.8
    stored = pickle.loads(pickle.dumps(model))
    assert (stored.forward(tokens) == u).all()


def test_a_gpt_in_float32_and_shorter_than_its_context():
    model = GPT(5, 6, embed_dim=4, num_heads=2, num_layers=1, rng=rng(),
                dtype=np.float32)
    u = model.forward(np.array([[1, 2, 3]], dtype=np.uint8))
    assert u.dtype == np.float32
    model.backward(np.ones_like(u))
    assert not model.gradients["position.weight"][3:].any()


def test_generating_continues_and_repeats_itself_by_seed():
    model = GPT(5, 4, embed_dim=4, num_heads=2, num_layers=1, rng=rng())
    start = np.array([1, 2, 3, 4, 0, 1])  # longer than the context
    one, two = (model.generate(start, 9, rng=rng(7)) for _ in range(2))
    assert one.tolist() == two.tolist()
    assert one[:6].tolist() == start.tolist()
    assert one.shape == (15,)
    for temperature in (1e-6, 1e-320, np.longdouble(1e-6)):
        cold = model.generate(start, 5, temperature=temperature, rng=rng(1))
    greedy = list(start)
    for _ in range(5):
        greedy.append(int(model.forward(np.array([greedy[-4:]]))[0, -1].argmax()))
    assert cold.tolist() == greedy


# --- bad input ----------------------------------------------------------------

TINY = {"embed_dim": 4, "num_heads": 2, "num_layers": 1}


@pytest.mark.parametrize(("call", "kind", "words"), [
    (lambda: MultiheadAttention(6, 4, rng=rng()), ValueError, "divide the width"),
    (lambda: MultiheadAttention(0, 1, rng=rng()), ValueError, "from 1 on"),
    (lambda: MultiheadAttention(4, 2, rng=0), TypeError, "Generator"),
    (lambda: TransformerBlock(6, 4, rng=rng()), ValueError, "divide the width"),
    (lambda: MultiheadAttention(4, 2, False, rng=rng()), TypeError, "positional"),
    (lambda: MultiheadAttention(4, 2, causal="no", rng=rng()), TypeError, "truth"),
    (lambda: TransformerBlock(4, 2, bias="no", rng=rng()), TypeError, "wants bias as"),
    (lambda: MultiheadAttention(4, 2, bias=np.ones(2), rng=rng()), TypeError,
     "wants bias as a truth value"),
    (lambda: TransformerBlock(4, 2, 0, rng=rng()), ValueError, "^TransformerBlock"),
    (lambda: TransformerBlock(4, 2, 0, rng=rng()), ValueError, "from 1 on"),
    (lambda: Embedding(0, 2, rng=rng()), ValueError, "from 1 on"),
    (lambda: Embedding(2, 2.0, rng=rng()), TypeError, "integers as sizes"),
    (lambda: GPT(5, 0, rng=rng(), **TINY), ValueError, "from 1 on"),
    (lambda: GPT(5, 4, rng=rng(), **TINY | {"num_heads": 3}), ValueError, "divide"),
    (lambda: GPT(5, 4, rng=rng(), **TINY | {"num_layers": 0}), ValueError, "1 on"),
    (lambda: causal_mask(0), ValueError, "from 1 on"),
    (lambda: padding_mask([0, 2], 3), ValueError, "lengths from 1 to 3"),
    (lambda: padding_mask([1, 4], 3), ValueError, "lengths from 1 to 3"),
    (lambda: padding_mask([1.0], 3), TypeError, "lengths as integers"),
    (lambda: padding_mask([], 3), TypeError, "lengths as integers"),
    (lambda: padding_mask(np.zeros(0, int), 3), TypeError, "lengths as integers"),
])
def test_bad_settings(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


@pytest.mark.parametrize(("tokens", "kind", "words"), [
    (np.array([[0, 5]]), ValueError, r"from 0 to 4, got 5 at \(0, 1\)"),
    (np.array([[-1]]), ValueError, r"from 0 to 4, got -1 at \(0, 0\)"),
    (np.array([[1.0]]), TypeError, "array of integers, got float64"),
    (np.array([[True]]), TypeError, "array of integers, got bool"),
    ([[1]], TypeError, "array of integers, got list"),
    (np.zeros((1, 0), int), ValueError, "at least one token"),
])
def test_bad_tokens(tokens, kind, words):
    for layer in (Embedding(5, 2, rng=rng()), GPT(5, 4, rng=rng(), **TINY)):
        with pytest.raises(kind, match=words):
            layer.forward(tokens)


def test_a_sequence_longer_than_the_context():
    model = GPT(5, 4, rng=rng(), **TINY)
    with pytest.raises(ValueError, match="at most 4"):
        model.forward(np.zeros((1, 5), int))
    with pytest.raises(ValueError, match=r"shape \(n, s\)"):
        model.forward(np.zeros(3, int))


@pytest.mark.parametrize(("options", "kind", "words"), [
    ({"count": 0}, ValueError, "from 1 on"),
    *(({"temperature": wrong}, ValueError, "temperature")
      for wrong in (0, -1.0, True, "a", None, np.ones(2), np.nan, np.inf, 10**400)),
    ({"tokens": np.zeros((1, 2), int)}, ValueError, r"shape \(s,\)"),
    ({"tokens": np.array([9])}, ValueError, "from 0 to 4"),
    ({"rng": None}, TypeError, "Generator"),
])
def test_bad_beginnings(options, kind, words):
    model = GPT(5, 4, rng=rng(), **TINY)
    given_ = {"tokens": np.array([1]), "count": 2, "rng": rng()} | options
    with pytest.raises(kind, match=words):
        model.generate(**given_)


@pytest.mark.parametrize(("mask", "kind", "words"), [
    (np.ones((3, 3)), TypeError, "truth values"),
    ([[True]], TypeError, "truth values"),
    (np.ones((2, 4), bool), ValueError, "mask that fits"),
    (np.ones((1, 1, 1, 3), bool), ValueError, "mask that fits"),
    (np.zeros((3, 3), bool), ValueError, "key for every query"),
])
def test_bad_masks(mask, kind, words):
    layer, x = MultiheadAttention(4, 2, rng=rng()), np.ones((2, 3, 4))
    layer.forward(x)
    with pytest.raises(kind, match=words):
        layer.forward(x, mask=mask)
    with pytest.raises(kind, match=words):
        scaled_dot_product_attention(x, x, x, mask)


def test_a_blind_row_is_named_as_what_it_is():
    layer, x = MultiheadAttention(4, 2, causal=True, rng=rng()), np.ones((1, 3, 4))
    with pytest.raises(ValueError, match=r"query, but row 0 sees none$"):
        layer.forward(x, mask=late(3))  # the mask alone would show it one
    one = np.tri(3, dtype=bool)[None]
    one[0, 1] = False
    with pytest.raises(ValueError, match=r"query, but row 0, 1 sees none$"):
        layer.forward(x, mask=one)
    with pytest.raises(ValueError, match=r"query, but each sees none$"):
        layer.forward(x, mask=np.zeros(3, bool))


def test_a_mask_and_causality_that_hide_everything_together():
    layer, x = MultiheadAttention(4, 2, causal=True, rng=rng()), np.ones((1, 3, 4))
    late = ~np.tri(3, k=-1, dtype=bool) & ~np.eye(3, dtype=bool) | (
        np.arange(3)[:, None] == 2)
    with pytest.raises(ValueError, match="key for every query"):
        layer.forward(x, mask=late)


@pytest.mark.parametrize(("shapes", "words"), [
    (((2, 3), (4, 2), (4, 1)), "wants K"), (((2, 3), (4, 3), (5, 1)), "wants C"),
    (((2, 3), (1, 4, 3), (4, 1)), "wants K"), (((3,), (4, 3), (4, 1)), "wants Q"),
])
def test_arrays_that_do_not_fit(shapes, words):
    with pytest.raises(ValueError, match=words):
        scaled_dot_product_attention(*map(np.ones, shapes))


def test_shares_and_mixtures_that_do_not_fit():
    x = rng().normal(size=(2, 3))
    h, p = scaled_dot_product_attention(x, x, x)
    with pytest.raises(ValueError, match="wants P of shape"):
        scaled_dot_product_attention_backward(h, x, x, x, h, p[:1])
    with pytest.raises(ValueError, match="wants h of shape"):
        scaled_dot_product_attention_backward(h, x, x, x, h[:1], p)
    with pytest.raises(ValueError, match="wants K"):
        scaled_dot_product_attention_backward(h, x, x[:, :1], x, h, p)


def test_wrong_shapes_and_backward_before_forward():
    for layer in (MultiheadAttention(4, 2, rng=rng()),
                  TransformerBlock(4, 2, rng=rng())):
        with pytest.raises(RuntimeError, match="before forward"):
            layer.backward(np.ones((1, 2, 4)))
        with pytest.raises(ValueError, match=r"\(n, s, 4\), got \(1, 2, 5\)"):
            layer.forward(np.ones((1, 2, 5)))
        layer.forward(np.ones((1, 2, 4)))
        with pytest.raises(ValueError, match=r"\(1, 2, 4\), got \(1, 3, 4\)"):
            layer.backward(np.ones((1, 3, 4)))
    with pytest.raises(RuntimeError, match="before forward"):
        _ = MultiheadAttention(4, 2, rng=rng()).shares
