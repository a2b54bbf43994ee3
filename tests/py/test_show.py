"""trainer show: samples with their labels, and the parameters that training begins with."""

import re

import numpy as np
import pytest

from helpers import CLASSES, FEATURES, TRAIN, Lab

SHADES = " .:-=+*#%@"
NAMES = ", ".join(f"kind {k}" for k in range(CLASSES))


@pytest.fixture
def tables(tmp_path):
    return Lab(tmp_path)


def samples(result):
    """The lines of each sample: {(split, index): [first line, ...]}."""
    found, last = {}, None
    for line in result.expect(0).out.splitlines():
        match = re.match(r"(train|val|test) (\d+): (.*)", line)
        if match:
            last = found.setdefault((match[1], int(match[2])), [match[3]])
        elif last:
            last.append(line)
    return found


def numbers(lines):
    return np.array(" ".join(lines).split(), float)


@pytest.mark.parametrize("ranks", [None, 2])
def test_images_are_drawn_with_their_labels(lab, arrays, ranks):
    ini = lab.config(data__classes=NAMES)
    shown = samples(lab.run("show", ini, "--split", "test", "--index", "7,0,2-3", ranks=ranks))
    assert list(shown) == [("test", i) for i in (7, 0, 2, 3)]
    images, labels = arrays["test"]
    for (_, i), (label, *lines) in shown.items():
        assert label == f"label {labels[i]} (kind {labels[i]})"
        level = (images[i] / 255 * 9.999).astype(int)
        assert lines == ["".join(2 * SHADES[v] for v in row) for row in level]
    assert not (lab.dir / "runs").exists(), "nothing is trained, nothing is written"


def test_splits_are_those_of_the_run(lab, arrays):
    ini = lab.config(data__validation=100)
    images, labels = arrays["train"]
    rows = {}
    for split, n in ("train", TRAIN - 100), ("val", 100):
        shown = samples(lab.run("show", ini, "--split", split, "--flat", f"--index=0-{n - 1}"))
        assert len(shown) == n
        rows[split] = [(label, *np.rint(numbers(lines) * 255)) for label, *lines in shown.values()]
    expected = sorted((f"label {y}", *x.ravel()) for x, y in zip(images, labels))
    assert sorted(rows["train"] + rows["val"]) == expected
    assert len(samples(lab.run("show", ini))) == 5, "a few, where none are named"


def test_flat_is_what_the_model_takes(lab, arrays):
    images = arrays["train"][0]
    for normalize, values in (("none", images[3]), ("unit", images[3] / 255),
                              ("standardize", (images[3] - images.mean()) / images.std())):
        ini = lab.config(data__normalize=normalize)
        (_, *lines), = samples(lab.run("show", ini, "--flat", "--index", "3")).values()
        np.testing.assert_allclose(numbers(lines), values.ravel(), rtol=2e-5, atol=2e-6)


def test_rows_have_the_names_of_their_columns(tables):
    for name, line in (("two_inputs", "hours 4  slept 7  score 80"),
                       ("logistic", "hours 1.2654  score 1.38  label 0 (failed)")):
        shown = samples(tables.run("show", f"configs/{name}.ini", "--index", "1"))
        assert shown == {("train", 1): [line]}, name


def test_wide_rows_are_cut(tables):
    (tables.dir / "wide.csv").write_text(
        ",".join(f"c{k}" for k in range(31)) + "\n" + ",".join(map(str, range(31))) + "\n")
    wide = "configs/linear.ini", "data.train=wide.csv", "data.target=c30"
    (line,), = samples(tables.run("show", *wide)).values()
    assert line.startswith("c0 0  c1 1  ") and line.endswith("c23 23  and 6 more inputs (--flat "
                                                            "prints all)  c30 30")
    (line, *flat), = samples(tables.run("show", *wide, "--flat")).values()
    assert line == "c30 30" and numbers(flat).tolist() == list(range(30))


def parameters(result):
    """{name and shape: lines below it}"""
    found, last = {}, None
    for line in result.expect(0).out.splitlines():
        match = re.match(r"(\d+\.\w+ \[[\d,]+\])(.*)", line)
        if match:
            last = found.setdefault(match[1], [match[2]])
        elif last:
            last.append(line)
    return found


