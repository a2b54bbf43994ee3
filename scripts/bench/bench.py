#!/usr/bin/env python3
"""`make bench`: how fast this is, as a share of what the machine can do, beside its peers.

For each kernel set (AVX2, AVX-512) that the machine has: the FMA peak, the GEMMs of the step beside
the libraries that are installed, epochs on MNIST beside PyTorch and JAX, and those of a
convolutional network beside PyTorch. Then what starting, evaluation and checkpoints cost, threads on
cores that others use, and a race to an accuracy. Writes build/bench/report.txt and
build/bench/bench.csv, which scripts/plot_bench.py draws.

BENCH_PYTHON names the Python that has PyTorch and JAX, as of a virtual environment; the default is
this one, with Debian's python3-torch. Wants a quiet machine: where it isn't, all take turns, and the
best of short stretches counts, so that a neighbour of the machine slows nobody more than another. A
part that takes too long is ended, and the rest goes on; all of it takes 5 minutes at most."""

import argparse
import csv
import functools
import gzip
import itertools
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

import around
import race
from common import COLUMNS, OUT, SAMPLES, TOP, TRAINER, note, rows, say, train
from parts import ONLY_AVX2, ended, environment, in_time, limit, output, part, process

LIMIT = 300  # seconds for all of it
ROUNDS = 3
PYTHON = os.environ.get("BENCH_PYTHON", sys.executable)
TURN = 0.2  # seconds of a peer, at least
LARGE, CONV = "784-512-512-10", "conv24@5-conv32@3-256-10"
LAYERS = {LARGE: "dense:512 relu dense:512 relu", "784-32-10": "dense:32 relu", "784-10": "",
          CONV: "conv:24@5 relu maxpool:2 conv:32@3 relu maxpool:2 dense:256 relu"}
WORKLOADS = [  # network, data, batches
    (LARGE, "mnist", (64, 128, 1024)), (LARGE, "fashion-mnist", (64,)),
    ("784-32-10", "mnist", (64,)), ("784-10", "mnist", (64,))]
CONVOLUTIONS = [(CONV, "mnist", (64, 256))]


# ---- GEMMs ----

def gemms(kernels, cores, narrow, machine, rates):
    """Adds to machine {"peak": {threads: GFLOP/s}, "memory": {threads: GB/s}} and to rates {(inputs,
    outputs, batch, threads): {who: [[forward, weight gradient, input gradient] of a round]}}."""
    programs = [[OUT / "gemm", kernels]] + [
        [OUT / f"peer_{name}"] for name in ("openblas", "onednn", "libxsmm")
        if (OUT / f"peer_{name}").exists()]
    for _ in range(ROUNDS):
        for program in programs:
            for line in output(*program, "0.01", env=environment(cores, **narrow)).splitlines():
                what, *words = line.split()
                if what == "gemm":
                    who, *shape, forward, dinput, dweight = words
                    found = rates.setdefault(tuple(map(int, shape)), {}).setdefault(who, [])
                    found.append([float(forward), float(dweight), float(dinput)])
                else:
                    threads, value = int(words[0]), float(words[1])
                    machine[what][threads] = max(machine[what].get(threads, 0), value)


def gemm_table(kernels, machine, rates):
    for what, unit in (("peak", "GFLOP/s"), ("memory", "GB/s")):
        for threads, value in machine[what].items():
            note(what, kernels, "", "", threads, 1, "machine", value, "", unit)
    say(f"\n{kernels}: " + "; ".join(
        f"{threads} thread{'s' * (threads > 1)}: FMA peak {value:.0f} GFLOP/s, memory "
        f"{machine['memory'][threads]:.0f} GB/s" for threads, value in machine["peak"].items()))
    say("GEMMs, percent of the FMA peak: forward / weight gradient / input gradient. fused: as in the "
        "step,\nwith ReLU, its derivative, both layouts and the tree over blocks of 16 samples")
    for (inputs, outputs, batch, threads), who in rates.items():
        text = f"  {inputs:4d} -> {outputs:<4d} batch {batch:4d} x{threads}"
        for name, found in who.items():
            best, median = np.max(found, axis=0), np.median(found, axis=0)
            text += f"   {name} " + " /".join(
                f"{100 * value / machine['peak'][threads]:3.0f}" for value in best)
            for k, kind in enumerate(("forward", "dweight", "dinput")):
                note("gemm", kernels, f"{inputs}->{outputs} {kind}", batch, threads, 1, name,
                     best[k], median[k], "GFLOP/s")
        say(text)


# ---- epochs ----

