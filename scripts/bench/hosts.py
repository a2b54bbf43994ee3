#!/usr/bin/env python3
"""How a step's time divides between computing and the network on 1, 2 and 4 hosts.

Trains 784-512-512-10, one rank of one thread a host, at several batch sizes and network rates on
the hosts of tests/hosts/hosts.py (namespaces of this machine, which share its cores; wants root).
Prints a table and writes a CSV, from which scripts/scaling.py predicts: it knows no overlap, so that
is off here. With parallel.overlap=auto as an argument, the network's time is what a step waits for.
Takes about 2 minutes."""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "hosts"), str(TOP / "tests" / "py")]
import h5py  # noqa: E402
import numpy as np  # noqa: E402
from helpers import make_set, write_config, write_idx  # noqa: E402
from hosts import Hosts, environment, why_not  # noqa: E402

WIDTHS = [784, 512, 512, 10]
BATCHES = (64, 1024)
ALONE = (16, 64, 256, 1024)  # batch sizes on one host: what computing costs
MBIT = {10000: 150, 1000: 60, 100: 20}  # rates, and the steps that are measured at each
LIMIT = 300                             # seconds, after which a run is ended and left out
WARM = 5                                # steps that are not
COLUMNS = ("hosts batch mbit step_seconds compute_seconds comm_seconds latency_seconds "
           "gap_seconds bytes_per_second widths cores").split()


def step_times(hosts, folder, trainer, name, count, batch, steps, arguments):
    """(seconds, those of them in the network) of a run's steps: means of the fastest fifth, as
    whatever else the machine does only adds."""
    command = [trainer, "run.ini", f"run.name={name}", f"train.batch_size={batch}",
               f"train.max_steps={WARM + steps}", "parallel.threads=1", "parallel.overlap=off",
               *arguments]
    done = subprocess.run(hosts.mpirun([1] * count, command, folder), env=environment(),
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=LIMIT)
    if done.returncode != 75:  # stopped by max_steps
        sys.exit(f"the run {name} ended with exit code {done.returncode}")
    with h5py.File(folder / "runs" / name / "metrics.h5", "r") as file:
        table = file["steps"][WARM:]
    # The step after an epoch's end need not wait for parameters: they came during the scoring.
    table = np.sort(table[1:][table["epoch"][1:] == table["epoch"][:-1]], order="seconds")
    fast = table[:max(1, len(table) // 5)]
    return float(fast["seconds"].mean()), float(fast["comm_seconds"].mean())


def link_costs(hosts, folder, count):
    """(latency, gap, bytes/s) between `count` hosts in pairs."""
    done = subprocess.run(hosts.mpirun([1] * count, [folder / "link"], folder), check=True,
                          env=environment(), text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, timeout=LIMIT)
    return [float(word) for word in done.stdout.split()]


def measure(folder, trainer, arguments, repeat):
    """The rows of the table; of `repeat` runs, the one with the shortest step."""
    data = write_idx(folder / "data", make_set(4096, 1, 28), make_set(16, 2, 28))
    layers = " ".join(f"dense:{width} relu" for width in WIDTHS[1:-1])
    write_config(folder / "run.ini", data, model__layers=layers, train__epochs=10 ** 6,
                 optimizer__momentum=0.9, optimizer__lr=0.01, train__log_every=10 ** 6,
                 checkpoint__every=10 ** 6)
    subprocess.run(["mpicc", "-O2", "-o", folder / "link", TOP / "tests/hosts/link.c"], check=True)
    fixed = {"widths": "-".join(map(str, WIDTHS)), "cores": len(os.sched_getaffinity(0))}
    cases = [(1, batch, None) for batch in ALONE]
    cases += [(count, batch, mbit) for mbit in MBIT for batch in BATCHES for count in (2, 4)]
    with Hosts(4) as hosts:
        rate, links = None, {1: (None, None, None)}
        for count, batch, mbit in cases:
            try:
                if mbit != rate:
                    hosts.rate(mbit)
                    rate = mbit
                    links.update({n: link_costs(hosts, folder, n) for n in (2, 4)})
                runs = [step_times(hosts, folder, trainer, f"{count}-{batch}-{mbit}-{k}", count,
                                   batch, MBIT.get(mbit, 100), arguments) for k in range(repeat)]
            except subprocess.TimeoutExpired:
                hosts.clear()
                print(f"{count} hosts, batch {batch}: ended after {LIMIT} s", file=sys.stderr)
                continue
            step, comm = min(runs)
            yield dict(zip(COLUMNS, (count, batch, mbit, step, step - comm, comm, *links[count])),
                       **fixed)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("hosts.csv"), help="default hosts.csv")
    parser.add_argument("--repeat", type=int, default=2, help="runs of each, the best counts (2)")
    parser.add_argument("arguments", nargs="*", help="section.key=value for the trainer")
    args = parser.parse_args()
    if why_not():
        sys.exit(f"skipped: {why_not()}")
    trainer = Path(os.environ.get("TRAINER", TOP / "trainer")).absolute()
    print(f"{'hosts':>5} {'batch':>6} {'Mbit/s':>7} {'step ms':>9} {'compute':>9} {'network':>9}   "
          f"{'latency us':>10} {'gap us':>7} {'MB/s':>7}")
    with tempfile.TemporaryDirectory() as folder, open(args.out, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in measure(Path(folder), trainer, args.arguments, args.repeat):
            writer.writerow(row)
            file.flush()
            times = [1e3 * row[f"{part}_seconds"] for part in ("step", "compute", "comm")]
            print(f"{row['hosts']:5d} {row['batch']:6d} {row['mbit'] or '':>7} "
                  + " ".join(f"{t:9.3f}" for t in times) + "   "
                  + (f"{1e6 * row['latency_seconds']:10.1f} {1e6 * row['gap_seconds']:7.2f} "
                     f"{1e-6 * row['bytes_per_second']:7.1f}" if row["mbit"] else ""), flush=True)
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
