"""The plain loop and the curvature: against linear algebra, JAX, and bad input."""

import pickle
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop_lit.activations import Tanh
from backprop_lit.descent import (
    Curvature,
    Descent,
    descend,
    largest_curvature,
    objective,
    quadratic_path,
)
from backprop_lit.losses import CrossEntropyLoss, MSELoss
from backprop_lit.network import Linear, Sequential

jax.config.update("jax_enable_x64", True)


def quadratic(matrix):
    return lambda theta: (float(theta @ matrix @ theta / 2), matrix @ theta)


def symmetric(seed, eigenvalues):
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.standard_normal([len(eigenvalues)] * 2))
    return axes @ np.diag(eigenvalues) @ axes.T


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    eigenvalues=st.lists(st.floats(0.01, 10), min_size=1, max_size=5),
    lr=st.floats(0.001, 0.25),
    steps=st.integers(0, 20),
)
def test_on_a_quadratic_the_path_is_a_power_of_a_matrix(seed, eigenvalues, lr, steps):
    matrix = symmetric(seed, eigenvalues)
    start = np.random.default_rng(seed + 1).standard_normal(len(matrix))
    down = descend(quadratic(matrix), start, lr, steps=steps, path=True)
    once = np.eye(len(matrix)) - lr * matrix
    assert down.steps == steps
    assert down.reason == "steps"
    for k, theta in enumerate(down.path):
        wanted = np.linalg.matrix_power(once, k) @ start
        np.testing.assert_allclose(theta, wanted, rtol=1e-9, atol=1e-9)
        assert np.isclose(down.values[k], wanted @ matrix @ wanted / 2, atol=1e-9)
    values, axes = np.linalg.eigh(matrix)
    by_formula = quadratic_path(values, axes.T @ start, lr, steps) @ axes.T
    np.testing.assert_allclose(by_formula, down.path, rtol=1e-8, atol=1e-8)


def test_each_rule_ends_the_descent_when_it_first_holds():
    f, start = quadratic(np.eye(2)), np.array([3.0, 4.0])
    full = descend(f, start, 0.5, steps=20, path=True)
    slopes = np.linalg.norm(full.path, axis=1)
    changes = abs(np.diff(full.values))

    down = descend(f, start, 0.5, slope=0.01)
    assert down.reason == "slope"
    assert down.steps == np.argmax(slopes < 0.01)
    down = descend(f, start, 0.5, change=0.01)
    assert down.reason == "change"
    assert down.steps == 1 + np.argmax(changes < 0.01)
    down = descend(f, start, 0.5, steps=3, slope=0.01, change=0.01)
    assert (down.steps, down.reason) == (3, "steps")
    assert descend(f, start, 0.5, slope=5.1).steps == 0
    assert descend(f, start, 0.5, steps=0).reason == "steps"


def test_a_threshold_is_not_met_by_equality():
    down = descend(quadratic(np.eye(2)), np.array([3.0, 4.0]), 0.0, slope=5.0, steps=4)
    assert (down.steps, down.reason) == (4, "steps")


def test_the_result_counts_its_steps_and_can_be_stored():
    down = descend(quadratic(np.eye(3)), np.ones(3), 0.1, steps=7)
    assert isinstance(down, Descent)
    assert down.values.shape == (8,)
    assert down.path is None
    again = pickle.loads(pickle.dumps(down))
    assert (again.theta == down.theta).all()
    path = descend(quadratic(np.eye(3)), np.ones(3), 0.1, steps=7, path=True).path
    assert path.shape == (8, 3)


