"""Data: splits, batches, scaling, one-hot; files that are fetched, or refused."""

import gzip
import hashlib
import os
import pickle
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backprop_lit import data
from backprop_lit.data import (
    Batches,
    StandardScaler,
    batches,
    fashion_mnist,
    fetch,
    load_data,
    mnist,
    one_hot,
    read_idx,
    train_test_split,
    wilson_interval,
)
from backprop_lit.digits import load_digits, split_digits
from backprop_lit.losses import CrossEntropyLoss

RNG = np.random.default_rng


def numbered(rows):
    """x and y that tell their row."""
    y = np.arange(rows)
    return y[:, None] * np.array([1.0, 10.0]), y


# Splits


@given(st.integers(2, 60), st.floats(0.05, 0.95), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_split_is_a_partition_in_order(rows, share, seed):
    x, y = numbered(rows)
    wanted = round(share * rows)
    if not 0 < wanted < rows:
        with pytest.raises(ValueError, match="rows on both sides"):
            train_test_split(x, y, share, rng=RNG(seed))
        return
    x_train, x_test, y_train, y_test = train_test_split(x, y, share, rng=RNG(seed))
    assert len(y_test) == wanted
    assert sorted([*y_train, *y_test]) == list(range(rows))
    for part, labels in ((x_train, y_train), (x_test, y_test)):
        assert (part[:, 0] == labels).all()
        assert (np.diff(labels) > 0).all()


@given(
    st.lists(st.integers(4, 30), min_size=2, max_size=6),
    st.floats(0.25, 0.75),
    st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_stratified_counts_are_within_one_of_the_share(sizes, share, seed):
    y = RNG(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    *_, y_test = train_test_split(
        y[:, None] * 1.0, y, share, rng=RNG(seed), stratify=True
    )
    held = round(share * len(y))
    counts = np.bincount(y_test, minlength=len(sizes))
    assert counts.sum() == held
    assert (abs(counts - np.array(sizes) * held / len(y)) < 1).all()


@pytest.mark.parametrize(("rows", "share"), [(10, 0.95), (2, 0.75), (10, 0.05)])
def test_a_side_that_rounding_would_empty_is_refused(rows, share):
    x, y = numbered(rows)
    for groups in (None, np.arange(rows)):
        with pytest.raises(ValueError, match="rows on both sides"):
            train_test_split(x, y, share, rng=RNG(0), groups=groups)


def test_a_share_is_rounded_and_not_cut_down():
    for share, wanted in ((0.17, 2), (0.14, 1), (0.88, 9)):
        assert len(train_test_split(*numbered(10), share, rng=RNG(0))[3]) == wanted


def test_labels_that_are_nan_are_a_class():
    y = np.array([0.0] * 5 + [np.nan] * 5)
    *_, held = train_test_split(numbered(10)[0], y, 0.4, rng=RNG(0), stratify=True)
    assert np.isnan(held).sum() == 2
    assert len(held) == 4


def test_the_books_split_is_a_stratified_split():
    (x, y), (x_held, y_held) = split_digits()
    cut = train_test_split(*load_digits(), rng=RNG(0), stratify=True)
    for one, other in zip(cut, (x, x_held, y, y_held), strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_row_is_held_out_equally_often():
    x, y = numbered(10)
    held = [train_test_split(x, y, 0.3, rng=RNG(seed))[3] for seed in range(2000)]
    counts = np.bincount(np.concatenate(held), minlength=10)
    assert (abs(counts - 600) < 5 * (2000 * 0.3 * 0.7) ** 0.5).all()


def test_groups_are_never_cut():
    x, y = numbered(60)
    groups = RNG(1).integers(0, 12, 60)
    names = np.array(list("abcdefghijkl"))[groups]
    for who in (groups, names, names.tolist()):
        *_, y_train, y_test = train_test_split(x, y, 0.25, rng=RNG(2), groups=who)
        assert not set(groups[y_train]) & set(groups[y_test])
        assert len(set(groups[y_test])) == 3
        assert len(y_train) + len(y_test) == 60


def test_a_split_copies():
    x, y = numbered(10)
    for part in train_test_split(x, y, rng=RNG(0)):
        part[...] = -1
    assert x[9, 1] == 90
    assert y.max() == 9


LABELS = np.repeat([0, 1, 7], [5, 5, 1])
BAD_SPLITS = [
    (TypeError, "wants x as a NumPy array of rows, got list", dict(x=[[1.0]] * 10)),
    (TypeError, "wants y as a NumPy array", dict(y=np.array(1))),
    (ValueError, "as many rows in x as in y, got 9 and 10", dict(x=np.ones((9, 2)))),
    (ValueError, "at least one row", dict(x=np.ones((0, 2)), y=np.ones(0))),
    (TypeError, "wants rng, a numpy.random.Generator, got int", dict(rng=0)),
    (TypeError, "got NoneType", dict(rng=None)),
    (TypeError, "test_size as a share or a count, got str", dict(test_size="0.2")),
    (TypeError, "got bool", dict(test_size=True)),
    (ValueError, "rows on both sides, got test_size=0.0 of 10", dict(test_size=0.0)),
    (ValueError, "rows on both sides", dict(test_size=1.0)),
    (ValueError, "rows on both sides", dict(test_size=-0.2)),
    (ValueError, "rows on both sides", dict(test_size=float("nan"))),
    (ValueError, "rows on both sides", dict(test_size=10)),
    (ValueError, "stratify or groups", dict(stratify=True, groups=np.arange(10))),
    (ValueError, r"groups of shape \(10,\), got \(9,\)", dict(groups=np.arange(9))),
    (ValueError, "rows on both sides", dict(groups=np.zeros(10))),
    (
        ValueError,
        "class 7 on both sides, got 0 held out of 1",
        dict(x=np.ones((11, 1)), y=LABELS, stratify=True),
    ),
    (ValueError, "to stratify by", dict(y=np.ones((10, 2)), stratify=True)),
    (TypeError, "stratify as True or False", dict(stratify=np.arange(10))),
    (TypeError, "stratify as True or False", dict(stratify="no")),
]


@pytest.mark.parametrize(("kind", "message", "changes"), BAD_SPLITS)
def test_what_cannot_be_split_is_refused(kind, message, changes):
    x, y = numbered(10)
    rng = RNG(0)
    with pytest.raises(kind, match=message):
        train_test_split(**(dict(x=x, y=y, rng=rng) | changes))
    assert rng.random() == RNG(0).random()


# The interval


@given(st.integers(1, 500), st.data())
@settings(max_examples=60, deadline=None)
def test_wilsons_ends_lie_z_of_their_own_deviations_away(rows, draw):
    right = draw.draw(st.integers(0, rows))
    for end in wilson_interval(right, rows):
        if 0 < end < 1:
            away = abs(right / rows - end) / (end * (1 - end) / rows) ** 0.5
            assert away == pytest.approx(1.96, rel=1e-6)


def test_wilson_mirrors_and_refuses():
    low, high = wilson_interval(3, 50)
    assert wilson_interval(47, 50) == pytest.approx((1 - high, 1 - low))
    assert wilson_interval(0, 50)[0] == 0
    assert wilson_interval(50, 50)[1] == 1
    infinite, nan = float("inf"), float("nan")
    for bad in (
        *((-1, 10), (11, 10), (0, 0), (5, 10, 0), (nan, 10), (3, infinite)),
        *((3, 10, infinite), (3, 10, 1e200), (3, 10, nan)),
    ):
        with pytest.raises(ValueError, match="wilson_interval wants"):
            wilson_interval(*bad)
    for bad in ((np.array([3, 4]), 10), ("3", 10), (3j, 10)):
        with pytest.raises(TypeError, match="wants real numbers"):
            wilson_interval(*bad)


# Scaling


@given(
    hnp.arrays(
        float,
        st.tuples(st.integers(2, 30), st.integers(1, 5)),
        elements=st.integers(-1000, 1000).map(lambda k: k / 8),
    )
)
@settings(max_examples=60, deadline=None)
def test_scaling_gives_mean_0_and_variance_1_and_comes_back(x):
    scaler = StandardScaler()
    scaled = scaler.fit_transform(x)
    constant = (x == x[0]).all(0)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-10)
    np.testing.assert_allclose(scaled.var(0), np.where(constant, 0, 1), atol=1e-9)
    assert (scaler.scale_[constant] == 1).all()
    np.testing.assert_allclose(scaler.inverse_transform(scaled), x, atol=1e-9)
    assert (abs(scaled) <= (len(x) - 1) ** 0.5 * (1 + 1e-9)).all()


def test_scikit_learns_documented_example():
    # StandardScaler's docstring: mean (0.5, 0.5), and (2, 2) becomes (3, 3).
    x = np.array([[0.0, 0], [0, 0], [1, 1], [1, 1]])
    scaler = StandardScaler().fit(x)
    assert scaler.mean_.tolist() == [0.5, 0.5]
    assert scaler.var_.tolist() == [0.25, 0.25]
    assert scaler.transform(x)[:, 0].tolist() == [-1, -1, 1, 1]
    assert scaler.transform(np.array([[2.0, 2.0]])).tolist() == [[3, 3]]
    assert (scaler.n_features_in_, scaler.n_samples_seen_) == (2, 4)


def test_a_constant_column_keeps_its_scale_though_its_mean_is_rounded():
    for value in (0.1, 1e8 / 3, -1e-20, 0.0):
        x = np.full((1000, 1), value)
        scaler = StandardScaler().fit(x)
        assert scaler.scale_ == 1, value
        assert abs(scaler.transform(x)).max() <= 1e-9 * abs(value)


def test_a_small_but_real_spread_is_no_rounding():
    x = 1e6 + RNG(0).standard_normal((100, 1)) * 1e-4
    scaled = StandardScaler().fit_transform(x)
    assert scaled.std() == pytest.approx(1, rel=1e-3)


def test_scaling_keeps_float32_and_adds_in_float64():
    x = RNG(0).normal(1000, 1, (100_000, 1)).astype(np.float32)
    scaler = StandardScaler()
    scaled = scaler.fit_transform(x)
    assert scaled.dtype == scaler.inverse_transform(scaled).dtype == np.float32
    assert scaler.mean_.dtype == np.float64
    assert scaler.scale_[0] == pytest.approx(x.astype(float).std(), rel=1e-12)


def test_a_scaler_leaves_its_input_alone_and_survives_pickling():
    x = RNG(0).standard_normal((5, 3))
    before = x.copy()
    scaler = StandardScaler().fit(x)
    again = pickle.loads(pickle.dumps(scaler))
    assert (again.transform(x) == scaler.transform(x)).all()
    assert (x == before).all()


def test_a_scaler_refuses():
    scaler = StandardScaler()
    with pytest.raises(RuntimeError, match="before fit"):
        scaler.transform(np.ones((2, 2)))
    with pytest.raises(RuntimeError, match="before fit"):
        scaler.inverse_transform(np.ones((2, 2)))
    for bad in (np.ones((0, 3)), np.ones(3), np.array([[1.0, np.nan]])):
        with pytest.raises(ValueError, match=r"StandardScaler\(\) wants"):
            scaler.fit(bad)
        assert not hasattr(scaler, "mean_")
    for size in (1e200, 1.7e308, 1e-200):
        with pytest.raises(ValueError, match=r"variance float64 can hold.* column 1"):
            scaler.fit(np.array([[1.0, size], [2.0, -size], [3.0, size]]))
        assert not hasattr(scaler, "mean_")
    strange = np.ones((2, 2), complex), np.ones((2, 2), object)
    for bad in ([[1.0]], np.ones((2, 2), int), *strange):
        with pytest.raises(TypeError, match=r"StandardScaler\(\) wants"):
            scaler.fit(bad)
    scaler.fit(np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"shape \(rows, 2\), got \(2, 3\)"):
        scaler.transform(np.ones((2, 3)))
    for bad in strange:
        with pytest.raises(TypeError, match="wants x of floats"):
            scaler.transform(bad)


# One-hot


def test_one_hot_rows_and_their_gradients():
    y = np.array([3, 0, 9, 3])
    rows = one_hot(y, 10)
    assert (rows.argmax(1) == y).all()
    assert (rows.sum(1) == 1).all()
    assert set(np.unique(rows)) == {0, 1}
    assert one_hot(y, 10, dtype=np.float32).dtype == np.float32
    assert one_hot(y.reshape(2, 2), 10).shape == (2, 2, 10)
    assert one_hot(y.astype(np.uint8), 10).tolist() == rows.tolist()
    loss, u = CrossEntropyLoss(), RNG(0).standard_normal((4, 10))
    loss.forward(u, y)
    v = loss.backward()
    loss.forward(u, rows)
    assert (loss.backward() == v).all()


def test_one_hot_refuses():
    with pytest.raises(ValueError, match=r"from 0 to 2, got 3 at \[1\]"):
        one_hot(np.array([0, 3]), 3)
    with pytest.raises(ValueError, match="got -1"):
        one_hot(np.array([-1]), 3)
    for classes in (0, -1):
        with pytest.raises(ValueError, match="at least one class"):
            one_hot(np.array([], int), classes)
    for classes in (2.5, None, True, np.array([3, 4])):
        with pytest.raises(TypeError, match="classes as an integer"):
            one_hot(np.array([1, 0]), classes)
    for bad in (np.array([1.0]), np.array([True]), [1]):
        with pytest.raises(TypeError, match="array of integers"):
            one_hot(bad, 3)


# Batches


@given(st.integers(1, 50), st.data(), st.booleans(), st.booleans())
@settings(max_examples=80, deadline=None)
def test_a_pass_brings_every_row_once_with_its_target(rows, draw, shuffle, drop):
    size = draw.draw(st.integers(1, rows))
    x, y = numbered(rows)
    loader = Batches(x, y, size, rng=RNG(0) if shuffle else None, drop_last=drop)
    pairs = list(loader)
    assert len(pairs) == len(loader)
    whole = rows // size * size
    came = np.concatenate([labels for _, labels in pairs])
    assert len(came) == (whole if drop else rows)
    assert len(set(came.tolist())) == len(came)
    assert all((part[:, 0] == labels).all() for part, labels in pairs)
    assert all(len(labels) == size for _, labels in pairs[:-1])


def test_each_pass_has_an_order_of_its_own_drawn_at_its_start():
    x, y = numbered(40)
    rng, twin = RNG(5), RNG(5)
    loader = Batches(x, y, 7, rng=rng)
    for _ in range(3):
        order = twin.permutation(40)
        running = iter(loader)
        assert rng.bit_generator.state == twin.bit_generator.state
        came = np.concatenate([labels for _, labels in running])
        assert (came == order).all()
        assert rng.bit_generator.state == twin.bit_generator.state
    assert [labels.tolist() for _, labels in batches(x, y, 7, rng=RNG(5))] == [
        labels.tolist() for _, labels in Batches(x, y, 7, rng=RNG(5))
    ]


def test_an_interrupted_pass_goes_on_where_it_was():
    x, y = numbered(40)
    loader = Batches(x, y, 7, rng=RNG(5))
    order = loader.order()
    whole = [labels.tolist() for _, labels in loader.take(order)]
    for first in range(len(loader) + 1):
        rest = [labels.tolist() for _, labels in loader.take(order, first)]
        assert rest == whole[first:]
    state = loader.rng.bit_generator.state
    list(loader.take(order, 2))
    assert loader.rng.bit_generator.state == state
    running = loader.take(order)
    order[...] = 0  # of the caller alone
    assert [labels.tolist() for _, labels in running] == whole


def test_without_rng_batches_are_views_in_order_and_with_it_copies():
    x, y = numbered(10)
    (part, labels), *_ = Batches(x, y, 4)
    assert np.shares_memory(part, x)
    assert labels.tolist() == [0, 1, 2, 3]
    (part, _), *_ = Batches(x, y, 4, rng=RNG(0))
    assert not np.shares_memory(part, x)
    assert Batches(x, y, 4).order() is None


def test_images_and_targets_of_any_shape_go_along():
    x, y = RNG(0).random((9, 1, 4, 4)), RNG(0).random((9, 3))
    shapes = [(a.shape, b.shape) for a, b in Batches(x, y, 4, rng=RNG(0))]
    assert shapes[0] == ((4, 1, 4, 4), (4, 3))
    assert shapes[-1] == ((1, 1, 4, 4), (1, 3))


@pytest.mark.parametrize("size", [0, -1, 11])
def test_batch_sizes_out_of_range_are_refused(size):
    for make in (Batches, batches):
        with pytest.raises(ValueError, match=rf"from 1 to .* 10, got {size}"):
            make(*numbered(10), size)


def test_batches_refuse():
    x, y = numbered(10)
    for bad in (2.0, True, None, "2"):
        with pytest.raises(TypeError, match="batch_size as an integer"):
            Batches(x, y, bad)
    with pytest.raises(ValueError, match="as many rows"):
        Batches(x[:9], y, 2)
    with pytest.raises(ValueError, match="at least one row"):
        Batches(x[:0], y[:0], 1)
    with pytest.raises(TypeError, match="Generator"):
        Batches(x, y, 2, rng=0)
    with pytest.raises(ValueError, match=r"order of shape \(10,\)"):
        Batches(x, y, 2).take(np.arange(9))
    order = np.arange(10)
    for bad in (order * 0, order - 10, order + 5, order * 1.0, order > 4):
        with pytest.raises(ValueError, match="name each row once"):
            Batches(x, y, 2).take(bad)
    for first in (-1, 6):
        with pytest.raises(ValueError, match="first from 0 to 5"):
            Batches(x, y, 2).take(None, first)


# Files


def idx(array, kind):
    big_endian = array.astype(array.dtype.newbyteorder(">"))
    header = bytes([0, 0, kind, array.ndim])
    return header + struct.pack(f">{array.ndim}I", *array.shape) + big_endian.tobytes()


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("u1", 8), ("i1", 9), ("i2", 11), ("i4", 12), ("f4", 13), ("f8", 14)],
)
def test_idx_of_every_type_packed_and_plain(tmp_path, dtype, kind):
    array = (RNG(0).random((3, 4, 5)) * 100).astype(dtype)
    for packed in (False, True):
        path = tmp_path / f"file{packed}"
        content = idx(array, kind)
        path.write_bytes(gzip.compress(content) if packed else content)
        got = read_idx(str(path))
        assert got.dtype == np.dtype(dtype)
        assert got.dtype.isnative
        np.testing.assert_array_equal(got, array)
        got[...] = 0  # a writable array of its own


def test_idx_of_no_rows(tmp_path):
    (tmp_path / "empty").write_bytes(idx(np.zeros((0, 28, 28), "u1"), 8))
    assert read_idx(tmp_path / "empty").shape == (0, 28, 28)


GOOD = idx(np.arange(24, dtype="u1").reshape(2, 3, 4), 8)
HUGE = bytes([0, 0, 8, 3]) + b"\xff" * 12
DAMAGED = {
    "nothing": (b"", "begins with nothing"),
    "another kind": (b"<!DOCTYPE html>", "no IDX file"),
    "magic of a type that is none": (b"\0\0\x0a\1" + GOOD[4:], "no IDX file"),
    "one byte": (b"\0", "no IDX file"),
    "header cut": (GOOD[:9], "header of 16 bytes, got 9"),
    "one byte short": (GOOD[:-1], "should have 40 bytes .* got 39"),
    "one byte long": (GOOD + b"\0", "should have 40 bytes .* got 41"),
    "sizes beyond all memory": (HUGE, "got 16"),
    "255 axes": (b"\0\0\x08\xff" + GOOD[4:], "header of 1024 bytes"),
    "gzip cut": (gzip.compress(GOOD)[:-9], "is damaged"),
    "gzip changed": (gzip.compress(GOOD)[:-8] + b"12345678", "is damaged"),
    "gzip of rubbish": (b"\x1f\x8b" + b"x" * 50, "is damaged"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_idx_is_named(tmp_path, name):
    content, message = DAMAGED[name]
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    """A server on this computer: what it has, and what was asked of it."""
    pytest.importorskip("pooch")
    files, asked = {}, []

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self):
            asked.append(self.path)
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            content = content or b"<html>not here</html>"
            announced = files.get(f"announced {self.path}", len(content))
            self.send_header("Content-Length", str(announced))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}", files, asked
        finally:
            listening.shutdown()
            thread.join(5)
    assert not thread.is_alive()


PACKED = gzip.compress(GOOD, mtime=0)
SHA = hashlib.sha256(PACKED).hexdigest()
NOBODY = "http://127.0.0.1:9/"


def test_fetch_downloads_once(server, tmp_path, capfd):
    address, files, asked = server
    files["/a/images.gz"] = PACKED
    folder = tmp_path / "new" / "folder"
    for _ in range(3):
        path = fetch("images.gz", SHA, [f"{address}/a/"], folder)
        assert path.read_bytes() == PACKED
    assert asked == ["/a/images.gz"]
    assert os.listdir(folder) == ["images.gz"]
    assert read_idx(path).shape == (2, 3, 4)
    out, err = capfd.readouterr()
    assert out == err == ""


def test_fetch_tries_one_mirror_after_the_other(server, tmp_path):
    address, files, asked = server
    files["/wrong/images.gz"] = PACKED[:-3]
    files["/right/images.gz"] = PACKED
    mirrors = [NOBODY, f"{address}/gone/", f"{address}/wrong/", f"{address}/right/"]
    assert fetch("images.gz", SHA, mirrors, tmp_path).read_bytes() == PACKED
    assert asked == ["/gone/images.gz", "/wrong/images.gz", "/right/images.gz"]
    assert os.listdir(tmp_path) == ["images.gz"]


def test_what_is_wrong_is_not_kept_and_everything_is_told(server, tmp_path):
    address, files, _ = server
    files["/wrong/images.gz"] = PACKED[:-1] + b"?"
    files["/short/images.gz"] = PACKED[:20]
    files["announced /short/images.gz"] = len(PACKED)
    mirrors = [NOBODY, *(f"{address}/{name}/" for name in ("gone", "wrong", "short"))]
    (tmp_path / "images.gz").write_bytes(b"an older, damaged copy")
    with pytest.raises(OSError, match="could not be had") as caught:
        fetch("images.gz", SHA, mirrors, tmp_path)
    told = str(caught.value)
    assert os.listdir(tmp_path) == ["images.gz"]
    assert (tmp_path / "images.gz").read_bytes() == b"an older, damaged copy"
    assert "other bytes than published; not used" in told
    assert "http://127.0.0.1:9/images.gz: ConnectionError" in told
    assert "/gone/images.gz: answered 404" in told
    assert "/wrong/images.gz: sent other bytes than published; not kept" in told
    assert f"{address}/short/images.gz: " in told
    assert str(tmp_path) in told
    assert SHA in told


def test_a_damaged_copy_is_replaced(server, tmp_path):
    address, files, asked = server
    files["/images.gz"] = PACKED
    (tmp_path / "images.gz").write_bytes(PACKED[:-4])
    path = fetch("images.gz", SHA, [f"{address}/"], tmp_path)
    assert path.read_bytes() == PACKED
    assert asked == ["/images.gz"]


def test_a_file_put_there_by_hand_needs_neither_network_nor_pooch(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pooch", None)
    (tmp_path / "images.gz").write_bytes(PACKED)
    assert fetch("images.gz", SHA, [NOBODY], str(tmp_path)).is_file()
    (tmp_path / "images.gz").unlink()
    with pytest.raises(ImportError, match=r"pip install 'backprop-lit\[data\]'"):
        fetch("images.gz", SHA, [NOBODY], tmp_path)


def test_a_fingerprint_in_capitals_is_the_same_and_half_of_one_is_none(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(PACKED)
    assert fetch("images.gz", SHA.upper(), [NOBODY], tmp_path) == path
    for bad in (SHA[:-1], SHA + "0", "x" * 64, ""):
        with pytest.raises(ValueError, match="64 hexadecimal digits for images"):
            fetch("images.gz", bad, [NOBODY], tmp_path)
    with pytest.raises(TypeError, match="sequence of mirrors"):
        fetch("images.gz", SHA, NOBODY, tmp_path)
    assert path.read_bytes() == PACKED


def test_a_wrong_file_stays_where_nothing_better_can_be_had(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    path = tmp_path / "images.gz"
    path.write_bytes(PACKED[:-1])
    with pytest.raises(ImportError):
        fetch("images.gz", SHA, [NOBODY], tmp_path)
    assert path.read_bytes() == PACKED[:-1]


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_asked(
    server, tmp_path
):
    address, files, asked = server
    files["/images.gz"] = PACKED
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="wants a folder that can be written"):
        fetch("images.gz", SHA, [f"{address}/"], tmp_path / "file" / "folder")
    if os.name == "posix" and os.geteuid() != 0:  # root may write anywhere
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(OSError, match="can be written"):
                fetch("images.gz", SHA, [f"{address}/"], tmp_path)
        finally:
            tmp_path.chmod(0o700)
    assert asked == []


def small_mnist(rows, seed):
    images = RNG(seed).integers(0, 256, (rows, 28, 28)).astype("u1")
    labels = RNG(seed).integers(0, 10, rows).astype("u1")
    return images, labels


@pytest.fixture
def published(server, monkeypatch):
    """A tiny MNIST, published on this computer under its own hashes."""
    address, files, asked = server
    sets, hashes = {}, {}
    for part, rows in (("train", 30), ("t10k", 20)):
        sets[part] = small_mnist(rows, rows)
        for name, array in zip(("images-idx3", "labels-idx1"), sets[part], strict=True):
            packed = gzip.compress(idx(array, 8))
            files[f"/m/{part}-{name}-ubyte.gz"] = packed
            for which in ("mnist", "fashion_mnist"):
                hashes[which, f"{part}-{name}-ubyte.gz"] = hashlib.sha256(
                    packed
                ).hexdigest()
    monkeypatch.setattr(data, "_SHA256", hashes)
    both = dict.fromkeys(("mnist", "fashion_mnist"), (f"{address}/m/",))
    monkeypatch.setattr(data, "_MIRRORS", both)
    return sets, files, asked


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_mnist_in_every_form(published, tmp_path, dtype):
    sets, _, asked = published
    for split, part in (("train", "train"), ("test", "t10k")):
        images, labels = sets[part]
        x, y = mnist(split, dtype=dtype, cache=tmp_path)
        assert (x.dtype, y.dtype) == (dtype, np.int64)
        assert x.shape == (len(labels), 784)
        np.testing.assert_allclose(x * 255, images.reshape(-1, 784), rtol=1e-6)
        assert 0 <= x.min() < x.max() <= 1
        assert (y == labels).all()
        square, _ = load_data("mnist", split, flatten=False, cache=tmp_path)
        assert square.shape == (len(labels), 1, 28, 28)
        np.testing.assert_allclose(square[:, 0] * 255, images)
    assert len(asked) == 4


def test_two_sets_whose_files_bear_the_same_names_do_not_meet(published, tmp_path):
    _, _, asked = published
    mnist(cache=tmp_path)
    fashion_mnist(cache=tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["fashion_mnist", "mnist"]
    assert len(asked) == 4


def test_images_without_their_labels_are_not_returned(published, tmp_path):
    _, files, _ = published
    del files["/m/train-labels-idx1-ubyte.gz"]
    with pytest.raises(OSError, match=r"train-labels-.* could not be had"):
        mnist(cache=tmp_path)


def test_the_default_folder_is_the_systems_cache(published, tmp_path, monkeypatch):
    monkeypatch.setattr(data._pooch(), "os_cache", lambda name: tmp_path / name)
    mnist("test")
    assert os.listdir(tmp_path / "backprop_lit") == ["mnist"]


def test_one_interface_for_the_digits():
    (x, y), (x_held, y_held) = split_digits(np.float32)
    for split, pixels, labels in (("train", x, y), ("test", x_held, y_held)):
        got, got_labels = load_data("digits", split, dtype=np.float32)
        np.testing.assert_array_equal(got, pixels)
        np.testing.assert_array_equal(got_labels, labels)
        square, _ = load_data("digits", split, flatten=False)
        assert square.shape == (len(labels), 1, 8, 8)
        np.testing.assert_array_equal(square.reshape(-1, 64), pixels)


def test_load_data_refuses():
    with pytest.raises(ValueError, match="got 'cifar'"):
        load_data("cifar")
    with pytest.raises(ValueError, match="'train' or 'test', got 'val'"):
        load_data("digits", "val")
    for load in (mnist, fashion_mnist, lambda **o: load_data("digits", **o)):
        for bad in (int, None, np.float16, complex):
            with pytest.raises(TypeError, match="float64 or float32"):
                load(dtype=bad)


def test_the_table_of_hashes_is_whole():
    for name in ("mnist", "fashion_mnist"):
        files = {file for which, file in data._SHA256 if which == name}
        assert files == set(MD5[name])
        assert all(mirror.endswith("/") for mirror in data._MIRRORS[name])
    hashes = list(data._SHA256.values())
    assert len(set(hashes)) == 8
    assert all(len(bytes.fromhex(each)) == 32 for each in hashes)


# MD5 as torchvision states them (torchvision/datasets/mnist.py): a second witness.
MD5 = {
    "mnist": {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
}


@pytest.mark.skipif(
    "BACKPROP_LIT_DOWNLOAD" not in os.environ,
    reason="downloads 42 MB; set BACKPROP_LIT_DOWNLOAD=1",
)
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_real_files_have_both_published_hashes(name, tmp_path):
    for split, rows in (("train", 60_000), ("test", 10_000)):
        x, y = load_data(name, split, dtype=np.float32, cache=tmp_path)
        assert x.shape == (rows, 784)
        assert set(y) == set(range(10))
    for file, md5 in MD5[name].items():
        content = (tmp_path / name / file).read_bytes()
        assert hashlib.md5(content).hexdigest() == md5
