"""What is in a file, and what differs between two."""

import json
import sys

import h5py
import numpy as np

from inspectlib import files

GOOD, DIFFERENT, DAMAGED = 0, 1, 4


# ---- one file ----

def statistics(values, name):
    """Of a tensor; dead units: rows of a weight that are all zero."""
    v = values.astype(float).ravel()
    finite = v[np.isfinite(v)]
    found = {"shape": list(values.shape), "mean": finite.mean() if len(finite) else None,
             "std": finite.std() if len(finite) else None, "min": finite.min() if len(finite) else None,
             "max": finite.max() if len(finite) else None, "norm": float(np.linalg.norm(finite)),
             "zeros": int((v == 0).sum()), "not_finite": int(len(v) - len(finite))}
    if name.endswith("weight") and values.ndim > 1 and values.size:
        found["dead_units"] = int((values.reshape(len(values), -1) == 0).all(1).sum())
    return {key: v.item() if isinstance(v, np.generic) else v for key, v in found.items()}


def tree(file):
    """[(name, what it is, attributes)] of all that is in it."""
    found = [("/", "group", dict(file.attrs))]

    def visit(name, item):
        what = "group" if isinstance(item, h5py.Group) else describe(item)
        found.append((f"/{name}", what, dict(item.attrs)))
    file.visititems(visit)
    return found


def describe(item):
    if item.dtype.names:
        return f"table of {len(item)} rows: {' '.join(item.dtype.names)}"
    kind = "text" if item.dtype.kind in "OS" else item.dtype.name
    return f"{kind} {list(item.shape)}" if item.shape else kind


def read(path):
    """All that is to be said of a file, as plain data."""
    digest = files.digest_state(path)
    with files.open_file(path) as file:
        found = {"file": str(path), "digest": digest, "bytes": path.stat().st_size,
                 "tree": [{"name": name, "is": what,
                           "attributes": {k: files.plain(v) for k, v in attrs.items()}}
                          for name, what, attrs in tree(file)]}
        if "model" in file:
            found["tensors"] = {name: statistics(v, name) for name, v in files.tensors(file).items()}
        for slot in file.get("optimizer", {}):
            group = file["optimizer"][slot]
            if isinstance(group, h5py.Group):
                found.setdefault("optimizer", {})[slot] = {
                    name: statistics(group[name][()], "") for name in group}
        if "config" in file:
            found["config"] = files.plain(file["config"][()])
        if "epochs" in file:
            rows = file["epochs"][:]
            found["last_epoch"] = {name: files.plain(rows[name][-1]) for name in rows.dtype.names} \
                if len(rows) else None
    return found


def short(value):
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        shown = ", ".join(short(v) for v in value[:8])
        return f"[{shown}{f', ... ({len(value)})' if len(value) > 8 else ''}]"
    return str(value)


def print_statistics(found):
    print(f"  {'tensor':24s} {'shape':>16s} {'mean':>11s} {'std':>11s} {'min':>11s} {'max':>11s} {'norm':>11s}"
          f" {'zeros':>8s} {'dead':>5s}")
    for name, s in found.items():
        figures = " ".join(f"{'' if s[k] is None else format(s[k], '.4g'):>11s}"
                           for k in ("mean", "std", "min", "max", "norm"))
        bad = f"  {s['not_finite']} NOT FINITE" if s["not_finite"] else ""
        print(f"  {name:24s} {'x'.join(map(str, s['shape'])):>16s} {figures} {s['zeros']:8d} "
              f"{s.get('dead_units', ''):>5}{bad}")


def print_file(found):
    digest = {"good": "digest good", "none": "no digest of the trainer's",
              "wrong": "DIGEST WRONG: edited (--seal writes it anew) or damaged"}[found["digest"]]
    print(f"{found['file']}: {found['bytes']} bytes, {digest}")
    for item in found["tree"]:
        attrs = "  ".join(f"{k}={short(v)}" for k, v in item["attributes"].items())
        indent = "  " * (item["name"].count("/") if item["name"] != "/" else 0)
        print(f"  {indent}{item['name'].rsplit('/', 1)[-1] or '/'}  {item['is']}{'  ' * bool(attrs)}{attrs}")
    if "tensors" in found:
        print_statistics(found["tensors"])
    for slot, tensors in found.get("optimizer", {}).items():
        print(f"  optimizer/{slot}")
        print_statistics(tensors)
    if found.get("last_epoch"):
        print("  last epoch: " + "  ".join(f"{k} {short(v)}" for k, v in found["last_epoch"].items()))
    if "config" in found:
        print("  config:\n" + "\n".join("    " + line for line in found["config"].splitlines() if line))


def is_bad(found):
    return found["digest"] == "wrong" or any(
        s["not_finite"] for s in found.get("tensors", {}).values())


def all_of(paths, as_json):
    """-> the exit code"""
    code, out = GOOD, []
    for path in paths:
        try:
            found = read(path) if files.digest_state(path) == "good" else files.apart(read, path)
        except files.FileError as error:
            found, code = {"file": str(path), "error": str(error)}, DAMAGED
            if not as_json:
                print(f"inspect.py: {error}", file=sys.stderr)
        else:
            code = DAMAGED if is_bad(found) else code
            if not as_json:
                print_file(found)
        out.append(found)
    if as_json:
        print(json.dumps(out, indent=1))
    return code


# ---- two files ----

def config_keys(file):
    """{section.key: value} of /config."""
    found, section = {}, ""
    for line in (files.plain(file["config"][()]) if "config" in file else "").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif "=" in line:
            key, value = line.split("=", 1)
            found[f"{section}.{key.strip()}"] = value.strip()
    return found


def values_of(file):
    """{path: array} of all datasets of numbers."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu":
            found[f"/{name}"] = item[()]
    file.visititems(visit)
    return found


def compare(a, b):
    """None for equal bits, else what to say."""
    if a is None or b is None:
        return {"only_in": "B" if a is None else "A"}
    if a.shape != b.shape:
        return {"shapes": [list(a.shape), list(b.shape)]}
    if a.tobytes() == b.tobytes() and a.dtype == b.dtype:
        return None
    with np.errstate(invalid="ignore"):
        gap = np.abs(a.astype(float) - b.astype(float))
    return {"largest_difference": float(np.nanmax(gap)) if gap.size and not np.isnan(gap).all() else None,
            "values_that_differ": int((a != b).sum()), "of": int(a.size)}


def differences(a, b):
    """({config key: values}, {dataset: what differs}, how many are equal)"""
    with files.open_file(a) as first, files.open_file(b) as second:
        one, two = config_keys(first), config_keys(second)
        config = {key: [one.get(key), two.get(key)] for key in {**one, **two} if one.get(key) != two.get(key)}
        mine, theirs = values_of(first), values_of(second)
        values = {name: found for name in {**mine, **theirs}
                  if (found := compare(mine.get(name), theirs.get(name)))}
        return config, values, len(mine) - sum(name in mine for name in values)


def diff(a, b, as_json):
    for path in (a, b):
        files.warn_if_edited(path)
    config, values, equal = files.apart(differences, a, b)
    if as_json:
        print(json.dumps({"files": [str(a), str(b)], "config": config, "values": values, "equal": equal},
                         indent=1))
        return DIFFERENT if values or config else GOOD
    for key, (x, y) in config.items():
        print(f"config {key}: {x} | {y}")
    for name, found in values.items():
        print(f"{name}: " + "  ".join(f"{k.replace('_', ' ')} {short(v)}" for k, v in found.items()))
    print(f"{equal} datasets have equal bits, {len(values)} differ; {len(config)} config keys differ")
    return DIFFERENT if values or config else GOOD