def test_the_start_is_left_alone_and_the_end_is_free():
    start = np.ones((2, 2))
    down = descend(lambda q: (float((q**2).sum()), 2 * q), start, 0.1, steps=2)
    assert (start == 1).all()
    down.theta[...] = 5
    nothing = descend(lambda q: (float((q**2).sum()), 2 * q), start, 0.1, steps=0)
    nothing.theta[...] = 5
    assert (start == 1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_is_that_of_theta(dtype):
    start = np.ones(3, dtype)
    for lr in (0.1, np.float64(0.1), lambda k: np.float64(1 / k)):
        down = descend(quadratic(np.eye(3)), start, lr, steps=3, path=True)
        assert down.theta.dtype == dtype
        assert down.path.dtype == dtype
        assert down.values.dtype == np.float64


def test_a_schedule_is_asked_for_steps_one_two_three():
    asked = []

    def schedule(k):
        asked.append(k)
        return 0.1 * k

    down = descend(lambda q: (0.0, np.ones(1)), np.zeros(1), schedule, steps=3)
    assert asked == [1, 2, 3]
    np.testing.assert_allclose(down.theta, [-0.6])
    with pytest.raises(ValueError, match=r"wants lr\(2\) from 0 on"):
        descend(lambda q: (0.0, np.ones(1)), np.zeros(1), lambda k: 1.5 - k, steps=3)


F = quadratic(np.eye(2))
ONES = np.ones(2)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((F, ONES, -0.1), {}, ValueError, "wants lr from 0 on, finite, got -0.1"),
        ((F, ONES, np.nan), {}, ValueError, "wants lr from 0 on, finite, got nan"),
        ((F, ONES, np.inf), {}, ValueError, "wants lr from 0 on"),
        ((F, ONES, "0.1"), {}, TypeError, "wants lr as a number, got str"),
        ((F, ONES, True), {}, TypeError, "wants lr as a number, got bool"),
        ((F, ONES, 0.1), {"steps": -1}, ValueError, "wants steps from 0 on"),
        ((F, ONES, 0.1), {"steps": 2.0}, TypeError, "wants steps as an integer"),
        ((F, ONES, 0.1), {"change": -1.0}, ValueError, "wants change from 0 on"),
        ((F, ONES, 0.1), {"slope": "x"}, TypeError, "wants slope as a number"),
        ((F, ONES, 10**400), {}, ValueError, "wants lr from 0 on, finite, got inf"),
        ((F, ONES, 0.1), {"steps": 10**400}, ValueError, "wants steps from 0 on"),
        ((3, ONES, 0.1), {}, TypeError, "value_and_gradient as a function, got int"),
        ((F, np.array([1, 2]), 0.1), {}, TypeError, "theta as floats, got int64"),
        ((F, ONES + 1j, 0.1), {}, TypeError, "theta as floats, got complex128"),
        ((F, np.empty(0), 0.1), {}, ValueError, "one or more finite numbers"),
        ((F, ONES * np.nan, 0.1), {}, ValueError, "got 0 finite ones of 2"),
    ],
)
def test_bad_arguments_are_refused(arguments, options, error, message):
    with pytest.raises(error, match=message):
        descend(*arguments, **options)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda q: q @ q, TypeError, r"return a pair \(e, g\), got float64"),
        (lambda q: (q, q), TypeError, r"e as one real number, got shape \(2,\)"),
        (lambda q: (1j, q), TypeError, "e as one real number"),
        (lambda q: (1.0, q[:, None]), ValueError, r"shape \(2,\).*got shape \(2, 1\)"),
        (lambda q: (1.0, q[:1]), ValueError, r"got shape \(1,\)"),
        (lambda q: (1.0, None), ValueError, r"got shape \(\) of object"),
        (lambda q: (np.nan, q), FloatingPointError, "loss is nan after 0 steps"),
        (lambda q: (1.0, q * np.inf), FloatingPointError, "are 0 of 2 entries"),
    ],
)
def test_bad_answers_of_the_function_are_refused(function, error, message):
    with pytest.raises(error, match=f"^descend.*{message}"):
        descend(function, ONES, 0.1)
    message = message.replace(" after 0 steps", "")
    with pytest.raises(error, match=f"^largest_curvature.*{message}"):
        largest_curvature(function, ONES, rng=np.random.default_rng(0))


