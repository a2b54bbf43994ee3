"""The study of a sweep: which trials there are, who works on them, what came of them.

All of it is a journal in the sweep's folder, written by Optuna's JournalStorage, and one file of
locks. Any number of processes on any number of machines may work on one study: the journal says
what happened, the lock on a trial says whether its worker lives.

A trial in the journal has Optuna's state and two attributes, each written as a whole:
    work    owner    who is at it: host, pid, started (job, restarts in Slurm); None: put back
            tries    the checkpoint each attempt began from, without those ended from outside
            seconds  spent by earlier attempts that could say so
            message  why it was put back, where nobody ordered it
    result  status complete|pruned|diverged|failed, value, epoch, seconds, message; written
            before the state: a worker that dies between the two is followed by one that
            repeats it
A failed trial keeps Optuna's state RUNNING, since a later start of the sweep tries it again, and
Optuna's final states are for ever."""

import contextlib
import datetime
import fcntl
import hashlib
import itertools
import math
import os
import random
import socket
import struct
import warnings
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

try:
    from optuna.storages.journal import JournalFileBackend
except ImportError:  # before Optuna 4
    from optuna.storages import JournalFileStorage as JournalFileBackend

from sweeplib import slurm
from sweeplib.spec import SweepError, digest

warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.WARNING)

TRIES = 5  # attempts in a row without a newer checkpoint, after which a trial has failed
REDRAWS = 100
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED,
          "diverged": TrialState.PRUNED}  # so that the sampler learns to keep away


def failed(trial):
    return (trial.user_attrs.get("result") or {}).get("status") == "failed"


def ended(trial):
    """Whether nothing is left to do for it, until a later start tries it again if it failed."""
    return trial.state.is_finished() or failed(trial)


class Locks:
    """Locks on single bytes of one file, freed by the kernel when their process ends.

    They work between machines on NFS. They belong to the process, and closing the file anywhere
    in it frees them all: so it is opened once a process, and never closed."""

    JOURNAL, ENGINE, GUARD, RESULTS, TRIAL = 0, 1, 2, 3, 64  # TRIAL + n: trial n

    def __init__(self, path):
        self.path = path
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def take(self, byte, wait=False):
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, byte)
            return True
        except (BlockingIOError, PermissionError):
            return False
        except OSError as error:
            raise SweepError(f"{self.path}: can't be locked: {error.strerror}: put the sweep on "
                             "a file system with locks (fcntl)") from None

    def free(self, byte):
        fcntl.lockf(self.file, fcntl.LOCK_UN, 1, byte)

    def taken(self, byte):
        """Whether another process holds it."""
        ask = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        answer = fcntl.fcntl(self.file, fcntl.F_GETLK, ask)
        return struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK


class JournalLock:
    """Optuna's lock object: held by one process at a time, by it as often as it likes. Who gets
    it cuts off the torn last line of a writer that was killed."""

    def __init__(self, locks, journal):
        self.locks, self.journal, self.depth = locks, journal, 0

    def acquire(self):
        if self.depth == 0:
            self.locks.take(Locks.JOURNAL, wait=True)
            try:
                self.repair()
            except BaseException:
                self.locks.free(Locks.JOURNAL)
                raise
        self.depth += 1
        return True

    def release(self):
        self.depth -= 1
        if self.depth == 0:
            self.locks.free(Locks.JOURNAL)

    def repair(self):
        with open(self.journal, "r+b") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)

    __enter__ = acquire

    def __exit__(self, *error):
        self.release()


class Journal(JournalFileBackend):
    """Reads under the lock too: a reader must not see, and count, half of a line."""

    def __init__(self, path, lock):
        super().__init__(path, lock)
        self.lock = lock

    def read_logs(self, log_number_from):
        with self.lock:
            return list(super().read_logs(log_number_from))


