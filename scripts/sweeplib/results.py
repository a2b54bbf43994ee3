"""What came of the trials, as tables: results.csv and results.h5, and lines for the user."""

import contextlib
import csv
import io
import os
from pathlib import Path

import h5py
import numpy as np

from sweeplib.spec import shown
from sweeplib.study import Locks, remaining


def clock(seconds):
    seconds = round(seconds)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def rows(study, trials=None):
    """One dict a trial; value and epoch are None where there is none."""
    found = []
    for trial in study.trials() if trials is None else trials:
        result = trial.user_attrs.get("result") if trial.state.is_finished() else None
        status = (result["status"] if result else
                  "running" if study.is_held(trial) else "stopped")
        spent = result or trial.user_attrs["work"]
        found.append({"trial": trial.number, "status": status,
                      "value": result["value"] if result else None,
                      "epoch": result["epoch"] if result else None,
                      "seconds": spent["seconds"], "parameters": trial.params,
                      "message": result["message"] if result else "",
                      "folder": study.folder_of(trial)})
    return found


def columns(study, table):
    """{name: list}: the tables' columns, in their order."""
    names = {"trial": "trial", "status": "status", study.spec.metric: "value", "epoch": "epoch",
             "seconds": "seconds"}
    out = {name: [row[key] for row in table] for name, key in names.items()}
    out |= {key: [row["parameters"][key] for row in table] for key in study.spec.space}
    return out | {"folder": [row["folder"].name for row in table]}


def replace(path, data):
    """Writes a file so that a reader sees the old one or the new one."""
    part = Path(f"{path}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def numeric(values):
    with contextlib.suppress(ValueError):
        return [np.nan if v is None else float(v) for v in values]
    return None


def as_hdf5(spec, table):
    kinds, data = [], []
    for name, values in table.items():
        numbers = None if name in ("status", "folder") else numeric(values)
        kind = (h5py.string_dtype() if numbers is None else
                np.int64 if name == "trial" else np.float64)
        kinds.append((name, kind))
        data.append(numbers if numbers is not None else list(map(str, values)))
    records = np.empty(len(table["trial"]), dtype=kinds)
    for (name, _), values in zip(kinds, data):
        records[name] = values
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["trials"] = records
        file.attrs.update(name=spec.name, metric=spec.metric, goal=spec.goal, method=spec.method)
    return buffer.getvalue()


def as_csv(table):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(table)
    writer.writerows(["" if v is None else v for v in row] for row in zip(*table.values()))
    return text.getvalue().encode()


def write(study):
    study.locks.take(Locks.RESULTS, wait=True)  # an older state must not replace a newer one
    try:
        table = columns(study, rows(study))
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
