"""Training: killed, interrupted, diverged, damaged; and always the same bits."""

import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from killed_training import EPOCHS, bits, everything

from backprop_lit import training
from backprop_lit.activations import ReLU, Tanh
from backprop_lit.data import Batches
from backprop_lit.layer import Layer
from backprop_lit.losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from backprop_lit.network import Flatten, Linear, Sequential
from backprop_lit.normalization import BatchNorm1d
from backprop_lit.optimizers import SGD, Adam, AdamW, RMSprop
from backprop_lit.regularization import Dropout, EarlyStopping
from backprop_lit.training import (
    Checkpoint,
    History,
    accuracy,
    confusion_matrix,
    evaluate,
    fit,
    learning_rate_search,
    load_checkpoint,
    save_checkpoint,
)


def numbers(seed=0, rows=50, features=4, classes=3):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, features))
    return x, rng.integers(0, classes, rows)


def plain(seed=0, dtype=np.float64):
    """A small network without randomness of its own, and what fits it."""
    rng = np.random.default_rng(seed)
    model = Sequential(
        Linear(4, 8, rng=rng, dtype=dtype), Tanh(), Linear(8, 3, rng=rng, dtype=dtype)
    )
    x, y = numbers()
    return {
        "model": model,
        "loss": CrossEntropyLoss(),
        "optimizer": Adam(0.01),
        "data": (x.astype(dtype), y),
        "batch_size": 16,
        "rng": rng,
    }


# --- the same bits, whatever happens ------------------------------------------


@pytest.fixture(scope="module")
def never_killed():
    run = everything()
    told = bits(run, fit(**run, epochs=EPOCHS))
    assert told["stopped"].startswith("early"), "early stopping is to be in play"
    assert 40 < len(json.loads(told["history"])["loss"]) < EPOCHS
    return told


def start(folder, event=0):
    """A process that trains, with one thread, and says when it begins."""
    command = [sys.executable, ROOT / "tests" / "killed_training.py"]
    process = subprocess.Popen(
        [*map(str, [*command, folder / "run.npz", folder / "out", event])],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_run_killed_at_random_moments_ends_in_the_same_bits(tmp_path, never_killed):
    rng, kills, resumed = random.Random(1), 0, 0
    for k in range(12):
        folder = tmp_path / str(k)
        folder.mkdir()
        left = 6  # then it may finish, however slow the machine
        while not (folder / "out").exists():
            with start(folder) as process:
                if left:
                    time.sleep(rng.uniform(0, 0.3))
                    process.kill()
                told = process.communicate(timeout=60)[0]
            left -= process.returncode != 0
        kills += 6 - left
        resumed += told.split()[-1:] not in ([], ["0"])
        assert json.loads((folder / "out").read_text()) == never_killed
        if kills >= 12:
            break
    assert kills >= 6
    assert resumed >= 1


def test_a_run_killed_around_each_file_operation_loses_nothing(tmp_path, never_killed):
    # 1–2 savez, 3–4 fsync of the file, 5–6 replace, 7–8 fsync of the folder
    for event in [*range(1, 9), *random.Random(2).sample(range(9, 300), 4)]:
        with start(tmp_path, event) as process:
            process.communicate(timeout=30)
        assert process.returncode < 0
        assert not (tmp_path / "out").exists()
    with start(tmp_path) as process:
        process.communicate(timeout=30)
    assert json.loads((tmp_path / "out").read_text()) == never_killed
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".tmp"] == []


def test_a_best_epoch_from_before_the_kill_is_put_back_whole(tmp_path, never_killed):
    best = 1 + int(np.argmin(json.loads(never_killed["history"])["val_loss"]))

    def interrupt(record):
        if record.epoch == best + 6:
            raise KeyboardInterrupt

    path = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        fit(**everything(), epochs=EPOCHS, checkpoint=path, callbacks=[interrupt])
    run = everything()
    history = fit(**run, epochs=EPOCHS, checkpoint=path)
    assert history.resumed == best + 5
    assert bits(run, history) == never_killed


class Interrupted(SGD):
    """Half moves θ at one step, and is interrupted there."""

    at = 0
    steps = 0

    def step(self, theta, gradient):
        type(self).steps += 1
        if type(self).steps == type(self).at:
            theta[: theta.size // 2] += 1
            raise KeyboardInterrupt
        super().step(theta, gradient)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 50), max_size=3, unique=True))
def test_interrupted_runs_that_go_on_are_one_run(places):
    def run(optimizer):
        run = everything() | {"optimizer": optimizer(0.1, momentum=0.9)}
        return run | {"early_stopping": None}

    whole, parts, history = run(SGD), run(Interrupted), History()
    straight = fit(**whole, epochs=6)  # of 7 batches each
    places, epochs = sorted(places), []
    parts["callbacks"] = [lambda record: epochs.append(dict(record.values))]
    Interrupted.steps = 0
    while len(epochs) < 6:
        Interrupted.at = places.pop(0) if places else 0
        before = len(epochs)
        try:
            history = fit(**parts, epochs=6 - before)
        except KeyboardInterrupt:
            Interrupted.steps = 7 * (len(epochs) - before)
            Interrupted.steps += 7 * before
    assert [values["loss"] for values in epochs] == straight["loss"]
    assert history.epochs <= 6
    whole["early_stopping"] = parts["early_stopping"] = EarlyStopping()
    assert bits(parts, straight) == bits(whole, straight)


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_going_on_from_a_file_is_the_same_training(tmp_path, every):
    run = everything()
    whole = bits(run, fit(**run, epochs=9))
    stopped = 0

    def stop_after_four(record):
        if record.epoch == 5:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path / "run.npz", every=every)
    with pytest.raises(KeyboardInterrupt):
        fit(
            **everything(),
            epochs=9,
            checkpoint=checkpoint,
            callbacks=[stop_after_four],
        )
    run = everything(seed=2) | {k: everything()[k] for k in ("data", "validation")}
    history = fit(**run, epochs=9, checkpoint=checkpoint)
    stopped = 4 // every * every
    assert history.resumed == stopped
    assert bits(run, history) == whole
    # and once more: nothing is left to do
    run = everything(seed=3) | {k: everything()[k] for k in ("data", "validation")}
    history = fit(**run, epochs=9, checkpoint=checkpoint)
    assert history.resumed == 9
    assert bits(run, history) == whole


