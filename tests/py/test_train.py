"""Training as a user sees it: the lines, the stops, what a second start does."""

import os
import re
import signal

import h5py
import numpy as np
import pytest

from helpers import (CLASSES, FEATURES, TRAIN, Lab, Run, assert_same_bits, fraction, reseal,
                     running)


# ---- lines ----

def test_log_lines_tell_loss_and_samples(trained):
    run = trained.out()
    steps = run.table("steps")
    seen = [(step, samples) for step, samples in
            ((s, min(s * 64, TRAIN)) for s in range(1, 11)) if (step - 1) % 3 == 0]
    expected = [(f"{steps['loss'][epoch * 10 + step - 1]:>7f}", samples, TRAIN)
                for epoch in range(3) for step, samples in seen]
    assert trained.result.losses() == expected


def test_full_batches_log_by_epochs_and_the_last(lab):
    def lines(result, total):
        assert not result.losses()
        return re.findall(rf"^epoch (\d+)/{total}  loss: (\d+\.\d{{6}})$", result.out, re.M)

    full = {"train__batch_size": 0, "train__epochs": 12, "train__log_every": 5}
    first = lines(lab.train(**full), 12)
    column = lab.out().table("steps")["loss"]
    assert first == [(str(e), f"{column[e - 1]:f}") for e in (1, 6, 11, 12)]
    later = lines(lab.train("run.name=from", "train.log_from=5", **full), 12)
    assert later == [(str(e), f"{column[e - 1]:f}") for e in (5, 10, 12)]
    # where patience ends the run, that epoch is the last one
    ended = lines(lab.train("run.name=ended", "train.patience=1", "optimizer.lr=1e-30", **full), 12)
    assert [epoch for epoch, _ in ended] == ["1", "2"]


def test_epoch_lines_tell_accuracy_loss_and_speed(trained):
    lines = [line for line in trained.result.out.splitlines()
             if re.match(r"epoch\b", line, re.I)]
    epochs = trained.out().table("epochs")
    assert len(lines) == len(epochs), str(trained.result)
    for line, row in zip(lines, epochs):
        accuracy = 100 * fraction(row["test_accuracy"])
        assert f"{accuracy:.1f}%" in line or f"{accuracy:.2f}%" in line, line
        assert f"{row['test_loss']:.4f}"[:-1] in line, f"mean test loss: {line}"
        assert re.search(r"/ ?s\b|per second", line), f"samples per second: {line}"


def test_header_and_end_tell_the_facts(trained):
    out = trained.result.out
    parameters = FEATURES * 24 + 24 + 24 * 17 + 17 + 17 * 10 + 10
    assert str(parameters) in re.sub(r"(?<=\d)[, _'](?=\d{3})", "", out), "parameters"
    assert re.search("avx512|avx2|portable", out), "kernel set"
    assert re.search(r"2 ranks? x 1 thread", out), "ranks x threads"
    assert "603" in out and "201" in out, "sizes of the splits"
    assert "runs/run" in "".join(out.splitlines()[-5:]), "where the files are"


def test_output_is_the_same_on_any_ranks(lab):
    one = lab.train()
    three = lab.run("run.ini", "run.name=three", ranks=3).expect(0)
    assert one.losses() == three.losses() and len(one.losses()) == 2
    assert not re.search("[\r\x1b]", three.out), "a progress bar off a terminal"


# ---- learning ----

def test_small_network_learns(trained):
    epochs = trained.out().table("epochs")
    assert epochs["train_loss"][-1] < 0.8 * epochs["train_loss"][0]
    assert fraction(epochs["test_accuracy"][-1]) > 0.3


def test_shuffle_takes_each_sample_once_an_epoch(lab):
    # with a learning rate that changes nothing, the epoch's mean loss is a checksum
    lab.train(train__epochs=3, optimizer__lr=1e-30, train__batch_size=40)
    run = lab.out()
    means, steps = run.table("epochs")["train_loss"], run.table("steps")
    np.testing.assert_allclose(means, means[0], rtol=1e-7)
    losses = [steps["loss"][steps["epoch"] == e] for e in (1, 2, 3)]
    assert (losses[0] != losses[1]).any() and (losses[1] != losses[2]).any(), \
        "every epoch has the same order"
    lab.run("run.ini", "train.shuffle=false", "run.name=plain").expect(0)
    plain = lab.out("plain").table("steps")
    np.testing.assert_allclose(lab.out("plain").table("epochs")["train_loss"], means[0],
                               rtol=1e-7)
    first, second = (plain["loss"][plain["epoch"] == e] for e in (1, 2))
    assert (first == second).all(), "without shuffling, epochs differ"


