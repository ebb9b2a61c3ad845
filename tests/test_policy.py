"""Policy gradients: against JAX, by enumeration, against gymnasium; what is refused."""

import copy
import pickle
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop_lit.activations import Tanh
from backprop_lit.differences import gradcheck
from backprop_lit.losses import CrossEntropyLoss
from backprop_lit.network import Linear, Sequential
from backprop_lit.optimizers import SGD, Adam, cosine_schedule
from backprop_lit.policy import (
    CartPole,
    GymnasiumEnvironment,
    PolicyGradientLoss,
    leave_one_out,
    play_episodes,
    reinforce,
    returns_to_go,
    sample_actions,
)
from backprop_lit.regularization import Dropout

SOLVED = 475  # CartPole-v1: mean return over 100 episodes


def rng(seed=0):
    return np.random.default_rng(seed)


def network(seed):
    source = rng(seed)
    return Sequential(
        Linear(4, 16, rng=source), Tanh(), Linear(16, 2, rng=source)
    ), source


def softmax(u):
    shares = np.exp(u - u.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


# --- the loss -----------------------------------------------------------------


@cache
def peer():
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)

    def loss(u, actions, returns):
        logs = jax.nn.log_softmax(u, axis=1)
        return -(returns * logs[np.arange(len(u)), actions]).mean()

    return jax.jit(jax.value_and_grad(loss))


SHAPES = [(1, 1), (1, 4), (5, 2), (7, 3)]  # JAX compiles for each anew


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SHAPES), st.integers(0, 10**6))
def test_the_loss_and_its_v_are_those_of_jax(shape, seed):
    (n, size), draw = shape, rng(seed)
    u, returns = 3 * draw.normal(size=(n, size)), 5 * draw.normal(size=n)
    actions = draw.integers(size, size=n)

    e, v = peer()(u, actions, returns)
    loss = PolicyGradientLoss()
    assert np.allclose(loss.forward(u, actions, returns), e, rtol=1e-12, atol=1e-12)
    assert np.allclose(loss.backward(), v, rtol=1e-10, atol=1e-12)


def test_with_returns_of_one_it_is_cross_entropy():
    u, actions = rng().normal(size=(6, 4)), rng(1).integers(4, size=6)
    ours, theirs = PolicyGradientLoss(), CrossEntropyLoss()
    e = ours.forward(u, actions, np.ones(6))
    assert np.isclose(e, theirs.forward(u, actions), rtol=1e-14, atol=0)
    assert np.allclose(ours.backward(), theirs.backward(), rtol=1e-14, atol=1e-14)


def test_it_passes_gradcheck_and_is_finite_far_out():
    loss, actions = PolicyGradientLoss(), np.array([0, 2, 1])
    u, returns = rng(2).normal(size=(3, 3)), rng(3).normal(size=3)
    assert gradcheck(
        (lambda u: loss.forward(u, actions, returns), lambda v, u: v * loss.backward()),
        u,
    )
    u = np.array([[1000.0, -1000, 0], [0, 0, -np.inf], [-1000, 1000, 1000]])
    assert np.isfinite(loss.forward(u, np.array([1, 0, 2]), returns))
    assert np.isfinite(loss.backward()).all()


def test_float32_stays_float32_and_the_returns_are_copied():
    loss, returns = PolicyGradientLoss(), np.array([1.0, 2.0])
    u = np.zeros((2, 3), np.float32)
    e = loss.forward(u, np.array([0, 1]), returns)
    v = loss.backward()
    assert e.dtype == v.dtype == np.float32
    returns[:] = 7
    assert (loss.backward() == v).all()
    assert (pickle.loads(pickle.dumps(loss)).backward() == v).all()