@pytest.mark.parametrize(
    "kind", [np.random.MT19937, np.random.Philox, np.random.SFC64, np.random.PCG64DXSM]
)
def test_every_kind_of_generator_is_kept(tmp_path, kind):
    def run():
        return plain() | {"rng": np.random.Generator(kind(5))}

    whole = run()
    fit(**whole, epochs=4)
    fit(**run(), epochs=2, checkpoint=tmp_path / "a.npz")
    rest = run()
    rest["rng"].random(100)
    fit(**rest, epochs=4, checkpoint=tmp_path / "a.npz")
    assert (whole["model"].theta == rest["model"].theta).all()
    with pytest.raises(ValueError, match="does not fit"):
        fit(**plain(), epochs=4, checkpoint=tmp_path / "a.npz")


def test_without_resume_a_new_training_begins(tmp_path):
    path = tmp_path / "a.npz"
    first = plain()
    fit(**first, epochs=3, checkpoint=path)
    second = plain()
    history = fit(**second, epochs=3, checkpoint=Checkpoint(path, resume=False))
    assert history.resumed == 0
    assert (first["model"].theta == second["model"].theta).all()


# --- what is computed ----------------------------------------------------------


def test_fit_is_the_bare_loop():
    run = plain()
    model, loss, optimizer = run["model"], run["loss"], run["optimizer"]
    for _ in range(5):
        for x, y in Batches(*run["data"], 16, rng=run["rng"]):
            loss.forward(model.forward(x), y)
            model.backward(loss.backward())
            optimizer.step(model.theta, model.gradient)
    other = plain()
    fit(**other, epochs=5)
    assert (model.theta == other["model"].theta).all()


def test_full_batches_of_sgd_agree_with_jax():
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        run = plain() | {"optimizer": SGD(0.3), "batch_size": 50}
        x, y = run["data"]
        weights = [jnp.array(q) for q in run["model"].parameters.values()]

        def loss(weights):
            w1, b1, w2, b2 = weights
            u = jnp.tanh(x @ w1.T + b1) @ w2.T + b2
            return -jax.nn.log_softmax(u)[jnp.arange(len(y)), y].mean()

        step = jax.jit(jax.value_and_grad(loss))
        values = []
        for _ in range(20):
            e, slopes = step(weights)
            values.append(float(e))
            weights = [w - 0.3 * g for w, g in zip(weights, slopes, strict=True)]
        history = fit(**run, epochs=20)
        assert np.allclose(history["loss"], values, rtol=1e-12, atol=1e-12)
        end = np.concatenate([np.ravel(w) for w in weights])
        assert np.allclose(run["model"].theta, end, rtol=0, atol=1e-13)


def test_an_epoch_mean_weighs_every_row_alike():
    run = plain() | {"optimizer": SGD(0.0), "batch_size": 16, "metrics": ["accuracy"]}
    history = fit(**run, epochs=1)  # 50 rows: batches of 16, 16, 16 and 2
    values = evaluate(run["model"], run["loss"], run["data"], metrics=["accuracy"])
    assert history["loss"][0] == pytest.approx(values["loss"], rel=1e-12)
    assert history["accuracy"][0] == pytest.approx(values["accuracy"], rel=1e-12)


def test_validation_is_judged_in_evaluation_mode_and_changes_nothing():
    run = everything()
    state = {k: v.copy() for k, v in run["model"].state.items()}
    one = evaluate(run["model"], run["loss"], run["validation"])
    assert one == evaluate(run["model"], run["loss"], run["validation"], batch_size=7)
    assert all((state[k] == v).all() for k, v in run["model"].state.items())
    run = everything() | {"early_stopping": None}
    fit(**run, epochs=3)
    other = everything() | {"early_stopping": None, "validation": None}
    fit(**other, epochs=3)
    assert (run["model"].theta == other["model"].theta).all()


def test_float32_stays_float32():
    run = plain(dtype=np.float32) | {"max_norm": 1.0, "metrics": ["accuracy"]}
    fit(**run, epochs=2)
    assert run["model"].theta.dtype == np.float32
    kept = [a for n, a in run["optimizer"].state.items() if n != "step"]
    assert {a.dtype for a in kept} == {np.dtype(np.float32)}


def test_early_stopping_puts_back_the_best_epoch_with_its_layer_states():
    run, seen = everything(), []

    def remember(record):
        seen.append(
            evaluate(record.model, run["loss"], run["validation"])["loss"],
        )

    history = fit(**run, epochs=EPOCHS, callbacks=[remember])
    assert seen == history["val_loss"]
    epoch, best = history.best("val_loss")
    assert epoch < history.epochs
    values = evaluate(run["model"], run["loss"], run["validation"])
    assert values["loss"] == best


def test_a_shared_early_stopping_must_be_fresh():
    run = everything()
    fit(**run, epochs=3)
    with pytest.raises(ValueError, match="fresh early_stopping"):
        fit(**run, epochs=3)


def test_callbacks_see_each_epoch_and_can_stop():
    records = []

    def stop(record):
        records.append((record.epoch, dict(record.values), record.history.epochs))
        return record.epoch == 3

    run = plain()
    history = fit(**run, epochs=10, callbacks=[stop, lambda record: 1])
    assert [epoch for epoch, _, _ in records] == [1, 2, 3]
    assert [values["loss"] for _, values, _ in records] == history["loss"]
    assert all(epoch == epochs for epoch, _, epochs in records)
    assert history.stopped == "by a callback"


def test_a_gradient_is_shortened():
    run = plain() | {"optimizer": SGD(1.0), "batch_size": 50}
    before = run["model"].theta.copy()
    fit(**run, epochs=1, max_norm=1e-3)
    moved = np.linalg.norm(run["model"].theta - before)
    assert moved == pytest.approx(1e-3, rel=1e-4)
    assert moved <= 1e-3


def test_integer_inputs_and_other_losses_are_served():
    class Lookup(Layer):
        def forward(self, x, *, training=False):
            return self.keep(self.parameters["weight"][x], x)

        def backward(self, v):
            x = self.recall(v)
            self.gradients["weight"][...] = 0
            np.add.at(self.gradients["weight"], x, v)

    x = np.arange(12) % 3
    model = Lookup(weight=np.zeros((3, 1)))
    y = np.array([[1.0], [2.0], [3.0]])[x]
    rng = np.random.default_rng(0)
    fit(model, MSELoss(), SGD(1.0), (x, y), epochs=60, batch_size=4, rng=rng)
    assert np.allclose(model.parameters["weight"], [[1], [2], [3]], atol=1e-6)


