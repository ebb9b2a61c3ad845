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
        "Number",
        "lift",
        "Numbers",
        "symbols",
        "derivatives",
        "vanish",
        "Failure",
        "Proof",
        "prove",
    ),
    "graph": (
        "add",
        "subtract",
        "multiply",
        "divide",
        "power",
        "maximum",
        "minimum",
        "negative",
        "exp",
        "log",
        "sqrt",
        "sin",
        "cos",
        "tanh",
        "sigmoid",
        "relu",
        "absolute",
        "RULES",
        "Node",
        "Rule",
        "topological_order",
        "replay",
        "sweep",
        "VValues",
        "v_values",
        "draw",
        "step_through",
        "count_paths",
        "weighted_sum",
    ),
    "layer": (
        "Array",
        "check_shape",
        "Layer",
    ),
    "activations": (
        "Sigmoid",
        "Tanh",
        "Softplus",
        "ReLU",
        "LeakyReLU",
        "Softsign",
        "SiLU",
        "GELU",
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
    "neurons": (
        "Neuron",
        "softsign",
        "softsign_slope",
        "left_to_right",
        "forward_sweep",
        "backward_sweep",
        "gradients",
        "SampleNetwork",
        "sample_network",
        "loss_neurons",
        "SweepStep",
        "sweep_steps",
        "draw_sweep_step",
    ),
    "network": (
        "Linear",
        "Sequential",
        "Flatten",
    ),
    "digits": (
        "load_digits",
        "split_digits",
    ),
    "descent": (
        "Descent",
        "descend",
        "objective",
        "quadratic_path",
        "Curvature",
        "largest_curvature",
    ),
    "optimizers": (
        "Optimizer",
        "SGD",
        "RMSprop",
        "Adam",
        "AdamW",
        "step_schedule",
        "cosine_schedule",
        "warmup",
        "clip_grad_norm",
        "clip_grad_value",
    ),
    "initialization": (
        "expected_squares",
        "LayerStatistics",
        "layer_statistics",
        "xavier_uniform",
        "xavier_normal",
        "calculate_gain",
        "kaiming_uniform",
        "kaiming_normal",
        "orthogonal",
        "initialize",
    ),
    "regularization": (
        "l2_penalty",
        "decay_mask",
        "EarlyStopping",
        "Dropout",
    ),
    "normalization": (
        "BatchNorm1d",
        "LayerNorm",
    ),
    "data": (
        "train_test_split",
        "wilson_interval",
        "StandardScaler",
        "Batches",
        "batches",
        "one_hot",
        "read_idx",
        "fetch",
        "load_data",
        "mnist",
        "fashion_mnist",
    ),
    "training": (
        "accuracy",
        "confusion_matrix",
        "evaluate",
        "History",
        "EpochRecord",
        "save_checkpoint",
        "load_checkpoint",
        "Checkpoint",
        "fit",
        "LearningRateSearch",
        "learning_rate_search",
    ),
    "convolution": (
        "Conv2d",
        "Unflatten",
        "MaxPool2d",
        "AvgPool2d",
    ),
    "recurrence": (
        "RNN",
        "LSTM",
        "TimeDistributed",
        "LastStep",
        "load_text",
        "split_text",
        "Alphabet",
        "text_windows",
    ),
    "attention": (
        "Embedding",
        "scaled_dot_product_attention",
        "scaled_dot_product_attention_backward",
        "causal_mask",
        "padding_mask",
        "MultiheadAttention",
        "TransformerBlock",
        "GPT",
    ),
    "policy": (
        "PolicyGradientLoss",
        "sample_actions",
        "leave_one_out",
        "returns_to_go",
        "CartPole",
        "Environment",
        "Episodes",
        "play_episodes",
        "reinforce",
        "GymnasiumEnvironment",
    ),
}

TYPE_CHECKING = False
if TYPE_CHECKING:  # what the table says, for type checkers and editors
    from .differences import *
    from .symbolic import *
    from .graph import *
    from .layer import *
    from .activations import *
    from .losses import *
    from .neurons import *
    from .network import *
    from .digits import *
    from .descent import *
    from .optimizers import *
    from .initialization import *
    from .regularization import *
    from .normalization import *
    from .data import *
    from .training import *
    from .convolution import *
    from .recurrence import *
    from .attention import *
    from .policy import *
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
