"""Data that is wrong: exit 3, the file named, nothing lost. Right data in any form."""

import shlex
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from helpers import (NAMES, TEST, TRAIN, Lab, assert_same_bits, idx_bytes, make_set,
                     write_idx)

IMAGES, LABELS = NAMES["train"]
TEST_IMAGES, TEST_LABELS = NAMES["test"]


@pytest.fixture
def own(lab, tmp_path, data):
    """A lab with a copy of the data that the test may spoil."""
    shutil.copytree(data, tmp_path / "spoiled")
    own = Lab(tmp_path, tmp_path / "spoiled")
    own.config(train__epochs=1)
    return own


def refused(lab, *mentions, ranks=None):
    lab.run("run.ini", ranks=ranks).fails(3, *mentions)
    assert not list(lab.dir.rglob("step-*")), "refused data left a checkpoint"


# ---- files that are wrong (in which ways each format can be: tests/unit) ----

def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def test_missing_folder_is_named(lab):
    lab.config(data__dir="no/such/folder")
    refused(lab, "no/such/folder")


def test_images_file_named_by_train_must_exist(own):
    own.config(data__dir=None, data__train=own.data / "nowhere-images-idx3-ubyte")
    refused(own, "nowhere-images-idx3-ubyte")


@pytest.mark.parametrize("name", [IMAGES, LABELS, TEST_IMAGES, TEST_LABELS])
def test_missing_or_damaged_file_is_named(own, name):
    cut(own.data / name)
    refused(own, name)
    (own.data / name).unlink()
    refused(own, name)


# ---- HDF5 files that only other programs can unpack ----

def test_lzf_is_named_and_the_line_that_mends_it_does(lab, arrays):
    with h5py.File(lab.dir / "my data.h5", "w") as file:
        group = file.create_group("digits")
        for name, array in zip(("images", "labels"), arrays["train"]):
            group.create_dataset(name, data=np.sort(array, axis=0), compression="lzf")
        file["scale"] = 2.0
    lab.config(data__dir=None, data__train="my data.h5:/digits", train__epochs=1)
    said = lab.run("run.ini").fails(3, "my data.h5", "/digits/images", "lzf").errors[0]
    line = said.split("write it anew: python3 -c ")[1]
    subprocess.run([sys.executable, "-c", *shlex.split(line)], cwd=lab.dir, check=True)
    lab.run("run.ini", "data.train=new.h5:/digits").expect(0)


@pytest.mark.slow
def test_a_chunk_that_takes_seconds_to_convert_is_read(lab):
    """The limit of a reader's CPU time is for what never ends."""
    x = np.tile(np.arange(1000, dtype=">i8"), (24000, 1))
    with h5py.File(lab.dir / "wide.h5", "w") as file:
        file.create_dataset("x", data=x, chunks=x.shape, compression=1)
        file["y"] = np.arange(len(x)) % 2
    lab.config(data__dir=None, data__train="wide.h5", model__layers="")
    lab.run("check", "run.ini").expect(0)


def test_a_filter_that_the_library_lacks_is_named(lab, arrays):
    with h5py.File(lab.dir / "odd.h5", "w") as file:
        file["labels"] = arrays["train"][1]
        images = arrays["train"][0]
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk(images.shape)
        how.set_filter(32123, h5py.h5z.FLAG_OPTIONAL)
        odd = h5py.h5d.create(file.id, b"images", h5py.h5t.NATIVE_UINT8,
                              h5py.h5s.create_simple(images.shape), how)
        odd.write_direct_chunk((0, 0, 0), b"packed", 0)
    lab.config(data__dir=None, data__train="odd.h5")
    lab.run("run.ini").fails(3, "odd.h5", "/images", "filter 32123", "HDF5_PLUGIN_PATH")


# ---- nothing is lost, one message for the job ----

def test_one_message_for_the_job(own):
    cut(own.data / IMAGES)
    refused(own, IMAGES, ranks=3)


def test_bad_data_leaves_an_existing_run_alone(own):
    own.run("run.ini", "train.max_steps=4").expect(75)
    before = own.out().files()
    cut(own.data / IMAGES)
    own.run("run.ini").fails(3, IMAGES)
    assert own.out().files() == before, "a run was changed by a start that failed"


