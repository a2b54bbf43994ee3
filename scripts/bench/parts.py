"""The parts of a benchmark, each with an outer limit of time, and the processes of a part."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

ended = []  # the names of the parts that took too long
# Seconds: of a part at most, where it doesn't say less; when all must be over; when the present part.
limit = {"part": 300, "whole": float("inf"), "end": 0}
# What has the peers do with AVX2 alone, on a machine that has more.
ONLY_AVX2 = {"OPENBLAS_CORETYPE": "Haswell", "ONEDNN_MAX_CPU_ISA": "AVX2",
             "DNNL_MAX_CPU_ISA": "AVX2", "LIBXSMM_TARGET": "hsw", "ATEN_CPU_CAPABILITY": "avx2",
             "MKL_ENABLE_INSTRUCTIONS": "AVX2", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}


def environment(threads, **more):
    """Without what would make an installed OpenBLAS forget the CPU that it runs on."""
    env = {k: v for k, v in os.environ.items()
           if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MAKEFLAGS", "MAKELEVEL")}
    return {**env, "OMP_NUM_THREADS": str(threads), **more}


class Overrun(Exception):
    """The part's time is over, and its processes are ended."""


def part(name, seconds, function, *args):
    """function(*args), or None when that takes longer, or there is no time left for it."""
    seconds = max(0, min(seconds, limit["part"], limit["whole"] - time.monotonic()))
    limit["end"] = time.monotonic() + seconds
    try:
        return function(*args)
    except Overrun:
        ended.append(name)
        print(f"{name}: ended after {seconds:.3g} s", file=sys.stderr, flush=True)
        return None


def in_time():
    if time.monotonic() >= limit["end"]:
        raise Overrun


@contextmanager
def process(command, env, **how):
    """A process that is ended, with those that it started, when the part's time is over, and at the
    end of the block."""
    with subprocess.Popen([str(c) for c in command], env=env, text=True, stdout=subprocess.PIPE,
                          start_new_session=True, **how) as child:
        def end():
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
        timer = threading.Timer(max(0, limit["end"] - time.monotonic()), end)
        timer.start()
        try:
            yield child
        finally:
            timer.cancel()
            if child.poll() is None:
                end()


def output(*command, env, cwd=None):
    in_time()
    with process(command, env, cwd=cwd, stderr=subprocess.PIPE) as child:
        out, err = child.communicate()
    in_time()
    if child.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, command))} ended with {child.returncode}:\n{out}{err}")
    return out
