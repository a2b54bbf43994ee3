#!/usr/bin/env python3
"""`make bench`: how fast this is, as a share of what the machine can do, beside its peers.

Everything is measured in one run: the FMA peak, the GEMMs of the step beside the libraries that are
installed, an epoch of each workload beside PyTorch where it is installed, and what starting, the
tree of sums, evaluation and checkpoints cost. Writes build/bench/report.txt and
build/bench/bench.csv, which scripts/plot_bench.py draws. Wants a quiet machine. Where there is none,
everybody takes turns and the best of short stretches counts, so that a neighbour of the machine
slows nobody more than another."""

import argparse
import csv
import gzip
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD", "build"))
BUILD = BUILD if BUILD.is_absolute() else TOP / BUILD
OUT = BUILD / "bench"
WORKLOADS = {"softmax 784-10": "784,10", "784-32-10": "784,32,10",
             "784-512-512-10": "784,512,512,10"}
BATCHES = (64, 128, 1024)
SAMPLES = 60000
ROUNDS = 2
GEMM_ROUNDS = 5
PEERS = ("openblas", "onednn", "libxsmm")
OURS = {"alone": "trainer", "fused": "fused"}

rows = []  # what the CSV holds: (kind, what, batch, threads, who, value, unit)


def say(text=""):
    print(text, flush=True)
    report.write(text + "\n")


def environment(threads):
    """A quiet one: these make an installed OpenBLAS forget the CPU that it runs on."""
    env = {k: v for k, v in os.environ.items()
           if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MAKEFLAGS", "MAKELEVEL")}
    return {**env, "OMP_NUM_THREADS": str(threads)}


def output(*command, threads, cwd=None):
    done = subprocess.run([str(c) for c in command], env=environment(threads), cwd=cwd, text=True,
                          capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, command))} ended with {done.returncode}:\n"
                 f"{done.stdout}{done.stderr}")
    return done.stdout


def gemms(cores):
    """Our kernels and the peers', each checked by its program before it is timed."""
    shapes, peak = {}, {}

    def note(shape, who, values):
        best = shapes.setdefault(shape, {}).setdefault(who, [0.0] * len(values))
        shapes[shape][who] = [max(pair) for pair in zip(best, values)]

    peers = [name for name in PEERS if (OUT / f"peer_{name}").exists()]
    for name in set(PEERS) - set(peers):
        say(f"{name} is not installed: left out")
    for _ in range(GEMM_ROUNDS):
        for line in output(OUT / "gemm", "auto", "0.01", threads=cores).splitlines()[1:]:
            part = re.split(r"\s+(?:->\s+)?", line.strip())
            inputs, outputs, batch, threads = map(int, part[1:5])
            peak[threads] = max(peak.get(threads, 0), float(part[5]))
            note((inputs, outputs, batch, threads), OURS[part[0]], [float(v) for v in part[6::2]])
        for name in peers:
            for line in output(OUT / f"peer_{name}", "0.01", threads=cores).splitlines():
                part = re.split(r"\s+(?:->\s+)?", line.strip())
                note(tuple(map(int, part[1:5])), part[0], [float(v) for v in part[5:]])
    for threads, value in sorted(peak.items()):
        rows.append(("peak", "FMA", "", threads, "machine", value, "GFLOP/s"))
        say(f"FMA peak of {threads} thread{'s' * (threads > 1)}: {value:.0f} GFLOP/s")
    say("\nGEMM, share of the FMA peak: forward / weight gradient / input gradient. fused: as in the "
        "step,\nwith bias, ReLU, its derivative, both layouts, bias gradient and the tree over blocks")
    for (inputs, outputs, batch, threads), who in sorted(shapes.items(), key=lambda s: (
            -s[0][0] * s[0][1], s[0][2], s[0][3])):
        text = f"  {inputs:4d} -> {outputs:<4d} batch {batch:4d} x{threads}"
        for name, (forward, dinput, dweight) in who.items():
            share = [100 * v / peak[threads] for v in (forward, dweight, dinput)]
            text += f"   {name} {share[0]:3.0f} /{share[1]:3.0f} /{share[2]:3.0f}"
            for what, value in zip(("forward", "dinput", "dweight"), (forward, dinput, dweight)):
                rows.append(("gemm", f"{inputs}->{outputs} {what}", batch, threads, name, value,
                             "GFLOP/s"))
        say(text)
    return peak


