"""One config, one result: the same bits on any ranks, threads, kernels, after any stop.
Compared: each dataset under /model and /optimizer, and all columns that are not times."""

import signal

import pytest

from helpers import Lab, assert_same_bits, kernel_sets

RAGGED = {"train__epochs": 2, "optimizer__momentum": 0.9, "optimizer__lr": 0.02,
          "optimizer__weight_decay": 0.001, "optimizer__clip_norm": 1.5,
          "model__layers": "dense:23 relu dense:19 relu"}


def bits(lab, name, *args, ranks=None):
    lab.run("run.ini", f"run.name={name}", *args, ranks=ranks).expect(0)
    return lab.out(name).bits()


@pytest.fixture(scope="module")
def reference(tmp_path_factory, data):
    """One rank, one thread, batches of 64 and 27 samples."""
    lab = Lab(tmp_path_factory.mktemp("bits"), data)
    lab.config(**RAGGED)
    lab.bits = bits(lab, "reference")
    return lab


def test_two_runs_of_one_config_are_equal(reference):
    assert_same_bits(bits(reference, "again"), reference.bits, "the same command twice")


def test_the_comparison_sees_a_change(reference):
    other = bits(reference, "seed", "run.seed=43")
    assert all(other[name] != reference.bits[name] for name in other
               if name.startswith(("model/", "optimizer/")) or name == "steps.loss")


@pytest.mark.parametrize("ranks, threads", [(1, 2), (2, 1), (3, 1), (5, 2), (8, 1)])
def test_layout_changes_no_bit(reference, ranks, threads):
    name = f"r{ranks}t{threads}"
    got = bits(reference, name, f"parallel.threads={threads}", ranks=ranks)
    assert_same_bits(got, reference.bits, f"{ranks} ranks x {threads} threads")
    attrs = [reference.out(name).attr("/", key) for key in ("ranks", "threads")]
    assert attrs == [ranks, threads], "the run did not have this layout"


# A rank alone that does not clip updates each layer as its gradient is made, by rows of threads
# where there are enough: here in the first layer, not in the second.
ALONE = ("optimizer.clip_norm=0", "model.layers=dense:90 relu dense:19 relu", "data.limit=200")


@pytest.mark.parametrize("batch", [64, 0])
def test_threads_of_a_rank_alone_change_no_bit(reference, batch):
    args = (*ALONE, f"train.batch_size={batch}")
    one = bits(reference, f"alone{batch}", *args, "parallel.threads=1")
    for threads in (2, 3, 5):
        name = f"alone{batch}-{threads}"
        got = bits(reference, name, *args, f"parallel.threads={threads}")
        assert_same_bits(got, one, f"{threads} threads")
        assert reference.out(name).attr("/", "threads") == threads


def test_kernel_sets_change_no_bit(reference):
    sets = kernel_sets()
    small = "data.limit=130"
    first = bits(reference, f"set-{sets[0]}", small, f"parallel.kernels={sets[0]}")
    for name in sets[1:]:
        got = bits(reference, f"set-{name}", small, f"parallel.kernels={name}")
        assert_same_bits(got, first, f"kernels {name} against {sets[0]}")
    if len(sets) == 1:
        pytest.skip(f"this CPU has one kernel set, {sets[0]}")


@pytest.mark.parametrize("batch, limit, ranks", [
    (1, 21, 3), (17, 100, 4), (0, 603, 5),
    pytest.param(100, 250, 7, marks=pytest.mark.slow)])
def test_ragged_batches_change_no_bit(reference, batch, limit, ranks):
    args = (f"train.batch_size={batch}", f"data.limit={limit}")
    one = bits(reference, f"b{batch}", *args)
    many = bits(reference, f"b{batch}r{ranks}", *args, "parallel.threads=2", ranks=ranks)
    assert_same_bits(many, one, f"batch {batch} on {ranks} ranks")


@pytest.mark.parametrize("batch", [2, pytest.param(0, marks=pytest.mark.slow)])
def test_more_ranks_than_samples_change_no_bit(reference, batch):
    args = ("data.limit=3", f"train.batch_size={batch}")
    one = bits(reference, f"few{batch}", *args)
    many = bits(reference, f"few{batch}r5", *args, ranks=5)
    assert_same_bits(many, one, "3 samples on 5 ranks")


