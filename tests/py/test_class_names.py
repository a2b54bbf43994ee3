"""Labels that are texts: the classes are found by themselves, and predictions name them."""

import re

import h5py
import numpy as np
import pytest

from helpers import Lab, assert_same_bits

RNG = np.random.default_rng(3)
KIND = RNG.permutation(np.repeat(np.arange(3), 30))
X = np.round(RNG.normal(0, 1, (90, 2)) + np.stack([KIND, -KIND], 1), 4)
NAMES = ["Setosa", "versicolor", "virginica, or so"]
TRAIN = {"data__dir": None, "model__layers": None, "train__batch_size": 16, "optimizer__lr": 0.1}


def table(path, label, kinds=KIND, index=False):
    rows = [f'{k},{x[0]},{x[1]},"{label(c)}"' for k, (x, c) in enumerate(zip(X, kinds))]
    rows = ["#,length,width,kind".replace("#", ""), *rows]
    path.write_text("\n".join(row if index else row.partition(",")[2] for row in rows) + "\n")


def model(run):
    return {name: value for name, value in run.bits().items() if name.startswith("model/")}


@pytest.fixture
def lab(tmp_path):
    """`numbers` is a run of the same table with class numbers."""
    lab = Lab(tmp_path, tmp_path)
    table(tmp_path / "numbers.csv", str)
    table(tmp_path / "names.csv", lambda c: NAMES[c])
    lab.run(lab.config("numbers.ini", data__train="numbers.csv", data__test="numbers.csv",
                       **TRAIN)).expect(0)
    return lab


