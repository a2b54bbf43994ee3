"""trainer predict: classes with probabilities, or values, on the terminal and as CSV."""

import csv
import re
import shutil

import h5py
import numpy as np
import pytest

from helpers import CLASSES, FEATURES, NAMES, REPO, SIDE, TEST, Lab, idx_bytes, launch, write_idx

SHOWN = 20  # rows on the terminal
PIXELS = [f"pixel{k}" for k in range(FEATURES)]


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_csv(path, rows, form, names):
    np.savetxt(path, rows, form, ",", comments="", header=",".join(names))


def line(run, inputs):
    """What a model of one layer and one output makes of inputs [n, inputs], in double."""
    model = run.model()
    return inputs @ model["0.weight"][0].astype(float) + float(model["0.bias"][0])


def column(rows, name):
    return np.array([float(row[name]) for row in rows])


def probabilities(run, images):
    """What the run's checkpoint makes of uint8 images, in double."""
    model = {name: values.astype(float) for name, values in run.model().items()}
    y = images.reshape(len(images), -1) / 255.0
    for name in sorted({k.split(".")[0] for k in model}, key=int):
        y = y @ model[f"{name}.weight"].T + model[f"{name}.bias"]
        y = np.maximum(y, 0) if f"{int(name) + 2}.weight" in model else y
    e = np.exp(y - y.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def assert_same_but_for_labels(rows, expected):
    for row, known in zip(rows, expected, strict=True):
        assert row.pop("label") == "" and row == {name: known[name] for name in row}


@pytest.fixture(scope="module")
def predicted(trained, tmp_path_factory):
    """The whole test split of `trained`: (stdout, the CSV's rows, its bytes)."""
    path = tmp_path_factory.mktemp("predicted") / "out.csv"
    out = launch("predict", trained.out().last, "--output", path, cwd=trained.dir).expect(0).out
    return out, read(path), path.read_bytes()


@pytest.fixture(scope="module")
def hours(tmp_path_factory):
    """A finished run of configs/linear.ini."""
    lab = Lab(tmp_path_factory.mktemp("hours"))
    lab.run("configs/linear.ini").expect(0)
    lab.last = lab.out("linear").last
    return lab


# ---- which checkpoint ----

@pytest.mark.parametrize("command", ["eval", "predict"])
def test_a_run_is_its_best_checkpoint_else_its_last(copy, command):
    run = copy.out()
    steps = run.steps_kept()

    def says(path):
        return launch(command, path, cwd=copy.dir).expect(0).out

    first, last = (says(run.checkpoints / steps[k]) for k in (0, -1))
    assert first != last
    run.best.unlink()
    assert says(run.path) == last
    run.best.symlink_to(steps[0])
    assert says(run.path) == first and says(f"{run.path}/") == first


def test_a_folder_without_checkpoints_is_no_run(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    launch("eval", tmp_path, cwd=tmp_path).fails(4, str(tmp_path), "best.h5", "last.h5")


# ---- which samples ----

def test_index_takes_ranges(predicted, trained, tmp_path):
    out = tmp_path / "out.csv"
    trained.run("predict", trained.out().last, "--index", "9,0-2,5", "--output", out).expect(0)
    assert read(out) == [predicted[1][i] for i in (9, 0, 1, 2, 5)]


# ---- classes ----

def test_without_arguments_it_takes_the_whole_test_split(predicted, trained, arrays):
    _, rows, raw = predicted
    assert raw.splitlines()[0].decode() == "index,label,prediction,name," + ",".join(
        f"p{k}" for k in range(CLASSES))
    assert [int(row["index"]) for row in rows] == list(range(TEST))
    images, labels = arrays["test"]
    assert [int(row["label"]) for row in rows] == labels.tolist()
    p = probabilities(trained.out(), images)
    got = np.column_stack([column(rows, f"p{k}") for k in range(CLASSES)])
    assert np.abs(got - p).max() < 1e-5
    assert np.abs(got.sum(1) - 1).max() < 1e-6
    assert [int(row["prediction"]) for row in rows] == p.argmax(1).tolist()
    assert [row["name"] for row in rows] == [row["prediction"] for row in rows]


def test_it_is_right_as_often_as_eval_says(predicted, trained):
    out, rows, _ = predicted
    hits = sum(row["label"] == row["prediction"] for row in rows)
    _, accuracy, _ = trained.run("eval", trained.out().last).expect(0).test_line()
    assert 0 < hits < TEST and accuracy == pytest.approx(100 * hits / TEST, abs=0.006)
    assert re.search(rf"^right: {hits} of {TEST}, {accuracy:.2f}%$", out, re.M), out


def test_the_terminal_shows_a_short_table(predicted):
    out, rows, _ = predicted
    shown = re.findall(r"^ +(\d+) +(\d) +(\d)  (\d) +([\d.]+)%(  wrong)?$", out, re.M)
    assert len(shown) == SHOWN
    for line, row in zip(shown, rows):
        assert line[:4] == (row["index"], row["label"], row["prediction"], row["name"])
        assert float(line[4]) == pytest.approx(100 * float(row[f"p{line[2]}"]), abs=0.006)
        assert bool(line[5]) == (row["label"] != row["prediction"])
    assert f"{TEST - SHOWN} more" in out


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_any_number_of_ranks_writes_the_same_file(predicted, trained, tmp_path, ranks):
    path = tmp_path / "out.csv"
    result = trained.run("predict", trained.out().last, "--output", path, ranks=ranks).expect(0)
    assert path.read_bytes() == predicted[2]
    assert result.out.count("index") == 1, "one rank writes"
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


def test_index_takes_these_in_this_order(predicted, trained, tmp_path):
    path = tmp_path / "out.csv"
    trained.run("predict", trained.out().last, "--index", "0,200,100,0", "--output", path,
                ranks=3).expect(0)
    lines = predicted[2].splitlines()
    assert path.read_bytes().splitlines() == [lines[0]] + [lines[k + 1] for k in (0, 200, 100, 0)]


def test_output_takes_the_place_of_a_link_and_leaves_its_target(predicted, trained, tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "out.csv").symlink_to("precious")
    trained.run("predict", trained.out().last, "--output", tmp_path / "out.csv").expect(0)
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "out.csv").read_bytes() == predicted[2]
    assert not (tmp_path / "out.csv").is_symlink()


def test_show_draws_the_image(trained, arrays):
    out = trained.run("predict", trained.out().last, "--index", "3", "--show").expect(0).out
    drawn = out.splitlines()[2:2 + SIDE]
    image = arrays["test"][0][3].astype(float)
    ink = np.array([[" .:-=+*#%@".index(c) for c in line.ljust(2 * SIDE)] for line in drawn])
    assert ink.shape == (SIDE, 2 * SIDE)
    assert np.array_equal(ink[:, ::2], ink[:, 1::2])
    assert np.array_equal(ink[:, ::2], np.floor(image / 255 * 9.999).astype(int))


@pytest.mark.parametrize("axis", [1, 3])
def test_show_knows_colours_that_come_first_or_last(lab, arrays, axis):
    grey, labels = arrays["train"]
    with h5py.File(lab.dir / "colours.h5", "w") as file:
        file["images"] = np.stack([grey // 2, grey, grey // 4], axis)
        file["labels"] = labels
    write_idx(lab.dir / "grey", (grey, labels), ((grey // 2 + grey + grey // 4) // 3, labels))
    lab.train(data=lab.dir / "grey", train__epochs=1)
    lab.run(lab.config("colours.ini", data__dir=None, data__train="colours.h5",
                       train__epochs=1)).expect(0)

    def picture(name, *words):
        out = lab.run("predict", lab.out(name).last, "--index", "7", "--show", *words).expect(0).out
        return [line for line in out.splitlines() if len(line) == 2 * SIDE]
    shown, expected = picture("colours", "data.test=colours.h5"), picture("run")
    assert len(shown) == SIDE
    differing = sum(a != b for a, b in zip("".join(shown), "".join(expected)))
    assert differing <= 20, "more than what rounding the grey values costs"


def test_input_takes_images_with_and_without_labels(predicted, trained, arrays, tmp_path):
    images, labels = arrays["test"]
    with_labels = tmp_path / "a-images-idx3-ubyte"
    with_labels.write_bytes(idx_bytes(images))
    (tmp_path / "a-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    bare = tmp_path / "b-images-idx3-ubyte"
    bare.write_bytes(idx_bytes(images))
    out = tmp_path / "out.csv"
    trained.run("predict", trained.out().last, "--input", with_labels, "--output", out).expect(0)
    assert out.read_bytes() == predicted[2]
    text = trained.run("predict", trained.out().last, "--input", bare, "--output", out,
                       ranks=2).expect(0).out
    assert "right:" not in text and "wrong" not in text
    assert_same_but_for_labels(read(out), predicted[1])


@pytest.mark.parametrize("kind", ["csv", "h5"])
def test_input_takes_pixels_in_other_formats(predicted, trained, arrays, tmp_path, kind):
    images = arrays["test"][0]
    path, out = tmp_path / f"pixels.{kind}", tmp_path / "out.csv"
    if kind == "csv":
        write_csv(path, images.reshape(TEST, -1), "%d", PIXELS)
    else:
        with h5py.File(path, "w") as file:
            file["images"] = images
    trained.run("predict", trained.out().last, "--input", path, "--output", out).expect(0)
    assert_same_but_for_labels(read(out), predicted[1])


def test_pixels_must_be_bytes_where_bytes_were_learnt(trained, tmp_path):
    path = tmp_path / "pixels.csv"
    write_csv(path, np.full((2, FEATURES), 0.5), "%g", PIXELS)
    trained.run("predict", trained.out().last, "--input", path).fails(3, "pixels.csv", "bytes",
                                                                      "0.5")


def test_names_of_classes_are_quoted_where_needed(lab):
    names = [f'coat "{k}"' for k in range(CLASSES)]
    lab.train(data__classes=", ".join(names), train__epochs=1)
    lab.run("predict", lab.out().last, "--output", "out.csv").expect(0)
    rows = read(lab.dir / "out.csv")
    assert all(row["name"] == names[int(row["prediction"])] for row in rows)


def test_training_files_are_not_needed(trained, data, tmp_path):
    for name in NAMES["test"]:
        shutil.copy(data / name, tmp_path)
    last, where = trained.out().last, f"data.dir={tmp_path}"
    here = launch("eval", last, where, cwd=tmp_path, ranks=2).expect(0).test_line()
    assert here == trained.run("eval", last).expect(0).test_line()
    launch("predict", last, where, "--index", "7", cwd=tmp_path).expect(0)


# ---- values ----

def test_regression_on_new_inputs_gives_the_notes_values(hours, tmp_path):
    (tmp_path / "new.csv").write_text("hours\n5\n7\n9\n")
    out = hours.run("predict", hours.last, "--input", tmp_path / "new.csv", "--output",
                    tmp_path / "out.csv", ranks=3).expect(0).out
    raw = (tmp_path / "out.csv").read_text()
    assert raw.splitlines()[0] == "index,hours,score_predicted"
    assert [line.rsplit(",", 1)[0] for line in raw.splitlines()[1:]] == ["0,5", "1,7", "2,9"]
    got = column(read(tmp_path / "out.csv"), "score_predicted")
    exact = line(hours.out("linear"), np.array([[5], [7], [9]]))
    np.testing.assert_allclose(got, exact, rtol=1e-6)
    np.testing.assert_allclose(got, [84.3833, 90.3978, 96.4123], atol=6e-5)
    assert all(re.search(rf" {value}$", out, re.M) for value in ("84.3833", "90.3978", "96.4123"))


def test_standardised_inputs_use_the_checkpoint_s_mean(hours, tmp_path):
    lab = Lab(tmp_path)
    lab.run("configs/two_inputs.ini", "data.normalize=standardize", "train.epochs=200").expect(0)
    (tmp_path / "new.csv").write_text("slept\thours\n5\t7.5\n9\t1e1\n")  # another order
    last = lab.out("two_inputs").last
    lab.run("predict", last, "--input", "new.csv", "--output", "out.csv").expect(0)
    rows = np.genfromtxt(REPO / "configs/data/hours_slept.csv", delimiter=",", skip_header=1)
    X = (np.array([[7.5, 5], [10, 9]]) - rows[:, :2].mean(0)) / rows[:, :2].std(0)
    exact = line(lab.out("two_inputs"), X)
    out = read(tmp_path / "out.csv")
    np.testing.assert_allclose(column(out, "score_predicted"), exact, rtol=1e-5)
    assert [(row["hours"], row["slept"]) for row in out] == [("7.5", "5"), ("10", "9")]


def test_several_targets_have_a_column_each(tmp_path):
    lab = Lab(tmp_path)
    rng = np.random.default_rng(3)
    write_csv(tmp_path / "t.csv", rng.normal(0, 1, (40, 5)), "%.6g", "abcuv")
    lab.train(data__dir=None, data__train="t.csv", data__test="t.csv", data__target="v, u",
              loss__name="mse", model__layers="dense:4 tanh", train__batch_size=8, ranks=3)
    lab.run("predict", lab.out().last, "--output", "out.csv").expect(0)
    rows = read(tmp_path / "out.csv")
    assert list(rows[0]) == ["index", "a", "b", "c", "v_predicted", "u_predicted"]
    data = np.genfromtxt(tmp_path / "t.csv", delimiter=",", names=True)
    square = [(column(rows, f"{t}_predicted") - data[t]) ** 2 for t in "uv"]
    assert lab.out().table("epochs")["test_loss"][-1] == pytest.approx(np.mean(square), rel=1e-5)


def test_binary_gives_the_probabilities_of_both(tmp_path):
    lab = Lab(tmp_path)
    lab.run("configs/logistic.ini", "train.epochs=200").expect(0)
    last = lab.out("logistic").last
    lab.run("predict", last, "--input", "configs/data/students.csv", "--output",
            "out.csv").expect(0)
    rows = read(tmp_path / "out.csv")
    data = np.genfromtxt(REPO / "configs/data/students.csv", delimiter=",", skip_header=1)
    p = 1 / (1 + np.exp(-line(lab.out("logistic"), data[:, :2])))
    np.testing.assert_allclose(column(rows, "p1"), p, rtol=2e-5)
    np.testing.assert_allclose(column(rows, "p0"), 1 - p, rtol=2e-4, atol=1e-7)
    assert np.array_equal(column(rows, "label"), data[:, 2])
    assert np.array_equal(column(rows, "prediction"), p > 0.5)
    assert all(row["name"] == ("failed", "passed")[int(row["prediction"])] for row in rows)


def test_binary_prints_the_names_of_its_classes(tmp_path):
    rows = [(-2, "failed"), (-1, "failed"), (0.5, "pass, just"), (2, "pass, just")] * 8
    (tmp_path / "exam.csv").write_text(
        "".join(['hours,end\n', *(f'{x},"{name}"\n' for x, name in rows)]))
    lab = Lab(tmp_path)
    lab.config(data__dir=None, data__train="exam.csv", data__target="end", loss__name="bce",
               model__layers="", optimizer__lr=1, train__epochs=20, train__batch_size=8,
               data__classes="failed,pass")
    lab.run("run.ini").fails(3, "exam.csv:4", "pass, just", "data.classes")
    text = (tmp_path / "exam.csv").read_text().replace('"pass, just"', "pass")
    (tmp_path / "exam.csv").write_text(text)
    lab.run("run.ini", ranks=2).expect(0)
    out = lab.run("predict", lab.out().last, "--input", "exam.csv", "--output", "out.csv",
                  ranks=2).expect(0).out
    assert re.search(r"^ +0 +0 +0  failed ", out, re.M) and "right: 32 of 32" in out
    got = read(tmp_path / "out.csv")
    assert [row["name"] for row in got[:4]] == ["failed", "failed", "pass", "pass"]
    assert [row["label"] for row in got[:4]] == ["0", "0", "1", "1"]
    lab.run("run.ini", "run.output=runs/twice", "data.classes=pass,pass").fails(2, "pass", "twice")


# ---- what is refused ----

@pytest.mark.parametrize("ranks", [None, 2])
def test_what_cannot_be_is_refused(trained, hours, tmp_path, ranks):
    last, at = trained.out().last, {"ranks": ranks}
    (tmp_path / "narrow.csv").write_text("a,b\n1,2\n")
    (tmp_path / "text.csv").write_text("hours\n5\nmany\n")
    trained.run("predict", last, "--index", f"0,{TEST}", **at).fails(2, "--index", str(TEST))
    trained.run("predict", last, "--index", "1,x", **at).fails(2, "--index")
    trained.run("predict", last, "--input", tmp_path / "narrow.csv", **at).fails(
        3, "narrow.csv", str(FEATURES))
    trained.run("predict", last, "--output", tmp_path / "none" / "o.csv", **at).fails(4, "none")
    hours.run("predict", hours.last, **at).fails(3, "test set", "--input")
    hours.run("eval", hours.last, **at).fails(3, "test set")
    hours.run("predict", hours.last, "--input", tmp_path / "narrow.csv", **at).fails(
        3, "narrow.csv", "hours")
    hours.run("predict", hours.last, "--input", tmp_path / "text.csv", **at).fails(
        3, "text.csv:3", "hours", "many")


@pytest.mark.parametrize("words, mention", [
    ([], "checkpoint"), (["{last}", "--index"], "--index"),
    (["{last}", "--frob", "3"], "'--frob': predict takes --index --input"),
    (["{last}", "--index", "-1"], "--index -1"),
    (["{last}", "--index", "1", "--input", "x.csv"], "--input"),
    (["{last}", "new.csv"], "'new.csv' is one word too many; new samples go behind --input"),
    (["{hours}", "--input", "configs/data/hours.csv", "--show"], "--show")])
def test_usage_mistakes_are_exit_2(trained, hours, words, mention):
    words = [w.format(last=trained.out().last, hours=hours.last) for w in words]
    hours.run("predict", *words).fails(2, mention)


def test_no_or_a_damaged_checkpoint_is_exit_4(trained, copy):
    trained.run("predict", "nothing.h5").fails(4, "nothing.h5")
    path = copy.out().last.resolve()
    raw = bytearray(path.read_bytes())
    raw[600] ^= 1  # the root group
    path.write_bytes(raw)
    copy.run("predict", path).fails(4, path.name)


def test_columns_that_the_model_does_not_know_are_said(hours):
    result = hours.run("predict", hours.last, "--input", "configs/data/hours_slept.csv")
    assert re.search(r"warning: .*hours_slept.csv.*'slept'", result.expect(0).err), result
