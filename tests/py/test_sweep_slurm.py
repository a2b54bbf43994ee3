"""A sweep through Slurm: a real one, on this machine, with four nodes of two CPUs.

Skipped where its packages are missing (slurmctld slurmd slurm-client munge) and without root."""

import os
import signal
import sys
import time
from unittest import mock

import pytest

from helpers import REPO, TRAINER, build_shim
from sweeps import Bench, Cluster, no_slurm, script, wait_for

pytest.importorskip("optuna", reason="python3-optuna is not installed")
sys.path.insert(0, str(REPO / "scripts"))
from sweeplib import slurm as ours  # noqa: E402

CANNOT = no_slurm()
pytestmark = [pytest.mark.slow, pytest.mark.together,
              pytest.mark.skipif(bool(CANNOT), reason=CANNOT)]

# The trainer, but all trials except the first four wait while there is a file "hold", and a checkpoint
# of those takes 0.1 s, so that something can happen to them.
SLOW = """case $* in *max_steps=1*|check*) ;; *run.name=s-000[0-3]*)
    export FAULT_DIR=$PWD/runs FAULT_SLOW=100 LD_PRELOAD={shim} ;; *)
    while [ -e hold ]; do sleep 0.2; done ;; esac
exec {trainer} "$@"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.control("start", "4", "2")
        yield cluster
    finally:
        cluster.control("stop")


def bench(folder, data, cluster):
    shim = build_shim(folder, "fault.c")
    slow = script(folder / "slow", SLOW.format(shim=shim, trainer=TRAINER))
    return Bench(folder, data, {"TRAINER": slow, **cluster.env()}, train__epochs=40)


def spec(bench, parallel=4, **slurm):
    return bench.spec(trials=12, ranks=2, parallel=parallel, slurm={
        "time": "5", "extra": "--mem=100", **slurm})


@pytest.fixture(scope="module")
def clean(cluster, data, tmp_path_factory):
    """The sweep that nothing happens to."""
    found = bench(tmp_path_factory.mktemp("clean"), data, cluster)
    # More trials than an array may have tasks, and variables that overrule what a script says.
    found.out = found.run("submit", spec(found, parallel=9), SBATCH_TIMELIMIT="0:10",
                          SBATCH_JOB_NAME="other", SBATCH_OUTPUT="other.out",
                          SBATCH_SIGNAL="B:TERM@60", SBATCH_NO_REQUEUE="1")
    found.job = cluster.do("scontrol", "-o", "show", "job")
    wait_for(lambda: "12 complete" in found.run("status", "s"), 120,
             lambda: found.run("status", "s"))
    wait_for(lambda: not cluster.do("squeue", "-h"), 20, lambda: cluster.do("squeue"))
    return found


def test_an_array_runs_each_trial_once(clean):
    sweep = clean.sweep()
    assert len(sweep.trials()) == 12 and sweep.endings() == [1] * 12
    assert [row["status"] for row in sweep.results()] == ["complete"] * 12
    outputs = "".join(p.read_text() for p in (sweep.path / "slurm").glob("*.out"))
    assert outputs.count(" started: ") == 12 and " goes on " not in outputs
    assert "6 at a time" in clean.out and len(list((sweep.path / "slurm").glob("*.out"))) <= 6
    assert "JobName=s " in clean.job and "TimeLimit=00:05:00" in clean.job
    assert "Requeue=1" in clean.job and "Requeue=0" not in clean.job
    planned = clean.run("run", "s.ini", "--dry-run") if len(os.sched_getaffinity(0)) > 7 else \
        clean.run("submit", "s.ini", "--dry-run")
    assert all(f"/{name} " in planned for name in sweep.trials())


class Faults:
    """What may happen to a sweep, done to its running tasks."""

    def __init__(self, cluster, bench):
        self.cluster, self.bench, self.met = cluster, bench, set()

    def owners(self):
        """{job: (its worker, its trial's number)} of all that work or worked."""
        found = {}
        for entry in self.bench.sweep().journal():
            work = (entry.get("user_attr") or entry.get("user_attrs") or {}).get("work")
            if work and work["owner"]:
                number = entry.get("trial_id", len(found))
                found[work["owner"]["job"]] = work["owner"], number
        return found

    def in_training(self, number):
        runs = [run for run in self.bench.sweep().runs() if run.path.name[:4] == f"{number:04d}"]
        return any(run.last.exists() and run.status() == "running" for run in runs)

    def last(self):
        """The task whose own number is that of the whole array."""
        own = (line.split() for line in self.cluster.do(
            "squeue", "-h", "-t", "R", "-o", "%i %A %F").splitlines())
        return next((task for task, job, array in own if job == array), None)

    def task(self, training=False):
        """(job id, node) of a task at work on a trial, to which nothing was done yet."""
        self.unpark()
        owners = self.owners()
        for line in self.cluster.do("squeue", "-h", "-t", "R", "-o", "%i %N").splitlines():
            job, node = line.split()
            if job in owners and job not in self.met and (
                    not training or self.in_training(owners[job][1])):
                self.met.add(job)
                return job, node
        return None

    def next_task(self, **how):
        return wait_for(lambda: self.task(**how), 60, lambda: self.cluster.do("squeue"))

    def unpark(self):
        """Slurm has a requeued job wait for two minutes; the test does not."""
        queue = self.cluster.do("squeue", "-h", "-t", "PD", "-o", "%i %r")
        for job, reason in (line.split(None, 1) for line in queue.splitlines()):
            if "BeginTime" in reason:
                self.cluster.do("scontrol", "update", f"jobid={job}", "StartTime=now")
            if "held" in reason:
                self.cluster.do("scontrol", "release", job)

    def node_goes_down(self):
        _, node = self.next_task(training=True)
        self.cluster.do("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        time.sleep(3)
        self.cluster.do("scontrol", "update", f"nodename={node}", "state=resume")

    def worker_is_killed(self):
        """The last task's: that it has ended must be seen while others of its array live."""
        job = wait_for(lambda: self.last() if self.last() in self.owners() else None, 60,
                       lambda: self.cluster.do("squeue"))
        self.met.add(job)
        owner = self.owners()[job][0]
        with mock.patch.dict(os.environ, self.cluster.env()):
            assert not ours.has_ended(owner)
            os.kill(owner["pid"], signal.SIGKILL)
            wait_for(lambda: ours.has_ended(owner), 20, lambda: self.cluster.do("squeue"))

    def task_is_cancelled(self):
        self.cluster.do("scancel", self.next_task()[0])

    def task_is_requeued(self):
        self.cluster.do("scontrol", "requeue", self.next_task()[0])

    def controller_restarts(self):
        self.cluster.control("restart")

    def time_runs_out(self):
        wait_for(lambda: self.unpark() or " stops after a checkpoint: SIGUSR1" in self.outputs(),
                 90, self.outputs)

    def outputs(self):
        """What the workers said."""
        return "".join(p.read_text() for p in self.bench.sweep().path.glob("slurm/*.out"))


def test_no_trial_is_lost_or_doubled_whatever_happens(clean, cluster, data, tmp_path):
    hurt = bench(tmp_path, data, cluster)
    (tmp_path / "hold").touch()
    hurt.run("submit", spec(hurt, time="1", notice="15"))
    faults = Faults(cluster, hurt)
    faults.worker_is_killed()
    faults.node_goes_down()
    faults.controller_restarts()
    faults.task_is_requeued()
    faults.task_is_cancelled()
    faults.time_runs_out()
    (tmp_path / "hold").unlink()

    def complete():
        faults.unpark()
        return "12 complete" in hurt.run("status", "s")
    wait_for(complete, 150, lambda: hurt.run("status", "s") + cluster.do("squeue"))

    sweep, outputs = hurt.sweep(), faults.outputs()
    ended = (cluster.folder / "log/jobs").read_text()  # the runs of jobs, as Slurm's own log has them
    assert all(f"JobState={state}" in ended for state in ("NODE_FAIL", "CANCELLED"))
    assert " goes on from step-" in outputs
    assert outputs.count(" started: ") == 12 and sweep.endings() == [1] * 12
    assert sweep.values() == clean.sweep().values()
    assert sweep.bits() == clean.sweep().bits()


def test_stop_and_resume(clean, cluster, data, tmp_path):
    found = bench(tmp_path, data, cluster)
    (tmp_path / "hold").touch()
    found.run("submit", spec(found))
    wait_for(lambda: len(found.sweep().trials()) == 8, 60, lambda: cluster.do("squeue"))
    assert "queue already" in found.run("resume", "s", code=2)
    found.run("stop", "s")
    wait_for(lambda: not cluster.do("squeue", "-h"), 20, lambda: cluster.do("squeue"))
    assert "4 complete  4 stopped  4 waiting" in found.run("status", "s")
    (tmp_path / "hold").unlink()
    found.run("resume", "s")
    wait_for(lambda: "12 complete" in found.run("status", "s"), 90,
             lambda: found.run("status", "s"))
    assert found.sweep().bits() == clean.sweep().bits()


@pytest.mark.parametrize("keys, slurm, says", [
    ({"ranks": 3}, {}, "have 2 CPUs"),
    ({"threads": 3}, {}, "have 2 CPUs"),
    ({"ranks": 1}, {"nodes": 2}, "a node needs a rank"),
    ({}, {"partition": "nowhere"}, "partition = nowhere"),
    ({}, {"time": "0:03:30"}, "too short for notice = 120"),
])
def test_what_no_node_can_hold_is_refused(cluster, data, tmp_path, keys, slurm, says):
    found = bench(tmp_path, data, cluster)
    assert says in found.run("submit", found.spec(**keys, slurm=slurm), code=2)
    assert not (tmp_path / "runs").exists()
