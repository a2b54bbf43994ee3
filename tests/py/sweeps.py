"""What the tests of scripts/sweep.py share: specs, calls, and what a sweep leaves."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np

from helpers import MPI_ENV, REPO, TRAINER, Run, write_config

SWEEP = [sys.executable, str(REPO / "scripts" / "sweep.py")]
SPACE = {"optimizer.lr": "log 1e-3 1", "train.batch_size": "choice 16 32 64",
         "model.layers": 'choice "dense:24 relu" "dense:16 tanh" ""'}
FINISH = 6  # the journal's operation that ends a trial

# Stands in for the trainer: sleeps, then leaves a metrics file that says "complete".
FAKE = """for arg; do case $arg in run.output=*) out=${arg#*=} ;; train.max_steps=1) exit 75 ;; esac; done
case $1 in check) exit 0 ;; esac
trap 'kill $!; exit 75' USR1 TERM
sleep SECONDS & wait $!
cp "$0.h5" "$out"/metrics.h5"""


class Bench:
    """A folder with a config, specs and sweeps."""

    def __init__(self, folder, data, env=None, **config):
        self.dir, self.env = folder, {"TRAINER": str(TRAINER), **(env or {})}
        config = {"train__epochs": 4, "train__batch_size": 32, "checkpoint__every": 1, **config}
        write_config(folder / "base.ini", data, **config)

    def spec(self, stem="s", space=SPACE, slurm=None, points=None, **keys):
        keys = {"config": "base.ini", "method": "random", "trials": 6, "metric": "test_loss",
                "parallel": 2, **keys}
        sections = {"sweep": keys, "space": space, **({"points": points} if points else {}),
                    **({"slurm": slurm} if slurm else {})}
        text = "".join(f"[{s}]\n" + "".join(f"{k} = {v}\n" for k, v in items.items()
                                            if v is not None) for s, items in sections.items())
        (self.dir / f"{stem}.ini").write_text(text)
        return f"{stem}.ini"

    def start(self, *args, **env):
        return subprocess.Popen([*SWEEP, *args], cwd=self.dir, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE,
                                env={**os.environ, **MPI_ENV, **self.env, **env})

    def run(self, *args, code=0, timeout=120, **env):
        process = self.start(*args, **env)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
            raise AssertionError(f"no end within {timeout} s\n{out}\n{err}") from None
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
        return out if code in (0, 6, 75) else err

    def sweep(self, name="s"):
        return Sweep(self.dir / "runs" / "sweeps" / name)


class Sweep:
    """A sweep's folder."""

    def __init__(self, path):
        self.path = path

    def results(self):
        with open(self.path / "results.csv", newline="") as file:
            return list(csv.DictReader(file))

    def journal(self):
        return [json.loads(line) for line in (self.path / "study.journal").open()]

    def endings(self):
        """How often each trial was ended, in the order of the trials."""
        count = {}
        for entry in self.journal():
            if entry["op_code"] == FINISH:
                count[entry["trial_id"]] = count.get(entry["trial_id"], 0) + 1
        return [count[t] for t in sorted(count)]

    def trials(self):
        return sorted(p.name for p in self.path.glob("[0-9]*-*"))

    def runs(self):
        return [Run(self.path / name) for name in self.trials()]

    def bits(self):
        return {run.path.name: run.bits() for run in self.runs()}

    def values(self):
        """What must not differ between two runs of one spec."""
        return [{k: v for k, v in row.items() if k != "seconds"} for row in self.results()]


def script(path, text):
    """A shell script -> its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def fake_trainer(folder, seconds):
    path = script(folder / "fake", FAKE.replace("SECONDS", str(seconds)))
    with h5py.File(f"{path}.h5", "w") as file:
        file.attrs["status"] = "complete"
        kinds = [("epoch", "i8"), ("test_loss", "f8")]
        file["epochs"] = np.array([(1, 0.5), (2, 0.25)], dtype=kinds)
    return path


CLUSTER = str(REPO / "tests" / "slurm" / "cluster.sh")


def no_slurm():
    """Why there can be no Slurm on this machine, or ""."""
    return subprocess.run([CLUSTER, "can"], text=True, stdout=subprocess.PIPE).stdout.strip()


class Cluster:
    """A Slurm of its own, on this machine."""

    def __init__(self, folder):
        self.folder, self.dir = folder, None  # dir: where commands are called

    def control(self, what, *args):
        subprocess.run([CLUSTER, what, str(self.folder), *args], check=True, timeout=60)

    def env(self):
        return dict(line.removeprefix("export ").split("=", 1)
                    for line in (self.folder / "env").read_text().splitlines())

    def do(self, *command):
        return subprocess.run(command, env={**os.environ, **self.env()}, cwd=self.dir, text=True,
                              timeout=60, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout


def wait_for(condition, timeout, what):
    until = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < until, f"did not come within {timeout} s: {what()}"
        time.sleep(0.1)
    return found


def working_in(folder):
    """The processes that have the folder, or one in it, as their current one."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if Path(os.readlink(link)).is_relative_to(folder):
                found.append(link.parent.name)
        except OSError:
            pass  # ended, or not ours to see
    return found


def two_cores():
    return len(os.sched_getaffinity(0)) >= 2
