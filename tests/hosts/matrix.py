#!/usr/bin/env python3
"""One result on any layout, the long way: batch sizes x hosts x ranks x threads x kernel sets.

Trains a small network on each and compares every dataset under /model and /optimizer and every
column of the metrics that is not a time with those of one rank. Wants root, about 10 minutes, and
a trainer ($TRAINER or ./trainer); by hand, as tests/py/test_hosts.py runs the part that matters.
usage: tests/hosts/matrix.py [BATCH...]    (default 1 7 64 1000)"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "py")]
from helpers import TRAINER, Lab, kernel_sets, make_set, write_idx  # noqa: E402
from hosts import Hosts, environment, why_not  # noqa: E402

# Ranks on h1, h2 ...: 1, 2, 3, 4, 5, 7 and 8 of them, on one host and on several.
LAYOUTS = [(1,), (2,), (3,), (4,), (5,), (7,), (8,), (1, 1), (2, 1), (1, 2), (2, 2), (3, 2),
           (4, 3), (4, 4), (1, 1, 1), (1, 1, 1, 1), (2, 1, 1, 1), (2, 2, 2, 1), (2, 2, 2, 2)]
LIMIT = {1: 40, 7: 150}  # samples; the others take all 1203


def main():
    batches = [int(word) for word in sys.argv[1:]] or [1, 7, 64, 1000]
    if why_not():
        sys.exit(f"skipped: {why_not()}")
    sets, different, compared = kernel_sets(), 0, 0
    with tempfile.TemporaryDirectory() as folder, Hosts(4) as hosts:
        lab = Lab(folder, write_idx(Path(folder) / "data", make_set(1203, 1), make_set(201, 2)))
        lab.config(model__layers="dense:23 relu dense:19 relu", optimizer__momentum=0.9,
                   optimizer__clip_norm=1.5, train__epochs=2, checkpoint__every=1000)
        for batch in batches:
            limit, expected = LIMIT.get(batch, 0), None
            for layout in LAYOUTS:
                for threads in (1, 2, 3):
                    for kernels in sets if sum(layout) in (1, 4) else sets[:1]:
                        command = [TRAINER, "run.ini", f"train.batch_size={batch}",
                                   f"data.limit={limit}", f"parallel.threads={threads}",
                                   f"parallel.kernels={kernels}"]
                        done = subprocess.run(
                            hosts.mpirun(layout, command, folder), env=environment(), text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE)
                        if done.returncode:
                            sys.exit(f"{layout}: exit code {done.returncode}\n{done.stderr}")
                        got = lab.out().bits()
                        shutil.rmtree(lab.out().path)
                        expected = expected or got
                        wrong = sorted(name for name in got if got[name] != expected.get(name))
                        compared, different = compared + 1, different + bool(wrong)
                        print(f"batch {batch:4d}  ranks {'+'.join(map(str, layout)):8}  threads "
                              f"{threads}  {kernels:8}  "
                              f"{'differs: ' + ', '.join(wrong) if wrong else 'same'}", flush=True)
    print(f"{compared} layouts, {different} of them different")
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
