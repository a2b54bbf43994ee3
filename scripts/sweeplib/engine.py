"""The worker: takes trials from the study and runs the trainer on them, until there are none.

The local engine is one worker with `parallel` slots, each with cores of its own; in Slurm, each
task of the array is one with a single slot. A worker that is told to stop has its trainers write
a checkpoint and puts their trials back. One that dies takes its trainers with it: the kernel
tells them when their parent has gone.

What the end of a trainer says, where metrics.h5 does not say complete or diverged:
    2              the trial has failed, as it would again
    away() below   the place is at fault, not the trial: it is put back after a pause that grows.
                   When nothing went better for `wait` seconds, the worker stops
    others         so too, but after TRIES of them without a newer checkpoint it has failed. KILL
                   is one of them: what ends a trainer alone is nearly always its own memory"""

import configparser
import ctypes
import math
import os
import select
import signal
import statistics
import subprocess
import time
from pathlib import Path

import h5py

from sweeplib import results, slurm
from sweeplib.spec import SweepError, cores, overrides, shown
from sweeplib.study import Locks, TRIES, ended, remaining

GRACE = 60  # seconds for a trainer to write its checkpoint and end
LOOK = 0.5  # seconds from one look at a running trial to the next
LONGEST = 60  # seconds of a pause after a failure
WRONG = 2  # the trainer's exit code for a config that it doesn't take
SCRIPTS = Path(__file__).resolve().parents[1]


def trainer():
    path = Path(os.environ.get("TRAINER", SCRIPTS.parent / "trainer")).absolute()
    if not os.access(path, os.X_OK):
        raise SweepError(f"there is no trainer at {path}: run make, or set TRAINER")
    return path


def config_value(path, section, key, default):
    """A key of a run's config as its file has it, or the default."""
    ini = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";", "#"))
    ini.read(path)
    return ini.get(section, key, fallback=default).strip()


def read_metrics(folder, metric):
    """(status, {epoch: value}) of a run; status "" where there is no metrics file yet."""
    try:
        with h5py.File(folder / "metrics.h5", "r") as file:
            rows = file["epochs"][:]
            return file.attrs["status"], dict(zip(rows["epoch"].tolist(),
                                                  rows[metric].tolist()))
    except (OSError, KeyError, ValueError):
        return "", {}


def best_of(curve, goal):
    """(value, epoch) of the best epoch; (None, None) where no value is a number."""
    found = [(value, epoch) for epoch, value in curve.items() if math.isfinite(value)]
    if not found:
        return None, None
    value = max(found)[0] if goal == "max" else min(found)[0]
    return value, min(epoch for v, epoch in found if v == value)


def away(code):
    """Whether an exit code speaks of the place: data (3) or files (4) away or full, no program
    (126, 127), stopped (75) or told to end by a signal, also as shells and mpirun say it."""
    signals = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    return code in (3, 4, 75, 126, 127) or -code in signals or code - 128 in signals


def arguments(spec, config, name, output, point):
    """The trainer's command line for one point; the bits of a run follow from it."""
    return [str(config), *overrides(point), f"run.name={name}", f"run.output={output}",
            f"checkpoint.best={spec.metric}", "train.max_steps=0", "train.max_time=0"]


def trial_arguments(spec, folder, point):
    """The same for a trial in its folder, or a run of it in seed-<k> there, which goes on from there
    whatever the config wants of a run; a pruner wants to see epochs soon."""
    seed = folder.name.removeprefix("seed-") if spec.seeds > 1 else ""
    trial = folder.parent if seed else folder
    name = f"{spec.name}-{trial.name.split('-')[0]}{f'-{seed}' if seed else ''}"
    soon = [] if spec.pruner == "none" else [f"metrics.flush={LOOK}"]
    return [*arguments(spec, trial.parent / "config.ini", name, folder, point), *soon,
            *([f"run.seed={seed}"] if seed else []),
            "run.resume=auto", f"parallel.threads={spec.threads}"]


