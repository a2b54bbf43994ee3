"""The spec of a sweep: an INI file -> a checked Spec, and the space of its points.

A point is {key: value}, each value as it goes to the trainer's command line; a Spec whose `kept`
differs from another's asks for other trials."""

import configparser
import hashlib
import itertools
import math
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace


class SweepError(Exception):
    """What was wrong, where, what to do: one line for the user."""


HIGHER = re.compile("accuracy|r2")  # metrics of which more is better
METRICS = ("train_loss val_loss val_accuracy val_r2 val_mae "
           "test_loss test_accuracy test_r2 test_mae").split()
OURS = ("run.name", "run.output", "run.resume", "run.overwrite", "checkpoint.best",
        "parallel.threads", "train.max_steps", "train.max_time")
# May differ when a sweep goes on: no trial depends on them. (The config's text is compared.)
FREE = ("config", "parallel", "max_time")


@dataclass
class Dimension:
    """One key of the space: choice of texts; int, uniform or log between two numbers."""

    kind: str
    args: list

    def distribution(self):
        from optuna import distributions as d
        if self.kind == "choice":
            return d.CategoricalDistribution(self.args)
        if self.kind == "int":
            return d.IntDistribution(*self.args)
        return d.FloatDistribution(*self.args, log=self.kind == "log")

    def listed(self):
        """All values, or None where they can't be listed."""
        if self.kind == "choice":
            return self.args
        return range(self.args[0], self.args[1] + 1) if self.kind == "int" else None

    def tidy(self, value):
        """A sampled value, floats with six digits, still inside the range."""
        if self.kind in ("log", "uniform"):
            return min(max(float(f"{value:.6g}"), self.args[0]), self.args[1])
        return value


class Spec(SimpleNamespace):
    """path; the keys of [sweep]; space {key: Dimension}; slurm {key: value}; kept {what: text}:
    all that decides on the trials."""

    @property
    def size(self):
        """Points in the space; inf where a dimension is continuous."""
        lists = [d.listed() for d in self.space.values()]
        return math.inf if None in lists else math.prod(map(len, lists))

    def points(self):
        """All points of a finite space, the last key running fastest."""
        for values in itertools.product(*(d.listed() for d in self.space.values())):
            yield dict(zip(self.space, values))

    def grid_point(self, number):
        point = {}
        for key, dimension in reversed(self.space.items()):
            number, index = divmod(number, len(dimension.listed()))
            point[key] = dimension.listed()[index]
        return {key: point[key] for key in self.space}

    def edges(self):
        """Points that hold each choice and both ends of each range at least once."""
        ends = {k: list(d.args) for k, d in self.space.items()}
        first = {k: v[0] for k, v in ends.items()}
        return [first] + [{**first, k: v} for k, vs in ends.items() for v in vs[1:]]


def overrides(point):
    return [f"{key}={value}" for key, value in point.items()]


def shown(point):
    return shlex.join(overrides(point))


def digest(point):
    return hashlib.sha256("\n".join(sorted(overrides(point))).encode()).hexdigest()[:8]


# ---- reading ----

def number_in(low, high=math.inf, real=False):
    def parse(text):
        value = float(text) if real else int(text)
        if not low <= value <= high:
            raise ValueError
        return value
    return parse


def one_of(*names):
    def parse(text):
        if text not in names:
            raise ValueError
        return text
    return parse


def matching(pattern):
    def parse(text):
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text
    return parse


def auto_or(parse):
    return lambda text: None if text == "auto" else parse(text)


COUNT = number_in(1, 10**6)
SWEEP = {  # name: (parse, default as text or None where it must be given, what it takes)
    "config": (str, None, "the INI file of the run to sweep"),
    "name": (matching(r"[\w+-][\w.+-]*|"), "", "letters, digits, . _ + -"),
    "method": (one_of("grid", "random", "tpe"), None, "grid, random or tpe"),
    "trials": (auto_or(COUNT), "auto", "a number, or auto: each point of a grid"),
    "metric": (one_of(*METRICS), None, "one of " + " ".join(METRICS)),
    "goal": (one_of("auto", "min", "max"), "auto", "min or max"),
    "ranks": (COUNT, "1", "MPI ranks a trial"),
    "threads": (COUNT, "1", "threads a rank"),
    "parallel": (auto_or(COUNT), "auto", "trials at a time, or auto"),
    "seed": (number_in(0, 2**63), "1", "a whole number"),
    "pruner": (one_of("none", "halving", "median"), "none", "none, halving or median"),
    "max_time": (number_in(0, real=True), "0", "seconds until it stops, 0: no limit"),
}
SLURM = {
    "partition": (str, "", "a partition"),
    "nodes": (COUNT, "1", "nodes a trial"),
    "time": (matching(r"(\d+-)?\d+(:\d+){0,2}"), "1:00:00",
             "a job's time limit as Slurm writes it, such as 4:00:00"),
    "notice": (number_in(1, 65535), "120", "seconds before the time limit to stop at"),
    "account": (str, "", "an account"),
    "extra": (shlex.split, "", "further options of sbatch"),
    "launcher": (one_of("auto", "srun", "mpirun"), "auto", "auto, srun or mpirun"),
}


