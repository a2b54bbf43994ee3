"""Checkpoints whose digest fits but whose facts contradict each other: each fact of a file is
changed in several ways. Either the trainer refuses the file and names the fact, or nothing that it
does with it changes."""

import itertools
import shutil

import h5py
import numpy as np
import pytest

from helpers import CLASSES, Lab, launch_all, make_set, reseal, write_idx

# What nobody else in the file knows: a change of it is like one of a weight.
CONTENT = {"data/mean", "data/std", "state/loss_sum", "state/correct"}
YOUNGER = {"state/correct"}  # older versions did not write it
# Where a change of one fact is found by another one's name.
ALSO = {"epoch": ["step", "position"], "train_samples": ["val_samples"],
        "slots": ["/optimizer/"]}


def csv(path, binary):
    rng = np.random.default_rng(5)
    x = rng.normal(3, 2, (53, 3))
    y = x @ [1, -2, 0.5] + rng.normal(0, 0.1, 53)
    rows = np.column_stack([x, y > y.mean() if binary else y])
    path.write_text("a,b,c,y\n" + "".join(",".join(f"{v:.4f}" for v in row) + "\n" for row in rows))
    return path


def config(lab, kind):
    table = {"data__dir": None, "data__target": "y", "data__normalize": "standardize",
             "model__layers": None, "train__batch_size": 10, "optimizer__lr": 0.01}
    if kind == "linear":
        path = csv(lab.dir / "table.csv", False)
        return lab.config(**table, data__train=path, data__test=path, loss__name="mse")
    if kind == "bce":
        path = csv(lab.dir / "table.csv", True)
        return lab.config(**{**table, "model__layers": "dense:4 tanh"}, data__train=path,
                          data__test=path, loss__name="bce", data__classes="no, yes",
                          optimizer__momentum=0.5, data__validation=7)
    if kind == "images":
        return lab.config(data__normalize="standardize", optimizer__name="adam",
                          optimizer__lr=0.003, data__validation=0.2, train__drop_last="true")
    write_idx(lab.dir / "own", make_set(83, 1, 5), make_set(31, 2, 5))
    return lab.config(data__dir=lab.dir / "own", optimizer__momentum=0.9, train__batch_size=9,
                      data__classes=", ".join(f"kind {i}" for i in range(CLASSES)))


def numbers(v):
    if isinstance(v, (np.floating, float)):
        return [np.nan, np.inf, -np.inf, -1.0, v * 2 + 1]
    most = np.iinfo(np.int64).max
    return [int(x) for x in (-1, 0, v + 1, v - 1, v * 2 + 1, 2**31, most, -most - 1)
            if x != v and -most - 1 <= x <= most]


def lists(v):
    """Of texts or numbers: shorter, longer, in another order, with wrong values."""
    found = [v[:0], v[:-1], np.concatenate([v, v[-1:]]), np.concatenate([v, v])] if len(v) else []
    if not len(v):
        return [np.array(["x"], object), np.array(["x"] * 7, object)] if v.dtype == object \
            else [np.array([1.0]), np.array([1.0, 2.0])]
    if v.dtype == object:
        return found
    for bad in (0, -1, 2**31, np.nan if v.dtype.kind == "f" else 2**62):
        found.append(np.concatenate([[bad], v[1:]]).astype(v.dtype))
    return found


def write(group, key, v):
    if isinstance(v, np.ndarray) and v.dtype == object:
        group.attrs.create(key, v, dtype=h5py.string_dtype())
    else:
        group.attrs[key] = v


def set_text(file, path, text):
    del file[path]
    file[path] = text


