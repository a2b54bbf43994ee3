#!/usr/bin/env python3
"""Kills runs and fills disks, and looks whether anything is lost: `make torture N=500 SEED=1`.

A story is one run that has faults until it has had enough, then is left to finish. A fault is
a kill -9 (of a rank, of mpirun, of all, or of the process itself at a system call that changes
its files), a full disk (calls that fail, a small tmpfs, a limit on file sizes) or a signal that
asks for a stop. Between two starts somebody opens files of the run for writing, and edits
nothing. Ranks, threads and kernel set change with every start, and the next start comes at once.
After each fault all files must be whole; at the end every bit of parameters, optimizer and metrics
must be that of a run that nobody touched. First a matrix: a kill before, in and after each system
call of a short run, and a full disk at each."""

import argparse
import collections
import concurrent.futures
import itertools
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import h5py

sys.path.insert(0, str(Path(__file__).resolve().parent / "py"))
import helpers  # noqa: E402

LEFTOVER = re.compile(r"^\..+\.trainer-tmp\.\d+\.\d+$")
STEP = re.compile(r"^step-(\d{8})\.h5$")
SAYS_END = re.compile("^files   | is complete: ", re.M)  # all is on the disk
CONFIGS = {
    "momentum": {"optimizer__momentum": 0.9, "optimizer__schedule": "cosine",
                 "optimizer__warmup": 1},
    "adam": {"optimizer__name": "adam", "optimizer__lr": 0.003, "data__validation": 101,
             "train__patience": 50, "metrics__flush": 0.01},
    "clipped": {"optimizer__clip_norm": 0.5, "optimizer__schedule": "step",
                "checkpoint__best": "test_accuracy", "checkpoint__keep": 1},
    "short": {"optimizer__momentum": 0.9, "train__epochs": 1, "checkpoint__every_steps": 5,
              "checkpoint__keep": 1},
}


class Loss(Exception):
    """Something that must never be lost is."""


def need(condition, what):
    if not condition:
        raise Loss(what)


# ---- what must hold of a folder at any instant ----

def check_h5(path):
    """The user block's length and digest fit, and h5py reads all there is."""
    data = path.read_bytes()
    head = re.match(rb"trainer file 1\nlength (\d+)\ncrc32 ([0-9a-f]{8})\n", data)
    need(head, f"{path.name} has no user block")
    need(int(head[1]) == len(data), f"{path.name} is cut")
    plain = data[:head.start(2)] + b"--------" + data[head.end(2):]
    need(zlib.crc32(plain) == int(head[2], 16), f"{path.name} is damaged")
    with h5py.File(path, "r") as file:
        file.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)


def newest(run):
    steps = [int(m[1]) for m in map(STEP.match, os.listdir(run / "checkpoints")) if m]
    return max(steps, default=0)


def check_folder(run):
    """Everything with a final name is whole and names only whole things; the newest step."""
    if not (run / "checkpoints").is_dir():
        return 0
    for path in [*run.iterdir(), *(run / "checkpoints").iterdir()]:
        name = path.name
        if LEFTOVER.match(name) or name in ("checkpoints", "run.lock"):
            continue
        if name in ("last.h5", "best.h5"):
            need(STEP.match(os.readlink(path)) and path.exists(), f"{name} names nothing")
        elif STEP.match(name) or name == "metrics.h5":
            check_h5(path)
        else:
            need(name == "config.ini", f"{name} has no business there")
            need("\n[parallel]\n" in path.read_text(), "config.ini is cut")
    step = newest(run)
    if step:
        rows = set(helpers.Run(run).table("steps")["step"].tolist())
        with h5py.File(run / "checkpoints" / f"step-{step:08d}.h5", "r") as file:
            need(file["state"].attrs["step"] == step, f"step {step} is another's")
            if "metrics/steps" in file:
                rows |= set(file["metrics/steps"]["step"].tolist())
        need(set(range(1, step + 1)) <= rows, f"rows before step {step} are missing")
    return step


# ---- one start of a run, under a fault ----