def read_section(path, name, table, section):
    """{key: parsed value} of all keys in the table."""
    for key in section:
        if key not in table:
            raise SweepError(f"{path}: unknown key '{key}' in [{name}]: it has "
                             + ", ".join(table))
    out = {}
    for key, (parse, default, takes) in table.items():
        text = section.get(key, default)
        if text is None or (default is None and not text):
            raise SweepError(f"{path}: [{name}] {key} is missing: {takes}")
        try:
            out[key] = parse(text)
        except ValueError:
            raise SweepError(f"{path}: [{name}] {key} = {text}: must be {takes}") from None
    return out


def read_dimension(where, text):
    try:
        kind, *args = shlex.split(text)
    except ValueError as error:
        raise SweepError(f"{where}: {error or 'is empty'}: write choice, int, uniform or log "
                         "with values") from None
    if kind == "choice":
        if not args:
            raise SweepError(f"{where}: an empty choice: list the values after it")
        if len(set(args)) < len(args):
            raise SweepError(f"{where}: a value appears twice in the choice: list each once")
        return Dimension(kind, args)
    if kind not in ("int", "uniform", "log"):
        raise SweepError(f"{where}: '{kind}' is none of choice, int, uniform, log")
    try:
        low, high = (int(a) if kind == "int" else float(a) for a in args)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError
    except ValueError:
        raise SweepError(f"{where}: {text}: {kind} takes two "
                         f"{'whole ' * (kind == 'int')}numbers, the lower one first") from None
    if kind == "log" and low <= 0:
        raise SweepError(f"{where}: {text}: log needs a range above 0")
    return Dimension(kind, [low, high])


def check_trials(path, spec):
    listed = spec.size < math.inf
    if spec.method == "grid" and not listed:
        endless = next(k for k, d in spec.space.items() if d.listed() is None)
        raise SweepError(f"{path}: [space] {endless}: a grid needs choice or int: list the "
                         "values, or take method = random")
    if spec.trials is None:
        if spec.method != "grid":
            raise SweepError(f"{path}: [sweep] trials is missing: how many to run")
        spec.trials = spec.size
    if spec.trials > spec.size:
        raise SweepError(f"{path}: trials = {spec.trials}, but the space holds {spec.size} "
                         "points only, and none is run twice")


def read_spec(path, name=None):
    """A spec without a name of its own has `name`, else the file's."""
    ini = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=True,
                                    inline_comment_prefixes=(";", "#"), default_section="")
    ini.optionxform = str
    try:
        with open(path, encoding="utf-8") as file:
            ini.read_file(file)
    except (OSError, UnicodeError, configparser.Error) as error:
        text = error.strerror if isinstance(error, OSError) else str(error).replace("\n", " ")
        raise SweepError(f"{path}: can't be read: {text}") from None
    for section in ini.sections():
        if section not in ("sweep", "space", "slurm"):
            raise SweepError(f"{path}: unknown section [{section}]: a spec has [sweep], [space] "
                             "and [slurm]")
    for section in ("sweep", "space"):
        if not ini.has_section(section) or not ini[section]:
            raise SweepError(f"{path}: section [{section}] is missing: see configs/sweep_mlp.ini")
    sweep = read_section(path, "sweep", SWEEP, ini["sweep"])
    sweep["name"] = sweep["name"] or name or Path(path).stem
    if sweep["goal"] == "auto":
        sweep["goal"] = "max" if HIGHER.search(sweep["metric"]) else "min"
    space = {}
    for key, text in ini["space"].items():
        where = f"{path}: [space] {key}"
        if key in OURS:
            raise SweepError(f"{where}: the sweep sets this key itself: take it out")
        space[key] = read_dimension(where, text)
    slurm = read_section(path, "slurm", SLURM, ini["slurm"] if "slurm" in ini else {})
    spec = Spec(path=str(path), **sweep, space=space, slurm=slurm)
    check_trials(path, spec)
    spec.kept = {f"[sweep] {k}": str(getattr(spec, k)) for k in SWEEP if k not in FREE}
    spec.kept |= {f"[space] {k}": f"{d.kind} {d.args}" for k, d in space.items()}
    return spec


def cores():
    """The cores this process may use, by affinity, as many as the container's quota allows."""
    found = sorted(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return found[:max(1, math.ceil(int(quota) / int(period)))]
    except (OSError, ValueError):
        return found
