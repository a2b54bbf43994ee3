"""The spec of a sweep: an INI file -> a checked Spec, and the space of its points.

A point is {key: value}, each value as it goes to the trainer's command line; a Spec whose `identity`
differs from another's asks for other trials."""

import configparser
import errno
import hashlib
import math
import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace


class SweepError(Exception):
    """What was wrong, where, what to do: one line for the user."""


HIGHER = re.compile("accuracy|r2")  # metrics of which more is better
METRICS = ("train_loss train_accuracy val_loss val_accuracy val_r2 val_mae "
           "test_loss test_accuracy test_r2 test_mae").split()
OURS = ("run.name", "run.output", "run.resume", "run.overwrite", "checkpoint.best",
        "parallel.threads", "train.max_steps", "train.max_time")
# May differ when a sweep goes on: no trial depends on them. (The config's keys are compared, and
# trials may only be raised.)
FREE = ("config", "trials", "parallel", "max_time", "wait")


@dataclass
class Dimension:
    """One key of the space: choice of texts; int, uniform or log between two numbers. With `when`
    (a key, some of its values) only points where that key has one of the values hold this one."""

    kind: str
    args: list
    when: tuple = None

    def __str__(self):
        return f"{self.kind} {self.args}" + (" when {} {}".format(*self.when) if self.when else "")

    def active(self, point):
        """Whether the point, known up to this key, has it."""
        return self.when is None or point.get(self.when[0]) in self.when[1]

    @property
    def type(self):
        """int, float or str: what all its values are, also those that are written as texts."""
        if self.kind != "choice":
            return int if self.kind == "int" else float
        if all(re.fullmatch(r"[+-]?\d{1,18}", text) for text in self.args):
            return int
        return float if all(is_number(text) for text in self.args) else str

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

    def parse(self, where, key, text):
        """The value that a text names, if it is one of the dimension's."""
        if self.kind == "choice":
            if text in self.args:
                return text
            raise SweepError(f"{where}: {key}={text}: it is one of {shlex.join(self.args)}")
        try:
            value = self.type(text)
            if self.args[0] <= value <= self.args[1]:
                return value
        except ValueError:
            pass
        raise SweepError(f"{where}: {key}={text}: it is between {self.args[0]} and {self.args[1]}")

    def tidy(self, value):
        """A sampled value, floats with six digits, still inside the range."""
        if self.kind in ("log", "uniform"):
            return min(max(float(f"{value:.6g}"), self.args[0]), self.args[1])
        return value


class Spec(SimpleNamespace):
    """path; the keys of [sweep]; space {key: Dimension}; points, to be tried first; slurm {key: value};
    identity {what: text}: all that decides on the trials."""

    @property
    def size(self):
        """Points in the space; inf where a dimension is continuous."""
        lists = [d.listed() for d in self.space.values()]
        return math.inf if None in lists else self.count(list(self.space), {})

    def count(self, keys, point):
        """The points of a finite space that continue `point` with the keys, all that follow it."""
        deciding, total = {d.when[0] for d in self.space.values() if d.when}, 1
        for n, key in enumerate(keys):
            dimension = self.space[key]
            if key in deciding and dimension.active(point):
                return total * sum(self.count(keys[n + 1:], {**point, key: value})
                                   for value in dimension.listed())
            total *= len(dimension.listed()) if dimension.active(point) else 1
        return total

    def grid_point(self, number):
        """The points of a finite space in order, the last key running fastest."""
        point, keys = {}, list(self.space)
        for n, key in enumerate(keys):
            if not self.space[key].active(point):
                continue
            for value in self.space[key].listed():
                point[key] = value
                below = self.count(keys[n + 1:], point)
                if number < below:
                    break
                number -= below
        return point

    def holding(self, key=None, value=None):
        """The first point where the key has the value, and each other key its first one."""
        wanted = {}
        while key:
            wanted[key], when = value, self.space[key].when
            key, value = (when[0], when[1][0]) if when else (None, None)
        point = {}
        for name, dimension in self.space.items():
            if dimension.active(point):
                point[name] = wanted.get(name, dimension.args[0])
        return point

    def edges(self):
        """Points that hold each choice and both ends of each range at least once."""
        found = [self.holding()]
        for key, dimension in self.space.items():
            for value in dimension.args:
                if (point := self.holding(key, value)) not in found:
                    found.append(point)
        return found