@pytest.mark.parametrize("ranks", [None, 2])
def test_names_are_sorted_stored_and_printed(lab, ranks):
    result = lab.run(lab.config("names.ini", data__train="names.csv", data__test="names.csv",
                                **TRAIN), ranks=ranks).expect(0)
    run = lab.out("names")
    assert "target  kind (Setosa, versicolor, virginica, or so) from length, width\n" in result.out
    assert list(run.attr("model", "classes")) == NAMES
    assert_same_bits(model(run), model(lab.out("numbers")), "class numbers")
    figures = [re.sub(r"^(Setosa|versicolor|virginica, or|[012]) +", "", line) for name in ("names", "numbers")
               for line in lab.run("eval", lab.out(name).path).out.splitlines() if "taken for" not in line]
    assert figures[:len(figures) // 2] == figures[len(figures) // 2:]
    lines = lab.run("predict", run.path, "--output", "p.csv").expect(0) and \
        (lab.dir / "p.csv").read_text().splitlines()
    assert lines[0].startswith("index,label,prediction,name,p0") and len(lines) == 91
    assert {line.split(",", 3)[3].rsplit(",", 3)[0] for line in lines[1:]} <= \
        {"Setosa", "versicolor", '"virginica, or so"'}
    shown = lab.run("show", "names.ini", "--index", "0").out
    assert f"label {KIND[0]} ({NAMES[KIND[0]]})" in shown


def test_a_run_goes_on_and_reads_other_files_by_the_names(lab):
    lab.config("names.ini", data__train="names.csv", **TRAIN)
    lab.run("names.ini", "train.max_steps=3").expect(75)
    lab.run("names.ini").expect(0)
    assert_same_bits(model(lab.out("names")), model(lab.out("numbers")), "never stopped")
    some = np.where(KIND > 0)[0]
    (lab.dir / "two.csv").write_text("width,kind,length\n" + "".join(
        f'{X[k][1]},"{NAMES[KIND[k]]}",{X[k][0]}\n' for k in some))
    text = lab.run("eval", lab.out("names").path, "data.test=two.csv").expect(0).out
    assert f"({len(some)} samples)" in text
    accuracy = float(text.split("accuracy ")[1].split("%")[0])
    p = softmax_prediction(lab)
    assert accuracy == pytest.approx(100 * (p[some] == KIND[some]).mean(), abs=0.006)
    (lab.dir / "odd.csv").write_text("length,width,kind\n1,2,rose\n")
    lab.run("eval", lab.out("names").path, "data.test=odd.csv").fails(3, "odd.csv:2", "'rose'")


def softmax_prediction(lab):
    with h5py.File(lab.out("names").last) as file:
        return (X @ file["model/0.weight"][()].T + file["model/0.bias"][()]).argmax(1)


@pytest.mark.parametrize("loss", ["bce", "cross_entropy"])
def test_two_names(lab, loss):
    table(lab.dir / "two.csv", lambda c: ("no", "yes")[c > 0])
    table(lab.dir / "two01.csv", lambda c: int(c > 0))
    for name in "two", "two01":
        lab.run(lab.config(f"{name}.ini", data__train=f"{name}.csv", loss__name=loss,
                           **TRAIN)).expect(0)
    assert_same_bits(model(lab.out("two")), model(lab.out("two01")), "0 and 1")
    assert list(lab.out("two").attr("model", "classes")) == ["no", "yes"]


def test_the_first_column_without_a_name_is_left_out(lab):
    table(lab.dir / "names.csv", lambda c: NAMES[c], index=True)
    result = lab.run(lab.config("names.ini", data__train="names.csv", data__test="names.csv",
                                **TRAIN)).expect(0)
    assert result.err.count("the first column, '', is taken for the rows' numbers and left out") == 1
    assert_same_bits(model(lab.out("names")), model(lab.out("numbers")), "without it")
    result = lab.run("predict", lab.out("numbers").path, "--input", "names.csv")
    assert "not used" not in result.err


def test_scores_are_not_taken_for_classes(lab):
    """Nor do classes without a sample need names, as long as most have one."""
    (lab.dir / "scores.csv").write_text("hours,score\n" + "".join(
        f"{k},{75 + k % 24}\n" for k in range(60)))
    config = lab.config(data__train="scores.csv", **TRAIN)
    lab.run(config).fails(3, "score has 24 different values from 75 to 98", "loss.name = mse",
                          "data.classes")
    lab.run(config, "loss.name=mse", "optimizer.lr=1e-4").expect(0)
    np.save(lab.dir / "x.npy", np.arange(60.0))
    np.save(lab.dir / "y.npy", 75 + np.arange(60) % 24)
    lab.run(config, "data.train=x.npy", "run.name=npy").fails(3, "24 different values", "loss.name = mse")
    (lab.dir / "scores.csv").write_text("hours,score\n" + "".join(
        f"{k},{1 + k % 24}\n" for k in range(60)))
    lab.run(config, "run.name=few").expect(0)


@pytest.mark.parametrize("cells, loss, mentions", [
    ("abc", "bce", ["'y'", "3 classes", "cross_entropy"]), ("aaa", "bce", ["'y'", "1 class ", "two"]),
    ("aaa", "cross_entropy", ["nothing to tell apart"]),
    ([f"name {k}" for k in range(30)], "cross_entropy", ["'y'", "30 different texts", "data.target"])])
def test_what_can_be_no_classes(lab, cells, loss, mentions):
    (lab.dir / "x.csv").write_text("a,y\n" + "".join(f"{k},{c}\n" for k, c in enumerate(cells)))
    lab.run(lab.config(data__train="x.csv", loss__name=loss, **TRAIN)).fails(3, "x.csv", *mentions)


@pytest.mark.parametrize("text", [b"a,\xe4,y\n1,2,x\n2,3,z\n", b"a,y\n1,x\xe4\n2,z\n1,z\n"])
def test_names_are_utf8(lab, text):
    (lab.dir / "x.csv").write_bytes(text)
    lab.run(lab.config(data__train="x.csv", **{**TRAIN, "train__batch_size": 0})).fails(
        3, "x.csv", "not UTF-8", "scripts/prepare.py")


# ---- HDF5 ----

def texts(kind):
    names = np.array([NAMES[c] for c in KIND])
    return dict(data=names.astype("S")) if kind == "fixed" else \
        dict(data=names.astype(object), dtype=h5py.string_dtype())


@pytest.mark.parametrize("kind", ["fixed", "variable"])
def test_texts_in_hdf5(lab, kind):
    with h5py.File(lab.dir / "data.h5", "w") as file:
        file["x"] = X.astype("f4")
        file.create_dataset("y", **texts(kind))
    lab.run(lab.config("names.ini", data__train="data.h5", data__test="data.h5", **TRAIN)).expect(0)
    assert list(lab.out("names").attr("model", "classes")) == NAMES
    assert_same_bits(model(lab.out("names")), model(lab.out("numbers")), "class numbers")
    lab.run("eval", lab.out("names").path).expect(0)
    lab.run("names.ini", "loss.name=mse", "run.name=mse").fails(3, "texts", "cross_entropy")
    lab.run("eval", lab.out("numbers").path, "data.test=data.h5").fails(3, "'/y'", "classes that are known")


def test_attributes_of_hdf5_name_columns_and_classes(lab):
    with h5py.File(lab.dir / "data.h5", "w") as file:
        file["x"], file["y"] = X.astype("f4"), KIND
        file["x"].attrs["columns"] = ["length", "width"]
        file["y"].attrs["columns"], file["y"].attrs["classes"] = ["kind"], NAMES
    result = lab.run(lab.config("names.ini", data__train="data.h5", **TRAIN)).expect(0)
    assert "target  kind (Setosa, versicolor, virginica, or so) from length, width\n" in result.out
    run = lab.out("names")
    assert list(run.attr("model", "classes")) == NAMES
    assert list(run.attr("model", "columns")) == ["length", "width", "kind"]
    assert_same_bits(model(run), model(lab.out("numbers")), "class numbers")
    for name in "names.csv", "data.h5":  # by the columns' names, and by their order
        lab.run("predict", run.path, "--input", name, "--output", name + ".out").expect(0)
    assert (lab.dir / "names.csv.out").read_text() == (lab.dir / "data.h5.out").read_text()
    with h5py.File(lab.dir / "data.h5", "a") as file:
        file["x"].attrs["columns"] = ["width", "length"]
    lab.run("predict", run.path, "--input", "data.h5").fails(3, "column 1 is 'width'", "'length'")
    with h5py.File(lab.dir / "data.h5", "a") as file:
        file["x"].attrs["columns"] = ["length"]
    lab.run("names.ini", "run.name=short").fails(3, "columns' names")
    lab.run("names.ini", "run.name=two", "loss.name=bce").fails(3, "3 classes", "bce has two")
