"""Record what PyTorch's optimizers do, in float64: writes optimizers_recorded.json.

Needs PyTorch 2.13.0, which the tests do not: python tests/record_optimizers.py
"""

from __future__ import annotations

import datetime
import json
import math
import platform
from pathlib import Path

import torch

TARGET = Path(__file__).with_name("optimizers_recorded.json")
STEPS, SHOWN = 100, (1, 2, 3, 10, 33, 100)
START = [1.0, -2.0, 0.5, 3.0, -0.25, 0.75]
# Stiff, soft, noisy and tiny coordinates; the last never has a gradient.
STIFFNESS = [2.0, 0.3, 0.02, 1.0, 1e-4, 0.0]
NOISE = [0.1, 0.5, 2.0, 0.0, 1e-5, 0.0]

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.7, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": "step", "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": "mask"}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "clip_norm": 0.7}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "clip_value": 0.3}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1}),
    ("RMSprop", {"lr": "cosine", "weight_decay": "mask"}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05}),
    ("Adam", {"lr": 0.05, "betas": [0.8, 0.95], "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": "warmup", "betas": [0.0, 0.99]}),
    ("Adam", {"lr": 0.05, "weight_decay": "mask", "clip_norm": 0.5}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.0}),
    ("AdamW", {"lr": "step", "betas": [0.8, 0.95], "eps": 1e-3, "weight_decay": 0.2}),
    ("AdamW", {"lr": "both", "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.05, "weight_decay": "mask"}),
]

MASK = [0.1, 0.1, 0.1, 0.0, 0.0, 0.0]

SCHEDULES = {  # the settings by our names, then PyTorch's schedule
    "step": (
        {"lr": 0.1, "every": 7, "factor": 0.6},
        lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=7, gamma=0.6),
    ),
    "cosine": (
        {"lr": 0.1, "steps": 100, "final": 0.01},
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 100, eta_min=0.01),
    ),
    "warmup": (
        {"lr": 0.1, "steps": 20},
        lambda o: torch.optim.lr_scheduler.LinearLR(o, 1 / 20, 1.0, 19),
    ),
    "both": (
        {"lr": 0.1, "warm": 20, "steps": 100},
        lambda o: torch.optim.lr_scheduler.ChainedScheduler(
            [
                torch.optim.lr_scheduler.LinearLR(o, 1 / 20, 1.0, 19),
                torch.optim.lr_scheduler.CosineAnnealingLR(o, 100),
            ]
        ),
    ),
}


def gradient(theta: list[float], k: int) -> list[float]:
    """Return a gradient that depends on θ and on the update, by plain arithmetic."""
    return [
        c * (q - 0.3) + a * math.cos(0.7 * k + i)
        for i, (c, a, q) in enumerate(zip(STIFFNESS, NOISE, theta, strict=True))
    ]


def groups(options: dict, thetas: list) -> list[dict]:
    """One group, or two that shrink differently."""
    if options.get("weight_decay") != "mask":
        return [{"params": thetas}]
    return [
        {"params": thetas[:1], "weight_decay": 0.1},
        {"params": thetas[1:], "weight_decay": 0.0},
    ]


def clip(options: dict, thetas: list) -> None:
    if "clip_norm" in options:
        torch.nn.utils.clip_grad_norm_(thetas, options["clip_norm"])
    if "clip_value" in options:
        torch.nn.utils.clip_grad_value_(thetas, options["clip_value"])


def run(name: str, options: dict) -> dict:
    """Take 100 steps; return θ at some of them, and the last state."""
    start = torch.tensor(START, dtype=torch.float64)
    thetas = [torch.nn.Parameter(part.clone()) for part in start.split(3)]
    given = {key: q for key, q in options.items() if not key.startswith("clip")}
    schedule = given["lr"] if isinstance(given.get("lr"), str) else None
    if schedule:
        given["lr"] = SCHEDULES[schedule][0]["lr"]
    parts = groups(options, thetas)
    if len(parts) == 2:
        del given["weight_decay"]
    optimizer = getattr(torch.optim, name)(parts, **given)
    scheduler = SCHEDULES[schedule][1](optimizer) if schedule else None
    rates, seen = [], {}
    for k in range(1, STEPS + 1):
        theta = [q for part in thetas for q in part.tolist()]
        g = torch.tensor(gradient(theta, k), dtype=torch.float64)
        for part, g_part in zip(thetas, g.split(3), strict=True):
            part.grad = g_part.clone()
        clip(options, thetas)
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler:
            scheduler.step()
        if k in SHOWN:
            seen[k] = [q for part in thetas for q in part.tolist()]
    found = {"optimizer": name, "options": options, "theta": seen}
    names = [key for key in optimizer.state[thetas[0]] if key != "step"]
    found["state"] = {
        key: [q for part in thetas for q in optimizer.state[part][key].tolist()]
        for key in names
        if optimizer.state[thetas[0]][key] is not None
    }
    return found | ({"rates": rates} if schedule else {})


def clipped() -> list[dict]:
    """Gradients before and after, longer and shorter than the limit."""
    rows = []
    for scale, limit in [(1.0, 1.0), (0.1, 1.0), (1e6, 2.5), (1e-9, 1e-3), (0.2, 1.0)]:
        q = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
        before = [3.0 * scale, -4.0 * scale, 0.0]
        q.grad = torch.tensor(before, dtype=torch.float64)
        norm = torch.nn.utils.clip_grad_norm_([q], limit).item()
        by_norm = q.grad.tolist()
        q.grad = torch.tensor(before, dtype=torch.float64)
        torch.nn.utils.clip_grad_value_([q], limit)
        rows.append({"before": before, "limit": limit, "norm": norm})
        rows[-1] |= {"by_norm": by_norm, "by_value": q.grad.tolist()}
    return rows


def main() -> None:
    recorded = {
        "source": f"torch=={torch.__version__}, float64, on the CPU",
        "script": "tests/record_optimizers.py",
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "gradient": "stiffness * (theta - 0.3) + noise * cos(0.7 * k + i)",
        "start": START,
        "stiffness": STIFFNESS,
        "noise": NOISE,
        "mask": MASK,
        "schedules": {name: pair[0] for name, pair in SCHEDULES.items()},
        "cases": [run(name, options) for name, options in CASES],
        "clipped": clipped(),
    }
    text = json.dumps(recorded, indent=None, separators=(",", ":"))
    TARGET.write_text(text.replace('{"optimizer"', '\n{"optimizer"') + "\n")


if __name__ == "__main__":
    main()