def flops(widths):
    """Of an epoch: forward, weight gradient, and input gradient but for the first layer."""
    pairs = list(zip(widths, widths[1:]))
    return 2 * SAMPLES * sum(i * o * (3 if k else 2) for k, (i, o) in enumerate(pairs))


def made_up_images(folder):
    """60,000 training and 10,000 test images of no meaning, gzipped, four fifths of them black as
    in MNIST: speed does not depend on more."""
    sys.path.insert(0, str(TOP / "tests" / "py"))
    from helpers import idx_bytes
    rng = np.random.default_rng(1)
    for name, n in (("train", SAMPLES), ("t10k", 10000)):
        ink = rng.random((n, 28, 28), np.float32) < 0.2
        images = idx_bytes(np.where(ink, rng.integers(1, 256, ink.shape, np.uint8), 0))
        labels = idx_bytes(rng.integers(0, 10, n, np.uint8))
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images, 1))
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels, 1))


def train(folder, data, threads, layers, batch, *more, epochs=2):
    """One run; returns its folder."""
    (folder / "bench.ini").write_text(
        f"[data]\ndir = {data}\n[model]\nlayers = {layers}\n[optimizer]\nlr = 0.01\n"
        f"momentum = 0.9\n[train]\nepochs = {epochs}\nbatch_size = {batch}\n"
        f"eval_every = {epochs}\n[checkpoint]\nevery = 0\nbest = none\n")
    output(BUILD / "trainer", "bench.ini", "run.overwrite=true", "run.resume=never", *more,
           threads=threads, cwd=folder)
    return folder / "runs" / "bench"


def column(run, table, name):
    with h5py.File(run / "metrics.h5", "r") as file:
        return file[table][name]


