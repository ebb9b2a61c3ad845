"""The checking engine: every diagnosis, and nothing wrong ever passes."""

import json
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import sympy

from backprop_lit.exercises import Checks, Rejections, Verdict

pytestmark = pytest.mark.filterwarnings("error")  # stderr fails a page
SHAPES = [(3, 2), (5, 2), (4, 3)]


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=shape),) for shape in SHAPES]


def check(reference, on=None, **options):
    checks = Checks("00")
    checks.add("00.1", reference=reference, on=on, **options)
    return lambda answer: checks("00.1", answer)


def diagnosis(reference, answer, on=None, **options):
    verdict = check(reference, on, **options)(answer)
    assert not verdict
    assert verdict.status == "wrong"
    return verdict.diagnosis


# Diagnoses of functions: the reference, a wrong answer, what is said of it.

ELEMENTWISE = {
    "negated": lambda x: -(x**3),
    "2 times what is wanted": lambda x: 2 * x**3,
    "½ times": lambda x: x**3 / 2,
    "-2 times": lambda x: -2 * x**3,
    "π times": lambda x: np.pi * x**3,
    "1/(ln 2) times": lambda x: x**3 / np.log(2),
    "0.123 times": lambda x: 0.123 * x**3,
    "multiplied by n, the number of rows": lambda x: x**3 * len(x),
    "divided by n, the number of rows": lambda x: x**3 / len(x),
    "divided by n, the number of rows and 2 times": lambda x: 2 * x**3 / len(x),
    "divided by the number of columns": lambda x: x**3 / x.shape[1],
    "divided by the number of entries": lambda x: x**3 / x.size,
    "the reciprocal": lambda x: 1 / x**3,
    "1 minus": lambda x: 1 - x**3,
    "the sign is lost": lambda x: abs(x**3),
    "the square of": lambda x: x**6,
    "the exponential of": lambda x: np.exp(x**3),
    "0.7 too much": lambda x: x**3 + 0.7,
    "0.7 too little": lambda x: x**3 - 0.7,
    "zero": lambda x: 0 * x,
    "the factor x is missing": lambda x: x**2,
    "the factor x is one too many": lambda x: x**4,
    "this is x itself": lambda x: x,
    "another order": lambda x: x[::-1] ** 3,
    "close, but the relative error is 0.0001": lambda x: x**3 * 1.0001,
    "transposed": lambda x: x.T**3,
    "in another shape": lambda x: x.ravel() ** 3,
    "the sum over rows (axis 0) came": lambda x: (x**3).sum(0),
    "the mean over columns (axis 1) came": lambda x: (x**3).mean(1),
    "the sum over all entries came": lambda x: (x**3).sum(),
    "shape (2,) where (3, 2) is wanted": lambda x: np.ones(x.shape[1]),
    "not finite: nan at [0, 0]": lambda x: np.full(x.shape, np.nan),
    "not finite: inf": lambda x: x**3 + np.inf,
    "complex where": lambda x: x**3 + 0j,
    "truth values came where numbers": lambda x: x > 0,
    "not what is wanted": lambda x: np.sin(x),
}


@pytest.mark.parametrize("told", ELEMENTWISE)
def test_a_mistake_in_an_elementwise_function_is_named(told):
    cube = lambda x: x**3
    found = diagnosis(cube, ELEMENTWISE[told], arrays())
    assert told in found.replace("−", "-")


REDUCING = {
    "the sum over rows (axis 0) is missing": lambda x: x,
    "the sum over rows (axis 0) is missing: shape (3, 2) where (2,)": lambda x: x,
    "in another shape": lambda x: x.sum(0, keepdims=True),
    "divided by n, the number of rows": lambda x: x.mean(0),
    "the sum over axis 0 came": lambda x: x.sum(),
}


@pytest.mark.parametrize("told", REDUCING)
def test_a_mistake_in_a_sum_is_named(told):
    assert told in diagnosis(lambda x: x.sum(0), REDUCING[told], arrays())


def test_a_missing_mean_is_named():
    found = diagnosis(lambda x: x.mean(), lambda x: x, arrays())
    assert "the mean over all is missing" in found


def test_a_square_matrix_that_is_transposed_is_named():
    rng = np.random.default_rng(0)
    on = [(rng.normal(size=(n, n)),) for n in (2, 3, 4)]
    assert diagnosis(lambda x: x @ x + x, lambda x: (x @ x + x).T, on) == "transposed"


def test_a_root_and_a_logarithm_are_named():
    on = [0.5, 2.0, 3.0]
    assert "the square root of" in diagnosis(
        lambda x: x + 1, lambda x: (x + 1) ** 0.5, on
    )
    assert "the logarithm of" in diagnosis(lambda x: x + 1, lambda x: np.log(x + 1), on)


