"""Forward and backward of a scalar graph, against micrograd: goal, five times.

The program is that of micrograd's demo: a 2-16-16-1 network with relu, the
hinge loss of a few samples, and a penalty on the squared parameters. Both
sides compute the same numbers, which is checked. Ours runs it twice: in the
same small steps, and with one node per neuron (`weighted_sum`).

Separate processes, interleaved; each reports its mean time per step, so that
the garbage collector is paid for; medians over the rounds. micrograd comes
from PyPI into a temporary folder: python bench/bench_graph.py
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise

ROUNDS, SECONDS, GOAL = 5, 1.5, 5.0
SIZES = (2, 16, 16, 1)
SAMPLES = (1, 20)


def contender(name):
    """Return a leaf, a neuron's weighted sum, relu, and a gradient reader."""
    if name == "micrograd":
        from micrograd.engine import Value

        def gradient(e, parameters):
            for p in parameters:
                p.grad = 0
            e.backward()
            return [p.grad for p in parameters]

        return Value, small_steps, lambda x: x.relu(), gradient
    from backprop_lit.graph import Node, relu, v_values, weighted_sum

    def gradient(e, parameters):
        v = v_values(e)
        return [v[p] for p in parameters]

    return Node, small_steps if name == "small" else weighted_sum, relu, gradient


def small_steps(weights, xs, bias):
    return sum((w * x for w, x in zip(weights, xs, strict=True)), bias)


def make_step(name, samples):
    """Build the network and return a function that takes one step."""
    leaf, weighted, relu, gradient = contender(name)
    rng = random.Random(0)
    layers = [
        [([leaf(rng.uniform(-1, 1)) for _ in range(wide)], leaf(0.1))
         for _ in range(high)]
        for wide, high in pairwise(SIZES)
    ]
    rows = [[rng.uniform(-1, 1) for _ in range(SIZES[0])] for _ in range(samples)]
    signs = [rng.choice((-1, 1)) for _ in range(samples)]
    parameters = [p for layer in layers for w, b in layer for p in [*w, b]]

    def network(x):
        for layer in layers:
            x = [weighted(w, x, b) for w, b in layer]
            x = x if layer is layers[-1] else [relu(d) for d in x]
        return x[0]

    def step():
        margins = [
            relu(network([leaf(x) for x in row]) * -sign + 1)
            for row, sign in zip(rows, signs, strict=True)
        ]
        shares = [leaf(1 / samples) for _ in margins]
        loss = weighted(shares, margins, leaf(0.0))
        penalty = weighted(parameters, parameters, leaf(0.0))
        return gradient(loss + penalty * 1e-4, parameters)

    return step


def measure(name, samples):
    """Print the mean time of a step in microseconds, and a checksum."""
    step = make_step(name, samples)
    checksum = sum(k * g for k, g in enumerate(step()))
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        step()
        steps += 1
    print(1e6 * (time.perf_counter() - start) / steps, checksum)


def run(name, samples, folder):
    program = f"import sys; sys.path.append({folder!r}); import bench_graph as b; "
    command = [sys.executable, "-c", program + f"b.measure({name!r}, {samples})"]
    output = subprocess.check_output(command, cwd=sys.path[0], text=True)
    return tuple(map(float, output.split()))


def main() -> int:
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.check_call([*pip, "--target", folder, "micrograd==0.1.0"])
        for samples in SAMPLES:
            rounds = [
                {name: run(name, samples, folder) for name in
                 ("micrograd", "small", "neurons")}
                for _ in range(ROUNDS)
            ]
            assert all(
                abs(a[1] - b[1]) < 1e-6 * (1 + abs(b[1]))
                for r in rounds for a in r.values() for b in r.values()
            ), "the contenders disagree"
            times = {n: statistics.median(r[n][0] for r in rounds) for n in rounds[0]}
            ratios = {
                name: statistics.median(r["micrograd"][0] / r[name][0] for r in rounds)
                for name in ("small", "neurons")
            }
            print(f"{samples:3} samples: micrograd {times['micrograd']:.0f} µs; "
                  f"the same small steps {times['small']:.0f} µs "
                  f"({ratios['small']:.1f} times as fast); one node per neuron "
                  f"{times['neurons']:.0f} µs ({ratios['neurons']:.1f} times)")
            failed |= ratios["neurons"] < GOAL
    return failed


if __name__ == "__main__":
    sys.exit(main())
