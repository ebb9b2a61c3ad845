"""The optimizers: PyTorch's numbers, whole states, and nothing half-updated."""

import ast
import contextlib
import copy
import inspect
import io
import json
import math
import pickle
import textwrap
import tracemalloc
from pathlib import Path

import nbformat
import notebooks
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from backprop_lit import optimizers
from backprop_lit.optimizers import (
    SGD,
    Adam,
    AdamW,
    Optimizer,
    RMSprop,
    clip_grad_norm,
    clip_grad_value,
    cosine_schedule,
    step_schedule,
    warmup,
)

RECORDED = json.loads(
    Path(__file__).with_name("optimizers_recorded.json").read_text("utf8")
)
CLASSES = {kind.__name__: kind for kind in (SGD, RMSprop, Adam, AdamW)}
MAKERS = {
    "plain": lambda: SGD(0.1),
    "momentum": lambda: SGD(0.1, momentum=0.9),
    "nesterov": lambda: SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "rmsprop": lambda: RMSprop(weight_decay=0.1),
    "adam": lambda: Adam(0.01, weight_decay=0.1),
    "adamw": lambda: AdamW(0.01),
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
both = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def both_schedules(lr, warm, steps):
    return warmup(cosine_schedule(lr, steps), warm)


SCHEDULES = {
    "step": step_schedule,
    "cosine": cosine_schedule,
    "warmup": lambda lr, steps: warmup(lr, steps),
    "both": both_schedules,
}


def recorded_gradient(theta, k):
    """The gradient of the recording, as its file describes it."""
    stiffness, noise = np.array(RECORDED["stiffness"]), np.array(RECORDED["noise"])
    return stiffness * (theta - 0.3) + noise * np.cos(0.7 * k + np.arange(theta.size))


def schedule(name):
    return SCHEDULES[name](**RECORDED["schedules"][name])


def optimizer_of(case):
    options = {q: v for q, v in case["options"].items() if not q.startswith("clip")}
    if isinstance(options.get("lr"), str):
        options["lr"] = schedule(options["lr"])
    if options.get("weight_decay") == "mask":
        options["weight_decay"] = np.array(RECORDED["mask"])
    return CLASSES[case["optimizer"]](**options)


def title(case):
    return (
        case["optimizer"]
        + "-"
        + "-".join(f"{q}={v}" for q, v in case["options"].items())
    )


def test_the_recording_says_where_it_comes_from():
    assert RECORDED["source"].startswith("torch==2.13.0")
    assert RECORDED["date"]
    cases = RECORDED["cases"]
    assert len(cases) == 24
    for name in CLASSES:  # each rule, with and without shrinkage
        of_class = [c["options"] for c in cases if c["optimizer"] == name]
        assert any("weight_decay" in options for options in of_class)


@pytest.mark.parametrize("case", RECORDED["cases"], ids=title)
def test_a_hundred_steps_agree_with_pytorch(case):
    optimizer, theta = optimizer_of(case), np.array(RECORDED["start"])
    for k in range(1, 101):
        g = recorded_gradient(theta, k)
        if "clip_norm" in case["options"]:
            clip_grad_norm(g, case["options"]["clip_norm"])
        if "clip_value" in case["options"]:
            clip_grad_value(g, case["options"]["clip_value"])
        optimizer.step(theta, g)
        if str(k) in case["theta"]:
            np.testing.assert_allclose(theta, case["theta"][str(k)], 1e-12, 1e-12)
    state = optimizer.state
    assert state.pop("step") == 100
    assert state.keys() == case["state"].keys()
    for name, wanted in case["state"].items():
        np.testing.assert_allclose(state[name], wanted, 1e-12, 1e-15)


@pytest.mark.parametrize(
    "case", [c for c in RECORDED["cases"] if "rates" in c], ids=title
)
def test_schedules_give_pytorchs_rates(case):
    rate = schedule(case["options"]["lr"])
    rates = [rate(k) for k in range(1, 101)]
    np.testing.assert_allclose(rates, case["rates"], 1e-12, 1e-15)


@pytest.mark.parametrize("row", RECORDED["clipped"])
def test_clipping_agrees_with_pytorch(row):
    g = np.array(row["before"])
    assert clip_grad_norm(g, row["limit"]) == pytest.approx(row["norm"], rel=1e-12)
    np.testing.assert_allclose(g, row["by_norm"], 1e-12, 0)
    g = np.array(row["before"])
    assert clip_grad_value(g, row["limit"]) is None
    np.testing.assert_array_equal(g, row["by_value"])


def run(optimizer, theta, steps, first=0):
    """Steps with a gradient that is remembered nowhere."""
    for k in range(first, first + steps):
        wave = np.cos(0.3 * k + np.arange(theta.size))
        optimizer.step(theta, (theta * 0.5 + wave).astype(theta.dtype))
    return theta


@every
@both
def test_a_resumed_run_ends_in_the_same_bits(make, dtype, tmp_path):
    start = np.linspace(-1, 1, 7).astype(dtype)
    whole = run(make(), start.copy(), 150)
    first, theta = make(), start.copy()
    run(first, theta, 67)
    np.savez(tmp_path / "state.npz", **first.state)
    second = make()
    with np.load(tmp_path / "state.npz") as saved:
        second.state = saved
    run(second, theta, 83, first=67)
    assert theta.dtype == dtype
    assert theta.tobytes() == whole.tobytes()


@every
def test_a_state_is_a_copy_on_the_way_out_and_in(make):
    optimizer, theta = make(), np.ones(4)
    run(optimizer, theta, 3)
    saved = optimizer.state
    assert saved["step"].dtype == np.int64
    assert saved["step"].shape == ()
    before = {name: array.copy() for name, array in saved.items()}
    other = make()
    other.state = saved
    run(optimizer, theta, 3)
    run(other, np.ones(4), 3)
    for name, array in saved.items():
        np.testing.assert_array_equal(array, before[name])
    other.state = {}
    assert other.state == {}
    np.testing.assert_array_equal(run(other, np.ones(4), 5), run(make(), np.ones(4), 5))


@every
def test_copies_and_pickles_go_on_alike(make):
    optimizer, theta = make(), np.ones(5)
    run(optimizer, theta, 4)
    others = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    ends = [run(each, theta.copy(), 4, first=4).tobytes() for each in others]
    assert {run(optimizer, theta, 4, first=4).tobytes()} == set(ends)


@every
@both
def test_blocks_do_not_show(make, dtype, monkeypatch):
    rng = np.random.default_rng(0)
    start = rng.standard_normal(1000).astype(dtype)
    whole = run(make(), start.copy(), 70)
    monkeypatch.setattr(optimizers, "_BLOCK", 96)
    assert run(make(), start.copy(), 70).tobytes() == whole.tobytes()


@every
def test_the_weight_decay_of_an_array_is_that_of_its_numbers(make):
    start = np.linspace(-1, 1, 6)
    made, other = make(), make()
    made.weight_decay = 0.3
    other.weight_decay = np.full(6, 0.3)
    wanted = run(made, start.copy(), 20)
    np.testing.assert_allclose(run(other, start.copy(), 20), wanted, 1e-14)
    assert not np.allclose(run(make(), start.copy(), 20), wanted)


@every
@both
def test_a_gradient_is_read_and_vectors_with_gaps_are_moved(make, dtype):
    wanted = run(make(), np.ones(6, dtype), 5)
    spread = np.ones(12, dtype)
    optimizer = make()
    for k in range(5):
        wave = np.cos(0.3 * k + np.arange(6))
        g = (spread[::2] * 0.5 + wave).astype(dtype)
        before = g.copy()
        g.flags.writeable = False
        optimizer.step(spread[::2], g)
        assert g.tobytes() == before.tobytes()
    assert spread[::2].tobytes() == wanted.tobytes()
    assert (spread[1::2] == 1).all()


@every
def test_float32_stays_close_to_float64(make):
    small = run(make(), np.ones(50, np.float32), 100)
    np.testing.assert_allclose(small, run(make(), np.ones(50), 100), 1e-4, 1e-5)


@every
@both
def test_no_temporary_has_the_size_of_theta(make, dtype):
    theta, g = np.ones(40 * optimizers._BLOCK, dtype), np.ones(1, dtype)
    g = np.broadcast_to(g, theta.shape)
    optimizer = make()
    optimizer.step(theta, g)
    tracemalloc.start()
    optimizer.step(theta, g)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < theta.nbytes / 20


@both
@pytest.mark.parametrize(
    "make", [MAKERS["momentum"], MAKERS["adam"], lambda: RMSprop()]
)
def test_moments_of_dead_units_end_at_zero(make, dtype):
    optimizer, theta = make(), np.ones(3, dtype)
    optimizer.weight_decay = 0.0
    g = np.array([1, 0, 0], dtype)
    tiny = float(np.finfo(dtype).tiny)
    run(optimizer, theta, 1)
    saved = optimizer.state
    first = next(name for name in saved if name != "step")
    saved[first][1:] = 2 * tiny
    saved["step"][...] = 1
    optimizer.state = saved
    for _ in range(127):
        optimizer.step(theta, g)
    assert optimizer.state["step"] == 128
    assert (optimizer.state[first][1:] == 0).all()
    for array in list(optimizer.state.values())[1:]:
        assert ((array == 0) | (abs(array) >= tiny)).all()


def test_a_square_is_not_flushed_under_a_living_mean():
    m, q = np.array([1e-30, 0.0]), np.array([1e-310, 1e-310])
    optimizers._flush([m, q])
    assert m.tolist() == [1e-30, 0.0]
    assert q.tolist() == [1e-310, 0.0]


@given(
    st.lists(
        st.floats(-1e3, 1e3).filter(lambda g: abs(g) > 1e-3), min_size=1, max_size=6
    ),
    st.floats(1e-3, 1e3),
)
def test_adam_steps_by_r_at_first_and_does_not_see_the_scale(g, scale):
    g = np.array(g)
    theta, scaled = np.zeros(g.size), np.zeros(g.size)
    one, other = Adam(0.1, eps=1e-20), Adam(0.1, eps=1e-20)
    one.step(theta, g)
    other.step(scaled, scale * g)
    np.testing.assert_allclose(theta, -0.1 * np.sign(g), 1e-12)
    for _ in range(5):
        one.step(theta, g - theta)
        other.step(scaled, scale * (g - scaled))
    np.testing.assert_allclose(theta, scaled, 1e-9, 1e-12)


def test_the_rate_may_be_set_and_a_schedule_counts_updates():
    optimizer, theta, g = SGD(lambda k: 1.0 / k), np.zeros(1), np.ones(1)
    for _ in range(3):
        optimizer.step(theta, g)
    assert theta[0] == pytest.approx(-(1 + 1 / 2 + 1 / 3))
    optimizer.lr = 0.0
    optimizer.step(theta, g)
    assert theta[0] == pytest.approx(-(1 + 1 / 2 + 1 / 3))
    with pytest.raises(ValueError, match="SGD wants lr ≥ 0"):
        optimizer.lr = -1.0


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (lambda: SGD(0.1), "momentum", 0.9),
        (lambda: SGD(0.1, momentum=0.9), "nesterov", True),
        (RMSprop, "alpha", 0.5),
        (RMSprop, "eps", 0.0),
        (Adam, "betas", (1, 1)),
        (AdamW, "eps", 1e-4),
    ],
)
def test_what_a_rule_was_made_with_stays(make, name, value):
    optimizer = make()
    shown = repr(optimizer)
    with pytest.raises(AttributeError, match=f"keeps its {name}; make a new"):
        setattr(optimizer, name, value)
    assert repr(optimizer) == shown
    other = copy.deepcopy(optimizer)
    other.lr, other.weight_decay = 0.5, 0.25
    assert (other.lr, other.weight_decay) == (0.5, 0.25)