def test_wrong_entries_are_named_with_what_is_wrong_there():
    def wrong(x):
        x[0, 1] *= -1
        return x

    found = diagnosis(lambda x: x, wrong, arrays())
    assert "right but for the entries at [0, 1]: negated" in found


def test_inputs_on_which_the_answer_is_right_are_counted():
    found = diagnosis(lambda x: x**3, lambda x: abs(x) ** 3, [1.0, 2.0, -3.0, -1.0])
    assert "the sign is lost" in found
    found = diagnosis(
        lambda x: x**3, lambda x: x**3 if x > 0 else 2 * x**3, [1.0, 2.0, -3.0, -1.0]
    )
    assert found.startswith("right for 2 of 4 inputs; on the others: 2 times")


def test_a_function_that_ignores_its_input_is_told_so():
    assert "same for every input" in diagnosis(
        lambda x: x**3, lambda x: 8.0, [1.0, 3.0, 5.0]
    )


def pair(x):
    return x.T @ x, x.sum(0)


PARTS = {
    "the right items in another order": lambda x: (x.sum(0), x.T @ x),
    "item [1]: the sum over rows": lambda x: (x.T @ x, x),
    "items [0], [1]: divided by n": lambda x: (x.T @ x / len(x), x.mean(0)),
    "item [0]: negated": lambda x: (-x.T @ x, x.sum(0)),
    "came; 2 items are wanted": lambda x: x.T @ x[:, :1] @ np.ones((1, 4)),
    "a tuple of length 1 came; 2 items": lambda x: (x.sum(0),),
    "item [1]: None": lambda x: (x.T @ x, None),
    "type `generator` came; 2 items": lambda x: (y for y in (x.T @ x, x.sum(0))),
}


@pytest.mark.parametrize("told", PARTS)
def test_a_mistake_in_one_of_several_parts_is_named(told):
    rng = np.random.default_rng(1)
    on = [(rng.normal(size=(n, 3)),) for n in (4, 5, 6)]
    assert told in diagnosis(pair, PARTS[told], on)


def test_items_of_a_dict_and_of_nested_tuples_have_names():
    wanted = {"v": (1.0, np.array([2.0, 3.0])), "g": 4.0}
    assert check(wanted)({"v": (1.0, [2.0, 3.0]), "g": 4.0})
    wrong = {"v": (1.0, np.array([-2.0, -3.0])), "g": 4.0}
    assert "item ['v'][1]: negated" in diagnosis(wanted, wrong)
    assert "a dict with 'v', 'g' is wanted" in diagnosis(wanted, 1.0)
    assert "missing: 'g'; unknown: 'w'" in diagnosis(wanted, {"v": 1.0, "w": 2.0})


def test_exact_parts_are_compared_exactly():
    assert check(("row", True, None))(("row", True, None))
    assert "item [0]" in diagnosis(("row", True, None), ("column", True, None))
    assert "item [1]" in diagnosis(("row", True, None), ("row", False, None))
    assert "item [2]" in diagnosis(("row", True, None), ("row", True, 0))
    kinds = (type("Word", (str,), {})("row"), sympy.true, None)
    assert check(("row", True, None))(kinds)
    assert check(("row", True, None))((np.str_("row"), np.True_, None))
    assert not check(("row", True, None))(("row", sympy.false, None))
    assert not check(("row", True, None))(("row", 1, None))


VALUES = {
    "negated": -12.0,
    "2 times what is wanted": 24.0,
    "½ times": 6.0,
    "1 too much": 13.0,
    "2 too little": 10.0,
    "close, but the relative error is 0.001": 12.012,
    "shape (1,) where () is wanted": [12.0],
    "not finite: nan": np.nan,
    "not finite: -inf": -np.inf,
    "type `str` came": "12",
    "truth value True": True,
    "a function or class came": lambda: 12.0,
    "an expression in x came": sympy.Symbol("x"),
    "None (is a `return` missing?)": None,
    "the logarithm of": np.log(12.0),
}


@pytest.mark.parametrize("told", VALUES)
def test_a_mistake_in_a_number_is_named_and_the_number_kept_secret(told):
    verdict = check(12.0)(VALUES[told])
    assert verdict.status == "wrong"
    assert told in verdict.diagnosis
    assert "wanted" not in verdict.example


@pytest.mark.parametrize(
    "answer", [12, 12.0, 12 + 1e-9, np.float32(12), np.array(12.0), sympy.Integer(12)]
)
def test_a_right_number_is_right_in_whatever_form(answer):
    assert check(12.0)(answer)


