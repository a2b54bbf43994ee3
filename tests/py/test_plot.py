"""scripts/plot.py: the pictures of a run are there, whole, and of a readable size."""

import csv
import os
import re
import shutil
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET

import h5py
import numpy as np
import pytest

from helpers import REPO, TRAINER, Lab

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

SVG = "{http://www.w3.org/2000/svg}"


def plot(lab, run, *args):
    env = {**os.environ, "TRAINER": str(TRAINER)}
    return subprocess.run([sys.executable, REPO / "scripts" / "plot.py", f"runs/{run}", *args],
                          cwd=lab.dir, env=env, capture_output=True, text=True, timeout=120)


def check(lab, run, names, *args, largest=2500):
    """Plots, and asserts that exactly these pictures came, each as PNG and SVG."""
    done = plot(lab, run, *args)
    assert done.returncode == 0, done.stderr
    folder = lab.dir / "runs" / run / "plots"
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        f"{name}.{kind}" for name in names for kind in ("png", "svg"))
    for name in names:
        raw = (folder / f"{name}.png").read_bytes()
        assert raw[:8] == b"\x89PNG\r\n\x1a\n" and raw[-8:-4] == b"IEND"
        width, height = struct.unpack(">2I", raw[16:24])
        assert 500 <= width <= largest and 400 <= height <= largest, (name, width, height)
        root = ET.parse(folder / f"{name}.svg").getroot()
        assert root.tag == f"{SVG}svg"
        assert len(list(root.iter(f"{SVG}path"))) > 10, f"{name}.svg is nearly empty"
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("config, overrides, names", [
    ("linear", (), {"curves", "fit"}),
    ("two_inputs", ("train.epochs=300",), {"curves", "fit"}),
    ("logistic_1d", (), {"curves", "fit", "confusion"}),
    ("logistic", ("data.test=configs/data/students.csv",), {"curves", "fit", "confusion"}),
])
def test_tables(tmp_path, config, overrides, names):
    lab = Lab(tmp_path, "none")
    (tmp_path / "configs").symlink_to(REPO / "configs")
    lab.run(f"configs/{config}.ini", *overrides).expect(0)
    check(lab, config, names)


@pytest.mark.slow
@pytest.mark.parametrize("layers, names", [
    ("", {"weights"}), ("dense:70 relu dense:9", {"kernels", "maps"}),
    ("conv:5@3 relu maxpool:2 dense:20 relu", {"kernels", "maps"})])
def test_images(lab, layers, names):
    lab.config(model__layers=layers, data__validation=50)
    lab.run("run.ini").expect(0)
    check(lab, "run", {"curves", "confusion", "images"} | names)


# ---- what is in the pictures ----

sys.path.insert(0, str(REPO / "scripts"))
import plot as script  # noqa: E402


def drawn(lab, run, draw):
    """Has the script draw into memory: {picture's name: its axes}."""
    script.plt.close("all")
    kept = {}
    folder = os.getcwd()
    os.chdir(lab.dir)
    try:
        run = script.Run(f"runs/{run}")
        run.save = lambda figure, name: kept.update({name: figure.axes})
        os.environ.setdefault("TRAINER", str(TRAINER))
        draw(run)
    finally:
        os.chdir(folder)
    return kept


@pytest.fixture
def kinds(tmp_path):
    """A finished run on two inputs and three classes, 9 of 30 rows held out, no test set."""
    lab = Lab(tmp_path, "none")
    (tmp_path / "t.csv").write_text("a,b,kind\n" + "".join(
        f"{row % 3},{row},{'xyz'[row % 3]}\n" for row in range(40)))
    lab.config(data__dir=None, data__train="t.csv", data__classes="x,y,z", data__limit=30,
               data__validation=0.3, model__layers="", train__epochs=1, train__batch_size=0)
    lab.run("run.ini").expect(0)
    return lab


def split(lab, name):
    """What predict says of that split: its rows in the training file, and their mean loss."""
    lab.run("predict", lab.out().last, "--split", name, "--output", "out.csv").expect(0)
    rows = np.genfromtxt(lab.dir / "out.csv", delimiter=",", names=True, dtype=None, encoding=None)
    return rows["index"].tolist(), -np.mean([np.log(row[f"p{row['label']}"]) for row in rows])


