"""What `import backprop_lit` adds to `import numpy`: goal, under 15 ms.

Separate processes, interleaved, medians: python bench/bench_import.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys

ROUNDS, GOAL = 21, 15.0
TIMER = (
    "import time; start = time.perf_counter(); import {};"
    "print(1000 * (time.perf_counter() - start))"
)


def milliseconds(name: str) -> float:
    """Time one import in a process of its own."""
    command = [sys.executable, "-c", TIMER.format(name)]
    return float(subprocess.check_output(command))


def main() -> int:
    pairs = [
        (milliseconds("numpy"), milliseconds("backprop_lit, numpy"))
        for _ in range(ROUNDS)
    ]
    numpy, both = (statistics.median(column) for column in zip(*pairs, strict=True))
    added = statistics.median(b - a for a, b in pairs)
    print(f"numpy {numpy:.1f} ms, with it {both:.1f} ms, added {added:.1f} ms")
    return added > GOAL


if __name__ == "__main__":
    sys.exit(main())