def test_an_explosion_says_when_and_writes_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            FloatingPointError, match=r"after \d+ steps, the last with lr = 9"
        ):
            descend(lambda q: (float((q**4).sum()), 4 * q**3), ONES, 9.0)
        with pytest.raises(FloatingPointError, match="after 1 steps"):
            descend(lambda q: (0.0, q * 1e200), ONES, 1e200)
        small = ONES.astype(np.float32)
        with pytest.raises(FloatingPointError, match="after 1 steps"):
            descend(lambda q: (0.0, q * np.float32(1e30)), small, 1e20)


def test_whoever_evaluates_cannot_move_theta():
    def moves(theta):
        theta *= 0
        return 0.0, theta

    with pytest.raises(ValueError, match="read-only"):
        descend(moves, ONES, 0.1)
    with pytest.raises(ValueError, match="read-only"):
        largest_curvature(moves, ONES, rng=np.random.default_rng(0))
    assert (ONES == 1).all()


def network(seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    model = Sequential(
        Linear(3, 4, rng=rng, dtype=dtype), Tanh(), Linear(4, 2, rng=rng, dtype=dtype)
    )
    x, y = rng.standard_normal((7, 3)).astype(dtype), rng.integers(0, 2, 7)
    return model, x, y


def in_jax(x, y):
    def value(theta):
        w1, b1 = theta[:12].reshape(4, 3), theta[12:16]
        w2, b2 = theta[16:24].reshape(2, 4), theta[24:]
        u = jnp.tanh(x @ w1.T + b1) @ w2.T + b2
        return -jax.nn.log_softmax(u)[jnp.arange(len(y)), y].mean()

    return value


def test_objective_agrees_with_jax_and_returns_arrays_of_its_own():
    model, x, y = network()
    f = objective(model, CrossEntropyLoss(), x, y)
    theta = np.random.default_rng(1).standard_normal(26)
    own = model.theta.copy()
    e, g = f(theta)
    assert type(e) is float
    value = in_jax(x, y)
    np.testing.assert_allclose(e, value(theta), rtol=1e-12)
    np.testing.assert_allclose(g, jax.grad(value)(theta), rtol=1e-10, atol=1e-12)
    assert (model.theta == own).all()
    assert not np.shares_memory(g, model.gradient)
    assert not np.shares_memory(theta, model.theta)


def test_descent_of_a_network_agrees_with_jax():
    model, x, y = network()
    start = model.theta.copy()
    f = objective(model, CrossEntropyLoss(), x, y)
    theta, slope = start, jax.grad(in_jax(x, y))
    for _ in range(20):
        theta = theta - 0.3 * np.asarray(slope(theta))
    down = descend(f, start, 0.3, steps=20)
    np.testing.assert_allclose(down.theta, theta, rtol=1e-10, atol=1e-12)
    assert (model.theta == start).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "eigenvalues", [[1, 2, 9], [-7, 1, 3], [0, 0, 4], [-5, -1, -2], [1e-6, 2e-6, 5e-6]]
)
def test_the_curvature_is_the_eigenvalue_of_largest_size(seed, eigenvalues):
    matrix = symmetric(seed, eigenvalues)
    rng = np.random.default_rng(seed)
    found = largest_curvature(quadratic(matrix), np.zeros(3), rng=rng, rtol=1e-5)
    wanted = max(eigenvalues, key=abs)
    assert isinstance(found, Curvature)
    assert np.isclose(found.value, wanted, rtol=1e-6)
    assert np.isclose(np.linalg.norm(found.direction), 1)
    np.testing.assert_allclose(
        matrix @ found.direction,
        wanted * found.direction,
        atol=3e-5 * abs(wanted),
    )


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_an_eigenvalue_lies_within_the_residual(steps):
    eigenvalues = np.array([1.0, 4.0, 4.5, 5.0])
    for seed in range(10):
        rng = np.random.default_rng(seed)
        f = quadratic(symmetric(seed, eigenvalues))
        found = largest_curvature(f, np.zeros(4), rng=rng, steps=steps, rtol=0.0)
        assert found.steps == steps
        assert abs(eigenvalues - found.value).min() <= found.residual + 1e-8


