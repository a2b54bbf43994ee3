"""Commands, exit codes and messages, with and without mpirun."""

import configparser
import re

import numpy as np
import pytest

from helpers import QUICK_ENV, TEST, TRAIN, fraction, write_idx


# ---- help and version ----

def test_help_of_everything_a_section_and_a_key(lab):
    everything = lab.run("help").expect(0).out
    section = lab.run("help", "train").expect(0).out
    key = lab.run("help", "train.log_every").expect(0).out
    assert "usage: trainer" in everything and "[optimizer]" in everything
    columns, keys = section.split("\n", 1)
    assert columns in everything and keys in everything, section
    assert "train.log_every" in key and re.search(r"default +100\n", key), key
    assert "momentum" not in section and "epochs" not in key.splitlines()[0]


def test_help_of_an_unknown_topic_suggests_the_nearest(lab):
    lab.run("help", "optimizr").fails(2, "optimizer")
    lab.run("help", "train.epoch").fails(2, "epochs")


def test_help_is_printed_once_under_mpirun(lab):
    plain = lab.run("help", "train").expect(0).out
    assert lab.run("help", "train", ranks=3).expect(0).out == plain


def test_version_names_libraries_and_kernel_sets(lab):
    out = lab.run("--version").expect(0).out
    for word in ("MPI", "HDF5", "portable"):
        assert word.lower() in out.lower(), f"`--version` does not name {word}:\n{out}"
    assert re.search(r"\d+\.\d+", out), f"no version number:\n{out}"
    assert re.search(r"gcc|clang|icx|GNU", out, re.I), f"no compiler:\n{out}"


# ---- usage ----

def test_no_arguments_is_a_usage_error(lab):
    result = lab.run().expect(2)
    assert re.search("usage|config|help", result.err + result.out, re.I), str(result)


@pytest.mark.parametrize("ranks", [None, 3])
def test_missing_config_is_exit_2_with_one_message(lab, ranks):
    lab.run("nowhere.ini", ranks=ranks).fails(2, "nowhere.ini")
    assert not (lab.dir / "runs").exists(), "a failed start left a run folder"


def test_option_like_nonsense_is_exit_2(lab):
    lab.config()
    lab.run("--frobnicate", "run.ini").expect(2)
    lab.run("run.ini", "nonsense").fails(2, "nonsense")


def test_an_option_of_another_command_is_named(lab):
    lab.config()
    lab.run("eval", "run.ini", "--index", "0").fails(2, "unknown option '--index': eval takes --output --split")
    lab.run("run.ini", "optimizer.lr=-1").fails(2, "optimizer.lr")


@pytest.mark.parametrize("posix", [None, "1"])
def test_options_stand_anywhere(trained, posix):
    last, env = trained.out().last, {"POSIXLY_CORRECT": posix}
    for words in ([last, "parallel.threads=1", "--index", "7"], ["--index=7", last],
                  ["--index", "7", "--", last, "parallel.threads=1"]):
        out = trained.run("predict", *words, env=env).expect(0).out
        assert re.search(r"^ +7 ", out, re.M), out


def test_train_is_the_default_command(lab):
    lab.config(train__epochs=1)
    lab.run("train", "run.ini", "run.name=explicit").expect(0)
    lab.run("run.ini", "run.name=implicit").expect(0)
    assert lab.out("explicit").bits() == lab.out("implicit").bits()


@pytest.mark.parametrize("ranks", [None, 2])
def test_no_switch_of_the_tests_is_needed(lab, ranks):
    lab.config(train__epochs=1)
    unset = dict.fromkeys([*QUICK_ENV, "OMP_NUM_THREADS", "OMP_WAIT_POLICY"])
    lab.run("run.ini", ranks=ranks, env=unset).expect(0)


def test_a_rank_alone_shares_no_folder_with_others(lab):
    """Open MPI's folder for it has one name for all that run side by side, and each removes it."""
    lab.config(train__epochs=1)
    (lab.dir / "file").touch()
    lab.run("run.ini", env={"TMPDIR": str(lab.dir / "file" / "none")}).expect(0)


