"""How the tests start the trainer, make data and configs, and read what a run leaves.

Nothing here knows the source: the tests see argv, exit codes, output and files."""

import functools
import gzip
import hashlib
import os
import re
import signal
import struct
import subprocess
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np

REPO = Path(__file__).resolve().parents[2]
TRAINER = Path(os.environ.get("TRAINER", REPO / "trainer")).absolute()



def mpi_env():
    """What scripts/mpi-env.sh tells Open MPI where there are more ranks than cores."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OMPI_")}
    out = subprocess.run(["bash", "-c", '. "$0" && mpi_env 1000000 && env', REPO / "scripts/mpi-env.sh"],
                         env=clean, text=True, check=True, stdout=subprocess.PIPE).stdout
    return dict(line.split("=", 1) for line in out.splitlines() if line.startswith("OMPI_"))


MPI_ENV = mpi_env()
# Only for the tests' time: under mpirun a start takes 0.1 s instead of 0.3 without a search for
# networks. (Without mpirun the trainer looks for none.)
QUICK_ENV = {"OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,vader"}

NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
TRAIN, TEST, SIDE, CLASSES = 603, 201, 16, 10  # the small data set: no count is round
FEATURES = SIDE * SIDE

LOSS_LINE = re.compile(r"^loss: ( *\d+\.\d{6})  \[([ \d]{5,})/([ \d]{5,})\]$")
SCORE_LINE = re.compile(
    r"^\w+: loss (\d+\.\d{4})  accuracy (\d+\.\d{2})%  \((\d+) samples\)$")

STEP_COLUMNS = "step epoch samples loss lr grad_norm seconds comm_seconds".split()
EPOCH_COLUMNS = ("epoch step train_loss train_accuracy val_loss val_accuracy test_loss "
                 "test_accuracy seconds samples_per_second").split()


# ---- processes ----

def environment(plain, **extra):
    """The caller's environment, Open MPI's switches, one thread; None removes one."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
    env.update(MPI_ENV)
    if not plain:
        env.update(QUICK_ENV)
    env["OMP_NUM_THREADS"] = "1"
    env["OMP_WAIT_POLICY"] = "passive"  # ranks x threads share few cores here
    env.update(extra)
    return {name: value for name, value in env.items() if value is not None}


def build_shim(folder, source):
    """What is preloaded into a trainer: a C file of tests/."""
    shim = Path(folder) / f"{Path(source).stem}.so"
    subprocess.run([os.environ.get("CC", "gcc"), "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-shared",
                    "-fPIC", "-o", shim, REPO / "tests" / source, "-ldl", "-lpthread"], check=True)
    return shim


class Result:
    """What one launch left: exit code, stdout, stderr, seconds."""

    def __init__(self, command, code, out, err, seconds):
        self.command, self.code, self.out, self.err = command, code, out, err
        self.seconds = seconds

    def __str__(self):
        def tail(text):
            lines = text.splitlines()
            return "\n    ".join(["..."] * (len(lines) > 25) + lines[-25:])
        return (f"command: {' '.join(self.command)}\n  exit code {self.code} after "
                f"{self.seconds:.1f} s\n  stdout:\n    {tail(self.out)}\n  stderr:\n    "
                f"{tail(self.err)}")

    def expect(self, code):
        assert self.code == code, f"exit code {self.code}, expected {code}\n{self}"
        return self

    @property
    def errors(self):
        """stderr's lines that are neither blank nor a warning or note."""
        return [line for line in self.err.splitlines()
                if line.strip() and not re.match(r"(trainer: )?(warning|note):", line)]

    def fails(self, code, *mentions):
        """Asserts the exit code and one error line, which mentions all of `mentions`."""
        self.expect(code)
        assert len(self.errors) == 1, f"expected exactly one error line on stderr\n{self}"
        for word in mentions:
            assert word.lower() in self.errors[0].lower(), \
                f"the error does not mention {word!r}\n{self}"
        return self

    def losses(self):
        """The log lines: (loss as printed, samples so far, samples in the epoch)."""
        found = []
        for line in self.out.splitlines():
            if line.startswith("loss:"):
                match = LOSS_LINE.match(line)
                assert match, f"not `loss: %>7f  [%5d/%5d]`: {line!r}\n{self}"
                assert len(match[1]) >= 7, f"loss narrower than 7: {line!r}"
                for width in (match[2], match[3]):
                    assert width == f"{int(width):5d}", f"not %5d: {line!r}"
                found.append((match[1], int(match[2]), int(match[3])))
        return found

    def test_line(self, split="test"):
        """The numbers of `test: loss ...`: (loss, accuracy in percent, samples)."""
        lines = [SCORE_LINE.match(line) for line in self.out.splitlines()
                 if line.startswith(f"{split}:")]
        assert len(lines) == 1 and lines[0], f"expected one `{split}: loss ...` line\n{self}"
        return float(lines[0][1]), float(lines[0][2]), int(lines[0][3])