@pytest.mark.parametrize(
    ("u", "actions", "returns", "error", "told"),
    [
        (np.zeros((2, 3)), [0, 3], [1.0, 1], ValueError, "from 0 to 2, got 0 to 3"),
        (np.zeros((2, 3)), [0, -1], [1.0, 1], ValueError, "got -1 to 0"),
        (np.zeros((2, 3)), [0.0, 1], [1.0, 1], TypeError, "actions of integers"),
        (np.zeros((2, 3)), [True, False], [1.0, 1], TypeError, "got bool"),
        (np.zeros((2, 3)), [0], [1.0, 1], ValueError, r"shape \(2,\).*got \(1,\)"),
        (np.zeros((2, 3)), [[0], [1]], [1.0, 1], ValueError, r"got \(2, 1\)"),
        (np.zeros((2, 3)), [0, 1], [1.0], ValueError, r"returns of shape \(2,\)"),
        (np.zeros((2, 3)), [0, 1], [[1.0], [2.0]], ValueError, r"got \(2, 1\)"),
        (np.zeros((2, 3)), [0, 1], [1j, 1], TypeError, "returns that fit"),
        (np.zeros((2, 3)), [0, 1], ["a", "b"], TypeError, "returns that fit"),
        (np.zeros((2, 3), int), [0, 1], [1.0, 1], TypeError, "u of floating"),
        (np.zeros((0, 3)), [], [], ValueError, "at least one entry"),
        (np.zeros(3), [0], [1.0], ValueError, r"\(n, actions\), got \(3,\)"),
    ],
)
def test_the_loss_refuses(u, actions, returns, error, told):
    loss = PolicyGradientLoss()
    with pytest.raises(error, match=told):
        loss.forward(u, np.array(actions), np.array(returns))
    with pytest.raises(RuntimeError, match="before forward"):
        loss.backward()


# --- the estimate, exactly ----------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 4), st.integers(2, 3), st.integers(0, 10**6))
def test_the_mean_over_all_batches_is_the_slope(size, episodes, seed):
    draw = rng(seed)
    u, pays = draw.normal(size=size), draw.normal(size=size) + 3
    p, loss = softmax(u), PolicyGradientLoss()
    wanted = -p * (pays - p @ pays)
    for weigh, share in (
        (lambda R: R, 1),
        (lambda R: R - leave_one_out(R), 1),
        (lambda R: R - 17.0, 1),
        (lambda R: R - R.mean(), 1 - 1 / episodes),
    ):
        mean = np.zeros(size)
        for batch in product(range(size), repeat=episodes):
            actions = np.array(batch)
            loss.forward(np.tile(u, (episodes, 1)), actions, weigh(pays[actions]))
            mean += p[actions].prod() * loss.backward().sum(0)
        assert np.allclose(mean, share * wanted, rtol=1e-9, atol=1e-12)


def test_actions_are_drawn_with_softmax_and_rare_logits_do_no_harm():
    u = np.array([0.5, -1.0, 2.0, 0.0])
    p, draws = softmax(u), 100_000
    counts = np.bincount(sample_actions(np.tile(u, (draws, 1)), rng(5)), minlength=4)
    assert (abs(counts / draws - p) < 5 * np.sqrt(p * (1 - p) / draws)).all()
    far = np.array([[1e300, -1e300], [-np.inf, -1e5], [-1000.0, -2000.0]])
    assert (sample_actions(far, rng()) == [0, 1, 0]).all()
    assert sample_actions(u.astype(np.float32)[None], rng()).dtype.kind == "i"


@pytest.mark.parametrize("shift", [1e15, 1e17, -1e17, 1e300])
def test_equal_logits_are_drawn_alike_wherever_they_lie(shift):
    actions = sample_actions(np.full((30_000, 3), shift), rng(7))
    counts = np.bincount(actions, minlength=3) / 30_000
    assert (abs(counts - 1 / 3) < 5 * np.sqrt(2 / 9 / 30_000)).all()


def test_logits_at_both_ends_of_the_range():
    assert sample_actions(np.array([[1.7e308, -1.7e308]]), rng()) == [0]


