#!/usr/bin/env bash
# Runs the tests that make has built: `tests/run.sh quick|all [NAME]`, as `make check` and `make test`
# do. NAME: only the programs in tests/unit and tests/mpi, and the tests in tests/py, whose name
# contains it. Environment: BUILD (the build folder), PYTHON, MNIST_DIR.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=scripts/mpi-env.sh
. scripts/mpi-env.sh

extent=${1:?quick or all}
only=${2-}
build=${BUILD:-build}
python=${PYTHON:-/usr/bin/python3}
shopt -s nullglob
unit_files=(tests/unit/*"$only"*.c)
multi_files=(tests/mpi/*"$only"*.c)
TRAINER=$(realpath "$build")/trainer
export TRAINER
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

now() { date +%s%3N; }
seconds() { awk -v ms="$(($(now) - $1))" 'BEGIN { printf "%.1f s", ms / 1000 }'; }

passed=0 failed=0 skipped=0
summary=
# part NAME COMMAND...: runs one part; it adds to the counts itself. Its own line goes to the end.
part() {
    local name=$1 start before=("$passed" "$failed" "$skipped")
    shift
    printf '\n== %s\n' "$name"
    start=$(now)
    "$@"
    summary+=$(printf '%-28s %5d passed %3d failed %3d skipped %9s' "$name" $((passed - before[0])) \
        $((failed - before[1])) $((skipped - before[2])) "$(seconds "$start")")$'\n'
}

includes() {
    if "$python" scripts/check-includes.py . "$build/src"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
}

unit_one() {
    local log=$logs/$1 start
    start=$(now)
    timeout -k 5 300 "$build/tests/unit/$1" >"$log" 2>&1
    echo $? >"$log.code"
    seconds "$start" >"$log.time"
}

# Each Criterion program counts its own tests; one that dies before it says so is one failure.
unit() {
    local file name jobs=0 counts
    for file in "${unit_files[@]}"; do
        [ $((jobs++)) -lt "$(nproc)" ] || wait -n
        unit_one "$(basename "$file" .c)" &
    done
    wait
    for file in "${unit_files[@]}"; do
        name=$(basename "$file" .c)
        counts=$(sed -n 's/.*Tested: .*Passing: .*Failing: .*Crashing: .*/&/p' "$logs/$name" |
            sed 's/\x1b\[[0-9;]*m//g' | tr -dc '0-9|\n' | tail -n 1)
        IFS='|' read -r tested ok _ <<<"${counts:-1|0}"
        # Criterion says nothing of what a sanitizer finds when a test has ended.
        ! grep -qE '^==[0-9]+==ERROR: ' "$logs/$name" || echo 1 >"$logs/$name.code"
        [ "$tested" -gt "$ok" ] || [ "$(cat "$logs/$name.code")" = 0 ] || ok=$((tested - 1))
        printf '%-28s %3d of %d passed %9s\n' "$name" "$ok" "$tested" "$(cat "$logs/$name.time")"
        [ "$ok" -eq "$tested" ] || sed 's/^/    /' "$logs/$name"
        passed=$((passed + ok))
        failed=$((failed + tested - ok))
    done
}

# The first line of a program may say on how many ranks it is to run: /* ranks: 1 2 3 */
multi_rank() {
    local file name ranks start code
    for file in "${multi_files[@]}"; do
        name=$(basename "$file" .c)
        for ranks in $(sed -n '1s/.*ranks:\([ 0-9]*\).*/\1/p;1q' "$file" | grep . || echo 2); do
            start=$(now)
            (mpi_env "$ranks"
                exec timeout -k 5 120 mpirun -np "$ranks" "$build/tests/mpi/$name") >"$logs/$name" 2>&1
            code=$?
            printf '%-28s %d ranks: %s %9s\n' "$name" "$ranks" \
                "$([ $code -eq 0 ] && echo passed || echo "FAILED (exit code $code)")" "$(seconds "$start")"
            if [ $code -eq 0 ]; then
                passed=$((passed + 1))
            else
                sed 's/^/    /' "$logs/$name"
                failed=$((failed + 1))
            fi
        done
    done
}

count() {
    local n
    n=$(grep -oE "[0-9]+ $1" <<<"$last" | cut -d" " -f1)
    echo "${n:-0}"
}

py_tests() {
    local code=0 last errors
    "$python" -m pytest -q -p no:cacheprovider -rs --durations=5 ${only:+-k "$only"} "$@" tests/py 2>&1 | tee "$logs/pytest"
    code=${PIPESTATUS[0]}
    last=$(tail -n 1 "$logs/pytest")
    [ "$code" -ne 5 ] || [ -z "$only" ] || code=0 # none of that name
    errors=$(($(count failed) + $(count 'errors?')))
    [ "$code" -eq 0 ] || [ $errors -gt 0 ] || errors=1
    passed=$((passed + $(count passed)))
    skipped=$((skipped + $(count skipped)))
    sed -n 's/^SKIPPED \[\([0-9]*\)\] [^ ]*: /\1 /p' "$logs/pytest" >>"$logs/skipped"
    failed=$((failed + errors))
}

look=()
[ "$extent" = all ] || look=(--check)
if dir=$(scripts/get-data.sh "${look[@]}" mnist); then
    MNIST_DIR=$(realpath "$dir")
    export MNIST_DIR
else
    echo "MNIST is not here: the tests that train on it are skipped"
fi
start=$(now)
[ -n "$only" ] || part "includes" includes
part "units (Criterion)" unit
part "several ranks (mpirun)" multi_rank
part "users' view (pytest), quick" py_tests -m "not slow"
[ "$extent" = quick ] || part "users' view (pytest), slow" py_tests -m slow
printf '\n== summary\n%s%-28s %5s %44s\n\n' "$summary" "all" "" "$(seconds "$start")"
if [ $((passed + failed + skipped)) -eq 0 ]; then
    echo "no ${only:+$extent }test's name contains '$only'" >&2
    failed=1
fi
if [ -s "$logs/skipped" ]; then
    echo "not run:"
    awk '{ n = $1; sub(/^[0-9]+ /, ""); total[$0] += n } END { for (why in total) printf "%6d  %s\n", total[why], why }' \
        "$logs/skipped" | sort -k2
    echo
fi
echo "tests: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