# ---- exit codes of a job ----

def test_error_of_a_job_is_written_once_with_mpiruns_banner(lab):
    lab.config()
    args = ("run.ini", "optimizer.lrr=1")
    [message] = lab.run(*args).fails(2).errors
    quiet = lab.run(*args, ranks=3).expect(2)
    assert quiet.errors == [message], f"--quiet leaves other lines\n{quiet}"
    loud = lab.run(*args, ranks=3, quiet=False).expect(2)
    assert loud.err.splitlines().count(message) == 1, f"not exactly once\n{loud}"


@pytest.mark.parametrize("code, args", [
    (2, ["train.batch_size=-1"]),
    (3, ["data.dir=nowhere"]),
    (4, ["run.output=run.ini"]),
    (75, ["train.max_steps=3"]),
], ids=["usage", "data", "file", "stopped"])
def test_mpirun_passes_the_exit_code_on(lab, code, args):
    lab.config()
    result = lab.run("run.ini", *args, ranks=3).expect(code)
    assert len(result.errors) == (code != 75), f"wrong number of error lines\n{result}"


# ---- check ----

def test_check_prints_the_resolved_config_and_trains_nothing(lab):
    lab.config(model__layers="dense:24 relu dense:17 relu")
    result = lab.run("check", "run.ini", "optimizer.momentum=0.875").expect(0)
    assert not (lab.dir / "runs").exists(), "check made a run folder"
    assert not result.losses(), f"check trained\n{result}"
    lines = [re.sub(r"\s*=\s*", " = ", line.strip()) for line in result.out.splitlines()]
    for line in ("[optimizer]", "momentum = 0.875", "nesterov = false", "epochs = 2"):
        assert line in lines, f"resolved config lacks `{line}`\n{result}"
    parameters = 256 * 24 + 24 + 24 * 17 + 17 + 17 * 10 + 10
    assert str(parameters) in re.sub(r"(?<=\d)[, _'](?=\d{3})", "", result.out), \
        f"the model summary does not tell {parameters} parameters\n{result}"
    assert re.search(r"thread", result.out) and re.search(r"[KMG]i?B\b", result.out), \
        f"memory or thread layout is missing\n{result}"


@pytest.mark.parametrize("ranks", [None, 2])
def test_check_tells_an_epochs_seconds_from_steps_as_they_would_be(lab, ranks):
    lab.config()

    def seconds(batch):
        result = lab.run("check", "run.ini", f"train.batch_size={batch}", ranks=ranks).expect(0)
        found = re.search(r"^speed .* at least (\S+) s\. .* about (\S+) s an epoch", result.out,
                          re.MULTILINE)
        floor, about = map(float, found.groups())
        assert 0 < floor < about, f"faster than the FMA peak\n{result}"
        return about
    assert seconds(1) > 2 * seconds(201), "201 times as many steps"


def test_check_draws_the_schedule(lab):
    lab.config(optimizer__lr=0.1, train__epochs=6)

    def plots(*args):
        out = lab.run("check", "run.ini", *args).expect(0).out
        return [[line.split("|")[1] for line in plot.splitlines() if "|" in line]
                for plot in re.split("^learning rate$|^momentum$", out, flags=re.M)[1:]]
    assert plots() == [], "a rate that never changes is drawn"
    (drop,) = plots("optimizer.schedule=multistep", "optimizer.milestones=3", "optimizer.warmup=1")
    assert len(drop) == 8 and max(map(len, drop)) == 60
    columns = ["".join(line.ljust(60)[c] for line in drop) for c in range(60)]
    assert [column.count("*") for column in columns] == [1] * 60
    level = [column.index("*") for column in columns]
    assert level[:10] == sorted(level[:10], reverse=True) and level[0] > 5
    assert level[10:30] == [0] * 20 and level[30:] == [6] * 30
    cycle = plots("optimizer.schedule=onecycle", "optimizer.momentum=0.8",
                  "optimizer.final_momentum=0.9")
    assert len(cycle) == 2
    lines = {tuple(line.find("*") for line in plot) for plot in cycle}
    assert len(lines) == 2, "momentum goes the other way"