def changes(path):
    """Every attribute and every dataset of a checkpoint -> {name: (fact, change)}."""
    found = {}

    def add(group, key, n, change):
        found[f"{group}.{key}.{n}"] = (f"{group}/{key}", key, change)

    def visit(name, item):
        for key, v in item.attrs.items():
            if isinstance(v, str):
                new = ["", "x", "x" * 5000, v + "0"]
            else:
                new = lists(v) if isinstance(v, np.ndarray) else numbers(v)
            for n, value in enumerate(new):
                if f"{name}/{key}" in CONTENT and np.ndim(value) == np.ndim(v) and \
                        np.size(value) == np.size(v) and np.isfinite(value).all() and \
                        (key == "mean" or np.min(value, initial=1) > 0):
                    continue
                add(name, key, n, lambda f, k=key, x=value: write(f[name or "/"], k, x))
            if f"{name}/{key}" not in YOUNGER:
                add(name, key, "gone", lambda f, k=key: f[name or "/"].attrs.__delitem__(k))
        if isinstance(item, h5py.Dataset):
            group, _, key = name.rpartition("/")
            add(group, key, "gone", lambda f: f.__delitem__(name))
            v = item[()]
            if isinstance(v, np.ndarray) and v.dtype.names is None:
                for n, new in enumerate((v.T if v.ndim > 1 and v.shape[0] != v.shape[1] else v[None],
                                         v[:-1], v.reshape(-1)[None])):
                    if new.shape != v.shape:
                        add(group, key, n, lambda f, x=new: set_text(f, name, x))

    with h5py.File(path, "r") as file:
        visit("", file)
        file.visititems(visit)
        text = file["config"][()].decode()
        rows = file["metrics/epochs"][...]
    for n, (old, new) in enumerate((
            ("layers =", "layers = dense:3"), ("seed = 42", "seed = 43"), ("[data]", "[dat]"),
            ("normalize = ", "normalize = none\n# "), ("batch_size = ", "batch_size = 1"),
            ("validation = ", "validation = 1"), ("epochs = 3", "epochs = 1"))):
        assert old in text, text
        add("", "config", f"text{n}", lambda f, a=old, b=new: set_text(
            f, "config", text.replace(a, b, 1)))
    for n, column in enumerate(("epoch", "step")):
        bad = rows.copy()
        bad[column][0] += 1
        add("metrics", "epochs", n, lambda f, x=bad: f["metrics/epochs"].write_direct(x))
    return found


KINDS = ("linear", "bce", "classes", "images")


@pytest.fixture(scope="module", params=[("bce", 6), *(
    pytest.param((kind, 1), marks=pytest.mark.slow) for kind in KINDS)], ids=str)
def run(request, tmp_path_factory, data):
    """A run that was stopped in its second epoch; every how many changes are tried."""
    kind, every = request.param
    lab = Lab(tmp_path_factory.mktemp(kind), data)
    lab.every = every
    lab.ini = config(lab, kind)
    epochs = "train.epochs=3"
    lab.run(lab.ini, epochs).expect(0)
    with h5py.File(lab.out().last, "r") as file:
        steps = int(file["state"].attrs["step"]) // 3
    shutil.rmtree(lab.dir / "runs")
    lab.run(lab.ini, epochs, f"train.max_steps={steps + 2}").expect(75)
    shutil.copytree(lab.dir / "runs", lab.dir / "kept", symlinks=True)
    lab.run(lab.ini, epochs).expect(0)
    lab.whole = lab.out().bits()
    return lab


def test_each_fact_is_compared_before_it_is_used(run):
    """eval of each change; predict and resume of those that eval takes."""
    last = (run.dir / "kept" / "run" / "checkpoints" / "last.h5").resolve()
    score = run.run("eval", last).expect(0).out
    table = run.dir / "out.csv"
    run.run("predict", last, "--output", table).expect(0)
    predicted = table.read_bytes()
    facts = dict(itertools.islice(changes(last).items(), 0, None, run.every))
    for name, (_, _, change) in facts.items():
        path = run.dir / f"{name}.h5".replace("/", ":")
        shutil.copy(last, path)
        with h5py.File(path, "r+") as file:
            change(file)
        reseal(path)
    results = launch_all({name: (("eval", f"{name}.h5".replace("/", ":")), run.dir)
                          for name in facts})
    wrong, taken = [], []
    for name, (_, key, _) in facts.items():
        result = results[name]
        text = result.errors[0].split(".h5: ", 1)[-1] if result.errors else ""
        named = any(word in text for word in [key, *ALSO.get(key, [])])
        if result.code == 0 and result.out == score:
            taken.append(name)
        elif not (result.code == 4 and named):
            wrong.append(f"{name}: {result.code} {text or result.out}")
    assert not wrong, "\n".join(wrong)
    assert len(taken) < len(facts) / 3, taken
    for name in taken:
        path = run.dir / f"{name}.h5".replace("/", ":")
        run.run("predict", path, "--output", table).expect(0)
        if ".classes." not in name and ".columns." not in name:
            assert table.read_bytes() == predicted, name
    # Beyond eval, only few facts are used.
    used = [name for name in taken if facts[name][0].split("/")[0] in ("state", "optimizer", "data")]
    for name in used[::3] or used:
        shutil.rmtree(run.dir / "runs")
        shutil.copytree(run.dir / "kept", run.dir / "runs", symlinks=True)
        shutil.copy(run.dir / f"{name}.h5".replace("/", ":"), run.out().last.resolve())
        result = run.run(run.ini, "train.epochs=3")
        if facts[name][1] == "fingerprint":
            result.fails(3, "the data has changed")
        else:
            result.expect(0)
            assert run.out().bits() == run.whole, name
