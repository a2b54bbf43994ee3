"""The files of a run, as h5py sees them."""

import configparser
import os

import h5py
import numpy as np
import pytest

from helpers import (CLASSES, EPOCH_COLUMNS, FEATURES, SIDE, STEP_COLUMNS, TEST, TRAIN,
                     fraction)

SHAPES = {"0.weight": (24, FEATURES), "0.bias": (24,),
          "2.weight": (17, 24), "2.bias": (17,),
          "4.weight": (CLASSES, 17), "4.bias": (CLASSES,)}


@pytest.fixture
def run(trained):
    return trained.out()


@pytest.fixture
def last(run):
    with h5py.File(run.last, "r") as file:
        yield file


@pytest.fixture
def metrics(run):
    with h5py.File(run.metrics, "r") as file:
        yield file


def is_utf8(dtype, variable):
    info = h5py.check_string_dtype(dtype)
    return bool(info) and info.encoding == "utf-8" and (info.length is None) == variable


# ---- the folder ----

def test_folder_holds_what_the_contract_names(run):
    assert run.steps_kept() == [f"step-{n:08d}.h5" for n in (10, 20, 30)]
    names = {str(p.relative_to(run.path)) for p in run.path.rglob("*") if not p.is_dir()}
    expected = {"config.ini", "metrics.h5", "checkpoints/last.h5", "checkpoints/best.h5",
                *(f"checkpoints/{name}" for name in run.steps_kept())}
    assert names - {"run.lock"} == expected, "the run's folder holds something else"


def test_links_are_relative_and_beside_their_target(run):
    for link in (run.last, run.best):
        assert link.is_symlink(), f"{link} is no symlink"
        target = os.readlink(link)
        assert "/" not in target and (run.checkpoints / target).is_file(), \
            f"{link} -> {target}"
    assert os.readlink(run.last) == "step-00000030.h5"


def test_best_names_the_epoch_with_the_lowest_test_loss(run):
    epochs = run.table("epochs")
    best = epochs["step"][np.argmin(epochs["test_loss"])]
    assert os.readlink(run.best) == f"step-{best:08d}.h5"


def test_best_goes_by_the_metric_named(lab):
    lab.config(train__epochs=8, checkpoint__best="train_loss", optimizer__lr=0.5,
               checkpoint__keep=1)
    lab.run("run.ini").expect(0)
    run = lab.out()
    epochs = run.table("epochs")
    best = epochs["step"][np.argmin(epochs["train_loss"])]
    assert os.readlink(run.best) == f"step-{best:08d}.h5"
    assert set(run.steps_kept()) == {f"step-{best:08d}.h5", "step-00000080.h5"}


def test_every_h5_file_has_a_user_block_of_512_bytes(run):
    for path in [run.metrics, *run.checkpoints.glob("step-*.h5")]:
        with h5py.File(path, "r") as file:
            assert file.userblock_size == 512, f"{path}: {file.userblock_size}"


# ---- a checkpoint ----

def test_root_attributes(last):
    attrs = last.attrs
    assert attrs["format"] == "trainer-checkpoint" and attrs["version"] == 1
    assert attrs["ranks"] == 2 and attrs["threads"] == 1
    for name in ("program", "commit", "created"):
        assert isinstance(attrs[name], str) and attrs[name], f"/{name} is empty"


def test_config_is_the_resolved_text(last, run):
    dataset = last["config"]
    assert dataset.shape == () and is_utf8(dataset.dtype, variable=False), dataset.dtype
    text = dataset[()].decode()
    assert text == (run.path / "config.ini").read_text(), "not the text of config.ini"
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.read_string(text)
    assert parsed["model"]["layers"] == "dense:24 relu dense:17 relu"
    assert float(parsed["optimizer"]["momentum"]) == 0.9
    assert parsed["run"]["name"] == "run" and int(parsed["train"]["batch_size"]) == 64


def test_model_is_a_state_dict(last):
    assert {n: d.shape for n, d in last["model"].items()} == SHAPES
    for name, dataset in last["model"].items():
        assert dataset.dtype == np.dtype("<f4"), f"/model/{name} is {dataset.dtype}"
        values = dataset[...]
        assert np.isfinite(values).all() and values.std() > 0, f"/model/{name} is empty"


def test_model_attributes(last):
    attrs = last["model"].attrs
    assert attrs["layers"] == f"dense:24 relu dense:17 relu dense:{CLASSES}"
    assert attrs["loss"] == "cross_entropy"
    assert list(attrs["input_shape"]) == [1, SIDE, SIDE]
    assert "classes" in attrs


