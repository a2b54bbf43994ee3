"""Memory, files, maps and threads that one rank of two is refused (refuse.c): the job ends with one
message and one exit code, nobody waits, and the run can go on.

A few calls of each kind in the quick suite, some more in the slow one, spread over the launch; with
REFUSE_ALL=1 the slow suite refuses every one, which takes more than half an hour."""

import itertools
import os
import shutil
import struct
import subprocess

import h5py
import pytest

from helpers import TRAINER, Lab, environment, make_set, write_idx

HANGS = 60  # seconds; parallel.timeout would be 300
COMMANDS = {"train": ["run.ini"], "resume": ["run.ini"], "resume edited": ["run.ini"],
            "check": ["check", "run.ini"],
            "eval": ["eval", "runs/whole/checkpoints/last.h5"],
            "predict": ["predict", "runs/whole/checkpoints/last.h5", "--index", "0,1", "--show",
                        "--output", "out.csv"]}
RUNS = ["train", "resume"]


class Refusing(Lab):
    """Where trainers run whose calls are counted, and one refused."""

    def __init__(self, folder, shim):
        data = write_idx(folder / "data", make_set(96, 1, 8), make_set(32, 2, 8))
        super().__init__(folder, data)
        self.shim, self.number = shim, itertools.count()
        self.config(model__layers="dense:64 relu dense:8 relu", data__validation=16,
                    train__batch_size=32, optimizer__momentum=0.9, parallel__overlap="on")
        self.run("run.ini", "run.name=whole", ranks=2).expect(0)
        self.run("run.ini", "run.name=begun", "train.max_steps=2", ranks=2).expect(75)
        shutil.copytree(self.out("begun").path, self.out("begun edited").path, symlinks=True)
        with h5py.File(self.out("begun edited").last, "r+") as file:
            file.attrs["note"] = "its digest no longer fits"

    def refuse(self, command, what, rank, call, apart=False):
        """One launch: its result, the run's folder and how many calls there were."""
        name = f"run{next(self.number)}"
        count = self.dir / f"{name}.count"
        count.write_bytes(bytes(8))
        override = [] if command in ("eval", "predict") else [f"run.name={name}"]
        if command.startswith("resume"):
            begun = self.out(command.replace("resume", "begun"))
            shutil.copytree(begun.path, self.out(name).path, symlinks=True)
        result = self.run(*COMMANDS[command], *override, timeout=HANGS,
                          ranks=None if rank == "none" else 2,
                          env={"LD_PRELOAD": str(self.shim), "REFUSE_WHAT": what,
                               "REFUSE_RANK": str(rank), "REFUSE_CALL": str(call),
                               "REFUSE_COUNT": str(count),
                               "REFUSE_SHARED": "1" if apart else None})
        return result, self.out(name), struct.unpack("q", count.read_bytes())[0]

    def whole(self, run):
        """Every file of the run can be read, and the next start ends in the bits of a whole run."""
        strange = {path.name for path in self.dir.iterdir() if path.suffix != ".count"}
        assert strange <= {"data", "runs", "run.ini", "out.csv"}
        for path in run.path.rglob("*.h5"):
            if path.exists():  # not a link that was about to be moved
                h5py.File(path, "r").close()
        result = self.run("run.ini", f"run.name={run.path.name}", ranks=2)
        # Open MPI's own end crashes now and then, when all is on the disk.
        assert result.code == 0 or "\ndone " in result.out, result
        assert run.bits() == self.out("whole").bits()


@pytest.fixture(scope="module")
def refusing(tmp_path_factory, refuse):
    lab = Refusing(tmp_path_factory.mktemp("refused"), refuse)
    yield lab
    lab.close()


def apart_by(calls, tries):
    """How far the refused calls are apart."""
    return 1 if os.environ.get("REFUSE_ALL") else max(calls // tries, 1)


def refusals(command, apart=False):
    """A test that refuses either rank some calls of its launch, and in the slow suite more of them.
    `apart`: the ranks share no memory, as those of two hosts: private copies, messages, a
    communication thread."""
    @pytest.mark.parametrize("quick, what, rank", [
        pytest.param(quick, what, rank, marks=[] if quick else [pytest.mark.slow])
        for quick in (True, False) for what in ("memory", "system", "library") for rank in (0, 1)
        if not (quick and what == "library")])
    def test(refusing, quick, what, rank):
        lab = refusing
        result, _, calls = lab.refuse(command, what, rank, 0, apart)
        result.expect(0)
        # Rank 0 opens the files of HDF5, and the checkpoints' digests; IDX files need no library.
        assert calls > 0 or what == "library" and (rank == 1 or command == "check")
        for call in range(1, calls + 1, apart_by(calls, 2 if quick else 12)):
            result, run, made = lab.refuse(command, what, rank, call, apart)
            where = f"call {call} of {calls}\n{result}"
            if made < call:  # how often metrics.h5 is written depends on time: the last may be missing
                assert result.code == 0 and call > calls * 0.9, where
                continue
            if what == "memory" and not (result.code == 0 and command in RUNS):  # metrics.h5 comes later
                assert result.code == 1 and "memory" in result.err, where
            if what != "library":  # what a library does then is its own matter, but it doesn't hang
                assert result.code in (0, 1, 2, 3, 4), where  # a file's: what the file is for
                assert len(result.errors) == (result.code != 0), where
            if command in RUNS and run.path.exists():
                assert not [*run.path.rglob("*.damaged")], where
                lab.whole(run)
    return test


# A function each: workers take them side by side.
test_a_call_refused_in_training = refusals("train")
test_a_call_refused_in_training_without_shared_memory = refusals("train", apart=True)
test_a_call_refused_in_a_start_that_goes_on = refusals("resume")
test_a_call_refused_in_check = refusals("check")
test_a_call_refused_in_eval = refusals("eval")
test_a_call_refused_in_predict = refusals("predict")


def test_memory_refused_to_the_process_that_reads_a_file(refusing):
    """That is no damage of the file: not even one without a good digest is set aside."""
    result, _, calls = refusing.refuse("resume edited", "child", "none", 0)
    result.expect(0)
    assert calls > 0
    for call in range(1, calls + 1, apart_by(calls, 8)):
        result, run, _ = refusing.refuse("resume edited", "child", "none", call)
        result.fails(1, "memory")
        assert not [*run.path.rglob("*.damaged")], result


@pytest.mark.parametrize("command", ["eval", "train"])
def test_hosts_that_see_other_files_are_told(refusing, command):
    """Each rank in a folder of its own, without shared memory: two hosts, one with an old copy."""
    lab, names = refusing, []
    for n in (32, 33):
        here = lab.dir / f"host{n}"
        write_idx(here / "data", make_set(64 + n, 1, 8), make_set(n, 2, 8))
        trainer = [str(TRAINER), *([command] if command == "eval" else []),
                   str(lab.dir / ("runs/whole/checkpoints/last.h5" if command == "eval" else "run.ini")),
                   "data.dir=data"]
        names += [":"] * bool(names) + ["-np", "1", "-wdir", str(here), *trainer]
    env = environment(False, LD_PRELOAD=str(lab.shim), REFUSE_SHARED="1")
    done = subprocess.run(["mpirun", "--quiet", *names], cwd=lab.dir, env=env, timeout=HANGS,
                          capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if "warning:" not in line]
    assert done.returncode == 3 and len(lines) == 1 and "all hosts must see" in lines[0], done
