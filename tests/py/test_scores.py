"""trainer eval: the figures of each class or target, on the terminal and as files."""

import csv
import re

import h5py
import numpy as np
import pytest

from helpers import CLASSES, Lab

RUN = {"model__layers": "dense:12 relu", "train__epochs": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    """A run of ten classes, its predictions of the test set, and eval's output."""
    lab = Lab(tmp_path_factory.mktemp("scores"), data)
    lab.train(**RUN, data__classes=", ".join(f"kind {k}" for k in range(CLASSES)))
    lab.run("predict", lab.out().path, "--output", "p.csv").expect(0)
    rows = np.genfromtxt(lab.dir / "p.csv", delimiter=",", skip_header=1)
    lab.label, lab.top, lab.p = rows[:, 1].astype(int), rows[:, 2].astype(int), rows[:, 4:]
    lab.result = lab.run("eval", lab.out().path, "--output", "scores.csv").expect(0)
    return lab


def confusion(y, top, classes):
    found = np.zeros((classes, classes), int)
    np.add.at(found, (y, top), 1)
    return found


def rates(matrix):
    hits = np.diag(matrix)
    precision = np.divide(hits, matrix.sum(0), out=np.zeros(len(hits)), where=matrix.sum(0) > 0)
    recall = np.divide(hits, matrix.sum(1), out=np.zeros(len(hits)), where=matrix.sum(1) > 0)
    both = precision + recall
    return precision, recall, np.divide(2 * precision * recall, both, out=np.zeros(len(hits)), where=both > 0)


def calibration(p, top, right, bins=15):
    sure = p[np.arange(len(top)), top]
    at = np.minimum((sure * bins).astype(int), bins - 1)
    return sum(abs(sure[at == b].sum() - right[at == b].sum()) for b in range(bins)) / len(top)


def test_the_first_line_is_as_ever_and_the_rest_agrees(trained):
    lines = trained.result.out.splitlines()
    assert trained.result.test_line()[2] == len(trained.label) and lines[0].startswith("test: ")
    matrix = confusion(trained.label, trained.top, CLASSES)
    expected = [100 * v for v in rates(matrix)]
    for k in range(CLASSES):
        words = re.match(rf"kind {k} +(\d+) +(\S+)% +(\S+)% +(\S+)%$", lines[2 + k]).groups()
        assert int(words[0]) == (trained.label == k).sum()
        np.testing.assert_allclose([float(w) for w in words[1:]], [e[k] for e in expected], atol=0.006)
    mean = re.match(r"mean +(\S+)% +(\S+)% +(\S+)%$", lines[2 + CLASSES]).groups()
    np.testing.assert_allclose([float(w) for w in mean], [e.mean() for e in expected], atol=0.006)
    shown = [[int(w) for w in line[14:].split()] for line in lines[4 + CLASSES:4 + 2 * CLASSES]]
    assert shown == matrix.tolist()
    order = np.argsort(-trained.p, axis=1, kind="stable")[:, :5]
    top5 = 100 * (order == trained.label[:, None]).any(1).mean()
    assert f"among the five likeliest: {top5:.2f}%" in lines
    error = float(re.search(r"calibration error: (\S+)%", trained.result.out)[1])
    assert error == pytest.approx(100 * calibration(trained.p, trained.top, trained.top == trained.label), abs=0.02)


def test_files_hold_the_same(trained):
    matrix = confusion(trained.label, trained.top, CLASSES)
    expected = rates(matrix)
    with open(trained.dir / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [f"kind {k}" for k in range(CLASSES)]
    for k, row in enumerate(rows):
        np.testing.assert_allclose([float(row[n]) for n in ("precision", "recall", "f1")],
                                   [e[k] for e in expected], rtol=1e-8)
        assert [int(row[f"predicted_{j}"]) for j in range(CLASSES)] == matrix[k].tolist()
    trained.run("eval", trained.out().path, "--output", "scores.h5", ranks=2).expect(0)
    with h5py.File(trained.dir / "scores.h5") as file:
        assert (file["confusion"][()] == matrix).all()
        for name, e in zip(("precision", "recall", "f1"), expected):
            np.testing.assert_allclose(file[name][()], e, rtol=1e-12)
        assert list(file.attrs["names"]) == [f"kind {k}" for k in range(CLASSES)]
        assert 0 < file.attrs["top5_accuracy"] <= 1 and file.attrs["samples"] == len(trained.label)


def test_as_scikit_learn_has_them(trained):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    expected = metrics.precision_recall_fscore_support(trained.label, trained.top, zero_division=0)
    for got, e in zip(rates(confusion(trained.label, trained.top, CLASSES)), expected):
        np.testing.assert_allclose(got, e)


def test_many_classes_show_what_is_confused(tmp_path):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 30, 600)
    (tmp_path / "t.csv").write_text("a,b,y\n" + "".join(f"{v % 6 + rng.normal():.3f},{v // 6},{v}\n" for v in y))
    lab = Lab(tmp_path, tmp_path)
    lab.train(data__dir=None, data__train="t.csv", model__layers=None, train__batch_size=32)
    out = lab.run("eval", lab.out().path, "--split", "train").expect(0).out
    lines = re.findall(r"^(\d+) is taken for (\d+): (\d+) times$", out, re.M)
    counts = [int(n) for _, _, n in lines]
    assert len(lines) == 10 and counts == sorted(counts, reverse=True) and "taken for  " not in out


@pytest.mark.parametrize("outputs", [1, 2])
def test_yes_or_no(tmp_path, outputs):
    """With ties: a saturated model gives many equal probabilities."""
    rng = np.random.default_rng(2)
    x = np.round(rng.normal(0, 1, (200, 2)), 1)
    y = (x + rng.normal(0, 1, x.shape) > 0)[:, :outputs].astype(int)
    names = ["u", "v"][:outputs]
    (tmp_path / "t.csv").write_text(",".join(["a", "b", *names]) + "\n" + "".join(
        ",".join(map(str, [*a, *b])) + "\n" for a, b in zip(x, y)))
    lab = Lab(tmp_path, tmp_path)
    lab.train(data__dir=None, data__train="t.csv", data__test="t.csv", data__target=", ".join(names),
              model__layers=None, loss__name="bce", train__epochs=1)
    lab.run("predict", lab.out().path, "--output", "p.csv").expect(0)
    with open(tmp_path / "p.csv", newline="") as file:
        p = np.array([[float(row[f"p{k + (outputs == 1)}"]) for k in range(outputs)]
                      for row in csv.DictReader(file)])
    out = lab.run("eval", lab.out().path, "--output", "s.csv").expect(0).out
    with open(tmp_path / "s.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for k, row in enumerate(rows):
        yes, said = y[:, k] == 1, p[:, k] > 0.5
        pairs = p[yes, k][:, None] - p[~yes, k][None]
        assert float(row["auc"]) == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2, abs=1e-6)
        assert float(row["precision"]) == pytest.approx(yes[said].mean())
        assert float(row["recall"]) == pytest.approx(said[yes].mean())
        assert int(row["yes"]) == yes.sum() and row["output"] == names[k]
    assert ("calibration error" in out) == (outputs == 1) and "ROC-AUC" in out


def test_numbers(tmp_path):
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (50, 2)).round(3)
    y = np.stack([x @ [1, 2] + rng.normal(0, .3, 50), x @ [-1, 1] + 4], 1).round(3)
    (tmp_path / "t.csv").write_text("a,b,u,v\n" + "".join(
        ",".join(map(str, [*a, *b])) + "\n" for a, b in zip(x, y)))
    lab = Lab(tmp_path, tmp_path)
    lab.train(data__dir=None, data__train="t.csv", data__test="t.csv", data__target="u,v", model__layers=None,
              loss__name="mse", train__epochs=3, train__batch_size=10)
    lab.run("predict", lab.out().path, "--output", "p.csv").expect(0)
    p = np.genfromtxt(tmp_path / "p.csv", delimiter=",", skip_header=1)[:, 3:]
    out = lab.run("eval", lab.out().path, "--output", "s.h5").expect(0).out
    error = p - y
    with h5py.File(tmp_path / "s.h5") as file:
        np.testing.assert_allclose(file["mae"][()], abs(error).mean(0), rtol=1e-5)
        np.testing.assert_allclose(file["rmse"][()], np.sqrt((error ** 2).mean(0)), rtol=1e-5)
        np.testing.assert_allclose(file["r2"][()], 1 - (error ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0), rtol=1e-5)
    worst = re.search(r"largest errors:\n +(\d+): (\w) is (\S+), predicted (\S+)", out)
    i, o = np.unravel_index(abs(error).argmax(), error.shape)
    assert (int(worst[1]), worst[2]) == (i, "uv"[o]) and float(worst[3]) == pytest.approx(y[i, o])


def test_a_place_that_cannot_be_written_is_exit_4(trained):
    trained.run("eval", trained.out().path, "--output", "nowhere/s.h5").fails(4, "nowhere")
    trained.run("eval", trained.out().path, "--output", ".").fails(4, "folder")