@every
@both
def test_a_step_is_whole_whatever_numpy_raises(make, dtype):
    huge = np.array([1e200 if dtype == np.float64 else 1e25, 1, math.nan], dtype)
    calm, strict = make(), make()
    ends = []
    for optimizer, mode in ((calm, "ignore"), (strict, "raise")):
        theta = np.ones(3, dtype)
        with np.errstate(all=mode):
            optimizer.step(theta, huge)
        ends.append((theta.tobytes(), optimizer.state["step"]))
    assert ends[0] == ends[1]


@every
def test_a_shallow_copy_has_means_of_its_own(make):
    optimizer, theta = make(), np.ones(4)
    run(optimizer, theta, 3)
    before = optimizer.state
    run(copy.copy(optimizer), theta.copy(), 5, first=3)
    for name, array in optimizer.state.items():
        assert array.tobytes() == before[name].tobytes()


def test_schedules_are_frozen_shown_equal_and_pickled():
    made = warmup(cosine_schedule(0.1, 50, final=0.01), 5)
    shown = repr(made)
    assert shown == (
        "warmup(schedule=cosine_schedule(lr=0.1, steps=50, final=0.01), steps=5)"
    )
    assert eval(shown) == made
    again = pickle.loads(pickle.dumps(made))
    assert [again(k) for k in range(1, 70)] == [made(k) for k in range(1, 70)]
    assert hash(again) == hash(made)
    with pytest.raises(AttributeError):
        made.name = "other"
    assert made(51) == made(1000) == pytest.approx(0.01)
    assert made(np.int64(3)) == made(3)


