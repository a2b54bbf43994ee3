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


# ---- what people's files have ----

def table(lab, text, *args, name="t.csv"):
    (lab.dir / name).write_text(text)
    prepare(lab, name, "-o", "t.h5", *args)
    return read(lab, "t.h5")


def test_large_whole_numbers_stay_classes_of_their_own(lab):
    _, y, _, attrs = table(lab, "a,y\n1,1000001\n2,1000002\n3,1000001\n")
    assert list(attrs["classes"]) == ["1000001", "1000002"] and y.tolist() == [0, 1, 0]


@pytest.mark.parametrize("cells, days", [
    (["01/02/2020", "25/02/2020"], [18293, 18317]),      # only the day can be 25
    (["01/02/2020", "02/25/2020"], [18263, 18317]),
    (["1/2/2020", "5/3/2020"], [18263, 18385]),          # the month comes first, and it is said
    (["01.02.2020", "05.03.2020"], [18293, 18326]),
    (["2020-01-01T00:00:00Z", "2020-01-01T03:00:00+03:00"], [18262, 18262]),
    (["10:30", "11:30:30"], [37800, 41430])])            # seconds of the day
def test_dates(lab, cells, days):
    x = table(lab, "d,y\n" + "".join(f"{cell},{k}.5\n" for k, cell in enumerate(cells)))[0]
    assert x[:, 0].tolist() == days
    (lab.dir / "new.csv").write_text(f"d,y\n{cells[0]},1.5\n")
    prepare(lab, "--like", "t.h5", "new.csv", "-o", "new.h5")
    assert read(lab, "new.h5")[0][:, 0].tolist() == days[:1], "as the first file had them"


def test_the_order_of_a_date_can_be_told(lab):
    (lab.dir / "d.csv").write_text("d,y\n1/2/2020,0.5\n5/3/2020,1.5\n")
    assert "month comes first" in prepare(lab, "d.csv", "-o", "d.h5")
    assert "the day comes first" in prepare(lab, "d.csv", "-o", "d.h5", "--day-first")
    assert read(lab, "d.h5")[0][:, 0].tolist() == [18293, 18326]


def test_the_decimal_mark_is_remembered(lab):
    assert table(lab, "a;b;y\n1.234;2,5;3,5\n2.345;3,5;4,5\n")[0][0].tolist() == [1234, 2.5]
    (lab.dir / "new.csv").write_text("a;b\n1.234;2\n")
    prepare(lab, "--like", "t.h5", "new.csv", "-o", "new.h5")
    with h5py.File(lab.dir / "new.h5") as file:
        assert file["x"][0].tolist() == [1234, 2]


def test_categories_stay_texts(lab):
    table(lab, "k,y\n1,0.5\n01,1.5\nA,2.5\n")
    (lab.dir / "new.csv").write_text("k\n01\n")
    prepare(lab, "--like", "t.h5", "new.csv", "-o", "new.h5")
    with h5py.File(lab.dir / "new.h5") as file:
        names = list(file["x"].attrs["columns"])
        assert file["x"][0, names.index("k=01")] == 1 and file["x"][0].sum() == 1


def test_a_comma_behind_each_row_and_a_target_that_is_empty(lab):
    x, y, *_ = table(lab, "a,b,y\n1,2,3,\n4,5,6.5,\n")
    assert x.tolist() == [[1, 2], [4, 5]] and y.tolist() == [3, 6.5]
    (lab.dir / "new.csv").write_text("a,b,y\n7,8,\n")
    prepare(lab, "--like", "t.h5", "new.csv", "-o", "new.h5")
    with h5py.File(lab.dir / "new.h5") as file:
        assert file["x"][:].tolist() == [[7, 8]] and "y" not in file


def test_two_files_with_numbers_in_one_and_texts_in_the_other(lab):
    (lab.dir / "a.csv").write_text("k,y\n1,0.5\n2,2.5\n")
    (lab.dir / "b.csv").write_text("k,y\nA,1.5\n")
    prepare(lab, "a.csv", "b.csv", "-o", "t.h5")
    x = read(lab, "t.h5")[0]
    assert x.shape == (3, 3) and x.sum() == 3, "categories 1, 2, A"


