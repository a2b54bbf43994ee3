#!/usr/bin/env python3
"""Changes what is in checkpoints, metrics and data files, gives them a digest that fits, and lets the trainer read
them: part of `make fuzz`. Each start must end by itself, with 0 or one line and the exit code of files, and without
a word of a sanitizer (TRAINER names a program that has one).

    tests/fuzz/structured.py [-n FILES] [--seconds T] [--seed S]"""

import argparse
import collections
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

TESTS = Path(__file__).resolve().parent.parent
TOP = TESTS.parent
sys.path[:0] = [str(TESTS / "py"), str(TOP / "scripts")]
import helpers  # noqa: E402
from inspectlib import files  # noqa: E402

KEPT = TESTS / "version1"
TEXTS = ["", "a", "dense:5 tanh", "dense:5 tanh layernorm dense:4 relu dense:3", "conv:4@3", "x" * 70000, "\xff",
         "cross_entropy", "mse", "adam", "sgd", "trainer-checkpoint", "0", "1e999", "[run]\nname = ../../x\n", "\0b"]
NUMBERS = [0, 1, -1, 2, 13, 2**31, 2**63 - 1, -2**63, 255, 0.5, -0.0, 1e308, float("nan"), float("inf")]
SHAPES = [(), (0,), (1,), (3,), (5, 3), (3, 5), (2, 2, 2), (1, 28, 28)]
CODES = {0, 2, 3, 4, 5, 75}  # not 1, and no signal


def value(rng):
    """What an attribute or a small dataset may hold."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice(TEXTS)
    if kind == 1:
        return rng.choice(NUMBERS)
    if kind == 2:
        return np.array([t for t in rng.sample(TEXTS, rng.randrange(1, 4)) if "\0" not in t] or ["a"], object)
    dtype = rng.choice(["f4", "f8", "i4", "i8", "u1", ">f4", ">i8", "?", "c8"])
    array = np.zeros(rng.choice(SHAPES), dtype)
    with np.errstate(all="ignore"):
        if array.size and rng.random() < 0.7:
            array.flat[rng.randrange(array.size)] = np.array(rng.choice(NUMBERS[:4])).astype(dtype)
    return array


def change(file, rng):
    """Changes one thing of an open file."""
    objects = ["/"]
    file.visit(objects.append)
    name = rng.choice(objects)
    item = file[name]
    kind = rng.randrange(7)
    if kind == 0 and name != "/":
        del file[name]
    elif kind == 1 and item.attrs:
        del item.attrs[rng.choice(list(item.attrs))]
    elif kind in (2, 3) and item.attrs:
        item.attrs[rng.choice(list(item.attrs))] = value(rng)
    elif kind == 4 and name != "/":
        del file[name]
        if rng.random() < 0.2:
            file[name] = h5py.SoftLink(rng.choice(["/", name, "/model"]))
        else:
            file[name] = value(rng)
    elif kind == 5 and name != "/":
        file.move(name, rng.choice([f"{name}x", "0.weight", "model/9.weight", "optimizer/m"]))
    elif isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and item.size:
        values = item[()]
        with np.errstate(over="ignore"):
            values.flat[rng.randrange(values.size)] = rng.choice(NUMBERS)
        item[...] = values


def flip(path, rng):
    raw = bytearray(path.read_bytes())
    for _ in range(rng.randrange(1, 6)):
        raw[rng.randrange(files.BLOCK, len(raw))] ^= 1 << rng.randrange(8)
    path.write_bytes(raw)


def mutate(path, rng):
    """One to three things, or bytes, of a file; its digest fits again in most cases."""
    if rng.random() < 0.25:
        flip(path, rng)
    else:
        with h5py.File(path, "r+") as file:
            for _ in range(rng.randrange(1, 4)):
                try:
                    change(file, rng)
                except (ValueError, TypeError, RuntimeError, KeyError, OSError):
                    pass  # h5py knows of no such thing
    raw = path.read_bytes()
    if rng.random() < 0.85 and raw.startswith(files.MAGIC):
        files.replace(path, files.sealed_block(raw) + raw[files.BLOCK:])


def start(folder, *args):
    env = helpers.environment(True, ASAN_OPTIONS="allocator_may_return_null=1:max_allocation_size_mb=1024")
    try:
        done = subprocess.run([helpers.TRAINER, *args], cwd=folder, env=env, capture_output=True, timeout=90,
                              check=False)
    except subprocess.TimeoutExpired:
        return "it does not end", None
    said = done.stderr.decode(errors="replace")
    lines = [line for line in said.splitlines() if line.startswith("trainer: ")]
    if "Sanitizer" in said or "runtime error" in said:
        return said[-3000:], done.returncode
    if done.returncode not in CODES or len(lines) != (done.returncode not in (0, 75)):
        return f"exit code {done.returncode}: {said[-1500:]}", done.returncode
    return None, done.returncode


def one(folder, rng):
    """One file and its starts: (what is wrong or None, {command: exit code})."""
    run = folder / "runs/run"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(KEPT, run, symlinks=True)
    for name in ("run.ini", "train.csv"):
        shutil.copy(KEPT / name, folder)
    path = rng.choice([run / "checkpoints/step-00000013.h5"] * 3 + [run / "metrics.h5"])
    mutate(path, rng)
    last, codes = "runs/run/checkpoints/last.h5", {}
    for name, *args in (("eval", "eval", last), ("predict", "predict", last, "--output", "p.csv"),
                        ("init", "run.ini", "run.name=next", "model.init=file", f"model.init_file={last}",
                         "model.init_partial=true", "train.max_steps=2"), ("resume", "run.ini")):
        wrong, codes[name] = start(folder, *args)
        if wrong:
            return f"{name}: {wrong}", codes
    for other in folder.rglob("*.h5"):
        if other.name.startswith("step-") and codes["resume"] == 0 and "damaged" not in other.name:
            with h5py.File(other, "r"):
                pass
    return None, codes


def fuzz(folder, count, seconds, seed):
    """(files tried, {(command, exit code): times}, findings)"""
    until, seen, findings, tried = time.monotonic() + seconds, collections.Counter(), [], 0
    while tried < count and time.monotonic() < until and len(findings) < 5:
        rng = random.Random(f"{seed}/{tried}")
        wrong, codes = one(folder / "work", rng)
        seen.update(codes.items())
        tried += 1
        if wrong:
            findings.append(f"seed {seed}, file {tried - 1}: {wrong}")
            shutil.copytree(folder / "work", folder / f"finding-{seed}-{tried - 1}", symlinks=True)
    return tried, seen, findings


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="trainer-fuzz."))
    tried, seen, findings = fuzz(folder, args.n, args.seconds, args.seed)
    counts = ", ".join(f"{name} {code}: {n}" for (name, code), n in sorted(seen.items(), key=str))
    print(f"{tried} files, {len(findings)} findings ({counts})")
    print("\n".join(findings))
    if not findings:
        shutil.rmtree(folder)
    return len(findings) > 0


if __name__ == "__main__":
    sys.exit(main())