def test_small_blocks_change_no_bit_between_layouts(reference):
    args = ("parallel.block=3", "train.batch_size=61", "data.limit=200")
    one = bits(reference, "block", *args)
    assert_same_bits(bits(reference, "block5", *args, ranks=5), one, "block 3 on 5 ranks")


def test_validation_and_standardize_change_no_bit(reference):
    args = ("data.validation=0.2", "data.normalize=standardize", "optimizer.name=adamw")
    one = bits(reference, "val", *args)
    assert_same_bits(bits(reference, "val3", *args, ranks=3), one, "3 ranks")


def test_stops_and_other_layouts_change_no_bit(reference):
    lab = reference
    name = "run.name=stopped"
    lab.run("run.ini", name, "train.max_steps=4", ranks=3).expect(75)
    lab.run("run.ini", name, "train.max_steps=13", "parallel.threads=2").expect(75)
    lab.run("run.ini", name, ranks=2).expect(0)
    assert lab.out("stopped").table("steps")["step"].tolist() == list(range(1, 21))
    assert_same_bits(lab.out("stopped").bits(), lab.bits, "stopped twice")


def test_adam_with_cosine_resumes_to_the_same_bits(lab):
    lab.config(optimizer__name="adam", optimizer__lr=0.003, optimizer__schedule="cosine",
               optimizer__warmup=1, train__epochs=4, data__validation=50)
    lab.run("run.ini", "run.name=whole").expect(0)
    lab.run("run.ini", "train.max_steps=19").expect(75)
    lab.run("run.ini", ranks=3).expect(0)
    assert_same_bits(lab.out().bits(), lab.out("whole").bits(), "stopped at step 19")


@pytest.mark.parametrize("ranks", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_kill_9_changes_no_bit(lab, ranks):
    lab.config(train__epochs=100, train__eval_every=10, checkpoint__every=1000)
    lab.run("run.ini", "run.name=whole").expect(0)
    job = lab.start("run.ini", "checkpoint.every_steps=7", ranks=ranks)
    job.wait_for(lambda: len(lab.out().steps_kept()) > 2)
    job.popen.send_signal(signal.SIGKILL)
    job.end(10)
    assert lab.out().status() == "running", "the run was over before the kill"
    lab.run("run.ini").expect(0)
    assert_same_bits(lab.out().bits(), lab.out("whole").bits(), "killed and resumed")


# ---- the whole matrix ----

@pytest.mark.slow
@pytest.mark.parametrize("batch, limit", [(1, 24), (7, 150), (64, 603), (0, 603)])
def test_every_layout_gives_one_result(reference, batch, limit):
    args = (f"train.batch_size={batch}", f"data.limit={limit}")
    expected = None
    for ranks in (1, 2, 3, 4, 5, 8):
        for threads in (1, 2):
            got = bits(reference, f"m{batch}-{ranks}-{threads}", *args,
                       f"parallel.threads={threads}", ranks=ranks)
            expected = expected or got
            assert_same_bits(got, expected, f"batch {batch}, {ranks} ranks x {threads}")


@pytest.mark.slow
def test_every_kernel_set_and_thread_count_gives_one_result(reference):
    sets = kernel_sets()
    expected = None
    for name in sets:
        for threads in (1, 2, 3):
            got = bits(reference, f"k-{name}-{threads}", *ALONE, "train.batch_size=70",
                       f"parallel.kernels={name}", f"parallel.threads={threads}")
            expected = expected or got
            assert_same_bits(got, expected, f"{name} with {threads} threads")
    if len(sets) == 1:
        pytest.skip(f"this CPU has one kernel set, {sets[0]}")


@pytest.mark.slow
def test_mnist_gives_one_result_on_every_layout(lab, mnist):
    lab.config(data=mnist, model__layers="dense:512 relu dense:512 relu",
               optimizer__momentum=0.9, train__epochs=1, data__limit=6000)
    expected = None
    for ranks, threads in ((1, 1), (1, 2), (2, 1), (3, 1), (4, 1)):
        got = bits(lab, f"r{ranks}t{threads}", f"parallel.threads={threads}", ranks=ranks)
        expected = expected or got
        assert_same_bits(got, expected, f"{ranks} ranks x {threads} threads")
