#!/usr/bin/env python3
"""Makes an HDF5 file that the trainer reads of tables, arrays and images as people have them.

    scripts/prepare.py IN... -o OUT.h5 [options]          the recipe is made, used, and kept in OUT.h5
    scripts/prepare.py --like OUT.h5 NEW... -o NEW.h5     new rows by the same recipe
    scripts/prepare.py --like OUT.h5 --unscale PREDICTIONS.csv -o PREDICTIONS2.csv
                                                          predictions of a scaled target in its unit

IN: CSV of any dialect (found by itself: separator, decimal comma, encoding, header or none), Parquet,
Excel; x.npy with y.npy, .npz; a folder with a folder of images for each class; IDX images by EMNIST's,
KMNIST's or QMNIST's names. Several tables are put one behind the other; of arrays one may be the
training set, another, with test or t10k in its name, the test set. It prints what it does with each
column, and the config lines to use."""

import argparse
import contextlib
import csv
import json
import os
import re
import sys
from pathlib import Path

import packages

packages.need("numpy", "h5py")
import h5py  # noqa: E402
import numpy as np  # noqa: E402
from preplib import PrepareError, images, reading, tables  # noqa: E402


def say(text):
    print(text)


# ---- reading ----

def read_tables(paths, args, recipe):
    """(frame, decimal mark) of all files, one behind the other; what a column holds is told from all of them."""
    import pandas
    frames, decimals = [], []
    for path in paths:
        with reading(path):
            frame, decimal = tables.read_file(path, args, (recipe or {}).get("decimal", "."), say)
        frames.append(frame)
        decimals.append(decimal)
        if list(frames[0].columns) != list(frames[-1].columns):
            raise PrepareError(f"{path}: its columns are not those of {paths[0]}")
        if decimal != decimals[0]:
            raise PrepareError(f"{path}: its decimal mark is not that of {paths[0]}: give --decimal")
    frame = pandas.concat(frames, ignore_index=True)
    return tables.clean(frame, decimals[0], True if args.day_first else None, recipe), decimals[0]


def from_tables(paths, args, recipe):
    frame, decimal = read_tables(paths, args, recipe)
    if recipe is None:
        recipe = {"kind": "table", "decimal": decimal, **tables.make_recipe(frame, args)}
    tables.tell(recipe, say)
    return {"train": tables.apply(recipe, frame, str(paths[0]), say)}, recipe


def array_set(x, y, classes):
    """An array with its labels or values; texts become classes."""
    if len(x) != len(y):
        raise PrepareError(f"{len(x)} samples, but {len(y)} labels")
    y = np.squeeze(y, 1) if y.ndim == 2 and y.shape[1] == 1 else y
    if y.dtype.kind in "US":
        classes = classes or sorted(set(map(str, y.astype(str))))
        y = np.array([classes.index(v) if v in classes else -1 for v in y.astype(str)])
        if (y < 0).any():
            raise PrepareError("a label is none of the recipe's classes")
    elif classes and (y.dtype.kind not in "iu" or (y < 0).any() or (y >= len(classes)).any()):
        raise PrepareError(f"a label is none of 0 to {len(classes) - 1}, which the {len(classes)} classes have")
    return {"x": x, "y": y, "columns": None, "targets": None, "classes": classes}


def from_arrays(paths, args, recipe):
    kinds = {images.kind(path) for path in paths}
    if len(kinds) > 1:
        raise PrepareError(f"{', '.join(map(str, paths))}: are of different kinds: prepare them one by one")
    kind, splits, classes = kinds.pop(), {}, recipe and recipe["classes"]
    known = recipe
    for path in paths:
        split = "test" if images.is_test(path) and len(paths) > 1 else "train"
        with reading(path):
            if kind == "npz":
                found = images.read_npz(path, say)
            elif kind == "npy":
                found = {split: images.read_npy(path, say)}
            else:
                x, y, known = images.read_folder(path, args, known, say) if kind == "folder" else \
                    images.read_idx_set(path, say)
                classes, found = known["classes"], {split: (x, y)}
            for name, (x, y) in found.items():
                if name in splits:
                    raise PrepareError("a second set of the same kind")
                splits[name] = array_set(x, y, classes)
                classes = splits[name]["classes"]
    return splits, {"kind": kind, **(known or {}), "classes": classes}