def correct(run, images, labels, checkpoint=None):
    """How many a network of one hidden layer with ReLU has right, in double."""
    model = {name: v.astype(float) for name, v in run.model(checkpoint).items()}
    y = images.reshape(len(images), -1) / 255.0
    y = np.maximum(y @ model["0.weight"].T + model["0.bias"], 0)
    return int(((y @ model["2.weight"].T + model["2.bias"]).argmax(1) == labels).sum())


@pytest.mark.parametrize("ranks", [1, 3])
def test_train_accuracy_is_of_each_sample_before_its_update(lab, arrays, ranks):
    lab.train(train__epochs=4, train__batch_size=0, checkpoint__every=1, checkpoint__keep=9,
              data__limit=TRAIN - 20, ranks=ranks)
    run = lab.out()
    images, labels = (a[:TRAIN - 20] for a in arrays["train"])
    rows = run.table("epochs")
    for step, row in zip(run.steps_kept(), rows[1:]):
        right = correct(run, images, labels, run.checkpoints / step)
        assert row["train_accuracy"] == right / len(labels), (step, row)
    assert len(set(rows["train_accuracy"])) > 2
    lab.run("run.ini", "run.name=still", "optimizer.lr=1e-30", "train.batch_size=64",
            ranks=ranks).expect(0)
    still = lab.out("still")
    assert (still.table("epochs")["train_accuracy"] == rows["train_accuracy"][0]).all()
    assert rows["train_accuracy"][0] == correct(still, images, labels) / len(labels)


def test_a_checkpoint_without_the_count_leaves_its_epochs_accuracy_unknown(lab):
    lab.train(train__epochs=3)
    whole = lab.out().table("epochs")["train_accuracy"]
    assert np.isfinite(whole).all()
    args = "run.ini", "run.name=old"
    lab.run(*args, "train.max_steps=13").expect(75)
    run = lab.out("old")
    with h5py.File(run.last, "r+") as file:
        assert 0 < file["state"].attrs["correct"] <= 3 * 64
        del file["state"].attrs["correct"]
    reseal(run.last.resolve())
    lab.run(*args, "train.max_steps=2").expect(75)  # in the same epoch
    with h5py.File(run.last, "r") as file:
        assert file["state"].attrs["position"] == 5 and "correct" not in file["state"].attrs
    lab.run(*args).expect(0)
    np.testing.assert_array_equal(run.table("epochs")["train_accuracy"],
                                  [whole[0], np.nan, whole[2]])


def test_regression_has_no_train_accuracy(tmp_path):
    lab = Lab(tmp_path)
    out = lab.run("configs/linear.ini", "train.epochs=3").expect(0).out
    assert np.isnan(lab.out("linear").table("epochs")["train_accuracy"]).all()
    assert "accuracy" not in out


def weights(lab, *overrides):
    lab.run("run.ini", "run.overwrite=true", "run.resume=never", *overrides).expect(75)
    return lab.out().model()


def test_start_values(lab):
    """One step with a learning rate that changes nothing shows the initial weights."""
    lab.config(model__layers="dense:400 relu", optimizer__lr=1e-30, train__max_steps=1)
    torch, other, again = (weights(lab, f"run.seed={seed}") for seed in (1, 2, 1))
    bound = {"0": FEATURES ** -0.5, "2": 400 ** -0.5}
    for name, values in torch.items():
        assert (values == again[name]).all(), f"{name}: one seed, two starts"
        assert (values != other[name]).mean() > 0.99, f"{name}: the seed changes nothing"
        b = bound[name[0]]
        assert np.abs(values).max() <= b * 1.000001, f"{name}: beyond 1/sqrt(inputs)"
        if values.size > 1000:
            np.testing.assert_allclose(values.std(), b / 3 ** 0.5, rtol=0.03)
            assert abs(values.mean()) < 0.05 * b, f"{name}: not centred"
    he = weights(lab, "model.init=he")
    np.testing.assert_allclose(he["0.weight"].std(), (2 / FEATURES) ** 0.5, rtol=0.03)
    xavier = weights(lab, "model.init=xavier")
    np.testing.assert_allclose(xavier["0.weight"].std(), (2 / (FEATURES + 400)) ** 0.5,
                               rtol=0.03)
    constant = weights(lab, "model.init=constant", "model.init_weight=0.25",
                       "model.init_bias=-0.5")
    np.testing.assert_allclose(constant["0.weight"], 0.25)
    np.testing.assert_allclose(constant["2.bias"], -0.5)


