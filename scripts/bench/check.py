#!/usr/bin/env python3
"""`make bench-check`: the instructions of a training step, by callgrind, beside those committed.

    scripts/bench/check.py            compares; exit code 1 where a step takes 3% more
    scripts/bench/check.py --renew    writes them anew, for a change that is worth it, or for another
                                      compiler: then say in the commit why

Instructions, unlike seconds, are the same on a busy machine: one thread, one rank, all that dp_step
calls. Valgrind runs avx2 and portable, not avx512. The numbers are a compiler's; with another one
there is nothing to compare with, which is said, and is no failure."""

import argparse
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

TOP = Path(__file__).resolve().parents[2]
TRAINER = TOP / os.environ.get("BUILD", "build") / "trainer"
COUNTS = TOP / "scripts/bench/instructions.json"
MORE = 0.03
CASES = {  # name: layers, batch, other keys
    "mlp": ("dense:128 relu dense:128 relu", 64, ["optimizer.momentum=0.9"]),
    "mlp, large batch": ("dense:32 relu", 512, ["optimizer.name=adamw"]),
    "softmax": ("", 64, []),
    "cnn": ("conv:8@5 relu maxpool:2 conv:16@3 relu maxpool:2 dense:64 relu", 16,
            ["optimizer.momentum=0.9"]),
    "augmented": ("dense:64 relu", 64, ["augment.shift=2", "augment.rotate=10",
                                        "augment.elastic=3"]),
}
SETS = ("avx2", "portable")


def write_data(folder):
    """Images with as many zeros as handwriting has: a disc of noise each."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:28, :28]
    n = 512
    ink = (y - 14) ** 2 + (x - 14) ** 2 < rng.integers(20, 120, (n, 1, 1))
    images = (rng.integers(1, 256, (n, 28, 28)) * (ink & (rng.random((n, 28, 28)) < 0.7))).astype("u1")
    labels = rng.integers(0, 10, n).astype("u1")
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        head = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
        (folder / name).write_bytes(head + array.tobytes())


def count(folder, case, kernels):
    """Instructions of the first step."""
    layers, batch, more = CASES[case]
    name = f"{case}-{kernels}".replace(" ", "").replace(",", "-")
    command = ["valgrind", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=dp_step",
               f"--callgrind-out-file={folder}/{name}.out", TRAINER, "run.ini", f"run.name={name}",
               f"model.layers={layers}", f"train.batch_size={batch}", "train.max_steps=1",
               f"parallel.kernels={kernels}", *more]
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 75 or not collected:
        sys.exit(f"bench-check: {' '.join(map(str, command))} ended with {done.returncode}:\n"
                 f"{done.stdout}{done.stderr}")
    return int(collected[1])


def measure():
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder))
        (Path(folder) / "run.ini").write_text(
            "[data]\ntrain = train-images-idx3-ubyte\n[optimizer]\nlr = 0.01\n[train]\nepochs = 10\nbatch_size = 64\n")
        todo = [(case, kernels) for case in CASES for kernels in SETS]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            counts = list(pool.map(lambda job: count(folder, *job), todo))
    return {f"{case}, {kernels}": n for (case, kernels), n in zip(todo, counts)}


def compiler():
    """What the trainer's kernels were compiled with."""
    out = subprocess.run([TRAINER, "--version"], text=True, capture_output=True, check=True).stdout
    return re.search(r"^compiler (.*)$", out, re.M)[1]


def compare(counts, known):
    """Prints them; the names of those that are too many."""
    worse = []
    for name, n in counts.items():
        old = known.get(name)
        change = f"{n / old - 1:+.2%}" if old else "new"
        print(f"  {name:26s} {n:12,d}  {change}")
        if old is None or n > old * (1 + MORE):
            worse.append(name)
    return worse


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renew", action="store_true", help="write the counts of this build")
    renew = parser.parse_args().renew
    if not shutil.which("valgrind"):
        print("bench-check: skipped: valgrind is not installed (scripts/install-deps.sh valgrind)")
        return 0
    known = json.loads(COUNTS.read_text()) if COUNTS.exists() else {"compiler": "", "step": {}}
    now = compiler()
    if not renew and known["compiler"] != now:
        print(f"bench-check: skipped: the counts are those of {known['compiler']}, this is {now}")
        return 0
    print(f"instructions of a step, {now}, beside those committed")
    counts = measure()
    worse = compare(counts, known["step"])
    if renew:
        COUNTS.write_text(json.dumps({"compiler": now, "step": counts}, indent=1) + "\n")
        print(f"written to {COUNTS.relative_to(TOP)}")
        return 0
    if worse:
        print(f"bench-check: more than {MORE:.0%} above: {'; '.join(worse)}. If it is worth that: "
              "scripts/bench/check.py --renew")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
