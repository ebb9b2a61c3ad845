"""A training with everything in play; run as a program, it can kill itself.

    python killed_training.py FILE OUT EVENT

trains with checkpoints in FILE and writes what it ends with to OUT. If EVENT
is not 0, the process kills itself before or after that file operation.
"""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np

from backprop_lit.activations import ReLU
from backprop_lit.losses import CrossEntropyLoss
from backprop_lit.network import Linear, Sequential
from backprop_lit.normalization import BatchNorm1d
from backprop_lit.optimizers import AdamW, cosine_schedule, warmup
from backprop_lit.regularization import Dropout, EarlyStopping
from backprop_lit.training import fit

EPOCHS = 150


def everything(seed=1):
    """What `fit` takes: all that a run can depend on is in play."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((150, 6))
    y = (x[:, 0] + x[:, 1] > 0) + (x[:, 2] > 1).astype(int)
    model = Sequential(
        Linear(6, 16, rng=rng),
        BatchNorm1d(16),
        ReLU(),
        Dropout(0.3, rng=rng),
        Linear(16, 3, rng=rng),
    )
    return {
        "model": model,
        "loss": CrossEntropyLoss(),
        "optimizer": AdamW(warmup(cosine_schedule(0.004, 1200), 100)),
        "data": (x[:100], y[:100]),
        "validation": (x[100:], y[100:]),
        "batch_size": 16,
        "rng": rng,
        "metrics": ["accuracy"],
        "early_stopping": EarlyStopping(patience=25),
    }


def bits(run, history):
    """All that a training leaves behind, to the last bit."""
    parts = {"theta": run["model"].theta, **run["model"].state}
    parts |= {f"optimizer.{k}": v for k, v in run["optimizer"].state.items()}
    parts |= {f"stopping.{k}": v for k, v in run["early_stopping"].state.items()}
    told = {name: np.asarray(part).tobytes().hex() for name, part in parts.items()}
    told["rng"] = str(run["rng"].bit_generator.state)
    told["history"] = json.dumps(history)
    told["stopped"] = history.stopped
    return told


def deadly(function, event):
    """The function; its process dies before or after the call of that number."""

    def wrapped(*arguments, **options):
        deadly.events += 1
        if deadly.events == event:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **options)
        deadly.events += 1
        if deadly.events == event:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped


if __name__ == "__main__":
    path, out, event = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    deadly.events = 0
    if event:
        os.fsync, os.replace = deadly(os.fsync, event), deadly(os.replace, event)
        np.savez = deadly(np.savez, event)
    run = everything()
    print("ready", flush=True)
    history = fit(**run, epochs=EPOCHS, checkpoint=path)
    out.write_text(json.dumps(bits(run, history)))
    print("resumed", history.resumed)
