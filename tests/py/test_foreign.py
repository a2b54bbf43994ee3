"""Files that others have opened, edited, repacked or written anew: as good as our own, with a
warning. What damaged HDF5 does to the library is an error like others."""

import shutil
import struct
import subprocess

import h5py
import numpy as np
import pytest

from helpers import CLASSES, FEATURES, Lab, assert_same_bits, reseal

STOP = "train.max_steps=13"  # in the second epoch


def write_anew(path, **how):
    """All content into a new file, as a notebook does: no user block, other types and layouts."""
    kept = path.with_suffix(".kept")
    path.rename(kept)
    dtype, string, chunks = how.get("dtype", "<f4"), how.get("string"), how.get("chunks", {})

    def copy(name, item):
        if isinstance(item, h5py.Group):
            new = to.require_group(name)
        elif item.dtype.kind == "f":
            new = to.create_dataset(name, data=item[...].astype(dtype), **chunks)
        elif item.dtype.names:
            new = to.create_dataset(name, data=item[...], maxshape=(None,))
        else:
            text = item[()].decode()
            new = to.create_dataset(name, data=np.bytes_(text) if string == "fixed" else text)
        attributes(item, new)

    def attributes(item, new):
        for key, value in item.attrs.items():
            if isinstance(value, str) and string == "fixed":
                value = np.bytes_(value)
            elif isinstance(value, np.ndarray) and value.dtype == object:
                value = np.array([v.encode() for v in value], "S") if len(value) else []
            new.attrs[key] = value
    with h5py.File(kept, "r") as old, h5py.File(path, "w") as to:
        attributes(old, to)
        old.visititems(copy)
    kept.unlink()


def repack(path):
    tool = shutil.which("h5repack")
    if not tool:
        pytest.skip("h5repack is not installed")
    subprocess.run([tool, "-f", "GZIP=5", path, path.with_suffix(".packed")], check=True)
    path.with_suffix(".packed").rename(path)


def touch(path):
    """An edit that changes nothing but the bytes."""
    with h5py.File(path, "r+") as file:
        file.attrs["note"] = "seen"


WAYS = {
    "edited": touch,
    "no user block": lambda path: path.write_bytes(path.read_bytes()[512:]),
    "h5repack": repack,
    "notebook": write_anew,
    "notebook, packed": lambda path: write_anew(
        path, string="fixed", chunks={"chunks": True, "compression": "gzip", "shuffle": True,
                                      "fletcher32": True}),
    "notebook, big-endian doubles": lambda path: write_anew(path, dtype=">f8"),
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, data):
    """A run that was stopped within its second epoch, and its end without a stop."""
    lab = Lab(tmp_path_factory.mktemp("stopped"), data)
    lab.config("run.ini", optimizer__momentum=0.9)
    lab.run("run.ini").expect(0)
    lab.whole = lab.out().bits()
    shutil.rmtree(lab.dir / "runs")
    lab.run("run.ini", STOP).expect(75)
    return lab


@pytest.fixture
def resumable(stopped, tmp_path):
    shutil.copytree(stopped.dir, tmp_path / "copy", symlinks=True)
    lab = Lab(tmp_path / "copy", stopped.data)
    lab.whole = stopped.whole
    return lab


def last(lab):
    return lab.out().last.resolve()


# ---- opened ----

def test_an_open_for_writing_changes_no_byte(resumable):
    """`h5py.File(name, "a")` without an edit, which was h5py's default before 3.0."""
    files = [resumable.out().metrics, *resumable.out().checkpoints.glob("step-*.h5")]
    before = [path.read_bytes() for path in files]
    assert len(files) == 3
    for path in files:
        h5py.File(path, "a").close()
        with h5py.File(path, "r+") as file:
            file.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)
    assert [path.read_bytes() for path in files] == before
    result = resumable.run("run.ini").expect(0)
    assert "warning" not in result.err, result
    assert_same_bits(resumable.out().bits(), resumable.whole, "after opens")


def test_files_with_zeros_behind_their_end_are_read_as_ours(resumable):
    """The version before wrote 1024; and when such a file was opened for writing they went."""
    for path in (last(resumable), resumable.out().metrics):
        path.write_bytes(path.read_bytes() + b"\0" * 1024)
        reseal(path)
    assert "warning" not in resumable.run("eval", last(resumable)).expect(0).err
    h5py.File(last(resumable), "a").close()
    assert "truncated" in resumable.run("eval", last(resumable)).expect(0).err
    resumable.run("run.ini").expect(0)
    assert_same_bits(resumable.out().bits(), resumable.whole, "after opens")


# ---- changed ----

@pytest.mark.parametrize("way", WAYS)
def test_a_changed_checkpoint_is_resumed_from_and_scored(resumable, way):
    path = last(resumable)
    score = resumable.run("eval", path).expect(0).out
    WAYS[way](path)
    evaluated = resumable.run("eval", path).expect(0)
    assert evaluated.out == score
    assert evaluated.err.count("warning:") == 1 and path.name in evaluated.err, evaluated
    predicted = resumable.run("predict", path, "--index", "0").expect(0)
    assert predicted.err.count("digest") == 1, predicted
    result = resumable.run("run.ini").expect(0)
    assert result.err.count("digest") == 1 and "resume  from step 13" in result.out, result
    assert_same_bits(resumable.out().bits(), resumable.whole, way)
    assert not list(resumable.dir.rglob("*.damaged"))


@pytest.mark.parametrize("way", WAYS)
def test_changed_metrics_lose_no_row(resumable, way):
    WAYS[way](resumable.out().metrics)
    result = resumable.run("run.ini").expect(0)
    assert "metrics.h5" in result.err and result.err.count("digest") == 1, result
    assert_same_bits(resumable.out().bits(), resumable.whole, way)


