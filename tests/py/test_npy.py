"""NPY files: what numpy.save writes is trained as the same numbers in other formats are."""

import gzip
import io

import h5py
import numpy as np
import pytest

from helpers import assert_same_bits

RUN = {"data__dir": None, "model__layers": "dense:12 relu", "train__epochs": 1}


def save(lab, name, array, version=None):
    path = lab.dir / name
    path.parent.mkdir(exist_ok=True)
    with open(path, "wb") as file:
        np.lib.format.write_array(file, array, version=version)
    return path


def write_both(lab, arrays, names="train-images train-labels test-images test-labels",
               change=lambda x: x, labels=lambda y: y, version=None):
    (x, y), (xt, yt) = arrays["train"], arrays["test"]
    files = names.split()
    for name, array in zip(files, (change(x), labels(y), change(xt), labels(yt))):
        save(lab, f"npy/{name}.npy", array, version)
    return {"data__train": f"npy/{files[0]}.npy", "data__test": f"npy/{files[2]}.npy"}


@pytest.fixture
def idx_bits(lab):
    lab.train("run.name=idx", **{**RUN, "data__dir": lab.data})
    return lab.out("idx").bits()


def float_values(x):
    return x.astype("<f4") / np.float32(255)


CASES = {
    "as they are": {},
    "x and y": {"names": "x_train y_train x_test y_test"},
    "bytes of version 2": {"version": (2, 0)},
    "bytes of version 3": {"version": (3, 0)},
    "labels of 8 bytes": {"labels": lambda y: y.astype("<i8")},
    "labels, big-endian": {"labels": lambda y: y.astype(">i4")},
    "labels that are floats": {"labels": lambda y: y.astype("f8")},
    "one axis of channels": {"change": lambda x: x[:, None]},
    "channels last": {"change": lambda x: x[..., None]},
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_bits_as_from_idx(lab, arrays, idx_bits, case):
    lab.train("run.name=npy", **{**RUN, **write_both(lab, arrays, **CASES[case])})
    assert_same_bits(lab.out("npy").bits(), idx_bits, case)


@pytest.mark.parametrize("type", [">f4", "<f8", ">f8", "<i2", ">u2", "<i4", ">i8", "<u8", "|i1"])
def test_every_type_of_number_is_read(lab, arrays, type):
    """As float32 of the same values."""
    small = {split: (x >> 1, y) for split, (x, y) in arrays.items()}  # fit into a signed byte
    lab.train("run.name=f4", **{**RUN, **write_both(lab, small, change=lambda x: x.astype("<f4"))})
    lab.train("run.name=other", **{**RUN, **write_both(lab, small, change=lambda x: x.astype(type))})
    assert_same_bits(lab.out("other").bits(), lab.out("f4").bits(), type)


def test_colour_images_in_both_orders(lab, arrays):
    def colour(x):
        return np.stack([x, x[:, ::-1], 255 - x], axis=1)
    net = {**RUN, "model__layers": "conv:4@3 relu maxpool:2"}
    lab.train("run.name=first", **{**net, **write_both(lab, arrays, change=colour)})
    lab.train("run.name=last", **{**net, **write_both(
        lab, arrays, change=lambda x: np.ascontiguousarray(colour(x).transpose(0, 2, 3, 1)))})
    assert_same_bits(lab.out("last").bits(), lab.out("first").bits(), "channels last")


@pytest.mark.parametrize("order, layout, shape", [
    ((0, 1, 2, 3), "auto", [4, 16, 3]), ((0, 1, 2, 3), "channels_first", [4, 16, 3]),
    ((0, 2, 3, 1), "channels_last", [4, 16, 3]), ((0, 1, 2, 3), "channels_last", [3, 4, 16])])
def test_layout_says_which_axis_counts_the_channels(lab, arrays, order, layout, shape):
    """Images that are three pixels wide, of four channels; in HDF5 an attribute says it as well."""
    def thin(x):
        x = x[:, :, 6:9]
        return np.ascontiguousarray(np.stack([x, 255 - x, x // 2, x // 3], 1).transpose(order))
    lab.train("run.name=npy", **{**RUN, **write_both(lab, arrays, change=thin)}, data__layout=layout)
    assert list(lab.out("npy").attr("model", "input_shape")) == shape
    with h5py.File(lab.dir / "train.h5", "w") as file:
        file["x"], file["y"] = map(np.asarray, (thin(arrays["train"][0]), arrays["train"][1]))
        if layout != "auto":
            file["x"].attrs["layout"] = {"channels_first": "NCHW", "channels_last": "NHWC"}[layout]
    lab.train("run.name=h5", **{**RUN, "data__train": "train.h5"})
    if layout != "auto":
        with h5py.File(lab.dir / "train.h5", "a") as file:
            file["x"].attrs["layout"] = layout
    lab.run("run.ini", "run.name=words").expect(0)
    for name in ("h5", "words"):
        got, npy = lab.out(name).model(), lab.out("npy").model()
        assert all((got[tensor] == npy[tensor]).all() for tensor in npy), name
    with h5py.File(lab.dir / "train.h5", "a") as file:
        file["x"].attrs["layout"] = "NWHC"
    lab.run("run.ini", "run.name=odd").fails(3, "'NWHC'", "NCHW or NHWC")


def test_regression_gz_and_a_file_that_data_target_names(lab):
    x = np.linspace(0, 1, 60)[:, None] * [1, 2, 3]
    save(lab, "reg/features.npy", x)
    save(lab, "reg/prices.npy", np.stack([x @ [1, 2, 3], x @ [3, 0, 1]], axis=1))
    packed = io.BytesIO()
    np.save(packed, x)
    (lab.dir / "reg/packed.npy.gz").write_bytes(gzip.compress(packed.getvalue()))
    keys = {**RUN, "loss__name": "mse", "train__batch_size": 20, "data__target": "prices.npy"}
    lab.train("run.name=plain", **keys, data__train="reg/features.npy")
    lab.train("run.name=packed", **keys, data__train="reg/packed.npy.gz")
    assert lab.out("plain").model()["2.weight"].shape == (2, 12)
    assert_same_bits(lab.out("packed").bits(), lab.out("plain").bits(), "gz")


def test_predictions_of_a_file_without_labels(lab, arrays):
    lab.train(**{**RUN, **write_both(lab, arrays)})
    save(lab, "new.npy", arrays["test"][0][:5])
    result = lab.run("predict", "runs/run", "--input", "new.npy", "--output", "out.csv").expect(0)
    rows = (lab.dir / "out.csv").read_text().splitlines()
    assert len(rows) == 6 and rows[1].split(",")[:2] == ["0", ""], result


def edited(x, old, new):
    file = io.BytesIO()
    np.save(file, x)
    data = file.getvalue()
    assert old in data
    return data.replace(old, new.ljust(len(old))[:max(len(old), len(new))], 1)


X = np.arange(60, dtype="<f4").reshape(20, 3)
BAD = {
    "columns first": (lambda: edited(X, b"False", b"True"), "numpy.ascontiguousarray"),
    "objects": (lambda: edited(X, b"'<f4'", b"'|O'"), "astype"),
    "complex": (lambda: edited(X, b"'<f4'", b"'<c8'"), "'<c8'"),
    "records": (lambda: edited(X, b"'<f4'", b"[1,2]"), "records"),
    "no shape": (lambda: edited(X, b"'shape'", b"'shope'"), "no shape"),
    "negative": (lambda: edited(X, b"(20, 3)", b"(-2, 3)"), "shape"),
    "too many dimensions": (lambda: edited(np.zeros([1] * 12), b"1, 1", b"1, 1"), "shape"),
    "huge": (lambda: edited(X, b"(20, 3)", b"(2000000000000, 3)"), "claims"),
    "overflow": (lambda: edited(X, b"(20, 3)", b"(9999999999999999999, 9999999999)"), "dimension"),
    "none": (lambda: edited(X, b"(20, 3)", b"(0, 3)  "), "dimension 0 is 0"),
    "short": (lambda: edited(X, b"N", b"N")[:-5], "truncated"),
    "longer": (lambda: edited(X, b"N", b"N") + b"\0\0", "more bytes"),
    "version 9": (lambda: edited(X, b"NUMPY\1", b"NUMPY\x09"), "version"),
    "header cut": (lambda: edited(X, b"N", b"N")[:40], "truncated"),
    "header too long": (lambda: edited(X, b"NUMPY\1\0v\0", b"NUMPY\1\0\xff\xff"), "header"),
    "not a number": (lambda: edited(X * np.nan, b"N", b"N"), "nan"),
    "empty": (lambda: b"", "truncated"),
    "one value": (lambda: edited(np.float32(3), b"N", b"N"), "single value"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_such_array_is_refused(lab, case):
    make, says = BAD[case]
    (lab.dir / "x.npy").write_bytes(make())
    save(lab, "y.npy", np.arange(20) % 2)
    lab.config(**RUN, data__train="x.npy")
    lab.run("run.ini").fails(3, "x.npy", says)


def test_labels_that_are_missing_or_too_few(lab):
    save(lab, "features.npy", X)
    save(lab, "x.npy", X)
    lab.config(**RUN, data__train="features.npy")
    lab.run("run.ini").fails(3, "features.npy", "images", "x_train")
    lab.run("run.ini", "data.train=x.npy").fails(3, "y.npy")
    save(lab, "y.npy", np.arange(19) % 2)
    lab.run("run.ini", "data.train=x.npy").fails(3, "19 labels")
