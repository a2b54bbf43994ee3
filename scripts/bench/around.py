"""What is around the steps, and what threads cost on cores that others use."""

import os
import sys
import time
from contextlib import ExitStack

import numpy as np

from common import SAMPLES, TOP, TRAINER, command, note, say, train
from parts import environment, in_time, output, process

LAYERS = "dense:512 relu dense:512 relu"
# Burns a core for as long as its parent lives, however that ends.
BUSY = """import os, sys
while os.getppid() == int(sys.argv[1]):
    for _ in range(100000):
        pass"""


def first_step(folder, data):
    """(seconds from the command to the first step's loss, peak memory of the run in MB)."""
    in_time()
    line, env = command(folder, data, LAYERS, 64, "data.limit=6400")
    began = time.perf_counter()
    with process(line, env, cwd=folder) as child:
        next((text for text in child.stdout if text.startswith("loss:")), None)
        seconds = time.perf_counter() - began
        child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    in_time()
    if child.returncode != 0:
        sys.exit(f"bench: a run ended with {child.returncode}")
    return seconds, usage.ru_maxrss * 1024e-6


def costs(folder, data, archives, cores):
    say("\nAround the steps, 784-512-512-10 at batch 64")

    def cost(what, text, value, unit):
        say("  " + text)
        note("cost", "", what, 64, cores, 1, "trainer", value, "", unit)

    seconds, megabytes = np.min([first_step(folder, archives) for _ in range(5)], axis=0)
    cost("first step from .gz", "from the command to the first step, 60,000 + 10,000 images from .gz: "
         f"{seconds:.2f} s", seconds, "s")
    cost("peak memory", f"peak memory of a run: {megabytes:.0f} MB", megabytes, "MB")

    def outside(epochs, *more):
        """Seconds of a run that are not in its steps."""
        began = time.perf_counter()
        tables = train(folder, data, LAYERS, 64, *more, epochs=epochs, threads=cores)
        return time.perf_counter() - began - tables["steps"]["seconds"].sum()

    def difference(count, *variants, epochs):
        """Seconds of what one variant does `count` times more often than the other: they take turns,
        and the best of three counts."""
        more, less = np.min([[outside(epochs, *extra) for extra in variants] for _ in range(3)], axis=0)
        return (more - less) / count

    seconds = difference(10, *(("data.limit=640", f"train.eval_every={k}") for k in (1, 11)), epochs=11)
    cost("evaluation", f"evaluation of 10,000 images: {1000 * seconds:.0f} ms (all threads)", seconds, "s")
    seconds = difference(SAMPLES // 6400, ("checkpoint.every_steps=100",), (), epochs=1)
    cost("checkpoint", f"a checkpoint of 670,000 parameters and momentum: {1000 * seconds:.1f} ms between "
         "two steps; then it is\n  written beside them (all threads)", seconds, "s")
    began = time.perf_counter()
    output(TRAINER, TOP / "configs/linear.ini", f"run.output={folder}/linear", env=environment(1), cwd=TOP)
    seconds = time.perf_counter() - began
    cost("2000 tiny epochs", "2,000 epochs of five rows (configs/linear.ini, start and files included): "
         f"{seconds:.2f} s", seconds, "s")
    for threads in sorted({1, cores}):
        profile = train(folder, data, LAYERS, 64, threads=threads)["profile"][-1]
        parts = {name: profile[f"{name}_seconds"]
                 for name in "data forward backward reduce update idle".split()}
        say(f"  where an epoch's time goes, {threads} thread{'s' * (threads > 1)}: " + ", ".join(
            f"{name} {100 * value / sum(parts.values()):.0f}%" for name, value in parts.items()))


def crowd(folder, data, cores):
    """What threads cost on cores that others use: beside two busy loops a core, which one thread and
    more have alike."""
    say("\nBeside two busy loops a core, milliseconds an epoch (6,400 samples; the table: 150): the median "
        "and the best\nof five with one thread; then with more, and the ratio of the medians. In "
        "brackets: forced to so many")
    table = folder / "table.csv"
    table.write_text("a,b,c,d,kind\n" + "".join(
        f"{k % 7},{k % 11},{k % 5},{k % 13},{k % 3}\n" for k in range(150)), encoding="utf-8")
    cases = {"table 4-16-3": ("dense:16 relu", 16, 40, "data.dir=", f"data.train={table}",
                              "data.target=kind"),
             "784-32-10": ("dense:32 relu", 64, 10, "data.limit=6400"),
             "784-512-512-10": (LAYERS, 64, 1, "data.limit=6400")}
    ways = {"x1": (1,), f"x{cores}": (cores,), f"(x{cores})": (cores, f"parallel.threads={cores}")}
    with ExitStack() as stack:
        for _ in range(2 * cores):
            stack.enter_context(process([sys.executable, "-c", BUSY, os.getpid()], environment(1)))
        for name, (layers, batch, count, *more) in cases.items():
            found = {way: [] for way in ways}
            for _ in range(5):
                for way, (threads, *forced) in ways.items():
                    tables = train(folder, data, layers, batch, *more, *forced, epochs=count,
                                   threads=threads)
                    found[way].append(tables["epochs"]["seconds"].sum() / count)
            one = np.median(found["x1"])
            text = f"  {name:15s} batch {batch:4d}"
            for way, seconds in found.items():
                text += f"   {way} {1e3 * np.median(seconds):.3g} ({1e3 * min(seconds):.3g})"
                if way != "x1":
                    text += f" = {np.median(seconds) / one:.2f}x"
                kind = "crowd" if len(ways[way]) == 1 else "crowd, forced"
                note(kind, "", name, batch, ways[way][0], 1, "trainer", min(seconds),
                     np.median(seconds), "s")
            say(text)