class Shop:
    """Where one worker's runs are, and what it counts: a folder with the shim, the data and the
    bits that runs without faults have (prepare), and memory that its kills may leave used."""

    def __init__(self, folder, memory, rng, expected, calls):
        self.folder, self.memory, self.rng = folder, memory, rng
        self.expected, self.calls = expected, calls
        self.own = Path(tempfile.mkdtemp(dir=folder))
        self.state = self.own / "state"
        self.kills, self.faults = collections.Counter(), collections.Counter()
        self.sets = helpers.kernel_sets()

    def config(self, name, run):
        keys = {"run__output": run, "train__epochs": 12, "train__batch_size": 32,
                "checkpoint__every_steps": 3, "train__log_every": 1000, "optimizer__lr": 0.05,
                **CONFIGS[name]}
        return helpers.write_config(self.own / f"{run.name}.ini", self.folder / "data", **keys)

    def start(self, config, ranks, call=None, how="", count=1, limit=None, **env):
        """Starts the trainer with the shim; Open MPI's files are in folders of our own."""
        self.state.write_bytes(b"0 start".ljust(64, b"\0"))
        run = re.search("^output = (.*)$", config.read_text(), re.M)[1]
        env.update({"LD_PRELOAD": str(self.folder / "fault.so"), "FAULT_DIR": run,
                    "FAULT_STATE": str(self.state), "FAULT_CALL": str(call or -1),
                    "FAULT_HOW": how, "FAULT_FOR": str(count), "TMPDIR": str(self.memory),
                    "OMPI_MCA_btl_vader_backing_directory": str(self.memory),
                    "OMP_NUM_THREADS": str(self.rng.choice((1, 1, 2, 3)))})
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit or old[0], old[1]))
        try:
            return helpers.Process([config, f"parallel.kernels={self.rng.choice(self.sets)}"],
                                   self.own, ranks, env)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)

    def where(self):
        """The number of the last call, and what the process is at; as the shim writes it."""
        for _ in range(100):
            text = self.state.read_bytes().split(b"\0")[0].decode()
            found = re.match(r"(\d+) (\w.*)$", text)
            if found:
                return int(found[1]), found[2].strip()
        return 1, "between two calls"  # killed as it wrote this

    def finish(self, name, run, config, ranks=None):
        """Lets the run go to its end, and compares."""
        result = self.start(config, ranks).end(120)
        need(result.code == 0, f"it does not go on to its end\n{result}")
        check_folder(run)
        need(helpers.Run(run).status() == "complete", "it is not complete at its end")
        helpers.assert_same_bits(helpers.Run(run).bits(), self.expected[name], "at its end")
        left = [p.name for p in run.rglob(".*")]
        need(not left, f"leftovers were not removed: {left}")


def end(shop, job, harmed=False):
    """Waits for the end. mpirun does not always end where it or a rank was harmed as it was about
    to: then it is ended too. Ranks that hang by themselves are a loss."""
    try:
        err = job.popen.communicate(timeout=45)[1]
    except subprocess.TimeoutExpired:
        alive = job.ranks()
        kill(job.pid, *alive)
        err = job.popen.communicate()[1]
        need(harmed or not alive, f"ranks {alive} hang\n{job.result(err)}")
        shop.faults["mpirun hung and was ended"] += 1
    result = job.result(err)
    if result.code in (-11, 139) and SAYS_END.search(result.out):
        shop.faults["MPI crashed after the run's end"] += 1
        result.code = 0
    return result


def kill(*pids, number=signal.SIGKILL):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def phase_of(what):
    return {"start": "start and data", "training": "training, evaluation"}.get(what, what)


# ---- faults: each starts the run, and returns once it has ended ----

def wait_random(shop, job):
    """Until a random instant, of the start or (mostly) of what comes after it."""
    early = shop.rng.random() < 0.15
    while not early and shop.where()[0] == 0 and job.popen.poll() is None:
        time.sleep(0.002)
    until = time.monotonic() + shop.rng.uniform(0, 0.4 if early else 1.0)
    while time.monotonic() < until and job.popen.poll() is None:
        time.sleep(0.001)


def random_kill(shop, config, ranks):
    """kill -9 at a random instant: of rank 0, of any rank, of mpirun, of all."""
    job = shop.start(config, ranks)
    wait_random(shop, job)
    pids = job.ranks()
    whom = shop.rng.choice(("one", "all", "mpirun")) if ranks else "all"
    if whom == "one" and pids:
        kill(shop.rng.choice(pids))
    elif whom == "mpirun":
        kill(job.pid)
    else:
        kill(job.pid, *pids)
    what = shop.where()[1]
    result = end(shop, job, harmed=True)
    if result.code != 0:
        shop.kills[phase_of(what)] += 1
        shop.faults[f"kill -9 of {whom if ranks else 'the only process'}"] += 1