def test_predict_takes_the_split_that_the_trainer_made(kinds):
    [held, loss], [used, _] = split(kinds, "val"), split(kinds, "train")
    assert len(held) == 9 and sorted(held + used) == list(range(30))
    assert kinds.out().table("epochs")["val_loss"][-1] == pytest.approx(loss, rel=1e-5)
    kinds.run("predict", kinds.out().last, "--split", "all").fails(2, "train, val or test")
    kinds.run("predict", kinds.out().last, "--split", "val", "data.validation=0").fails(2, "held nothing")


def test_training_and_held_out_accuracy_stand_side_by_side(kinds):
    _, axis = drawn(kinds, "run", script.plot_runs.draw_curves)["curves"]
    epochs = kinds.out().table("epochs")
    found = {line.get_label(): line.get_ydata().tolist() for line in axis.get_lines()}
    assert found == {"training": [100 * epochs["train_accuracy"][0]], "validation": [100 * epochs["val_accuracy"][0]]}


def test_a_pipe_that_ends_ends_it(kinds):
    done = subprocess.run(["bash", "-c", f"'{sys.executable}' '{REPO}/scripts/plot.py' runs/run | true"], cwd=kinds.dir,
                          env={**os.environ, "TRAINER": str(TRAINER)}, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""


def test_points_that_were_held_out_are_marked(kinds):
    [axis] = drawn(kinds, "run", script.draw_fit)["fit"]
    lines = {line.get_label(): line.get_xydata() for line in axis.get_lines()}
    held, _ = split(kinds, "val")
    assert sorted(lines["held out (validation split)"][:, 1]) == held
    assert sum(len(lines[kind]) for kind in "xyz") == 30


def test_the_confusion_without_a_test_set_is_that_of_the_validation_split(kinds):
    axis = drawn(kinds, "run", script.draw_classes)["confusion"][0]
    assert "validation split" in axis.get_title() and axis.get_title().endswith("of 9")
    kinds.config(data__dir=None, data__train="t.csv", data__classes="x,y,z", data__limit=30,
                 run__name="all", model__layers="", train__epochs=1, train__batch_size=0)
    kinds.run("run.ini").expect(0)
    axis = drawn(kinds, "all", script.draw_classes)["confusion"][0]
    assert "training set" in axis.get_title() and axis.get_title().endswith("of 30")


@pytest.mark.parametrize("axis", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_colours_come_first_or_last(lab, arrays, axis):
    images, labels = arrays["test"]
    colour = np.stack([images, images // 2, 255 - images], axis)
    with h5py.File(lab.dir / "colour.h5", "w") as file:
        file["images"], file["labels"] = colour, labels
    lab.config(data__dir=None, data__train="colour.h5", data__test="colour.h5", train__epochs=1,
               model__layers="")
    lab.run("run.ini").expect(0)
    pictures = drawn(lab, "run", script.draw_classes)
    first = pictures["images"][0].get_images()[0].get_array()
    assert np.array_equal(first, np.moveaxis(colour, axis, -1)[0] / 255)
    weights = pictures["weights"][3].get_images()[0].get_array()
    with h5py.File(lab.out().last, "r") as file:
        expected = file["model/0.weight"][3].reshape(3, *images.shape[1:]).mean(axis=0)
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-8)


# Every layer, strides, padding, an activation first.
NETS = ["relu dense:9 tanh", "conv:5@3/2+1 gelu maxpool:3/2 layernorm dense:12 softplus layernorm",
        "conv:4@4 sigmoid avgpool:2 conv:3@2 leaky_relu flatten dropout:0.2", "dropout:0.1 maxpool:2"]


@pytest.mark.parametrize("normalize", ["unit", "standardize"])
@pytest.mark.parametrize("net", NETS)
def test_what_the_layers_make_is_what_the_trainer_predicts(lab, arrays, net, normalize):
    lab.config(model__layers=net, train__epochs=1, data__normalize=normalize)
    lab.run("run.ini").expect(0)
    ours = script.plot_layers.Net(lab.out().last)
    z = ours.outputs(ours.normalised(arrays["test"][0][3]))[-1][1]
    lab.run("predict", lab.out().last, "--index", "3", "--output", "p.csv").expect(0)
    with open(lab.dir / "p.csv", newline="") as file:
        [row] = csv.DictReader(file)
    expected = [float(row[f"p{k}"]) for k in range(len(z))]
    np.testing.assert_allclose(np.exp(z) / np.exp(z).sum(), expected, atol=2e-6)


@pytest.mark.parametrize("axis", [1, 3])
def test_kernels_and_maps_show_the_model_s_numbers(lab, arrays, axis):
    images, labels = arrays["test"]
    colour = np.stack([images, images // 2, 255 - images], axis)
    with h5py.File(lab.dir / "colour.h5", "w") as file:
        file["images"], file["labels"] = colour, labels
    lab.config(data__dir=None, data__train="colour.h5", data__test="colour.h5", train__epochs=1,
               model__layers="conv:5@3 relu conv:14@3 tanh maxpool:2 dense:8 relu")
    lab.run("run.ini").expect(0)
    with h5py.File(lab.out().last, "r") as file:
        weight, bias = file["model/0.weight"][()], file["model/0.bias"][()]
    pictures = drawn(lab, "run", script.draw_layers)
    kernels = [axes.get_images()[0].get_array() for axes in pictures["kernels"][:5]]
    most = np.abs(weight).max()
    np.testing.assert_allclose(kernels, 0.5 + np.moveaxis(weight, 1, -1) / (2 * most), rtol=1e-6)
    shown = [axes.get_images()[0].get_array() for axes in pictures["maps"] if axes.get_images()]
    assert len(shown) == 3 + 5 + 12 + 12 + 1, "input, two convolutions, pooling, a flat layer"
    x = np.stack([images[0], images[0] // 2, 255 - images[0]]) / 255
    z = [(x[:, 4:7, 6:9] * w).sum() + b for w, b in zip(weight, bias)]
    np.testing.assert_allclose([m[4, 6] for m in shown[3:8]], np.maximum(z, 0), atol=1e-6)


def test_no_run_is_said(lab):
    done = plot(lab, "none")
    assert done.returncode != 0 and "runs/none" in done.stderr
    assert "Traceback" not in done.stderr


def many_inputs(lab, name="many.csv"):
    rng = np.random.default_rng(6)
    x = rng.normal(0, 1, (60, 4)).round(3)
    y = (x @ rng.normal(0, 1, (4, 2))).round(3)
    (lab.dir / name).write_text("a,b,c,d,u,v\n" + "".join(
        ",".join(map(str, [*r, *t])) + "\n" for r, t in zip(x, y)))
    return y


def test_predicted_values_stand_beside_the_true_ones(tmp_path):
    lab = Lab(tmp_path, tmp_path)
    y = many_inputs(lab)
    lab.train("run.name=many", data__dir=None, data__train="many.csv", data__target="u,v", model__layers=None,
              loss__name="mse", train__epochs=3, train__batch_size=10)
    folder = check(lab, "many", {"curves", "predicted"})
    text = (folder / "predicted.svg").read_text()
    assert "<!-- u, true -->" in text and "<!-- v, predicted -->" in text
    sys.path.insert(0, str(REPO / "scripts"))
    import plot
    import plot_runs
    os.environ["TRAINER"] = str(TRAINER)
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        np.testing.assert_allclose(plot_runs.table(plot.Run("runs/many"), "many.csv")[1], y)
    finally:
        os.chdir(here)


def test_new_samples_lie_on_the_fit(tmp_path):
    """Of a table as CSV, with a column more, and as HDF5."""
    lab = Lab(tmp_path, tmp_path)
    x = np.linspace(0, 5, 40).round(3)
    (lab.dir / "line.csv").write_text("hours,noise,score\n" + "".join(f"{v},{v % 1},{2 * v + 1:.3f}\n" for v in x))
    with h5py.File(lab.dir / "line.h5", "w") as file:
        file["x"], file["y"] = x[:, None], 2 * x + 1
        file["x"].attrs["columns"], file["y"].attrs["columns"] = ["hours"], ["score"]
    (lab.dir / "new.csv").write_text("hours\n2.5\n7\n")
    (lab.dir / "other.csv").write_text("minutes\n2.5\n")
    for kind in "csv", "h5":
        lab.train(f"run.name={kind}", data__dir=None, data__train=f"line.{kind}",
                  data__exclude="noise" if kind == "csv" else None,
                  model__layers=None, loss__name="mse", optimizer__lr=0.02, train__epochs=100, train__batch_size=10)
        check(lab, kind, {"curves", "fit"}, "--input", "new.csv")
        text = (lab.out(kind).path / "plots/fit.svg").read_text()
        words = re.findall("<!-- (.*?) -->", text)
        assert "new, predicted" in words
        for value in 6, 15:
            assert any(abs(float(word) - value) < 0.1 for word in words if re.fullmatch(r"\d+\.\d{2,}", word)), words
        (lab.dir / "empty.csv").write_text("hours\n")
        for file, says in (("nowhere.csv", "No such file"), ("other.csv", "no column 'hours'"),
                           ("empty.csv", "no rows")):
            done = plot(lab, kind, "--input", file)
            assert done.returncode == 4 and done.stderr.startswith(f"plot.py: {file}") and says in done.stderr
            assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("count", [3, 62])
def test_classes_have_regions_names_and_counts(tmp_path, count):
    lab = Lab(tmp_path, tmp_path)
    rng = np.random.default_rng(7)
    kind = np.arange(20 * count) % count
    at = np.stack([kind % 8, kind // 8], 1) + rng.normal(0, 0.2, (len(kind), 2))
    (lab.dir / "kinds.csv").write_text("u,v,kind\n" + "".join(
        f"{a:.3f},{b:.3f},k{c:02}\n" for (a, b), c in zip(at, kind)))
    lab.train(data__dir=None, data__train="kinds.csv", model__layers="dense:32 tanh",
              train__epochs=5, train__batch_size=16, data__validation=0.2, optimizer__lr=0.3)
    text = (check(lab, "run", {"curves", "fit", "confusion"}, largest=3000) / "confusion.svg").read_text()
    assert all(f"<!-- k{k:02} -->" in text for k in range(count))


def test_several_runs_are_drawn_in_one_picture(lab):
    for seed in 1, 2:
        lab.train(f"run.name=r{seed}", f"run.seed={seed}", model__layers=None, train__epochs=2)
    done = subprocess.run([sys.executable, REPO / "scripts/plot.py", "runs/r1", "runs/r2"], cwd=lab.dir, text=True,
                          capture_output=True, timeout=120, check=False)
    assert done.returncode == 0 and done.stdout == "compare.png\ncompare.svg\n", done.stderr
    text = (lab.dir / "compare.svg").read_text()
    assert all(f"<!-- {word} -->" in text for word in ("test loss", "test accuracy", "r1", "r2"))


@pytest.mark.parametrize("damage", ["metrics cut", "checkpoint cut", "no epochs", "no model"])
@pytest.mark.parametrize("script", ["plot.py", "report.py"])
def test_a_damaged_file_is_named(lab, tmp_path, script, damage):
    lab.train("run.name=softmax", train__epochs=2, model__layers=None)
    shutil.copytree(lab.dir / "runs/softmax", tmp_path / "run", symlinks=True)
    path = tmp_path / "run" / ("metrics.h5" if damage in ("metrics cut", "no epochs") else "checkpoints/last.h5")
    if damage.endswith("cut"):
        path.write_bytes(path.read_bytes()[:3000])
    else:
        with h5py.File(path, "r+") as file:
            del file[damage.split()[1]]
    done = subprocess.run([sys.executable, REPO / "scripts" / script, tmp_path / "run"], cwd=lab.dir, text=True,
                          capture_output=True, check=False, env={**os.environ, "TRAINER": str(TRAINER)})
    assert done.returncode == 4 and len(done.stderr.splitlines()) == 1 and str(path) in done.stderr, done.stderr


def test_runs_of_one_name_are_told_apart(lab, tmp_path):
    lab.train("run.name=softmax", train__epochs=2, model__layers=None)
    shutil.copytree(lab.dir / "runs/softmax", tmp_path / "softmax", symlinks=True)
    done = plot(lab, "softmax", str(tmp_path / "softmax"))
    assert done.returncode == 0 and str(tmp_path / "softmax") in (lab.dir / "compare.svg").read_text()
    assert plot(lab, "softmax", "runs/nothing").returncode == 4


def test_small_sets_are_drawn(lab, arrays):
    lab.config()
    with h5py.File(lab.dir / "six.h5", "w") as file:
        file["images"], file["labels"] = arrays["train"][0][:6], arrays["train"][1][:6]
    for option in ("--data", "--augment"):
        done = subprocess.run([sys.executable, REPO / "scripts/plot.py", option, "run.ini", "data.dir=",
                               "data.train=six.h5", "augment.shift=1", "train.batch_size=2"], cwd=lab.dir, text=True,
                              capture_output=True, check=False, env={**os.environ, "TRAINER": str(TRAINER)})
        assert done.returncode == 0, done.stderr


def test_a_csv_that_bench_has_not_written_is_said(tmp_path):
    for text in ("", "a,b\n1,2\n"):
        (tmp_path / "x.csv").write_text(text)
        done = subprocess.run([sys.executable, REPO / "scripts/plot_bench.py", tmp_path / "x.csv"], text=True,
                              capture_output=True, check=False)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