@pytest.mark.parametrize(
    ("u", "error", "told"),
    [
        ([[np.nan, 0]], ValueError, "numbers"),
        ([[np.inf, 0]], ValueError, "finite"),
        ([[-np.inf, -np.inf]], ValueError, "finite"),
        ([0.0, 1.0], ValueError, r"\(n, actions\)"),
        ([[1j, 0]], TypeError, "real u"),
        ([[1, 0]], TypeError, "floating"),
    ],
)
def test_drawing_refuses(u, error, told):
    with pytest.raises(error, match=told):
        sample_actions(np.array(u), rng())
    with pytest.raises(TypeError, match="rng"):
        sample_actions(np.zeros((1, 2)), 0)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 8), st.integers(1, 3), st.floats(0, 1), st.integers(0, 10**6)
)
def test_returns_to_go_are_the_sums_from_there_on(steps, episodes, gamma, seed):
    rewards = rng(seed).normal(size=(steps, episodes))
    wanted = [
        sum(gamma ** (k - s) * rewards[k] for k in range(s, steps))
        for s in range(steps)
    ]
    kept = rewards.copy()
    assert np.allclose(returns_to_go(rewards, gamma), wanted, rtol=1e-12, atol=1e-12)
    assert (rewards == kept).all()


def test_returns_keep_their_dtype():
    assert returns_to_go(np.ones(3, np.float32), 0.5).dtype == np.float32
    assert leave_one_out(np.ones(3, np.float32)).dtype == np.float32


@pytest.mark.parametrize("gamma", [-0.1, 1.1, np.nan, np.inf])
def test_a_discount_lies_between_0_and_1(gamma):
    with pytest.raises(ValueError, match="gamma from 0 to 1"):
        returns_to_go(np.ones(3), gamma)
    with pytest.raises(ValueError, match="gamma from 0 to 1"):
        reinforce(network(0)[0], SGD(0.1), CartPole(2), updates=1, rng=rng(),
                  gamma=gamma)


def test_returns_refuse():
    for gamma in ("1", True, 1j, None):
        with pytest.raises(TypeError, match="gamma as a real number"):
            returns_to_go(np.ones(3), gamma)
    with pytest.raises(TypeError, match="floating"):
        returns_to_go(np.ones(3, int))
    with pytest.raises(ValueError, match="rewards"):
        returns_to_go(np.ones((0, 3)))
    with pytest.raises(ValueError, match=r"\(steps, …\)"):
        returns_to_go(np.array(1.0))
    with pytest.raises(ValueError, match="two episodes"):
        leave_one_out(np.ones((5, 1)))
    with pytest.raises(ValueError, match="two episodes"):
        leave_one_out(np.array(1.0))
    for refuses in (returns_to_go, leave_one_out):
        with pytest.raises(TypeError, match="real floats, got complex"):
            refuses(np.ones((2, 3), complex))


def test_a_baseline_of_others_does_not_move_with_its_own():
    returns = rng(6).normal(size=(4, 5))
    changed = returns.copy()
    changed[:, 2] += 100
    assert np.allclose(leave_one_out(returns)[:, 2], leave_one_out(changed)[:, 2])
    others = [np.delete(returns, k, axis=1).mean(1) for k in range(5)]
    assert np.allclose(leave_one_out(returns).T, others)


@pytest.mark.parametrize("huge", [3e7, 1e20, np.inf])
def test_a_baseline_of_others_does_not_feel_its_own_by_rounding(huge):
    others = leave_one_out(np.array([huge, 1, 2], np.float32))
    assert others[0] == 1.5
    assert not np.isnan(others).any()


# --- the pole -----------------------------------------------------------------


def test_a_pole_falls_and_a_cart_leaves():
    carts = CartPole(poles=3)
    carts.reset(rng())
    carts.x[...] = 0
    carts.x[0, 2] = 0.2  # about to fall
    carts.x[1, :2] = 2.39, 3.0  # about to leave
    _, rewards, terminated, truncated = carts.step(np.array([0, 1, 1]))
    x = carts.x.copy()
    assert rewards.tolist() == [1, 1, 1]
    assert terminated.tolist() == [False, True, False]
    while not terminated[0]:
        x, rewards, terminated, truncated = carts.step(np.array([0, 1, 1]))
    assert rewards.tolist() == [1, 0, 1]
    assert not truncated.any()
    still = x[1].copy()
    x, rewards, *_ = carts.step(np.array([0, 1, 1]))
    assert (x[1] == still).all()
    assert rewards[0] == 0