# --- what is not finite ---------------------------------------------------------


class Bomb(Layer):
    """Does nothing, until it has seen so many batches."""

    def __init__(self, at, backward=False):
        super().__init__(weight=np.ones(1))
        self.at, self.is_backward = at, backward
        self.state = {"seen": np.array(0)}

    def forward(self, x, *, training=False):
        if training:
            self.state["seen"] = self.state["seen"] + 1
        h = x + np.inf if self._off(training) and not self.is_backward else x + 0
        return self.keep(h, training)

    def backward(self, v):
        training = self.recall(v)
        off = self._off(training) and self.is_backward
        self.gradients["weight"][...] = np.nan if off else 0
        return v

    def _off(self, training):
        return training and self.state["seen"] == self.at


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("at", [1, 4, 5, 10])
def test_divergence_names_epoch_batch_and_layer(tmp_path, at, backward):
    def run(at):
        rng = np.random.default_rng(0)
        model = Sequential(
            Dropout(0.5, rng=rng),
            Sequential(Linear(4, 8, rng=rng), Bomb(at, backward)),
            Linear(8, 3, rng=rng),
        )
        return plain() | {"model": model, "rng": rng}

    path = tmp_path / "a.npz"
    epoch, batch = divmod(at - 1, 4)
    bad, good = run(at), run(0)
    fit(**good, epochs=epoch, checkpoint=tmp_path / "good.npz")
    kind = "gradient" if backward else "output"
    with pytest.raises(
        FloatingPointError,
        match=rf"epoch {epoch + 1}, batch {batch + 1}: first the {kind} of "
        rf"layer 1\.1, Bomb\(\)",
    ):
        fit(**bad, epochs=5, checkpoint=path)
    assert (bad["model"].theta == good["model"].theta).all()
    assert bad["rng"].bit_generator.state == good["rng"].bit_generator.state
    for name, array in good["model"].state.items():
        assert (bad["model"].state[name] == array).all()
    for name, array in good["optimizer"].state.items():
        assert (bad["optimizer"].state[name] == array).all()
    there = run(0)
    load_checkpoint(path, there["model"], there["optimizer"], rng=there["rng"])
    assert (there["model"].theta == good["model"].theta).all()


@pytest.mark.filterwarnings("error")
def test_a_rate_that_is_too_large_is_told_without_warnings():
    run = plain() | {"optimizer": SGD(1e200), "loss": MSELoss()}
    x, y = run["data"]
    run["data"] = x, np.eye(3)[y]
    with pytest.raises(FloatingPointError, match=r"first the value of MSELoss\(\)"):
        fit(**run, epochs=5)


def test_a_batch_that_is_not_finite_is_named():
    run = plain()
    run["data"][0][17, 2] = np.nan
    with pytest.raises(FloatingPointError, match="the batch itself, x"):
        fit(**run, epochs=1)


def test_validation_that_is_not_finite_is_told():
    run = plain()
    x, y = numbers(1)
    x[3, 3] = np.inf
    run["model"] = Sequential(Linear(4, 3, rng=run["rng"]))
    with pytest.raises(FloatingPointError, match="validation"):
        fit(**run, epochs=2, validation=(x, y))


# --- files ---------------------------------------------------------------------


def test_a_damaged_file_is_refused_or_means_the_same(tmp_path):
    path, rng = tmp_path / "a.npz", np.random.default_rng(0)
    run = plain()
    fit(**run, epochs=2, checkpoint=path)
    content, theta = path.read_bytes(), run["model"].theta.copy()
    refused = 0
    for trial in range(300):
        damaged = bytearray(content)
        place = int(rng.integers(len(content)))
        if trial % 3:
            damaged[place] ^= 1 << int(rng.integers(8))
        else:
            del damaged[place:]
        path.write_bytes(damaged)
        run["model"].theta[...] = 7.0
        told = ""
        try:
            load_checkpoint(path, run["model"], run["optimizer"], rng=run["rng"])
        except ValueError as error:
            told = str(error)
        assert (run["model"].theta == (7 if told else theta)).all()
        assert not told or str(path) in told
        refused += bool(told)
    assert refused > 200


def test_foreign_files_are_refused_and_nothing_is_unpickled(tmp_path):
    model = plain()["model"]
    path = tmp_path / "a.npz"
    for write in (
        lambda: path.write_bytes(b""),
        lambda: path.write_text("no checkpoint"),
        lambda: np.savez(path, theta=np.zeros(3)),
        lambda: np.savez(path, about=np.array([print], dtype=object)),
        lambda: np.savez(path, about=np.frombuffer(b'{"format": "2"}', np.uint8)),
    ):
        write()
        with pytest.raises(ValueError, match=r"a\.npz is no checkpoint, or damaged"):
            load_checkpoint(path, model)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "b.npz", model)


def test_a_checkpoint_of_another_model_names_what_differs(tmp_path):
    path, rng = tmp_path / "a.npz", np.random.default_rng(0)
    run = plain()
    fit(**run, epochs=1, checkpoint=path)
    wider = Sequential(Linear(4, 9, rng=rng), Tanh(), Linear(9, 3, rng=rng))
    told = r"0\.weight is of shape \(8, 4\) and float64 there, of shape \(9, 4\)"
    for model, message in (
        (wider, told),
        (Sequential(Linear(4, 8, rng=rng)), r"2\.weight .* there, missing here"),
        (plain(dtype=np.float32)["model"], "float64 there, .* float32 here"),
        (
            Sequential(*plain()["model"].layers, BatchNorm1d(3)),
            r"3\.weight is missing there",
        ),
    ):
        before = model.theta.copy(), {k: v.copy() for k, v in model.state.items()}
        with pytest.raises(ValueError, match=message):
            load_checkpoint(path, model)
        assert (model.theta == before[0]).all()
    model = plain(seed=9)["model"]
    before = model.theta.copy()
    with pytest.raises(ValueError, match="does not fit"):
        load_checkpoint(path, model, RMSprop(0.1))
    with pytest.raises(ValueError, match="no state of early_stopping"):
        load_checkpoint(path, model, early_stopping=EarlyStopping())
    assert (model.theta == before).all()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("batch_size", 25, "batch_size was 16, and is 25"),
        ("optimizer", Adam(0.02), r"lr was 0\.01, and is 0\.02"),
        ("loss", MSELoss(), r"loss was CrossEntropyLoss\(\), and is MSELoss"),
        ("max_norm", 2.0, "max_norm was None, and is 2.0"),
        ("metrics", ["accuracy"], "metrics was"),
    ],
)
def test_another_training_does_not_go_on_by_mistake(tmp_path, name, value, told):
    fit(**plain(), epochs=1, checkpoint=tmp_path / "a.npz")
    run = plain() | {name: value}
    if name == "loss":
        run["data"] = run["data"][0], np.zeros((50, 3))
    before = run["model"].theta.copy()
    with pytest.raises(ValueError, match=told):
        fit(**run, epochs=2, checkpoint=tmp_path / "a.npz")
    assert (run["model"].theta == before).all()


