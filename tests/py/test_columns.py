"""CSV tables as people have them: which columns are inputs, cells that are True or False."""

import numpy as np
import pytest

from helpers import Lab, assert_same_bits

RNG = np.random.default_rng(8)
ROWS = [(k, *np.round(RNG.normal(0, 1, 3), 3), bool(RNG.integers(2))) for k in range(40)]
ROWS = [(*row, round(float(row[1] - 2 * row[3] + row[4]), 3)) for row in ROWS]
NAMES = ["id", "a", "b", "c", "smokes", "score"]
TRAIN = {"data__dir": None, "model__layers": None, "train__batch_size": 8, "optimizer__lr": 0.05,
         "loss__name": "mse"}


def write(path, names, cell=str, rows=ROWS):
    """The columns of these names, each cell as `cell` has it."""
    at = [NAMES.index(name) for name in names]
    path.write_text("\n".join([",".join(names), *(",".join(cell(row[k]) for k in at) for row in rows),
                               ""]))
    return path


def number(v):
    return str(int(v)) if isinstance(v, bool) else str(v)


@pytest.fixture
def lab(tmp_path):
    """`plain` is a run of a table that holds a, c, smokes and the target, in numbers."""
    lab = Lab(tmp_path, tmp_path)
    write(tmp_path / "plain.csv", ["a", "c", "smokes", "score"], number)
    write(tmp_path / "all.csv", NAMES)
    lab.run(lab.config("plain.ini", data__train="plain.csv", **TRAIN)).expect(0)
    return lab


def model(run):
    return {name: value for name, value in run.bits().items() if name.startswith("model/")}


@pytest.mark.parametrize("choice", [
    {"data__columns": "a, c, smokes"}, {"data__exclude": "b,id"},
    {"data__columns": "a,b,c,smokes", "data__exclude": "b"},
], ids=["columns", "exclude", "both"])
@pytest.mark.parametrize("ranks", [None, 2])
def test_chosen_columns_are_as_a_table_of_them(lab, choice, ranks):
    result = lab.run(lab.config("run.ini", data__train="all.csv", data__test="all.csv", **choice,
                                **TRAIN), ranks=ranks).expect(0)
    assert "not used" not in result.err, "what the config leaves out is no news"
    run = lab.out()
    assert_same_bits(model(run), model(lab.out("plain")), "a table of the chosen columns")
    assert list(run.attr("model", "columns")) == ["a", "c", "smokes", "score"]
    for name in "all.csv", "plain.csv":
        lab.run("predict", run.path, "--input", name, "--output", f"{name}.out").expect(0)
    assert (lab.dir / "all.csv.out").read_bytes() == (lab.dir / "plain.csv.out").read_bytes()


def test_columns_come_in_the_order_of_the_list(lab):
    lab.run(lab.config("run.ini", data__train="all.csv", data__columns="smokes,c,a", **TRAIN)).expect(0)
    assert list(lab.out().attr("model", "columns")) == ["smokes", "c", "a", "score"]


@pytest.mark.parametrize("choice, code, mentions", [
    ({"data__columns": "a,d"}, 3, ["'d'", "data.columns", "smokes"]),
    ({"data__exclude": "ID"}, 3, ["'ID'", "data.exclude"]),
    ({"data__columns": "a,c,a"}, 2, ["'a'", "twice"]),
    ({"data__columns": "a,score"}, 2, ["'score'", "target"]),
    ({"data__exclude": "score"}, 2, ["'score'", "data.target"]),
    ({"data__exclude": "id,a,b,c,smokes"}, 3, ["no column is left"]),
], ids=lambda v: " ".join(v.values()) if isinstance(v, dict) else "")
def test_wrong_names_are_refused(lab, choice, code, mentions):
    lab.run(lab.config("run.ini", data__train="all.csv", **choice, **TRAIN)).fails(code, *mentions)


def test_lists_are_for_csv(tmp_path, data):
    lab = Lab(tmp_path, data)
    lab.run(lab.config(data__exclude="a")).fails(2, "data.exclude", "idx")


@pytest.mark.parametrize("loss", ["bce", "cross_entropy"])
@pytest.mark.parametrize("yes, no", [("True", "False"), ("TRUE", "FALSE")])
def test_true_and_false_are_one_and_zero(tmp_path, loss, yes, no):
    lab, names = Lab(tmp_path, tmp_path), ["a", "b", "smokes"]
    write(tmp_path / "words.csv", names, lambda v: (no, yes)[v] if isinstance(v, bool) else str(v))
    write(tmp_path / "numbers.csv", names, number)
    train = {**TRAIN, "loss__name": loss}
    for name in "words", "numbers":
        lab.run(lab.config(f"{name}.ini", data__train=f"{name}.csv", **train)).expect(0)
    assert_same_bits(model(lab.out("words")), model(lab.out("numbers")), "numbers")


def test_other_words_are_no_numbers(tmp_path):
    lab = Lab(tmp_path, tmp_path)
    (tmp_path / "x.csv").write_text("a,y\nTrue,1\nyes,2\n")
    lab.run(lab.config(data__train="x.csv", **TRAIN)).fails(3, "x.csv:3", "'a'", "'yes'")