def test_string_attributes_are_variable_length_utf8(last, metrics):
    texts = ((last, ("format", "program", "commit", "created")),
             (last["model"], ("layers", "loss")), (last["optimizer"], ("name",)),
             (last["data"], ("normalize", "fingerprint")), (metrics, ("status",)))
    for group, names in texts:
        for name in names:
            dtype = group.attrs.get_id(name).dtype
            assert is_utf8(dtype, variable=True), f"{group.name} attr {name}: {dtype}"


def test_optimizer_holds_momentum_like_the_model(last):
    attrs = last["optimizer"].attrs
    assert (attrs["name"], attrs["step"]) == ("sgd", 30) and attrs["lr"] == 0.3
    assert list(last["optimizer"]) == ["momentum"]
    slot = last["optimizer/momentum"]
    assert {n: d.shape for n, d in slot.items()} == SHAPES
    assert all(d.dtype == np.dtype("<f4") and d[...].any() for d in slot.values())


def test_optimizer_holds_adams_m_and_v(adam):
    with h5py.File(adam.out().last, "r") as file:
        assert sorted(file["optimizer"]) == ["m", "v"]
        assert file["optimizer"].attrs["name"] == "adam"
        for name, dataset in file["optimizer/v"].items():
            values = dataset[...]
            assert (values >= 0).all() and values.any(), f"v of {name}: no squares"
        assert any((d[...] < 0).any() for d in file["optimizer/m"].values())


def test_data_attributes(last):
    attrs = dict(last["data"].attrs)
    assert attrs["normalize"] == "unit" and len(attrs["fingerprint"]) >= 8
    assert "mean" in attrs and "std" in attrs
    counts = [int(v) for v in attrs.values() if isinstance(v, np.integer)]
    assert TRAIN in counts and TEST in counts, f"no counts of the splits: {attrs}"


def test_standardize_stores_the_training_splits_statistics(lab, arrays):
    lab.config(train__epochs=1, data__normalize="standardize")
    lab.run("run.ini").expect(0)
    attrs = [float(np.ravel(lab.out().attr("data", n))[0]) for n in ("mean", "std")]
    images = arrays["train"][0].astype(np.float64)
    # of the bytes, or of bytes / 255: the contract does not say
    scale = 255 if attrs[0] < 1.5 else 1
    np.testing.assert_allclose(attrs, [images.mean() / scale, images.std() / scale],
                               rtol=1e-6)


def test_state_at_an_epochs_end(last):
    attrs = last["state"].attrs
    assert (attrs["epoch"], attrs["step"], attrs["position"]) == (3, 30, 0)
    assert (attrs["samples"], attrs["loss_sum"], attrs["seed"]) == (0, 0, 42)
    assert attrs["correct"] == 0


def test_state_in_the_middle_of_an_epoch(lab):
    names = [f"kind {i}" for i in range(CLASSES)]
    lab.config(data__classes=", ".join(names))
    lab.run("run.ini", "train.max_steps=13").expect(75)
    run = lab.out()
    assert list(run.attr("model", "classes")) == names
    with h5py.File(run.last, "r") as file:
        attrs = dict(file["state"].attrs)
    assert os.readlink(run.last) == "step-00000013.h5"
    assert (attrs["epoch"], attrs["step"], attrs["position"]) == (1, 13, 3)
    assert attrs["samples"] == 3 * 64
    steps = run.table("steps")[10:]
    expected = (steps["loss"] * steps["samples"]).sum()
    np.testing.assert_allclose(attrs["loss_sum"], expected, rtol=1e-6)


def test_every_steps_writes_within_an_epoch(lab):
    lab.config(train__epochs=1, checkpoint__every_steps=4, checkpoint__keep=100)
    lab.run("run.ini").expect(0)
    assert lab.out().steps_kept() == [f"step-{n:08d}.h5" for n in (4, 8, 10)]


def test_keep_removes_old_checkpoints_but_not_the_best(adam):
    run = adam.out()
    epochs = run.table("epochs")
    best = epochs["step"][np.argmin(epochs["val_loss"])]
    assert os.readlink(run.best) == f"step-{best:08d}.h5"
    assert set(run.steps_kept()) == {f"step-{step:08d}.h5" for step in (best, *epochs["step"][-2:])}


@pytest.mark.parametrize("where, code", [("user block", 0), ("signature", 4), ("root group", 4),
                                         ("weights", 0), ("cut", 4), ("longer", 0)])
def test_a_flipped_or_missing_byte_is_found(copy, where, code):
    """It is refused where it can't be read; what remains readable is read with a warning."""
    path = copy.out().checkpoints / "step-00000030.h5"
    data = bytearray(path.read_bytes())
    with h5py.File(path, "r") as file:
        at = {"user block": 20, "signature": 513, "root group": 600,
              "weights": 512 + file["model/0.weight"].id.get_offset()}
    if where in at:
        data[at[where]] ^= 0x10
    path.write_bytes({"cut": data[:-100], "longer": data + b"\0" * 100}.get(where, data))
    result = copy.run("eval", path)
    if code == 4:
        result.fails(4, path.name)
    else:
        assert path.name in result.err and "digest" in result.err, result.expect(0)