def test_a_schedule_that_is_a_function_may_go_on(tmp_path):
    whole = plain() | {"optimizer": SGD(lambda k: 1 / k)}
    fit(**whole, epochs=3)
    for epochs in (1, 3):
        run = plain() | {"optimizer": SGD(lambda k: 1 / k)}
        fit(**run, epochs=epochs, checkpoint=tmp_path / "a.npz")
    assert (run["model"].theta == whole["model"].theta).all()


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file(tmp_path, monkeypatch, name):
    path, run = tmp_path / "a.npz", plain()
    save_checkpoint(path, run["model"])
    content = path.read_bytes()

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training.os, name, fail)
    run["model"].theta += 1
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, run["model"])
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_a_missing_folder_is_told_before_anything_is_trained(tmp_path):
    run = plain()
    before = run["model"].theta.copy()
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        fit(**run, epochs=1, checkpoint=tmp_path / "nowhere" / "a.npz")
    with pytest.raises(OSError):  # noqa: PT011 (a folder is no file)
        fit(**run, epochs=1, checkpoint=tmp_path)
    assert (run["model"].theta == before).all()


def test_a_model_alone_can_be_kept(tmp_path):
    run = everything()
    fit(**run, epochs=3)
    save_checkpoint(tmp_path / "a.npz", run["model"])
    other = everything(seed=5)["model"]
    load_checkpoint(tmp_path / "a.npz", other)
    x, _ = run["validation"]
    assert (other.forward(x) == run["model"].forward(x)).all()


# --- bad input -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"epochs": -1}, ValueError, "fit wants epochs from 0 on, got -1"),
        ({"epochs": 2.0}, TypeError, "fit wants epochs as an integer"),
        ({"batch_size": 51}, ValueError, "batch_size from 1 to .* 50, got 51"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"data": numbers()[0]}, TypeError, r"a pair \(x, y\)"),
        ({"data": (np.zeros((0, 4)), np.zeros(0, int))}, ValueError, "at least one"),
        ({"data": (np.zeros((5, 4)), np.zeros(4, int))}, ValueError, "5 and 4"),
        ({"data": (np.zeros((50, 5)), np.zeros(50, int))}, ValueError, "shape"),
        ({"data": (np.zeros((50, 4)), np.full(50, 3))}, ValueError, "0 to 2, got 3"),
        ({"validation": (np.zeros((5, 3)), np.zeros(5, int))}, ValueError, r"\(5, 3\)"),
        ({"validation": (np.zeros((5, 4)), np.full(5, 9))}, ValueError, "got 9"),
        ({"validation": np.zeros((5, 4))}, TypeError, "pair"),
        ({"metrics": ["f1"]}, ValueError, "out of .*accuracy.*'f1'"),
        ({"metrics": "accuracy"}, TypeError, "as a list"),
        ({"metrics": ["accuracy", accuracy]}, ValueError, "name of its own"),
        ({"early_stopping": EarlyStopping()}, ValueError, "wants validation"),
        ({"callbacks": [3]}, TypeError, "functions as callbacks"),
        ({"rng": 0}, TypeError, "rng"),
        ({"model": "a model"}, TypeError, "fit wants model as a Layer"),
        ({"optimizer": 0.1}, TypeError, "fit wants optimizer as a Optimizer"),
        ({"max_norm": -1.0}, ValueError, "max_norm"),
        ({"checkpoint": Checkpoint}, TypeError, "path"),
    ],
)
def test_bad_input_is_refused_and_nothing_moves(changes, error, told):
    run = plain() | {"epochs": 1}
    model, before = run["model"], run["model"].theta.copy()
    stands = run["rng"].bit_generator.state
    rng = run["rng"]
    with pytest.raises(error, match=told):
        fit(**run | changes)
    assert (model.theta == before).all()
    assert rng.bit_generator.state == stands


def test_labels_out_of_range_late_in_an_epoch_move_nothing():
    run = everything() | {"validation": None, "early_stopping": None, "epochs": 2}
    run["data"][1][-1] = 3
    before, state = run["model"].theta.copy(), run["model"].state
    with pytest.raises(ValueError, match="labels from 0 to 2"):
        fit(**run)
    assert (run["model"].theta == before).all()
    assert all((state[k] == v).all() for k, v in run["model"].state.items())


def test_a_checkpoint_wants_a_count():
    with pytest.raises(ValueError, match="every from 1 on"):
        Checkpoint("a.npz", every=0)
    with pytest.raises(TypeError, match="every as an integer"):
        Checkpoint("a.npz", every=1.5)


# --- measures ---------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 2**32))
def test_accuracy_is_the_trace_of_the_confusion_matrix(rows, classes, seed):
    rng = np.random.default_rng(seed)
    u, y = rng.standard_normal((rows, classes)), rng.integers(0, classes, rows)
    table = confusion_matrix(y, u.argmax(1), classes)
    assert table.sum() == rows
    assert np.trace(table) / rows == pytest.approx(accuracy(u, y))
    assert accuracy(u, np.eye(classes)[y]) == accuracy(u, y)
    for meant in range(classes):
        for read in range(classes):
            both = (y == meant) & (u.argmax(1) == read)
            assert table[meant, read] == both.sum()


