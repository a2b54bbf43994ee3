"""What the parts of the benchmark share: the report, and runs of the trainer."""

import os
from pathlib import Path

import h5py

from parts import environment, output

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / os.environ.get("BUILD", "build")
OUT = BUILD / "bench"
TRAINER = BUILD / "trainer"
SAMPLES = 60000
COLUMNS = "kind set what batch threads ranks who best median unit".split()

rows = []  # of the CSV, each with a value for each column


def say(text=""):
    """On the terminal, and in build/bench/report.txt."""
    print(text, flush=True)
    with open(OUT / "report.txt", "a", encoding="utf-8") as file:
        file.write(text + "\n")


def note(*values):
    rows.append(dict(zip(COLUMNS, values, strict=True)))


def command(folder, data, layers, batch, *more, epochs=1, threads=1, ranks=1):
    """(the command, its environment) of a run in folder, with a config of its own."""
    (folder / "bench.ini").write_text(
        f"[data]\ndir = {data}\n[model]\nlayers = {layers}\n[optimizer]\nlr = 0.01\n"
        f"momentum = 0.9\n[train]\nepochs = {epochs}\nbatch_size = {batch}\n"
        f"eval_every = {epochs}\n[checkpoint]\nevery = 0\nbest = none\n")
    launch = [TOP / "scripts/run.sh", "-n", ranks] if ranks > 1 else [TRAINER]
    return ([*launch, "bench.ini", "run.overwrite=true", "run.resume=never", *more],
            environment(threads, TRAINER=str(TRAINER)))


def train(folder, *what, **how):
    """One run, as of command(). -> the tables of its metrics.h5."""
    line, env = command(folder, *what, **how)
    output(*line, env=env, cwd=folder)
    with h5py.File(folder / "runs/bench/metrics.h5", "r") as file:
        return {name: file[name][:] for name in ("steps", "epochs", "profile")}
