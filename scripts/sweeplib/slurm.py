"""What a sweep asks of Slurm: one job array whose tasks each work until no trial is left."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from sweeplib.spec import SweepError

ENDED = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL",
         "OUT_OF_MEMORY", "PENDING", "PREEMPTED", "REQUEUED", "REVOKED", "TIMEOUT")


def ask(*command, timeout=20):
    """(exit code, stdout, stderr) of a Slurm command; code 1 where it is missing or hangs."""
    try:
        done = subprocess.run(command, text=True, capture_output=True, timeout=timeout)
        return done.returncode, done.stdout, done.stderr
    except FileNotFoundError:
        return 1, "", f"there is no {command[0]} here"
    except subprocess.TimeoutExpired:
        return 1, "", f"{command[0]} does not answer"


def my_id():
    """This job's id, "" outside of Slurm. A task of an array is named by its place: its own number
    is, for the last one, that of the whole array, which Slurm's commands then take it for."""
    array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID", "")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else job


def my_job():
    job = my_id()
    return {"job": job, "restarts": int(os.environ.get("SLURM_RESTART_COUNT", 0))} if job else {}


def fields(text):
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


def has_ended(owner):
    """Whether that run of that job is over. Where Slurm does not answer, it may live."""
    code, out, err = ask("scontrol", "-o", "show", "job", owner["job"])
    if code:
        return "Invalid job id" in err  # forgotten, long after its end
    job = fields(out)
    return int(job.get("Restarts", 0)) > owner["restarts"] or job.get("JobState") in ENDED


def alive(jobs):
    """Those of the arrays that still run or wait."""
    return [job for job in jobs if ask("squeue", "-h", "-o", "%A", "-j", job)[1].strip()]


def cancel_waiting(jobs):
    for job in jobs:
        ask("scancel", "--state=PENDING", job)


def requeue():
    """Puts this very job back into the queue; Slurm then ends it. -> why it did not."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for _ in range(10):
        code, _, err = ask("scontrol", "requeue", my_id())
        if code == 0:
            time.sleep(60)
        time.sleep(3)
    return f"job {my_id()} could not be requeued: {' '.join(err.split())}"


def wait_for_controller():
    """A step that did not start, or was lost, says nothing of its trial while nobody answers."""
    while my_id() and "is DOWN" in ask("scontrol", "ping")[1]:
        time.sleep(2)


def step(spec):
    """The command before the trainer's: as the site has it."""
    launcher = spec.slurm["launcher"]
    if launcher == "auto":
        _, out, err = ask("srun", "--mpi=list")
        launcher = "srun" if "pmix" in out + err else "mpirun"
    if launcher == "srun":
        return ["srun", "--mpi=pmix", f"--nodes={spec.slurm['nodes']}", f"--ntasks={spec.ranks}",
                f"--cpus-per-task={spec.threads}"]
    bind = ["--map-by", f"slot:PE={spec.threads}"] if spec.threads > 1 else []
    return ["mpirun", "-np", str(spec.ranks), *bind]


def seconds(limit):
    """A time limit as Slurm writes it: minutes[:seconds], hours:m:s, days-hours[:m[:s]]."""
    days, dash, rest = limit.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if not dash and len(parts) < 3:
        parts.insert(0, 0)
    hours, minutes, secs = (parts + [0, 0])[:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + secs


def check_fit(spec):
    """Refuses trials that no node could hold, and tasks that would stop as they start."""
    if 2 * spec.slurm["notice"] > seconds(spec.slurm["time"]):
        raise SweepError(f"{spec.path}: [slurm] time = {spec.slurm['time']} is too short for "
                         f"notice = {spec.slurm['notice']} (seconds): more time, or less notice")
    partition = spec.slurm["partition"]
    code, out, err = ask("sinfo", "-h", "-o", "%c %D", *(["-p", partition] if partition else []))
    if code:
        raise SweepError(f"{spec.path}: Slurm can't be asked for its nodes: "
                         + (err.strip().splitlines() or ["no answer"])[-1])
    cpus = [int(line.split()[0].rstrip("+")) for line in out.splitlines()]
    if not cpus:
        raise SweepError(f"{spec.path}: [slurm] partition = {partition}: Slurm has no such one "
                         "(`sinfo` lists them)")
    share = -(-spec.ranks // spec.slurm["nodes"])
    if share * spec.threads > max(cpus):
        raise SweepError(f"{spec.path}: {share} ranks x {spec.threads} threads on a node: the "
                         f"nodes have {max(cpus)} CPUs: fewer ranks, or more [slurm] nodes")
    if spec.ranks < spec.slurm["nodes"]:
        raise SweepError(f"{spec.path}: [slurm] nodes = {spec.slurm['nodes']} for ranks = "
                         f"{spec.ranks}: a node needs a rank")


def most_tasks():
    """How long an array may be here."""
    found = re.findall(r"^Max(?:ArraySize|JobCount)\s*=\s*(\d+)",
                       ask("scontrol", "show", "config")[1], re.M)
    return max(1, min(map(int, found), default=1001))


def tasks(spec):
    """As many as work at a time: each of them works until no trial is left."""
    return min(spec.trials, spec.parallel or spec.trials, most_tasks())


def command(spec, folder, count):
    """sbatch with all its options: those in a script yield to the user's SBATCH_ variables."""
    s = spec.slurm
    options = [f"--job-name={spec.name}", f"--array=0-{count - 1}", "--requeue",
               f"--signal=B:USR1@{s['notice']}", f"--nodes={s['nodes']}", f"--ntasks={spec.ranks}",
               f"--cpus-per-task={spec.threads}", f"--time={s['time']}", "--open-mode=append",
               "--export=ALL", f"--output={folder}/slurm/%A_%a.out"]
    options += [f"--{key}={s[key]}" for key in ("partition", "account") if s[key]]
    return ["sbatch", "--parsable", *options, *s["extra"], f"{folder}/slurm/task.sh"]


def script(folder, program):
    worker = shlex.join([sys.executable, str(program), "work", str(folder)])
    # exec: the signals that Slurm sends to the batch script are to reach the worker itself.
    return f"#!/bin/sh\nexec {worker}\n"


def submit(spec, folder, program):
    """(the array's job id, its tasks): fewer than wanted where a limit is met that only sbatch
    knows, as that of an account."""
    (Path(folder) / "slurm").mkdir(exist_ok=True)
    (Path(folder) / "slurm" / "task.sh").write_text(script(folder, program))
    count = tasks(spec)
    while True:
        code, out, err = ask(*command(spec, folder, count), timeout=60)
        if code == 0:
            return out.strip().split(";")[0], count
        if count == 1 or not re.search("limit|array", err, re.I):
            raise SweepError("sbatch refused the sweep: " + " ".join(err.split()))
        count //= 2