def test_integers_are_compared_exactly():
    assert check(10**9)(10**9)
    assert not check(10**9)(10**9 + 1)
    assert not check(np.array([1, 10**12]))(np.array([1, 10**12 + 1]))


@pytest.mark.parametrize(
    ("wanted", "wrong"),
    [
        (10**9, [1e9 + 1, 10**9 + 1.0, sympy.Integer(10**9 + 1), Fraction(10**9 + 1)]),
        (2**60 + 1, [float(2**60), 2**60, np.int64(2**60), sympy.Integer(2**60)]),
        (2**63, [2**63 + 1, 2**63 - 1, float(2**63 + 2048), np.uint64(2**63 + 1)]),
        (10**30, [10**30 + 1, 1e30, 10**30 + 10**9, Fraction(10**30 * 2 + 1, 2)]),
        ((1, 3**50), [(1, 3**50 + 1), (1, float(3**50))]),
        (np.array([1, 2**62]), [np.array([1, 2**62 + 1]), [1.0, 2.0**62 + 1024]]),
    ],
    ids=str,
)
def test_the_next_whole_number_is_wrong_whatever_its_type(wanted, wrong):
    assert check(wanted)(wanted)
    for answer in wrong:
        verdict = check(wanted)(answer)
        assert verdict.status == "wrong", answer
        assert not verdict.diagnosis.startswith("1 ")
    assert check(12)(12 + 1e-9), "a float may be rounded"
    assert check(10**30)(sympy.Integer(10**30))
    assert check(2**60)(2.0**60)
    assert check(lambda k: 3**k, [40, 41, 90])(lambda k: 3**k)
    assert not check(lambda k: 3**k, [40, 41, 90])(lambda k: 3**k + (k == 90))
    assert not check(lambda k: 3**k, [40, 41, 90])(lambda k: 3.0**k)


def test_unsigned_numbers_do_not_wrap_around():
    assert "negated" not in diagnosis(np.array([56.0]), np.array([200], dtype=np.uint8))
    assert "1 minus" not in diagnosis(2**63, 2**63 + 1)
    assert check(200)(np.uint8(200))


def test_a_tiny_number_is_not_zero():
    assert check(1e-10)(1e-10 * (1 + 1e-8))
    for wrong in (0.0, -1e-10, 5e-10, 1.1e-10):
        assert not check(1e-10)(wrong)
    assert not check(np.array([1e-10, 2e-10]))(np.array([5e-10, 0.0]))
    assert not check((1.0, 1e-10))((1.0, 0.0)), "each part has its own scale"
    assert check(np.array([1.0, 1e-12]))(np.array([1.0, 0.0])), "beside a 1, it is"
    assert check(0.0)(1e-12)
    assert check(np.sin(np.pi))(0.0), "what rounding leaves of 0 is 0"
    assert check(lambda x: np.sin(x * np.pi), [1.0, 0.5, 2.0])(
        lambda x: float(x == 0.5)
    )


# Expressions are functions of their letters.

X, Y = sympy.symbols("x y", real=True)
SLOPE = Y * sympy.exp(X * Y) + 2 * X

EXPRESSIONS = {
    "negated": -SLOPE,
    "2 times": 2 * SLOPE,
    "the factor y is one too many": Y * SLOPE,
    "the factor x is missing": SLOPE / X,
    "3 too much": SLOPE + 3,
    "this is z itself": sympy.Symbol("z"),
    "not what is wanted": sympy.sin(X),
    "type `str` came": "y*exp(x*y) + 2*x",
    "came where numbers are wanted": sympy.Eq(X, Y),
}


@pytest.mark.parametrize("told", EXPRESSIONS)
def test_a_mistake_in_an_expression_is_named_with_a_counter_example(told):
    verdict = check(SLOPE)(EXPRESSIONS[told])
    assert verdict.status == "wrong"
    assert told in verdict.diagnosis
    assert "x = " in verdict.example["input"]


def test_an_expression_may_be_written_in_any_form():
    assert check(sympy.sin(2 * X))(2 * sympy.sin(X) * sympy.cos(X))
    assert check((X + Y) ** 2)(X**2 + 2 * X * Y + Y**2)
    assert check(X)(sympy.Symbol("x")), "assumptions of a letter do not matter"
    p = sympy.Symbol("p", positive=True)
    assert check(sympy.log(p**2))(2 * sympy.log(p))
    assert check(sympy.Matrix([[X, Y]]))(sympy.Matrix([[X, Y]]))
    assert "transposed" in diagnosis(sympy.Matrix([[X, Y]]), sympy.Matrix([X, Y]))
    assert check((X, X * Y))((X, Y * X))


