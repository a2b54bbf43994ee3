"""Files of the trainer: which there are, whether their digest fits, averaging and sealing them."""

import multiprocessing
import os
import shutil
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np

BLOCK = 512
MAGIC = b"trainer file 1\n"
LONGEST, SLOWEST = 30, 1e7  # seconds to read a file that may be damaged, and bytes a second besides


class FileError(Exception):
    """One line: which file, and what is wrong with it."""


# ---- finding and opening ----

def of(name):
    """The files of a run's folder, else the file itself."""
    path = Path(name)
    if not path.is_dir():
        return [path]
    places = [path / "metrics.h5", *(path / "checkpoints" / f"{which}.h5" for which in ("last", "best"))]
    found = [place for place in places if place.exists()]
    if not found:
        raise FileError(f"{path}: no run's folder: no metrics.h5 and no checkpoints in it")
    return found


def one(name):
    """The checkpoint of a run's folder: its best one, else the last; else the file itself."""
    found = of(name)
    return found[0] if len(found) == 1 else found[-1]


def apart(work, *paths):
    """What work(*paths) returns, in a process of its own: damaged bytes make HDF5 crash or spin."""
    receiver, sender = multiprocessing.Pipe(False)

    def body():
        try:
            sender.send((True, work(*paths)))
        except FileError as error:
            sender.send((False, str(error)))
        except Exception as error:  # whatever h5py makes of damaged bytes
            sender.send((False, f"{' or '.join(map(str, paths))}: damaged: {error}"))
    child = multiprocessing.get_context("fork").Process(target=body, daemon=True)
    child.start()
    sender.close()
    limit = LONGEST + sum(path.stat().st_size for path in paths) / SLOWEST
    good, found = False, f"{' or '.join(map(str, paths))}: damaged: "
    try:
        good, found = receiver.recv() if receiver.poll(limit) else (False, found + "reading it does not end")
    except EOFError:
        found += "HDF5 crashes on it"
    child.kill()
    if not good:
        raise FileError(found)
    return found


def open_file(path):
    try:
        return h5py.File(path, "r")
    except OSError as error:
        why = error.strerror or str(error).split("(")[-1].rstrip(")")
        raise FileError(f"{path}: can't be read: {why}") from None


def texts(values):
    return [v.decode() if isinstance(v, bytes) else str(v) for v in np.atleast_1d(values)]


def plain(value):
    """An attribute as Python has it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value]
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def tensors(file):
    """{name: values} of /model, in the order of the layers."""
    if "model" not in file:
        raise FileError(f"{file.filename}: holds no model")
    names = texts(file["model"].attrs["parameters"]) if "parameters" in file["model"].attrs else \
        sorted(file["model"], key=lambda name: (int(name.split(".")[0]), name.split(".")[1] != "weight"))
    return {name: file["model"][name][()] for name in names}


# ---- the digest ----

def block_of(length, digest):
    """The user block of a file of that length."""
    text = (MAGIC.decode() + f"length {length}\ncrc32 {digest}\n\n"
            "This is an HDF5 file behind a user block of 512 bytes: h5py, h5dump and\n"
            "other HDF5 programs open it as it is. length counts all its bytes; crc32\n"
            "is taken over all of them, with its own digits as dashes.\n")
    return text.encode().ljust(BLOCK, b"\n")


def sealed_block(raw):
    crc = zlib.crc32(raw[BLOCK:], zlib.crc32(block_of(len(raw), "--------")))
    return block_of(len(raw), f"{crc:08x}")


def digest_state(path):
    """"good", "none" (not the trainer's user block) or "wrong"."""
    try:
        if Path(path).exists() and not Path(path).is_file():
            raise FileError(f"{path}: is no file")
        with open(path, "rb") as file:
            raw = file.read(BLOCK)
            if not raw.startswith(MAGIC):
                return "none"
            raw += file.read()
    except OSError as error:
        raise FileError(f"{path}: can't be read: {error.strerror}") from None
    return "good" if raw[:BLOCK] == sealed_block(raw) else "wrong"


def warn_if_edited(path):
    if digest_state(path) == "wrong":
        print(f"{Path(sys.argv[0]).name}: warning: {path}: its digest does not match its bytes, so it is not as "
              "trainer wrote it; if it was edited, inspect.py --seal gives it a new one", file=sys.stderr)


def replace(path, raw):
    """Beside its place, on the disk, and renamed."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.trainer-tmp.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise FileError(f"{path}: can't be written: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)


def seal(path):
    path = Path(path).resolve()  # a link stays one
    open_file(path).close()
    raw = path.read_bytes()
    if not raw.startswith(MAGIC):
        raise FileError(f"{path}: has no user block of the trainer's to write a digest into")
    replace(path, sealed_block(raw) + raw[BLOCK:])


def seal_all(paths):
    for path in paths:
        seal(path)
        print(f"{path}: sealed")
    return 0


# ---- averaging ----

def average(paths, output):
    """The first file with the mean of all parameters, which eval takes."""
    def read(path):
        with open_file(path) as file:
            return tensors(file)
    for path in paths:
        warn_if_edited(path)
    models = [apart(read, path) for path in paths]
    for path, model in zip(paths, models):
        for name, value in model.items():
            if value.dtype.kind != "f" or not np.isfinite(value).all():
                raise FileError(f"{path}: {name} has values that are no numbers")
    for path, model in zip(paths[1:], models[1:]):
        for name in {**models[0], **model}:
            if name not in model or name not in models[0] or model[name].shape != models[0][name].shape:
                raise FileError(f"{path}: {name} is not as in {paths[0]}: another model")
    output = Path(output)
    if output.exists() and output.resolve() in [Path(path).resolve() for path in paths]:
        raise FileError(f"{output}: is one of the files to average")
    part = output.with_name(f".{output.name}.part.{os.getpid()}")
    try:
        shutil.copyfile(Path(paths[0]).resolve(), part)
        with h5py.File(part, "r+") as file:
            for name in models[0]:
                mean = np.mean([model[name].astype(float) for model in models], axis=0)
                file["model"][name][...] = mean.astype("f4")
            file.attrs["averaged"] = [str(path) for path in paths]
        if digest_state(part) != "none":
            seal(part)
        os.replace(part, output)
    except OSError as error:
        raise FileError(f"{output}: can't be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)
    print(f"{output}: the mean of {len(paths)} checkpoints")
    return 0