def mean_curve(folders, metric):
    """{epoch: mean} over the runs of a trial, of the epochs that all have which have begun."""
    curves = [curve for folder in folders if (curve := read_metrics(folder, metric)[1])]
    return {epoch: statistics.fmean(curve[epoch] for curve in curves)
            for epoch in (curves[0] if curves else {}) if all(epoch in curve for curve in curves)}


def score_of(folders, spec):
    """(value, epoch, what is to be said of the seeds) of a trial whose runs have ended: the mean of
    their best epochs."""
    found = [best_of(read_metrics(folder, spec.metric)[1], spec.goal) for folder in folders]
    found = [(value, epoch) for value, epoch in found if value is not None]
    if not found:
        return None, None, ""
    values = [value for value, _ in found]
    said = "" if len(folders) == 1 else f"{len(values)} seeds: {' '.join(f'{v:.6g}' for v in values)}"
    return statistics.fmean(values), round(statistics.fmean(epoch for _, epoch in found)), said


def last_words(folder, start=0):
    """The trainer's last complaint in a trial's log, from a byte on."""
    try:
        lines = (folder / "log.txt").read_bytes()[start:].decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line.startswith("trainer:")), "")


class Waiter:
    """Sleeps until a child ends or a signal comes."""

    def __init__(self):
        self.end, start = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(start, warn_on_full_buffer=False)

    def wait(self, seconds):
        if select.select([self.end], [], [], seconds)[0]:
            os.read(self.end, 4096)


class LocalLauncher:
    """Launches on this machine: slot n has the n-th share of the cores."""

    pause = 0.5  # seconds after a first failure; doubled with each further one

    def __init__(self, spec):
        self.spec, self.share, mine = spec, spec.ranks * spec.threads, cores()
        self.slots = spec.parallel or max(1, len(mine) // self.share)
        if self.share * self.slots > len(mine):
            raise SweepError(
                f"{spec.path}: ranks x threads x parallel = {spec.ranks} x {spec.threads} x "
                f"{self.slots} needs {self.share * self.slots} cores, this machine has "
                f"{len(mine)} for us: make one of them smaller")
        self.cores = mine

    def command(self):
        run = [str(SCRIPTS / "run.sh"), "-n", str(self.spec.ranks)]
        return run if self.spec.ranks > 1 else [str(trainer())]

    def pin(self, slot):
        os.sched_setaffinity(0, self.cores[slot * self.share:(slot + 1) * self.share])


class SlurmLauncher:
    """Launches in this job. Its steps may fail for a while when the controller restarts, and
    just before the job itself is told to end: hence the longer pause."""

    slots, pause = 1, 2

    def __init__(self, spec):
        self.prefix = slurm.step(spec)

    def command(self):
        return [*self.prefix, str(trainer())]

    def pin(self, slot):
        """Slurm has given the job its cores."""


class Running:
    """A trial with its trainer."""

    def __init__(self, trial, slot, folder, command, pin):
        self.trial, self.slot, self.folder = trial, slot, folder
        self.began, self.told, self.order, self.seen = time.monotonic(), None, None, None
        self.retry_at = None  # when to try again, after a failure
        folder.mkdir(parents=True, exist_ok=True)
        libc = ctypes.CDLL(None)
        parent = os.getpid()

        def prepare():
            libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
            if os.getppid() != parent:
                os._exit(1)  # the parent died before that
            pin(slot)

        with open(folder / "log.txt", "ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=prepare,
                env={**os.environ, "TRAINER": str(trainer())})

    def seconds(self):
        return time.monotonic() - self.began

    def tell(self, order):
        """Has it stop after a checkpoint; order: "stop" or "prune"."""
        if self.order is None:
            self.order, self.told = order, time.monotonic()
            self.send(signal.SIGUSR1)

    def send(self, number):
        try:
            if number == signal.SIGKILL:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)
        except ProcessLookupError:
            pass

    def has_ended(self):
        if self.told and time.monotonic() - self.told > GRACE:
            self.send(signal.SIGKILL)
        return self.process.poll() is not None

    def curve(self, metric):
        """Epochs of a metrics file that has changed, else {}."""
        try:
            now = os.stat(self.folder / "metrics.h5")
        except OSError:
            return {}
        if self.seen == (now.st_ino, now.st_mtime_ns):
            return {}
        self.seen = now.st_ino, now.st_mtime_ns
        return read_metrics(self.folder, metric)[1]