def test_init_file_gives_the_start_and_must_fit(lab, tmp_path):
    rng = np.random.default_rng(5)
    shapes = {"0.weight": (24, FEATURES), "0.bias": 24, "2.weight": (CLASSES, 24),
              "2.bias": CLASSES}
    start = {name: rng.normal(0, .1, shape).astype(np.float32)
             for name, shape in shapes.items()}
    with h5py.File(tmp_path / "start.h5", "w") as file:
        for name, values in start.items():
            file[f"model/{name}"] = values
    lab.config(optimizer__lr=1e-30, train__max_steps=1, model__init="file",
               model__init_file="start.h5")
    for name, values in weights(lab).items():
        np.testing.assert_array_equal(values, start[name], err_msg=name)
    result = lab.run("run.ini", "model.layers=dense:25 relu", "run.name=other")
    assert result.code in (2, 3, 4), str(result)  # the contract does not say which
    result.fails(result.code, "start.h5")


# ---- stops ----

ENDLESS = {"train__epochs": 1000000, "checkpoint__every": 1000000, "metrics__every": 50}


def test_max_time_stops_with_75(lab):
    result = lab.train(train__max_time=1, **ENDLESS, code=75)
    assert 0.9 < result.seconds < 6, f"{result.seconds} s for max_time=1"
    assert lab.out().status() == "stopped"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"])
def test_signal_stops_with_75_after_a_checkpoint(lab, name):
    lab.config(**ENDLESS)
    job = lab.start("run.ini")
    job.wait_for(lab.out().metrics.exists)
    job.popen.send_signal(getattr(signal, name))
    result = job.end(5).expect(75)
    run = lab.out()
    assert run.status() == "stopped", str(result)
    step = int(run.attr("state", "step"))
    assert run.last.resolve().name == f"step-{step:08d}.h5" and step > 0


def test_signal_to_one_rank_stops_all(lab):
    lab.config(**ENDLESS)
    job = lab.start("run.ini", ranks=3)
    job.wait_for(lab.out().metrics.exists)
    ranks = job.ranks()
    assert len(ranks) == 3, f"ranks found: {ranks}"
    os.kill(ranks[-1], signal.SIGUSR1)
    job.end(10).expect(75)
    assert lab.out().status() == "stopped" and lab.out().last.exists()
    assert not any(map(running, ranks)), "a rank lives on"


# ---- not finite ----

def test_divergence_is_exit_5_and_keeps_the_last_good_checkpoint(lab):
    # lr * weight_decay > 2 makes the weights grow by a factor a step, up to infinity
    lab.config(optimizer__weight_decay=25, train__epochs=100, checkpoint__every=1)
    result = lab.run("run.ini").fails(5)
    run = lab.out()
    assert run.status() == "diverged", str(result)
    assert run.steps_kept(), "no good checkpoint is left"
    assert all(np.isfinite(values).all() for values in run.model().values()), \
        "the last checkpoint is not the last good one"
    before = run.files()
    again = lab.run("run.ini").expect(5)
    assert re.search("diverge", again.out + again.err), f"it does not say so\n{again}"
    assert run.files() == before, "a start on a diverged run changed it"


# ---- a second start ----

def test_finished_run_says_so_and_changes_nothing(copy):
    before = copy.out().files()
    result = copy.run("run.ini").expect(0)
    assert re.search("finished|complete|done|already", result.out + result.err, re.I), \
        str(result)
    assert not result.losses() and copy.out().files() == before