def started(pid):
    """When the process started, in the kernel's ticks; None where there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]


def myself():
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "started": started(pid), **slurm.my_job()}


def has_ended(owner):
    """Whether the worker is known to be gone; its lock is looked at elsewhere."""
    if "job" in owner and owner["job"] != slurm.my_id():
        return slurm.has_ended(owner)
    there = owner["host"] == socket.gethostname()
    return not there or started(owner["pid"]) != owner["started"]


def seed_of(*parts):
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")


class Study:
    """The study in a sweep's folder, made there if it is new."""

    def __init__(self, folder, spec):
        self.folder, self.spec, self.mine = Path(folder), spec, set()
        self.locks = Locks(self.folder / "locks")
        journal = self.folder / "study.journal"
        journal.touch()
        self.lock = JournalLock(self.locks, journal)
        with self.lock:
            self.storage = JournalStorage(Journal(str(journal), self.lock))
            pruners = {"none": optuna.pruners.NopPruner, "median": optuna.pruners.MedianPruner,
                       "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(1)}
            if not self.storage.get_all_studies():
                optuna.create_study(storage=self.storage, study_name=spec.name,
                                    direction=self.direction())
            name = self.storage.get_all_studies()[0].study_name  # the folder may be renamed
            self.study = optuna.load_study(study_name=name, storage=self.storage,
                                           pruner=pruners[spec.pruner]())
        self.id = self.storage.get_study_id_from_name(name)

    def direction(self):
        return {"min": "minimize", "max": "maximize"}[self.spec.goal]

    def trials(self):
        return self.storage.get_all_trials(self.id, deepcopy=False)

    def final(self, trials):
        """Whether nothing is left to do."""
        return len(trials) >= self.spec.trials and all(map(ended, trials))

    def folder_of(self, trial):
        return self.folder / f"{trial.number:04d}-{digest(trial.params)}"

    def runs_of(self, trial):
        """The folders of its runs: its own, or one for each seed."""
        folder = self.folder_of(trial)
        return [folder] if self.spec.seeds == 1 else \
            [folder / f"seed-{k}" for k in range(1, self.spec.seeds + 1)]

    def best(self, trials):
        found = [t for t in trials if t.state == TrialState.COMPLETE]
        pick = max if self.spec.goal == "max" else min
        return pick(found, key=lambda t: t.value) if found else None

    def set_work(self, trial, owner, tries, seconds, message=""):
        work = {"owner": owner, "tries": tries, "seconds": seconds, "message": message}
        self.storage.set_trial_user_attr(trial._trial_id, "work", work)

    def set_attributes(self, **attributes):
        """What is to be known of the sweep: engine (local or slurm), jobs."""
        for key, value in attributes.items():
            self.study.set_user_attr(key, value)

    def attribute(self, key, default=None):
        return self.study.user_attrs.get(key, default)

    # ---- points ----

    def seen(self):
        """The study as the sampler is to see it: diverged trials are the worst of all, whatever
        they scored before."""
        seen = optuna.create_study(direction=self.direction())
        for trial in self.trials():
            bad = (trial.user_attrs.get("result") or {}).get("status") == "diverged"
            seen.add_trial(optuna.trial.create_trial(
                state=trial.state, value=trial.value, params=trial.params,
                distributions=trial.distributions,
                intermediate_values={} if bad else trial.intermediate_values))
        return seen

    def draw(self, number, seed):
        if self.spec.method == "random":
            study, sampler = self.study, optuna.samplers.RandomSampler(seed=seed)
        else:
            study, sampler = self.seen(), optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        blank = FrozenTrial(number=number, trial_id=-1, state=TrialState.RUNNING, value=None,
                            datetime_start=None, datetime_complete=None, params={},
                            distributions={}, user_attrs={}, system_attrs={},
                            intermediate_values={})
        point = {}
        for key, dimension in self.spec.space.items():
            if dimension.active(point):
                point[key] = dimension.tidy(sampler.sample_independent(
                    study, blank, key, dimension.distribution()))
        return point

    def point(self, number, earlier):
        """The point of a trial. It follows from the spec, the number and the points before it;
        for tpe also from the results there are."""
        if self.spec.method == "grid":
            return self.spec.grid_point(number)
        if number < len(self.spec.points):
            return self.spec.points[number]
        used = {digest(point) for point in earlier}
        for redraw in range(REDRAWS):
            point = self.draw(number, seed_of(self.spec.seed, number, redraw))
            if digest(point) not in used:
                return point
        # Only a small finite space is so full; check_trials saw that it is large enough.
        points = map(self.spec.grid_point, range(self.spec.size))
        unused = [p for p in points if digest(p) not in used]
        return random.Random(seed_of(self.spec.seed, number)).choice(unused)

    # ---- taking, putting back, ending ----

    def claim(self):
        """Takes up a trial whose worker is dead, else makes the next one; None: there is neither.
        The trial's lock is then ours. A trial that went wrong comes after the new ones, which it
        would keep waiting for as long as it does; not where all go one after the other."""
        trials = self.trials()
        dead = [t.number for t in trials if self.is_dead(t)]
        with self.lock:
            now = self.trials()
            later = len(now) < self.spec.trials and self.spec.parallel != 1
            for number in dead:
                trial = now[number]
                if later and trial.user_attrs["work"].get("message"):
                    continue
                if not ended(trial) and self.same_owner(trial, trials[number]) \
                        and self.locks.take(Locks.TRIAL + number):
                    work = trial.user_attrs["work"]
                    self.set_work(trial, myself(), [*work["tries"], self.progress(trial)],
                                  work["seconds"])
                    return self.claimed(trial)
            if len(now) < self.spec.trials:
                return self.create(len(now), now)
        return None

    def create(self, number, earlier):
        params = self.point(number, [t.params for t in earlier])
        if not self.locks.take(Locks.TRIAL + number):
            return None  # its maker was killed before the journal knew of it, and is still ending
        template = FrozenTrial(
            number=-1, trial_id=-1, state=TrialState.RUNNING, value=None,
            datetime_start=datetime.datetime.now(), datetime_complete=None, params=params,
            distributions={k: self.spec.space[k].distribution() for k in params},
            user_attrs={"work": {"owner": myself(), "tries": [""], "seconds": 0.0}},
            system_attrs={}, intermediate_values={})
        # One line of the journal: a trial is there with all its parameters, or not at all.
        self.storage.create_new_trial(self.id, template_trial=template)
        return self.claimed(self.trials()[number])

    def claimed(self, trial):
        self.mine.add(trial.number)
        return self.storage.get_trial(trial._trial_id)

    @staticmethod
    def same_owner(a, b):
        return a.user_attrs["work"] == b.user_attrs["work"]

    def is_held(self, trial):
        """Whether a living process works on it."""
        return trial.number in self.mine or self.locks.taken(Locks.TRIAL + trial.number)

    def is_dead(self, trial):
        if ended(trial) or self.is_held(trial):
            return False
        owner = trial.user_attrs["work"]["owner"]
        return owner is None or has_ended(owner)

    def progress(self, trial):
        """The newest checkpoint's name, "" before the first; of several runs the last one's that has
        begun."""
        for folder in reversed(self.runs_of(trial)):
            with contextlib.suppress(OSError):
                return os.readlink(folder / "checkpoints" / "last.h5")
        return ""

    def failures(self, trial):
        """How many attempts before the latest began from the same checkpoint as it did."""
        tries = trial.user_attrs["work"]["tries"]
        return len(list(itertools.takewhile(lambda step: step == tries[-1], tries[::-1]))) - 1

    def put_back(self, trial, seconds, counts, message=""):
        """For another worker, or this one, to go on with; an attempt that ended from outside
        doesn't count."""
        work = trial.user_attrs["work"]
        tries = work["tries"] if counts else work["tries"][:-1]
        self.set_work(trial, None, tries, work["seconds"] + seconds, message)
        self.release(trial)

    def finish(self, trial, seconds, **result):
        result["seconds"] = seconds + trial.user_attrs["work"]["seconds"]
        self.storage.set_trial_user_attr(trial._trial_id, "result", result)
        if not failed(self.storage.get_trial(trial._trial_id)):
            values = None if result["value"] is None else [result["value"]]
            self.storage.set_trial_state_values(trial._trial_id, STATES[result["status"]], values)
        self.release(trial)

    def retry_failed(self):
        """Puts back the trials that have failed, their tries forgotten."""
        with self.lock:
            for trial in self.trials():
                if failed(trial) and not trial.state.is_finished():
                    seconds = trial.user_attrs["result"]["seconds"]
                    self.set_work(trial, None, [], seconds)
                    self.storage.set_trial_user_attr(trial._trial_id, "result", None)

    def release(self, trial):
        self.mine.discard(trial.number)
        self.locks.free(Locks.TRIAL + trial.number)

    # ---- pruning ----

    def prunes(self, trial, curve):
        """Reports epochs {epoch: value} that are new and have a score; whether the trial is to end
        for them."""
        if self.spec.pruner == "none" or not curve:
            return False
        trial = self.storage.get_trial(trial._trial_id)
        for epoch, value in sorted(curve.items()):
            if math.isfinite(value) and epoch not in trial.intermediate_values:
                self.storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
                trial = self.storage.get_trial(trial._trial_id)
                if self.study.pruner.prune(self.study, trial):
                    return True
        return False


def remaining(trials, spec, slots=1):
    """Seconds until all are done, at the pace so far; None while there is none."""
    done = [t for t in trials if ended(t)]
    if not done:
        return None
    pace = sum(t.user_attrs["result"]["seconds"] for t in done) / len(done)
    return (spec.trials - len(done)) * pace / max(slots, len(trials) - len(done))