def test_optimizers_say_what_they_are():
    assert repr(SGD(0.1, momentum=0.9)) == (
        "SGD(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)"
    )
    assert repr(AdamW()) == (
        "AdamW(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01)"
    )
    assert "weight_decay=array" in repr(RMSprop(weight_decay=np.ones(2)))


BAD_SETTINGS = [
    (lambda: SGD(-0.1), ValueError, "SGD wants lr ≥ 0 and finite, got -0.1"),
    (lambda: SGD(math.nan), ValueError, "SGD wants lr"),
    (lambda: SGD(math.inf), ValueError, "SGD wants lr"),
    (lambda: SGD(10**400), ValueError, "SGD wants lr ≥ 0 and finite"),
    (lambda: SGD("0.1"), TypeError, "SGD wants lr as a real number, got str"),
    (lambda: SGD(True), TypeError, "got bool"),
    (lambda: SGD(0.1j), TypeError, "got complex"),
    (lambda: SGD(0.1, momentum=1.0), ValueError, "momentum ≥ 0 and below 1, got 1.0"),
    (lambda: SGD(0.1, momentum=-0.1), ValueError, "momentum"),
    (lambda: SGD(0.1, nesterov=True), ValueError, "momentum > 0 with nesterov"),
    (lambda: SGD(0.1, weight_decay=-1), ValueError, "weight_decay"),
    (lambda: SGD(0.1, weight_decay=np.array([-1.0])), ValueError, "weight_decay"),
    (lambda: SGD(0.1, weight_decay=np.array([math.nan])), ValueError, "weight_decay"),
    (lambda: SGD(0.1, weight_decay=np.array(["a"])), TypeError, "weight_decay"),
    (lambda: RMSprop(alpha=1.0), ValueError, "RMSprop wants alpha"),
    (lambda: RMSprop(eps=0.0), ValueError, "RMSprop wants eps > 0"),
    (lambda: Adam(betas=(0.9, 1.0)), ValueError, r"Adam wants betas\[1\]"),
    (lambda: Adam(betas=(-0.1, 0.9)), ValueError, r"Adam wants betas\[0\]"),
    (lambda: Adam(betas=0.9), TypeError, "Adam wants betas as a pair"),
    (lambda: Adam(betas=(0.9,)), TypeError, "Adam wants betas as a pair"),
    (lambda: Adam(eps=-1e-8), ValueError, "Adam wants eps"),
    (lambda: AdamW(weight_decay=math.inf), ValueError, "AdamW wants weight_decay"),
    (lambda: step_schedule(-1.0, 2, 0.5), ValueError, "step_schedule wants lr"),
    (lambda: step_schedule(1.0, 0, 0.5), ValueError, "from 1, got 0"),
    (lambda: step_schedule(1.0, 1.5, 0.5), TypeError, "integers, got 1.5"),
    (lambda: step_schedule(1.0, 2, -0.5), ValueError, "factor"),
    (lambda: cosine_schedule(1.0, 0), ValueError, "cosine_schedule"),
    (lambda: cosine_schedule(1.0, 5, math.nan), ValueError, "final"),
    (lambda: warmup("fast", 5), TypeError, "warmup wants schedule"),
    (lambda: warmup(0.1, True), TypeError, "warmup"),
    (lambda: warmup(0.1, 5)(0), ValueError, "counts updates from 1, got 0"),
    (lambda: warmup(0.1, 5)(1.5), TypeError, "integers"),
]