@pytest.mark.parametrize("keys, mentions", [
    ({"warmup": 3}, ["warmup", "3", "only rises"]),
    ({"schedule": "step"}, ["step_epochs", "10", "never drops"]),
    ({"schedule": "multistep", "milestones": "1, 3, 9"}, ["milestones", "2 of 3"]),
    ({"schedule": "linear", "min_lr": 0.5}, ["min_lr", "0.5", "rises"])])
def test_a_schedule_that_does_not_fit_the_run_is_noted(lab, keys, mentions):
    lab.config(train__epochs=3, train__max_steps=1, optimizer__lr=0.1,
               **{f"optimizer__{key}": value for key, value in keys.items()})
    for result in (lab.run("check", "run.ini").expect(0), lab.run("run.ini").expect(75)):
        lines = [line for line in (result.out + result.err).splitlines() if "warning" in line]
        assert len(lines) == 1 and all(word in lines[0] for word in mentions), result


@pytest.mark.parametrize("key, others, mentions", [
    ("schedule", ("optimizer.schedule=multistep",), ["milestones"]),
    ("milestones", ("optimizer.milestones=3, -1",), ["below 0"]),
    ("final_momentum", ("optimizer.final_momentum=0.9", "optimizer.momentum=0"), ["momentum above 0"])])
def test_a_schedule_without_what_it_needs_is_refused(lab, key, others, mentions):
    lab.config()
    lab.run("check", "run.ini", *others).fails(2, f"optimizer.{key}", *mentions)


def test_check_under_mpirun_writes_once(lab):
    lab.config()
    result = lab.run("check", "run.ini", ranks=3).expect(0)
    assert result.out.count("[optimizer]") == 1, f"not exactly once\n{result}"
    assert re.search(r"3 (ranks|x)|ranks\W+3", result.out), f"3 ranks?\n{result}"


def test_check_finds_what_training_would_refuse(lab):
    lab.config()
    lab.run("check", "run.ini", "data.dir=nowhere").fails(3, "nowhere")
    lab.run("check", "run.ini", "train.batch_size=604").fails(2, "batch_size")


def test_resolved_config_is_a_config(trained, lab):
    text = (trained.out().path / "config.ini").read_text()
    resolved = configparser.ConfigParser(interpolation=None)
    resolved.read_string(text)
    assert resolved["optimizer"]["nesterov"] == "false"
    (lab.dir / "again.ini").write_text(text)
    lab.run("check", "again.ini", "run.output=elsewhere").expect(0)


# ---- eval ----

def test_eval_agrees_with_the_last_row_of_metrics(trained):
    result = trained.run("eval", trained.out().last).expect(0)
    loss, accuracy, samples = result.test_line()
    row = trained.out().table("epochs")[-1]
    assert samples == TEST
    assert abs(loss - row["test_loss"]) < 5.1e-5, "eval's loss is not the table's"
    assert abs(accuracy - 100 * fraction(row["test_accuracy"])) < 5.1e-3, \
        "eval's accuracy is not the table's"


def test_eval_prints_the_same_line_on_any_layout(trained):
    best = trained.out().best
    one = trained.run("eval", best).expect(0)
    four = trained.run("eval", best, "parallel.threads=2", ranks=4).expect(0)
    assert one.test_line() == four.test_line()


def test_eval_takes_other_data_from_an_override(trained, arrays, tmp_path):
    images, labels = arrays["test"]
    write_idx(tmp_path / "d", arrays["train"], (images[:50], (labels[:50] + 1) % 10))
    last = trained.out().last
    moved = trained.run("eval", last, f"data.dir={tmp_path / 'd'}").expect(0)
    loss, accuracy, samples = moved.test_line()
    assert samples == 50 and accuracy < 50, f"not scored on the data named\n{moved}"