def test_one_push_from_rest_moves_velocities_alone():
    carts = CartPole(poles=2)
    carts.reset(rng())
    carts.x[...] = 0
    x, *_ = carts.step(np.array([0, 1]))
    assert not x[:, [0, 2]].any()
    assert (x[:, 1] * [-1, 1] > 0).all()


def test_a_state_that_is_no_number_does_not_stand():
    carts = CartPole(poles=3)
    carts.reset(rng())
    carts.x[0, 2] = carts.x[1, 0] = np.nan
    _, _, terminated, _ = carts.step(np.array([0, 1, 1]))
    assert terminated.tolist() == [True, True, False]


def test_before_reset_a_cart_has_no_state():
    carts = CartPole(poles=2)
    assert np.isnan(carts.x).all()
    assert carts.x.shape == (2, 4)
    assert carts.steps == 0


def test_the_clock_runs_out():
    carts = CartPole(poles=1, limit=3)
    carts.reset(rng())
    ends = [carts.step(np.array([k % 2]))[2:] for k in range(3)]
    assert [bool(truncated[0]) for _, truncated in ends] == [False, False, True]
    assert not any(terminated[0] for terminated, _ in ends)
    with pytest.raises(RuntimeError, match=r"no pole is up; call reset"):
        carts.step(np.array([0]))
    carts.reset(rng())
    carts.step(np.array([0]))


def test_what_a_step_hands_out_is_the_callers():
    carts = CartPole(poles=2)
    x = carts.reset(rng())
    x[...] = 9
    assert abs(carts.x).max() <= 0.05
    x, _, terminated, _ = carts.step(np.array([0, 1]))
    x[...] = 9
    kept = terminated.copy()
    terminated[...] = True
    assert not carts.terminated.any()
    terminated[...] = kept
    carts.step(np.array([0, 1]))
    assert abs(carts.x).max() < 9
    assert (terminated == kept).all()


@pytest.mark.parametrize(
    ("actions", "error", "told"),
    [
        ([0, 2], ValueError, "actions 0 and 1, got 0 to 2"),
        ([-1, 0], ValueError, "got -1 to 0"),
        ([0], ValueError, r"\(2,\), got \(1,\)"),
        (0, ValueError, r"got \(\)"),
        ([0.0, 1.0], TypeError, "integers"),
        ([False, True], TypeError, "integers"),
    ],
)
def test_a_cart_refuses_and_does_not_move(actions, error, told):
    carts = CartPole(poles=2)
    with pytest.raises(RuntimeError, match="call reset"):
        carts.step(np.array([0, 1]))
    x = carts.reset(rng())
    with pytest.raises(error, match=told):
        carts.step(np.array(actions))
    assert (carts.x == x).all()
    assert carts.steps == 0


def test_settings_of_a_cart():
    for poles in (0, -1):
        with pytest.raises(ValueError, match="CartPole"):
            CartPole(poles)
    with pytest.raises(TypeError, match="integers"):
        CartPole(2.0)
    with pytest.raises(ValueError, match="sizes from 1"):
        CartPole(2, limit=0)
    with pytest.raises(TypeError, match=r"CartPole.*rng"):
        CartPole(2).reset(7)


# --- playing and learning -----------------------------------------------------


def test_an_episode_is_what_the_world_said():
    model, source = network(1)
    tau = play_episodes(model, CartPole(5), source)
    steps = len(tau.rewards)
    assert tau.x.shape == (steps, 5, 4)
    assert tau.alive[0].all()
    assert (np.diff(tau.alive.astype(int), axis=0) <= 0).all()
    assert (tau.rewards == tau.alive).all()
    carts = CartPole(5)
    carts.reset(rng())
    carts.x[...] = tau.x[0]
    for s in range(steps - 1):
        x, rewards, *_ = carts.step(tau.actions[s])
        assert (x == tau.x[s + 1]).all()
        assert (rewards == tau.rewards[s]).all()