class Process:
    """A trainer that is running; always ended by `end`."""

    def __init__(self, args, cwd, ranks=None, env=None, quiet=True):
        command = [str(TRAINER), *map(str, args)]
        if ranks is not None:
            command = ["mpirun", *(["--quiet"] if quiet else []), "-np", str(ranks), *command]
        self.start(command, cwd, environment(ranks is None, **(env or {})))

    def start(self, command, cwd, env):
        self.command, self.began = command, time.monotonic()
        self.out = tempfile.TemporaryFile("w+", errors="replace")  # a pipe would fill up
        self.popen = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=self.out,
            stderr=subprocess.PIPE, text=True, errors="replace")

    @property
    def pid(self):
        return self.popen.pid

    def ranks(self):
        """The pids of the trainers: mpirun's children, or this process."""
        if self.command[0] != "mpirun":
            return [self.pid]
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, rest = stat.read_text().split("(", 1)[1].rsplit(")", 1)
            except OSError:
                continue  # ended meanwhile
            if int(rest.split()[1]) == self.pid and name == TRAINER.name[:15]:
                found.append(int(stat.parent.name))
        return sorted(found)

    def wait_for(self, condition, timeout=20):
        """Polls until condition() is true; fails when the process ends or time is up."""
        until = time.monotonic() + timeout
        while not condition():
            if self.popen.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"what was waited for did not come\n{self.end(1)}")
            time.sleep(0.02)

    def result(self, err):
        """What it said before it ended, and on stderr."""
        self.out.seek(0)
        return Result(self.command, self.popen.returncode, self.out.read(), err,
                      time.monotonic() - self.began)

    def kill(self, *others):
        """Kills it, and others with it, as a machine that goes down does."""
        for pid in (self.pid, *others):
            os.kill(pid, signal.SIGKILL)
        return self.end().expect(-9)

    def end(self, timeout=60):
        """Waits for the end; past the timeout the job is ended and the test fails."""
        late = False
        try:
            err = self.popen.communicate(timeout=timeout)[1]
        except subprocess.TimeoutExpired:
            late = True
            self.popen.terminate()
            try:
                err = self.popen.communicate(timeout=5)[1]
            except subprocess.TimeoutExpired:
                self.popen.kill()
                err = self.popen.communicate()[1]
        result = self.result(err)
        assert not late, f"no end within {timeout} s\n{result}"
        return result


def launch(*args, cwd, ranks=None, env=None, timeout=60, quiet=True):
    """Runs the trainer to its end, plain or under mpirun."""
    return Process(args, cwd, ranks, env, quiet).end(timeout)


def launch_all(jobs):
    """Runs several short launches side by side: most of their time is MPI's waiting.
    jobs: {name: (args, cwd)} -> {name: Result}."""
    with ThreadPoolExecutor(6) as pool:
        started = {name: pool.submit(launch, *args, cwd=cwd)
                   for name, (args, cwd) in jobs.items()}
    return {name: future.result() for name, future in started.items()}


# ---- data ----

def idx_bytes(array):
    """uint8 array -> the bytes of an IDX file."""
    array = np.ascontiguousarray(array, np.uint8)
    return (bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) +
            array.tobytes())


def make_set(n, seed, side=SIDE):
    """n learnable images of 10 classes: (uint8 [n, side, side], uint8 [n])."""
    templates = np.random.default_rng(99).normal(0, 1, (CLASSES, side, side))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)
    images = -20 + 40 * templates[labels] + 90 * rng.normal(0, 1, (n, side, side))
    return np.clip(images, 0, 255).astype(np.uint8), labels.astype(np.uint8)