def test_more_epochs_continue_a_finished_run(copy, tmp_path):
    copy.run("run.ini", "train.epochs=4").expect(0)
    assert copy.out().table("epochs")["epoch"].tolist() == [1, 2, 3, 4]
    copy.run("run.ini", "train.epochs=4", "run.name=whole").expect(0)
    assert_same_bits(copy.out().bits(), copy.out("whole").bits(), "3 + 1 epochs, 4")


def test_resume_never_on_an_existing_run_is_exit_2(copy):
    before = copy.out().files()
    copy.run("run.ini", "run.resume=never").fails(2, "overwrite")
    assert copy.out().files() == before


def test_overwrite_starts_a_changed_config_anew(copy):
    copy.run("run.ini", "run.overwrite=true", "optimizer.lr=0.03",
             "train.epochs=1").expect(0)
    run = copy.out()
    assert run.steps_kept() == ["step-00000010.h5"], "old checkpoints are left"
    assert len(run.table("steps")) == 10 and run.attr("optimizer", "lr") == 0.03


def test_overwrite_spares_a_run_of_the_same_config(copy):
    before = copy.out().files()
    copy.run("run.ini", "run.overwrite=true").expect(0)
    assert copy.out().files() == before, "a requeued job would wipe its progress"


def test_overwrite_with_resume_never_starts_anew(lab):
    lab.train("train.max_steps=13", code=75)
    lab.run("run.ini", "train.max_steps=2", "run.overwrite=true",
            "run.resume=never").expect(75)
    assert lab.out().steps_kept() == ["step-00000002.h5"]


def test_changed_config_is_listed_and_refused(copy):
    before = copy.out().files()
    result = copy.run("run.ini", "optimizer.lr=0.5", "train.batch_size=32", "run.seed=7",
                      "train.log_every=9", "parallel.threads=2").expect(2)
    for word in ("optimizer.lr", "0.3", "0.5", "train.batch_size", "run.seed"):
        assert word in result.err, f"{word} is not listed\n{result}"
    assert "log_every" not in result.err, f"what may change is listed\n{result}"
    assert copy.out().files() == before


def test_epochs_may_not_change_under_a_cosine(adam):
    before = adam.out().files()
    adam.run("run.ini", "train.epochs=13").fails(2, "epochs")
    assert adam.out().files() == before


def test_what_may_change_on_a_resume_changes_no_bit(lab):
    lab.train("run.name=whole", train__epochs=3)
    lab.run("run.ini", "train.max_steps=13").expect(75)
    (lab.dir / "runs/run").rename(lab.dir / "moved")
    lab.run("run.ini", "run.output=moved", "run.name=renamed", "parallel.threads=2",
            "checkpoint.keep=1", "checkpoint.every_steps=3", "train.log_every=1",
            "metrics.flush=0", "train.max_time=600", "parallel.timeout=100").expect(0)
    assert_same_bits(Run(lab.dir / "moved").bits(), lab.out("whole").bits(), "resumed")


# ---- output that can't be written ----

def test_file_in_place_of_the_run_folder_is_exit_4(lab):
    lab.config()
    (lab.dir / "runs").mkdir()
    (lab.dir / "runs/run").write_text("mine\n")
    lab.run("run.ini").fails(4, "runs/run")
    assert (lab.dir / "runs/run").read_text() == "mine\n"


def test_folder_that_cannot_be_made_is_exit_4(lab):
    lab.config()
    lab.run("run.ini", "run.output=/proc/nobody/can/write/here").fails(4, "/proc/nobody")
    lab.run("run.ini", "run.output=run.ini/below", ranks=3).fails(4, "run.ini")


# ---- ends early ----

def test_patience_stops_when_nothing_improves(lab):
    result = lab.train(train__epochs=20, train__patience=2, optimizer__lr=1e-30,
                       data__validation=100)
    best = lab.out().table("epochs")["val_loss"][0]
    assert (f"\nstopped after epoch 3 of 20 by train.patience = 2: val_loss was best in epoch 1 "
            f"({best:.6g})\n") in result.out, result
    assert lab.out().table("epochs")["epoch"].tolist() == [1, 2, 3]
    assert lab.out().status() == "complete"