def overrides(point):
    return [f"{key}={value}" for key, value in point.items()]


def shown(point):
    return shlex.join(overrides(point))


def digest(point):
    return hashlib.sha256("\n".join(sorted(overrides(point))).encode()).hexdigest()[:8]


def is_number(text):
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


# ---- reading ----

def read_ini(data):
    """{section: {key: value}} of an INI file's bytes, by the trainer's rules: a line is a key
    however far it is indented; ';' and '#' begin comments, at its start or after a blank."""
    ini = configparser.ConfigParser(delimiters=("=", ":"), interpolation=None, strict=True,
                                    inline_comment_prefixes=(";", "#"), default_section="")
    ini.optionxform = str
    ini.read_string("\n".join(map(str.strip, data.decode("utf-8-sig").split("\n"))))
    return {name: dict(section) for name, section in ini.items() if name}


def same_config(a, b):
    """Whether two configs, in bytes, say the same."""
    try:
        return read_ini(a) == read_ini(b)
    except (UnicodeError, configparser.Error):
        return a == b


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
    "config": (os.path.expanduser, None, "the INI file of the run to sweep"),
    "name": (matching(r"[\w+-][\w.+-]*|"), "", "letters, digits, . _ + -"),
    "method": (one_of("grid", "random", "tpe"), None, "grid, random or tpe"),
    "trials": (auto_or(COUNT), "auto", "a number, or auto: each point of a grid"),
    "metric": (one_of(*METRICS), None, "one of " + " ".join(METRICS)),
    "goal": (one_of("auto", "min", "max"), "auto", "min or max"),
    "ranks": (COUNT, "1", "MPI ranks a trial"),
    "threads": (COUNT, "1", "threads a rank"),
    "parallel": (auto_or(COUNT), "auto", "trials at a time, or auto"),
    "seed": (number_in(0, 2**63), "1", "a whole number"),
    "seeds": (number_in(1, 1000), "1", "runs a trial, with run.seed = 1, 2, ..."),
    "pruner": (one_of("none", "halving", "median"), "none", "none, halving or median"),
    "max_time": (number_in(0, real=True), "0", "seconds until it stops, 0: no limit"),
    "wait": (number_in(0, real=True), "600",
             "seconds to wait where data, disk or nodes are away, before it stops"),
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


def read_when(where, words, above):
    """What follows `when`: a key that stands above in [space], and some of its values."""
    if len(words) < 2:
        raise SweepError(f"{where}: when takes a key and some of its values, such as "
                         "when optimizer.name sgd")
    key, *texts = words
    if key not in above:
        raise SweepError(f"{where}: when {key}: this key must stand in [space], above")
    values = above[key].listed()
    if values is None:
        raise SweepError(f"{where}: when {key}: this key must be a choice or int")
    known = {str(value): value for value in values}
    if unknown := next((text for text in texts if text not in known), None):
        raise SweepError(f"{where}: when {key} {unknown}: it is one of {shlex.join(known)}")
    return key, [known[text] for text in texts]


def read_dimension(where, key, text, above):
    try:
        kind, *args = shlex.split(text)
    except ValueError as error:
        raise SweepError(f"{where}: {error or 'is empty'}: write choice, int, uniform or log "
                         "with values") from None
    when = None
    if "when" in args:
        when = read_when(where, args[args.index("when") + 1:], above)
        args = args[:args.index("when")]
    if kind == "choice":
        return Dimension(kind, check_choice(where, key, text, args), when)
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
    return Dimension(kind, [low, high], when)


def check_choice(where, key, text, args):
    if not args:
        raise SweepError(f"{where}: an empty choice: list the values after it")
    # No model is one activation, so this is one model's list of layers, taken for several models.
    if key == "model.layers" and not set(text) & set("\"'\\") and any(":" not in a for a in args):
        raise SweepError(f'{where}: {text}: each word is a model here: quote each list of layers, '
                         f'as in choice "{" ".join(args)}"')
    if len({float(a) if is_number(a) else a for a in args}) < len(args):
        raise SweepError(f"{where}: a value appears twice in the choice: list each once")
    return args


