"""What the reader of chapter 1 need not see: bad input, corners, false claims."""

import numpy as np
import pytest

from backprop_lit.differences import (
    complex_step_gradient,
    gradcheck,
    numerical_gradient,
    relative_error,
)
from backprop_lit.layer import Layer
from backprop_lit.losses import CrossEntropyLoss


def cube(x):
    return (x**3).sum()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_both_measurements_find_the_slope_of_a_cube(scale):
    x = scale * np.random.default_rng(0).standard_normal((2, 3))
    before = x.copy()
    np.testing.assert_allclose(complex_step_gradient(cube, x), 3 * x**2, rtol=1e-14)
    np.testing.assert_allclose(
        numerical_gradient(cube, x), 3 * x**2, rtol=1e-8, atol=1e-10
    )
    assert (x == before).all()


def test_scalars_give_scalars():
    assert np.shape(numerical_gradient(cube, 2.0)) == ()
    assert float(complex_step_gradient(cube, 2.0)) == 12.0


@pytest.mark.parametrize("measure", [numerical_gradient, complex_step_gradient])
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.array([1, 2]), TypeError, "wants x in float64, got int64"),
        (3, TypeError, "got int64"),
        (np.ones(2, np.float32), TypeError, "got float32"),
        (np.array([True]), TypeError, "got bool"),
        (np.array([1 + 1j]), TypeError, "got complex128"),
        (np.array([[1.0, np.nan]]), ValueError, r"finite x, got nan at \[0, 1\]"),
        (np.array([-np.inf]), ValueError, r"got -inf at \[0\]"),
    ],
)
def test_what_cannot_be_nudged_is_refused(measure, x, error, message):
    with pytest.raises(error, match=message):
        measure(cube, x)
    with pytest.raises(error, match=message):
        gradcheck(cube, x, lambda x: 3 * x**2)


@pytest.mark.parametrize("measure", [numerical_gradient, complex_step_gradient])
def test_a_function_must_return_one_number(measure):
    with pytest.raises(ValueError, match=r"one number, got .* of shape \(3,\)"):
        measure(lambda x: x**2, np.ones(3))
    with pytest.raises(ValueError, match="one number"):
        gradcheck(lambda x: x**2, np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match="complex"):
        gradcheck(lambda x: 1j * x, 1.0, 1.0)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_function_must_stay_finite():
    with pytest.raises(ValueError, match="not finite"):
        numerical_gradient(np.log, -1.0)
    with pytest.raises(ValueError, match="not finite"):
        gradcheck(np.log, -1.0, -1.0)


def test_the_complex_step_notices_a_lost_nudge():
    with pytest.raises(TypeError, match="f drops the nudge"):
        complex_step_gradient(abs, 3.0)
    with pytest.raises(TypeError, match="f drops the nudge"):
        complex_step_gradient(np.linalg.norm, np.ones(3))


def test_the_complex_step_cannot_notice_a_conjugation():
    assert complex_step_gradient(lambda x: x * np.conj(x), 3.0) == 0
    assert numerical_gradient(lambda x: x * np.conj(x), 3.0) == pytest.approx(6)


def test_relative_error():
    assert relative_error(0.0, 0.0) == 0
    assert relative_error(1.0, -1.0) == 2
    assert relative_error(1.0, 2.0) == relative_error(2.0, 1.0) == 0.5
    assert relative_error(np.nan, 1.0) == np.inf
    assert relative_error(np.inf, 1.0) == np.inf


@pytest.mark.parametrize("wrong", [0.0, -3.0, 3.0 + 1e-5, np.nan, np.inf])
def test_wrong_claims_are_found(wrong):
    report = gradcheck(cube, np.array([2.0, 1.0]), np.array([12.0, wrong]))
    assert not report
    assert report.worst.place == "x[1]"
    assert "DISAGREES" in repr(report)
    assert "DISAGREE" in report._repr_html_()


def test_a_claim_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"x has shape \(3,\), its gradient \(1, 3\)"):
        gradcheck(cube, np.ones(3), np.ones((1, 3)))
    with pytest.raises(TypeError, match="got 1 inputs"):
        gradcheck(cube, np.ones(3))


def test_small_false_claims_about_smooth_functions_are_never_called_kinks():
    rng = np.random.default_rng(0)
    for _ in range(300):
        a, b, c, q = rng.standard_normal(4)
        slope = a * b * np.cos(1.3 * b) + c * q * np.exp(1.3 * q)
        report = gradcheck(
            lambda x, a=a, b=b, c=c, q=q: a * np.sin(b * x) + c * np.exp(q * x),
            1.3,
            slope * (1 + 10 ** rng.uniform(-5, 0)),
        )
        assert not report
        assert not report.kinks