def write_idx(folder, train=None, test=None, compress=False):
    """Writes the four standard files; a set is (images, labels) and may be left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, arrays in (("train", train), ("test", test)):
        for name, array in zip(NAMES[split], arrays or ()):
            if compress:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array), 1))
            else:
                (folder / name).write_bytes(idx_bytes(array))
    return folder


# ---- configs ----

def write_config(path, data, **overrides):
    """A small working config; overrides as section__key=value, None leaves a key out."""
    keys = {"data.dir": data, "model.layers": "dense:24 relu", "optimizer.lr": 0.1,
            "train.epochs": 2, "train.batch_size": 64}
    keys.update({name.replace("__", "."): value for name, value in overrides.items()})
    sections = {}
    for name, value in keys.items():
        section, key = name.split(".")
        if value is not None:
            sections.setdefault(section, []).append(f"{key} = {value}\n")
    path.write_text("".join(f"[{section}]\n{''.join(lines)}\n"
                            for section, lines in sections.items()))
    return path


class Lab:
    """A folder with a config in it: where one test runs trainers. Without data it is one
    from which the paths in configs/ work."""

    def __init__(self, folder, data=None):
        self.dir, self.data, self.jobs = Path(folder), Path(data or "none"), []
        if data is None:
            (self.dir / "configs").symlink_to(REPO / "configs")

    def config(self, name="run.ini", **overrides):
        data = overrides.pop("data", self.data)
        return write_config(self.dir / name, data, **overrides)

    def run(self, *args, **how):
        return launch(*args, cwd=self.dir, **how)

    def train(self, *args, code=0, ranks=None, **overrides):
        """Writes run.ini, runs it and expects its exit code."""
        self.config(**overrides)
        return self.run("run.ini", *args, ranks=ranks).expect(code)

    def start(self, *args, **how):
        self.jobs.append(Process(args, self.dir, **how))
        return self.jobs[-1]

    def close(self):
        """Ends what a failed test left running."""
        for job in self.jobs:
            if job.popen.poll() is None:
                job.popen.terminate()
                job.popen.communicate()

    def out(self, name="run"):
        return Run(self.dir / "runs" / name)


# ---- what a run leaves ----

class Run:
    """A run's folder: runs/<name>."""

    def __init__(self, path):
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.h5"
        self.last, self.best = self.checkpoints / "last.h5", self.checkpoints / "best.h5"

    def steps_kept(self):
        return sorted(p.name for p in self.checkpoints.glob("step-*.h5"))

    def table(self, name):
        with h5py.File(self.metrics, "r") as file:
            return file[name][:]

    def status(self):
        with h5py.File(self.metrics, "r") as file:
            return file.attrs["status"]

    def attr(self, group, name, checkpoint=None):
        with h5py.File(checkpoint or self.last, "r") as file:
            return file[group].attrs[name]

    def model(self, checkpoint=None):
        """The parameters of a checkpoint, by name."""
        with h5py.File(checkpoint or self.last, "r") as file:
            return {name: dataset[()] for name, dataset in file["model"].items()}

    def bits(self):
        """What must not depend on the layout: each dataset under /model and /optimizer of
        last.h5, and every column of the metrics that is not a time."""
        found = {}

        def visit(name, item):
            ours = name.startswith(("model/", "optimizer/"))
            if ours and isinstance(item, h5py.Dataset):
                data = item[()]
                found[name] = (str(data.dtype), data.shape, sha(data.tobytes()))
        with h5py.File(self.last, "r") as file:
            file.visititems(visit)
        for name in ("steps", "epochs"):
            table = self.table(name)
            for column in table.dtype.names:
                if not re.search("seconds$|_per_second$", column):
                    found[f"{name}.{column}"] = sha(table[column].tobytes())
        return found

    def files(self):
        """Every file's path and digest, symlinks by their target."""
        return {str(p.relative_to(self.path)): os.readlink(p) if p.is_symlink()
                else sha(p.read_bytes())
                for p in sorted(self.path.rglob("*"))
                if (p.is_file() or p.is_symlink()) and p.name != "run.lock"}


def reseal(path):
    """Makes a changed file's user block fit again, as only the trainer would."""
    data = path.read_bytes()
    text = re.sub(rb"length \d+", b"length %d" % len(data), data[:512].rstrip(b"\n"))
    block = re.sub(rb"crc32 .{8}", b"crc32 --------", text).ljust(512, b"\n")
    crc = b"crc32 %08x" % zlib.crc32(block + data[512:])
    path.write_bytes(block.replace(b"crc32 --------", crc) + data[512:])


def sha(data):
    return hashlib.sha256(data).hexdigest()[:16]


def assert_same_bits(got, expected, what):
    """Compares two Run.bits() and names what differs."""
    assert expected, "nothing to compare"
    differing = [name for name in sorted(set(got) | set(expected))
                 if got.get(name) != expected.get(name)]
    assert not differing, f"{what}: bits differ in {', '.join(differing)}"


def fraction(accuracy):
    """Accuracy as a fraction, whether the table holds a fraction or percent."""
    return accuracy / 100 if accuracy > 1 else accuracy


def running(pid):
    """Whether the process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@functools.cache
def kernel_sets():
    """The kernel sets that `trainer --version` names."""
    out = launch("--version", cwd="/tmp").expect(0).out
    return [name for name in ("avx512", "avx2", "portable") if name in out]