def test_the_curvature_of_a_network_is_that_of_its_hessian_in_jax():
    model, x, y = network()
    theta = np.random.default_rng(1).standard_normal(26)
    hessian = np.asarray(jax.hessian(in_jax(x, y))(theta))
    values = np.linalg.eigvalsh(hessian)
    f = objective(model, CrossEntropyLoss(), x, y)
    found = largest_curvature(
        f, theta, rng=np.random.default_rng(2), rtol=1e-6, steps=2000
    )
    assert np.isclose(found.value, max(values, key=abs), rtol=1e-6)


def test_the_curvature_in_float32():
    rng = np.random.default_rng(0)
    model = Linear(3, 2, rng=rng, dtype=np.float32)
    x = rng.standard_normal((9, 3)).astype(np.float32)
    f = objective(model, MSELoss(), x, np.zeros((9, 2), np.float32))
    own = model.theta.copy()
    found = largest_curvature(f, model.theta, rng=rng)
    assert (model.theta == own).all()
    one_more = np.column_stack([x, np.ones(9)])
    wanted = np.linalg.eigvalsh(one_more.T @ one_more / 9)[-1]
    assert found.direction.dtype == np.float32
    assert np.isclose(found.value, wanted, rtol=1e-3)


def test_a_gradient_whose_memory_is_used_again_is_no_trap():
    model = Linear(3, 2, rng=np.random.default_rng(0))
    x, loss = np.random.default_rng(1).standard_normal((9, 3)), MSELoss()

    def reuses(theta):
        model.theta[...] = theta
        e = loss.forward(model.forward(x), np.zeros((9, 2)))
        model.backward(loss.backward())
        return e, model.gradient

    def options():
        return {"rng": np.random.default_rng(2)}

    wanted = largest_curvature(
        objective(model, loss, x, np.zeros((9, 2))), np.ones(8), **options()
    )
    assert wanted.value > 0.1
    assert largest_curvature(reuses, np.ones(8), **options()).value == wanted.value


def test_a_plane_has_no_curvature():
    found = largest_curvature(
        lambda q: (float(q.sum()), np.ones(2)), ONES, rng=np.random.default_rng(0)
    )
    assert (found.value, found.residual, found.steps) == (0.0, 0.0, 1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rng": 0}, TypeError, "wants rng, a numpy.random.Generator, got int"),
        ({"step": 0.0}, ValueError, "wants a step above 0"),
        ({"step": -1.0}, ValueError, "wants step from 0 on"),
        ({"steps": 0}, ValueError, "wants steps from 1 on"),
        ({"rtol": -1.0}, ValueError, "wants rtol from 0 on"),
    ],
)
def test_bad_arguments_of_the_curvature_are_refused(options, error, message):
    options = {"rng": np.random.default_rng(0)} | options
    with pytest.raises(error, match=message):
        largest_curvature(F, ONES, **options)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (([1.0, 2.0], [1.0], 0.1, 3), ValueError),
        ((1.0, 1.0, 0.1, 3), ValueError),
        (([1.0], [1.0], 0.1, -1), ValueError),
        (([1.0], [1.0], 0.1, 1.5), TypeError),
        (([1.0], [1.0], -1, 3), ValueError),
        (([1.0], [1.0], np.nan, 3), ValueError),
        (([1.0], [1.0], "a", 3), TypeError),
        (([1.0], [1.0], [0.1, 0.2], 3), TypeError),
        ((["a"], [1.0], 0.1, 3), TypeError),
        (([1.0], [1j], 0.1, 3), TypeError),
    ],
)
def test_bad_arguments_of_the_formula_are_refused(arguments, error):
    with pytest.raises(error, match="quadratic_path wants"):
        quadratic_path(*arguments)