def test_other_data_under_an_existing_run_is_exit_3(own, arrays):
    own.run("run.ini", "train.max_steps=4").expect(75)
    before = own.out().files()
    images, labels = arrays["train"]
    images = images.copy()
    images[0, 0, 0] ^= 1
    (own.data / IMAGES).write_bytes(idx_bytes(images))
    own.run("run.ini").fails(3, "data")
    assert own.out().files() == before, "a run was changed by a start that failed"


# ---- forms that are equal ----

def test_gz_and_plain_files_give_the_same_run(lab, arrays, tmp_path):
    lab.config(train__epochs=1)
    lab.run("run.ini").expect(0)
    write_idx(tmp_path / "gz", arrays["train"], arrays["test"], compress=True)
    lab.run("run.ini", f"data.dir={tmp_path / 'gz'}", "run.name=gz").expect(0)
    assert_same_bits(lab.out("gz").bits(), lab.out().bits(), "gz against plain")


def test_colours_first_and_last_give_the_same_run(lab):
    """N x H x W x 3 is read as N x 3 x H x W, PyTorch's order."""
    images, labels = make_set(96, 1, side=6)
    colours = np.stack([images, images // 2, 255 - images], axis=1)
    for name, array in {"first": colours, "last": np.moveaxis(colours, 1, -1)}.items():
        with h5py.File(lab.dir / f"{name}.h5", "w") as file:
            file["images"], file["labels"] = array, labels
        lab.config(data__dir=None, data__train=f"{name}.h5", train__epochs=1, run__name=name)
        assert "3x6x6" in lab.run("run.ini").expect(0).out
        with h5py.File(lab.out(name).last) as file:
            assert list(file["model"].attrs["input_shape"]) == [3, 6, 6]
    assert_same_bits(lab.out("last").bits(), lab.out("first").bits(), "channels last")


def test_files_named_by_train_and_test_give_the_same_run(lab):
    lab.config(train__epochs=1)
    lab.run("run.ini").expect(0)
    lab.config("named.ini", data__dir=None, train__epochs=1,
               data__train=lab.data / IMAGES, data__test=lab.data / TEST_IMAGES)
    lab.run("named.ini").expect(0)
    assert_same_bits(lab.out("named").bits(), lab.out().bits(), "named against dir")


def test_moved_data_is_accepted_on_resume(own):
    own.run("run.ini", "train.max_steps=4").expect(75)
    own.data.rename(own.dir / "moved")
    own.run("run.ini", f"data.dir={own.dir / 'moved'}").expect(0)
    assert len(own.out().table("steps")) == 10


def test_training_needs_no_test_set(own):
    own.config(data__dir=None, data__train=own.data / IMAGES, train__epochs=1)
    own.run("run.ini").expect(0)
    row = own.out().table("epochs")[0]
    assert np.isnan(row["test_loss"]) and np.isnan(row["test_accuracy"])
    assert own.out().best.exists(), "best falls back to train_loss"


@pytest.mark.parametrize("overrides, expected", [
    (["data.limit=100"], 100),
    (["data.limit=100000"], TRAIN),
    (["data.validation=0.1"], TRAIN - TRAIN // 10),
    (["data.limit=200", "data.validation=0.25"], 150),
    (["data.validation=100", "train.drop_last=true"], (TRAIN - 100) // 64 * 64)])
def test_an_epoch_takes_as_many_samples_as_limit_validation_and_drop_last_leave(
        lab, overrides, expected):
    lab.train(*overrides)
    steps = lab.out().table("steps")
    assert [steps["samples"][steps["epoch"] == e].sum() for e in (1, 2)] == [expected] * 2
    assert lab.run("eval", lab.out().last).expect(0).test_line()[2] == TEST, "limit cut the test set"


def test_limit_takes_the_first_samples(lab, arrays, tmp_path):
    lab.config(train__epochs=1)
    lab.run("run.ini", "data.limit=150").expect(0)
    first = tuple(array[:150] for array in arrays["train"])
    write_idx(tmp_path / "first", first, arrays["test"])
    lab.run("run.ini", f"data.dir={tmp_path / 'first'}", "run.name=first").expect(0)
    assert_same_bits(lab.out("first").bits(), lab.out().bits(), "limit and cut file")
