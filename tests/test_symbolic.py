"""The proof instrument: every kind of layer within seconds, right and broken."""

import copy
import math
import time

import numpy as np
import pytest
import sympy as sp

from backprop_lit.symbolic import (
    Number,
    Numbers,
    derivatives,
    lift,
    prove,
    symbols,
    vanish,
)

SECONDS = 4  # a proof's bound, generous: all of them take well under one


@pytest.fixture(autouse=True)
def in_time():
    start = time.process_time()
    yield
    assert time.process_time() - start < SECONDS


class Layer:
    """The book's contract in its smallest form, for layers with parameters."""

    def __init__(self, **shapes):
        self.parameters = {name: np.zeros(shape) for name, shape in shapes.items()}
        self.gradients = {name: np.zeros(shape) for name, shape in shapes.items()}

    def bind(self, theta, gradient):
        start = 0
        for name, old in self.parameters.items():
            part = slice(start, start + old.size)
            self.parameters[name] = theta[part].reshape(old.shape)
            self.gradients[name] = gradient[part].reshape(old.shape)
            start += old.size

    def __getattr__(self, name):
        try:
            return self.__dict__["parameters"][name]
        except KeyError:
            raise AttributeError(name) from None


def failing(proof):
    """The arrays in which a proof found a fault."""
    return {failure.entry.split("[")[0] for failure in proof.failures}


def sigmoid(d):
    return (1 + np.tanh(d / 2)) / 2


# --- linear layers, activations -----------------------------------------------


class Linear(Layer):
    fault = None

    def __init__(self):
        super().__init__(weight=(2, 3), bias=(2,))

    def forward(self, x, *, training=False):
        self.x = x
        return x @ self.weight.T + self.bias

    def backward(self, v):
        if self.fault == "adds":
            self.gradients["bias"] += v.sum(0)
        else:
            np.sum(v, axis=0, out=self.gradients["bias"])
        if self.fault == "doubles":
            self.gradients["weight"][...] = 2 * v.T @ self.x
        elif self.fault != "leaves the weight":
            np.matmul(v.T, self.x, out=self.gradients["weight"])
        return v @ (self.weight if self.fault != "flips" else -self.weight)


def affine(X, weight, bias):
    n, _ = X.shape
    return X * weight.T + sp.ones(n, 1) * bias


def test_a_linear_layer_is_proved_and_left_alone():
    layer = Linear()
    before = layer.parameters["weight"]
    proof = prove(layer, (4, 3), formula=affine)
    assert proof
    assert set(proof.decided.values()) == {"exact"}
    assert len(proof.decided) == 4 * 3 + 2 * 3 + 2 + 4 * 2
    assert layer.parameters["weight"] is before
    assert not hasattr(layer, "x")


@pytest.mark.parametrize(
    ("fault", "array"),
    [
        ("flips", "v_x"),
        ("adds", "g_bias"),
        ("doubles", "g_weight"),
        ("leaves the weight", "g_weight"),
    ],
)
def test_faults_of_a_linear_layer_are_named(fault, array):
    layer = Linear()
    layer.fault = fault
    proof = prove(layer, (4, 3))
    assert not proof
    assert failing(proof) == {array}


def test_a_dropped_transpose():
    def forward(x, w):
        return x @ w.T

    def backward(v, x, w):
        return v @ w.T, v.T @ x

    assert failing(prove((forward, backward), (2, 3), (3, 3))) == {"v_x"}