@pytest.mark.parametrize("bend", [np.sin, np.exp, np.square])
def test_a_corner_anywhere_within_a_nudge_is_never_called_an_error(bend):
    slope = numerical_gradient(bend, 0.0)
    for place in np.linspace(-1e-5, 1e-5, 401):
        report = gradcheck(
            lambda x, place=place: np.maximum(x - place, 0) + bend(x),
            0.0,
            float(place < 0) + slope,
        )
        assert report or report.kinks, place


def test_a_claim_outside_both_slopes_is_no_convention():
    for place in np.linspace(-5e-6, 5e-6, 41):
        report = gradcheck(lambda x, place=place: np.maximum(x - place, 0), 0.0, 1.3)
        assert not report
        assert not report.kinks


def test_a_report_of_kinks_alone_is_false():
    report = gradcheck(abs, 0.0, 0.0)
    assert not report
    assert report.worst is None
    assert len(report.kinks) == 1
    assert "kink at x" in repr(report)
    assert "<table" in report._repr_html_()


def test_zero_against_zero_agrees():
    assert gradcheck(lambda x: x**2, 0.0, 0.0)
    assert gradcheck(lambda x: (x - 0.3) ** 2, 0.3, 0.0)
    assert gradcheck(lambda x: 7.0 + 0 * x, 1.5, 0.0)
    assert not gradcheck(lambda x: x**2, 0.0, 1e-6)


class Scale(Layer):
    """y = weight · x, with faults on request."""

    def __init__(self, fault=""):
        self.fault = fault
        super().__init__(weight=np.array([2.0, -3.0]))

    def forward(self, x, *, training=False):
        h = self.parameters["weight"] * x
        if self.fault == "noise":
            h = h + np.random.default_rng().standard_normal(h.shape)
        return self.keep(h, x.copy())

    def backward(self, v):
        x = self.recall(v)
        if self.fault != "adds":
            self.gradients["weight"][...] = 0
        self.gradients["weight"] += (v * x).sum(0)
        return v * (x if self.fault == "swapped" else self.parameters["weight"])


@pytest.fixture
def x():
    return np.random.default_rng(1).standard_normal((4, 2))


def test_a_layer_is_checked_by_input_and_by_parameter(x):
    layer = Scale()
    report = gradcheck(layer, x, training=True)
    assert report
    assert {entry.name for entry in report.entries} == {"x", "weight"}
    assert len(report.compared) == 10
    assert (layer.theta == [2.0, -3.0]).all()


@pytest.mark.parametrize(("fault", "name"), [("adds", "weight"), ("swapped", "x")])
def test_a_faulty_layer_is_found(x, fault, name):
    report = gradcheck(Scale(fault), x)
    assert not report
    assert report.worst.name == name


def test_a_layer_that_throws_dice_is_refused(x):
    with pytest.raises(ValueError, match="two answers"):
        gradcheck(Scale("noise"), x)


def test_a_loss_is_checked_by_its_first_input(x):
    y = np.array([0, 1, 1, 0])
    assert gradcheck(CrossEntropyLoss(), x, y)
    faulty = CrossEntropyLoss()
    right = faulty.backward
    faulty.backward = lambda: 4 * right()
    assert not gradcheck(faulty, x, y)


def test_a_pair_is_checked_by_every_input(x):
    def product(x, w):
        return x @ w

    w = np.random.default_rng(2).standard_normal((2, 3))
    assert gradcheck((product, lambda v, x, w: (v @ w.T, x.T @ v)), x, w)
    report = gradcheck((product, lambda v, x, w: (v @ w.T, 2 * x.T @ v)), x, w)
    assert report.worst.name == "input 2"
    assert gradcheck((np.sin, lambda v, x: v * np.cos(x)), np.array([0.3, 1.2]))


def test_parameters_are_put_back_when_a_measurement_breaks(x):
    layer = Scale()
    calls = []
    forward = layer.forward

    def breaks(x, *, training=False):
        calls.append(1)
        if len(calls) > 20:
            raise RuntimeError("enough")
        return forward(x)

    layer.forward = breaks
    with pytest.raises(RuntimeError, match="enough"):
        gradcheck(layer, x)
    assert (layer.theta == [2.0, -3.0]).all()


def relu(x):
    return np.maximum(x, 0.0).sum()


@pytest.mark.parametrize("claim", [1.09, -0.09, 1.001, -0.001])
def test_a_claim_a_little_outside_both_slopes_is_found_at_a_corner(claim):
    report = gradcheck(relu, np.array([0.0, 1.0]), np.array([claim, 1.0]))
    assert not report
    assert not report.kinks


@pytest.mark.parametrize("claim", [0.0, 0.34, 0.5, 0.99])
def test_beside_a_corner_there_is_a_slope_to_compare_with(claim):
    x = np.array([2e-6, 1.0])
    assert not gradcheck(relu, x, np.array([claim, 1.0]))
    assert gradcheck(relu, x, np.ones(2))