def test_greedy_play_takes_the_largest_logit():
    model, source = network(2)
    tau = play_episodes(model, CartPole(3), source, greedy=True)
    u = model.forward(tau.x[tau.alive])
    assert (u.argmax(1) == tau.actions[tau.alive]).all()


@pytest.mark.parametrize("baseline", [None, leave_one_out])
def test_the_gradient_of_an_update_is_the_mean_over_episodes(baseline):
    model, source = network(3)
    twin, again = copy.deepcopy(model), copy.deepcopy(source)
    reinforce(model, SGD(0.0), CartPole(4), updates=1, rng=source, gamma=0.9,
              baseline=baseline)
    tau = play_episodes(twin, CartPole(4), again)
    weights = returns_to_go(tau.rewards, 0.9)
    if baseline is not None:
        weights = weights - baseline(weights)
    total = np.zeros_like(twin.theta)
    for s, k in zip(*np.nonzero(tau.alive), strict=True):
        u = twin.forward(tau.x[s, k][None])
        p = softmax(u)
        p[0, tau.actions[s, k]] -= 1
        twin.backward(weights[s, k] * p)
        total += twin.gradient / 4
    assert np.allclose(model.gradient, total, rtol=1e-9, atol=1e-10)


def test_float32_and_the_same_seed_again():
    finals = []
    for _ in range(2):
        source = rng(4)
        model = Linear(4, 2, rng=source, dtype=np.float32)
        returns = reinforce(model, Adam(0.05), CartPole(4), updates=3, rng=source)
        assert model.theta.dtype == np.float32
        assert returns.shape == (3, 4)
        finals.append((model.theta.copy(), returns))
    assert (finals[0][0] == finals[1][0]).all()
    assert (finals[0][1] == finals[1][1]).all()