class Worker:
    def __init__(self, study, launcher):
        self.study, self.spec, self.launcher = study, study.spec, launcher
        self.running, self.signals, self.write_next = [], [], 0.0
        self.outage = None  # of the place: when it began, and how many faults since
        self.gave_up = ""  # why, where it stops without an order
        self.waiter = Waiter()
        self.until = time.monotonic() + (self.spec.max_time or math.inf)

    def run(self):
        """Works until all is done, or nothing is left for this worker, or it is told to stop.
        -> whether the sweep is complete."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1,
                       signal.SIGUSR2):
            signal.signal(number, lambda n, frame: self.signals.append(n))
        try:
            try:
                while self.turn():
                    pass
            finally:
                self.stop_all()
                results.write(self.study)
        except BrokenPipeError:  # nobody reads what we say
            raise
        except OSError as error:  # the study can't be written
            self.gave_up = f"{error.filename or self.study.folder}: {error.strerror}"
            return False
        return self.study.final(self.study.trials())

    def stopping(self):
        """Why, or ""."""
        if self.signals:
            return signal.Signals(self.signals[0]).name
        if self.gave_up:
            return self.gave_up
        if (self.study.folder / "stop").exists():
            return "sweep.py stop"
        return "max_time" if time.monotonic() > self.until else ""

    def turn(self):
        """One look at everything; False: there is nothing more to do."""
        if self.stopping():
            return False
        while len(self.running) < self.launcher.slots and (trial := self.study.claim()):
            self.start(trial)
        if not self.running:
            return self.idle()
        self.waiter.wait(LOOK)
        for running in list(self.running):
            if running.has_ended():
                self.end(running)
            elif running.folder in self.study.runs_of(running.trial)[:1] and \
                    self.study.prunes(running.trial, running.curve(self.spec.metric)):
                running.tell("prune")
        return True

    def idle(self):
        """With nothing to take: waits for trials whose worker may be dead; and one worker, the
        one with the guard's lock, stays in any case while others work."""
        trials = self.study.trials()
        if self.study.final(trials):
            return False
        doubt = any(not ended(t) and not self.study.is_held(t) for t in trials)
        if not doubt and not self.study.locks.take(Locks.GUARD):
            return False
        self.waiter.wait(4 * LOOK)
        self.study.locks.free(Locks.GUARD)
        return True

    def start(self, trial):
        folder, status = self.next_run(trial)
        if self.study.failures(trial) >= TRIES:
            message = f"no progress in {TRIES} attempts: {last_words(folder)}"
            self.finish(trial, 0, "failed", message)
            return
        if status in ("complete", "diverged"):
            self.finish(trial, 0, status)  # its worker died before it could say so
            return
        slot = min(set(range(self.launcher.slots)) - {r.slot for r in self.running})
        command = self.launcher.command() + trial_arguments(
            self.spec, folder, trial.params)
        self.running.append(Running(trial, slot, folder, command, self.launcher.pin))
        work = trial.user_attrs["work"]
        new = len(work["tries"]) == 1 and not work["seconds"]
        step = work["tries"][-1].removesuffix(".h5")
        self.say(trial, "started" if new else f"goes on from {step}" if step else "starts again",
                 shown(trial.params))

    def next_run(self, trial):
        """(folder, status) of the first of its runs that isn't complete, else of the last one."""
        for folder in self.study.runs_of(trial):
            status, _ = read_metrics(folder, self.spec.metric)
            if status != "complete":
                break
        return folder, status

    def end(self, running):
        """A trainer has ended: what it left decides what became of the trial."""
        trial, seconds, code = running.trial, running.seconds(), running.process.returncode
        status, _ = read_metrics(running.folder, self.spec.metric)
        why = f"exit code {code}: {last_words(running.folder, running.log_start)}".rstrip(": ")
        if self.study.progress(trial) != trial.user_attrs["work"]["tries"][-1]:
            self.outage = None
        if status == "complete" and self.next_run(trial)[1] != "complete":
            self.study.put_back(trial, seconds, False)  # for its next seed
        elif status in ("complete", "diverged"):
            self.finish(trial, seconds, status)
        elif running.order == "prune":
            self.finish(trial, seconds, "pruned")
        elif running.order is None and code == WRONG:
            self.finish(trial, seconds, "failed", why)
        elif running.order is None and self.backs_off(running, why):
            return
        else:
            counts = running.order is None and not away(code)
            explained = running.order and running.retry_at is None
            self.study.put_back(trial, seconds, counts, "" if explained else why)
        self.running.remove(running)

    def backs_off(self, running, why):
        """After a failure nobody asked for the trial keeps its slot for a while. An order to stop
        that comes meanwhile explains the failure, which is then not held against the trial."""
        if running.retry_at is None:
            trial, now = running.trial, time.monotonic()
            slurm.wait_for_controller()
            failures, patience = self.study.failures(trial), math.inf
            if away(running.process.returncode):
                began, failures = self.outage or (now, 0)
                self.outage = began, failures + 1
                patience = began + self.spec.wait - now
            pause = min(self.launcher.pause * 2 ** min(failures, 10), LONGEST)
            if pause > patience:
                self.gave_up = f"nothing went on for {self.spec.wait:g} s ([sweep] wait): {why}"
                return False
            self.say(trial, f"is interrupted and waits {pause:g} s", why)
            running.retry_at = now + pause
        return time.monotonic() < running.retry_at

    def finish(self, trial, seconds, status, message=""):
        self.outage = None
        value, epoch, seeds = score_of(self.study.runs_of(trial), self.spec)
        message = message or seeds
        if status == "complete" and value is None:
            status, message = "failed", f"{self.spec.metric} is not a number"
        if status in ("diverged", "failed"):
            value = None
        self.study.finish(trial, seconds, status=status, value=value, epoch=epoch,
                          message=message)
        shown = f"{self.spec.metric} {value:.6g} at epoch {epoch}" if value is not None else message
        self.say(trial, "done" if status == "complete" else status, shown)
        if time.monotonic() > self.write_next:
            began = time.monotonic()
            results.write(self.study)
            self.write_next = time.monotonic() + 20 * (time.monotonic() - began)

    def stop_all(self):
        for running in self.running:
            running.tell("stop")
        for running in self.running:
            self.say(running.trial, "stops after a checkpoint", self.stopping())
        while self.running:
            if self.signals.count(signal.SIGINT) > 1:
                for running in self.running:
                    running.send(signal.SIGKILL)
            self.waiter.wait(LOOK)
            for running in list(self.running):
                if running.has_ended():
                    self.end(running)

    def say(self, trial, what, more):
        trials = self.study.trials()
        done = sum(map(ended, trials))
        best = self.study.best(trials)
        left = remaining(trials, self.spec, self.launcher.slots)
        print(f"{time.strftime('%H:%M:%S')} trial {trial.number} {what}{': ' * bool(more)}{more}"
              f"  [{done}/{self.spec.trials} done"
              + (f", best {best.value:.6g} (trial {best.number})" if best else "")
              + (f", {results.clock(left)} left]" if left is not None else "]"), flush=True)