def test_an_answer_does_not_choose_its_points():
    p, k = (sympy.Symbol(name, positive=True) for name in "xk")
    bent = sympy.exp(2 * X) * (1 + 2 * sympy.Abs(X))
    assert not check(bent)(sympy.exp(2 * p) * (1 + 2 * sympy.Abs(p)))
    assert not check(bent)(bent + sympy.floor(k / 100))
    assert not check(sympy.Abs(X))(p)
    assert not check(sympy.Max(0, X))(p)
    assert check(X**2)(p**2)
    assert check(sympy.log(p))(sympy.log(X)), "what is wanted chooses"


def test_unknown_functions_are_letters():
    f = sympy.Function("f")
    w = sympy.Symbol("w")
    assert check(f((w + 1) ** 2))(f(w**2 + 2 * w + 1))
    assert not check(f((w + 1) ** 2))(f(w**2 + w + 1))
    slope = sympy.diff(f(w * X), w)
    assert check(slope)(sympy.diff(f(X * w), w))
    assert "the factor x" in diagnosis(slope, slope / X)

    class Squash(sympy.Function):
        def fdiff(self, argindex=1):
            return 1 - self**2

    assert check(sympy.diff(Squash(w * X), w))(X * (1 - Squash(X * w) ** 2))


def test_a_function_may_return_expressions():
    rows = [X**2, X**3, sympy.exp(X)]
    slope = lambda e: sympy.diff(e, X)
    assert check(slope, rows)(slope)
    assert "negated" in diagnosis(slope, lambda e: -sympy.diff(e, X), rows)


# Suspects and judges.


def test_a_suspect_is_named_beside_the_general_diagnosis():
    one_sided = lambda f, x, step: (f(x + step) - f(x)) / step
    central = lambda f, x, step: (f(x + step) - f(x - step)) / (2 * step)
    double = lambda f, x, step: (f(x + step) - f(x - step)) / step
    on = [(np.exp, 0.5, 0.25), (np.sin, 1.0, 0.5), (np.sqrt, 2.0, 0.5)]
    suspects = {"one-sided": one_sided, "the ½ is missing": double}
    said = lambda answer: diagnosis(central, answer, on, suspects=suspects)
    assert said(double) == "2 times what is wanted; suspected: the ½ is missing"
    assert said(one_sided) == "suspected: one-sided"
    parts = lambda x: (x, x**2)
    told = diagnosis(
        parts,
        lambda x: (x, x**2 + np.sin(x)),
        arrays(),
        suspects={"a wave": lambda x: (x, x**2 + np.sin(x))},
    )
    assert told == "item [1]: suspected: a wave"


def test_what_overflows_is_no_explanation():
    huge = [(1e200,), (1e250,), (3e300,)]
    assert diagnosis(lambda x: x, lambda x: np.sin(x), huge) == "not what is wanted"
    zeros = [(1.0,), (2.0,), (0.0,)]
    both = lambda y: np.array([y, 0.0])
    assert "negated" in diagnosis(both, lambda y: np.array([-y, 0.0]), zeros)


def test_a_judge_decides_and_what_an_answer_raises_counts_against_it():
    checks = Checks("00")
    checks.add("00.1", judge=lambda f: None if f(2) == 4 else f"f(2) = {f(2)}")
    assert checks("00.1", lambda x: x * x)
    assert checks("00.1", lambda x: x).diagnosis == "f(2) = 2"
    assert "TypeError" in checks("00.1", 4).diagnosis
    assert "ZeroDivisionError" in checks("00.1", lambda x: 1 / 0).diagnosis
    checks.add("00.2", judge=lambda f: False)
    with pytest.raises(TypeError, match="returns None or a message, got bool"):
        checks("00.2", 1)


class Handing:
    def __init__(self, h):
        self.h = h

    def forward(self, x):
        return x / self.h


def judge_pair(answer):
    a, b = answer(1.0, 2.0)
    return None if a == b else "they differ"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            lambda x, y: {}["N1"],
            "your function raises KeyError: the key 'N1' is missing",
        ),
        (lambda x: x, "your function raises TypeError: it was called with 2 arguments"),
        (lambda x, y, z: x, "it was called without 'z'"),
        (lambda x, y: None, "what your function returns does not serve here"),
        (lambda x, y: None, "something is None (is a `return` missing?)"),
        (lambda x, y: x, "several values are wanted, and one of type `float` came"),
        (lambda x, y: (x,), "2 values are wanted, and 1 came"),
        (lambda x, y: (x, y, x), "2 values are wanted, and more came"),
        (lambda x, y: np.ones(2) or 1, "`np.maximum` take arrays"),
        (lambda x, y: np.ones((2, 3)) @ np.ones((2, 3)), "rows of 3 entries"),
        (1.0, "a value of type `float` does not serve here"),
        ([[[[[lambda: 1]]]]], "a list of length 1 does not serve here"),
        (1.0, "a function is wanted, and a value of type `float` came"),
    ],
)
def test_what_an_answer_raises_is_laid_at_its_door_in_plain_words(answer, told):
    checks = Checks("00")
    checks.add("00.1", judge=judge_pair)
    assert told in checks("00.1", answer).diagnosis
    assert "judge" not in checks("00.1", answer).diagnosis


