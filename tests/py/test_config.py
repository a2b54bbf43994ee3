"""Configs that are wrong: one message that names the place, exit 2, nothing written."""

import os

import h5py
import pytest

from helpers import CLASSES, FEATURES, TRAIN, Lab, launch_all


def refused(lab, *args, mentions=()):
    lab.run(*args).fails(2, *mentions)
    assert not (lab.dir / "runs").exists(), "a refused config left a run folder"


# ---- lines and overrides ----

@pytest.mark.parametrize("wrong, mentions", [
    ("momentun = 1", ["optimizer.momentun", "'optimizer.momentum'"]),
    ("[optimiser]", ["[optimiser]", "[optimizer]"]),
    ("lr = 0.2", ["duplicate", "lr"]),
    ("nesterov = perhaps", ["nesterov", "perhaps", "true"]),
    ("just words", ["key = value"])])
def test_wrong_line_is_named(lab, wrong, mentions):
    path = lab.config()
    path.write_text(f"{path.read_text()}[optimizer]\n{wrong}\n")
    last = len(path.read_text().splitlines())
    refused(lab, "run.ini", mentions=(f"run.ini:{last}", *mentions))


@pytest.mark.parametrize("wrong, mentions", [
    ("train.batchsize=64", ["batchsize", "batch_size"]),
    ("trian.epochs=1", ["trian", "train"]),
    ("optimizer.name=sdg", ["sdg", "sgd"])])
def test_wrong_override_is_named(lab, wrong, mentions):
    lab.config()
    refused(lab, "run.ini", wrong, mentions=(f"'{wrong}'", *mentions))


def test_missing_key_is_named(lab):
    lab.config(optimizer__lr=None)
    refused(lab, "run.ini", mentions=("run.ini", "optimizer.lr"))


# ---- files that are no config ----

def test_binary_file_is_refused_readably(lab):
    (lab.dir / "bad.ini").write_bytes(bytes(range(256)) * 40)
    result = lab.run("bad.ini").fails(2, "bad.ini")
    assert all(ch.isprintable() for ch in result.errors[0]), \
        f"the message holds raw bytes: {result.errors[0]!r}"


def test_random_bytes_empty_file_and_folder_are_refused(lab):
    (lab.dir / "noise.ini").write_bytes(os.urandom(5000))
    refused(lab, "noise.ini", mentions=("noise.ini",))
    (lab.dir / "empty.ini").write_text("")
    refused(lab, "empty.ini")
    (lab.dir / "folder.ini").mkdir()
    refused(lab, "folder.ini", mentions=("folder.ini",))


# ---- values that are wrong for this model and data ----

BAD = """
    train.batch_size=604 data.validation=603
    model.layers=dense:0 model.layers=dense:-4 model.layers=dense model.layers=dense:ten
    model.layers=dens:10 model.layers=dense:24relu
""".split()


@pytest.fixture(scope="module")
def bad(tmp_path_factory, data):
    """Every line of BAD, tried."""
    lab = Lab(tmp_path_factory.mktemp("bad"), data)
    lab.config()
    results = launch_all({override: (("run.ini", override), lab.dir) for override in BAD})
    assert not (lab.dir / "runs").exists(), "a refused config left a run folder"
    return results


@pytest.mark.parametrize("override", BAD)
def test_bad_value_is_exit_2_and_named(bad, override):
    bad[override].fails(2, override.split("=")[0].split(".")[1])


def test_batch_larger_than_what_validation_leaves_is_refused(lab):
    lab.config(data__validation=100, train__batch_size=TRAIN - 99)
    refused(lab, "run.ini", mentions=("batch_size", str(TRAIN - 100)))


# ---- values that are right ----

def test_batch_size_0_is_the_whole_training_split(lab):
    lab.config(train__batch_size=0, train__epochs=3, data__validation=100)
    lab.run("run.ini").expect(0)
    steps = lab.out().table("steps")
    assert steps["samples"].tolist() == [TRAIN - 100] * 3
    assert steps["epoch"].tolist() == [1, 2, 3]


def test_batch_size_may_be_the_training_split(lab):
    lab.config(train__batch_size=TRAIN, train__epochs=1)
    lab.run("run.ini").expect(0)
    assert lab.out().table("steps")["samples"].tolist() == [TRAIN]


def test_overrides_win_over_the_file_and_the_last_over_the_first(lab):
    lab.config(train__epochs=3, model__layers="dense:5")
    lab.run("run.ini", "train.epochs=2", "model.layers=dense:7 relu", "train.epochs=1",
            "run.name=other").expect(0)
    run = lab.out("other")
    assert run.table("epochs")["epoch"].tolist() == [1]
    assert run.attr("model", "layers") == f"dense:7 relu dense:{CLASSES}"
    text = (run.path / "config.ini").read_text()
    assert "dense:7 relu" in text, "the resolved config does not hold the override"


def test_name_is_the_files_stem_and_output_may_be_anywhere(lab):
    lab.config("some_name.ini", train__epochs=1)
    lab.run("some_name.ini").expect(0)
    assert (lab.dir / "runs/some_name/metrics.h5").is_file()
    lab.run("some_name.ini", "run.output=a/b/c").expect(0)
    assert (lab.dir / "a/b/c/metrics.h5").is_file()


def test_long_value_is_kept_whole(lab):
    layers = "dense:8 relu " * 24  # 312 characters
    lab.config(model__layers=layers.strip(), train__epochs=1)
    lab.run("run.ini").expect(0)
    assert lab.out().attr("model", "layers") == f"{layers}dense:{CLASSES}"


@pytest.mark.parametrize("layers, says", [
    ("dense:8 ReLU", "did you mean relu?"),
    ("Dense:8 relu", "did you mean dense?"),
    ("dense:8, relu", "'dense:8,': blanks alone separate layers"),
])
def test_layers_as_others_write_them_get_a_hint(lab, layers, says):
    lab.config()
    lab.run("run.ini", f"model.layers={layers}").fails(2, says)


def test_a_command_that_there_is_not(lab):
    lab.config()
    for ranks in (None, 2):
        lab.run("trian", "run.ini", ranks=ranks).fails(2, "'trian' is neither a command nor a file", "eval predict")
    (lab.dir / "config").write_text((lab.dir / "run.ini").read_text())
    lab.run("config").expect(0)


def test_empty_layers_is_a_linear_model(lab):
    lab.config(model__layers="", train__epochs=1)
    lab.run("run.ini").expect(0)
    with h5py.File(lab.out().last) as file:
        assert {n: d.shape for n, d in file["model"].items()} == {
            "0.weight": (CLASSES, FEATURES), "0.bias": (CLASSES,)}