ELEMENTWISE = {
    "sigmoid": (
        sigmoid,
        lambda v, x: v * sigmoid(x) * (1 - sigmoid(x)),
        lambda x: 1 / (1 + sp.exp(-x)),
    ),
    "tanh": (np.tanh, lambda v, x: v * (1 - np.tanh(x) ** 2), sp.tanh),
    "relu": (
        lambda x: np.maximum(x, 0),
        lambda v, x: v * (x > 0),
        lambda x: sp.Max(x, 0),
    ),
    "leaky relu": (
        lambda x: np.where(x > 0, x, 0.01 * x),
        lambda v, x: np.where(x > 0, v, v * 0.01),
        lambda x: sp.Piecewise((x, x > 0), (sp.Rational(1, 100) * x, True)),
    ),
    "softplus": (
        lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        lambda v, x: v * sigmoid(x),
        lambda x: sp.log(1 + sp.exp(x)),
    ),
    "softplus by logaddexp": (
        lambda x: np.logaddexp(x, 0),
        lambda v, x: v * sigmoid(x),
        lambda x: sp.log(1 + sp.exp(x)),
    ),
    "softsign": (
        lambda x: x / (1 + np.abs(x)),
        lambda v, x: v / (1 + np.abs(x)) ** 2,
        lambda x: x / (1 + sp.Abs(x)),
    ),
    "silu": (
        lambda x: x * sigmoid(x),
        lambda v, x: v * sigmoid(x) * (1 + x * (1 - sigmoid(x))),
        lambda x: x / (1 + sp.exp(-x)),
    ),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_functions(name):
    forward, backward, formula = ELEMENTWISE[name]
    x = sp.Symbol("x", real=True)
    assert prove((forward, backward), (2, 3), formula=formula(x))
    broken = prove((forward, lambda v, x: -backward(v, x)), (2, 3))
    assert not broken
    assert {name[:2] for name in failing(broken)} == {"v_"}
    wrong = prove((forward, backward), (2, 3), formula=formula(x) + x / 100)
    assert failing(wrong) == {"h"}


ROOT = math.sqrt(2 / math.pi)


def gelu(x):
    return x * (1 + np.tanh(ROOT * (x + 0.044715 * x * x * x))) / 2


def gelu_backward(v, x, factor=3):
    h = np.tanh(ROOT * (x + 0.044715 * x * x * x))
    inner = ROOT * (1 + factor * 0.044715 * x * x)
    return v * (1 + h + x * (1 - h * h) * inner) / 2


def test_gelu_in_its_tanh_form():
    x = sp.Symbol("x", real=True)
    cube = sp.Rational("0.044715") * x**3
    formula = x * (1 + sp.tanh(sp.Rational(repr(ROOT)) * (x + cube))) / 2
    assert prove((gelu, gelu_backward), (2, 3), formula=formula)
    assert not prove((gelu, lambda v, x: gelu_backward(v, x, 2)), (2, 3))


# --- branches -----------------------------------------------------------------


def test_a_sign_behind_a_dead_relu():
    """Every unit is dead on the samples: all identities hold, nothing is proved."""

    def far(rng, shape):
        return -10 - rng.random(shape)

    relu = ELEMENTWISE["relu"][0]
    wrong = (relu, lambda v, x: -v * (x > 0))
    vacuous = prove(wrong, (2, 3), sample=far)
    assert not vacuous
    assert vacuous.failures == []
    assert len(vacuous.unseen) == 6
    assert vacuous.zeros[0] == "v_x[0, 0]"
    assert failing(prove(wrong, (2, 3))) == {"v_x"}


def test_a_sign_behind_a_relu_in_a_net_is_found_on_another_sample():
    def net(x, w):
        return np.maximum(x @ w.T, 0).sum(1)

    def backward(v, x, w, sign=1):
        d = x @ w.T
        v_d = v[:, None] * (d > 0)
        v_d = np.where(x[:, :1] > 0, v_d, sign * v_d)  # wrong on one branch
        return v_d @ w, v_d.T @ x

    assert prove((net, backward), (2, 3), (4, 3))
    assert not prove((net, lambda *a: backward(*a, sign=-1)), (2, 3), (4, 3))


def test_what_was_never_seen_must_be_declared():
    def clipped(x):
        return np.maximum(x, -1e6)

    def backward(v, x):
        return v * (x > -1e6)

    assert not prove((clipped, backward), (2,))
    proof = prove((clipped, backward), (2,), unseen="no x is that small")
    assert proof
    assert "no x is that small" in repr(proof)
    assert "declared" in repr(proof)


def test_a_silent_gradient_must_be_declared():
    def forward(x):
        return x[:, :2] * 3

    def backward(v, x):
        v_x = 0 * x
        v_x[:, :2] = 3 * v
        return v_x

    proof = prove((forward, backward), (2, 3))
    assert not proof
    assert proof.zeros == ["v_x[0, 2]", "v_x[1, 2]"]
    assert prove((forward, backward), (2, 3), zero="the last column is cut off")


def test_equality_is_no_branch():
    def forward(x):
        return x.max(1)

    def backward(v, x):
        return (x == x.max(1, keepdims=True)) * v[:, None]

    assert prove((forward, backward), (2, 3))


# --- losses --------------------------------------------------------------------


class MSE:
    size = True

    def forward(self, u, y):
        self.difference = u - y
        return (self.difference**2).mean()

    def backward(self):
        factor = self.difference.size if self.size else 1
        return 2 * self.difference / factor


def mse(U, Y):
    return sum((a - b) ** 2 for a, b in zip(U, Y, strict=True)) / len(U)


def test_mean_squared_error_and_the_forgotten_mean():
    loss = MSE()
    assert prove(loss, (2, 3), (2, 3), formula=mse)
    assert prove(loss, (2, 3), np.arange(6.0).reshape(2, 3))
    loss.size = False
    assert failing(prove(loss, (2, 3), (2, 3), formula=mse)) == {"v_u"}


class CrossEntropy:
    """From logits by log-sum-exp, targets are labels."""

    mean = True

    def forward(self, u, y):
        shifted = u - u.max(1, keepdims=True)
        powers = np.exp(shifted)
        total = powers.sum(1)
        rows = np.arange(len(y))
        self.p, self.y = powers / total[:, None], y
        return (np.log(total) - shifted[rows, y]).mean()

    def backward(self):
        v = self.p.copy()
        v[np.arange(len(self.y)), self.y] -= 1
        return v / len(self.y) if self.mean else v


def cross_entropy(U, y):
    rows, columns = U.shape
    return (
        sum(
            sp.log(sum(sp.exp(U[k, j]) for j in range(columns))) - U[k, int(y[k])]
            for k in range(rows)
        )
        / rows
    )


def test_cross_entropy_and_the_forgotten_mean():
    loss, labels = CrossEntropy(), np.array([2, 0])
    proof = prove(loss, (2, 3), labels, formula=cross_entropy)
    assert proof
    assert proof.decided["h"] == "up to a constant"
    loss.mean = False
    assert failing(prove(loss, (2, 3), labels)) == {"v_u"}


def test_softmax_through_its_logarithm():
    """exp(u − log Σ exp u) is the softmax: exp undoes log."""

    def forward(u):
        total = np.logaddexp.reduce(u, axis=1, keepdims=True)
        return np.exp(u - total)

    def backward(v, u):
        p = forward(u)
        return p * (v - (v * p).sum(1, keepdims=True))

    def formula(U):
        rows, columns = U.shape
        powers = U.applyfunc(sp.exp)
        return sp.Matrix(rows, columns, lambda k, j: powers[k, j] / sum(powers[k, :]))

    assert prove((forward, backward), (2, 3), formula=formula)
    assert not prove((forward, lambda v, u: forward(u) * v), (2, 3))


def test_a_wrong_forward_with_its_matching_backward():
    class Half(MSE):
        def forward(self, u, y):
            return super().forward(u, y) / 2

        def backward(self):
            return super().backward() / 2

    assert prove(Half(), (2, 3), (2, 3))
    proof = prove(Half(), (2, 3), (2, 3), formula=mse)
    assert [failure.entry for failure in proof.failures] == ["h"]


# --- normalization, dropout ------------------------------------------------------


class Norm(Layer):
    """BatchNorm over axis 0, LayerNorm over axis 1."""

    whole = True

    def __init__(self, features, axis):
        super().__init__(weight=(features,), bias=(features,))
        self.axis = axis

    def forward(self, x, *, training=False):
        centered = x - x.mean(self.axis, keepdims=True)
        variance = (centered * centered).mean(self.axis, keepdims=True)
        self.deviation = np.sqrt(variance + 1e-5)
        self.unit = centered / self.deviation
        return self.unit * self.weight + self.bias

    def backward(self, v):
        self.gradients["weight"][...] = (v * self.unit).sum(0)
        self.gradients["bias"][...] = v.sum(0)
        v = v * self.weight
        spread = (v * self.unit).mean(self.axis, keepdims=True) if self.whole else 0
        v = v - v.mean(self.axis, keepdims=True) - self.unit * spread
        return v / self.deviation


def normalized(axis):
    def formula(X, weight, bias):
        rows, columns = X.shape

        def entry(k, j):
            group = list(X[:, j] if axis == 0 else X[k, :])
            mean = sum(group) / len(group)
            variance = sum((a - mean) ** 2 for a in group) / len(group)
            deviation = sp.sqrt(variance + sp.Rational("1e-5"))
            return (X[k, j] - mean) / deviation * weight[j] + bias[j]

        return sp.Matrix(rows, columns, entry)

    return formula


@pytest.mark.parametrize(("shape", "axis"), [((6, 2), 0), ((2, 3), 1)])
def test_normalization(shape, axis):
    layer = Norm(shape[1], axis)
    assert prove(layer, shape, formula=normalized(axis), training=True)
    layer.whole = False
    assert failing(prove(layer, shape, training=True)) == {"v_x"}


class Dropout:
    def __init__(self, rng):
        self.rng = rng

    def forward(self, x, *, training=False):
        self.mask = (self.rng.random(x.shape) < 0.5) / 0.5 if training else 1
        return x * self.mask

    def backward(self, v):
        return v * self.mask


def test_dropout_with_its_mask_fixed():
    layer = Dropout(np.random.default_rng(0))
    state = copy.deepcopy(layer.rng.bit_generator.state)
    proof = prove(layer, (3, 4), training=True, zero="dropped")
    assert proof
    assert 0 < len(proof.zeros) < 12
    assert layer.rng.bit_generator.state == state
    assert prove(layer, (3, 4), training=False)


# --- images ---------------------------------------------------------------------


class Conv2d(Layer):
    flipped = False

    def __init__(self):
        super().__init__(weight=(2, 2, 2, 2), bias=(2,))

    def forward(self, x, *, training=False):
        self.x = x
        windows = np.lib.stride_tricks.sliding_window_view(x, (2, 2), (2, 3))
        self.windows = windows
        h = np.einsum("ncyxij,ocij->noyx", windows, self.weight)
        return h + self.bias[:, None, None]

    def backward(self, v):
        self.gradients["weight"][...] = np.einsum("ncyxij,noyx->ocij", self.windows, v)
        self.gradients["bias"][...] = v.sum((0, 2, 3))
        v_x = np.zeros_like(self.x)
        height, width = v.shape[2:]
        for i in range(2):
            for j in range(2):
                kernel = self.weight[:, :, *((j, i) if self.flipped else (i, j))]
                v_x[:, :, i : i + height, j : j + width] += np.einsum(
                    "noyx,oc->ncyx", v, kernel
                )
        return v_x


def correlation(X, weight, bias):
    n, channels, height, width = X.shape
    return [
        [
            [
                [
                    sum(
                        X[k, c, y + i, x + j] * weight[o, c, i, j]
                        for c in range(channels)
                        for i in range(2)
                        for j in range(2)
                    )
                    + bias[o]
                    for x in range(width - 1)
                ]
                for y in range(height - 1)
            ]
            for o in range(2)
        ]
        for k in range(n)
    ]


def test_convolution():
    layer = Conv2d()
    assert prove(layer, (1, 2, 3, 4), formula=correlation)
    layer.flipped = True
    assert failing(prove(layer, (1, 2, 3, 4))) == {"v_x"}


def test_max_pool():
    def patches(x):
        n, height, width = x.shape
        blocks = x.reshape(n, height // 2, 2, width // 2, 2)
        return blocks.transpose(0, 1, 3, 2, 4).reshape(n, height // 2, width // 2, 4)

    def forward(x):
        return patches(x).max(3)

    def backward(v, x, place=lambda p: p.argmax(3)):
        flat = np.zeros_like(patches(x))
        where = place(patches(x))[..., None]
        np.put_along_axis(flat, where, v[..., None], 3)
        n, height, width = x.shape
        back = flat.reshape(n, height // 2, width // 2, 2, 2)
        return back.transpose(0, 1, 3, 2, 4).reshape(x.shape)

    assert prove((forward, backward), (1, 2, 4))
    broken = prove(
        (forward, lambda v, x: backward(v, x, lambda p: p.argmin(3))), (1, 2, 4)
    )
    assert failing(broken) == {"v_x"}


# --- sequences -------------------------------------------------------------------


class LSTMCell(Layer):
    """x and both states in one row: (n, 2 + 2 + 2) to (n, 2 + 2)."""

    forgotten = False

    def __init__(self):
        super().__init__(weight=(8, 4), bias=(8,))

    def forward(self, x, *, training=False):
        self.joined, self.cell = x[:, :4], x[:, 4:]
        d = self.joined @ self.weight.T + self.bias
        self.h_in, self.h_forget = sigmoid(d[:, :2]), sigmoid(d[:, 2:4])
        self.h_cell, self.h_out = np.tanh(d[:, 4:6]), sigmoid(d[:, 6:])
        cell = self.h_forget * self.cell + self.h_in * self.h_cell
        self.bent = np.tanh(cell)
        return np.concatenate([self.h_out * self.bent, cell], axis=1)

    def backward(self, v):
        v_h, v_cell = v[:, :2], v[:, 2:]
        if not self.forgotten:
            v_cell = v_cell + v_h * self.h_out * (1 - self.bent**2)
        gates = (self.h_in, self.h_forget, self.h_out)
        t_in, t_forget, t_out = (h * (1 - h) for h in gates)
        v_d = np.concatenate(
            [
                v_cell * self.h_cell * t_in,
                v_cell * self.cell * t_forget,
                v_cell * self.h_in * (1 - self.h_cell**2),
                v_h * self.bent * t_out,
            ],
            axis=1,
        )
        self.gradients["weight"][...] = v_d.T @ self.joined
        self.gradients["bias"][...] = v_d.sum(0)
        return np.concatenate([v_d @ self.weight, v_cell * self.h_forget], axis=1)


def lstm(X, weight, bias):
    n, _ = X.shape

    def squash(a):
        return 1 / (1 + sp.exp(-a))

    rows = []
    for k in range(n):
        d = X[k, :4] * weight.T + bias
        cell = [
            squash(d[2 + j]) * X[k, 4 + j] + squash(d[j]) * sp.tanh(d[4 + j])
            for j in range(2)
        ]
        rows.append([squash(d[6 + j]) * sp.tanh(cell[j]) for j in range(2)] + cell)
    return rows


def test_lstm_cell():
    layer = LSTMCell()
    assert prove(layer, (1, 6), formula=lstm)
    layer.forgotten = True
    assert "g_weight" in failing(prove(layer, (1, 6)))


class Attention(Layer):
    """One head over a sequence of three, size 2."""

    fault = None

    def __init__(self):
        super().__init__(query=(2, 2), key=(2, 2), value=(2, 2), out=(2, 2))

    def forward(self, x, *, training=False):
        self.x = x
        self.q, self.k, self.c = (x @ w.T for w in (self.query, self.key, self.value))
        scores = self.q @ self.k.T / math.sqrt(4)
        powers = np.exp(scores - scores.max(1, keepdims=True))
        self.a = powers / powers.sum(1, keepdims=True)
        self.mixed = self.a @ self.c
        return self.mixed @ self.out.T

    def backward(self, v):
        self.gradients["out"][...] = v.T @ self.mixed
        v = v @ self.out
        v_a, v_c = v @ self.c.T, self.a.T @ v
        v_s = self.a * (v_a - (v_a * self.a).sum(1, keepdims=True)) / math.sqrt(4)
        v_q, v_k = v_s @ self.k, v_s.T @ self.q
        if self.fault == "transpose":
            v_k = v_s @ self.q
        for name, part in (("query", v_q), ("key", v_k), ("value", v_c)):
            self.gradients[name][...] = part.T @ self.x
        return v_q @ self.query + v_k @ self.key + v_c @ self.value


def attention(X, query, key, value, out):
    Q, K, C = (X * w.T for w in (query, key, value))
    powers = (Q * K.T / 2).applyfunc(sp.exp)
    n, _ = X.shape
    weights = sp.Matrix(n, n, lambda k, j: powers[k, j] / sum(powers[k, :]))
    return weights * C * out.T


@pytest.mark.parametrize("length", [2, 3])
def test_attention(length):
    layer = Attention()
    assert prove(layer, (length, 2), formula=attention)
    layer.fault = "transpose"
    broken = prove(layer, (length, 2))
    assert failing(broken) == {"v_x", "g_key"}


def test_masked_attention_lets_no_later_input_through():
    later = np.triu(np.ones((3, 3), bool), 1)

    def weights(S):
        S = np.where(later, -np.inf, S)
        powers = np.exp(S - S.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def backward(v, S):
        a = weights(S)
        return a * (v - (v * a).sum(1, keepdims=True))

    reason = "causality: a later position has no effect; row 0 sees one only"
    assert not prove((weights, backward), (3, 3))
    proof = prove((weights, backward), (3, 3), zero=reason)
    assert proof
    assert {"v_S[0, 1]", "v_S[0, 2]", "v_S[1, 2]"} <= set(proof.zeros)


class Embedding(Layer):
    repeated = True

    def __init__(self):
        super().__init__(weight=(4, 3))

    def forward(self, x, *, training=False):
        self.x = x
        return self.weight[x]

    def backward(self, v):
        gradient = self.gradients["weight"]
        gradient[...] = 0
        if self.repeated:
            np.add.at(gradient, self.x, v)
        else:
            gradient[self.x] += v
        return None


def test_embedding_of_repeated_words():
    layer, words = Embedding(), np.array([[1, 3], [1, 0]])
    proof = prove(layer, words, zero="word 2 is not looked up")
    assert proof
    assert proof.zeros == [f"g_weight[2, {j}]" for j in range(3)]
    layer.repeated = False
    broken = prove(layer, words, zero="word 2 is not looked up")
    assert failing(broken) == {"g_weight"}


# --- whole networks ---------------------------------------------------------------


def network(activation, slope, flip=1):
    def forward(x, w1, w2, w3):
        return activation(activation(x @ w1.T) @ w2.T) @ w3.T

    def backward(v, x, w1, w2, w3):
        d1 = x @ w1.T
        h1 = activation(d1)
        d2 = h1 @ w2.T
        h2 = activation(d2)
        v2 = v @ w3 * slope(d2)
        v1 = flip * v2 @ w2 * slope(d1)
        return v1 @ w1, v1.T @ x, v2.T @ h1, v.T @ h2

    return forward, backward


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        (np.tanh, lambda d: 1 - np.tanh(d) ** 2),
        (lambda d: np.maximum(d, 0), lambda d: d > 0),
    ],
    ids=["tanh", "relu"],
)
def test_a_network_whole(activation, slope):
    shapes = (2, 2), (3, 2), (3, 3), (1, 3)
    assert prove(network(activation, slope), *shapes)
    broken = prove(network(activation, slope, -1), *shapes)
    assert failing(broken) == {"v_x", "v_w1"}


# --- the instrument itself ---------------------------------------------------------


def test_overwritten_inputs_are_found():
    def forward(x):
        x *= 2
        return x

    proof = prove((forward, lambda v, x: 2 * v), (2,))
    assert "x was overwritten" in failing(proof)


def test_wrong_shapes_fail_with_the_shapes():
    proof = prove((lambda x: x.sum(0), lambda v, x: v), (2, 3))
    assert str(proof.failures[0]) == "v_x (wanted shape (2, 3), got (3,))"
    assert not prove((lambda x: x * x, lambda v, x: None), (2,))


def test_weak_sizes_are_named():
    proof = prove((lambda x: 2 * x, lambda v, x: 2 * v), (3, 3))
    assert "weak sizes: x (3, 3)" in repr(proof)


def test_symbols_of_the_same_name_stay_apart():
    """An input named v is not the v that backward is given."""
    assert prove((lambda v: v * v, lambda weights, v: 2 * v * weights), (2, 3))
    assert not prove((lambda v: v * v, lambda weights, v: 2 * v * v), (2, 3))


def test_numbers_and_numpy():
    rng = np.random.default_rng(0)
    x = symbols("x", (2, 3), rng=rng)
    assert isinstance(x, Numbers)
    assert x.sample.shape == (2, 3)
    assert np.allclose((x @ x.T).sample, x.sample @ x.sample.T)
    assert np.allclose(np.exp(np.maximum(x, 0)).sample, np.exp(np.maximum(x.sample, 0)))
    assert np.allclose(x.var(0).sample, x.sample.var(0))
    assert np.allclose(x.std(1).sample, x.sample.std(1))
    assert np.allclose(np.clip(x, -1, 1).sample, np.clip(x.sample, -1, 1))
    assert np.allclose(np.sign(x).sample, np.sign(x.sample))
    assert np.allclose(np.logaddexp(x, 1).sample, np.logaddexp(x.sample, 1))
    assert np.array_equal(x.argmax(1), x.sample.argmax(1))
    assert np.isfinite(x).all()
    assert not np.isnan(x).any()
    assert isinstance(np.float64(2) * x[0, 0], Number)
    assert isinstance(np.array([1.0, 2.0]) * x[0, 0], np.ndarray)
    assert (np.float64(2) * x[0, 0]).sample == 2 * x[0, 0].sample
    buffer = np.empty_like(x)
    np.multiply(x, 2, out=buffer)
    assert np.allclose(buffer.sample, 2 * x.sample)


def test_floats_stand_for_their_decimals():
    assert (lift(0.1) + lift(0.2)).value == lift(0.3).value
    assert lift(np.float32(0.5)).value == lift(0.5).value


def test_forcing_to_a_float_says_what_to_do():
    with pytest.raises(TypeError, match="not math"):
        math.exp(symbols("x", ()))
    with pytest.raises(TypeError, match="empty_like"):
        np.zeros(2)[...] = symbols("x", (2,))


def test_leaving_the_domain_says_what_to_do():
    def backward(v, x):
        return v / x

    with pytest.raises(ValueError, match="sample="):
        prove((np.log, backward), (9,))

    def positive(rng, shape):
        return rng.random(shape) + 0.1

    assert prove((np.log, backward), (9,), sample=positive)


def test_derivatives_agree_with_sympy():
    x, y = symbols("x", (2,), rng=np.random.default_rng(4))
    y = y * y
    total = np.sin(x * y) / (1 + x * x) + np.arctan(x) * np.sqrt(y + 1) + x**3
    total = total + np.exp(-x) * np.cos(y) + np.log(1 + y) * np.tanh(x) + 2**x
    (letter,) = (s for s in total.expression.free_symbols if str(s) == "x[0]")
    ours = derivatives(total, [x])[0].expression
    difference = ours - sp.diff(total.expression, letter)
    values = {s: 0.3 + 0.4 * k for k, s in enumerate(difference.free_symbols)}
    assert abs(difference.evalf(30, subs=values)) < 1e-14


@pytest.mark.parametrize("seed", range(20))
def test_the_zero_test_on_true_and_false_identities(seed):
    rng = np.random.default_rng(seed)
    a, b, c = symbols("x", (3,), rng=rng)
    c = c * c + 1
    true = [
        np.exp(a + b) - np.exp(a) * np.exp(b),
        np.exp(np.exp(a) + b) / np.exp(b) - np.exp(np.exp(a)),
        np.sqrt(c) ** 2 - c,
        1 / np.sqrt(c) - np.sqrt(c) / c,
        np.tanh(a + b) * (1 + np.tanh(a) * np.tanh(b)) - np.tanh(a) - np.tanh(b),
        np.sin(a) ** 2 + np.cos(a) ** 2 - 1,
        np.sin(-a) + np.sin(a),
        np.exp(np.log(c) * 2) - c * c,
        np.exp(a / 2) ** 2 - np.exp(a),
    ]
    false = [
        np.exp(a + b) - np.exp(a) - np.exp(b),
        np.exp(a) - a,
        np.sqrt(c) - c,
        np.sin(a) - np.sin(b),
        np.log(c) - np.log(c + 1),
        a * 1e-300,
    ]
    assert vanish(true, rng) == [True] * len(true)
    assert vanish(false, rng) == [False] * len(false)


def test_a_division_by_zero_is_no_proof():
    x = symbols("x", ())
    y = (x + 1) ** 2 - x * x - 2 * x - 1 + 1e-20 * x - 1e-20 * x
    y.sample = 1e-16  # as rounding leaves it: only the zero test can tell
    with pytest.raises(ValueError, match="divided by zero"):
        vanish([1 / y], np.random.default_rng(0))


# --- what was once accepted, or crashed -------------------------------------------


def bends(x):
    return np.sqrt(x * x)


ROOTS = {
    "|x| with slope 1": ((bends, lambda v, x: v), None),
    "|x| is not x": (
        (bends, lambda v, x: v * x / np.sqrt(x * x)),
        sp.Symbol("x", real=True),
    ),
    "a zero far away": ((lambda x: np.sqrt((x + 50) ** 2), lambda v, x: v), None),
}


@pytest.mark.parametrize("name", ROOTS)
@pytest.mark.parametrize("seed", range(10))
def test_a_root_of_a_square_is_no_plain_number(name, seed):
    pair, formula = ROOTS[name]
    assert not prove(pair, (), formula=formula, rng=np.random.default_rng(seed))


def test_a_root_of_a_square_with_its_sign():
    assert prove((bends, lambda v, x: v * x / np.sqrt(x * x)), (3,))


def test_a_root_may_be_compared():
    def forward(x):
        return np.maximum(np.sqrt(1 + x * x), 1.5)

    def backward(v, x):
        root = np.sqrt(1 + x * x)
        return v * x / root * (root > 1.5)

    for seed in range(5):
        assert prove((forward, backward), (2,), rng=np.random.default_rng(seed))


def test_no_constant_excuses_a_gradient():
    positive = {"sample": lambda rng, shape: rng.uniform(0.5, 2, shape)}

    def forward(x):
        return x * np.log(x)

    assert prove((forward, lambda v, x: v * (np.log(x) + 1)), (2,), **positive)
    assert not prove(
        (forward, lambda v, x: v * (np.log(x) + 1 + 1e-10)), (2,), **positive
    )
    x = sp.Symbol("x", real=True)
    pair = (lambda x: np.log(x) + 1e9 + 0.5, lambda v, x: v / x)
    assert not prove(pair, (2,), formula=sp.log(x) + 10**9, **positive)


@pytest.mark.parametrize("seed", range(5))
def test_a_constant_must_hold_on_every_piece_of_the_domain(seed):
    x = sp.Symbol("x", real=True)
    pair = (lambda x: np.arctan(x), lambda v, x: v / (1 + x * x))
    formula = sp.pi / 2 - sp.atan(1 / x)
    assert not prove(pair, (), formula=formula, rng=np.random.default_rng(seed))


@pytest.mark.parametrize(
    "backward",
    [
        lambda v, x: np.where(x + 1e20 > 1e20, -v, v),
        lambda v, x: np.where(1 + np.exp(x - 50) > 1, 0 * v, v),
    ],
)
def test_rounding_decides_no_comparison(backward):
    assert not prove((lambda x: 1 * x, backward), (2, 3))


@pytest.mark.parametrize(
    ("forward", "backward"),
    [
        (lambda x: np.where(x == np.sqrt(x * x), x, 0 * x), lambda v, x: v),
        (lambda x: 1 * x, lambda v, x: np.where(np.sqrt(x * x) - x, 2 * v, v)),
    ],
    ids=["equality", "truth"],
)
@pytest.mark.parametrize("seed", range(5))
def test_equality_and_truth_decide_no_branch(forward, backward, seed):
    def attempt():
        return prove((forward, backward), (), rng=np.random.default_rng(seed))

    try:
        assert not attempt()
    except ValueError:
        with pytest.raises(ValueError, match="compare with < or >"):
            attempt()


def test_an_infinity_times_a_number_is_a_comparison():
    def forward(x):
        return x / (1 + np.exp(-np.inf * x))

    assert not prove((forward, lambda v, x: 1 * v), ())
    proof = prove((forward, lambda v, x: v * (x > 0)), ())
    assert proof
    assert proof.comparisons == 1


def test_combinations_of_branches_are_counted_and_each_seen_one_is_judged():
    def forward(x):
        return np.maximum(x, 0)

    def backward(v, x):
        return -v * (x > 0) if (x[0] > 0) & (x[1] > 0) else v * (x > 0)

    proof = prove((forward, lambda v, x: v * (x > 0)), (2,))
    assert proof
    assert 2 <= proof.combinations <= 4
    refused = [
        not prove((forward, backward), (2,), rng=np.random.default_rng(seed))
        for seed in range(20)
    ]
    assert any(refused)


class Accumulating(Linear):
    total = 0

    def backward(self, v):
        back = super().backward(v)
        self.total = self.total + self.gradients["weight"]
        self.gradients["weight"][...] = self.total
        return back


class Updating(Linear):
    def backward(self, v):
        back = super().backward(v)
        self.parameters["weight"] -= self.gradients["weight"]
        return back


class OverwritingV(Linear):
    def backward(self, v):
        back = super().backward(v)
        v *= 0
        return back


class Rebinding(Linear):
    def backward(self, v):
        kept = self.gradients["weight"]
        back = super().backward(v)
        self.gradients["weight"] = kept * 1
        kept[...] = 7
        return back


@pytest.mark.parametrize("kind", [Accumulating, Updating, OverwritingV, Rebinding])
def test_side_effects_are_found(kind):
    proof = prove(kind(), (4, 3))
    assert not proof


def test_a_fixed_array_is_kept_and_named():
    def forward(x, y):
        y += 1
        return x * y

    y = np.array([1.0, 2.0])
    proof = prove((forward, lambda v, x, y: (v * y, None)), (2,), y)
    assert not proof
    assert y.tolist() == [1, 2]
    right = prove((lambda x, y: x * y, lambda v, x, y: (v * y, None)), (2,), y)
    assert "input 2 is fixed at the array given" in repr(right)


def test_a_list_of_entries_is_an_array():
    assert prove(
        (lambda x: x * x, lambda v, x: [2 * v[k] * x[k] for k in range(3)]), (3,)
    )


def test_a_declared_sign_is_refused():
    x = sp.Symbol("x", positive=True)
    with pytest.raises(ValueError, match="hide a branch"):
        prove((lambda x: 1 * x, lambda v, x: 1 * v), (2,), formula=sp.sqrt(x**2))


def test_a_parameter_without_axes():
    class Scale(Layer):
        def forward(self, x, *, training=False):
            self.x = x
            return x * self.parameters["scale"]

        def backward(self, v):
            self.gradients["scale"][...] = (v * self.x).sum()
            return v * self.parameters["scale"]

    assert prove(Scale(scale=()), (2, 3))


# --- declarations, and the account ---------------------------------------------


def clip_both(x):
    return np.minimum(np.maximum(x, -1e6), 1e6)


def clip_both_backward(v, x):
    return v * (x > -1e6) * (np.maximum(x, -1e6) < 1e6)


def test_a_reason_excuses_only_what_it_names():
    pair = (clip_both, clip_both_backward)
    half = prove(pair, (2,), unseen={"< -1000000": "no sample is that small"})
    assert not half
    account = repr(half)
    assert "declared: x[0] < -1000000, x[1] < -1000000; no sample" in account
    assert "✗ 4 comparisons" in account
    assert "x[0] > 1000000" in account
    both = {"< -1000000": "none that small", "> 1000000": "none that large"}
    assert prove(pair, (2,), unseen=both)
    needless = prove(pair, (2,), unseen=both | {"x[7]": "there is none"})
    assert needless
    assert "declared without need: there is none" in repr(needless)


def test_a_string_excuses_all_by_name():
    proof = prove((clip_both, clip_both_backward), (4,), unseen="as large as that")
    assert proof
    (line,) = [line for line in proof.lines() if line.startswith("declared")]
    assert len(line.split(", ")) == len(proof.unseen) == 8


def test_zero_takes_reasons_by_name_too():
    def forward(x):
        return x[:2] * 3

    def backward(v, x):
        v_x = 0 * x
        v_x[:2] = 3 * v
        return v_x

    assert prove((forward, backward), (3,), zero={"v_x[2]": "cut off"})
    assert not prove((forward, backward), (3,), zero={"v_x[1]": "cut off"})


@pytest.mark.parametrize("declared", ["", " ", {"": "all"}, {"x": ""}, {"x": None}])
def test_a_declaration_needs_words(declared):
    with pytest.raises(ValueError, match="wants a reason in words"):
        prove((clip_both, clip_both_backward), (2,), unseen=declared)


def test_the_account_counts_combinations_not_seen_and_names_the_sampler():
    def around(rng, shape):
        return rng.standard_normal(shape)

    pair = (lambda x: np.maximum(x, 0), lambda v, x: v * (x > 0))
    proof = prove(pair, (2, 3), sample=around)
    seen = proof.combinations
    assert f"up to 2^6 − {seen} = {64 - seen} not seen" in repr(proof)
    assert "samples drawn by around" in repr(proof)


# --- logarithms and powers -----------------------------------------------------


def positive(rng, shape):
    return rng.uniform(0.5, 2, shape)


def test_the_zero_test_knows_logarithms_of_products_and_powers():
    a, b, c = symbols("x", (3,), sample=positive)
    log, exp, sqrt = np.log, np.exp, np.sqrt
    true = [
        log(a * b) - log(a) - log(b),
        c * log(a**3 / b) - 3 * c * log(a) + c * log(b),
        log(sqrt(a * b)) - (log(a) + log(b)) / 2,
        log(exp(a) * b) - a - log(b),
        (a * b) ** c - a**c * b**c,
        (a**b) ** c - a ** (b * c),
        a ** (b + c) - a**b * a**c,
        a ** (b - 1) - a**b / a,
        (a + b) ** (c - 1) - (a + b) ** c / (a + b),
    ]
    false = [
        log(a * b) - log(a) + log(b),
        log(a + b) - log(a) - log(b),
        a**b - b**a,
        a ** (b - 1) - a**b,
        (a + b) ** c - a**c - b**c,
    ]
    for seed in range(5):
        rng = np.random.default_rng(seed)
        assert vanish(true, rng) == [True] * len(true)
        assert vanish(false, rng) == [False] * len(false)


def test_a_logarithm_of_many_factors_needs_no_recursion():
    x = symbols("x", (1200,), sample=positive)
    product, total = x[0], np.log(x[0])
    for factor in x[1:]:
        product, total = product * factor, total + np.log(factor)
    assert vanish([np.log(product) - total], np.random.default_rng(0)) == [True]


def test_a_power_is_proved_in_the_form_of_its_table():
    def forward(a, b):
        return a**b

    def backward(v, a, b):
        return v * b * a ** (b - 1), v * a**b * np.log(a)

    def wrong(v, a, b):
        return v * b * a**b, v * a**b * np.log(a)

    def formula(a, b):
        return a**b

    assert prove((forward, backward), (), (), formula=formula, sample=positive)
    assert not prove((forward, wrong), (), (), sample=positive)


def test_a_logarithm_times_a_symbol():
    def forward(x, y, z):
        return x * np.log(y * z)

    def backward(v, x, y, z, sign=1):
        return v * (np.log(y) + sign * np.log(z)), v * x / y, v * x / z

    def formula(x, y, z):
        return x * sp.log(y) + x * sp.log(z)

    shapes = (), (), ()
    assert prove((forward, backward), *shapes, formula=formula, sample=positive)
    broken = prove((forward, lambda *a: backward(*a, -1)), *shapes, sample=positive)
    assert failing(broken) == {"v_x"}


def test_fixed_floats_are_exact_in_code_and_formula():
    y = np.array([0.1, 0.7, 1.1])

    def forward(u, y):
        return u * (y * y - 3 * y)

    def backward(v, u, y):
        return v * y * (y - 3), None

    def formula(u, y):
        return [a * b * (b - 3) for a, b in zip(u, y, strict=True)]

    proof = prove((forward, backward), (3,), y, formula=formula)
    assert proof
    assert set(proof.decided.values()) == {"exact"}
    assert proof.fixed == [1]


# --- a transformer block -------------------------------------------------------


class Block(Layer):
    """x + attention(x), then that plus a network with a gelu; no normalization."""

    fault = 1

    def __init__(self):
        self.attention = Attention()
        super().__init__(
            query=(2, 2), key=(2, 2), value=(2, 2), out=(2, 2), up=(3, 2), down=(2, 3)
        )

    def bind(self, theta, gradient):
        super().bind(theta, gradient)
        for kept in ("parameters", "gradients"):
            own = getattr(self, kept)
            setattr(self.attention, kept, {k: own[k] for k in
                                           ("query", "key", "value", "out")})

    def forward(self, x, *, training=False):
        self.x, self.h = x, x + self.attention.forward(x)
        self.d = self.h @ self.up.T
        self.bent = gelu(self.d)
        return self.h + self.bent @ self.down.T

    def backward(self, v):
        self.gradients["down"][...] = v.T @ self.bent
        v_d = gelu_backward(v @ self.down, self.d)
        self.gradients["up"][...] = v_d.T @ self.h
        v_h = self.fault * v + v_d @ self.up
        return v_h + self.attention.backward(v_h)


def block(X, query, key, value, out, up, down):
    H = X + attention(X, query, key, value, out)

    def bend(d):
        inner = sp.Rational(repr(ROOT)) * (d + sp.Rational("0.044715") * d**3)
        return d * (1 + sp.tanh(inner)) / 2

    return H + (H * up.T).applyfunc(bend) * down.T


def test_a_transformer_block():
    layer = Block()
    assert prove(layer, (2, 2), formula=block)
    layer.fault = -1
    assert "v_x" in failing(prove(layer, (2, 2)))
