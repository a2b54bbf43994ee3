"""data.memory: samples that are taken from the file as they are needed."""

import gzip
import os
import subprocess

import h5py
import numpy as np
import pytest

from helpers import TRAINER, Process, assert_same_bits, environment, idx_bytes

RUN = {"data__dir": None, "model__layers": "dense:12 relu", "train__epochs": 2, "train__batch_size": 32}


def write(lab, kind, x, y):
    """-> the path of the samples"""
    lab.dir.joinpath("d").mkdir(exist_ok=True)
    if kind == "idx":
        (lab.dir / "d/some-images-idx3-ubyte").write_bytes(idx_bytes(x))
        (lab.dir / "d/some-labels-idx1-ubyte").write_bytes(idx_bytes(y))
        return "d/some-images-idx3-ubyte"
    if kind.startswith("npy"):
        np.save(lab.dir / "d/x.npy", x / np.float32(255) if kind == "npy of floats" else x)
        np.save(lab.dir / "d/y.npy", y)
        return "d/x.npy"
    with h5py.File(lab.dir / "d/x.h5", "w", userblock_size=512 * (kind != "hdf5")) as file:
        file["x"], file["y"] = x, y
    return "d/x.h5"


KINDS = ["idx", "npy", "npy of floats", "hdf5", "hdf5 behind a user block"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bits_and_the_file_is_mapped(lab, arrays, kind):
    path = write(lab, kind, *arrays["train"])
    config = {**RUN, "data__train": path, "data__test": path, "data__validation": "0.25"}
    lab.train("run.name=copy", **config, data__memory="copy")
    for n, (ranks, *more) in enumerate([(None,), (2,), (3, "parallel.block=8"), (None, "parallel.threads=3")]):
        lab.run("run.ini", f"run.name=map{n}", "data.memory=map", *more, ranks=ranks).expect(0)
        if not more or "block" not in more[0]:
            assert_same_bits(lab.out(f"map{n}").bits(), lab.out("copy").bits(), f"{ranks} {more}")
    lab.run("eval", lab.out("map0").path, "data.memory=map").expect(0)
    with Maps(lab) as run:
        assert any(path.split("/")[-1] in line for line in run.maps()), "mapped"
    lab.run("run.ini", "run.name=stopped", "data.memory=copy", "train.max_steps=20").expect(75)
    lab.run("run.ini", "run.name=stopped", "data.memory=map").expect(0)
    assert_same_bits(lab.out("stopped").bits(), lab.out("copy").bits(), "copied, then mapped")


class Maps:
    """A long run with its data mapped, that is ended."""

    def __init__(self, lab, *more, **how):
        self.run = Process(["run.ini", "run.name=long", "data.memory=map", "train.epochs=100000",
                            "run.overwrite=true", *more], lab.dir, **how)
        self.metrics = lab.dir / "runs/long/metrics.h5"

    def maps(self):
        with open(f"/proc/{self.run.pid}/maps") as file:
            return file.read().splitlines()

    def __enter__(self):
        self.run.wait_for(self.metrics.exists)
        return self

    def __exit__(self, *error):
        if self.run.popen.poll() is None:
            self.run.popen.terminate()
        self.run.end()


@pytest.mark.parametrize("ranks", [None, 2])
def test_a_file_that_changes_ends_the_run(lab, arrays, ranks):
    path = lab.dir / write(lab, "npy", *arrays["train"])
    lab.config(**RUN, data__train="d/x.npy")
    with Maps(lab, ranks=ranks) as job:
        with open(path, "r+b") as file:
            file.seek(500)
            file.write(b"\1")
        job.run.end().fails(3, "x.npy", "was changed", "data.memory")


def test_a_file_that_becomes_shorter_ends_the_run(lab, arrays):
    x, y = arrays["train"]
    path = lab.dir / write(lab, "npy", np.tile(x, (20, 1, 1)), np.tile(y, 20))
    lab.config(**RUN, data__train="d/x.npy")
    with Maps(lab, "train.epochs=1000") as job:
        os.truncate(path, 4096)
        result = job.run.end().expect(3)
        assert "x.npy: became shorter" in result.err or "x.npy: was changed" in result.err


@pytest.mark.parametrize("kind, mentions", [
    ("gz", ["packed", "gunzip"]), ("big-endian", ["converted", "astype"]), ("doubles", ["converted"]),
    ("channels last", ["channels come last", "transpose"]), ("chunked", ["contiguous"]),
    ("hdf5 of doubles", ["float32"])])
def test_what_cannot_be_mapped_is_said_and_auto_copies_it(lab, arrays, kind, mentions):
    x, y = arrays["train"]
    write(lab, "npy", x, y)
    path = "d/x.npy"
    if kind == "gz":
        path += ".gz"
        (lab.dir / path).write_bytes(gzip.compress((lab.dir / "d/x.npy").read_bytes()))
    elif kind == "channels last":
        np.save(lab.dir / path, np.stack([x, x, x], 3))
    elif kind in ("chunked", "hdf5 of doubles"):
        path = "d/x.h5"
        with h5py.File(lab.dir / path, "w") as file:
            file.create_dataset("x", data=x if kind == "chunked" else x / 255,
                                chunks=(10, *x.shape[1:]) if kind == "chunked" else None)
            file["y"] = y
    else:
        np.save(lab.dir / path, x.astype(">f4" if kind == "big-endian" else "f8"))
    lab.config(**RUN, data__train=path)
    lab.run("run.ini", "data.memory=map").fails(3, path, "data.memory = map", *mentions)
    lab.run("run.ini").expect(0)


def test_a_file_that_is_too_short_is_refused(lab, arrays):
    path = lab.dir / write(lab, "npy", *arrays["train"])
    os.truncate(path, path.stat().st_size - 1)
    lab.config(**RUN, data__train="d/x.npy")
    lab.run("run.ini", "data.memory=map").fails(3, "x.npy", "truncated")
    with open(path, "ab") as file:
        file.write(b"12")
    lab.run("run.ini", "data.memory=map").fails(3, "x.npy", "more bytes")


def test_a_map_that_ends_with_a_page(lab):
    """Nothing behind the last row is touched: there the next page may be missing."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (4096 - 8, 16), dtype=np.uint8)  # and 128 bytes of NPY's header
    write(lab, "npy", x, (x[:, 0] % 10).astype("u1"))
    assert (lab.dir / "d/x.npy").stat().st_size % 4096 == 0
    lab.config(**RUN, data__train="d/x.npy")
    lab.run("run.ini", "data.memory=map", "train.epochs=1").expect(0)
    lab.run("run.ini", "run.name=copy", "data.memory=copy", "train.epochs=1").expect(0)
    assert_same_bits(lab.out().bits(), lab.out("copy").bits(), "the last page")


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [None, 2])
def test_more_data_than_memory(lab, ranks):
    """3 GB, by default mapped, where what a process may allocate is 600 MB."""
    rows, features, some = 4_000_000, 784, 1024
    rng = np.random.default_rng(2)
    (lab.dir / "d").mkdir()
    head = np.lib.format.header_data_from_array_1_0(np.zeros((1, features), "u1"))
    head["shape"] = (rows, features)
    with open(lab.dir / "d/x.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
        for place in range(0, rows, rows // some):  # the rest are holes: zeros
            file.seek(128 + place * features)
            file.write(rng.integers(0, 256, features, dtype=np.uint8).tobytes())
        file.truncate(128 + rows * features)
    np.save(lab.dir / "d/y.npy", rng.integers(0, 10, rows, dtype=np.uint8))
    lab.config(**RUN, data__train="d/x.npy")
    command = ["prlimit", f"--data={600 << 20}", TRAINER, "run.ini"]
    launch = ["mpirun", "-np", str(ranks)] if ranks else []

    def run(*more):
        return subprocess.run([*launch, *map(str, command), *more], cwd=lab.dir, text=True,
                              capture_output=True, env=environment(not ranks), check=False)
    done = run("train.max_steps=100")
    assert done.returncode == 75, done.stderr
    refused = run("run.name=copy", "data.memory=copy", "train.max_steps=100")
    assert refused.returncode == 1 and "memory" in refused.stderr, refused.stderr
    lab.run("run.ini", "run.name=copy", "data.memory=copy", "train.max_steps=100").expect(75)
    assert_same_bits(lab.out().bits(), lab.out("copy").bits(), "from memory")
