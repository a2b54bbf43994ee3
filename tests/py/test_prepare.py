"""scripts/prepare.py: data as people have them become a file that the trainer reads."""

import gzip
import json
import struct
import subprocess
import sys

import h5py
import numpy as np
import pytest

from helpers import REPO, Lab, idx_bytes

pandas = pytest.importorskip("pandas", reason="pandas is not installed")
RNG = np.random.default_rng(4)
RUN = {"data__dir": None, "model__layers": None, "train__epochs": 20, "train__batch_size": 16,
       "optimizer__lr": 0.1, "data__normalize": "standardize"}


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path, tmp_path)


def prepare(lab, *args, code=0):
    done = subprocess.run([sys.executable, REPO / "scripts/prepare.py", *map(str, args)], cwd=lab.dir,
                          text=True, capture_output=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def read(lab, name, group="/"):
    with h5py.File(lab.dir / name) as file:
        sample = file[group].get("x", file[group].get("images"))
        label = file[group].get("y", file[group].get("labels"))
        return sample[()], label[()], dict(sample.attrs), dict(label.attrs)


def config_of(said):
    """The config lines that it prints, as Lab.config takes them."""
    section, found = "", {}
    for line in said.split("Config lines:")[1].splitlines():
        if line.startswith("["):
            section = line[1:-1]
        elif line:
            key, value = line.split(" = ")
            found[f"{section}__{key}"] = value
    return found


def train(lab, said, **more):
    return lab.run(lab.config(**{**RUN, **config_of(said), **more})).expect(0)


def iris():
    kind = RNG.permutation(np.repeat(np.arange(3), 50))
    x = RNG.normal(0, 0.4, (150, 4)) + np.stack([kind, -kind, kind, 0 * kind], 1)
    frame = pandas.DataFrame(x.round(2), columns=["sepal length", "sepal width", "petal length", "petal width"])
    frame["species"] = np.array(["setosa", "versicolor", "virginica"])[kind]
    return frame


def passengers(n=300):
    sex = RNG.choice(["male", "female"], n)
    frame = pandas.DataFrame({
        "PassengerId": np.arange(n) + 1, "Survived": (RNG.random(n) < np.where(sex == "female", .9, .1)).astype(int),
        "Name": [f"Doe, Mr. {k}" for k in range(n)], "Sex": sex, "Age": RNG.integers(1, 80, n).astype(float),
        "Embarked": RNG.choice(["S", "C", "Q"], n), "Boarded": pandas.date_range("1912-04-10", periods=n)})
    frame.loc[::5, "Age"] = np.nan
    frame.loc[::50, "Embarked"] = None
    return frame


# ---- tables ----

def test_a_table_as_pandas_writes_it(lab):
    iris().to_csv(lab.dir / "iris.csv")
    said = prepare(lab, "iris.csv", "-o", "iris.h5", "--test", "0.2")
    assert "target: 3 classes: setosa, versicolor, virginica" in said and "left out" in said
    x, y, named, labels = read(lab, "iris.h5", "train")
    assert list(named["columns"]) == ["sepal length", "sepal width", "petal length", "petal width"]
    assert (np.bincount(read(lab, "iris.h5", "test")[1]) == 10).all(), "each class in its share"
    assert x.shape == (120, 4) and list(labels["classes"]) == ["setosa", "versicolor", "virginica"]
    out = train(lab, said).out
    assert "target  species (setosa, versicolor, virginica) from sepal length" in out
    assert float(out.split("test accuracy ")[-1].split("%")[0]) > 85
    # new rows, of which the target isn't known, by the names in the run
    iris().drop(columns="species").head(7).to_csv(lab.dir / "new.csv", index=False)
    prepare(lab, "--like", "iris.h5", "new.csv", "-o", "new.h5")
    assert lab.run("predict", lab.out().path, "--input", "new.h5").expect(0).out.count("\n") == 8


def test_categories_dates_and_missing_cells(lab):
    frame = passengers()
    frame.to_csv(lab.dir / "p.csv", index=False)
    args = ["p.csv", "--target", "Survived", "--exclude", "Name,PassengerId", "-o", "p.h5"]
    assert "34" not in (err := prepare(lab, *args, code=2)) and "'Age' has 60 missing" in err and \
        "--missing drop" in err
    said = prepare(lab, *args, "--missing", "median", "--indicator")
    x, y, named, labels = read(lab, "p.h5")
    columns = list(named["columns"])
    assert columns == ["Sex=female", "Sex=male", "Age", "Age missing", "Embarked=C", "Embarked=Q", "Embarked=S",
                       "Embarked missing", "Boarded"]
    age = frame["Age"].fillna(frame["Age"].median())
    np.testing.assert_array_equal(x[:, 2], age.astype("f4"))
    np.testing.assert_array_equal(x[:, 3], frame["Age"].isna())
    np.testing.assert_array_equal(x[:, 0], frame["Sex"] == "female")
    assert x[0, 8] == (pandas.Timestamp("1912-04-10") - pandas.Timestamp(0)).days
    assert (y == frame["Survived"]).all() and list(labels["classes"]) == ["0", "1"]
    assert float(train(lab, said).out.split("validation accuracy ")[-1].split("%")[0]) > 75
    for how, value in ("mean", frame["Age"].mean()), ("most_frequent", frame["Age"].mode()[0]):
        prepare(lab, *args, "--missing", how)
        assert read(lab, "p.h5")[0][0, 2] == np.float32(value)
    assert "rows dropped" in prepare(lab, *args, "--missing", "drop", "--categories", "codes")
    x, _, named, _ = read(lab, "p.h5")
    assert list(named["columns"]) == ["Sex", "Age", "Embarked", "Boarded"]
    keep = frame["Age"].notna() & frame["Embarked"].notna()
    assert len(x) == keep.sum()
    np.testing.assert_array_equal(x[:, 2], frame["Embarked"][keep].map({"C": 0, "Q": 1, "S": 2}))


GERMAN = "Fläche;Zimmer;Preis\n" + "".join(
    f"{30 + k},{k % 10};{k % 5 + 1};{(90 + k) * 3}.{k % 10}00,50\n" for k in range(40))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp1252"])
def test_a_german_export(lab, encoding):
    (lab.dir / "g.csv").write_text(GERMAN, encoding=encoding)
    said = prepare(lab, "g.csv", "-o", "g.h5", "--scale-target")
    assert f"{encoding}, separated by ;, decimal comma" in said
    x, y, named, labels = read(lab, "g.h5")
    assert list(named["columns"]) == ["Fläche", "Zimmer"] and list(labels["columns"]) == ["Preis"]
    prices = np.array([(90 + k) * 3000 + k % 10 * 100 + .5 for k in range(40)])
    np.testing.assert_allclose(x[:, 0], [30 + k + k % 10 / 10 for k in range(40)], rtol=1e-6)
    np.testing.assert_allclose(y, (prices - prices.mean()) / prices.std(), rtol=1e-5, atol=1e-6)
    train(lab, said, train__epochs=300)
    lab.run("predict", lab.out().path, "--input", "g.h5", "--output", "p.csv").expect(0)
    prepare(lab, "--like", "g.h5", "--unscale", "p.csv", "-o", "euro.csv")
    euro = pandas.read_csv(lab.dir / "euro.csv")
    np.testing.assert_allclose(euro["Preis_predicted"], prices, rtol=0.05)


def test_dialects(lab):
    table = "1|2.5|3\n4|5.5|7\n8|1|2\n5|2|8.5\n"
    (lab.dir / "bars.txt").write_text(table)
    (lab.dir / "tabs.tsv.gz").write_bytes(gzip.compress(("a\tb\tc\n" + table.replace("|", "\t")).encode()))
    assert "no header" in prepare(lab, "bars.txt", "-o", "bars.h5")
    prepare(lab, "tabs.tsv.gz", "-o", "tabs.h5")
    bars, tabs = read(lab, "bars.h5"), read(lab, "tabs.h5")
    assert (bars[0] == tabs[0]).all() and (bars[1] == tabs[1]).all()
    assert list(bars[2]["columns"]) == ["c0", "c1"] and list(tabs[2]["columns"]) == ["a", "b"]
    prepare(lab, "bars.txt", "bars.txt", "-o", "both.h5")
    assert len(read(lab, "both.h5")[0]) == 8


def test_several_targets_of_few_whole_numbers_are_values(lab):
    (lab.dir / "x.csv").write_text("chins,weight,pulse\n5,191,50\n2,189,52\n12,193,58\n")
    assert "name = mse" in prepare(lab, "x.csv", "-o", "x.h5", "--target", "weight,pulse")
    np.testing.assert_array_equal(read(lab, "x.h5")[1], [[191, 50], [189, 52], [193, 58]])
    assert "cross_entropy" in prepare(lab, "x.csv", "-o", "x.h5", "--target", "pulse")


@pytest.mark.parametrize("kind", ["parquet", "xlsx"])
def test_other_tables(lab, kind):
    frame = iris()
    try:
        frame.to_parquet(lab.dir / "i.parquet") if kind == "parquet" else \
            frame.to_excel(lab.dir / "i.xlsx", index=False)
    except ImportError as error:
        (lab.dir / f"i.{kind}").write_bytes(b"PK\3\4")
        assert len(prepare(lab, f"i.{kind}", "-o", "i.h5", code=2).splitlines()) == 1
        pytest.skip(str(error).splitlines()[0])
    prepare(lab, f"i.{kind}", "-o", "i.h5")
    np.testing.assert_allclose(read(lab, "i.h5")[0], frame.iloc[:, :4], rtol=1e-6)


@pytest.mark.parametrize("text, args, says", [
    ("a,b\n1,x\n2,\n", ["--target", "c"], "no column 'c'; there are a, b"),
    ("a,b\n1,x\n2,\n", ["--exclude", "a"], "no column is left"),
    ("a,b\nx,1\ny,2.5\n", ["--task", "values", "--target", "a"], "holds texts"),
    ("a,b\n" + "".join(f"t{k},{k / 7}\n" for k in range(60)), [], "60 different texts"),
    ("a,b\n,1\n,2\n", [], "column 'a' is empty"), ("", [], "is empty"),
    ("a,b,a\n1,2,3\n", [], "two columns are named 'a'"), ("a,b\n1,2\n3,4,5\n", [], "x.csv"),
    ("a,b\n1,2\n", ["--test", "2"], "--test 2"), ("a,b,c\n1,u,w\n2,v,z\n", ["--target", "b,c"], "several targets")])
def test_refusals_are_a_line(lab, text, args, says):
    (lab.dir / "x.csv").write_text(text)
    err = prepare(lab, "x.csv", "-o", "x.h5", *args, code=2)
    assert says in err and len(err.splitlines()) == 1
    assert not (lab.dir / "x.h5").exists()


@pytest.mark.parametrize("new, says", [
    ("a,k\n1,u\n", None), ("a\n1\n", "no column 'k'"), ("a,k\nx,u\n", "'x'"), ("a,k\n1,w\n", "'w'"),
    ("a,k,y\n1,u,maybe\n", "none of the recipe's classes")])
def test_new_rows_must_fit_the_recipe(lab, new, says):
    (lab.dir / "x.csv").write_text("a,k,y\n1,u,yes\n2,v,no\n3,u,no\n4.5,v,yes\n")
    (lab.dir / "new.csv").write_text(new)
    prepare(lab, "x.csv", "-o", "x.h5")
    said = prepare(lab, "--like", "x.h5", "new.csv", "-o", "new.h5", code=2 if says else 0)
    assert says is None or says in said
    assert "no HDF5 file that" in prepare(lab, "--like", "new.csv", "x.csv", "-o", "n.h5", code=2)


def test_the_trainers_refusals_name_it(lab):
    for text, says in (("a,b\n,1\n", "--missing"), ("a,b\nred,1\n", "makes numbers of texts"),
                       ("1,2\n3,4\n", "without a header"), ("a;b\n1,5;2\n", "decimal commas")):
        (lab.dir / "x.csv").write_text(text)
        lab.run(lab.config(data__train="x.csv", loss__name="mse", **RUN)).fails(3, "scripts/prepare.py", says)


# ---- arrays and images ----

def pictures(n, side=8, seed=1):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    return (rng.integers(0, 90, (n, side, side)) + 150 * labels[:, None, None]).astype("u1"), labels


@pytest.mark.parametrize("colour", [False, True])
def test_folders_of_images(lab, colour):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    x, labels = pictures(60)
    for k, (pixels, label) in enumerate(zip(x, labels)):
        folder = lab.dir / "images" / ("cat", "dog")[label]
        folder.mkdir(parents=True, exist_ok=True)
        image.fromarray(np.stack([pixels] * 3, 2) if colour else pixels).save(folder / f"{k:03d}.png")
    said = prepare(lab, "images", "-o", "i.h5", "--test", "0.25")
    got, y, _, attrs = read(lab, "i.h5", "train")
    assert got.shape[1:] == ((3, 8, 8) if colour else (8, 8)) and list(attrs["classes"]) == ["cat", "dog"]
    out = train(lab, said, model__layers="conv:8@3 relu", run__seed=1).out
    assert float(out.split("test accuracy ")[-1].split("%")[0]) > 90
    prepare(lab, "--like", "i.h5", "images", "-o", "again.h5")
    assert read(lab, "again.h5")[0].shape == (60, *got.shape[1:])
    prepare(lab, "images", "-o", "s.h5", "--size", "5x4", "--gray")
    assert read(lab, "s.h5")[0].shape == (60, 4, 5)
    (lab.dir / "images/cat/bad.png").write_bytes(b"no picture")
    assert "bad.png" in prepare(lab, "images", "-o", "b.h5", code=2)


def test_npz_and_npy(lab):
    (x, y), (xt, yt) = pictures(50), pictures(20, seed=2)
    np.savez(lab.dir / "mnist.npz", x_train=x, y_train=y, x_test=xt, y_test=yt)
    said = prepare(lab, "mnist.npz", "-o", "a.h5")
    assert (read(lab, "a.h5", "train")[0] == x).all() and (read(lab, "a.h5", "test")[1] == yt).all()
    train(lab, said)
    np.save(lab.dir / "x.npy", x.reshape(50, -1) / 255)
    np.save(lab.dir / "y.npy", np.array(["no", "yes"])[y])
    said = prepare(lab, "x.npy", "-o", "b.h5")
    assert list(read(lab, "b.h5")[3]["classes"]) == ["no", "yes"]
    train(lab, said, run__name="b")
    np.savez(lab.dir / "odd.npz", weights=x)
    assert "holds weights" in prepare(lab, "odd.npz", "-o", "c.h5", code=2)


def test_emnist_and_qmnist_by_their_names(lab):
    x, y = pictures(30)
    x[:, 0] = 255  # a stroke on top
    (lab.dir / "emnist-letters-train-images-idx3-ubyte.gz").write_bytes(
        gzip.compress(idx_bytes(x.transpose(0, 2, 1))))
    (lab.dir / "emnist-letters-train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(y + 1)))
    prepare(lab, "emnist-letters-train-images-idx3-ubyte.gz", "-o", "e.h5")
    got, labels, _, attrs = read(lab, "e.h5")
    assert (got == x).all() and (labels == y).all() and list(attrs["classes"])[:2] == ["A", "B"]
    eight = np.zeros((30, 8), ">i4")
    eight[:, 0] = y
    for split in "train", "test":
        (lab.dir / f"qmnist-{split}-images-idx3-ubyte").write_bytes(idx_bytes(x))
        (lab.dir / f"qmnist-{split}-labels-idx2-int").write_bytes(
            bytes([0, 0, 12, 2]) + struct.pack(">2I", *eight.shape) + eight.tobytes())
    said = prepare(lab, "qmnist-train-images-idx3-ubyte", "qmnist-test-images-idx3-ubyte", "-o", "q.h5")
    assert (read(lab, "q.h5", "test")[1] == y).all()
    train(lab, said)


def test_the_recipe_is_in_the_file(lab):
    (lab.dir / "x.csv").write_text("a,y\n1,yes\n2,no\n")
    prepare(lab, "x.csv", "-o", "x.h5")
    with h5py.File(lab.dir / "x.h5") as file:
        recipe = json.loads(file.attrs["recipe"])
    assert recipe["inputs"] == [{"column": "a", "kind": "number"}]
    assert recipe["targets"] == [{"column": "y", "kind": "text", "classes": ["no", "yes"]}]