@pytest.mark.parametrize("way", WAYS)
def test_a_changed_file_is_an_init_file(lab, trained, way):
    weights = lab.dir / "weights.h5"
    shutil.copy(trained.out().last, weights)
    WAYS[way](weights)
    keys = {"model__layers": "dense:24 relu dense:17 relu", "model__init": "file",
            "optimizer__lr": 0, "train__epochs": 1, "model__init_file": weights}
    lab.run(lab.config(**keys)).expect(0)
    with h5py.File(lab.out().last, "r") as got, h5py.File(trained.out().last, "r") as wanted:
        for name, tensor in wanted["model"].items():
            assert (got["model"][name][...] == tensor[...]).all(), name


def test_averaged_parameters_are_taken(resumable):
    """Stochastic weight averaging in a notebook, in place."""
    first, second = sorted(resumable.out().checkpoints.glob("step-*.h5"))
    with h5py.File(first, "r") as a, h5py.File(second, "r+") as b:
        for name, tensor in b["model"].items():
            tensor[...] = (tensor[...] + a["model"][name][...]) / 2
    result = resumable.run("run.ini").expect(0)
    assert "resume  from step 13" in result.out and "digest" in result.err, result
    assert resumable.out().bits() != resumable.whole


# ---- damage that the library does not survive ----
# On HDF5 1.10; a later one may find such damage by itself. Either way it is an error of the file.

def endless_tree(path, kind):
    """Makes a node of a B-tree (0: a group's names, 1: chunks) its own child: the stack ends."""
    data = bytearray(path.read_bytes())
    at, key = data.index(b"TREE" + bytes([kind])), 32 if kind else 8
    data[at + 5] = 1  # not a leaf
    for child in range(struct.unpack_from("<H", data, at + 6)[0]):
        struct.pack_into("<Q", data, at + 24 + key + child * (key + 8), at)
    path.write_bytes(data)


def endless_heap(path):
    """Makes the first text in the heap free space of 0 bytes: HDF5 never gets past it."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<HHIQ", data, data.index(b"GCOL") + 16, 0, 0, 0, 0)
    path.write_bytes(data)


@pytest.fixture
def table(lab):
    """A data set in the oldest format, which has no checksums."""
    path = lab.dir / "table.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        x = np.arange(200, dtype="f4").reshape(100, 2)
        file.create_dataset("x", data=x, chunks=(10, 2), compression="gzip")
        file["y"] = x.sum(1)
    return path


@pytest.mark.parametrize("ranks", [None, 3])
@pytest.mark.parametrize("kind", [0, 1])
def test_data_that_crashes_the_library_is_named(lab, table, kind, ranks):
    config = lab.config(data__dir=None, data__train=table, loss__name="mse", model__layers=None,
                        optimizer__lr=1e-6, train__batch_size=0, train__epochs=1)
    lab.run(config, "run.name=good", ranks=ranks).expect(0)
    endless_tree(table, kind)
    lab.run(config, ranks=ranks).fails(3, "table.h5", "damaged")
    assert not lab.out().path.exists()


def test_an_init_file_that_crashes_the_library_is_named(lab, table):
    with h5py.File(table, "r+") as file:
        file["model/0.weight"] = np.zeros((CLASSES, FEATURES))
    endless_tree(table, 0)
    config = lab.config(model__layers=None, model__init="file", model__init_file=table)
    lab.run(config).fails(4, "table.h5", "damaged")


@pytest.mark.parametrize("ranks", [None, 3])
@pytest.mark.parametrize("sealed", [False, True])
def test_a_checkpoint_on_which_the_library_spins_is_named(resumable, sealed, ranks):
    path = last(resumable)
    endless_heap(path)
    if sealed:
        reseal(path)
    resumable.run("eval", path, ranks=ranks).fails(4, path.name, "damaged")


def test_a_run_goes_on_from_before_a_checkpoint_on_which_the_library_spins(resumable):
    path = last(resumable)
    endless_heap(path)
    result = resumable.run("run.ini", ranks=2).expect(0)
    assert "resume  from step 10" in result.out, result
    assert path.name in result.err and path.with_name(path.name + ".damaged").exists()
    assert_same_bits(resumable.out().bits(), resumable.whole, "from the one before")


# ---- numbers that are none ----

@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("tensor", ["model/2.bias", "optimizer/momentum/0.weight"])
def test_values_that_are_not_finite_are_exit_5_and_name_the_tensor(resumable, tensor, value):
    path = last(resumable)
    with h5py.File(path, "r+") as file:
        file[tensor][-1] = value
    reseal(path)
    for command in (("eval", path), ("predict", path), ("run.ini",)):
        resumable.run(*command, ranks=2).fails(5, path.name, tensor)


def test_an_init_file_with_nan_is_exit_5(lab, trained):
    weights = lab.dir / "weights.h5"
    shutil.copy(trained.out().last, weights)
    with h5py.File(weights, "r+") as file:
        file["model/4.bias"][3] = np.nan
    lab.run(lab.config(model__layers="dense:24 relu dense:17 relu", model__init="file",
                       model__init_file=weights)).fails(5, "weights.h5", "model/4.bias")


def test_scores_that_are_not_finite_are_exit_5(resumable):
    path = last(resumable)
    with h5py.File(path, "r+") as file:
        for tensor in file["model"].values():
            tensor[...] = 3e38 * np.sign(tensor[...])
    resumable.run("eval", path, ranks=2).fails(5, "loss")
    resumable.run("predict", path, ranks=2).fails(5, "sample 0")
