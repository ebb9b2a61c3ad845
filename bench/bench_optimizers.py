"""A step of each optimizer against its textbook form: goal, never slower.

Below 10,000 parameters the checks weigh more than the arithmetic; there the
figures are shown and not judged.

Both in one process, interleaved, one thread; the ratio is the median over
rounds: python bench/bench_optimizers.py
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from backprop_lit.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop

SIZES = (337, 17_226, 235_146, 1_863_690)  # parameters of four networks
ROUNDS, SECONDS = 15, 0.02


def sgd(theta: np.ndarray, kept: dict, k: int, g: np.ndarray) -> np.ndarray:
    kept["a"] = 0.9 * kept["a"] + g
    return theta - 0.001 * kept["a"]


def rmsprop(theta: np.ndarray, kept: dict, k: int, g: np.ndarray) -> np.ndarray:
    kept["q"] = 0.99 * kept["q"] + 0.01 * g**2
    return theta - 0.001 * g / (np.sqrt(kept["q"]) + 1e-8)


def adam(theta: np.ndarray, kept: dict, k: int, g: np.ndarray) -> np.ndarray:
    kept["m"] = 0.9 * kept["m"] + 0.1 * g
    kept["q"] = 0.999 * kept["q"] + 0.001 * g**2
    m, q = kept["m"] / (1 - 0.9**k), kept["q"] / (1 - 0.999**k)
    return theta - 0.001 * m / (np.sqrt(q) + 1e-8)


def adamw(theta: np.ndarray, kept: dict, k: int, g: np.ndarray) -> np.ndarray:
    return adam(theta - 0.001 * 0.01 * theta, kept, k, g)


PAIRS: dict[str, tuple[Callable, Callable[[], Optimizer]]] = {
    "SGD, momentum": (sgd, lambda: SGD(0.001, momentum=0.9)),
    "RMSprop": (rmsprop, lambda: RMSprop(0.001)),
    "Adam": (adam, lambda: Adam(0.001)),
    "AdamW": (adamw, lambda: AdamW(0.001)),
}


def seconds(move: Callable[[], None], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        move()
    return (time.perf_counter() - start) / times


def compare(name: str, size: int, dtype: type) -> tuple[float, float]:
    """Return microseconds of our step, and the textbook's over ours."""
    rule, make = PAIRS[name]
    rng = np.random.default_rng(0)
    theta, g = rng.standard_normal((2, size)).astype(dtype)
    plain = {"theta": theta.copy(), "k": 0}
    kept = {q: np.zeros(size, dtype) for q in "amq"}
    optimizer = make()

    def textbook() -> None:
        plain["k"] += 1
        plain["theta"] = rule(plain["theta"], kept, plain["k"], g)

    def ours() -> None:
        optimizer.step(theta, g)

    times = max(3, int(SECONDS / seconds(textbook, 3)))
    rounds = [(seconds(textbook, times), seconds(ours, times)) for _ in range(ROUNDS)]
    ratio = statistics.median(a / b for a, b in rounds)
    return 1e6 * statistics.median(b for _, b in rounds), ratio


def after_long_rest(dtype: type, steps: int = 8000) -> float:
    """Return how much slower Adam gets when half of the units are dead."""
    size = 20_000
    theta, g = np.random.default_rng(0).standard_normal((2, size)).astype(dtype)
    optimizer, times = Adam(0.001), []
    optimizer.step(theta, g)
    g[::2] = 0
    for _ in range(steps):
        start = time.perf_counter()
        optimizer.step(theta, g)
        times.append(time.perf_counter() - start)
    return statistics.median(times[-500:]) / statistics.median(times[:500])


def main() -> int:
    slower = 0
    for dtype in (np.float32, np.float64):
        for name in PAIRS:
            for size in SIZES:
                micro, ratio = compare(name, size, dtype)
                slower += ratio < 1 and size > 10_000
                print(
                    f"{dtype.__name__} {name:<14}{size:>9,} parameters "
                    f"{micro:9.1f} µs, textbook ÷ ours {ratio:5.2f}"
                )
        print(
            f"{dtype.__name__} Adam, half of the units dead: the last steps take "
            f"{after_long_rest(dtype):.2f} of the first"
        )
    return slower


if __name__ == "__main__":
    sys.exit(main())
