"""Data that is wrong: exit 3, the file named, nothing lost. Right data in any form."""

import gzip
import shlex
import shutil
import struct
import subprocess
import sys

import h5py
import numpy as np
import pytest

from helpers import (NAMES, TEST, TRAIN, Lab, assert_same_bits, idx_bytes, launch_all,
                     make_set, write_config, write_idx)

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


# ---- missing ----

def test_missing_folder_is_named(lab):
    lab.config(data__dir="no/such/folder")
    refused(lab, "no/such/folder")


@pytest.mark.parametrize("name", [IMAGES, LABELS, TEST_LABELS])
def test_missing_file_is_named(own, name):
    (own.data / name).unlink()
    refused(own, name)


def test_images_file_named_by_train_must_exist(own):
    own.config(data__dir=None, data__train=own.data / "nowhere-images-idx3-ubyte")
    refused(own, "nowhere-images-idx3-ubyte")


# ---- damaged ----

def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def cut_header(path):
    path.write_bytes(path.read_bytes()[:6])


def empty(path):
    path.write_bytes(b"")


def longer(path):
    path.write_bytes(path.read_bytes() + b"\0")


def text(path):
    path.write_text("<html><body>404 Not Found</body></html>\n" * 50)


def wrong_type(path):  # IDX of float32
    data = bytearray(path.read_bytes())
    data[2] = 0x0D
    path.write_bytes(data)


def huge(path):  # promises 4 billion rows
    data = bytearray(path.read_bytes())
    data[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(data)


def none(path):  # no sample at all
    data = bytearray(path.read_bytes())
    data[4:8] = struct.pack(">I", 0)
    path.write_bytes(data[:4 + 4 * data[3]])


DAMAGES = [cut, cut_header, empty, longer, text, wrong_type, huge]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory, data):
    """Every damage to every file, tried: {(damage, name): Result}."""
    folder, jobs = tmp_path_factory.mktemp("damaged"), {}
    for damage in DAMAGES:
        for name in (IMAGES, LABELS):
            own = shutil.copytree(data, folder / f"{damage.__name__}-{name}")
            damage(own / name)
            write_config(own / "run.ini", own)
            jobs[damage, name] = (("run.ini",), own)
    results = launch_all(jobs)
    assert not list(folder.rglob("step-*")), "refused data left a checkpoint"
    return results


@pytest.mark.parametrize("name", [IMAGES, LABELS])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file_is_named(damaged, name, damage):
    damaged[damage, name].fails(3, name)


def test_damaged_test_file_is_named(own):
    cut(own.data / TEST_IMAGES)
    refused(own, TEST_IMAGES)


def test_no_samples_is_refused(own):
    none(own.data / IMAGES)
    none(own.data / LABELS)
    refused(own)


def test_labels_in_place_of_images_are_refused(own):
    shutil.copy(own.data / LABELS, own.data / IMAGES)
    refused(own, IMAGES)


@pytest.mark.parametrize("damage", ["cut", "flipped", "longer", "text"])
def test_damaged_gz_is_named(own, damage):
    plain = (own.data / IMAGES).read_bytes()
    packed = bytearray(gzip.compress(plain, 1))
    (own.data / IMAGES).unlink()
    if damage == "cut":
        packed = packed[:len(packed) // 2]
    elif damage == "flipped":
        packed[-6] ^= 1  # the checksum
    elif damage == "longer":
        packed = gzip.compress(plain + b"\0", 1)
    else:
        packed = b"not gzip"
    (own.data / f"{IMAGES}.gz").write_bytes(packed)
    refused(own, f"{IMAGES}.gz")


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


# ---- sets that don't fit ----

def test_counts_that_differ_are_both_told(own, arrays):
    (own.data / LABELS).write_bytes(idx_bytes(arrays["train"][1][:-3]))
    refused(own, str(TRAIN), str(TRAIN - 3))


def test_test_counts_that_differ_are_both_told(own, arrays):
    (own.data / TEST_LABELS).write_bytes(idx_bytes(arrays["test"][1][1:]))
    refused(own, str(TEST), str(TEST - 1))


def test_test_images_of_another_size_are_refused(own):
    images, labels = make_set(50, 3, side=15)
    write_idx(own.data, test=(images, labels))
    refused(own, TEST_IMAGES)


def test_label_out_of_range_is_refused(own, arrays):
    labels = arrays["train"][1].copy()
    labels[77] = 200
    (own.data / LABELS).write_bytes(idx_bytes(labels))
    refused(own, LABELS, "200")


def test_label_that_training_never_saw_is_refused(own, arrays):
    labels = arrays["test"][1].copy()
    labels[5] = 10
    (own.data / TEST_LABELS).write_bytes(idx_bytes(labels))
    refused(own, TEST_LABELS, "10")


def test_label_beyond_the_named_classes_is_refused(own):
    own.config(data__classes="zero,one,two,three,four,five,six,seven,eight")
    result = own.run("run.ini")
    assert result.code in (2, 3), str(result)  # the data or the list of names is wrong
    result.fails(result.code)


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


# ---- splits ----

def samples_of_first_epoch(run):
    steps = run.table("steps")
    return int(steps["samples"][steps["epoch"] == 1].sum())


@pytest.mark.parametrize("overrides, expected", [
    (["data.limit=100"], 100),
    (["data.limit=100000"], TRAIN),
    (["data.validation=100"], TRAIN - 100),
    (["data.validation=0.1"], TRAIN - TRAIN // 10),
    (["data.limit=200", "data.validation=0.25"], 150),
    (["train.drop_last=true"], TRAIN // 64 * 64),
])
def test_limit_validation_and_drop_last_count_samples(lab, overrides, expected):
    lab.config(train__epochs=1)
    result = lab.run("run.ini", *overrides).expect(0)
    assert samples_of_first_epoch(lab.out()) == expected
    if overrides[0] == "data.limit=100":
        _, _, samples = lab.run("eval", lab.out().last).expect(0).test_line()
        assert samples == TEST, f"limit cut the test set\n{result}"


def test_limit_takes_the_first_samples(lab, arrays, tmp_path):
    lab.config(train__epochs=1)
    lab.run("run.ini", "data.limit=150").expect(0)
    first = tuple(array[:150] for array in arrays["train"])
    write_idx(tmp_path / "first", first, arrays["test"])
    lab.run("run.ini", f"data.dir={tmp_path / 'first'}", "run.name=first").expect(0)
    assert_same_bits(lab.out("first").bits(), lab.out().bits(), "limit and cut file")
