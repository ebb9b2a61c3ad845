"""Write initialization_recorded.json: what torch.nn.init of PyTorch answers.

Run once, where torch is installed: python tests/record_initialization.py
"""

import json
from pathlib import Path

import torch
from torch.nn import init

GAINS = [["linear", None], ["sigmoid", None], ["tanh", None], ["relu", None],
         ["selu", None], ["leaky_relu", None], ["leaky_relu", 0], ["leaky_relu", 0.2],
         ["leaky_relu", -0.5], ["leaky_relu", 5**0.5]]
SHAPES = [(7, 3), (3, 7), (1, 1), (6, 4, 3, 5), (2, 8, 3)]


def asked(fill, shape, **options):
    """The bound, or the standard deviation, that PyTorch hands to its generator."""
    seen = []
    weight = torch.empty(shape, dtype=torch.float64)
    kept = torch.Tensor.uniform_, torch.Tensor.normal_
    torch.Tensor.uniform_ = lambda w, low, high, **_: (seen.append(high), w)[1]
    torch.Tensor.normal_ = lambda w, mean, std, **_: (seen.append(std), w)[1]
    try:
        fill(weight, **options)
    finally:
        torch.Tensor.uniform_, torch.Tensor.normal_ = kept
    return seen[0]


def sizes():
    for shape in SHAPES:
        for gain in (1.0, 5 / 3):
            for name in ("xavier_uniform", "xavier_normal"):
                fill = getattr(init, f"{name}_")
                yield [name, shape, {"gain": gain}, asked(fill, shape, gain=gain)]
        for mode in ("fan_in", "fan_out"):
            for nonlinearity in ("relu", "tanh", "linear"):
                options = {"nonlinearity": nonlinearity, "mode": mode}
                for name in ("kaiming_uniform", "kaiming_normal"):
                    fill = getattr(init, f"{name}_")
                    yield [name, shape, options, asked(fill, shape, **options)]


if __name__ == "__main__":
    record = {
        "torch": torch.__version__,
        "gains": [[*case, init.calculate_gain(*case)] for case in GAINS],
        "sizes": list(sizes()),
        "linear": asked(lambda w: torch.nn.Linear(48, 7), (1, 1)),
    }
    target = Path(__file__).with_name("initialization_recorded.json")
    target.write_text(json.dumps(record, indent=1) + "\n")
