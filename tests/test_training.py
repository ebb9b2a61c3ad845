"""Training: killed, interrupted, diverged, damaged; and always the same bits."""

import json
import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from killed_training import EPOCHS, bits, everything

from backprop_lit import training
from backprop_lit.activations import Tanh
from backprop_lit.data import Batches
from backprop_lit.layer import Layer
from backprop_lit.losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from backprop_lit.network import Flatten, Linear, Sequential
from backprop_lit.normalization import BatchNorm1d
from backprop_lit.optimizers import SGD, Adam, RMSprop
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
        assert np.allclose(history["loss"], values, rtol=1e-12)
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
        ("batch_size", 25, "data was Batches"),
        ("optimizer", Adam(0.02), r"optimizer was Adam\(lr=0.01"),
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
        ({"metrics": ["accuracy", accuracy]}, ValueError, "twice"),
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
