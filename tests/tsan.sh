#!/usr/bin/env bash
# Runs the trainer with clang's thread sanitizer: `make tsan`. What is between threads is our own: the team, the
# communication thread, the thread that writes files, the watchdog. A planted race must be found. MPI and HDF5 are
# not compiled for the sanitizer: what happens inside of them is not looked at.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=scripts/mpi-env.sh
. scripts/mpi-env.sh

build=$PWD/build/tsan
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mpi_env 2
printf 'called_from_lib:lib%s\n' mpi.so open-pal.so open-rte.so hdf5 >"$work/known"
export TSAN_OPTIONS="suppressions=$work/known ignore_noninstrumented_modules=1 exitcode=66"
"${PYTHON:-/usr/bin/python3}" -c '
import sys
sys.path.insert(0, "tests/py")
import helpers
from pathlib import Path
helpers.write_idx(Path(sys.argv[1]), helpers.make_set(600, 1, 28), helpers.make_set(200, 2, 28))' "$work/data" || exit 1
bad=0

# see NAME WARNINGS COMMAND...: 0 or some. Addresses that are drawn at random are none that it knows.
see() {
    local name=$1 wanted=$2 found code
    shift 2
    (cd "$work" && setarch -R "$@") >"$work/log" 2>&1
    code=$?
    found=$(grep -c 'WARNING: ThreadSanitizer' "$work/log")
    if [ "$wanted" = some ]; then
        [ "$found" -gt 0 ]
    else
        [ "$found" -eq 0 ] && [ $code -eq 0 ]
    fi || { bad=1; name="WRONG: $name (exit code $code)"; sed 's/^/    /' "$work/log" | head -n 40; }
    printf '%3d warnings: %s\n' "$found" "$name"
}

train() {
    local name=$1 ranks=$2
    shift 2
    local launch=()
    [ "$ranks" = 1 ] || launch=(mpirun --quiet -np "$ranks")
    see "$name" 0 "${launch[@]}" "$build/trainer" "$PWD/configs/${name%% *}.ini" data.dir="$work/data" \
        run.output="$work/${name// /-}" train.epochs=2 train.batch_size=50 checkpoint.every=1 metrics.flush=0.05 "$@"
}

see "a planted race" some "$build/race"
train "mlp on 3 threads" 1 parallel.threads=3 train.ema=0.9
train "mlp on 2 ranks" 2 parallel.threads=2 parallel.overlap=on optimizer.clip_norm=1
train "mlp without overlap" 2 parallel.threads=2 parallel.overlap=off
train "cnn on 3 threads" 1 parallel.threads=3 augment.elastic=2 augment.erase=0.5
train "cnn on 2 ranks" 2 parallel.threads=2 parallel.overlap=on optimizer.name=lamb
see "eval" 0 "$build/trainer" eval "$work/cnn-on-3-threads" parallel.threads=3
see "predict" 0 "$build/trainer" predict "$work/mlp-on-2-ranks" --output "$work/p.csv" parallel.threads=3
exit $bad
