"""The digits that travel with the package: the bytes, their shape, the one split."""

import gzip
import hashlib
import re
import zipfile

import numpy as np
import pytest
from conftest import ROOT

from backprop_lit.digits import load_digits, split_digits

ASSETS = ROOT / "backprop_lit" / "assets"


def test_the_file_is_the_one_that_its_note_describes():
    data = (ASSETS / "digits.npy").read_bytes()
    note = (ASSETS / "DIGITS.md").read_text(encoding="utf-8")
    (sha256,) = re.findall(r"\b[0-9a-f]{64}\b", note)
    assert hashlib.sha256(data).hexdigest() == sha256
    assert "CC BY 4.0" in note
    assert "10.24432/C50P49" in note


def test_shapes_types_and_ranges():
    x, y = load_digits()
    assert x.shape == (1797, 64)
    assert x.dtype == np.float64
    assert y.shape == (1797,)
    assert y.dtype == np.int64
    assert x.min() == 0
    assert x.max() == 1
    assert (16 * x == np.round(16 * x)).all()
    assert load_digits(np.float32)[0].dtype == np.float32


def test_counts_are_those_that_uci_states():
    _, y = load_digits()
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(y).tolist() == counts


def test_every_call_returns_arrays_of_its_own():
    x, y = load_digits()
    x[:], y[:] = -1, -1
    again, labels = load_digits()
    assert again.min() == 0
    assert labels.min() == 0


OTHERS = [int, bool, np.uint8, None, complex, object, np.float16]


@pytest.mark.parametrize("dtype", OTHERS)
def test_pixels_are_float64_or_float32_and_nothing_else(dtype):
    for load in (load_digits, split_digits):
        with pytest.raises(TypeError, match="wants dtype float64 or float32"):
            load(dtype)
    for good in (float, "float32", np.dtype(np.float64)):
        assert load_digits(good)[0].dtype == np.dtype(good)


def rows_of(x, y):
    return {row.tobytes() + bytes([digit]) for row, digit in zip(x, y, strict=True)}


def test_the_split_is_disjoint_and_complete():
    (x, y), (x_held, y_held) = split_digits()
    everything = rows_of(*load_digits())
    assert len(everything) == 1797  # no image occurs twice, so that none can leak
    learn, held = rows_of(x, y), rows_of(x_held, y_held)
    assert not learn & held
    assert learn | held == everything


def test_the_split_is_stratified():
    (_, y), (_, y_held) = split_digits()
    counts = np.bincount(load_digits()[1])
    held = np.bincount(y_held)
    assert held.tolist() == [round(count / 5) for count in counts]
    assert (np.bincount(y) + held == counts).all()


def test_the_split_is_fixed():
    (x, y), (x_held, y_held) = split_digits()
    (again, _), (again_held, _) = split_digits(np.float32)
    assert (x == again).all()
    assert (x_held == again_held).all()
    digest = hashlib.sha256(y.astype(np.uint8).tobytes())
    digest.update(y_held.astype(np.uint8).tobytes())
    digest.update((16 * x_held).astype(np.uint8).tobytes())
    assert digest.hexdigest().startswith("b9b2d6830d329259")


def test_the_same_bytes_are_made_again(tmp_path, monkeypatch):
    make = pytest.importorskip("make_digits")
    target = tmp_path / "assets" / "digits.npy"
    monkeypatch.setattr(make, "TARGET", target)
    table = np.load(ASSETS / "digits.npy")
    text = "\n".join(",".join(map(str, row)) for row in table.tolist())
    packed = gzip.compress(text.encode())
    wheel = tmp_path / "any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(make.MEMBER, packed)
    with pytest.raises(SystemExit, match="wanted"):
        make.main([str(wheel)])
    assert not target.exists()
    monkeypatch.setattr(make, "DIGITS", hashlib.sha256(packed).hexdigest())
    make.main([str(wheel)])
    assert target.read_bytes() == (ASSETS / "digits.npy").read_bytes()