def stretch(network, batch):
    """Steps in a row that are timed together."""
    return max(4, 640 // batch) if network == CONV else max(10, 3200 // batch)


class Ours:
    """Turns of the trainer: seconds an epoch, stretch by stretch. As /profile has it: `flops` of a
    sample, and `zeros`, the share of them that zeros of the input save."""

    def __init__(self, folder, data, kernels):
        self.folder, self.data, self.kernels = folder, data, kernels
        self.flops = self.zeros = None

    def turn(self, network, batch, threads, ranks):
        steps = stretch(network, batch)
        tables = train(self.folder, self.data, LAYERS[network], batch, f"data.limit={4 * steps * batch}",
                       "data.dir=", f"data.train={self.data}/train-images-idx3-ubyte",  # no test set
                       f"parallel.kernels={self.kernels}", threads=threads, ranks=ranks)
        rate, skipped = (tables["profile"][-1][f"{name}_per_second"] for name in ("flops", "skipped_flops"))
        self.flops = rate * tables["epochs"]["seconds"][-1] * ranks / (4 * steps * batch)
        self.zeros = skipped / rate
        warm = tables["steps"]["seconds"][steps:]  # without the first stretch
        return list(warm.reshape(-1, steps).mean(axis=1) * SAMPLES / batch)


class Peer:
    """A library with a number of threads, in a process of its own. Its ways: eager, fused ..."""

    def __init__(self, library, threads, stack, narrow):
        env = environment(threads, TORCHINDUCTOR_CACHE_DIR=str(OUT / "inductor"), **narrow)
        errors = stack.enter_context(open(OUT / f"peer_{library}_{threads}.log", "w"))
        self.child = stack.enter_context(process(
            [PYTHON, TOP / "scripts/bench/peer_python.py", library, threads], env,
            stdin=subprocess.PIPE, stderr=errors))
        self.name, self.threads = {"torch": "PyTorch", "jax": "JAX"}[library], threads
        self.version, *self.ways = self.child.stdout.readline().split() or [""]

    def ways_for(self, network, batch):
        """Those that are of use for it: JAX has no convolutions here, and compiling them takes longest."""
        unused = {"channels_last"}
        if network == CONV:
            unused = {"fused", "jit"} | ({"compiled"} if batch > 64 else set())
        return [way for way in self.ways if way not in unused]

    def ask(self, way, network, batch, seconds):
        with suppress(BrokenPipeError):
            print(way, LAYERS[network].replace(" ", ",") or "linear", batch, stretch(network, batch),
                  seconds, file=self.child.stdin, flush=True)

    def answer(self):
        line = self.child.stdout.readline()
        in_time()
        if not line:
            sys.exit(f"bench: {self.name}'s process ended: see {OUT}/peer_*.log")
        return [float(word) for word in line.split()]

    def turn(self, *what):
        self.ask(*what, TURN)
        return self.answer()


def ready(peers, network, batch):
    """Has the peers make, side by side, what they compile for a network and batch."""
    requests = [(peer, way) for peer in peers for way in peer.ways_for(network, batch)]
    for peer, way in requests:
        peer.ask(way, network, batch, 0)
    for peer, way in requests:
        if not peer.answer():
            say(f"{peer.name} {way} fails with {peer.threads} threads, see {OUT}/peer_*.log: left out")
            peer.ways.remove(way)


def epochs(folder, data, kernels, narrow, peak, cores, workloads):
    """The tables of the networks."""
    layouts = [(threads, 1) for threads in sorted({1, cores})]
    if workloads is not CONVOLUTIONS:
        layouts += [(1, cores)] * (cores > 1)
    say(f"\nEpochs of 60,000 samples, {kernels}, in seconds: the best stretch and (the median). floor: all "
        "operations at\nthe FMA peak; zeros: the share of them that is left out; of peers, how much longer "
        "theirs takes")
    with ExitStack() as stack:
        peers = [Peer(library, threads, stack, narrow)
                 for threads in sorted({1, cores}) for library in ("torch", "jax")]
        for peer in peers[:2]:
            say(f"{peer.name} {peer.version or f'is not in {PYTHON} (BENCH_PYTHON): left out'}")
        begin, rows, row = time.monotonic(), len(layouts) * sum(len(batches) for *_, batches in workloads), 0
        for name, images, batches in workloads:
            say(f"{name} on {images}")
            ours = Ours(folder, data[images], kernels)
            for batch, (threads, ranks) in itertools.product(batches, layouts):
                # The values make no difference to the peers, so one data set is enough.
                rivals = peers if images == "mnist" and ranks == 1 else []
                if (threads, ranks) == layouts[0]:
                    ready(rivals, name, batch)
                turns = {"trainer": functools.partial(ours.turn, name, batch, threads, ranks)}
                turns |= {f"{peer.name} {way}": functools.partial(peer.turn, way, name, batch)
                          for peer in rivals if peer.threads == threads for way in peer.ways_for(name, batch)}
                found = {who: [] for who in turns}
                row += 1
                for turns_taken in range(ROUNDS):
                    # On a slow machine one round a row, so that the last rows are measured too.
                    if turns_taken and time.monotonic() > begin + 0.9 * (limit["end"] - begin) * row / rows:
                        break
                    for who, turn in turns.items():
                        found[who] += turn()
                floor = ours.flops * SAMPLES * 1e-9 / peak[threads * ranks]
                tell(f"{name} on {images}", kernels, batch, threads, ranks, found, floor, ours.zeros)


def tell(where, kernels, batch, threads, ranks, found, floor, zeros):
    """A row of the table, and of the CSV."""
    best = {who: min(values) for who, values in found.items()}
    layout = f"{ranks} ranks" if ranks > 1 else f"{threads} thread{'s' * (threads > 1)}"
    text = (f"  batch {batch:4d}  {layout:9s}  floor {floor:6.3f}  trainer {best['trainer']:6.3f} "
            f"({np.median(found['trainer']):6.3f}) = {100 * floor / best['trainer']:3.0f}% of the peak")
    text += f", {100 * zeros:2.0f}% zeros"
    text += "".join(f"   {who} {seconds:6.3f} ({np.median(found[who]):6.3f}) "
                    f"{seconds / best['trainer']:4.1f}x"
                    for who, seconds in best.items() if who != "trainer")
    say(text)
    note("floor", kernels, where, batch, threads, ranks, "machine", floor, "", "s")
    note("zeros", kernels, where, batch, threads, ranks, "trainer", zeros, "", "share")
    for who, values in found.items():
        note("epoch", kernels, where, batch, threads, ranks, who, best[who], np.median(values), "s")


# ---- all of it ----

def data_folders(into):
    """{name: (a folder with the set's four files, unpacked; the folder where they are)}"""
    found = {}
    for name in ("mnist", "fashion-mnist"):
        done = subprocess.run([TOP / "scripts/get-data.sh", "--check", name], text=True,
                              capture_output=True, cwd=TOP, check=False)
        if done.returncode != 0:
            say(f"{name} is not here (scripts/get-data.sh {name}): left out")
            continue
        source = TOP / done.stdout.strip()
        found[name] = into / name, source
        (into / name).mkdir()
        for file in source.glob("*-ubyte*"):
            raw = file.read_bytes()
            (into / name / file.name.removesuffix(".gz")).write_bytes(
                gzip.decompress(raw) if file.suffix == ".gz" else raw)
    return found


def measure_set(kernels, folder, data, cores, narrow, workloads, seconds):
    """The tables of a kernel set, and its FMA peak; seconds: of those of the epochs, at most."""
    machine, rates = {"peak": {}, "memory": {}}, {}
    part(f"the GEMMs, {kernels}", 45, gemms, kernels, cores, narrow, machine, rates)
    if machine["peak"]:
        gemm_table(kernels, machine, rates)
    if machine["peak"] and workloads:
        part(f"the epochs, {kernels}", seconds, epochs, folder, data, kernels, narrow,
             machine["peak"], cores, workloads)
    return machine["peak"]


def measure(folder, data, cores):
    """All parts. data: as of data_folders."""
    limit["end"] = time.monotonic() + 10
    sets = output(TRAINER, "--version", env=environment(1)).split("kernels")[1].split()
    sets = [name for name in sets if name != "portable"] or sets
    workloads = [w for w in WORKLOADS if w[1] in data]
    folders = {name: unpacked for name, (unpacked, _) in data.items()}
    # All networks once, with the set that the trainer takes by itself.
    peaks = {kernels: measure_set(
        kernels, folder, folders, cores, ONLY_AVX2 if kernels == "avx2" and "avx512" in sets else {},
        workloads if kernels == sets[0] else workloads[:1], 140 if len(sets) == 1 else 95)
        for kernels in sets}
    if "mnist" in data:
        if peaks[sets[0]]:
            part(f"convolutions, {sets[0]}", 70, epochs, folder, folders, sets[0], {}, peaks[sets[0]],
                 cores, CONVOLUTIONS)
        part("what is around the steps", 40, around.costs, folder, *data["mnist"], cores)
        part("beside busy loops", 40, around.crowd, folder, data["mnist"][0], cores)
        part("the race", 60, race.race, folder, folders["mnist"], PYTHON, cores)


def write_csv():
    with open(OUT / "bench.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=limit["part"], metavar="SECONDS",
                        help="after which a part is ended, if not sooner (%(default)s)")
    limit.update(part=parser.parse_args().limit, whole=time.monotonic() + LIMIT)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "report.txt").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), data_folders(Path(name)), len(os.sched_getaffinity(0)))
    write_csv()
    say(f"\nWritten: {OUT / 'report.txt'}, {OUT / 'bench.csv'}; "
        "draw them with: python3 scripts/plot_bench.py")
    if ended:
        sys.exit(f"bench: took too long and was ended: {', '.join(ended)}")


if __name__ == "__main__":
    main()