def test_the_formula_does_not_overflow_on_integers():
    assert quadratic_path([3], [1], 1, 64)[-1] == 2.0**64
    path = quadratic_path([1, 8], [4, 1], 1, 40)
    assert path.dtype == np.float64
    np.testing.assert_allclose(path[-1], [0, 7.0**40])


def test_an_error_in_the_objective_leaves_the_model_alone():
    model, x, y = network()
    own = model.theta.copy()
    f = objective(model, CrossEntropyLoss(), x[:, :2], y)
    with pytest.raises(ValueError, match="wants x"):
        f(np.ones(26))
    assert (model.theta == own).all()
    f = objective(model, CrossEntropyLoss(), x, y)
    for theta in (3.0, np.array([7.0]), np.ones((26, 1)), np.ones(27)):
        with pytest.raises(ValueError, match=r"objective wants theta of shape \(26,\)"):
            f(theta)
    for theta in (np.ones(26) + 1j, np.ones(26, int), ["a"] * 26):
        with pytest.raises(TypeError, match="objective wants theta as floats"):
            f(theta)
    with pytest.raises(ValueError, match="objective wants theta of shape"):
        descend(f, np.array([7.0]), 0.1)
    assert (model.theta == own).all()


def test_a_message_names_the_rate_of_the_last_step():
    with pytest.raises(
        FloatingPointError, match="after 2 steps, the last with lr = 4e"
    ):
        descend(lambda q: (0.0, q * 1e200), ONES, lambda k: 0.0 if k < 2 else 4e200)


def test_a_rate_may_be_an_array_without_axes_and_a_gradient_whole_numbers():
    f = quadratic(np.eye(2))
    wanted = descend(f, ONES, 0.25, steps=2).theta
    assert (descend(f, ONES, np.array(0.25), steps=2).theta == wanted).all()
    counts = np.array([3, 0], np.uint8)
    found = largest_curvature(
        lambda q: (0.0, counts * (q > 0).astype(np.uint8)),
        np.zeros(2),
        rng=np.random.default_rng(0),
        steps=1,
        step=1.0,
    )
    assert abs(found.value) <= 1.5


def test_a_negative_curvature_ends_the_search_too():
    found = largest_curvature(
        quadratic(np.diag([-9.0, 1.0, 2.0])),
        ONES.repeat(2)[:3],
        rng=np.random.default_rng(0),
    )
    assert found.steps < 20
    assert np.isclose(found.value, -9, rtol=1e-5)


def test_a_search_that_has_not_ended_says_so_by_its_residual():
    found = largest_curvature(
        quadratic(np.diag([3.0, -3.0, 1.0])), np.ones(3), rng=np.random.default_rng(0)
    )
    assert found.steps == 200
    assert found.residual > abs(found.value)


def test_the_nudge_grows_with_theta():
    far = np.full(2, 1e9)
    found = largest_curvature(
        quadratic(np.diag([1.0, 8.0])), far, rng=np.random.default_rng(0), rtol=1e-6
    )
    assert np.isclose(found.value, 8, rtol=1e-6)


def test_the_nudge_keeps_rounding_and_truncation_small():
    def exponential(theta):
        return float(np.exp(theta).sum()), np.exp(theta)

    for place in np.linspace(-1, 1, 21):
        found = largest_curvature(
            exponential, np.array([place]), rng=np.random.default_rng(0)
        )
        assert np.isclose(found.value, np.exp(place), rtol=5e-10, atol=0)


def test_a_nudge_that_is_lost_is_refused_and_so_is_an_infinite_product():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="wants a larger step"):
        largest_curvature(quadratic(np.eye(2)), ONES, rng=rng, step=1e-30)
    with pytest.raises(FloatingPointError, match="product A a has the length inf"):
        largest_curvature(lambda q: (0.0, np.array([1e200, 2e200]) * q), ONES, rng=rng)