def test_parameters_are_those_that_training_begins_with(lab):
    ini = lab.config(model__layers="dense:6", optimizer__lr=1e-30)
    shown = parameters(lab.run("show", ini, "--params"))
    lab.run(ini).expect(0)
    model = lab.out().model()
    assert list(shown) == [f"0.weight [6,{FEATURES}]", "0.bias [6]", "1.weight [10,6]", "1.bias [10]"]
    for name, (spread, *lines) in shown.items():
        value = model[name.split()[0]]
        if value.size > 64:
            low, high = re.match(r"  (\S+) to (\S+), mean ", spread).groups()
            np.testing.assert_allclose([float(low), float(high)], [value.min(), value.max()],
                                       rtol=6e-3)
            line, = lines
            assert line.endswith(" ...")
            np.testing.assert_allclose(numbers([line[:-4]]), value.ravel()[:14], rtol=1e-5)
        else:
            assert not spread and len(lines) == (len(value) if value.ndim > 1 else 1)
            np.testing.assert_allclose(numbers(lines), value.ravel(), rtol=1e-5)


def test_parameters_that_the_config_gives(tables):
    shown = parameters(tables.run("show", "configs/two_inputs.ini", "--params", ranks=2))
    assert shown == {"0.weight [1,2]": ["", " 0.3367 0.1288"], "0.bias [1]": ["", " 0.2345"]}
    tables.run("show", "configs/two_inputs.ini", "--params", "model.init_weight=1 2 3", ranks=2).fails(
        2, "init_weight")


@pytest.mark.parametrize("args, code, mentions", [
    (["--index", "603"], 2, ["603", "train", "0 to 602"]),
    (["--index", "3-1"], 2, ["3-1"]), (["--index", "-1"], 2, ["-1"]), (["--index", ""], 2, ["--index"]),
    (["--index", "1,"], 2, ["1,"]), (["--index", "99999999999999999999"], 2, ["603 samples"]),
    (["--split", "all"], 2, ["train, val or test"]), (["--split", "val"], 2, ["data.validation"]),
    (["--input", "x.csv"], 2, ["--input", "show"]),
], ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_what_can_not_be_shown_is_refused(lab, args, code, mentions):
    lab.run("show", lab.config(), *args).fails(code, *mentions)


def test_no_test_set_is_exit_3(tables):
    tables.run("show", "configs/linear.ini", "--split", "test", ranks=2).fails(3, "data.test")


@pytest.mark.parametrize("ranks", [None, 3])
def test_the_gradient_of_the_first_batch(tables, ranks):
    """Of mse at w = 0.5, -1, b = 2: 2/n sum (w x + b - y) x. Nothing of the optimizer is in it."""
    (tables.dir / "t.csv").write_text("a,b,y\n" + "".join(
        f"{a},{b},{y}\n" for a, b, y in [(1, 2, 3), (2, 0.5, 1), (0, 4, -1), (3, 1, 2.5), (-1, 2, 0)]))
    x = np.array([(1, 2), (2, 0.5), (0, 4), (3, 1), (-1, 2)])
    error = x @ [0.5, -1] + 2 - np.array([3, 1, -1, 2.5, 0])
    config = tables.config(data__dir=None, data__train="t.csv", model__layers=None, model__init="constant",
                           model__init_weight="0.5 -1", model__init_bias=2, loss__name="mse",
                           train__batch_size=0, optimizer__name="adamw", optimizer__lr=0.1,
                           optimizer__clip_norm=0.01, optimizer__weight_decay=0.1, train__ema=0.9)
    out = tables.run("show", config, "--gradient", "--params", ranks=ranks).expect(0).out.splitlines()
    at = out.index("0.weight [1,2]"), out.index("0.weight [1,2]", out.index("0.weight [1,2]") + 1)
    assert numbers([out[at[0] + 1]]).tolist() == [0.5, -1] and numbers([out[at[0] + 3]]).tolist() == [2]
    np.testing.assert_allclose(numbers([out[at[1] + 1]]), 2 / 5 * error @ x, rtol=1e-5)
    np.testing.assert_allclose(numbers([out[at[1] + 3]]), 2 / 5 * error.sum(), rtol=1e-5)
    norm = np.hypot(np.linalg.norm(2 / 5 * error @ x), 2 / 5 * error.sum())
    line = re.match(r"gradient of the first batch: 5 samples, loss (\S+), norm (\S+)", out[at[1] - 1])
    np.testing.assert_allclose([float(v) for v in line.groups()], [(error ** 2).mean(), norm], rtol=1e-5)
    assert not (tables.dir / "runs").exists()