@pytest.mark.parametrize("claim", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("bend", [-50.0, 0.0, 50.0])
def test_at_a_bent_corner_both_sides_are_conventions(claim, bend):
    report = gradcheck(
        lambda x: (abs(x) + bend * x**2).sum(),
        np.array([0.0, 1.0]),
        np.array([claim, 1 + 2 * bend]),
    )
    assert report
    assert len(report.kinks) == 1


@pytest.mark.parametrize("power", [2, 4])
def test_flat_bottoms_are_no_kinks(power):
    report = gradcheck(lambda x: x**power, 0.0, 0.0)
    assert report
    assert not report.kinks
    assert gradcheck(lambda x: x**power, 0.0, 0.0, step=1e-2, tolerance=1e-3)


def test_an_array_of_kinks_alone_makes_the_report_false():
    report = gradcheck(
        (lambda x, w: x**2 + abs(w), lambda v, x, w: (2 * v * x, 0.37 * v)),
        np.ones(2),
        np.zeros(2),
    )
    assert not report
    assert report.unchecked == ["input 2"]
    assert "NOT CHECKED: input 2" in repr(report)
    assert "NOT CHECKED: input 2" in report._repr_html_()


def test_slopes_that_are_all_zero_are_named():
    report = gradcheck(
        (lambda x, w: x**2, lambda v, x, w: (2 * v * x, 0 * w)),
        np.ones(2),
        np.ones(2),
    )
    assert report
    assert report.silent == ["input 2"]
    assert "every slope of input 2 is 0" in repr(report)


def test_outputs_that_stand_still_do_not_drown_an_error():
    x = np.random.default_rng(0).standard_normal((9, 300))

    def columns(x):
        return x + 1000

    assert gradcheck((columns, lambda v, x: v), x)
    assert not gradcheck((columns, lambda v, x: v * (1 + 1e-4)), x)


def test_the_complex_step_refuses_what_is_not_analytic():
    for f, x in [(np.log, -3.0), (np.sqrt, 0.0), (lambda x: x**101, -1.0)]:
        with pytest.raises(ValueError, match="not analytic"):
            complex_step_gradient(f, x)
    with pytest.raises(ValueError, match="not analytic"):
        complex_step_gradient(lambda x: x * np.nan, 1.0)


class Rectifier:
    """ReLU without parameters, with faults on request."""

    def __init__(self, fault):
        self.fault = fault

    def forward(self, x):
        if self.fault == "x":
            return np.maximum(x, 0, out=x)
        self.on = x > 0
        return x * self.on

    def backward(self, v):
        if self.fault == "x":
            return v
        if self.fault == "v":
            v *= self.on
            return v
        return np.clip(v, -6, 6) * self.on


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("x", "forward changes the input"),
        ("v", "backward changes the v"),
    ],
)
def test_layers_that_write_into_foreign_arrays_are_refused(x, fault, message):
    with pytest.raises(ValueError, match=message):
        gradcheck(Rectifier(fault), x)


def test_a_backward_must_be_linear(x):
    assert not gradcheck(Rectifier("clips"), x)


class Lookalike:
    """A weight whose gradients are not, or not all, where they should be."""

    def __init__(self, lost):
        self.parameters = {"weight": np.array([2.0, -3.0])}
        self.gradient = np.zeros(2)
        self.gradients = {} if lost else {"weight": self.gradient}

    def forward(self, x):
        self.x = x.copy()
        return self.parameters["weight"] * x

    def backward(self, v):
        if self.gradients:
            self.gradients["weight"] = (v * self.x).sum(0)
        return v * self.parameters["weight"]


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        (False, "do not lie in its vector"),
        (True, "lack weight"),
    ],
)
def test_gradients_outside_the_vector_are_refused(x, lost, message):
    with pytest.raises(ValueError, match=message):
        gradcheck(Lookalike(lost), x)


def test_a_loss_that_adds_up_is_found(x):
    class Adds:
        def forward(self, u, y):
            self.u, self.v = u - y, np.zeros_like(u)
            return (self.u**2).sum() / 2

        def backward(self):
            self.v += self.u
            return self.v

    assert not gradcheck(Adds(), x, np.zeros_like(x))


def test_claims_and_options_are_checked():
    with pytest.raises(TypeError, match="wants real numbers, got complex128"):
        gradcheck(cube, 2.0, 12 + 1j)
    for options in [{"step": 0}, {"step": -1e-5}, {"step": np.nan}, {"tolerance": 0}]:
        with pytest.raises(ValueError, match="above 0"):
            gradcheck(cube, 2.0, 12.0, **options)
    assert gradcheck(cube, 2.0, 12)