def test_what_the_methods_of_an_answer_raise_is_its_own():
    checks = Checks("00")
    checks.add("00.1", judge=lambda layer: str(layer.forward(1.0) + 1)[:0] or None)
    inside = checks("00.1", Handing(0)).diagnosis
    assert inside.startswith("your answer raises ZeroDivisionError")
    assert "type `int` does not serve here" in checks("00.1", 3).diagnosis
    checks.add("00.2", judge=lambda pair: None if pair[0](1) else "no")
    inside = checks("00.2", (lambda x: x / 0, 1)).diagnosis
    assert inside.startswith("your answer raises ZeroDivisionError")


RIGHT = [
    Fraction(-5, 2), Decimal("-2.5"), np.float32(-2.5), np.float64(-2.5),
    np.longdouble(-2.5), sympy.Rational(-5, 2), sympy.Float(-2.5), np.array(-2.5),
    np.array(Fraction(-5, 2), dtype=object),
]  # fmt: skip


@pytest.mark.parametrize("number", RIGHT, ids=lambda number: type(number).__name__)
def test_a_right_number_is_right_in_every_kind_of_number(number):
    assert check(-2.5)(number)
    assert check((1.0, -2.5))((Fraction(1), number))
    assert check({"a": -2.5})({"a": number})
    assert check(np.array([-2.5, -2.5]))([number, number])
    rows = [(1.0,), (2.0,), (3.0,)]
    assert check(lambda x: -2.5 if x > 1 else x, rows)(lambda x: number if x > 1 else x)
    assert not check(-2.25)(number)
    assert diagnosis(2.5, number).startswith("negated")
    if not isinstance(number, np.ndarray):
        assert check(number)(-2.5)  # as a reference, too


def test_a_lost_tiny_entry_is_not_called_close():
    wanted = np.array([1000.0, 4.25e-18])
    lost = diagnosis(wanted, np.array([1000.0, 0.0]), atol=0.0)
    assert "close" not in lost
    assert "wrong by little beside the largest entry" in lost
    assert "100 % where 0 came" in lost
    near = diagnosis(wanted, wanted * 1.001, atol=0.0)
    assert near.startswith("close, but the relative error is 0.001")


def test_places_and_shapes_are_those_of_the_input_shown():
    def half(x):
        wrong = x.copy()
        wrong[-1, -1] += 1
        return wrong

    rows = [
        (np.arange(1.0, 1 + r * c).reshape(r, c),) for r, c in [(4, 3), (2, 2), (3, 5)]
    ]
    verdict = check(lambda x: x, rows)(half)
    assert "at [1, 1]" in verdict.diagnosis
    assert verdict.example["input"].count("\n") == 1
    verdict = check(lambda x: x, rows)(lambda x: x[1:])
    assert "shape (1, 2) where (2, 2)" in verdict.diagnosis
    assert verdict.example["input"] == "x of shape (2, 2)"
    blown = lambda x: x / 0 if len(x) == 4 else x + x[0, 0] * x
    verdict = check(lambda x: x, rows)(blown)
    assert verdict.diagnosis.startswith("not finite: inf at [0, 0]")
    assert "inf" in verdict.example["came"]


# Nothing wrong passes, nothing crashes.


class Equal:
    def __eq__(self, other):
        return True

    __hash__ = None


class Liar(Equal):
    @property
    def __class__(self):
        return float

    def __float__(self):
        raise RuntimeError("no")


class Mute:
    def __repr__(self):
        raise RuntimeError("no words")


class Numbers(np.ndarray):
    def __array_ufunc__(self, *args, **kwargs):
        return np.array(True)


class Number(float):
    def __eq__(self, other):
        return True

    def __sub__(self, other):
        return 0.0

    __hash__ = None


def itself():
    endless = []
    endless.append(endless)
    return endless