@pytest.mark.parametrize(("make", "error", "words"), BAD_SETTINGS)
def test_bad_settings_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def unwritable(theta):
    theta = theta.copy()
    theta.flags.writeable = False
    return theta


BAD_STEPS = {
    "longer": (lambda q, g: (q, np.append(g, 1.0)), ValueError, "got \\(6,\\)"),
    "another theta": (
        lambda q, g: (np.append(q, 1.0), np.append(g, 1.0)),
        ValueError,
        "has a state",
    ),
    "integers": (lambda q, g: (q, g.astype(int)), TypeError, "got int64"),
    "half": (lambda q, g: (q.astype(np.float16), g), TypeError, "got float16"),
    "mixed": (lambda q, g: (q, g.astype(np.float32)), TypeError, "dtype float64"),
    "other": (
        lambda q, g: (q.astype(np.float32), g.astype(np.float32)),
        ValueError,
        "state",
    ),
    "list": (lambda q, g: (q, g.tolist()), TypeError, "got list"),
    "matrix": (lambda q, g: (q.reshape(5, 1), g), ValueError, "got \\(5, 1\\)"),
    "empty": (lambda q, g: (q[:0], g[:0]), ValueError, "got \\(0,\\)"),
    "shared": (lambda q, g: (q, q[::-1]), ValueError, "share memory"),
    "read-only": (lambda q, g: (unwritable(q), g), ValueError, "read-only"),
}