# ---- splitting and writing ----

def split_off(data, fraction, seed):
    """(training part, test part), the latter with each class in its share."""
    n, y, rng = len(data["x"]), data["y"], np.random.default_rng(seed)
    if y is None:
        raise PrepareError("--test: the target is not there")
    groups = [np.where(y.reshape(n, -1)[:, 0] == c)[0] for c in range(len(data["classes"]))] \
        if data["classes"] else [np.arange(n)]
    chosen = np.zeros(n, bool)
    for rows in groups:
        chosen[rng.permutation(rows)[:round(fraction * len(rows))]] = True
    if not chosen.any() or chosen.all():
        raise PrepareError(f"--test {fraction:g}: of {n} rows that leaves nothing on one side")
    return [{**data, "x": data["x"][rows], "y": y[rows]} for rows in (~chosen, chosen)]


def write_set(group, data):
    x, y = data["x"], data["y"]
    if x.ndim < 2 or x.dtype.kind not in "fiub" or y is not None and y.dtype.kind not in "fiub":
        labels = "" if y is None else f" with labels of type {y.dtype}"
        raise PrepareError(f"samples of type {x.dtype} and shape {list(x.shape)}{labels}: not real numbers in rows")
    with np.errstate(over="ignore"):
        x = x if x.dtype in (np.uint8, np.float32) else x.astype("f4")
    if x.dtype != np.uint8 and not np.isfinite(x).all():
        raise PrepareError("the samples hold a value that is no number of float32")
    spatial = x.ndim > 2
    sample = group.create_dataset("images" if spatial else "x", data=x)
    if x.ndim == 4 and x.shape[1] in (1, 3, 4):
        sample.attrs["layout"] = "NCHW"
    if data["columns"]:
        sample.attrs["columns"] = data["columns"]
    if y is None:
        return
    classes = data["classes"]
    whole = classes or (np.asarray(y).dtype.kind in "iub" and np.ndim(y) == 1)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    label = group.create_dataset("labels" if spatial else "y", data=y.astype("i8" if whole else "f4"))
    if data["targets"]:
        label.attrs["columns"] = data["targets"]
    if classes:
        label.attrs["classes"] = classes