ODD = {
    "nan": np.nan,
    "inf": np.inf,
    "complex nan": complex("nan+1j"),
    "string": "a string",
    "bytes": b"12",
    "equal to everything": Equal(),
    "a liar about its class": Liar(),
    "no repr": Mute(),
    "ufuncs that lie": np.array([1.0, 2.0]).view(Numbers),
    "a float that lies": Number(3.0),
    "generator": (x for x in [1.0]),
    "range": range(10**15),
    "huge": np.broadcast_to(1.0, (10**6, 10**6)),
    "huge integer": 10**400,
    "ragged": [1.0, [2.0]],
    "itself": itself(),
    "empty": [],
    "empty array": np.zeros((0, 3)),
    "set": {1.0},
    "dict": {"a": 1},
    "module": np,
    "class": float,
    "exception": ValueError("x"),
    "NotImplemented": NotImplemented,
    "object array": np.array([None, 1]),
    "dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "structured": np.zeros(2, dtype=[("a", float)]),
    "masked": np.ma.masked_all(2),
    "sympy nan": sympy.nan,
    "sympy infinity": sympy.oo,
    "sympy class": sympy.Symbol,
    "true expression": sympy.true,
}
REFERENCES = {
    "number": 12.0,
    "array": np.array([3.0, 4.0]),
    "tuple": (np.array([3.0, 4.0]), 2.0),
    "dict": {"a": 2.0, "b": np.ones((2, 3))},
    "expression": SLOPE,
    "matrix": sympy.Matrix([[X, Y]]),
    "word": "row",
}


@pytest.mark.parametrize("kind", REFERENCES)
@pytest.mark.parametrize("odd", ODD)
def test_an_odd_answer_neither_passes_nor_crashes(odd, kind):
    verdict = check(REFERENCES[kind])(ODD[odd])
    assert verdict.status == "wrong"
    assert verdict.diagnosis
    assert len(repr(verdict)) < 3000
    assert "verdict" in verdict._repr_html_()


@pytest.mark.parametrize("odd", ODD)
def test_a_function_that_returns_something_odd_neither_passes_nor_crashes(odd):
    for reference in (lambda x: x.sum(), lambda x: x**2, lambda x: (x, x.sum(0))):
        verdict = check(reference, arrays())(lambda x: ODD[odd])
        assert verdict.status == "wrong"
        assert verdict.diagnosis
        assert {"came", "wanted"} <= set(verdict.example)


def leave(x):
    raise SystemExit


def recurse(x):
    return recurse(x)


def mute(x):
    class UnspeakableError(Exception):
        def __str__(self):
            raise RuntimeError

    raise UnspeakableError


@pytest.mark.parametrize(
    "answer", [leave, recurse, mute, lambda: 1.0, lambda x, y: x, lambda x: [][1]]
)
def test_a_function_that_raises_is_wrong_with_the_input(answer):
    verdict = check(lambda x: x**2, [1.0, 2.0, 3.0])(answer)
    assert verdict.status == "wrong"
    assert verdict.diagnosis.startswith("raises ")
    assert verdict.example["input"] == "x = 1"


def test_an_answer_cannot_spoil_the_inputs():
    rows = arrays()
    saved = [row[0].copy() for row in rows]
    checks = Checks("00")
    checks.add("00.1", reference=lambda x: x.sum(0), on=rows)

    def spoil(x):
        total = x.sum(0)
        x[:] = 0
        return total

    assert checks("00.1", spoil)
    assert all((row[0] == x).all() for row, x in zip(rows, saved, strict=True))
    assert checks("00.1", lambda x: x.sum(0))


def test_warnings_of_an_answer_are_kept_quiet(recwarn):
    assert not check(lambda x: x**2, [1.0, 2.0, 3.0])(lambda x: np.float64(x) / 0)
    assert not recwarn.list


DOTS = [
    ..., (..., 1.0), lambda x: ..., lambda x: (..., 1), {"a": ...}, [(1, ...), 2],
    np.array([1, ...], dtype=object), lambda x: {"a": (1, ...)},
]  # fmt: skip


@pytest.mark.parametrize("answer", DOTS)
def test_dots_are_open(answer):
    for kind in (check(lambda x: x**2, [1.0, 2.0, 3.0]), check(lambda x: x, [1, 2, 3])):
        verdict = kind(answer)
        assert verdict.status == "open"
        assert not verdict


# Bad use is told.


