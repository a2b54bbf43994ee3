"""How a job is laid out on its host: the launch line, the launch check's advice, shared memory, and ranks
that hang or die."""

import os
import shutil
import signal
import subprocess
import time

import pytest

from helpers import TRAINER, assert_same_bits, environment, running

CORES = len(os.sched_getaffinity(0))


def launch_lines(result):
    return [line for line in result.out.splitlines() if line.startswith("launch")]


@pytest.mark.parametrize("ranks", [None, 2])
def test_the_layout_is_one_line(lab, ranks):
    lab.config()
    result = lab.run("check", "run.ini", ranks=ranks).expect(0)
    assert len(launch_lines(result)) == 1, result
    assert f"{ranks or 1} rank" in launch_lines(result)[0] and "on 1 node" in launch_lines(result)[0]


def test_auto_threads_share_the_cores(lab):
    lab.config()
    result = lab.run("check", "run.ini", env={"OMP_NUM_THREADS": None}).expect(0)
    assert f"1 rank x {CORES} thread" in launch_lines(result)[0]
    result = lab.run("check", "run.ini", ranks=CORES, env={"OMP_NUM_THREADS": None}).expect(0)
    assert f"{CORES} rank" in launch_lines(result)[0] and "x 1 thread " in launch_lines(result)[0]
    assert "warning" not in result.err, result


@pytest.mark.skipif(CORES < 2, reason="needs two cores")
def test_threads_bound_to_one_core_are_told_the_way_out(lab):
    lab.config()
    env = {"OMPI_MCA_hwloc_base_binding_policy": "core", "OMP_NUM_THREADS": "2"}
    result = lab.run("check", "run.ini", ranks=1, env=env).expect(0)
    assert "--bind-to none" in result.err and "share 1 core" in result.err, result
    env["OMP_NUM_THREADS"] = None
    result = lab.run("check", "run.ini", ranks=1, env=env).expect(0)
    assert "idle" in result.err and "--bind-to none" in result.err, result


def test_more_threads_than_cores_are_told_the_number(lab):
    lab.config()
    result = lab.run("check", "run.ini", f"parallel.threads={2 * CORES}", ranks=2,
                     env={"OMPI_MCA_mpi_yield_when_idle": "0"}).expect(0)
    assert "parallel.threads=" in result.err or "--bind-to" in result.err, result


def test_a_rank_alone_with_too_many_threads_is_told_its_cores(lab):
    lab.config()
    result = lab.run("check", "run.ini", f"parallel.threads={CORES + 3}").expect(0)
    assert result.err.count("warning") == 1, result
    assert f"{CORES + 3} threads on {CORES} core" in result.err, result
    assert f"set parallel.threads={CORES}\n" in result.err, result


def test_spinning_ranks_are_told_to_yield(lab):
    lab.config()
    ranks = CORES + 1
    env = {"OMPI_MCA_mpi_yield_when_idle": "0"}
    result = lab.run("check", "run.ini", ranks=ranks, env=env).expect(0)
    assert "OMPI_MCA_mpi_yield_when_idle=1" in result.err, result
    result = lab.run("check", "run.ini", ranks=ranks).expect(0)
    assert "take turns" in result.err and "yield" not in result.err, result


def test_ranks_without_samples_are_counted(lab):
    lab.config()
    result = lab.run("check", "run.ini", "train.batch_size=33", ranks=5).expect(0)
    assert "2 of 5 ranks have no samples" in result.err, result
    result = lab.run("check", "run.ini", "train.batch_size=64", ranks=3).expect(0)
    assert "1.50 times its even share" in result.out, result


@pytest.mark.skipif(CORES < 2, reason="needs two cores")
@pytest.mark.parametrize("variable, value", [("OMP_PROC_BIND", "true"), ("OMP_PROC_BIND", "close"),
                                             ("OMP_PLACES", "cores"), ("OMP_PLACES", "threads")])
def test_openmp_that_binds_its_threads_leaves_all_cores(lab, variable, value):
    lab.config()
    result = lab.run("check", "run.ini", env={"OMP_NUM_THREADS": None, variable: value}).expect(0)
    assert f"1 rank x {CORES} threads on 1 node, {CORES} cores" in launch_lines(result)[0]
    assert "warning" not in result.err, result


