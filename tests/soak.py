#!/usr/bin/env python3
"""Trains for a long time and looks whether anything grows or slows down: `make soak MINUTES=30`.

Two runs at once, each on two ranks: a CNN on images of 28 x 28, and a model of four weights with 10,000 epochs,
each with an evaluation and a checkpoint, again and again. A reader opens their files all the time. Of each process
memory and open files are looked at every half second, and the steps' times are those of metrics.h5. A table says
what they were in the second and in the last quarter of the time; what has grown beyond the rows that a run keeps
is a failure."""

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent / "py"))
import helpers  # noqa: E402

ROW, EPOCH = 64, 232 + 120  # bytes of a row of /steps; of /epochs and /profile
COPIES = 6  # of the rows: as the table has them, as the file's image, as the writer's, each in growing buffers
SLACK = 8 << 20  # bytes: heaps are not returned at once
CNN = {"model__layers": "conv:8@5 relu maxpool:2 conv:16@3 relu maxpool:2 dense:32 relu", "train__batch_size": 64,
       "optimizer__momentum": 0.9, "optimizer__lr": 0.01, "train__epochs": 10 ** 6}
TINY = {"data__dir": None, "data__train": "t.csv", "data__test": "t.csv", "model__layers": None, "loss__name": "mse",
        "optimizer__lr": 1e-3, "train__batch_size": 8, "train__epochs": 10000, "checkpoint__every": 1,
        "train__quiet": "true"}


class Watched:
    """A run under mpirun, and what its ranks took: {pid: [(seconds since its start, bytes, files)]}."""

    def __init__(self, folder, name, config, *more):
        self.lab = helpers.Lab(folder, folder / "data")
        self.name = name
        self.lab.config(f"{name}.ini", **config)
        self.job = helpers.Process([f"{name}.ini", f"run.name={name}", *more], folder, ranks=2)
        self.start, self.seen = time.monotonic(), {}

    def look(self):
        for pid in self.job.ranks():
            try:
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                files = len(os.listdir(f"/proc/{pid}/fd"))
            except (OSError, IndexError):
                continue  # it has just ended
            self.seen.setdefault(pid, []).append(
                (time.monotonic() - self.start, pages * os.sysconf("SC_PAGE_SIZE"), files))

    def read(self):
        """As somebody does who plots while it trains."""
        run = self.lab.out(self.name)
        for path in (run.metrics, run.last):
            if path.exists():
                with h5py.File(path, "r") as file:
                    file.visit(lambda name: None)

    def rows(self):
        run = self.lab.out(self.name)
        return len(run.table("steps")), len(run.table("epochs"))


def quarter(values, k):
    return values[len(values) * k // 4:len(values) * (k + 1) // 4] or values


def judge(watched, slow):
    """Lines of the table, and what is wrong."""
    lines, bad = [], []
    steps, epochs = watched.rows()
    kept = COPIES * (steps * ROW + epochs * EPOCH)
    for rank, seen in enumerate(watched.seen.values()):
        if len(seen) < 16:
            continue
        memory = [statistics.median(s[1] for s in quarter(seen, k)) for k in (1, 3)]
        files = [max(s[2] for s in quarter(seen, k)) for k in (1, 3)]
        lines.append(f"{watched.name:6s} rank {rank}  memory {memory[0] / 2**20:8.1f} -> {memory[1] / 2**20:8.1f} MiB "
                     f"(rows: {kept / 2**20:.1f})  open files {files[0]} -> {files[1]}")
        if memory[1] - memory[0] > kept + SLACK:
            bad.append(f"{watched.name}: rank {rank} has grown by {(memory[1] - memory[0]) / 2**20:.1f} MiB")
        if files[1] > files[0]:
            bad.append(f"{watched.name}: rank {rank} has {files[1] - files[0]} open files more")
    seconds = watched.lab.out(watched.name).table("steps")["seconds"]
    if len(seconds) >= 40:
        pace = [float(np.median(quarter(list(seconds), k))) for k in (1, 3)]
        lines.append(f"{watched.name:6s} a step   {pace[0] * 1e6:.1f} -> {pace[1] * 1e6:.1f} us, {steps} steps, "
                     f"{epochs} epochs")
        if slow and pace[1] > slow * pace[0]:
            bad.append(f"{watched.name}: a step takes {pace[1] / pace[0]:.2f} times as long at the end")
    return lines, bad


def soak(folder, minutes, slow=1.5):
    """(lines, what is wrong). slow: by how much a step may slow down; 0: not looked at."""
    helpers.write_idx(folder / "data", helpers.make_set(2000, 1, 28), helpers.make_set(500, 2, 28))
    (folder / "t.csv").write_text("a,b,c,y\n" + "".join(
        f"{k % 5},{k % 7},{k % 3},{k % 5 - k % 3 + 0.5}\n" for k in range(24)))
    lines, bad, until, number = [], [], time.monotonic() + 60 * minutes, 0
    cnn = Watched(folder, "cnn", CNN, "metrics.every=20")
    tiny = Watched(folder, "tiny0", TINY)
    try:
        while time.monotonic() < until:
            time.sleep(0.5)
            for watched in (cnn, tiny):
                watched.look()
                watched.read()
            if cnn.job.popen.poll() is not None:
                bad.append(f"the CNN has ended: {cnn.job.end(5)}")
                break
            if tiny.job.popen.poll() is not None:
                result = tiny.job.end(5)
                if result.code != 0:
                    bad.append(f"{tiny.name} has ended with {result.code}: {result.err}")
                    break
                more = judge(tiny, 0)
                lines, bad, number = lines + more[0], bad + more[1], number + 1
                tiny = Watched(folder, f"tiny{number}", TINY)
        os.kill(cnn.job.ranks()[0], signal.SIGTERM)
        cnn.job.end(30)
        more = judge(cnn, slow)
        return lines + more[0], bad + more[1], number
    finally:
        for watched in (cnn, tiny):
            if watched.job.popen.poll() is None:
                watched.job.popen.terminate()
                watched.job.end(30)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trainer-soak.") as folder:
        lines, bad, runs = soak(Path(folder), args.minutes)
    print("\n".join(lines))
    print("\n".join(f"BAD: {what}" for what in bad) or f"nothing grows: {args.minutes:g} minutes, {runs} whole runs "
          "of 10,000 epochs beside a CNN")
    return len(bad) > 0


if __name__ == "__main__":
    sys.exit(main())