def test_eval_without_a_test_split_is_exit_3(trained, arrays, tmp_path):
    write_idx(tmp_path / "d", arrays["train"])
    trained.run("eval", trained.out().last, f"data.dir={tmp_path / 'd'}").fails(3, "test")


@pytest.mark.parametrize("ranks", [None, 2])
def test_eval_of_the_other_splits_is_that_of_metrics(lab, arrays, tmp_path, ranks):
    lab.config(data__validation=50, train__epochs=2)
    lab.run("run.ini").expect(0)
    last, row = lab.out().last, lab.out().table("epochs")[-1]
    loss, accuracy, samples = lab.run("eval", last, "--split", "val", ranks=ranks).expect(0).test_line("val")
    assert samples == 50 and abs(loss - row["val_loss"]) < 5.1e-5
    assert abs(accuracy - 100 * fraction(row["val_accuracy"])) < 5.1e-3
    used = lab.run("eval", "--split=train", last, ranks=ranks).expect(0).test_line("train")
    assert used[2] == TRAIN - 50
    lab.run("predict", last, "--split", "train", "--output", "out.csv").expect(0)
    rows = np.genfromtxt(lab.dir / "out.csv", delimiter=",", names=True)
    assert len(rows) == TRAIN - 50
    assert used[0] == pytest.approx(
        -np.mean([np.log(r[f"p{int(r['label'])}"]) for r in rows]), abs=5.1e-5)
    test = lab.run("eval", last, "--split", "test", ranks=ranks).expect(0).test_line()
    assert test == lab.run("eval", last).expect(0).test_line()
    lab.run("eval", last, "--split", "all", ranks=ranks).fails(2, "train, val or test")
    lab.run("eval", last, "--index", "3", ranks=ranks).fails(2, "--index", "eval")
    lab.run("eval", last, "--split", "val", "data.validation=0", ranks=ranks).fails(2, "held nothing")
    images, labels = arrays["train"]
    write_idx(tmp_path / "d", (images, (labels + 1) % 10), arrays["test"])
    lab.run("eval", last, "--split", "val", f"data.dir={tmp_path / 'd'}", ranks=ranks).fails(3, "not those")


@pytest.mark.parametrize("ranks", [None, 2])
def test_eval_of_nothing_is_exit_4(lab, ranks):
    lab.run("eval", "nowhere.h5", ranks=ranks).fails(4, "nowhere.h5")


def test_eval_of_something_else_is_exit_4(trained, tmp_path):
    (tmp_path / "text.h5").write_text("not HDF5 at all\n" * 100)
    trained.run("eval", tmp_path / "text.h5").fails(4, "text.h5")
    trained.run("eval", trained.out().metrics).fails(4, "metrics.h5")


# ---- what names may hold ----

def test_no_message_hands_control_characters_to_the_terminal(lab, tmp_path):
    bad = "\x1b[31mcol\x9bour\x07"
    (tmp_path / "bad.csv").write_text(f"x,{bad},y\n1,2,3\n4,oh\x1b]0;,5\n")
    lab.config(data__dir=None, data__train="bad.csv", loss__name="mse", train__batch_size=0)
    said = [lab.run(f"{bad}.ini"), lab.run("help", bad), lab.run("run.ini", f"{bad}.lr=1"),
            lab.run("run.ini"), lab.run("predict", bad)]
    (tmp_path / "bad.csv").write_text(f"x,{bad},y\n1,2,3\n4,2,1\n")
    said += [lab.run("run.ini", "data.normalize=standardize").expect(0)]  # a warning
    latin = b"\xfcmlaut.csv".decode(errors="surrogateescape")
    said += [lab.run("predict", "runs/run/checkpoints/last.h5", "--input", latin)]
    for result in said:
        text = result.out + result.err
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffd]", text), repr(text)
    assert all("\\x1b[31mcol\\xc2\\x9bour\\x07" in r.err for r in said[:-1]), [r.err for r in said]
    said[-1].fails(3, "\\xfcmlaut")