def test_accuracy_of_single_logits():
    u = np.array([[-1.0], [2.0], [0.5], [-3.0]])
    for y in ([0, 1, 0, 0], [-1, 1, -1, -1]):
        assert accuracy(u, np.array(y)) == 0.75
        assert accuracy(u[:, 0], np.array(y)) == 0.75
        assert accuracy(u, np.array(y)[:, None]) == 0.75


@pytest.mark.parametrize(
    ("u", "y"),
    [((4, 3), (3,)), ((4, 3), (4, 2)), ((4, 1), (5,)), ((0, 3), (0,)), ((4,), (4, 4))],
)
def test_accuracy_refuses_what_does_not_fit(u, y):
    with pytest.raises(ValueError, match="accuracy wants"):
        accuracy(np.zeros(u), np.zeros(y, int))


@pytest.mark.parametrize(
    ("y", "answers", "classes", "error"),
    [
        ([0, 1], [0], None, ValueError),
        ([0, 3], [0, 1], 3, ValueError),
        ([0, -1], [0, 1], None, ValueError),
        ([0.0, 1.0], [0, 1], None, TypeError),
        ([[0], [1]], [[0], [1]], None, ValueError),
        (np.zeros(0, int), np.zeros(0, int), None, ValueError),
    ],
)
def test_confusion_matrix_refuses_what_are_no_labels(y, answers, classes, error):
    with pytest.raises(error, match="confusion_matrix wants"):
        confusion_matrix(np.array(y), np.array(answers), classes)


def test_metrics_may_be_functions():
    def largest(u, y):
        return u.max()

    run = plain() | {"metrics": [largest, "accuracy"], "validation": numbers(3)}
    history = fit(**run, epochs=2)
    assert list(history) == [
        "loss",
        "largest",
        "accuracy",
        "val_loss",
        "val_largest",
        "val_accuracy",
    ]


def test_evaluate_of_one_logit():
    x, y = np.array([[1.0], [-1.0]]), np.array([[1], [0]])
    values = evaluate(Flatten(), BCEWithLogitsLoss(), (x, y), metrics=["accuracy"])
    assert values["accuracy"] == 1
    assert values["loss"] == pytest.approx(np.log1p(np.exp(-1)))


# --- history and search -------------------------------------------------------------


def test_history_draws_and_tells():
    run = everything()
    history = fit(**run, epochs=4)
    svg = history.plot()._repr_html_()
    assert svg.count("<svg") >= 1
    assert "val_loss" in svg
    assert "val_accuracy" in history._repr_html_()
    assert History(loss=[2.0, 1.0]).plot()._repr_html_()
    assert History(loss=[2.0, 1.0], accuracy=[0.1, 0.5]).best("accuracy") == (2, 0.5)
    with pytest.raises(ValueError, match="no epoch"):
        History().plot()
    with pytest.raises(ValueError, match="nothing in 'val_loss'"):
        History(loss=[1.0]).best("val_loss")
    assert repr(History()) == "History of 0 epochs: none"


def test_a_search_counts_what_diverges():
    def train(lr, seed):
        if lr > 5:
            raise FloatingPointError
        return np.nan if lr < 0.05 else (np.log10(lr) - seed / 10) ** 2

    search = learning_rate_search(train, [10, 0.01, 1, 0.1])
    assert search.rates == (0.01, 0.1, 1.0, 10.0)
    assert np.isinf(search.costs[[0, 3]]).all()
    assert search.best == 1
    assert not search.at_edge
    assert "<svg" in search.plot()._repr_html_()
    assert learning_rate_search(train, [0.1, 1]).at_edge


@pytest.mark.parametrize(
    ("rates", "seeds"), [([], [1]), ([1], []), ([0, 1], [1]), ([1, 1.0], [1])]
)
def test_a_search_wants_rates_and_seeds(rates, seeds):
    with pytest.raises(ValueError, match="learning_rate_search wants"):
        learning_rate_search(lambda lr, seed: 0.0, rates, seeds=seeds)


def test_a_search_in_which_all_diverges_says_so():
    with pytest.raises(ValueError, match="every rate"):
        learning_rate_search(lambda lr, seed: np.inf, [1, 2])


# --- what a file must hold, and be compared with --------------------------------


def without(path, *words):
    with np.load(path) as file:
        arrays = {k: v for k, v in file.items() if not k.startswith(words)}
    np.savez(path, **arrays)


def test_a_file_without_its_losses_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    fit(**plain(), epochs=3, checkpoint=path)
    without(path, "history.")
    run = plain()
    before = run["model"].theta.copy()
    with pytest.raises(ValueError, match="of 3 epochs and holds the losses of 0"):
        fit(**run, epochs=6, checkpoint=path)
    assert (run["model"].theta == before).all()


def best_and_later(path, **options):
    """A training saved by hand after its best epoch, and where that was."""
    run = everything()
    history = fit(**run, epochs=EPOCHS)
    best, _ = history.best("val_loss")

    def save(record):
        if record.epoch == best + 3:
            parts = {k: other[k] for k in ("rng", "early_stopping")} | options
            save_checkpoint(
                path, record.model, record.optimizer, history=record.history, **parts
            )

    other = everything()
    fit(**other, epochs=EPOCHS, callbacks=[save])
    return run, history, best


def test_a_file_saved_by_hand_has_the_best_epoch_whole(tmp_path):
    path = tmp_path / "a.npz"
    run, history, best = best_and_later(path)
    again = everything()
    went_on = fit(**again, epochs=EPOCHS, checkpoint=path)
    assert went_on.resumed == best + 3
    assert bits(again, went_on) == bits(run, history)
    other, stopping = everything(seed=4), EarlyStopping(patience=25)
    told = load_checkpoint(path, other["model"], early_stopping=stopping)
    stopping.restore(other["model"].theta)
    other["model"].state |= told.best_state
    values = evaluate(other["model"], run["loss"], run["validation"])
    assert values["loss"] == history.best("val_loss")[1]


def test_early_stopping_is_not_saved_without_the_history_it_belongs_to(tmp_path):
    run = everything()
    fit(**run, epochs=3)
    for history in (None, History(val_loss=[1.0])):
        with pytest.raises(ValueError, match="wants the history"):
            save_checkpoint(
                tmp_path / "a.npz",
                run["model"],
                early_stopping=run["early_stopping"],
                history=history,
            )
    assert not (tmp_path / "a.npz").exists()


