"""A run's tables: CSV files, and TensorBoard's event files."""

import csv
import math
from pathlib import Path

from convertlib import ConvertError
from inspectlib import files


def tables(run):
    """{name: rows} of a run's folder or of its metrics.h5."""
    path = Path(run) / "metrics.h5" if Path(run).is_dir() else Path(run)
    try:
        with files.open_file(path) as file:
            found = {name: file[name][:] for name in ("steps", "epochs", "profile") if name in file}
    except (OSError, files.FileError) as error:
        raise ConvertError(str(error)) from None
    if not found:
        raise ConvertError(f"{path}: has no tables: give a run's folder or its metrics.h5")
    return found


def to_csv(found, folder):
    """OUT/steps.csv, OUT/epochs.csv, OUT/profile.csv"""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in found.items():
        with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(rows.dtype.names)
            writer.writerows(["" if isinstance(v, float) and math.isnan(v) else v for v in row.tolist()]
                             for row in rows)


def to_tensorboard(found, folder):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConvertError("this format needs PyTorch and tensorboard: pip install torch tensorboard") from None
    with SummaryWriter(str(folder)) as writer:
        for name, rows in found.items():
            for column in rows.dtype.names:
                if column in ("step", "epoch"):
                    continue
                for row in rows:
                    at = row["step"] if "step" in rows.dtype.names else row["epoch"]
                    if math.isfinite(row[column]):
                        writer.add_scalar(f"{name}/{column}", float(row[column]), int(at))
