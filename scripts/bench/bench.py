#!/usr/bin/env python3
"""`make bench`: how fast this is, as a share of what the machine can do, beside its peers.

Everything is measured in one run: the FMA peak, the GEMMs of the step beside the libraries that are
installed, an epoch of each workload beside PyTorch where it is installed, and what starting, the
tree of sums, evaluation and checkpoints cost. Writes build/bench/report.txt and
build/bench/bench.csv, which scripts/plot_bench.py draws. Wants a quiet machine. Where there is none,
everybody takes turns and the best of short stretches counts, so that a neighbour of the machine
slows nobody more than another. A part that takes too long is ended, and the rest goes on."""

import argparse
import csv
import gzip
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np

from parts import ended, in_time, limit, output, part, process

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
# Burns a core for as long as its parent lives, however that ends.
BUSY = """import os, sys
while os.getppid() == int(sys.argv[1]):
    for _ in range(100000):
        pass"""
OURS = {"alone": "trainer", "fused": "fused"}

rows = []  # what the CSV holds: (kind, what, batch, threads, who, value, unit)


def say(text=""):
    print(text, flush=True)
    report.write(text + "\n")


def gemms(cores):
    """Our kernels and the peers', each checked by its program before it is timed."""
    shapes, peak, memory = {}, {}, {}

    def note(shape, who, values):
        best = shapes.setdefault(shape, {}).setdefault(who, [0.0] * len(values))
        shapes[shape][who] = [max(pair) for pair in zip(best, values)]

    peers = [name for name in PEERS if (OUT / f"peer_{name}").exists()]
    for name in set(PEERS) - set(peers):
        say(f"{name} is not installed: left out")

    def run(name, *command):
        text = part(f"the GEMMs of {name}", lambda: output(*command, "0.01", threads=cores))
        return text.splitlines() if text else []

    for _ in range(GEMM_ROUNDS):
        ours = run("trainer", OUT / "gemm", "auto")
        if not ours:
            return {}
        for line in ours[1:]:
            if found := re.match(r"memory, (\d+) threads: (\S+) GB/s", line):
                threads, value = int(found[1]), float(found[2])
                memory[threads] = max(memory.get(threads, 0), value)
                continue
            field = re.split(r"\s+(?:->\s+)?", line.strip())
            inputs, outputs, batch, threads = map(int, field[1:5])
            peak[threads] = max(peak.get(threads, 0), float(field[5]))
            note((inputs, outputs, batch, threads), OURS[field[0]], [float(v) for v in field[6::2]])
        for name in peers[:]:
            lines = run(name, OUT / f"peer_{name}")
            if not lines:
                peers.remove(name)
            for line in lines:
                field = re.split(r"\s+(?:->\s+)?", line.strip())
                note(tuple(map(int, field[1:5])), field[0], [float(v) for v in field[5:]])
    for threads, value in sorted(peak.items()):
        rows.append(("peak", "FMA", "", threads, "machine", value, "GFLOP/s"))
        rows.append(("memory", "read and write", "", threads, "machine", memory[threads], "GB/s"))
        say(f"{threads} thread{'s' * (threads > 1)}: FMA peak {value:.0f} GFLOP/s, memory "
            f"{memory[threads]:.0f} GB/s")
    say("\nGEMM, share of the FMA peak: forward / weight gradient / input gradient. fused: as in the "
        "step,\nwith ReLU, its derivative, both layouts and the tree over blocks of 16 samples")
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
    tree = tree_share(shapes, (784, 512, 512, 10), 64)
    say(f"The tree over blocks of 16 samples takes {tree:.1f}% of the time of the GEMMs of "
        "784-512-512-10\nat batch 64 (1 thread)")
    rows.append(("cost", "tree", 64, 1, "trainer", tree, "%"))
    return peak


def tree_share(shapes, widths, batch):
    """Percent of the time of a step's GEMMs that the tree over blocks takes, with one thread."""
    def seconds(inputs, outputs, who, kind):
        return inputs * outputs / shapes[inputs, outputs, batch, 1][who][kind]
    forward, dinput, dweight = range(3)
    pairs = list(zip(widths, widths[1:]))
    tree = sum(seconds(*p, "fused", dweight) - seconds(*p, "trainer", dweight) for p in pairs)
    return 100 * tree / sum(seconds(*p, "fused", kind) for k, p in enumerate(pairs)
                            for kind in (forward, dweight, dinput)[:3 if k else 2])


def flops(widths):
    """Of an epoch: forward, weight gradient, and input gradient but for the first layer."""
    pairs = list(zip(widths, widths[1:]))
    return 2 * SAMPLES * sum(i * o * (3 if k else 2) for k, (i, o) in enumerate(pairs))


