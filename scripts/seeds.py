#!/usr/bin/env python3
"""Trains one config with several seeds, and says what it reaches: mean, deviation and worst.

    scripts/seeds.py CONFIG [-n 5] [--name NAME] [--threads T] [section.key=value ...]

The runs are a sweep over run.seed = 1, 2, ... (runs/sweeps/NAME, the config's name and -seeds): side
by side on free cores, and the same command goes on where it stopped; a larger -n adds seeds. What
counts is the last epoch, not the best one: of the validation split where there is one, else of the
test set; with a validation split the test set is scored once a seed. The table goes to
runs/sweeps/NAME/seeds.csv too. Needs Optuna and h5py."""

import argparse
import csv
import io
import os
import re
import shlex
import statistics
import sys
import tempfile
from pathlib import Path

import packages

packages.need("optuna", "h5py")
import h5py  # noqa: E402
from sweeplib import commands, engine, results  # noqa: E402
from sweeplib.spec import SweepError, read_spec  # noqa: E402

MOST = 1_000_000  # seeds, of which the first n are run


def settings(config, overrides):
    """(loss, whether something is held out), as the config and the command line say."""
    given = dict(word.split("=", 1) for word in overrides)

    def value(section, key, default):
        return given.get(f"{section}.{key}") or engine.config_value(config, section, key, default)
    return value("loss", "name", "cross_entropy"), float(value("data", "validation", "0") or 0) > 0


def make_spec(args):
    """The sweep: its spec as text, and its name."""
    loss, held = settings(args.config, args.overrides)
    kind = "accuracy" if loss in ("cross_entropy", "bce") else "r2"
    name = args.name or f"{Path(args.config).stem}-seeds"
    given = dict(word.split("=", 1) for word in args.overrides)
    space = [f"{key} = choice {shlex.quote(value)}" for key, value in given.items()]
    return name, "\n".join([
        "[sweep]", f"config = {args.config}", f"name = {name}", "method = grid", f"trials = {args.n}",
        f"metric = {'val' if held else 'test'}_{kind}", f"threads = {args.threads}",
        "[space]", *space, f"run.seed = int 1 {MOST}", ""])


def figures(row, metric):
    """What a finished trial's last epoch says."""
    with h5py.File(row["folder"] / "metrics.h5", "r") as file:
        epochs, attrs = file["epochs"][:], dict(file.attrs)
    found = {"seed": row["parameters"]["run.seed"], metric: epochs[metric][-1]}
    test = metric.replace("val_", "test_")
    if test != metric and test in attrs:
        found[test] = attrs[test]
    return {**found, "train_loss": epochs["train_loss"][-1], "epochs": len(epochs),
            "seconds": float(epochs["seconds"].sum())}


def machine(spec):
    """The processor's name, and what a run had of it."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        found = re.search(r"^model name\s*: (.*)$", file.read(), re.M)
    return (f"{found[1] if found else 'unknown processor'}, {len(os.sched_getaffinity(0))} cores, "
            f"{spec.threads} thread{'s' * (spec.threads > 1)} a run")


def table(rows):
    """Lines of the seeds, then mean, deviation and worst of what they reached."""
    names = list(rows[0])
    lines = ["".join(f"{name:>15s}" for name in names)]
    lines += ["".join(f"{row[name]:15.6g}" for name in names) for row in rows]
    for what, function in (("mean", statistics.mean), ("deviation", statistics.stdev),
                           ("worst", None)):
        if what == "deviation" and len(rows) < 2:
            continue
        cells = []
        for name in names[1:]:
            values = [row[name] for row in rows]
            worst = min if re.search("accuracy|r2", name) else max
            cells.append((function or worst)(values))
        lines.append(f"{what:>15s}" + "".join(f"{value:15.6g}" for value in cells))
    return lines


def summarise(study):
    spec = study.spec
    done = [row for row in results.rows(study) if row["status"] == "complete"]
    if not done:
        print("no seed has ended")
        return
    rows = sorted((figures(row, spec.metric) for row in done), key=lambda row: row["seed"])
    print(f"\n{spec.config}: {len(rows)} seeds, the last epoch of each; {machine(spec)}")
    print("\n".join(table(rows)))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    results.replace(study.folder / "seeds.csv", text.getvalue().encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    parser.add_argument("-n", type=int, default=5, metavar="SEEDS")
    parser.add_argument("--name")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_intermixed_args()
    if not 1 <= args.n <= MOST:
        parser.error(f"-n takes 1 to {MOST}")
    for word in args.overrides:
        if not re.fullmatch(r"\w+\.\w+=.*", word):
            parser.error(f"'{word}' is no section.key=value")
    try:
        name, text = make_spec(args)
        with tempfile.NamedTemporaryFile("w", suffix=".ini", prefix=f"{name}-") as file:
            file.write(text)
            file.flush()
            spec = read_spec(file.name)
            folder = commands.make(spec)
        code = commands.run_here(folder, engine.LocalLauncher(spec))
        summarise(commands.open_study(folder))
        return code
    except SweepError as error:
        print(f"seeds: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("seeds: interrupted: the same command goes on", file=sys.stderr)
        return commands.STOPPED


if __name__ == "__main__":
    sys.exit(main())
