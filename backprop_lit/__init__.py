"""Backpropagation, Literally: a book that is a program.

Every public name of every chapter is here, loaded when it is first used:
``from backprop_lit import Linear, prove``.
"""

__version__ = "0.1.0"

# Module to public names, in the order of reading: the book's table of contents.
_names: dict[str, tuple[str, ...]] = {
    "differences": (
        "EPSILON",
        "best_step",
        "numerical_gradient",
        "complex_step_gradient",
        "relative_error",
        "CheckedSlope",
        "GradientReport",
        "gradcheck",
    ),
    "symbolic": (
        "Rule",
        "RULES",
        "MERSENNE",
        "MULTIPLIERS",
        "Claim",
        "Subject",
        "Failure",
        "Number",
        "lift",
        "Numbers",
        "symbols",
        "order",
        "derivatives",
        "vanish",
        "to_sympy",
        "from_sympy",
        "Proof",
        "prove",
    ),
    "layer": (
        "Array",
        "check_shape",
        "Layer",
    ),
    "activations": (
        "Sigmoid",
        "Tanh",
        "ReLU",
        "LeakyReLU",
        "Softplus",
        "Softsign",
        "GELU",
        "SiLU",
        "Softmax",
    ),
    "losses": (
        "Loss",
        "MSELoss",
        "BCEWithLogitsLoss",
        "CrossEntropyLoss",
        "HingeLoss",
        "HuberLoss",
    ),
    "network": (
        "Linear",
        "Flatten",
        "aligned",
        "Sequential",
    ),
}

TYPE_CHECKING = False
if TYPE_CHECKING:  # what the table says, for type checkers and editors
    from .differences import *
    from .symbolic import *
    from .layer import *
    from .activations import *
    from .losses import *
    from .network import *
_home = {name: module for module, names in _names.items() for name in names}
__all__ = ["__version__", *_home]


def __getattr__(name: str) -> object:
    if name not in _home:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    globals()[name] = value = getattr(import_module(f".{_home[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_home})