def made_up_images(folder):
    """60,000 training and 10,000 test images of no meaning, a fifth of them ink in one place, as in
    MNIST: speed does not depend on more. In gz/ the same, gzipped."""
    sys.path.insert(0, str(TOP / "tests" / "py"))
    from helpers import idx_bytes
    rng = np.random.default_rng(1)
    for name, n in (("train", SAMPLES), ("t10k", 10000)):
        images = np.zeros((n, 28, 28), np.uint8)
        ink = rng.integers(0, 256, (n, 14, 14), np.uint8)
        ink[rng.random(ink.shape, np.float32) < 0.2] = 0
        top, left = rng.integers(0, 14, (2, n, 1, 1))
        images[np.arange(n)[:, None, None], top + np.arange(14)[:, None], left + np.arange(14)] = ink
        images = idx_bytes(images)
        labels = idx_bytes(rng.integers(0, 10, n, np.uint8))
        for kind, content in (("images-idx3", images), ("labels-idx1", labels)):
            (folder / f"{name}-{kind}-ubyte").write_bytes(content)
            (folder / "gz" / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(content, 1))


def command(folder, data, layers, batch, *more, epochs=2):
    """Of a run in folder, with a config of its own."""
    (folder / "bench.ini").write_text(
        f"[data]\ndir = {data}\n[model]\nlayers = {layers}\n[optimizer]\nlr = 0.01\n"
        f"momentum = 0.9\n[train]\nepochs = {epochs}\nbatch_size = {batch}\n"
        f"eval_every = {epochs}\n[checkpoint]\nevery = 0\nbest = none\n")
    return [BUILD / "trainer", "bench.ini", "run.overwrite=true", "run.resume=never", *more]


def train(folder, data, threads, *what, **keys):
    """One run; returns its folder."""
    output(*command(folder, data, *what, **keys), threads=threads, cwd=folder)
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