def test_learning_refuses():
    model, source = network(5)
    before = model.theta.copy()
    for updates, error in ((0, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="reinforce wants"):
            reinforce(model, SGD(1.0), CartPole(2), updates=updates, rng=source)
    with pytest.raises(TypeError, match="reinforce wants rng"):
        reinforce(model, SGD(1.0), CartPole(2), updates=1, rng=3)
    with pytest.raises(ValueError, match="two episodes"):
        reinforce(model, SGD(1.0), CartPole(1), updates=1, rng=source)
    assert (model.theta == before).all()
    reinforce(model, SGD(1.0), CartPole(1), updates=1, rng=source, baseline=None)
    before = model.theta.copy()
    for wrong in (np.ones(2), np.ones((2, 2)), np.nan, 1j):
        with pytest.raises(ValueError, match="baseline"):
            reinforce(model, SGD(1.0), CartPole(2), updates=1, rng=source,
                      baseline=lambda returns, wrong=wrong: wrong)
    assert (model.theta == before).all()
    model.theta[...] = np.nan
    with pytest.raises(ValueError, match="logits that are numbers"):
        reinforce(model, SGD(1.0), CartPole(2), updates=1, rng=source)
    with pytest.raises(ValueError, match="logits that are numbers"):
        play_episodes(model, CartPole(2), source, greedy=True)


def test_what_was_drawn_is_what_is_differentiated():
    source = rng(8)
    model = Sequential(Linear(4, 8, rng=source), Dropout(0.5, rng=source),
                       Linear(8, 2, rng=source))
    bare = Sequential(*copy.deepcopy([model.layers[0], model.layers[2]]))
    same = np.random.default_rng(9)
    tau = play_episodes(bare, CartPole(4), np.random.default_rng(9))
    reinforce(model, SGD(0.0), CartPole(4), updates=1, rng=same, baseline=None)
    weights = returns_to_go(tau.rewards)[tau.alive] * tau.alive.sum() / 4
    loss = PolicyGradientLoss()
    loss.forward(bare.forward(tau.x[tau.alive]), tau.actions[tau.alive], weights)
    bare.backward(loss.backward())
    assert np.allclose(model.gradient, bare.gradient, rtol=1e-12, atol=1e-12)


class Reuses:
    """A world that hands out the same array of rewards, over and over."""

    def reset(self, rng):
        self.rewards = np.zeros(1)
        return np.zeros((1, 4))

    def step(self, actions):
        self.rewards += 1
        over = self.rewards >= 4
        return np.zeros((1, 4)), self.rewards, over, np.zeros(1, bool)


def test_rewards_are_copied():
    model, source = network(6)
    tau = play_episodes(model, Reuses(), source)
    assert tau.rewards[:, 0].tolist() == [1, 2, 3, 4]


class Pays:
    """A world of two episodes and three steps that pays what it is told."""

    def __init__(self, *rewards, ends=(False, False, True)):
        self.rewards, self.ends, self.plays = rewards, ends, 0

    def reset(self, rng):
        self.steps, self.plays = 0, self.plays + 1
        return np.zeros((2, 4))

    def step(self, actions):
        self.steps += 1
        over = np.array([self.ends[self.steps - 1], self.steps == 3])
        return np.zeros((2, 4)), self.rewards[self.steps - 1], over, over & False


@pytest.mark.parametrize(
    ("pay", "error", "told"),
    [
        ([1.0, np.nan], ValueError, "finite rewards"),
        ([np.inf, 1.0], ValueError, "finite rewards"),
        ([1j, 1], TypeError, "real numbers"),
        ([[1.0, 1.0]], TypeError, r"shape \(2,\), got float64, \(1, 2\)"),
        (1.0, TypeError, r"got float64, \(\)"),
    ],
)
def test_rewards_that_are_none_are_refused_and_nothing_is_learned(pay, error, told):
    model, source = network(6)
    before = model.theta.copy()
    for baseline in (None, leave_one_out):
        with pytest.raises(error, match=told):
            reinforce(model, SGD(1.0), Pays(*3 * [np.array(pay)]), updates=1,
                      rng=source, baseline=baseline)
    assert (model.theta == before).all()


def test_whole_numbers_are_rewards_too():
    model, source = network(6)
    world = Pays(*3 * [np.array([1, 2])])
    returns = reinforce(model, SGD(0.0), world, updates=1, rng=source)
    assert returns.tolist() == [[3, 6]]


def test_what_has_ended_stays_ended():
    model, source = network(6)
    world = Pays(np.ones(2), np.ones(2), np.array([np.nan, 1]),
                 ends=(True, False, False))
    tau = play_episodes(model, world, source)
    assert tau.alive.T.tolist() == [[True, False, False], [True, True, True]]
    assert tau.rewards.sum(0).tolist() == [1, 3]


def test_settings_are_looked_at_before_anything_is_played():
    model, source = network(6)
    state = source.bit_generator.state
    for settings_, error, told in (
        ({"gamma": 2.0}, ValueError, "reinforce wants gamma from 0 to 1"),
        ({"gamma": "x"}, TypeError, "reinforce wants gamma as a real number"),
        ({"baseline": 3.0}, TypeError, "a function or None, got float"),
    ):
        world = Pays(*3 * [np.ones(2)])
        with pytest.raises(error, match=told):
            reinforce(model, SGD(1.0), world, updates=1, rng=source, **settings_)
        assert world.plays == 0
    assert source.bit_generator.state == state


def test_a_baseline_that_is_not_finite_is_told_where():
    model, source = network(6)

    def holed(returns):
        made = np.zeros_like(returns)
        made[1, 1] = np.nan
        return made

    with pytest.raises(ValueError, match=r"got nan at \(1, 1\)"):
        reinforce(model, SGD(1.0), Pays(*3 * [np.ones(2)]), updates=1, rng=source,
                  baseline=holed)


def test_greedy_play_wants_rows_of_logits():
    class Flat(Linear):
        def forward(self, x, *, training=False):
            return super().forward(x)[:, :, None]

    model = Flat(4, 2, rng=rng())
    with pytest.raises(ValueError, match=r"play_episodes wants u of shape"):
        play_episodes(model, CartPole(2), rng(), greedy=True)


def learn(world, seed):
    model, source = network(seed)
    optimizer = Adam(cosine_schedule(0.05, 50))
    reinforce(model, optimizer, world, updates=50, rng=source)
    return model


@cache
def trained():
    return learn(CartPole(16), 300)


def test_the_pole_stands():
    model = trained()
    returns = play_episodes(model, CartPole(100), rng(301)).rewards.sum(0)
    assert returns.mean() >= SOLVED


# --- gymnasium ----------------------------------------------------------------


def gymnasium_poles(count):
    gymnasium = pytest.importorskip("gymnasium")
    return [
        gymnasium.make("CartPole-v1", disable_env_checker=True) for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_ours_is_gymnasiums_cart_step_by_step(seed):
    (theirs,) = gymnasium_poles(1)
    draw = rng(seed)
    for episode in range(10):
        theirs.reset(seed=int(draw.integers(10**6)))
        ours = CartPole()
        ours.reset(draw)
        ours.x[0] = theirs.unwrapped.state
        ended = False
        while not ended:
            action = int(draw.integers(2))
            if episode % 2:  # a rule that holds the pole up for long
                action = int(ours.x[0, 2:] @ [1.0, 0.5] + draw.normal() / 50 > 0)
            _, reward, terminated, truncated, _ = theirs.step(action)
            x, rewards, *ends = ours.step(np.array([action]))
            assert np.allclose(x[0], theirs.unwrapped.state, rtol=1e-12, atol=1e-12)
            assert rewards[0] == reward
            assert [bool(end[0]) for end in ends] == [terminated, truncated]
            ended = terminated or truncated


def test_ours_is_gymnasiums_cart_to_the_limit():
    (theirs,) = gymnasium_poles(1)
    model = trained()
    theirs.reset(seed=0)
    ours = CartPole()
    ours.reset(rng())
    ours.x[0] = theirs.unwrapped.state
    for step in range(1, 501):
        action = int(model.forward(ours.x)[0].argmax())
        _, _, terminated, truncated, _ = theirs.step(action)
        x, *_, fell, cut = ours.step(np.array([action]))
        assert np.allclose(x[0], theirs.unwrapped.state, rtol=1e-12, atol=1e-12)
        assert (bool(fell[0]), bool(cut[0])) == (terminated, truncated)
        assert truncated == (step == 500)


def test_a_policy_learned_here_stands_there():
    world = GymnasiumEnvironment(gymnasium_poles(50))
    model = trained()
    returns = [play_episodes(model, world, rng(k)).rewards.sum(0) for k in range(2)]
    assert np.mean(returns) >= SOLVED


def test_a_policy_learns_on_gymnasium_itself():
    world = GymnasiumEnvironment(gymnasium_poles(8))
    model = learn(world, 300)
    fresh = GymnasiumEnvironment(gymnasium_poles(50))
    returns = [play_episodes(model, fresh, rng(k)).rewards.sum(0) for k in range(2)]
    assert np.mean(returns) >= SOLVED


def test_the_adapter_refuses():
    with pytest.raises(ValueError, match="wants environments"):
        GymnasiumEnvironment([])
    world = GymnasiumEnvironment(gymnasium_poles(2))
    with pytest.raises(RuntimeError, match="call reset"):
        world.step(np.array([0, 0]))
    with pytest.raises(TypeError, match="rng"):
        world.reset(3)
    world.reset(rng())
    before = world.x.copy()
    for actions, error, told in (
        ([0], ValueError, r"\(2,\), got \(1,\)"),
        ([0, 2], ValueError, "got 2"),
        ([0.7, 1.9], TypeError, "integers"),
    ):
        with pytest.raises(error, match=told):
            world.step(np.array(actions))
        assert (world.x == before).all()
    (twice,) = gymnasium_poles(1)
    with pytest.raises(ValueError, match="each environment once"):
        GymnasiumEnvironment([twice, twice])