def test_an_exercise_that_a_constant_could_pass_is_refused():
    for on in ([1.0, 1.0, 1.0], [1.0, -1.0, 1.0]):
        with pytest.raises(ValueError, match=r"00\.1: a constant function would pass"):
            check(lambda x: x**2, on)
    with pytest.raises(ValueError, match="a constant function would pass"):
        check(lambda x: x * 1e-17, [1.0, 2.0, 3.0])
    assert not check(lambda x: x * 1e-12, [1.0, 2.0, 3.0])(lambda x: 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": lambda x: x, "on": [1.0, 2.0]}, "at least 3 rows, got 2"),
        ({"reference": lambda x: x}, "on= goes with a function"),
        ({"reference": 1.0, "on": [1.0, 2.0, 3.0]}, "on= goes with a function"),
        ({}, "either reference= or judge="),
        ({"reference": 1.0, "judge": len}, "either reference= or judge="),
        ({"judge": len, "on": [1, 2, 3]}, "need reference="),
        ({"reference": np.nan}, "finite real numbers"),
        ({"reference": (1.0, np.inf)}, "finite real numbers"),
        ({"reference": object()}, "finite real numbers"),
        ({"reference": 2.0, "suspects": {"two": 2}}, "the suspect 'two' is right"),
        (
            {"reference": lambda x: np.random.default_rng().normal(), "on": [1, 2, 3]},
            "does not agree with itself",
        ),
    ],
)
def test_bad_use_is_told(options, message):
    with pytest.raises(ValueError, match=rf"00\.1: .*{message}"):
        Checks("00").add("00.1", **options)


def test_an_unknown_key_is_told_with_those_known():
    checks = Checks("00")
    checks.add("00.1", reference=1.0)
    with pytest.raises(KeyError, match=r"no exercise '00\.2'; there are 00\.1"):
        checks("00.2", 1.0)
    with pytest.raises(ValueError, match=r"'01\.1' is not in chapter '00'"):
        checks.add("01.1", reference=1.0)
    assert repr(checks) == "Checks('00'): 00.1"


def test_rejects_asks_for_three_and_for_their_diagnoses():
    checks = Checks("00")
    checks.add("00.1", reference=12.0)
    wrong = {"sign": (-12, "NEGATED"), "twice": (24, "2 times"), "text": ("", "str")}
    table = checks.rejects("00.1", wrong)
    assert isinstance(table, Rejections)
    assert len(table) == 3
    assert "sign" in repr(table)
    assert table._repr_html_().count("<tr>") == 4
    with pytest.raises(ValueError, match="give 3 wrong answers, not 1"):
        checks.rejects("00.1", {"sign": (-12, "negated")})
    with pytest.raises(AssertionError, match="lacks 'transposed'"):
        checks.rejects("00.1", wrong | {"sign": (-12, "transposed")})
    with pytest.raises(AssertionError, match="sign: right"):
        checks.rejects("00.1", wrong | {"sign": (12, "negated")})
    with pytest.raises(AssertionError, match="sign: open"):
        checks.rejects("00.1", wrong | {"sign": (..., "negated")})


@pytest.mark.parametrize("stub", [None, "", 0.0])
def test_rejects_finds_a_judge_that_a_stub_passes(stub):
    checks = Checks("00")
    if stub == 0.0:
        checks.add("00.1", judge=lambda f: None if f(1) == 0.0 else "no")
    else:
        checks.add("00.1", judge=lambda answer: None if answer is stub else "no")
    wrong = {name: (object(), "no") for name in "abc"}
    with pytest.raises(AssertionError, match=r"the stub .* passes"):
        checks.rejects("00.1", wrong)


@pytest.mark.parametrize("nothing", [float("nan"), lambda *inputs: float("nan")])
def test_rejects_finds_a_judge_that_nan_passes(nothing):
    checks = Checks("00")
    called = callable(nothing)
    far = lambda a: "far" if abs((a(1) if called else a) - 1) > 0.1 else None
    checks.add("00.1", judge=far)
    wrong = {name: ((lambda x: 9.0) if called else 9.0, "far") for name in "abc"}
    with pytest.raises(AssertionError, match=r"the stub .* passes"):
        checks.rejects("00.1", wrong)


def test_a_function_may_return_its_own_buffer():
    buffer, pair = np.empty(2), [np.empty(2), 0.0]

    def again(x):
        buffer[:] = x, x**2
        return buffer

    def parts(x):
        pair[0][:] = x, x**2
        return {"h": pair}

    rows = [1.0, 2.0, 3.0]
    assert check(lambda x: np.array([x, x * x]), rows)(again)
    assert check(lambda x: {"h": (np.array([x, x * x]), 0.0)}, rows)(parts)
    assert check(again, rows)(lambda x: np.array([x, x * x])), "a reference, too"


# How a verdict looks.


def test_a_verdict_shows_its_state_by_more_than_color():
    for status, mark in (("right", "✓"), ("wrong", "✗"), ("open", "○")):
        verdict = Verdict("04.2", status, "<b>", {"came": "1 < 2"})
        html = verdict._repr_html_()
        assert mark in html
        assert status in html
        assert "&lt;b&gt;" in html
        assert "1 &lt; 2" in html
        assert "var(--" in html
        assert repr(verdict).startswith(f"{mark} 04.2 {status}: <b>")
        assert bool(verdict) is (status == "right")


