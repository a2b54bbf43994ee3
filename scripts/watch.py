#!/usr/bin/env python3
"""Follows runs from their metrics.h5 alone: from any node that sees the folder, while they train or after.

    scripts/watch.py RUN ... [--once] [--every 2]

Draws the loss of each run in characters, with its last figures, the rate and the time that is left;
several runs stand one below the other. The trainer replaces metrics.h5 every metrics.flush seconds or
later, so what is shown is as old as the file, which is said. Ends when no run is running any more, or with
Ctrl-C; --once draws once. Colours on a terminal, none with NO_COLOR or into a file."""

import argparse
import configparser
import math
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import packages

packages.need("h5py", "numpy")
import h5py  # noqa: E402
import numpy as np  # noqa: E402

STEP = ("step", "seconds", "samples", "loss")  # what is read of the tables
EPOCH = ("epoch", "step", "seconds", "samples_per_second", "train_loss")
HEIGHT = 8  # lines of a curve
DOTS = [[0x40, 0x04, 0x02, 0x01], [0x80, 0x20, 0x10, 0x08]]  # of a Braille cell: column, from below
COLOURS = {"running": "32", "complete": "34", "stopped": "33", "diverged": "31"}


# ---- reading ----

class Run:
    """What metrics.h5 says; `error` where there is nothing to read (yet)."""

    def __init__(self, folder):
        self.folder, self.error, self.status = Path(folder), "", ""
        path = self.folder / "metrics.h5"
        try:
            with h5py.File(path, "r") as file:
                self.steps, self.epochs = file["steps"][:], file["epochs"][:]
                for rows, names in ((self.steps, STEP), (self.epochs, EPOCH)):
                    if not set(names) <= set(rows.dtype.names or ()):
                        raise ValueError(f"its tables have no columns {', '.join(names)}")
                self.status, self.samples = file.attrs["status"], int(file.attrs["train_samples"])
                self.config = configparser.ConfigParser(interpolation=None)
                self.config.read_string(file.attrs["config"])
            self.steps_in_all, self.done = self.count_steps()
            self.age = time.time() - path.stat().st_mtime
        except FileNotFoundError:
            self.error = "no metrics.h5 yet" if self.folder.is_dir() else "no such folder"
        except Exception as error:  # whatever h5py makes of damaged bytes, and what is no file of the trainer's
            self.status = ""
            self.error = f"metrics.h5 can't be read: {error}"

    def count_steps(self):
        """(steps of the whole run, steps so far)"""
        train = self.config["train"]
        batch = int(train["batch_size"]) or self.samples
        whole = self.samples // batch + (self.samples % batch > 0 and train["drop_last"] == "false")
        done = max(self.steps["step"][-1:].max(initial=0), self.epochs["step"][-1:].max(initial=0))
        return whole * int(train["epochs"]), int(done)

    def pace(self):
        """Seconds a step lately, with what is around the steps left out; NaN before the first."""
        lately = self.steps["seconds"][-200:]
        if len(lately):
            return float(np.mean(lately))
        last = self.epochs[-1:] if len(self.epochs) else None
        return math.nan if last is None else float(last["seconds"][0] * last["epoch"][0] / last["step"][0])

    def rate(self):
        lately = self.steps[-200:]
        if len(lately) and lately["seconds"].sum() > 0:
            return lately["samples"].sum() / lately["seconds"].sum()
        return self.epochs["samples_per_second"][-1] if len(self.epochs) else math.nan


# ---- drawing ----

def clock(seconds):
    if not math.isfinite(seconds):
        return "?"
    seconds = round(seconds)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def smooth(y, cells):
    """The mean of each of `cells` equal parts, at most as many as there are values."""
    parts = np.array_split(y, min(cells, len(y)))
    return np.array([np.nanmean(part) if np.isfinite(part).any() else np.nan for part in parts])


def curve(y, width):
    """Lines of Braille characters, each two values wide and four high."""
    y = smooth(np.asarray(y, float), 2 * width) if len(y) else np.array([])
    finite = y[np.isfinite(y)]
    if not len(finite):
        return []
    low, high = finite.min(), finite.max()
    if low > 0 and high > 20 * low:  # a factor is as high everywhere
        y, finite = np.log(y), np.log(finite)
    span = finite.max() - finite.min() or 1
    cells = [[0x2800] * ((len(y) + 1) // 2) for _ in range(HEIGHT)]
    last = None
    for k, v in enumerate(y):
        if not math.isfinite(v):
            last = None
            continue
        level = int((v - finite.min()) / span * (4 * HEIGHT - 1))
        for dot in range(min(level, level if last is None else last), max(level, last or level) + 1):
            cells[HEIGHT - 1 - dot // 4][k // 2] |= DOTS[k % 2][dot % 4]
        last = level
    lines = ["".join(map(chr, row)) for row in cells]
    labels = [f"{high:.4g}", *[""] * (HEIGHT - 2), f"{low:.4g}"]
    return [f"{label:>9s} {line}" for label, line in zip(labels, lines)]


def figures(run):
    """The last epoch's, as far as they are there."""
    if not len(run.epochs):
        return ""
    row = run.epochs[-1]
    words = []
    for name in row.dtype.names:
        if name.endswith(("loss", "accuracy", "r2", "mae")) and math.isfinite(row[name]):
            words.append(f"{name} {100 * row[name]:.2f}%" if name.endswith("accuracy")
                         else f"{name} {row[name]:.4g}")
    return "  ".join(words)


def draw(run, width, paint):
    """The lines of a run."""
    if run.error:
        return [f"{run.folder}  {run.error}"]
    done, whole = run.done, run.steps_in_all
    left = (whole - done) * run.pace() if run.status == "running" else math.nan
    parts = [f"{run.folder}", paint(run.status, COLOURS.get(run.status, "0"))]
    parts.append(f"step {done} of {whole}")
    if math.isfinite(run.rate()):
        parts.append(f"{run.rate():.0f} samples/s")
    if run.status == "running":
        parts.append(f"{clock(left)} left" if math.isfinite(left) else "time left not known yet")
        parts.append(f"as of {clock(run.age)} ago")
    lines = ["  ".join(parts)]
    if len(run.epochs):
        lines.append(f"epoch {run.epochs['epoch'][-1]}  {figures(run)}")
    losses = run.steps["loss"] if len(run.steps) else run.epochs["train_loss"]
    return lines + curve(losses, max(10, width - 12))


def painter(on):
    return (lambda text, colour: f"\033[{colour}m{text}\033[0m") if on else (lambda text, colour: text)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder")
    parser.add_argument("--once", action="store_true", help="draw once")
    parser.add_argument("--every", type=float, default=2, metavar="SECONDS")
    args = parser.parse_args()
    terminal = sys.stdout.isatty()
    paint = painter(terminal and not os.environ.get("NO_COLOR"))
    shown = None
    while True:
        width = shutil.get_terminal_size((80, 24)).columns  # anew each time: it may be resized
        runs = [Run(name) for name in args.runs]
        text = "\n\n".join("\n".join(draw(run, width, paint)) for run in runs)
        if text != shown:
            print(("\033[H\033[2J" if terminal and not args.once else "") + text, flush=True)
            shown = text
        waiting = any(run.status == "running" or run.error == "no metrics.h5 yet" for run in runs)
        if args.once or not waiting:
            return 4 if any(run.error for run in runs) else 0
        time.sleep(max(0.1, args.every))


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