def test_sixteen_bit_images_keep_their_grey(lab):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    grey = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for name in "ab":
        (lab.dir / "pictures" / name).mkdir(parents=True)
        image.fromarray(grey).save(lab.dir / "pictures" / name / "1.png")
    prepare(lab, "pictures", "-o", "p.h5")
    x = read(lab, "p.h5")[0]
    assert x.shape[1:] == (8, 8) and (x[0] == grey // 257).all()


def npy(lab, **arrays):
    for name, value in arrays.items():
        np.save(lab.dir / f"{name}.npy", value)


BAD = {
    "long row": ("t.csv", b"a,b,y\n1,2,3,9\n4,5,6,9\n", (), "4 cells"),
    "too large": ("t.csv", b"a,y\n1e39,1\n2,2.5\n", (), "1e+39"),
    "beyond double": ("t.csv", b"a,y\n1e400,1\n2,2.5\n", (), "'a' holds inf"),
    "cut gz": ("t.csv.gz", gzip.compress(b"a,y\n1,2\n" * 50)[:-9], (), "can't be read"),
    "no gz": ("t.csv.gz", b"a,y\n1,2\n", (), "can't be read"),
    "separator": ("t.csv", b"a,y\n1,2\n", ("--sep", ",,"), "one character"),
    "cut npz": ("t.npz", b"PK\x03\x04 cut", (), "can't be read"),
    "text npz": ("t.npz", {"x": np.array([["a"]]), "y": np.array([1.5])}, (), "not real numbers"),
    "complex npz": ("t.npz", {"x": np.ones((2, 2)) * 1j, "y": np.ones(2)}, (), "not real numbers"),
    "scalar npz": ("t.npz", {"x": np.float64(1), "y": np.ones(1)}, (), "t.npz"),
    "short idx": ("a-images-idx3-ubyte", b"\0\0\x08\x03\0\0", (), "not an IDX file"),
    "huge idx": ("a-images-idx3-ubyte", b"\0\0\x08\x03" + b"\x80\0\0\0" * 3, (), "promises"),
    "flat idx": ("a-images-idx3-ubyte", b"\0\0\x08\x01\0\0\0\x02ab", (), "dimensions"),
    "bad picture": ("d/a/1.png", b"\x89PNG\r\n\x1a\nnothing", (), "1.png"),
    "size": ("d/a/1.png", b"", ("--size", "28"), "WIDTHxHEIGHT"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_end_in_a_line(lab, name):
    file, content, args, says = BAD[name]
    path = lab.dir / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        np.savez(path, **content)
    else:
        path.write_bytes(content)
    (lab.dir / "a-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x02\0\1")
    said = prepare(lab, file.split("/")[0], "-o", "o.h5", *args, code=2)
    assert len(said.splitlines()) == 1 and says in said and not (lab.dir / "o.h5").exists(), said


def test_files_that_are_read_are_not_overwritten(lab):
    table(lab, "a,y\n1,2.5\n2,3.5\n")
    before = (lab.dir / "t.h5").read_bytes()
    assert "one of the files" in prepare(lab, "--like", "t.h5", "t.csv", "-o", "t.h5", code=2)
    assert (lab.dir / "t.h5").read_bytes() == before
    npy(lab, x=np.ones((4, 2)), y=np.arange(4.0))
    assert "one of the files" in prepare(lab, "x.npy", "-o", "y.npy", code=2)
    assert "made of tables" in prepare(lab, "--like", "t.h5", "x.npy", "-o", "n.h5", code=2)


def test_cells_that_do_not_fit_are_the_ones_named(lab):
    table(lab, "a,y\n1,2.5\n2,3.5\n")
    (lab.dir / "new.csv").write_text("a\n1.5\nx\n")
    assert "'x'" in prepare(lab, "--like", "t.h5", "new.csv", "-o", "new.h5", code=2)


@pytest.mark.parametrize("text, says", [("y_predicted\nabc\n", "abc"), ("a,y_predicted\n1\n", "p.csv"),
                                        ("", "holds no"),
                                        ("y_predicted\n\xff\n", "p.csv")])
def test_predictions_that_cannot_be_scaled_back(lab, text, says):
    table(lab, "a,y\n1,2.5\n2,3.5\n", "--scale-target")
    (lab.dir / "p.csv").write_bytes(text.encode("latin-1"))
    said = prepare(lab, "--like", "t.h5", "--unscale", "p.csv", "-o", "q.csv", code=2)
    assert len(said.splitlines()) == 1 and says in said and not (lab.dir / "q.csv").exists()


def test_a_target_that_was_not_scaled_is_not_scaled_back(lab):
    table(lab, "a,y\n1,2.5\n2,3.5\n")
    (lab.dir / "p.csv").write_text("y_predicted\n1\n")
    assert "scales no target" in prepare(lab, "--like", "t.h5", "--unscale", "p.csv", "-o", "q.csv", code=2)
