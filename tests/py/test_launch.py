"""How a job is laid out on its host: the launch line, the launch check's advice, shared memory, and ranks
that hang or die."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from helpers import REPO, TRAINER, assert_same_bits, environment, running

CORES = len(os.sched_getaffinity(0))


def plural(n, what):
    return f"{n} {what}{'s' * (n > 1)}"


ALL_CORES = f"1 rank x {plural(CORES, 'thread')} on 1 node, {plural(CORES, 'core')},"
AUTO = {"OMP_NUM_THREADS": None}
SPIN = {"OMPI_MCA_mpi_yield_when_idle": "0"}
BOUND = {"OMPI_MCA_hwloc_base_binding_policy": "core"}

# name: what `check` is started with (arguments, ranks, environment), what it says then, and what it
# does not: of all warnings where none is expected.
LAYOUTS = {
    "alone": ([], None, {}, ["1 rank x 1 thread on 1 node"], ["warning"]),
    "two ranks": ([], 2, {}, ["2 ranks x 1 thread on 1 node"], []),
    "threads by the cores": ([], None, AUTO, [ALL_CORES], ["warning"]),
    "ranks share the cores": ([], CORES, AUTO, [f"{plural(CORES, 'rank')} x 1 thread "], ["warning"]),
    # What binds the threads leaves all cores to them, unless its places are fewer.
    **{f"{name}={value}": ([], None, {**AUTO, name: value}, [ALL_CORES], ["warning"])
       for name, value in (("OMP_PROC_BIND", "true"), ("OMP_PROC_BIND", "close"),
                           ("OMP_PLACES", "cores"), ("OMP_PLACES", "threads"))},
    "one place": ([], None, {**AUTO, "OMP_PLACES": f"{{{min(os.sched_getaffinity(0))}}}"},
                  ["1 rank x 1 thread on 1 node, 1 core,"], ["warning"]),
    # Slurm may count cores without binding anybody to them.
    "srun's task": ([], None, {**AUTO, "SLURM_STEP_NUM_TASKS": "1", "SLURM_CPUS_PER_TASK": "1"},
                    [" x 1 thread "], ["warning"]),
    "Slurm's job": ([], None, {**AUTO, "SLURM_CPUS_ON_NODE": "1"},
                    [" x 1 thread on 1 node, 1 core,"], ["warning"]),
    "too many threads": ([f"parallel.threads={CORES + 3}"], None, {},
                         [f"{CORES + 3} threads on {plural(CORES, 'core')}",
                          f"set parallel.threads={CORES}\n"], []),
    "ranks with too many threads": ([f"parallel.threads={2 * CORES}"], 2, SPIN,
                                    ["set parallel.threads="], []),
    "ranks that spin": ([], CORES + 1, SPIN, ["export OMPI_MCA_mpi_yield_when_idle=1"], []),
    "ranks that yield": ([], CORES + 1, {}, ["take turns"], ["yield"]),
    "ranks without samples": (["train.batch_size=33"], 5, {}, ["2 of 5 ranks have no samples"], []),
    "uneven ranks": (["train.batch_size=64"], 3, {}, ["1.50 times its even share"], []),
}
if CORES > 1:
    TOGETHER = {"OMP_PROC_BIND": "true"}
    LAYOUTS.update({
        "threads on one core": ([], 1, {**BOUND, "OMP_NUM_THREADS": "2"},
                                ["share 1 core", "--bind-to none"], []),
        "idle cores": ([], 1, {**BOUND, **AUTO}, ["idle", "--bind-to none"], []),
        "ranks on one core": ([], 2, TOGETHER, ["threads of 2 ranks to the same 1 core: unset"], []),
        "ranks on cores of their own": ([], 2, {**TOGETHER, **BOUND}, ["2 ranks"], ["warning"]),
    })


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_one_line_and_advice_where_it_can_be_better(lab, layout):
    args, ranks, env, said, unsaid = LAYOUTS[layout]
    lab.config()
    result = lab.run("check", "run.ini", *args, ranks=ranks, env=env).expect(0)
    assert len(re.findall("^launch", result.out, re.MULTILINE)) == 1, result
    for words in said:
        assert words in result.out + result.err, result
    for words in unsaid:
        assert words not in result.err, result
    if layout in ("too many threads", "ranks on one core"):
        assert result.err.count("warning") == 1, result


FOREIGN = {"srun": {"SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2", "SLURM_PROCID": "{}"},
           "MPICH": {"PMI_SIZE": "2", "PMI_RANK": "{}"},
           "Hydra": {"MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "{}"},
           "MVAPICH": {"MV2_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_RANK": "{}"}}


@pytest.mark.parametrize("launcher", FOREIGN)
def test_processes_that_mpi_does_not_connect_are_refused_in_one_line(lab, launcher):
    """What each of two processes gets from a launcher that this MPI does not know."""
    lab.config()
    first, second = ({k: v.format(rank) for k, v in FOREIGN[launcher].items()} for rank in (0, 1))
    lab.run("run.ini", env=first).fails(2, launcher, "2 processes", "mpirun", "script")
    result = lab.run("run.ini", env=second).expect(2)
    assert result.out == result.err == "", result
    assert not (lab.dir / "runs").exists()


def test_a_run_of_its_own_in_each_process_of_a_script_is_let_be(lab):
    lab.config(train__epochs=1)
    for rank in ("0", "1"):
        env = {k: v.format(rank) for k, v in FOREIGN["srun"].items()}
        done = subprocess.run(["sh", "-c", f"{TRAINER} run.ini run.name=r$SLURM_PROCID; exit $?"],
                              cwd=lab.dir, env=environment(True, **env), text=True,
                              capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("warning: srun started 2 processes") == (rank == "0"), done.stderr
        assert "done " in done.stdout


@pytest.mark.parametrize("env", [
    {"SLURM_NTASKS": "8", "SLURM_NPROCS": "8", "SLURM_PROCID": "0"},      # in sbatch's script
    {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
    {"SLURM_STEP_NUM_TASKS": "8", "SLURM_PTY_PORT": "40000"},             # srun -n 8 --pty bash
    {"PMI_SIZE": "1", "PMI_RANK": "0"}])
def test_a_trainer_that_is_alone_by_right_is_not_complained_of(lab, env):
    lab.config()
    assert lab.run("check", "run.ini", env=env).expect(0).err == ""


needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare") or
    subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0,
    reason="needs root and mount namespaces")


@needs_namespaces
def test_little_shared_memory_gives_the_same_bits_and_one_line(lab):
    lab.config(train__epochs=2, optimizer__momentum=0.9)
    lab.run("run.ini", "run.name=wide", ranks=3).expect(0)
    command = ("mount -t tmpfs -o size=64k tmpfs /dev/shm && exec mpirun --quiet --mca btl tcp,self "
               f"-np 3 {TRAINER} run.ini run.name=narrow")
    done = subprocess.run(["unshare", "-m", "sh", "-c", command], cwd=lab.dir, text=True,
                          env=environment(False, OMPI_MCA_btl=None), capture_output=True, timeout=60,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if "shared memory" in line]
    assert len(lines) == 1 and "private copies" in lines[0], done.stderr
    assert_same_bits(lab.out("narrow").bits(), lab.out("wide").bits(), "without shared memory")


ASKS_NOBODY = """
import json, os, socket, subprocess, sys
subprocess.run("ip link set lo up && mount --bind empty /etc/hosts && mount --bind resolv /etc/resolv.conf && "
               "mount -t tmpfs none /sys", shell=True, check=True)
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
server.setblocking(False)
found = []
for args in json.loads(sys.argv[1]):
    done = subprocess.run([os.environ["TRAINER"], *args], text=True, capture_output=True, check=False)
    found.append([done.returncode, done.stderr])