def dropped(p=0.3, between=Tanh, rng=None, **norm):
    rng = np.random.default_rng(0) if rng is None else rng
    model = Sequential(
        Linear(4, 8, rng=rng),
        BatchNorm1d(8, **norm),
        between(),
        Dropout(p, rng=rng),
        Linear(8, 3, rng=rng),
    )
    return plain() | {"model": model, "validation": numbers(5)}


class Turned(MSELoss):
    """A loss with a setting that its name does not tell."""

    def __init__(self, weights):
        self.weights = weights

    def forward(self, u, y):
        return super().forward(u, np.eye(3)[y] * self.weights)


DECAY = np.zeros(83)


@pytest.mark.parametrize(
    ("first", "then", "told"),
    [
        ({}, dropped(between=ReLU), r"layer 2 was Tanh\(\), and is ReLU\(\)"),
        ({}, dropped(p=0.9), r"layer 3 was Dropout.*0.3.*0\.9"),
        ({}, dropped(momentum=0.2), r"layer 1 was BatchNorm1d.*momentum=0\.2"),
        ({}, {"data": (numbers(9)[0], numbers()[1])}, "x was .* and is"),
        ({}, {"data": (numbers()[0], 2 - numbers()[1])}, "y was .* and is"),
        ({}, {"validation": numbers(6)}, "validation x was"),
        ({}, {"validation": (numbers(5)[0], 2 - numbers(5)[1])}, "validation y was"),
        ({}, {"validation": None}, "validation x was"),
        (
            {"optimizer": AdamW(0.01, weight_decay=DECAY)},
            {"optimizer": AdamW(0.01, weight_decay=DECAY + np.arange(83.0))},
            "optimizer was AdamW",
        ),
        ({"loss": Turned(np.ones(3))}, {"loss": Turned(np.arange(3.0))}, "loss was"),
        ({}, {"early_stopping": EarlyStopping()}, "early_stopping was None"),
        ({}, {"metrics": ["accuracy"]}, "metrics was"),
        ({}, {"drop_last": True}, "drop_last was False, and is True"),
    ],
)
def test_what_differs_from_the_file_is_named(tmp_path, first, then, told):
    fit(**dropped() | first, epochs=2, checkpoint=tmp_path / "a.npz")
    run = dropped() | first | then
    before, state = run["model"].theta.copy(), run["model"].state
    with pytest.raises(ValueError, match=told):
        fit(**run, epochs=4, checkpoint=tmp_path / "a.npz")
    assert (run["model"].theta == before).all()
    assert all((run["model"].state[k] == v).all() for k, v in state.items())


def test_the_same_settings_in_other_objects_are_the_same(tmp_path):
    def run():
        decay = np.linspace(0, 1, 83)
        return dropped() | {"optimizer": AdamW(0.01, weight_decay=decay)}

    whole = run()
    fit(**whole, epochs=4)
    fit(**run(), epochs=2, checkpoint=tmp_path / "a.npz")
    rest = run()
    x, y = rest["data"]
    rest["data"] = np.asfortranarray(x), y.copy()
    history = fit(**rest, epochs=4, checkpoint=tmp_path / "a.npz")
    assert history.resumed == 2
    assert (rest["model"].theta == whole["model"].theta).all()


# --- not finite, at the seams ----------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 5])
def test_a_last_step_that_overflows_is_no_epoch(tmp_path, epochs):
    rng, path = np.random.default_rng(0), tmp_path / "a.npz"
    x = rng.standard_normal((16, 3))
    model = Linear(3, 1, rng=rng)
    before = model.theta.copy()
    with pytest.raises(
        FloatingPointError,
        match=r"batch 1: first weight of Linear\(3 → 1\), after the step",
    ):
        fit(
            model,
            MSELoss(),
            SGD(1e308),
            (x, 100 * x[:, :1]),
            epochs=epochs,
            batch_size=16,
            rng=rng,
            checkpoint=path,
        )
    assert (model.theta == before).all()
    model.theta[...] = 7
    load_checkpoint(path, model)
    assert (model.theta == before).all()


def test_running_statistics_and_moments_that_overflow_are_no_epoch():
    run = dropped()
    run["model"][1].state |= {"running_var": np.full(8, 1.7e308)}
    run["data"] = run["data"][0] * 1e154, run["data"][1]
    run |= {"validation": None, "batch_size": 50, "optimizer": SGD(0.0)}
    with pytest.raises(
        FloatingPointError,
        match=r"running_var of layer 1, BatchNorm1d.*, after the step",
    ):
        fit(**run, epochs=1)
    run = plain() | {"loss": MSELoss(), "batch_size": 50}
    run |= {"data": (run["data"][0], np.zeros((50, 3))), "loss": Small()}
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            FloatingPointError, match="exp_avg_sq of the optimizer, after the step"
        ),
    ):
        fit(**run, epochs=1)


class Small(MSELoss):
    """A finite loss with a huge gradient."""

    def forward(self, u, y):
        super().forward(u, u * 0)
        return 0.0

    def backward(self):
        return super().backward() * 0 + 1e160


def test_what_was_infinite_from_the_start_is_allowed():
    class Highest(Layer):
        def __init__(self):
            super().__init__()
            self.state = {"highest": np.array(-np.inf), "never": np.array(np.inf)}

        def forward(self, x, *, training=False):
            return self.keep(x, None)

        def backward(self, v):
            return v

    run = plain()
    run["model"] = Sequential(*run["model"].layers, Highest())
    assert fit(**run, epochs=2).epochs == 2


def test_targets_that_are_not_finite_are_named():
    run = plain() | {"loss": MSELoss()}
    y = np.zeros((50, 3))
    y[31, 1] = np.nan
    with pytest.raises(FloatingPointError, match="the batch itself, y"):
        fit(**run | {"data": (run["data"][0], y)}, epochs=1)


class Root(Layer):
    """The slope of a root at 0 is infinite."""

    def forward(self, x, *, training=False):
        return self.keep(np.sqrt(abs(x)), abs(x))

    def backward(self, v):
        return v * 0.5 / np.sqrt(self.recall(v))


class Silent(MSELoss):
    """Its value is finite, its derivative is not."""

    def backward(self):
        return super().backward() * np.nan


