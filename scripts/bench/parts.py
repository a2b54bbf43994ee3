"""The parts of a benchmark, each with an outer limit of time, and the processes of a part."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

ended = []  # the names of the parts that took too long
limit = {"seconds": 300, "end": 0}  # of a part; when the present one's time is over


def environment(threads):
    """A quiet one: these make an installed OpenBLAS forget the CPU that it runs on."""
    env = {k: v for k, v in os.environ.items()
           if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MAKEFLAGS", "MAKELEVEL")}
    return {**env, "OMP_NUM_THREADS": str(threads)}


class Overrun(Exception):
    """The part's time is over, and its processes are ended."""


def part(name, function, *args):
    """function(*args), or None when that takes too long."""
    limit["end"] = time.monotonic() + limit["seconds"]
    try:
        return function(*args)
    except Overrun:
        ended.append(name)
        print(f"{name}: ended after {limit['seconds']:g} s", file=sys.stderr, flush=True)
        return None


def in_time():
    if time.monotonic() >= limit["end"]:
        raise Overrun


@contextmanager
def process(command, threads, **how):
    """A process that is ended, with those that it started, when the part's time is over, and at the
    end of the block."""
    with subprocess.Popen([str(c) for c in command], env=environment(threads), text=True,
                          stdout=subprocess.PIPE, start_new_session=True, **how) as child:
        def end():
            if child.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
        timer = threading.Timer(max(0, limit["end"] - time.monotonic()), end)
        timer.start()
        try:
            yield child
        finally:
            timer.cancel()
            end()


def output(*command, threads, cwd=None):
    in_time()
    with process(command, threads, cwd=cwd, stderr=subprocess.PIPE) as child:
        out, err = child.communicate()
    in_time()
    if child.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, command))} ended with {child.returncode}:\n{out}{err}")
    return out
