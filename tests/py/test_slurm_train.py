"""scripts/slurm/train.sbatch on a real Slurm on this machine: whatever happens to a job, it ends
with the bits of a run that was never stopped.

Skipped where its packages are missing (slurmctld slurmd slurm-client munge) and without root."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from helpers import REPO, TRAINER, Lab, assert_same_bits, build_shim
from sweeps import Cluster, no_slurm, script

CANNOT = no_slurm()
pytestmark = [pytest.mark.slow, pytest.mark.together,
              pytest.mark.skipif(bool(CANNOT), reason=CANNOT)]

# Every node is a host of its own by name, and a checkpoint takes 0.1 s, so that a run lasts.
# Ranks of a node that is cut off have nobody to write to, so each has a file.
# A rank of `hang` stops in the first start, and `bad` can't train at all.
HOST = """trap : USR1 TERM
export FAULT_DIR={runs} FAULT_SLOW=100 NAME=$SLURM_JOB_NAME$SLURM_ARRAY_TASK_ID
start=$SLURM_PROCID.${{SLURM_RESTART_COUNT:-0}}
[ $NAME != bad ] || exit 1
export STOPS=$([ $NAME.$start = hang.1.0 ] && echo yes)
LD_PRELOAD={shim} unshare -u sh -c 'hostname $SLURMD_NODENAME
[ -z "$STOPS" ] || (sleep 4; kill -STOP $$) & exec {trainer} "$@"' - "$@" run.name=$NAME \\
    >$NAME.$start 2>&1
code=$?
echo "exit code $code" >>$NAME.$start
exit $code"""
RUN = {"optimizer__momentum": 0.9, "train__epochs": 800, "checkpoint__every": 5,
       "checkpoint__every_steps": 33, "checkpoint__best": "none"}


class Slurm(Cluster):
    """A cluster of nine nodes, and one job of each kind on it."""

    def __init__(self, folder, data):
        super().__init__(folder)
        self.lab, self.jobs, self.pending = Lab(folder / "runs-here", data), {}, {}
        self.dir = self.lab.dir
        self.dir.mkdir()
        self.host = script(folder / "host", HOST.format(
            shim=build_shim(folder, "fault.c"), trainer=TRAINER, runs=self.dir / "runs"))
        self.control("start", "9", "2")

    def env(self):
        return {"TRAINER": self.host, **super().env()}

    def do(self, *command):
        return super().do(*command).strip()

    def submit(self, name, *options, array=(), **keys):
        """As an array, its tasks are known as name0, name1 ..."""
        config = self.lab.config(f"{name}.ini", **{**RUN, **keys})
        options += ("--array=" + ",".join(map(str, array)),) if array else ()
        job = self.do("sbatch", "--parsable", "-J", name, "-N1", "-n2", "--exclusive", *options,
                      str(REPO / "scripts/slurm/train.sbatch"), str(config))
        self.jobs |= {f"{name}{task}": f"{job}_{task}" for task in array} or {name: job}

    def show(self, name, key):
        found = re.search(rf"\b{key}=(\S+)", self.do("scontrol", "show", "job", self.jobs[name]))
        return found[1] if found else ""

    def output(self, name, start=None):
        """The job's, or what its rank 0 wrote in that start."""
        stem = name.rstrip("0123456789")
        path = self.lab.dir / (f"runs/{stem}-{self.jobs[name]}.out" if start is None
                               else f"{name}.0.{start}")
        return path.read_text() if path.exists() else ""

    def down(self, node):
        self.do("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def cut_off(self, name):
        """The controller and the launcher lose sight of the job's node; its ranks live on."""
        node = self.show(name, "NodeList")
        pid = (self.folder / "run" / f"slurmd.{node}.pid").read_text()
        os.kill(int(pid), signal.SIGKILL)
        for path in Path("/proc").glob("[0-9]*"):
            try:
                known = (path / "environ").read_bytes().split(b"\0")
                command = (path / "cmdline").read_bytes()
                comm = (path / "comm").read_text().strip()
                where = os.readlink(path / "cwd")
            except OSError:
                continue
            ours = (f"SLURM_JOB_ID={self.jobs[name]}".encode() in known and
                    f"SLURM_CONF={self.env()['SLURM_CONF']}".encode() in known)
            step = (comm == "slurmstepd" and f"[{self.jobs[name]}.".encode() in command and
                    where.startswith(f"{self.folder}/"))
            if (comm == "srun" and ours) or step:
                os.kill(int(path.name), signal.SIGSTOP)
        self.down(node)  # it would find out after half a minute

    def wait_for(self, what, condition, seconds):
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, \
                f"{what} did not come\n{self.do('squeue')}\n" + "\n".join(
                    f"-- {name}: {self.do('scontrol', 'show', 'job', job)}\n{self.output(name)[-1500:]}"
                    for name, job in self.jobs.items())
            time.sleep(0.3)

    def leaving(self, name):
        """Whether Slurm's own processes of the job's last start are still on a node, with its files."""
        own = f"slurmstepd: [{self.jobs[name]}.".encode()
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if own in (path / "cmdline").read_bytes() and \
                        os.readlink(path / "cwd").startswith(f"{self.folder}/"):
                    return True
            except OSError:
                continue
        return False

    def ended(self):
        """Whether all jobs have. A requeued one would wait for two minutes before it starts; it may
        when the node is rid of the last start, and one that was cut off is not waited for."""
        states = {name: self.show(name, "JobState") for name in self.jobs}
        for name, state in states.items():
            since = self.pending.setdefault(name, time.monotonic())
            if state != "PENDING":
                del self.pending[name]
            elif time.monotonic() > since + (30 if self.leaving(name) else 10):
                self.do("scontrol", "update", f"jobid={self.jobs[name]}", "StartTime=now")
                self.do("scontrol", "release", self.jobs[name])
        bad = {name for name, state in states.items() if state in ("FAILED", "TIMEOUT")}
        assert bad <= {"bad", "steps"}, f"{states}"
        return set(states.values()) <= {"COMPLETED", "FAILED"}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory, data):
    """All jobs at once, each with its mishap; most of the time they wait."""
    folder = tmp_path_factory.mktemp("s")
    try:
        slurm = Slurm(folder, data)
        slurm.submit("limit", "-t1", "--signal=USR1@30")
        for name in ("requeue", "down", "split"):
            slurm.submit(name)
        slurm.submit("array", array=(0, 1))
        slurm.submit("hang", parallel__timeout=8)
        slurm.submit("steps", train__max_steps=40)
        slurm.submit("bad")
        for name in slurm.jobs.keys() - {"bad"}:
            slurm.wait_for(f"{name}'s start",
                           lambda n=name: slurm.lab.out(n).last.exists(), 60)
        slurm.do("scontrol", "requeue", slurm.jobs["requeue"])
        slurm.down(slurm.show("down", "NodeList"))
        slurm.cut_off("split")
        slurm.do("scancel", "--signal=USR1", slurm.jobs["array1"])  # it has the array's own number
        slurm.wait_for("the end of all", slurm.ended, 300)
        yield slurm
    finally:
        Cluster(folder).control("stop")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("whole"), data)
    lab.run(lab.config(**RUN), timeout=200).expect(0)
    return lab.out().bits()