@pytest.mark.skipif(CORES < 2, reason="needs two cores")
def test_ranks_that_openmp_binds_to_the_same_core_are_told(lab):
    lab.config()
    env = {"OMP_NUM_THREADS": "1", "OMP_PROC_BIND": "true"}
    result = lab.run("check", "run.ini", ranks=2, env=env).expect(0)
    assert result.err.count("warning") == 1, result
    assert "threads of 2 ranks to the same 1 core: unset" in result.err, result
    env["OMPI_MCA_hwloc_base_binding_policy"] = "core"
    assert "warning" not in lab.run("check", "run.ini", ranks=2, env=env).expect(0).err


def test_openmp_places_that_are_fewer_are_what_there_is(lab):
    lab.config()
    first = min(os.sched_getaffinity(0))
    result = lab.run("check", "run.ini",
                     env={"OMP_NUM_THREADS": None, "OMP_PLACES": f"{{{first}}}"}).expect(0)
    assert "1 rank x 1 thread on 1 node, 1 core," in launch_lines(result)[0]


def test_a_slurm_task_takes_its_cpus_where_nothing_binds_it(lab):
    lab.config()
    env = {"OMP_NUM_THREADS": None, "SLURM_STEP_NUM_TASKS": "1", "SLURM_CPUS_PER_TASK": "1"}
    assert " x 1 thread " in launch_lines(lab.run("check", "run.ini", env=env).expect(0))[0]
    env = {"OMP_NUM_THREADS": None, "SLURM_CPUS_ON_NODE": "1"}
    result = lab.run("check", "run.ini", env=env).expect(0)
    assert " x 1 thread on 1 node, 1 core," in launch_lines(result)[0]


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
    env = {**environment(False), "OMPI_MCA_btl": None}
    env = {k: v for k, v in env.items() if v is not None}
    done = subprocess.run(["unshare", "-m", "sh", "-c", command], cwd=lab.dir, env=env, text=True,
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if "shared memory" in line]
    assert len(lines) == 1 and "private copies" in lines[0], done.stderr
    assert_same_bits(lab.out("narrow").bits(), lab.out("wide").bits(), "without shared memory")


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


def gone(ranks):
    """mpirun's end and that of the last rank may cross."""
    until = time.monotonic() + 5
    while any(running(pid) for pid in ranks):
        assert time.monotonic() < until, "a rank lives on"
        time.sleep(0.05)


def test_a_rank_that_hangs_is_named_and_ends_the_job(lab):
    lab.config(train__epochs=100000, train__log_every=1, parallel__timeout=2)
    job = lab.start("run.ini", ranks=3)
    job.wait_for(lambda: lab.out().metrics.exists())
    ranks = job.ranks()
    assert len(ranks) == 3
    os.kill(ranks[1], signal.SIGSTOP)
    result = job.end(timeout=20)
    assert result.code == 1, result
    named = [line for line in result.errors if "has not been heard from" in line]
    assert len(named) == 1 and "rank 1 " in named[0], result
    gone(ranks)


@pytest.mark.parametrize("more", [(), ("parallel.allreduce=mpi",)])
def test_a_job_that_was_suspended_goes_on(lab, more):
    """All ranks are stopped for longer than the patience, and continued one after the other."""
    timeout = 2
    lab.config(train__epochs=1000000, train__log_every=1, metrics__flush=0.1)
    job = lab.start("run.ini", f"parallel.timeout={timeout}", *more, ranks=3)
    job.wait_for(lambda: lab.out().metrics.exists())
    ranks = job.ranks()
    for signum, pause in ((signal.SIGSTOP, timeout + 1), (signal.SIGCONT, 0.3)):
        for pid in ranks:
            os.kill(pid, signum)
            time.sleep(0.3)
        time.sleep(pause)
    seen = lab.out().metrics.stat().st_ino
    job.wait_for(lambda: lab.out().metrics.stat().st_ino != seen)     # written anew: it trains
    for pid in ranks:
        os.kill(pid, signal.SIGUSR1)
    result = job.end()
    assert result.code == 75 and not result.errors, result


def test_a_rank_that_dies_ends_the_others(lab):
    lab.config(train__epochs=100000, train__log_every=1)
    job = lab.start("run.ini", ranks=3)
    job.wait_for(lambda: lab.out().metrics.exists())
    ranks = job.ranks()
    os.kill(ranks[2], signal.SIGKILL)
    assert job.end(timeout=20).code == 137
    gone(ranks)