def read_point(where, text, space):
    """A point that is given as key=value words: one of the space, with each key that it has."""
    try:
        given = dict(word.split("=", 1) for word in shlex.split(text))
    except ValueError:
        raise SweepError(f"{where}: {text}: write key=value words, as in optimizer.lr=0.1") from None
    point = {}
    for key, dimension in space.items():
        if not dimension.active(point):
            continue
        if key not in given:
            raise SweepError(f"{where}: {key} is missing: it is in [space]")
        point[key] = dimension.parse(where, key, given.pop(key))
    if given:
        raise SweepError(f"{where}: {next(iter(given))} is not in [space], or not of this point")
    return point


def read_points(path, section, spec):
    points = [read_point(f"{path}: [points] {name}", text, spec.space) for name, text in section.items()]
    if points and spec.method == "grid":
        raise SweepError(f"{path}: [points] is for random and tpe: a grid has all points")
    twice = next((name for n, name in enumerate(section) if points[n] in points[:n]), None)
    if twice:
        raise SweepError(f"{path}: [points] {twice}: this point stands above already")
    return points


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
    if spec.trials < len(spec.points):
        raise SweepError(f"{path}: trials = {spec.trials}, but [points] holds {len(spec.points)}")
    if spec.trials > spec.size:
        raise SweepError(f"{path}: trials = {spec.trials}, but the space holds {spec.size} "
                         "points only, and none is run twice")


def read_regular(path):
    """A file's bytes: a pipe or a device may keep its reader waiting for ever."""
    if not (Path(path).is_file() or Path(path).is_dir()) and Path(path).exists():
        raise OSError(errno.EINVAL, "only regular files are read")
    return Path(path).read_bytes()


def read_spec(path, name=None):
    """A sweep's own spec has the name of its folder, another the one it gives, else its file's."""
    try:
        ini = read_ini(read_regular(path))
    except (OSError, UnicodeError, configparser.Error) as error:
        text = error.strerror if isinstance(error, OSError) else str(error).replace("\n", " ")
        raise SweepError(f"{path}: can't be read: {text}") from None
    for section in ini:
        if section not in ("sweep", "space", "points", "slurm"):
            raise SweepError(f"{path}: unknown section [{section}]: a spec has [sweep], [space], "
                             "[points] and [slurm]")
    for section in ("sweep", "space"):
        if not ini.get(section):
            raise SweepError(f"{path}: section [{section}] is missing: see configs/sweep_mlp.ini")
    sweep = read_section(path, "sweep", SWEEP, ini["sweep"])
    sweep["name"] = name or sweep["name"] or Path(path).stem
    if sweep["goal"] == "auto":
        sweep["goal"] = "max" if HIGHER.search(sweep["metric"]) else "min"
    space = {}
    for key, text in ini["space"].items():
        where = f"{path}: [space] {key}"
        if key in OURS or (key == "run.seed" and sweep["seeds"] > 1):
            raise SweepError(f"{where}: the sweep sets this key itself: take it out")
        space[key] = read_dimension(where, key, text, space)
    slurm = read_section(path, "slurm", SLURM, ini.get("slurm", {}))
    spec = Spec(path=str(path), **sweep, space=space, slurm=slurm)
    spec.points = read_points(path, ini.get("points", {}), spec)
    check_trials(path, spec)
    spec.identity = {f"[sweep] {k}": str(getattr(spec, k)) for k in SWEEP if k not in FREE}
    spec.identity |= {f"[space] {k}": str(dimension) for k, dimension in space.items()}
    spec.identity |= {f"[points] {n}": shown(point) for n, point in enumerate(spec.points)}
    return spec


def cores():
    """The cores this process may use, by affinity, as many as the quotas of its groups allow."""
    script = Path(__file__).resolve().parents[1] / "mpi-env.sh"
    count = subprocess.run(["bash", "-c", '. "$0" && cores', str(script)], text=True, check=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout
    return sorted(os.sched_getaffinity(0))[:int(count)]