questions = 0
while True:
    try:
        server.recv(4096)
        questions += 1
    except BlockingIOError:
        break
print(json.dumps([questions, found]))
"""


@needs_namespaces
@pytest.mark.parametrize("display", [None, "elsewhere.invalid:0"])
def test_a_start_asks_no_name_server_and_needs_no_sys(lab, display):
    """A name server that never answers, no /etc/hosts, no /sys: hwloc would look for X displays through the one and
    complain of the other."""
    if not shutil.which("ip"):
        pytest.skip("ip is not installed")
    lab.config(train__epochs=1)
    (lab.dir / "empty").touch()
    (lab.dir / "resolv").write_text("nameserver 127.0.0.1\n")
    starts = [["help"], ["--version"], ["nothing.ini"], ["check", "run.ini"], ["run.ini", "run.overwrite=true"]]
    done = subprocess.run(["unshare", "-m", "-n", sys.executable, "-c", ASKS_NOBODY, json.dumps(starts)],
                          cwd=lab.dir, env=environment(True, TRAINER=str(TRAINER), DISPLAY=display), text=True,
                          capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    questions, (*good, wrong, check, train) = json.loads(done.stdout)
    assert questions == 0
    assert [*good, check, train] == [[0, ""]] * 4
    assert wrong[0] == 2 and wrong[1].count("\n") == 1


@pytest.fixture(scope="module")
def handles(tmp_path_factory):
    shim = tmp_path_factory.mktemp("handles") / "handles.so"
    subprocess.run(["mpicc", "-std=gnu11", "-shared", "-fPIC", "-o", shim, REPO / "tests/handles.c"], check=True)
    return str(shim)


@pytest.mark.slow
@pytest.mark.parametrize("command", [["run.ini"], ["eval", "runs/whole"],
                                     ["predict", "runs/whole", "--output", "p.csv"]], ids=["train", "eval", "predict"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_call_of_mpi_that_fails_ends_all_ranks(lab, handles, command, rank):
    """Some calls spread over the launch: one message, no code of a good end, and nobody waits."""
    lab.config(train__epochs=1, train__batch_size=200, optimizer__clip_norm=1)
    lab.run("run.ini", "run.name=whole").expect(0)
    counted = lab.run(*command, "run.overwrite=true", ranks=2, env={"LD_PRELOAD": handles, "HANDLES_FAIL": "-1",
                                                                    "HANDLES_RANK": "0"}).expect(0)
    calls = min(int(n) for n in re.findall(r"; (\d+) calls", counted.err))
    for call in sorted({1, 2, calls // 4, calls // 2, calls - 2}):
        result = lab.run(*command, "run.overwrite=true", "run.resume=never", ranks=2, timeout=30,
                         env={"LD_PRELOAD": handles, "HANDLES_FAIL": str(call), "HANDLES_RANK": str(rank)})
        said = [line for line in result.errors if "MPI failed" in line]
        assert result.code == 1 and len(said) == 1, f"call {call} of {calls}: {result}"
        assert f"rank {rank} on " in said[0]


@pytest.mark.parametrize("ranks", [None, 2])
def test_no_mpi_handle_is_left_at_the_end(lab, handles, ranks):
    """Of communicators, requests and error handlers; all that src/comm makes goes through handles.c."""
    source = "".join(path.read_text() for path in (REPO / "src/comm").glob("*.c"))
    makes = set(re.findall(r"\b(MPI_(?:I[a-z]+|Comm_dup|Comm_split\w*|Comm_create\w*|Win_\w+|Type_\w+|Op_create))\(",
                           source))
    known = (REPO / "tests/handles.c").read_text()
    assert makes and all(f"int {name}(" in known for name in makes), makes
    lab.config(train__epochs=2, checkpoint__every=1, optimizer__clip_norm=1)
    nothing = "left: 0 communicators, 0 requests, 0 error handlers"
    for args, code in ((["run.ini"], 0), (["eval", "runs/run"], 0),
                       (["run.ini", "run.name=no", "data.dir=nowhere"], 3)):
        result = lab.run(*args, ranks=ranks, env={"LD_PRELOAD": handles}).expect(code)
        assert result.err.count(nothing) == (ranks or 1) == result.err.count("left: "), result
    result = lab.run("eval", "runs/run", ranks=ranks, env={"LD_PRELOAD": handles, "HANDLES_PLANTED": "1"})
    assert "left: 1 communicators" in result.err


def test_help_and_mistakes_need_no_mpi(lab, tmp_path):
    """MPI's start fails in a folder for its modules that is empty."""
    env = {"OMPI_MCA_mca_base_component_path": str(tmp_path), "OMPI_MCA_pml": "none"}
    lab.config(train__epochs=1)
    assert lab.run("check", "run.ini", env=env).code != 0
    assert "usage: trainer" in lab.run("help", env=env).expect(0).out
    assert "kernels" in lab.run("--version", env=env).expect(0).out
    for args in (["check"], ["eval"], ["none.ini"], ["run.ini", "train.epochs=-1"], ["predict", "--nothing"]):
        result = lab.run(*args, env=env).expect(2)
        assert len(result.err.splitlines()) == 1, result