class Torch:
    """PyTorch with a number of threads, in a process of its own."""

    @staticmethod
    def is_here():
        return subprocess.run([sys.executable, "-c", "import torch"], capture_output=True,
                              check=False).returncode == 0

    @classmethod
    @contextmanager
    def start(cls, threads):
        with process([sys.executable, TOP / "scripts/bench/torch_epoch.py", threads], threads,
                     stdin=subprocess.PIPE) as child:
            yield cls(child)

    def __init__(self, child):
        self.process = child

    def seconds(self, widths, batch):
        widths = ",".join(map(str, widths))
        with suppress(BrokenPipeError):
            print(widths, batch, stretch(batch), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        in_time()
        if not answer:
            sys.exit("bench: PyTorch's process ended")
        return float(answer)


def epochs(folder, data, cores, peak):
    say("\nSeconds an epoch of 60,000 samples at the pace of the best stretch of 6,400 (batch 1024: of "
        "20 steps),\nas a share of the FMA peak; PyTorch likewise; then our best whole epoch. SGD with "
        "momentum.\nx2 and more: threads that may be used; parallel.threads = auto takes fewer for small "
        "steps")
    torch = Torch.is_here()
    if not torch:
        say("PyTorch is not installed: left out")
    for name in WORKLOADS:
        part(f"epochs of {name}", workload, folder, data, cores, peak, name, torch)


def workload(folder, data, cores, peak, name, torch):
    widths = [int(w) for w in WORKLOADS[name].split(",")]
    layers = " ".join(f"dense:{w} relu" for w in widths[1:-1])
    counts = sorted({1, cores})
    with ExitStack() as stack:
        peers = {n: stack.enter_context(Torch.start(n)) for n in counts if torch}
        for batch in BATCHES:
            text = f"  {name:15s} batch {batch:4d}"
            for threads in counts:
                ours, theirs = [], []
                for _ in range(ROUNDS):
                    ours.append(epoch_seconds(train(folder, data, threads, layers, batch), batch))
                    if torch:
                        theirs.append(peers[threads].seconds(widths, batch))
                seconds, whole = np.min(ours, axis=0)
                text += f"   x{threads} {seconds:6.3f} s"
                if threads in peak:
                    text += f" {100 * flops(widths) / seconds * 1e-9 / peak[threads]:2.0f}%"
                rows.append(("epoch", name, batch, threads, "trainer", seconds, "s"))
                rows.append(("whole epoch", name, batch, threads, "trainer", whole, "s"))
                if torch:
                    text += f", PyTorch {min(theirs):6.3f} s = {min(theirs) / seconds:.1f}x"
                    rows.append(("epoch", name, batch, threads, "PyTorch", min(theirs), "s"))
                text += f" ({whole:.3f} s)"
            say(text)


def crowd(folder, data, cores):
    """What threads cost on cores that others use: beside two busy loops a core, which one thread and
    more have alike."""
    say("\nBeside two busy loops a core, milliseconds an epoch (6,400 samples; the table: 150): the median and "
        "the best\nof five with one thread; then with more, and the ratio of the medians. In brackets: "
        "forced to so many")
    flower = folder / "table.csv"
    flower.write_text("a,b,c,d,kind\n" + "".join(
        f"{k % 7},{k % 11},{k % 5},{k % 13},{k % 3}\n" for k in range(150)), encoding="utf-8")
    cases = {"table 4-16-3": ("dense:16 relu", 16, 40, "data.dir=", f"data.train={flower}",
                              "data.target=kind"),
             "784-32-10": ("dense:32 relu", 64, 10, "data.limit=6400"),
             "784-512-512-10": ("dense:512 relu dense:512 relu", 64, 1, "data.limit=6400")}
    ways = {"x1": (1,), f"x{cores}": (cores,), f"(x{cores})": (cores, f"parallel.threads={cores}")}
    with ExitStack() as stack:
        for _ in range(2 * cores):
            stack.enter_context(process([sys.executable, "-c", BUSY, os.getpid()], 1))
        for name, (layers, batch, count, *more) in cases.items():
            found = {way: [] for way in ways}
            for _ in range(5):
                for way, (threads, *forced) in ways.items():
                    run = train(folder, data, threads, layers, batch, *more, *forced, epochs=count)
                    found[way].append(column(run, "epochs", "seconds").sum() / count)
            one = np.median(found["x1"])
            text = f"  {name:15s} batch {batch:4d}"
            for way, seconds in found.items():
                text += f"   {way} {1e3 * np.median(seconds):.3g} ({1e3 * min(seconds):.3g})"
                if way != "x1":
                    text += f" = {np.median(seconds) / one:.2f}x"
                kind = "crowd" if len(ways[way]) == 1 else "crowd, forced"
                rows.append((kind, name, batch, ways[way][0], "trainer", np.median(seconds), "s"))
            say(text)


def first_step(folder, data, threads, *what, **keys):
    """Seconds from the command to the first step's loss; peak memory of the whole run in MB."""
    in_time()
    began = time.perf_counter()
    with process(command(folder, data, *what, **keys), threads, cwd=folder) as child:
        for line in child.stdout:
            if line.startswith("loss:"):
                break
        first, peak = time.perf_counter() - began, 0
        while child.poll() is None:
            try:
                status = Path(f"/proc/{child.pid}/status").read_text(encoding="utf-8")
                peak = max([peak, *map(int, re.findall(r"VmHWM:\s*(\d+) kB", status))])
            except OSError:
                pass  # it has just ended
            time.sleep(0.01)
    in_time()
    if child.returncode not in (0, 75):
        sys.exit(f"bench: a run ended with {child.returncode}")
    return first, peak * 1024e-6


def costs(folder, data, cores):
    say("\nAround the steps, 784-512-512-10 at batch 64")
    layers = "dense:512 relu dense:512 relu"

    def note(what, threads, value, unit):
        rows.append(("cost", what, 64, threads, "trainer", value, unit))

    first = min(first_step(folder, data / "gz", 1, layers, 64, "train.max_steps=1")[0]
                for _ in range(5))
    _, megabytes = first_step(folder, data / "gz", 1, layers, 64, epochs=1)
    say(f"  from the command to the first step, 60,000 + 10,000 images from .gz: {first:.2f} s")
    say(f"  peak memory of a run: {megabytes:.0f} MB")
    note("first step from .gz", 1, first, "s")
    note("peak memory", 1, megabytes, "MB")

    def around(epochs, *more):
        """Seconds of a run that are not in its steps."""
        began = time.perf_counter()
        run = train(folder, data, cores, layers, 64, *more, epochs=epochs)
        return time.perf_counter() - began - column(run, "steps", "seconds").sum()

    def cost(count, *variants, epochs):
        """Seconds of what one variant does `count` times more often than the other: they take turns,
        and the best of three counts."""
        gaps = [[around(epochs, *more) for more in variants] for _ in range(3)]
        more, less = np.min(gaps, axis=0)
        return (more - less) / count

    seconds = cost(10, *(("data.limit=640", f"train.eval_every={k}") for k in (1, 11)), epochs=11)
    say(f"  evaluation of 10,000 images: {1000 * seconds:.0f} ms (all threads)")
    note("evaluation", cores, seconds, "s")
    seconds = cost(2 * SAMPLES // 6400, ("checkpoint.every_steps=100",), (), epochs=2)
    say(f"  a checkpoint of 670,000 parameters and momentum: {1000 * seconds:.1f} ms between two "
        "steps; then it is\n  written beside them (all threads)")
    note("checkpoint", cores, seconds, "s")
    began = time.perf_counter()
    output(BUILD / "trainer", TOP / "configs" / "linear.ini", f"run.output={folder}/linear",
           threads=1, cwd=TOP)
    tiny = time.perf_counter() - began
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
    with tempfile.TemporaryDirectory() as name:
        folder, data = Path(name), Path(name) / "data"
        (data / "gz").mkdir(parents=True)
        made_up_images(data)
        epochs(folder, data, cores, peak)
        part("what is around the steps", costs, folder, data, cores)
        part("beside busy loops", crowd, folder, data, cores)
    with open(OUT / "bench.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow("kind what batch threads who value unit".split())
        writer.writerows(rows)
    say(f"\nWritten: {OUT / 'report.txt'}, {OUT / 'bench.csv'}; "
        "draw them with: python3 scripts/plot_bench.py")
    if ended:
        sys.exit(f"bench: took too long and was ended: {', '.join(ended)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=limit["seconds"], metavar="SECONDS",
                        help="after which a part is ended (%(default)s)")
    limit["seconds"] = parser.parse_args().limit
    OUT.mkdir(parents=True, exist_ok=True)
    with open(OUT / "report.txt", "w", encoding="utf-8") as report:
        main()
