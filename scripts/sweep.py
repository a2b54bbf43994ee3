#!/usr/bin/env python3
"""Trains one config with many settings and finds the best: on this machine or through Slurm.

usage: scripts/sweep.py run    SPEC.ini [--dry-run]    run the trials on this machine
       scripts/sweep.py submit SPEC.ini [--dry-run]    run them as a Slurm job array
       scripts/sweep.py status SWEEP                   how far it is
       scripts/sweep.py stop   SWEEP                   stop after checkpoints
       scripts/sweep.py resume SWEEP                   go on where it stopped, the same way
       scripts/sweep.py best   SWEEP                   the best config, and the command to train it
       scripts/sweep.py report SWEEP                   write report.html and its pictures

SPEC.ini says what to try (configs/sweep_mlp.ini is one). SWEEP is its name, its folder
runs/sweeps/NAME, or the SPEC.ini. Environment: TRAINER, the program (default: ./trainer of this
project). Exit codes: 0 done; 1 internal error; 2 usage, spec or config; 75 stopped: resume it."""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
try:
    import optuna  # noqa: F401
    from sweeplib import engine, report, results, slurm
    from sweeplib.spec import SweepError, overrides, read_spec
    from sweeplib.study import Locks, Study
except ImportError as missing:
    sys.exit(f"sweep: {missing}: install python3-optuna, python3-h5py and python3-matplotlib")

SWEEPS = Path("runs/sweeps")
STOPPED = 75


# ---- before anything starts ----

def trainer_says(*args):
    """None, or the trainer's complaint about its command line."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(engine.trainer()), *args], text=True, capture_output=True, env=env)
    if done.returncode in (0, engine.STOPPED):
        return None
    lines = [line for line in done.stderr.splitlines() if line.startswith("trainer: ")]
    return lines[-1].removeprefix("trainer: ") if lines else f"exit code {done.returncode}"


def check_points(spec, config):
    """Has the trainer judge the config, the metric (by a first step) and each value."""
    first, *others = spec.edges()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.ini").write_bytes(config)

        def args(point):
            return engine.arguments(spec, folder, f"{folder}/run", point)
        complaint = trainer_says("check", str(spec.config)) or \
            trainer_says("train", *args(first), "train.max_steps=1")
        if complaint:
            raise SweepError(f"{spec.path}: {complaint}")
        with ThreadPoolExecutor(4) as pool:
            for complaint in pool.map(lambda p: trainer_says("check", *args(p)), others):
                if complaint:
                    raise SweepError(f"{spec.path}: {complaint}")


def read_config(spec):
    try:
        return Path(spec.config).read_bytes()
    except OSError as error:
        raise SweepError(f"{spec.path}: [sweep] config = {spec.config}: {error.strerror}") from None


def differences(old, new):
    return [f"{what}: was {old.get(what, 'not there')}, is {new.get(what, 'not there')}"
            for what in {**old, **new} if old.get(what) != new.get(what)]


def open_new(spec_path, spec):
    """The sweep of a spec: made, or the one that is there if it is the same."""
    folder, config = SWEEPS / spec.name, read_config(spec)
    text = Path(spec_path).read_bytes()
    if (folder / "spec.ini").exists():
        other = differences(read_spec(folder / "spec.ini").kept, spec.kept)
        if (folder / "config.ini").read_bytes() != config:
            other.append(f"{spec.config}: has changed")
        if other:
            raise SweepError(f"{folder} holds a sweep with another spec ({'; '.join(other)}): "
                             "give this one another name")
    else:
        check_points(spec, config)
        folder.mkdir(parents=True, exist_ok=True)
        results.replace(folder / "config.ini", config)
    results.replace(folder / "spec.ini", text)  # parallel, max_time, [slurm] may be new
    return open_study(folder)


def open_study(folder):
    spec = read_spec(folder / "spec.ini")
    spec.name = folder.name
    return Study(folder, spec)


def find(name):
    """The study of a sweep's name, folder or spec."""
    path = Path(name)
    if path.is_file():
        path = SWEEPS / read_spec(path).name
    for folder in (path, SWEEPS / name):
        if (folder / "spec.ini").is_file():
            return open_study(folder)
    raise SweepError(f"{name}: there is no such sweep in {SWEEPS}")
