"""How good the recipe of chapter 16 is among its neighbors: run by hand.

The 1,438 rows that may be learned from are cut into five parts, *folds*; each
is read by networks that learned from the other four. The page's own cells are
run with one setting changed at a time; the held-out rows are not touched.
The ± is twice the standard error over folds and seeds; since the folds share
rows to learn from, it is somewhat too small.

    python bench/choose_recipe.py             # minutes; see choose_recipe.txt
    python bench/choose_recipe.py seconds     # CPU of one training, one thread
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from backprop_lit.activations import ReLU
from backprop_lit.digits import split_digits
from backprop_lit.layer import Layer
from backprop_lit.losses import CrossEntropyLoss
from backprop_lit.network import Linear, Sequential
from backprop_lit.normalization import BatchNorm1d
from backprop_lit.optimizers import AdamW, cosine_schedule
from backprop_lit.regularization import Dropout
from backprop_lit.training import fit

PAGE = Path(__file__).parent.parent / "nbs" / "16_training.ipynb"
CELLS = ("class Wobble", "WIDTH, EPOCHS", "def train(")
NAMES = (ReLU, Layer, CrossEntropyLoss, Linear, Sequential, BatchNorm1d, AdamW)
NAMES = (*NAMES, cosine_schedule, Dropout, fit)
CUT, SEEDS = 1600, (16_000, 16_001)  # used nowhere else

MOVES = {"shift": 0.7, "turn": 0.15, "scale": 0.1}
LOOKS: dict[str, dict] = {
    "as on the page": {},
    "64 neurons": {"WIDTH": 64},
    "256 neurons": {"WIDTH": 256},
    "20 epochs": {"EPOCHS": 20},
    "80 epochs": {"EPOCHS": 80},
    "batches of 32": {"BATCH": 32},
    "batches of 128": {"BATCH": 128},
    "rate 0.003": {"RATE": 0.003},
    "rate 0.03": {"RATE": 0.03},
    "no shrinkage": {"SHRINK": 0.0},
    "shrinkage 0.2": {"SHRINK": 0.2},
    "half the moves": {"MOVES": {name: size / 2 for name, size in MOVES.items()}},
    "moves 1.5 times": {"MOVES": {name: size * 1.5 for name, size in MOVES.items()}},
}


def page() -> dict:
    """Run the cells of the page that make and train a network."""
    space = {thing.__name__: thing for thing in NAMES} | {"json": json, "np": np}
    for cell in json.loads(PAGE.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and any(mark in source for mark in CELLS):
            exec(source, space)
    return space


def look(space: dict, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Errors and loss in each fold and with each seed, shape (5 · seeds, 2)."""
    told = []
    for part in np.array_split(np.random.default_rng(CUT).permutation(len(y)), 5):
        rest = np.setdiff1d(np.arange(len(y)), part)
        for seed in SEEDS:
            model = space["train"]("wobble added", (x[rest], y[rest]), seed)
            u = model.forward(x[part].astype(np.float32))
            loss = CrossEntropyLoss().forward(u, y[part])
            told.append([100 * (u.argmax(1) != y[part]).mean(), loss])
    return np.array(told)


def main() -> None:
    (x, y), _ = split_digits()
    space = page()
    if sys.argv[1:] == ["seconds"]:
        seconds = []
        for seed in range(3):
            started = time.process_time()
            space["train"]("wobble added", (x, y), seed)
            seconds.append(time.process_time() - started)
        print(*(f"{each:.3f}" for each in seconds))
        return
    first = None
    print("one setting changed     errors  loss     loss against the page's, ± 2 se  s")
    for name, settings in LOOKS.items():
        started = time.process_time()
        told = look(changed(settings), x, y)
        seconds = (time.process_time() - started) / len(told)
        first = told if first is None else first
        more = (told - first)[:, 1]
        error = 2 * more.std(ddof=1) / len(more) ** 0.5
        print(
            f"{name:22} {told[:, 0].mean():6.2f}%  {told[:, 1].mean():.4f}  "
            f"{more.mean():+.4f} ± {error:.4f} {seconds:24.2f}",
            flush=True,
        )


def changed(settings: dict) -> dict:
    space = page()
    assert set(settings) <= set(space), "the page has no such setting"
    space.update(settings)
    return space


if __name__ == "__main__":
    main()
