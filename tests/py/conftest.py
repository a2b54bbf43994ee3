"""Fixtures. Run with: python3 -m pytest tests/py   (-m "not slow" for the quick part)
The binary is $TRAINER, else ./trainer of this repository; MNIST is in $MNIST_DIR or
data/mnist."""

import os
import shutil
from pathlib import Path

import pytest

from helpers import NAMES, REPO, TEST, TRAIN, TRAINER, Lab, build_shim, make_set, write_idx
from workers import pytest_runtestloop  # noqa: F401 (a hook)


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: part of `make test`, not of `make check`")
    config.addinivalue_line("markers", "together: one worker runs the file (workers.py)")


def pytest_sessionstart(session):
    if not session.config.option.collectonly and not os.access(TRAINER, os.X_OK):
        pytest.exit(f"no trainer at {TRAINER}: run make, or set TRAINER", returncode=1)


@pytest.fixture(scope="session")
def arrays():
    """The small data set: {"train": (images, labels), "test": (images, labels)}."""
    return {"train": make_set(TRAIN, 1), "test": make_set(TEST, 2)}


@pytest.fixture(scope="session")
def data(arrays, tmp_path_factory):
    """Its folder of IDX files. Tests that change data make their own folder."""
    return write_idx(tmp_path_factory.mktemp("data"), arrays["train"], arrays["test"])


@pytest.fixture
def lab(tmp_path, data):
    lab = Lab(tmp_path, data)
    yield lab
    lab.close()


def finished(tmp_path_factory, data, name, ranks=None, **overrides):
    lab = Lab(tmp_path_factory.mktemp(name), data)
    lab.config("run.ini", **overrides)
    lab.result = lab.run("run.ini", ranks=ranks).expect(0)
    return lab


@pytest.fixture(scope="session")
def trained(tmp_path_factory, data):
    """A finished run for tests that only look: 2 ranks, momentum, 3 epochs, log_every 3.
    Its folder must not be changed."""
    return finished(tmp_path_factory, data, "trained", ranks=2,
                    model__layers="dense:24 relu dense:17 relu", optimizer__momentum=0.9,
                    optimizer__lr=0.3, train__epochs=3, train__log_every=3,
                    checkpoint__every=1)


@pytest.fixture(scope="session")
def adam(tmp_path_factory, data):
    """A finished run with Adam, validation, cosine and warmup. Not to be changed."""
    return finished(tmp_path_factory, data, "adam", optimizer__name="adam",
                    optimizer__lr=0.003, optimizer__schedule="cosine",
                    optimizer__warmup=2, optimizer__min_lr=0.0003,
                    train__epochs=12, data__validation=100,
                    checkpoint__keep=2, checkpoint__every=1)


@pytest.fixture(scope="session")
def refuse(tmp_path_factory):
    """What is preloaded to refuse a trainer a call (refuse.c)."""
    if b"__asan_init" in TRAINER.read_bytes():
        pytest.skip("memory is the sanitizers' here")
    return build_shim(tmp_path_factory.mktemp("refuse"), "refuse.c")


@pytest.fixture
def copy(tmp_path, trained):
    """A copy of `trained` that a test may change."""
    shutil.copytree(trained.dir, tmp_path / "copy", symlinks=True)
    return Lab(tmp_path / "copy", trained.data)


@pytest.fixture(scope="session")
def mnist():
    """The folder of MNIST's four files."""
    for folder in filter(None, (os.environ.get("MNIST_DIR"), REPO / "data" / "mnist")):
        folder = Path(folder).absolute()
        if all((folder / n).exists() or (folder / f"{n}.gz").exists()
               for pair in NAMES.values() for n in pair):
            return folder
    pytest.skip("MNIST is neither in $MNIST_DIR nor in data/mnist")


@pytest.fixture(scope="session")
def torch():
    module = pytest.importorskip("torch", reason="PyTorch is not installed")
    module.set_num_threads(1)  # small networks; its threads would only wait for each other
    return module