def stretch(batch):
    """Steps in a row that are timed together."""
    return max(20, min(100, 6400 // batch))


def epoch_seconds(run, batch):
    """Of an epoch at the pace of the run's best stretch; and the best whole epoch."""
    steps, whole = column(run, "steps", "seconds"), column(run, "epochs", "seconds")
    steps = steps.reshape(len(whole), -1)
    around = (whole / steps.sum(axis=1)).min()  # what is between the steps, too
    full = steps[:, :SAMPLES // batch]          # the last one may be a part
    goes = full[:, :full.shape[1] // stretch(batch) * stretch(batch)].reshape(-1, stretch(batch))
    return around * goes.sum(axis=1).min() / stretch(batch) * SAMPLES / batch, whole.min()


def epochs(folder, data, cores, peak):
    say("\nSeconds an epoch of 60,000 samples at the pace of the best stretch of 6,400 (batch 1024: of "
        "20 steps),\nas a share of the FMA peak; PyTorch likewise; then our best whole epoch. SGD with "
        "momentum")
    have_torch = subprocess.run([sys.executable, "-c", "import torch"], capture_output=True,
                                check=False).returncode == 0
    if not have_torch:
        say("PyTorch is not installed: left out")
    for name, widths in WORKLOADS.items():
        widths = [int(w) for w in widths.split(",")]
        layers = " ".join(f"dense:{w} relu" for w in widths[1:-1])
        for batch in BATCHES:
            text = f"  {name:15s} batch {batch:4d}"
            for threads in sorted({1, cores}):
                ours, torch = [], []
                for _ in range(ROUNDS):
                    ours.append(epoch_seconds(train(folder, data, threads, layers, batch), batch))
                    if have_torch:
                        torch.append(float(output(
                            sys.executable, TOP / "scripts/bench/torch_epoch.py", threads,
                            ",".join(map(str, widths)), batch, stretch(batch), threads=threads)))
                seconds, whole = np.min(ours, axis=0)
                share = 100 * flops(widths) / seconds * 1e-9 / peak[threads]
                text += f"   x{threads} {seconds:6.3f} s {share:2.0f}%"
                rows.append(("epoch", name, batch, threads, "trainer", seconds, "s"))
                rows.append(("whole epoch", name, batch, threads, "trainer", whole, "s"))
                if torch:
                    text += f", PyTorch {min(torch):6.3f} s = {min(torch) / seconds:.1f}x"
                    rows.append(("epoch", name, batch, threads, "PyTorch", min(torch), "s"))
                text += f" ({whole:.3f} s)"
            say(text)


def measured(*command, threads, cwd, code=0):
    """Seconds and peak memory in MB of a whole command."""
    began = time.perf_counter()
    process = subprocess.Popen([str(c) for c in command], env=environment(threads), cwd=cwd,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    err = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != code:
        sys.exit(f"bench: {' '.join(map(str, command))} ended with {process.returncode}:\n"
                 f"{err.decode(errors='replace')}")
    return seconds, usage.ru_maxrss / 1024


def costs(folder, data, cores):
    say("\nAround the steps, 784-512-512-10 at batch 64")
    layers = "dense:512 relu dense:512 relu"

    def best(threads, *more, **keys):
        """Seconds of the fastest of three runs."""
        def go():
            began = time.perf_counter()
            train(folder, data, threads, layers, 64, *more, **keys)
            return time.perf_counter() - began
        return min(go() for _ in range(3))

    def note(what, threads, value, unit):
        rows.append(("cost", what, 64, threads, "trainer", value, unit))

    blocks = {16: [], 64: []}
    for block in (16, 64) * 3:
        run = train(folder, data, 1, layers, 64, f"parallel.block={block}", "data.limit=32000")
        steps = column(run, "steps", "seconds").reshape(-1, 100)
        blocks[block].append(steps.sum(axis=1).min())
    tree = 100 * (1 - min(blocks[64]) / min(blocks[16]))
    say(f"  the tree over blocks of 16 samples, against one block a batch: {tree:.1f}% of a step "
        "(1 thread)")
    note("tree", 1, tree, "%")

    start = [measured(BUILD / "trainer", "bench.ini", "run.overwrite=true", "run.resume=never",
                      "train.max_steps=1", threads=1, cwd=folder, code=75) for _ in range(5)]
    seconds, megabytes = np.min(start, axis=0)
    say(f"  from the command to the end of a run of one step, loading 60,000 + 10,000 images from "
        f".gz\n  and writing its files: {seconds:.2f} s")
    note("one step from .gz", 1, seconds, "s")
    megabytes = max(measured(BUILD / "trainer", "bench.ini", "run.overwrite=true",
                             "run.resume=never", "train.epochs=1", threads=1,
                             cwd=folder)[1], megabytes)
    say(f"  peak memory of a run: {megabytes:.0f} MB")
    note("peak memory", 1, megabytes, "MB")

    few = ("data.limit=640",)  # ten steps an epoch: next to nothing beside an evaluation
    seldom, often = (best(1, *few, f"train.eval_every={k}", epochs=31) for k in (31, 1))
    say(f"  evaluation of 10,000 images: {1000 * (often - seldom) / 30:.1f} ms (1 thread)")
    note("evaluation", 1, (often - seldom) / 30, "s")
    seldom, often = (best(cores, *more) for more in ((), ("checkpoint.every_steps=100",)))
    cost = (often - seldom) / (2 * -(-SAMPLES // 64) // 100)
    say(f"  checkpoint.every_steps=100: a run of 2 epochs takes {often:.2f} s, without "
        f"{seldom:.2f} s: {1000 * cost:.0f} ms\n  a checkpoint of 670,000 parameters and momentum "
        "(all threads)")
    note("checkpoint", cores, cost, "s")
    tiny, _ = measured(BUILD / "trainer", TOP / "configs" / "linear.ini",
                       f"run.output={folder}/linear", threads=1, cwd=TOP)
    say(f"  2,000 epochs of five rows (configs/linear.ini, start and files included): {tiny:.2f} s")
    rows.append(("cost", "2000 tiny epochs", "", 1, "trainer", tiny, "s"))
    for threads in sorted({1, cores}):
        run = train(folder, data, threads, layers, 64)
        with h5py.File(run / "metrics.h5", "r") as file:
            profile = file["profile"][-1]
        parts = {part: profile[f"{part}_seconds"]
                 for part in "data forward backward reduce update idle".split()}
        say(f"  where an epoch's time goes, {threads} thread{'s' * (threads > 1)}: " + ", ".join(
            f"{part} {100 * value / sum(parts.values()):.0f}%" for part, value in parts.items()))
        note("loading of batches, an epoch", threads, parts["data"], "s")


def main():
    cores = len(os.sched_getaffinity(0))
    peak = gemms(cores)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        made_up_images(data)
        epochs(Path(folder), data, cores, peak)
        costs(Path(folder), data, cores)
    with open(OUT / "bench.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow("kind what batch threads who value unit".split())
        writer.writerows(rows)
    say(f"\nWritten: {OUT / 'report.txt'}, {OUT / 'bench.csv'}; "
        "draw them with: python3 scripts/plot_bench.py")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    with open(OUT / "report.txt", "w", encoding="utf-8") as report:
        main()