@pytest.mark.parametrize("bad", BAD_STEPS.values(), ids=BAD_STEPS)
@pytest.mark.parametrize("make", [MAKERS["nesterov"], MAKERS["adamw"]])
def test_a_refused_step_changes_nothing(make, bad):
    spoil, error, words = bad
    optimizer, theta = make(), np.ones(5)
    run(optimizer, theta, 2)
    before, state = theta.copy(), optimizer.state
    given = spoil(theta, np.ones(5))
    with pytest.raises(error, match=words):
        optimizer.step(*given)
    assert theta.tobytes() == before.tobytes()
    for name, array in optimizer.state.items():
        assert array.tobytes() == state[name].tobytes()


@pytest.mark.parametrize("lr", [lambda k: -1.0, lambda k: None, lambda k: math.nan])
def test_a_schedule_that_returns_no_rate_changes_nothing(lr):
    optimizer, theta = Adam(lr), np.ones(3)
    with pytest.raises((TypeError, ValueError), match=r"Adam wants lr\(1\)"):
        optimizer.step(theta, np.ones(3))
    assert (theta == 1).all()
    assert optimizer.state == {}


def test_a_decay_of_another_length_changes_nothing():
    optimizer, theta = AdamW(weight_decay=np.ones(4)), np.ones(3)
    with pytest.raises(ValueError, match="weight_decay of shape"):
        optimizer.step(theta, np.ones(3))
    assert (theta == 1).all()
    assert optimizer.state == {}


BAD_STATES = [
    lambda s: {"step": s["step"]},
    lambda s: s | {"momentum_buffer": s["exp_avg"]},
    lambda s: s | {"exp_avg": s["exp_avg"][:2]},
    lambda s: s | {"exp_avg": s["exp_avg"].astype(np.float32)},
    lambda s: s | {"exp_avg": s["exp_avg"].astype(int)},
    lambda s: s | {"exp_avg": s["exp_avg"].tolist()},
    lambda s: s | {"exp_avg_sq": -s["exp_avg_sq"]},
    lambda s: s | {"exp_avg_sq": s["exp_avg_sq"] * math.nan},
    lambda s: s | {"exp_avg_sq": s["exp_avg_sq"] + math.inf},
    lambda s: s | {"exp_avg": s["exp_avg"] * math.nan},
    lambda s: s | {"exp_avg": s["exp_avg"] - math.inf},
    lambda s: s | {"step": np.array(0)},
    lambda s: s | {"step": np.array(1.5)},
    lambda s: s | {"step": None},
    lambda s: s | {"step": np.array([1, 2])},
    lambda s: list(s),
]


@pytest.mark.parametrize("spoil", BAD_STATES)
def test_a_refused_state_changes_nothing(spoil):
    optimizer = Adam()
    run(optimizer, np.ones(3), 2)
    state = optimizer.state
    with pytest.raises((TypeError, ValueError), match="Adam"):
        optimizer.state = spoil(state)
    for name, array in optimizer.state.items():
        assert array.tobytes() == state[name].tobytes()


BAD_CLIPS = [
    (np.array([1.0, math.nan]), 1.0, ValueError, "NaN at 1"),
    (np.array([math.inf, 1.0]), 1.0, ValueError, "NaN at 0"),
    (np.array([1, 2]), 1.0, TypeError, "int64"),
    ([1.0], 1.0, TypeError, "list"),
    (np.ones((2, 2)), 1.0, ValueError, "(2, 2)"),
    (unwritable(np.ones(2)), 1.0, ValueError, "read-only"),
    (np.ones(2), -1.0, ValueError, "max_norm"),
    (np.ones(2), None, TypeError, "max_norm"),
]