def test_the_counter_example_is_the_smallest_and_shows_the_wrong_parts_alone():
    rng = np.random.default_rng(0)
    on = [(rng.normal(size=(n, 2)),) for n in (9, 3, 6)]
    verdict = check(lambda x: (x.sum(0), x.sum(1)), on)(lambda x: (x.sum(0), -x.sum(1)))
    assert verdict.example["input"].count("\n") == 2
    assert verdict.example["came"].startswith("[1] = ")
    assert "[0] = " not in verdict.example["wanted"]


def test_fractions_are_numbers():
    from fractions import Fraction

    checks = Checks("00")
    checks.add("00.1", reference=(0.5, -0.25))
    assert checks("00.1", (Fraction(1, 2), Fraction(-1, 4)))
    assert "negated" in str(checks("00.1", (Fraction(1, 2), Fraction(1, 4))))
    checks.add("00.2", reference=lambda x: x / 3, on=[(1,), (2,), (5,)])
    assert checks("00.2", lambda x: Fraction(x, 3))


# What an answer may be made of.


def test_sympy_tuples_and_unfinished_products_are_what_they_stand_for():
    x, y = sympy.symbols("x y", real=True)
    matrix = sympy.Matrix([[x, y], [x * y, 1]])
    checks = Checks("00")
    checks.add("00.1", reference=matrix)
    checks.add("00.2", reference=sympy.Tuple(x**2, y))
    product = sympy.MatMul(sympy.eye(2), matrix, evaluate=False)
    for answer in (matrix, sympy.ImmutableMatrix(matrix), product, matrix.tolist()):
        assert checks("00.1", answer)
    assert "transposed" in str(checks("00.1", matrix.T))
    for answer in (sympy.Tuple(x * x, y), (x * x, y), [x * x, y]):
        assert checks("00.2", answer)
    assert "wrong sign" in str(checks("00.2", sympy.Tuple(x**2, -y)))


def test_an_answer_whose_attributes_raise_is_wrong_and_nothing_crashes():
    class Raising:
        def __getattribute__(self, name):
            raise RuntimeError("none of them")

    class RaisingTuple(tuple):
        __slots__ = ()
        __getattribute__ = Raising.__getattribute__

    checks = Checks("00")
    checks.add("00.1", reference=3.0)
    checks.add("00.2", reference=abs, on=[(1.0,), (-2.0,), (3.0,)])
    checks.add("00.3", judge=lambda answer: None if answer == 3 else "not 3")
    for key in ("00.1", "00.2", "00.3"):
        for answer in (Raising(), RaisingTuple((1.0,)), lambda x: Raising()):
            assert checks(key, answer).status == "wrong"


# The page itself.

HERE = Path(__file__).parent.parent / "nbs"


def headings(chapter):
    cells = json.loads((HERE / f"{chapter}.ipynb").read_text())["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] != "code")
    return re.findall(r"^##+ (.*)$", text, re.MULTILINE)


def test_the_routes_name_sections_that_exist():
    cells = json.loads((HERE / "00_how_to_read.ipynb").read_text())["cells"]
    text = "".join(next(c for c in cells if "routes" in "".join(c["source"]))["source"])
    routes = re.search(r"## (\w+) routes\n(.*)\n## ", text, re.DOTALL)
    assert {"Four": 4, "Five": 5}[routes[1]] == len(
        re.findall(r"^\*\*", routes[2], re.M)
    )
    named = 0
    for row in re.findall(r"^\|(.*)\|$", routes[2], re.MULTILINE):
        for chapter, words in re.findall(r"\]\((\d\d_\w+)\)([^\[|]*)", row):
            for section in re.findall(r"\*([^*]+)\*", words):
                named += 1
                assert any(h.startswith(section) for h in headings(chapter)), section
    assert named >= 8


def test_the_weeks_of_the_course_follow_one_another():
    cells = json.loads((HERE / "00_how_to_read.ipynb").read_text())["cells"]
    text = "\n".join("".join(c["source"]) for c in cells)
    course = text[text.index("**Three terms**") :].split("\n## ")[0]
    weeks = re.findall(r"^\| ([\d, ]+) \|", course, re.MULTILINE)
    numbers = [int(week) for row in weeks for week in row.split(",")]
    assert numbers == list(range(1, 39))
    chapters = re.findall(r"\]\((\d\d)_", course)
    assert chapters == [f"{k:02}" for k in range(1, 21)]
