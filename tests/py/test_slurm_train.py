"""scripts/slurm/train.sbatch on a real Slurm on this machine: whatever happens to a job, it ends
with the bits of a run that was never stopped.

Skipped where its packages are missing (slurmctld slurmd slurm-client munge) and without root."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from helpers import REPO, TRAINER, Lab, assert_same_bits

CLUSTER = str(REPO / "tests" / "slurm" / "cluster.sh")
CANNOT = subprocess.run([CLUSTER, "can"], text=True, stdout=subprocess.PIPE).stdout.strip()
pytestmark = [pytest.mark.slow, pytest.mark.together,
              pytest.mark.skipif(bool(CANNOT), reason=CANNOT)]

# Every node is a host of its own by name.
HOST = f"""#!/bin/sh
exec unshare -u sh -c 'hostname $SLURMD_NODENAME; exec {TRAINER} "$@"' - "$@"
"""


class Slurm:
    """A cluster of five nodes, and one job of each kind on it."""

    def __init__(self, folder, data):
        self.folder, self.lab = folder, Lab(folder / "runs-here", data)
        self.lab.dir.mkdir()
        host = folder / "host"
        host.write_text(HOST)
        host.chmod(0o755)
        subprocess.run([CLUSTER, "start", str(folder), "5", "2"], check=True, timeout=60)
        lines = (folder / "env").read_text().split("\n")
        self.env = {**os.environ, "TRAINER": str(host),
                    **dict(w.split("=", 1) for line in lines for w in line.split()[1:])}
        self.jobs = {}

    def do(self, *command):
        return subprocess.run(command, env=self.env, cwd=self.lab.dir, text=True, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout.strip()

    def submit(self, name, *options):
        config = self.lab.config(f"{name}.ini", **RUN)
        self.jobs[name] = self.do("sbatch", "--parsable", "-J", name, "-N1", "-n2",
                                  "--exclusive", *options,
                                  str(REPO / "scripts/slurm/train.sbatch"), str(config))

    def show(self, name, key):
        found = re.search(rf"\b{key}=(\S+)", self.do("scontrol", "show", "job", self.jobs[name]))
        return found[1] if found else ""

    def output(self, name):
        path = self.lab.dir / f"{name}-{self.jobs[name]}.out"
        return path.read_text() if path.exists() else ""

    def wait_for(self, what, condition, seconds):
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, \
                f"{what} did not come\n{self.do('squeue')}\n" + "\n".join(
                    f"-- {name}: {self.do('scontrol', 'show', 'job', job)}\n{self.output(name)}"
                    for name, job in self.jobs.items())
            time.sleep(0.3)

    def start_again(self, name):
        """A requeued job would wait for two minutes before it starts."""
        self.wait_for(f"{name}'s requeue", lambda: self.show(name, "Restarts") == "1", 120)

        def runs():
            if self.show(name, "JobState") == "PENDING":
                self.do("scontrol", "update", f"jobid={self.jobs[name]}", "StartTime=now")
                self.do("scontrol", "release", self.jobs[name])
            return self.output(name).count("== job") == 2
        self.wait_for(f"{name}'s second start", runs, 60)


RUN = {"optimizer__momentum": 0.9, "train__epochs": 2500, "checkpoint__every": 5,
       "train__log_every": 100000, "checkpoint__every_steps": 33}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory, data):
    """All four jobs at once, each with its mishap; most of the time they wait."""
    folder = tmp_path_factory.mktemp("s")
    try:
        slurm = Slurm(folder, data)
        slurm.submit("limit", "-t1", "--signal=USR1@30")
        for name in ("requeue", "down", "split"):
            slurm.submit(name)
        for name in slurm.jobs:
            slurm.wait_for(f"{name}'s start",
                           lambda n=name: slurm.lab.out(n).last.exists(), 60)
        slurm.do("scontrol", "requeue", slurm.jobs["requeue"])
        slurm.do("scontrol", "update", f"nodename={slurm.show('down', 'NodeList')}",
                 "state=down", "reason=test")
        # The controller loses sight of the node, but the ranks live on.
        node = slurm.show("split", "NodeList")
        os.kill(int((folder / "run" / f"slurmd.{node}.pid").read_text()), signal.SIGKILL)
        for name in slurm.jobs:
            slurm.start_again(name)
        for name in slurm.jobs:
            slurm.wait_for(f"{name}'s end", lambda n=name: slurm.show(n, "JobState") in
                           ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"), 180)
        yield slurm
    finally:
        subprocess.run([CLUSTER, "stop", str(folder)], check=True, timeout=60)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("whole"), data)
    lab.run(lab.config(**RUN), timeout=200).expect(0)
    return lab.out().bits()


@pytest.mark.parametrize("name, words", [
    ("limit", "stopped after a checkpoint: requeued"),
    ("requeue", "restart 1"), ("down", "restart 1"), ("split", "restart 1")])
def test_job_ends_with_the_bits_of_an_uninterrupted_run(slurm, whole, name, words):
    output = slurm.output(name)
    assert words in output, output
    assert re.search(r"^resume  from step \d+", output, re.M), output
    assert slurm.show(name, "JobState") == "COMPLETED", output
    assert slurm.lab.out(name).status() == "complete"
    assert_same_bits(slurm.lab.out(name).bits(), whole, name)


def test_cut_off_ranks_yield_to_the_new_ones(slurm):
    """The first start lived on until it saw that its run was taken over."""
    assert "was taken over by process" in slurm.output("split"), slurm.output("split")
    lock = Path(slurm.lab.out("split").path / "run.lock").read_text()
    assert re.search(r"^generation 2 ", lock), lock
