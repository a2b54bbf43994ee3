"""Several hosts: the same bits as on one, over TCP, and what happens when something fails.

The hosts are namespaces on this machine (tests/hosts/hosts.py), which wants root. What may be
lost with a rank or a link is time: a job goes on or ends, and the next start, here on one host,
gives the bits of the run that nothing happened to."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from helpers import (REPO, TRAINER, Lab, Process, assert_same_bits, build_shim, make_set, running,
                     write_idx)

sys.path.insert(0, str(REPO / "tests" / "hosts"))
from hosts import DEAD_AFTER, Hosts, environment, why_not  # noqa: E402

WHY_NOT = why_not()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]

ESCALATION = 10  # seconds: mpirun's TERM, KILL and clearing up take 3 on an idle machine
WATCHDOG = 4     # parallel.timeout in these tests

# 220 steps, which take a few seconds at 10 Mbit/s however fast the cores are.
RATE = 10
CONFIG = {"model__layers": "dense:23 relu dense:19 relu", "optimizer__momentum": 0.9,
          "optimizer__lr": 0.02, "optimizer__weight_decay": 0.001,
          "optimizer__clip_norm": 1.5, "train__batch_size": 60, "train__epochs": 20,
          "train__eval_every": 10, "train__log_every": 1,
          "checkpoint__every": 1000, "checkpoint__every_steps": 40}


@pytest.fixture(scope="module")
def hosts():
    with Hosts(4) as made:
        yield made


@pytest.fixture(scope="module")
def lab(tmp_path_factory, data):
    """One config, and its bits on one host."""
    lab = Lab(tmp_path_factory.mktemp("hosts"), data)
    lab.config(**CONFIG)
    lab.run("run.ini", "run.name=one").expect(0)
    lab.bits = lab.out("one").bits()
    return lab


@pytest.fixture
def slow(hosts):
    """Hosts whose network sets the pace."""
    hosts.rate(RATE)
    yield hosts
    for host in ("h1", "h2"):
        hosts.link(host, True)
    hosts.clear()
    hosts.rate(None)


class Job(Process):
    """mpirun on h1, with layout[i] ranks of one thread on host i + 1."""

    def __init__(self, hosts, lab, layout, *args, options=()):
        self.hosts = hosts
        command = hosts.mpirun(
            layout, [TRAINER, "run.ini", "parallel.threads=1", *args], lab.dir, options)
        self.start(command, None, environment())

    def end(self, timeout=60):
        """As Process.end; a job that does not end is ended on all hosts."""
        late = threading.Event()

        def clear():
            late.set()
            self.hosts.clear()
        timer = threading.Timer(timeout, clear)
        timer.start()
        try:
            result = super().end(timeout + 20)
        finally:
            timer.cancel()
        assert not late.is_set(), f"no end within {timeout} s\n{result}"
        return result


def started(hosts, lab, name, layout, *args, options=()):
    """A job that has written its first checkpoint, and what it leaves."""
    job = Job(hosts, lab, layout, f"run.name={name}", *args, options=options)
    out = lab.out(name)
    job.wait_for(out.last.exists, 40)
    assert out.status() == "running"
    return job, out


def resumes_to_the_same_bits(lab, hosts, out):
    """Nothing is left of a lost job but valid files, and one host ends it as if nothing had
    happened."""
    assert hosts.empty() == [], "ranks are left on a host"
    lab.run("eval", out.last).expect(0)
    result = lab.run("run.ini", f"run.name={out.path.name}").expect(0)
    found = re.search(r"^resume +from step (\d+)", result.out + result.err, re.MULTILINE)
    assert found and int(found[1]) >= 40, f"did not go on from the checkpoint\n{result}"
    assert_same_bits(out.bits(), lab.bits, "lost and resumed")


# ---- bits ----

@pytest.mark.parametrize("layout", [(1, 1), (2, 2), (2, 1), (1, 1, 1, 1), (2, 2, 2, 2)],
                         ids=lambda layout: "+".join(map(str, layout)))
def test_hosts_change_no_bit(hosts, lab, layout):
    name, before = f"hosts{layout}".replace(", ", "-"), hosts.traffic("h2")
    result = Job(hosts, lab, layout, f"run.name={name}").end(60).expect(0)
    after, floats = hosts.traffic("h2"), 256 * 23 + 24 * 19 + 20 * 10
    assert f"{sum(layout)} ranks x 1 thread on {len(layout)} nodes" in result.out
    for way, was in zip(after, before):
        assert way - was > 220 * 4 * floats / len(layout), "the gradients took another way"
    assert_same_bits(lab.out(name).bits(), lab.bits, f"ranks on the hosts: {layout}")
    assert hosts.empty() == []


def communication_thread(pid):
    """Whether a rank has a thread that exchanges beside the computation."""
    return any(Path(f"/proc/{pid}/task/{task}/comm").read_text() == "communication\n"
               for task in os.listdir(f"/proc/{pid}/task"))


# What the communication thread treats differently. The layers are wide enough for several slices
# each: those of the first are of whole chunks, those of the second have chunks that span two.
OVERLAPS = {
    "plain": {},
    "clip": {"optimizer__clip_norm": 0.5},
    "accumulated": {"train__zero_grad": "false", "optimizer__clip_norm": 0.5},
    "adamw": {"optimizer__name": "adamw", "optimizer__momentum": 0, "optimizer__lr": 0.002},
    "two threads": {"parallel__threads": 2},
    "frozen": {"model__freeze": "0 4", "optimizer__clip_norm": 0.5},
    "frozen in the middle": {"model__freeze": "2 6"},
    "few samples": {"train__batch_size": 7, "data__limit": 40},  # one block: most ranks have none
    "microbatches": {"train__batch_size": 4500, "train__epochs": 4},  # of 1024 samples
}


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("wide"),
              write_idx(tmp_path_factory.mktemp("many"), make_set(4700, 1), make_set(50, 2)))
    yield lab
    lab.close()


@pytest.mark.parametrize("case", OVERLAPS)
def test_overlap_changes_no_bit(hosts, wide, case):
    name = case.replace(" ", "-")
    wide.config(**{"model__layers": "dense:72 relu dense:184 tanh dense:40 relu",
                   "optimizer__momentum": 0.9, "optimizer__lr": 0.02, "train__batch_size": 64,
                   "data__limit": 0 if case == "microbatches" else 700, "train__log_every": 1,
                   "checkpoint__every_steps": 5, **OVERLAPS[case]})
    wide.run("run.ini", f"run.name={name}-1", "parallel.threads=1").expect(0)
    bits = wide.out(f"{name}-1").bits()
    threads = f"parallel.threads={OVERLAPS[case].get('parallel__threads', 1)}"
    for layout in ((1, 1), (2, 1), (2, 2), (1, 1, 1, 1)):
        out = f"{name}{layout}".replace(", ", "-")
        Job(hosts, wide, layout, f"run.name={out}", "parallel.overlap=on", threads).end(60).expect(0)
        assert_same_bits(wide.out(out).bits(), bits, f"{case}, ranks on the hosts: {layout}")


def test_overlap_is_for_several_hosts_and_large_layers(slow, lab):
    large = ("model.layers=dense:300 relu dense:300 relu", "train.batch_size=603")
    for n, (layout, expected, *args) in enumerate((
            ((1, 1), True, *large), ((1, 1), False, *large, "parallel.overlap=off"),
            ((2,), False, *large, "parallel.overlap=on"), ((1, 1), False),
            ((1, 1), True, "parallel.overlap=on"))):
        job = Job(slow, lab, layout, f"run.name=overlap{n}", *args, "train.epochs=1000")
        job.wait_for(lambda n=n: len(slow.ranks()) == 2 and lab.out(f"overlap{n}").metrics.exists(), 40)
        found = {communication_thread(pid) for pid in slow.ranks().values()}
        slow.clear()
        job.end()
        assert found == {expected}, f"{layout} {args}"


# ---- faults ----

# A way to make a rank end by itself, as a library that calls exit() would.
EXITS = r"""
#include <signal.h>
#include <stdlib.h>
static void leave(int signal) { (void)signal; exit(0); }
__attribute__((constructor)) static void listen(void) { signal(SIGWINCH, leave); }
"""


@pytest.fixture(scope="module")
def exits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exits")
    (folder / "exits.c").write_text(EXITS)
    return build_shim(folder, folder / "exits.c")


@pytest.mark.parametrize("overlap", ["off", "on"])
@pytest.mark.parametrize("how", ["killed", "exits"])
def test_a_lost_rank_ends_the_job(slow, lab, exits, how, overlap):
    options = ("-x", f"LD_PRELOAD={exits}") if how == "exits" else ()
    job, out = started(slow, lab, f"{how}-{overlap}", (1, 2), f"parallel.overlap={overlap}",
                       options=options)
    os.kill(slow.ranks()[1], signal.SIGKILL if how == "killed" else signal.SIGWINCH)
    result = job.end(ESCALATION)
    assert result.code == 137 if how == "killed" else result.code not in (0, 75), result
    resumes_to_the_same_bits(lab, slow, out)


@pytest.mark.parametrize("overlap", ["off", "on"])
@pytest.mark.parametrize("victim", [1, 3])  # beside rank 0, and on the other host
def test_a_stuck_rank_is_named_and_the_job_ended(slow, lab, victim, overlap):
    job, out = started(slow, lab, f"stuck{victim}-{overlap}", (2, 2),
                       f"parallel.timeout={WATCHDOG}", f"parallel.overlap={overlap}")
    pid, at = slow.ranks()[victim], time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    result = job.end(WATCHDOG + ESCALATION)
    assert time.monotonic() - at > 0.9 * WATCHDOG, f"ended before its time\n{result}"
    assert result.code not in (0, 75)
    said = [line for line in result.errors if line.startswith("trainer:")]
    assert len(said) == 1 and re.search(rf"\brank {victim}\b", said[0]), \
        f"expected one message, which names rank {victim}\n{result}"
    resumes_to_the_same_bits(lab, slow, out)
    assert not running(pid)


def test_a_link_that_comes_back_loses_nothing(slow, lab):
    job, out = started(slow, lab, "back", (1, 1), f"parallel.timeout={WATCHDOG + 16}")
    slow.link("h2", False)
    time.sleep(0.5)  # what was on its way is through
    before = slow.traffic("h2")[0]
    time.sleep(2.5)
    assert slow.traffic("h2")[0] == before and out.status() == "running"
    slow.link("h2", True)
    job.end(40).expect(0)
    assert_same_bits(out.bits(), lab.bits, "a link that was down for 3 s")


def test_a_dead_link_ends_the_job(slow, lab):
    job, out = started(slow, lab, "dead", (1, 1))
    slow.link("h2", False)
    result = job.end(DEAD_AFTER + ESCALATION)
    assert result.code not in (0, 75), str(result)
    assert slow.empty(ESCALATION) == []
    resumes_to_the_same_bits(lab, slow, out)


# ---- the hosts themselves ----

def test_nothing_is_left_of_the_hosts_when_their_owner_is_killed():
    owner = subprocess.Popen([sys.executable, REPO / "tests/hosts/hosts.py", "-n", "2", "sh", "-c",
                              "echo $$; exec sleep 600"], stdout=subprocess.PIPE, text=True)
    owner.stdout.readline()

    def children(pid):
        try:
            with open(f"/proc/{pid}/task/{pid}/children") as file:
                direct = [int(word) for word in file.read().split()]
        except OSError:
            return []
        return [p for child in direct for p in [child, *children(child)]]
    pids = children(owner.pid)
    assert len(pids) >= 5, "unshare, the switch, two hosts, and the command"
    owner.kill()
    owner.wait()
    owner.stdout.close()
    until = time.monotonic() + 10
    while any(map(running, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(running, pids))