def call_kill(shop, config, ranks):
    """The process kills itself at a system call."""
    how = shop.rng.choice(("before", "half", "after"))
    call = shop.rng.randint(1, max(2, shop.calls))
    result = end(shop, shop.start(config, ranks, call, how), harmed=True)
    if result.code != 0:
        need(result.code in (-9, 137), f"killed by itself, but\n{result}")
        shop.kills[phase_of(shop.where()[1])] += 1
        shop.faults["kill -9 at a system call"] += 1


def expect_full(result, shop, what, reason):
    need(result.code in (0, 4), f"{what}: exit code\n{result}")
    if result.code == 4:
        need(len(result.errors) == 1 and reason in result.errors[0],
             f"{what}: not one message\n{result}")
    shop.faults[f"{what}: {'ended with 4' if result.code else 'went on'}"] += 1


def full_calls(shop, config, ranks):
    """Some calls in a row find the disk full."""
    call, count = shop.rng.randint(1, max(2, shop.calls)), shop.rng.choice((1, 2, 5, 20, 10000))
    result = end(shop, shop.start(config, ranks, call, "full", count))
    expect_full(result, shop, "calls find no space", "No space left")


def small_limit(shop, config, ranks):
    """A limit on file sizes, below a checkpoint's or a metrics file's."""
    limit = shop.rng.choice((1000, 20000, 40000, 60000, 90000))
    result = end(shop, shop.start(config, None, limit=limit))
    expect_full(result, shop, "limit on file sizes", "File too large")


def stop_signal(shop, config, ranks):
    """A signal to a rank or to mpirun: a checkpoint, and exit 75."""
    job = shop.start(config, ranks)
    wait_random(shop, job)
    number = shop.rng.choice((signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2))
    running = shop.where()[0] > 0
    pids = job.ranks()
    whom = shop.rng.choice([*pids, job.pid]) if running and pids else None
    if whom is not None:
        kill(whom, number=number)
    result = end(shop, job, harmed=whom == job.pid)
    codes = (0, 75) if whom != job.pid or not ranks else (0, 75, 1, -9)
    if ranks and whom == job.pid and result.code == -number and SAYS_END.search(result.out):
        shop.faults["mpirun died of a signal after the run's end"] += 1  # it heeds none any more
        result.code = 0
    need(result.code in codes,
         f"{number.name} to {whom} (of {pids}; started as {job.pid}) does not stop it\n{result}")
    shop.faults[f"{number.name}: {'stopped' if result.code else 'was done'}"] += 1


# ---- stories ----

def open_some(shop, run):
    """Opens some of the run's files as `h5py.File(name, "a")`, which must change no byte."""
    files = [run / "metrics.h5", *sorted((run / "checkpoints").glob("*.h5"))]
    for path in filter(Path.exists, files):
        if shop.rng.random() < 0.4:
            before = path.read_bytes()
            h5py.File(path, "a").close()
            need(path.read_bytes() == before, f"an open for writing changes {path.name}")
            shop.faults["opened for writing"] += 1


def story(shop, number, most):
    """One run through up to `most` faults, to its end."""
    rng = shop.rng
    name = rng.choice(("momentum", "adam", "clipped"))
    run = shop.own / f"story-{number}"
    config = shop.config(name, run)
    step = 0
    for _ in range(rng.randint(2, most)):
        ranks = rng.choice((None, None, 1, 2, 3, 4))
        fault = rng.choices((random_kill, call_kill, full_calls, small_limit, stop_signal),
                            (8, 8, 1, 1, 2))[0]
        fault(shop, config, ranks)
        now = check_folder(run) if run.exists() else 0
        need(now >= step, f"{fault.__name__}: step {now} after step {step}")
        step = now
        open_some(shop, run)
    shop.finish(name, run, config, rng.choice((None, 2, 3)))


def small_disk(shop, size):
    """A run on a tmpfs of `size` KB; then it grows."""
    disk = shop.own / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none",
                                            disk], check=False).returncode != 0:
        shop.faults["a small tmpfs cannot be mounted here"] += 1
        return
    try:
        run = disk / "run"
        config = shop.config("momentum", run)
        result = shop.start(config, shop.rng.choice((None, 2))).end(60)
        expect_full(result, shop, f"disk of {size} KB", "No space left")
        check_folder(run)
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        shop.finish("momentum", run, config)
    finally:
        subprocess.run(["umount", disk], check=True)