@contextlib.contextmanager
def placed(path):
    """Where to write a file that is put into its place when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write(path, splits, recipe):
    with placed(path) as part, h5py.File(part, "w") as file:
        for name, data in splits.items():
            write_set(file if len(splits) == 1 else file.create_group(name), data)
        file.attrs["recipe"] = json.dumps(recipe)


def config_lines(path, splits):
    data = splits["train"]
    one = len(splits) == 1
    y = data["y"]
    classes = data["classes"] or (y is not None and y.dtype.kind in "iub")
    lines = ["[data]", f"train = {path}{'' if one else ':/train'}"]
    lines += [] if one else [f"test = {path}:/test"]
    lines += [] if one is False else ["validation = 0.2"]
    lines += ["normalize = standardize" if data["x"].dtype != np.uint8 else "normalize = unit"]
    return [*lines, "", "[loss]", f"name = {'cross_entropy' if classes else 'mse'}"]


# ---- the commands ----

def load_recipe(path):
    try:
        with h5py.File(path, "r") as file:
            return json.loads(file.attrs["recipe"])
    except (OSError, KeyError, ValueError):
        raise PrepareError(f"{path}: no HDF5 file that scripts/prepare.py has written") from None


def unscale(recipe, source, out):
    """Columns <target> and <target>_predicted of the trainer's CSV, in the target's unit."""
    scale = {step["column"]: step for step in recipe.get("targets", [])
             if (step.get("mean", 0), step.get("std", 1)) != (0, 1)}
    if not scale:
        raise PrepareError("the recipe scales no target")
    with reading(source):
        with open(source, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        if len(rows) < 2:
            raise PrepareError("holds no predictions")
        for k, name in enumerate(rows[0]):
            step = scale.get(name.removesuffix("_predicted"))
            for row in rows[1:] if step else []:
                row[k] = f"{float(row[k]) * step['std'] + step['mean']:.9g}" if row[k] else ""
    with placed(Path(out)) as part, open(part, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    say(f"{out}: {len(rows) - 1} predictions in the target's unit")


def prepare(args):
    recipe = load_recipe(args.like) if args.like else None
    if args.unscale:
        if recipe is None:
            raise PrepareError("--unscale needs --like OUT.h5")
        return unscale(recipe, args.unscale, args.output)
    paths = [Path(name) for name in args.inputs]
    if not paths:
        raise PrepareError("name the files to prepare (--help)")
    read = [Path(args.like)] if args.like else []
    for path in paths:
        read += images.files_of(path)
    if args.output.resolve() in [path.resolve() for path in read]:
        raise PrepareError(f"{args.output} is one of the files that are read")
    kind = images.kind(paths[0]) or "table"
    if recipe and recipe["kind"] != kind:
        raise PrepareError(f"{args.like} was made of {recipe['kind']}s: {paths[0]} is none")
    splits, recipe = (from_tables if kind == "table" else from_arrays)(paths, args, recipe)
    if args.test and "test" not in splits:
        splits["train"], splits["test"] = split_off(splits["train"], args.test, args.seed)
    write(args.output, splits, recipe)
    for name, data in splits.items():
        say(f"{args.output}{f':/{name}' if len(splits) > 1 else ''}: {len(data['x'])} samples of "
            f"{'x'.join(map(str, data['x'].shape[1:])) or 1}")
    if args.like:
        return say(f"use it with: trainer predict RUN --input {args.output}, or trainer eval RUN "
                   f"data.test={args.output}")
    return say("\n".join(["", "Config lines:", "", *config_lines(args.output, splits)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("inputs", nargs="*", metavar="IN")
    add("-o", "--output", required=True, type=Path, metavar="OUT.h5")
    add("--like", metavar="OUT.h5", help="use the recipe of that file")
    add("--unscale", metavar="CSV", help="predictions, of a target that --scale-target scaled")
    add("--target", help="column or columns (with commas) to predict; default: the last one")
    add("--exclude", help="columns to leave out, with commas between them")
    add("--task", choices=["auto", "classes", "values"], default="auto",
        help="what the target is; auto: classes where it is a text, or one column of up to "
             f"{tables.FEW} different whole numbers")
    add("--missing", choices=["drop", "mean", "median", "most_frequent"],
        help="what becomes of cells that are missing")
    add("--indicator", action="store_true", help="with a column of 0 and 1 for each that has such cells")
    add("--categories", choices=["onehot", "codes"], default="onehot", help="of texts (default: onehot)")
    add("--scale-target", action="store_true", help="to mean 0 and deviation 1")
    add("--test", type=float, metavar="FRACTION", help="hold so much out as the test set")
    add("--seed", type=int, default=42, help="of that choice (default: 42)")
    add("--sep", help="separator of CSV files, else found")
    add("--decimal", choices=[".", ","], help="decimal mark, else found")
    add("--day-first", action="store_true", help="dates like 5/3/2020 are of March")
    add("--encoding", help="of CSV files, else found")
    add("--no-header", action="store_true", help="the first line of a CSV file is a row")
    add("--gray", action="store_true", help="images without colour")
    add("--size", metavar="WxH", help="of images; default: the first one's")
    args = parser.parse_args()
    try:
        if args.test is not None and not 0 < args.test < 1:
            raise PrepareError(f"--test {args.test:g}: must be between 0 and 1")
        if args.sep is not None and len(args.sep) != 1:
            raise PrepareError(f"--sep '{args.sep}': must be one character")
        if args.size and not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", args.size):
            raise PrepareError(f"--size {args.size}: must be WIDTHxHEIGHT, as in 28x28")
        prepare(args)
    except PrepareError as error:
        print(f"prepare.py: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"prepare.py: {error.filename or args.output}: {error.strerror or error}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
