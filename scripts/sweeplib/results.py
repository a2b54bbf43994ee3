"""What came of the trials, as tables: results.csv and results.h5, and lines for the user."""

import csv
import io
import os
from pathlib import Path

import h5py
import numpy as np

from sweeplib.spec import shown
from sweeplib.study import Locks, ended, remaining


def clock(seconds):
    seconds = round(seconds)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def rows(study, trials=None):
    """One dict a trial; value and epoch are None where there is none."""
    found = []
    for trial in study.trials() if trials is None else trials:
        result = trial.user_attrs.get("result") if ended(trial) else None
        status = (result["status"] if result else
                  "running" if study.is_held(trial) else "stopped")
        spent = result or trial.user_attrs["work"]
        found.append({"trial": trial.number, "status": status,
                      "value": result["value"] if result else None,
                      "epoch": result["epoch"] if result else None,
                      "seconds": spent["seconds"], "parameters": trial.params,
                      "message": spent.get("message", ""),
                      "folder": study.folder_of(trial), "runs": study.runs_of(trial)})
    return found


def columns(spec, table):
    """{name: (type, values)}: the tables' columns, in their order. None: there is no value, as of a
    parameter that the point doesn't have; an empty text is written as in a spec."""
    names = {"trial": (int, "trial"), "status": (str, "status"), spec.metric: (float, "value"),
             "epoch": (int, "epoch"), "seconds": (float, "seconds")}
    out = {name: (kind, [row[key] for row in table]) for name, (kind, key) in names.items()}
    for key, dimension in spec.space.items():
        kind = float if dimension.type is int and dimension.when else dimension.type
        values = [row["parameters"].get(key) for row in table]
        out[key] = kind, ['""' if value == "" else value for value in values]
    return {**out, "folder": (str, [row["folder"].name for row in table]),
            "message": (str, [row["message"] for row in table])}


def replace(path, data):
    """Writes a file so that a reader sees the old one or the new one."""
    part = Path(f"{path}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def as_hdf5(spec, table):
    """Where there is no value: NaN, "", or 0 for an epoch, as they count from 1."""
    kinds = {int: np.int64, float: np.float64, str: h5py.string_dtype()}
    missing = {int: 0, float: np.nan, str: ""}
    count = len(table["trial"][1])
    records = np.empty(count, dtype=[(name, kinds[kind]) for name, (kind, _) in table.items()])
    for name, (kind, values) in table.items():
        records[name] = [missing[kind] if v is None else kind(v) for v in values]
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["trials"] = records
        file.attrs.update(name=spec.name, metric=spec.metric, goal=spec.goal, method=spec.method)
    return buffer.getvalue()


def as_csv(table):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(table)
    columns = [values for _, values in table.values()]
    writer.writerows(["" if v is None else v for v in row] for row in zip(*columns))
    return text.getvalue().encode()


def write(study):
    study.locks.take(Locks.RESULTS, wait=True)  # an older state must not replace a newer one
    try:
        table = columns(study.spec, rows(study))
        replace(study.folder / "results.csv", as_csv(table))
        replace(study.folder / "results.h5", as_hdf5(study.spec, table))
    except OSError as error:
        print(f"sweep: warning: {error.filename or study.folder}: {error.strerror}: the "
              "results are written with the next trial", flush=True)
    finally:
        study.locks.free(Locks.RESULTS)


def status_text(study):
    trials = study.trials()
    table, spec = rows(study, trials), study.spec
    count = {}
    for row in table:
        count[row["status"]] = count.get(row["status"], 0) + 1
    if len(table) < spec.trials:
        count["waiting"] = spec.trials - len(table)
    lines = [f"{spec.name}: {spec.trials} trials, {spec.method}, {spec.goal} {spec.metric}",
             "  ".join(f"{n} {status}" for status, n in count.items())]
    for row, trial in zip(table, trials):
        if row["status"] in ("running", "stopped", "failed", "diverged"):
            owner = trial.user_attrs["work"]["owner"] or {}
            where = (f" on {owner['host']}" + (f", job {owner['job']}" if "job" in owner else "")
                     if row["status"] == "running" and owner else "")
            lines.append(f"  trial {row['trial']:<4} {row['status']}{where}: "
                         f"{shown(row['parameters'])}  {row['message']}")
    best = study.best(trials)
    if best:
        lines.append(f"best: {spec.metric} {best.value:.6g}, trial {best.number}: "
                     + shown(best.params))
    left = remaining(trials, spec)
    if left:
        lines.append(f"time left: about {clock(left)}")
    return "\n".join(line.rstrip() for line in lines)