@pytest.mark.parametrize("more, why", [((), "all ranks share one memory"),
                                       (("parallel.allreduce=mpi",),
                                        "parallel.allreduce is not tree")])
def test_overlap_that_cannot_be_is_said(lab, more, why):
    lab.config(train__epochs=1)
    told = lab.run("run.ini", "parallel.overlap=on", *more, ranks=2).expect(0)
    assert told.err.count(f"parallel.overlap=on has no effect: {why}") == 1, told
    quiet = lab.run("run.ini", "run.name=auto", *more, ranks=2).expect(0)
    assert "overlap" not in quiet.err, quiet


def test_plain_allreduce_trains_and_agrees_closely(lab):
    lab.config(train__epochs=1)
    lab.run("run.ini", "run.name=tree", ranks=3).expect(0)
    lab.run("run.ini", "run.name=mpi", "parallel.allreduce=mpi", ranks=3).expect(0)
    tree, mpi = (lab.out(n).table("steps")["loss"] for n in ("tree", "mpi"))
    assert abs(tree - mpi).max() < 1e-4


@pytest.fixture
def endless(lab):
    """Starts a job of three ranks that only a fault or a signal ends: the job, its ranks."""
    lab.config(train__epochs=1000000, train__log_every=1, metrics__flush=0.1)

    def start(*args):
        job = lab.start("run.ini", *args, ranks=3)
        job.wait_for(lambda: lab.out().metrics.exists())
        ranks = job.ranks()
        assert len(ranks) == 3
        return job, ranks
    return start


