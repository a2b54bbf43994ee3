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


def assert_one_result(lab, name, layouts, *args):
    """The same bits on each layout: (ranks, or None without mpirun; other arguments)."""
    expected = None
    for n, (ranks, *more) in enumerate(layouts):
        got = bits(lab, f"{name}-{n}".replace(" ", "-"), *args, *more, ranks=ranks)
        expected = expected or got
        assert_same_bits(got, expected, f"{name}: {ranks} ranks, {more}, against {layouts[0]}")


def threads(n):
    return f"parallel.threads={n}"


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


@pytest.mark.parametrize("ranks, n", [(1, 2), (2, 1), (3, 1), (5, 2), (8, 1)])
def test_layout_changes_no_bit(reference, ranks, n):
    name = f"r{ranks}t{n}"
    got = bits(reference, name, threads(n), ranks=ranks)
    assert_same_bits(got, reference.bits, f"{ranks} ranks x {n} threads")
    attrs = [reference.out(name).attr("/", key) for key in ("ranks", "threads")]
    assert attrs == [ranks, n], "the run did not have this layout"


# What a layout could change: on so many ranks, and on one without mpirun.
CASES = {
    "single samples": (3, "train.batch_size=1", "data.limit=21"),
    "batches of 17": (4, "train.batch_size=17", "data.limit=100", threads(2)),
    "full batches": (5, "train.batch_size=0", threads(2)),
    "few samples": (5, "data.limit=3", "train.batch_size=2"),
    "small blocks": (5, "parallel.block=3", "train.batch_size=61", "data.limit=200"),
    "validation": (3, "data.validation=0.2", "data.normalize=standardize", "optimizer.name=adamw"),
    "batches of 100": (7, "train.batch_size=100", "data.limit=250", threads(2)),
    "a few samples at once": (5, "data.limit=3", "train.batch_size=0"),
}


@pytest.mark.parametrize("case", [pytest.param(name, marks=[pytest.mark.slow] * (n > 5))
                                  for n, name in enumerate(CASES)])
def test_ranks_change_no_bit(reference, case):
    ranks, *args = CASES[case]
    assert_one_result(reference, case, [(None, threads(1)), (ranks,)], *args)


# A rank alone that does not clip updates each layer as its gradient is made, by rows of threads
# where there are enough: here in the first layer, not in the second.
ALONE = ("optimizer.clip_norm=0", "model.layers=dense:90 relu dense:19 relu", "data.limit=200")


@pytest.mark.parametrize("batch", [64, 0])
def test_threads_of_a_rank_alone_change_no_bit(reference, batch):
    assert_one_result(reference, f"alone{batch}", [(None, threads(n)) for n in (1, 2, 3, 5)], *ALONE,
                      f"train.batch_size={batch}")
    assert reference.out(f"alone{batch}-3").attr("/", "threads") == 5


def test_kernel_sets_change_no_bit(reference):
    sets = kernel_sets()
    assert_one_result(reference, "sets", [(None, f"parallel.kernels={name}") for name in sets],
                      "data.limit=130")
    if len(sets) == 1:
        pytest.skip(f"this CPU has one kernel set, {sets[0]}")


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


# Layer-wise rates take norms of whole tensors, whose chunks are several ranks'. The first tensor
# here has six chunks, and the biases have one of a few numbers.
LAYERWISE = {"lars": ("optimizer.lr=2", "optimizer.momentum=0.9"),
             "lamb": ("optimizer.lr=0.02",)}


@pytest.mark.parametrize("name", LAYERWISE)
def test_layerwise_rates_have_the_same_bits_on_any_layout_and_after_a_stop(reference, name):
    args = (f"optimizer.name={name}", "model.layers=dense:90 relu dense:19 relu",
            "optimizer.decay_all=false", *LAYERWISE[name])
    layouts = [(None, threads(1)), (None, threads(3)), (3, threads(1)), (5, threads(2)),
               (2, threads(1), "parallel.overlap=on")]
    assert_one_result(reference, name, layouts, *args)
    stopped = f"run.name={name}-stopped"
    reference.run("run.ini", stopped, "train.max_steps=13", *args, ranks=3).expect(75)
    reference.run("run.ini", stopped, *args, threads(2)).expect(0)
    assert_same_bits(reference.out(f"{name}-stopped").bits(), reference.out(f"{name}-0").bits(),
                     "stopped at step 13")
    assert_one_result(reference, f"{name}-unclipped", layouts[:3], *args,
                      "optimizer.clip_norm=0")


def test_onecycle_resumes_to_the_same_bits(lab):
    lab.config(optimizer__momentum=0.85, optimizer__final_momentum=0.95, optimizer__nesterov="true",
               optimizer__schedule="onecycle", optimizer__warmup=0.3, train__epochs=3)
    lab.run("run.ini", "run.name=whole").expect(0)
    lab.run("run.ini", "train.max_steps=17").expect(75)
    lab.run("run.ini", ranks=3).expect(0)
    assert_same_bits(lab.out().bits(), lab.out("whole").bits(), "stopped at step 17")


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
    layouts = [(ranks, threads(n)) for ranks in (1, 2, 3, 4, 5, 8) for n in (1, 2)]
    assert_one_result(reference, f"matrix{batch}", layouts, f"train.batch_size={batch}",
                      f"data.limit={limit}")


@pytest.mark.slow
def test_every_kernel_set_and_thread_count_gives_one_result(reference):
    layouts = [(None, f"parallel.kernels={name}", threads(n)) for name in kernel_sets()
               for n in (1, 2, 3)]
    assert_one_result(reference, "kernels", layouts, *ALONE, "train.batch_size=70")


@pytest.mark.slow
def test_mnist_gives_one_result_on_every_layout(lab, mnist):
    lab.config(data=mnist, model__layers="dense:512 relu dense:512 relu",
               optimizer__momentum=0.9, train__epochs=1, data__limit=6000)
    assert_one_result(lab, "mnist", [(ranks, threads(n)) for ranks, n in
                                     ((1, 1), (1, 2), (2, 1), (3, 1), (4, 1))])