@pytest.mark.parametrize(("g", "limit", "error", "words"), BAD_CLIPS)
def test_clipping_refuses_what_it_cannot_mend(g, limit, error, words):
    before = copy.deepcopy(g)
    with pytest.raises(error) as raised:
        clip_grad_norm(g, limit)
    assert words in str(raised.value)
    np.testing.assert_array_equal(g, before)
    if words not in ("NaN at 1", "NaN at 0"):
        with pytest.raises(error):
            clip_grad_value(g, limit)


@both
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e20, 1e30])
def test_the_length_of_a_gradient_survives_its_squares(dtype, scale):
    g = np.full(3 * optimizers._BLOCK, scale, dtype)
    length = scale * math.sqrt(g.size)
    assert clip_grad_norm(g, max(2 * length, 1.0)) == pytest.approx(length, rel=1e-5)
    assert (g == dtype(scale)).all()
    assert clip_grad_norm(np.zeros(3, dtype), 0.0) == 0.0


def test_clipping_by_value_lets_nan_through_and_by_norm_pytorchs_millionth():
    g = np.array([3.0, math.nan])
    clip_grad_value(g, 1.0)
    assert g[0] == 1.0
    assert math.isnan(g[1])
    g = np.array([3.0, 4.0])
    clip_grad_norm(g, 5.0)
    np.testing.assert_allclose(g, np.array([3.0, 4.0]) * 5 / (5 + 1e-6), 1e-15)


SWAPS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}


class Opposite(ast.NodeTransformer):
    """Turn one in-place operation round: the one of that number."""

    def __init__(self, wanted):
        self.wanted, self.seen = wanted, 0

    def turn(self, node):
        self.generic_visit(node)
        if type(node.op) in SWAPS:
            self.seen += 1
            if self.seen == self.wanted:
                node.op = SWAPS[type(node.op)]()
        return node

    visit_AugAssign = visit_BinOp = turn  # noqa: N815


def mutants(namespace, kind, method):
    """The method as it is, then with one operation after the other turned round."""
    tree = ast.parse(textwrap.dedent(namespace["sources"][kind, method]))
    number = Opposite(0)
    number.visit(copy.deepcopy(tree))
    for wanted in range(number.seen + 1):
        changed = Opposite(wanted).visit(copy.deepcopy(tree))
        scope = dict(namespace)
        source = ast.unparse(changed).replace("super()", f"super({kind}, self)")
        exec(
            compile("from __future__ import annotations\n" + source, "m", "exec"), scope
        )
        yield ast.unparse(changed), scope[method]


def test_the_proofs_of_the_page_refuse_every_rule_turned_round():
    page = nbformat.read(ROOT / "nbs" / "11_optimizers.ipynb", 4)
    cells = [
        (c, notebooks.directives(c.source)[1])
        for c in page.cells
        if c.cell_type == "code"
    ]
    asks = [code for _, code in cells if "proved(" in code and "def proved" not in code]
    letters = next(code for _, code in cells if "def proved" in code)
    assert len(asks) == 4
    space = {name: getattr(optimizers, name) for name in dir(optimizers)}
    exec("import sympy as sp\n" + letters, space)
    space["sources"] = {
        (kind, method): inspect.getsource(vars(CLASSES[kind])[method])
        for kind, method in RULES
    }
    with contextlib.redirect_stdout(io.StringIO()):
        for code in asks:
            exec(code, space)
        for (kind, method), ask in RULES.items():
            right, *survived = [
                source
                for source, made in mutants(space, kind, method)
                if holds(asks[ask], space, kind, method, made)
            ]
            plain = textwrap.dedent(space["sources"][kind, method])
            assert right == ast.unparse(ast.parse(plain))
            assert not survived, (kind, method, survived)


RULES = {
    ("SGD", "_move"): 0,
    ("RMSprop", "_move"): 1,
    ("RMSprop", "_scalars"): 1,
    ("Adam", "_scalars"): 2,
    ("Adam", "_move"): 2,
    ("AdamW", "_shrink"): 3,
}


def holds(ask, space, kind, method, wrong):
    """Whether the page's cell still passes with a wrong method."""
    right = vars(CLASSES[kind])[method]
    setattr(CLASSES[kind], method, wrong)
    try:
        exec(ask, dict(space))
    except Exception:
        return False
    finally:
        setattr(CLASSES[kind], method, right)
    return True


def test_the_base_class_has_no_rule():
    with pytest.raises(NotImplementedError, match="Optimizer has no rule"):
        Optimizer(0.1).step(np.ones(2), np.ones(2))