def test_a_v_that_is_not_finite_is_blamed_on_its_maker():
    rng = np.random.default_rng(0)
    x, y = np.zeros((16, 4)), np.ones((16, 3))
    model = Sequential(Linear(4, 3, rng=rng), Root())
    model.theta[...] = 0
    for loss, told in (
        (MSELoss(), r"first the v-values that layer 1, Root\(\) hands back"),
        (Silent(), r"first the v-values of Silent\(\)"),
    ):
        with pytest.raises(FloatingPointError, match=told):
            fit(model, loss, SGD(0.1), (x, y), epochs=1, batch_size=16, rng=rng)


def test_validation_is_told_with_the_epoch_after_which_it_was_judged():
    run = plain() | {"validation": numbers(3)}
    run["model"].theta[0] = np.nan
    with pytest.raises(FloatingPointError, match="nan before the first epoch"):
        fit(**run, epochs=2)

    class Late(CrossEntropyLoss):
        def forward(self, u, y):
            e = super().forward(u, y)
            return np.nan if len(y) == 20 and moved() else e

    run = plain() | {"validation": numbers(3, rows=20), "loss": Late()}
    start = run["model"].theta.copy()
    moved = lambda: (run["model"].theta != start).any()
    with pytest.raises(FloatingPointError, match="nan after epoch 1"):
        fit(**run, epochs=2)
    assert (run["model"].theta == start).all()


def test_a_file_is_loaded_before_the_model_is_judged(tmp_path):
    def run():
        return plain() | {"validation": numbers(3)}

    whole = run()
    fit(**whole, epochs=4)
    fit(**run(), epochs=2, checkpoint=tmp_path / "a.npz")
    spoiled = run()
    spoiled["model"].theta[...] = np.nan
    fit(**spoiled, epochs=4, checkpoint=tmp_path / "a.npz")
    assert (spoiled["model"].theta == whole["model"].theta).all()


def test_after_divergence_the_file_is_of_a_multiple_of_every(tmp_path):
    run = plain() | {"optimizer": SGD(30.0), "loss": MSELoss()}
    run["data"] = run["data"][0], np.eye(3)[run["data"][1]]
    run["model"] = Linear(4, 3, rng=run["rng"])
    path = tmp_path / "a.npz"
    with pytest.raises(FloatingPointError) as caught:
        fit(**run, epochs=500, checkpoint=Checkpoint(path, every=10))
    epoch = int(str(caught.value).partition("epoch ")[2].partition(",")[0])
    assert load_checkpoint(path, run["model"]).epochs == (epoch - 1) // 10 * 10


# --- all or nothing at the start and at the end --------------------------------------


def stale():
    stopping = EarlyStopping()
    stopping.update(1.0, np.zeros(67))
    return stopping


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"early_stopping": stale()}, ValueError, "fresh early_stopping"),
        ({"max_norm": -1.0}, ValueError, "max_norm"),
        ({"max_norm": np.nan}, ValueError, "max_norm"),
        ({"max_norm": "1"}, TypeError, "max_norm"),
        ({"validation": (np.zeros((5, 3)), np.zeros(5, int))}, ValueError, "shape"),
        ({"progress": True}, ImportError, "tqdm"),
    ],
)
def test_a_call_that_fails_leaves_the_old_file(
    tmp_path, monkeypatch, changes, error, told
):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    path = tmp_path / "a.npz"
    fit(**plain(), epochs=3, checkpoint=path)
    content = path.read_bytes()
    run = plain() | {"validation": numbers(5)} | changes
    for checkpoint in (Checkpoint(path, resume=False), Checkpoint(path)):
        before = run["model"].theta.copy()
        with pytest.raises((error, ValueError), match=f"{told}|another training"):
            fit(**run, epochs=3, checkpoint=checkpoint)
        assert path.read_bytes() == content
        assert (run["model"].theta == before).all()