def gone(ranks):
    """mpirun's end and that of the last rank may cross."""
    until = time.monotonic() + 5
    while any(running(pid) for pid in ranks):
        assert time.monotonic() < until, "a rank lives on"
        time.sleep(0.05)


def test_a_rank_that_hangs_is_named_and_ends_the_job(endless):
    job, ranks = endless("parallel.timeout=2")
    os.kill(ranks[1], signal.SIGSTOP)
    result = job.end(timeout=20).expect(1)
    named = [line for line in result.errors if "has not been heard from" in line]
    assert len(named) == 1 and "rank 1 " in named[0], result
    gone(ranks)


@pytest.mark.parametrize("more", [(), ("parallel.allreduce=mpi",)])
def test_a_job_that_was_suspended_goes_on(lab, endless, more):
    """All ranks are stopped for longer than the patience, and continued one after the other."""
    timeout = 2
    job, ranks = endless(f"parallel.timeout={timeout}", *more)
    for signum, pause in ((signal.SIGSTOP, timeout + 1), (signal.SIGCONT, 0.3)):
        for pid in ranks:
            os.kill(pid, signum)
            time.sleep(0.3)
        time.sleep(pause)
    seen = lab.out().metrics.stat().st_ino
    job.wait_for(lambda: lab.out().metrics.stat().st_ino != seen)     # written anew: it trains
    for pid in ranks:
        os.kill(pid, signal.SIGUSR1)
    assert not job.end().expect(75).errors


def test_a_rank_that_dies_ends_the_others(endless):
    job, ranks = endless()
    os.kill(ranks[2], signal.SIGKILL)
    job.end(timeout=20).expect(137)
    gone(ranks)