def one_call(shop, call, how):
    """One system call of a short run: a kill before, within or after it, or a full disk."""
    run = shop.own / "run"
    config = shop.config("short", run)
    result = shop.start(config, None, call, how, 3).end(60)
    what = shop.where()[1]
    if how == "full":
        expect_full(result, shop, "calls find no space", "No space left")
    elif how == "half" and not what.startswith("write"):
        return
    else:
        need(result.code == -9, f"call {call} ({what}): no kill\n{result}")
        shop.kills[phase_of(what)] += 1
        shop.faults["kill -9 at a system call"] += 1
    check_folder(run)
    shop.finish("short", run, config)


TASKS = {"story": story, "disk": small_disk, "call": one_call}


def work(folder, memory, expected, calls, seed, task, *args):
    """One task in a folder of its own -> its counts; the folder stays where something is lost."""
    shop = Shop(folder, memory, random.Random(f"{seed} {task} {args}"), expected, calls)
    try:
        TASKS[task](shop, *args)
    except (Loss, AssertionError) as loss:
        raise Loss(f"{task} {args} in {shop.own}: {loss}") from None
    shutil.rmtree(shop.own)
    return shop.kills, shop.faults


def prepare(folder, memory, names):
    """Shim, data, and runs without faults -> their bits, and the calls of the first."""
    helpers.build_shim(folder, "fault.c")
    helpers.write_idx(folder / "data", helpers.make_set(403, 1), helpers.make_set(101, 2))
    expected, calls = {}, []
    for name in names:
        shop = Shop(folder, memory, random.Random(0), expected, 0)
        run = shop.own / "whole"
        result = shop.start(shop.config(name, run), None).end(120)
        need(result.code == 0, f"the run without faults fails\n{result}")
        need(check_folder(run) > 0, "the run without faults leaves nothing")
        expected[name] = helpers.Run(run).bits()
        calls.append(shop.where()[0])
    return expected, calls


def plan(calls, with_matrix, most):
    """The tasks: the matrix and the disks first, then stories without end."""
    if with_matrix:
        for call in range(1, calls + 1):
            for how in ("before", "half", "after", "full"):
                yield "call", call, how
        for size in (8, 60, 150, 300, 600):
            yield "disk", size
    yield from (("story", n, most) for n in itertools.count(1))


def torture(folder, kills, seed, with_matrix=True, workers=6, most=9, say=print):
    """Tasks until there were so many kills beyond the matrix's -> counts of kills and faults, and
    the stories told."""
    folder = Path(folder)
    memory = Path(tempfile.mkdtemp(prefix="trainer-torture.", dir="/dev/shm"))
    killed, faults, stories = collections.Counter(), collections.Counter(), 0
    try:
        expected, calls = prepare(folder, memory, ("short", "momentum", "adam", "clipped"))
        say(f"{calls[0]} system calls on files in a short run, {calls[1]} in a story's")
        tasks = plan(calls[0], with_matrix, most)
        with concurrent.futures.ProcessPoolExecutor(workers) as pool:
            running = {}
            while sum(killed.values()) < kills or running:
                while len(running) < workers and sum(killed.values()) < kills:
                    task = next(tasks)
                    running[pool.submit(work, folder, memory, expected, calls[1], seed,
                                        *task)] = task
                done, _ = concurrent.futures.wait(running, return_when="FIRST_COMPLETED")
                for future in done:
                    stories += running.pop(future)[0] == "story"
                    before = sum(killed.values())
                    for total, more in zip((killed, faults), future.result()):
                        total.update(more)
                    if sum(killed.values()) // 50 > before // 50:
                        say(f"{sum(killed.values())} kills, {stories} stories")
    finally:
        shutil.rmtree(memory, ignore_errors=True)
    return killed, faults, stories


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=500, help="kills (500)")
    parser.add_argument("--seed", type=int, help="of the random choices (by the clock)")
    parser.add_argument("--no-matrix", action="store_true", help="no system call by itself")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else int(time.time()) % 100000
    print(f"torture: N={args.n} SEED={seed}", flush=True)
    folder = tempfile.mkdtemp(prefix="trainer-torture.")
    began = time.monotonic()

    def say(text):
        print(f"{time.monotonic() - began:5.0f} s: {text}", flush=True)
    try:
        killed, faults, stories = torture(folder, args.n, seed, not args.no_matrix, say=say)
    except Loss as loss:
        print(f"torture: LOST with SEED={seed}: {loss}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{sum(killed.values())} kills, {stories} stories; where the process was:")
    for counts in (killed, faults):
        for what, n in sorted(counts.items()):
            print(f"  {what:48} {n:5}")
        print("faults:" if counts is killed else "torture: nothing was lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