def test_full_batches_checkpoint_at_the_end_only(lab):
    lab.config(train__epochs=5, train__batch_size=0)
    lab.run("run.ini").expect(0)
    assert lab.out().steps_kept() == ["step-00000005.h5"]


# ---- metrics ----

def test_tables_are_compound_chunked_and_unlimited(metrics):
    for name, columns in (("steps", STEP_COLUMNS), ("epochs", EPOCH_COLUMNS)):
        table = metrics[name]
        assert list(table.dtype.names) == columns
        assert table.ndim == 1 and table.chunks and table.maxshape == (None,), name
        for column in columns:
            expected = "<i8" if column in ("step", "epoch", "samples") else "<f8"
            assert table.dtype[column] == np.dtype(expected), f"{name}.{column}"


def test_tables_are_data_frames(metrics):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(metrics["steps"][:])
    assert list(frame.columns) == STEP_COLUMNS and len(frame) == 30


def test_root_tells_status_units_and_facts(metrics):
    assert metrics.attrs["status"] == "complete"
    text = " ".join(f"{k}={v}" for k, v in metrics.attrs.items()).lower()
    assert "unit" in text or "second" in text, f"no units among the attributes: {text}"
    assert len(metrics.attrs) >= 4, f"the run's facts are missing: {text}"


def test_steps_count_from_1(run):
    steps = run.table("steps")
    assert steps["step"].tolist() == list(range(1, 31))
    assert steps["epoch"].tolist() == [1] * 10 + [2] * 10 + [3] * 10
    assert steps["samples"].tolist() == ([64] * 9 + [TRAIN - 9 * 64]) * 3


def test_step_values_are_sane(run):
    steps = run.table("steps")
    assert 2 < steps["loss"][0] < 3, "the first loss is near log(10)"
    loss = steps["loss"]
    assert loss[-9:-1].mean() < loss[:8].mean() - 0.3, "nothing was learnt"
    assert (steps["lr"] == 0.3).all()
    assert (steps["grad_norm"] > 0).all() and np.isfinite(steps["grad_norm"]).all()
    assert (steps["seconds"] > 0).all() and (steps["comm_seconds"] >= 0).all()
    assert (steps["comm_seconds"] <= steps["seconds"]).all(), "exchange beyond the step"


def test_epoch_rows(run):
    epochs, steps = run.table("epochs"), run.table("steps")
    assert epochs["epoch"].tolist() == [1, 2, 3]
    assert epochs["step"].tolist() == [10, 20, 30]
    for row in epochs:
        mine = steps[steps["epoch"] == row["epoch"]]
        mean = (mine["loss"] * mine["samples"]).sum() / mine["samples"].sum()
        np.testing.assert_allclose(row["train_loss"], mean, rtol=1e-6,
                                   err_msg="train_loss is not the steps' weighted mean")
    assert np.isnan(epochs["val_loss"]).all() and np.isnan(epochs["val_accuracy"]).all()
    assert np.isfinite(epochs["test_loss"]).all()
    assert 0.2 < fraction(epochs["test_accuracy"][-1]) <= 1
    np.testing.assert_allclose(epochs["samples_per_second"], TRAIN / epochs["seconds"],
                               rtol=1e-3)


def test_validation_replaces_test_until_the_end(adam):
    epochs = adam.out().table("epochs")
    for column in ("loss", "accuracy"):
        assert np.isfinite(epochs[f"val_{column}"]).all()
        assert np.isnan(epochs[f"test_{column}"]).all()
    with h5py.File(adam.out().metrics, "r") as file:
        loss, accuracy = file.attrs["test_loss"], file.attrs["test_accuracy"]
    printed = adam.run("eval", adam.out().best).expect(0).test_line()
    assert abs(printed[0] - loss) < 5.1e-5, "test_loss is not that of the best checkpoint"
    assert abs(printed[1] - 100 * fraction(accuracy)) < 5.1e-3
    assert f"{100 * fraction(accuracy):.2f}%" in adam.result.out, "not printed at the end"


def test_eval_every_leaves_the_other_epochs_empty(lab):
    lab.config(train__epochs=4, train__eval_every=2)
    lab.run("run.ini").expect(0)
    loss = lab.out().table("epochs")["test_loss"]
    assert np.isfinite(loss).tolist() == [False, True, False, True]


def test_metrics_every_thins_the_steps(lab):
    lab.config(metrics__every=4)
    lab.run("run.ini").expect(0)
    steps = lab.out().table("steps")["step"]
    assert 4 <= len(steps) <= 6 and (np.diff(steps) == 4).all(), steps
