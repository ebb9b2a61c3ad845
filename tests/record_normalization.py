"""Write what PyTorch's normalization layers answer: normalization_recorded.json.

Run by hand, where torch is installed: ``python tests/record_normalization.py``.
Everything is float64; the numbers come back from the file to the last bit.
"""

import json
from pathlib import Path

import torch
from torch import nn

TARGET = Path(__file__).with_name("normalization_recorded.json")


def numbers(tensors):
    return {name: tensor.detach().tolist() for name, tensor in tensors.items()}


def one_pass(layer, x, v):
    """Go forward and, with v at what is handed on, backward."""
    x = x.clone().requires_grad_()
    layer.zero_grad()
    h = layer(x)
    h.backward(v)
    return numbers({"x": x, "v": v, "h": h, "v_x": x.grad,
                    "g_weight": layer.weight.grad, "g_bias": layer.bias.grad})


def draw(*shape):
    scale = torch.logspace(-1, 2, shape[-1], dtype=torch.float64)
    return scale * (torch.randn(*shape, dtype=torch.float64) + 1)


def start(layer):
    with torch.no_grad():
        layer.weight.copy_(torch.randn_like(layer.weight))
        layer.bias.copy_(torch.randn_like(layer.bias))
    return numbers({"weight": layer.weight, "bias": layer.bias})


def batch_norm(eps, momentum):
    """Seven training steps with updates of w and b, then evaluation twice."""
    layer = nn.BatchNorm1d(4, eps=eps, momentum=momentum, dtype=torch.float64)
    record = {"eps": eps, "momentum": momentum, "start": start(layer), "steps": []}
    for n in (6, 2, 5, 3, 8, 2, 7):
        x = draw(n, 4)
        step = one_pass(layer, x, torch.randn_like(x))
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter -= 0.1 * parameter.grad
        record["steps"].append(step | {"state": numbers(dict(layer.named_buffers()))})
    layer.eval()
    xs = [draw(n, 4) for n in (1, 5)]
    record["evaluation"] = [one_pass(layer, x, torch.randn_like(x)) for x in xs]
    return record


def layer_norm(normalized_shape, shape, eps):
    layer = nn.LayerNorm(normalized_shape, eps=eps, dtype=torch.float64)
    record = {"normalized_shape": normalized_shape, "eps": eps, "start": start(layer)}
    x = draw(*shape)
    return record | one_pass(layer, x, torch.randn_like(x))


if __name__ == "__main__":
    torch.manual_seed(14)
    TARGET.write_text(json.dumps({
        "torch": torch.__version__,
        "batch_norm": [batch_norm(1e-5, 0.1), batch_norm(0.3, 0.75)],
        "layer_norm": [
            layer_norm([5], (3, 5), 1e-5),
            layer_norm([4], (2, 3, 4), 0.2),
            layer_norm([3, 4], (5, 2, 3, 4), 1e-5),
            layer_norm([6], (6,), 1e-5),
        ],
    }) + "\n", "utf8")
    print("wrote", TARGET.name)