def test_a_file_whose_parts_do_not_belong_together_moves_nothing(tmp_path):
    path, run = tmp_path / "a.npz", everything()
    fit(**run, epochs=3, checkpoint=path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["early_stopping.updates"] = np.array(2)
    arrays["early_stopping.best_update"] = np.array(1)
    np.savez(path, **arrays)
    other = everything()
    before = other["model"].theta.copy(), other["optimizer"].state
    with pytest.raises(ValueError, match="early_stopping of 2 epochs"):
        fit(**other, epochs=6, checkpoint=path)
    assert (other["model"].theta == before[0]).all()
    assert other["optimizer"].state == {}


def interrupted(call, function, line):
    """Call it, and press Ctrl-C at a line of one function of the module."""
    seen = 0

    def trace(frame, event, argument):
        nonlocal seen
        code = frame.f_code
        if code.co_name != function or "training" not in code.co_filename:
            return trace if event == "call" else None
        if event == "line":
            seen += 1
            if seen == line:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    old = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(old)
    return False


def test_an_interrupt_at_the_end_leaves_the_last_epoch_or_the_best():
    def run():
        return dropped(p=0.0) | {"early_stopping": EarlyStopping(patience=4)}

    def judged(run):
        return evaluate(run["model"], run["loss"], run["validation"])["loss"]

    hits = 0
    for line in range(1, 30):
        parts, last = run() | {"optimizer": Adam(0.1)}, []
        parts["callbacks"] = [lambda r, last=last: last.append(r.values["val_loss"])]
        hit = interrupted(lambda parts=parts: fit(**parts, epochs=60), "_finish", line)
        assert judged(parts) in (last[-1], min(last))
        hits += hit
        if not hit:
            break
    assert hits >= 3


# --- rates and callbacks ------------------------------------------------------------


def halve(record):
    record.optimizer.lr = record.optimizer.lr / 2


def test_a_rate_that_a_callback_sets_is_part_of_the_training(tmp_path):
    def run():
        return plain() | {"callbacks": [halve]}

    whole = run()
    fit(**whole, epochs=6)
    fit(**run(), epochs=3, checkpoint=tmp_path / "a.npz")
    rest = run()
    assert fit(**rest, epochs=6, checkpoint=tmp_path / "a.npz").resumed == 3
    assert (rest["model"].theta == whole["model"].theta).all()
    assert rest["optimizer"].lr == whole["optimizer"].lr == 0.01 / 64


def test_an_interrupt_puts_the_rate_back_and_the_same_objects_go_on(tmp_path):
    def stop(record):
        if record.epoch == 2 and not stopped:
            stopped.append(record.epoch)
            raise KeyboardInterrupt

    whole = plain() | {"callbacks": [halve]}
    fit(**whole, epochs=4)
    stopped, run = [], plain() | {"callbacks": [halve, stop]}
    with pytest.raises(KeyboardInterrupt):
        fit(**run, epochs=4, checkpoint=tmp_path / "a.npz")
    assert run["optimizer"].lr == 0.005
    assert fit(**run, epochs=4, checkpoint=tmp_path / "a.npz").resumed == 1
    assert (run["model"].theta == whole["model"].theta).all()
    with pytest.raises(ValueError, match=r"lr was 0\.01, and is 0\.003"):
        fit(**plain() | {"optimizer": Adam(0.003)}, epochs=9,
            checkpoint=tmp_path / "a.npz")  # fmt: skip


def test_a_loaded_model_keeps_the_rate_that_it_is_given(tmp_path):
    fit(**plain(), epochs=2, checkpoint=tmp_path / "a.npz")
    optimizer = Adam(0.5)
    load_checkpoint(tmp_path / "a.npz", plain()["model"], optimizer)
    assert optimizer.lr == 0.5
    run = plain() | {"optimizer": Adam(0.25)}
    save_checkpoint(tmp_path / "b.npz", run["model"], Adam(0.5), rng=run["rng"])
    fit(**run, epochs=1, checkpoint=tmp_path / "b.npz")
    assert run["optimizer"].lr == 0.25
    schedule = Adam(lambda k: 0.1)
    load_checkpoint(tmp_path / "a.npz", plain()["model"], schedule)
    assert callable(schedule.lr)


def test_numpy_says_stop_too_and_values_are_floats():
    def half(u, y):
        return np.float64(0.5)

    run = plain() | {"metrics": [half], "validation": numbers(3)}
    kinds = []
    history = fit(
        **run,
        epochs=5,
        callbacks=[
            lambda record: kinds.extend(map(type, record.values.values())),
            lambda record: np.float64(record.values["half"]) > 0.4,
        ],
    )
    assert history.epochs == 1
    assert history.stopped == "by a callback"
    assert set(kinds) == {float}


def test_metrics_have_names_of_their_own(tmp_path):
    def share(u, y, k):
        return 1.0

    for epochs in (2, 4):
        metrics = [partial(share, k=epochs - epochs)]
        history = fit(
            **plain() | {"metrics": metrics},
            epochs=epochs,
            checkpoint=tmp_path / "a.npz",
        )
    assert {len(values) for values in history.values()} == {4}
    for name in ("val_loss", "loss"):
        share.__name__ = name
        with pytest.raises(ValueError, match=f"'{name}'"):
            fit(**plain(), epochs=1, metrics=[share])


def test_a_best_epoch_is_never_a_nan():
    assert History(val_top=[np.nan, 0.1, 0.7, 0.2]).best("val_top") == (3, 0.7)
    assert History(loss=[np.nan, 1.0, 0.5]).best("loss") == (3, 0.5)
    with pytest.raises(ValueError, match="nothing but NaN in 'loss'"):
        History(loss=[np.nan]).best("loss")
    assert "nan" in repr(History(loss=[np.nan]))


def test_accuracy_takes_no_nan_for_an_answer():
    u = np.array([[np.nan, 1.0], [0.0, 1.0]])
    assert accuracy(u, np.array([0, 1])) == 0.5
    assert accuracy(u[:, 0], np.array([0, 0])) == 0.5
    for labels in ([0, 2], [-1, 0]):
        with pytest.raises(ValueError, match="labels from 0 to 1"):
            accuracy(np.zeros((2, 2)), np.array(labels))
    with pytest.raises(ValueError, match="accuracy wants"):
        accuracy(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)))


@pytest.mark.parametrize("rate", [np.nan, np.inf])
def test_a_search_wants_finite_rates(rate):
    with pytest.raises(ValueError, match="learning_rate_search wants"):
        learning_rate_search(lambda lr, seed: 0.0, [1.0, rate])


# --- the bar -------------------------------------------------------------------------


def test_the_bar_goes_to_standard_output(capfd):
    run = plain()
    fit(**run, epochs=3, progress=True)
    out, err = capfd.readouterr()
    assert err == ""
    assert "epoch 3/3" in out
    assert "12/12" in out
    other = plain()
    fit(**other, epochs=3)
    assert capfd.readouterr() == ("", "")
    assert (run["model"].theta == other["model"].theta).all()


def test_the_bar_goes_on_where_a_killed_run_was(tmp_path, capfd):
    fit(**plain(), epochs=2, checkpoint=tmp_path / "a.npz")
    fit(**plain(), epochs=3, checkpoint=tmp_path / "a.npz", progress=True)
    out, err = capfd.readouterr()
    assert "12/12" in out
    assert " 8/12" in out
    assert err == ""


def test_without_tqdm_the_bar_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "tqdm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"backprop-lit\[progress\]"):
        fit(**plain(), epochs=1, progress=True)


def test_in_a_notebook_the_bar_is_no_error_output():
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    code = (
        "from killed_training import everything, fit\n"
        "fit(**everything(), epochs=2, progress=True) and None"
    )
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(
        nb, timeout=60, resources={"metadata": {"path": str(ROOT / "tests")}}
    ).execute()
    outputs = nb.cells[0].outputs
    assert outputs
    assert not [out for out in outputs if out.get("name") == "stderr"]


# --- what the page says of its recipe -------------------------------------------------


def run_recipe(*words):
    command = [sys.executable, ROOT / "bench" / "choose_recipe.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def test_one_training_of_the_page_takes_a_second_and_a_half_at_most():
    assert min(map(float, run_recipe("seconds").split())) < 1.5


def test_the_table_of_looks_is_of_this_recipe(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # the script sets it
    spec = importlib.util.spec_from_file_location(
        "choose_recipe", ROOT / "bench" / "choose_recipe.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page, table = module.page(), (ROOT / "bench" / "choose_recipe.txt").read_text()
    assert page["MOVES"] == module.MOVES
    rows = table.splitlines()[1:]
    for row, (name, changed) in zip(rows, module.LOOKS.items(), strict=True):
        assert row.startswith(name)
        for key, value in changed.items():
            assert page[key] != value
            assert key == "MOVES" or not value or f"{value:g}" in name
    best = min(rows, key=lambda row: float(row.split("%")[1].split()[0]))
    assert not best.startswith("as on the page")  # as the page admits