@pytest.mark.parametrize("name, words", [
    ("limit", "stopped after a checkpoint: requeued"),
    ("requeue", "restart 1"), ("down", "restart 1"), ("split", "restart 1"),
    ("array1", "stopped after a checkpoint: requeued"),
    ("hang", "goes on from its last checkpoint: requeued")])
def test_job_ends_with_the_bits_of_an_uninterrupted_run(slurm, whole, name, words):
    output = slurm.output(name)
    assert words in output, output
    assert re.search(r"^resume  from step \d+", slurm.output(name, 1), re.M), output
    assert slurm.lab.out(name).status() == "complete"
    assert_same_bits(slurm.lab.out(name).bits(), whole, name)


def test_cut_off_ranks_yield_to_the_new_ones(slurm):
    """The first start lives on until it sees that its run was taken over."""
    first = slurm.output("split", 0)
    assert "was taken over by process" in first, first[-1000:]
    lock = (slurm.lab.out("split").path / "run.lock").read_text()
    assert re.search(r"^generation 2 ", lock), lock


def test_time_limit_stops_with_75(slurm):
    assert "exit code 75" in slurm.output("limit", 0), slurm.output("limit", 0)[-1000:]


def test_a_task_of_an_array_requeues_itself_alone(slurm, whole):
    assert slurm.show("array0", "Restarts") == "0" and slurm.show("array1", "Restarts") == "1"
    assert_same_bits(slurm.lab.out("array0").bits(), whole, "array0")


def test_max_steps_ends_the_job(slurm):
    output = slurm.output("steps")
    assert "by train.max_steps or max_time" in output and "requeued" not in output, output
    assert slurm.lab.out("steps").status() == "stopped"
    assert slurm.show("steps", "ExitCode") == "75:0"


def test_a_job_that_gets_nowhere_gives_up(slurm):
    output = slurm.output("bad")
    assert output.count("== ended with exit code 1\n") == 3, output
    assert output.count(": requeued") == 2 and output.endswith(": given up\n")


def test_nothing_lies_in_the_folder_that_the_jobs_were_submitted_from(slurm):
    assert not list(slurm.lab.dir.glob("*.out"))
    assert len(list(slurm.lab.dir.glob("runs/*.out"))) == 9
