#!/usr/bin/env bash
# Looks for mistakes that a tool can see: `make lint`; with --format lays out the C code instead.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

python=${PYTHON:-/usr/bin/python3}
files() { git ls-files -co --exclude-standard -- "$@" | sort -u | while read -r f; do [ ! -f "$f" ] || echo "$f"; done; }
mapfile -t c < <(files '*.c' '*.h')
mapfile -t shell < <(files '*.sh' .ci/run)
mapfile -t py < <(files '*.py')

if [ "${1-}" = --format ]; then
    clang-format -i "${c[@]}"
    exit
fi

bad=0
# check NAME COMMAND...: quiet where all is well.
check() {
    local name=$1 start=$SECONDS
    shift
    if ! command -v "$1" >/dev/null; then
        echo "$name: no $1 here (scripts/install-deps.sh --lint installs it)"
        bad=1
    elif "$@"; then
        echo "$name: good ($((SECONDS - start)) s)"
    else
        echo "$name: see above"
        bad=1
    fi
}

# shellcheck disable=SC2317 # check calls it
top_level() {
    ! files . | sed 's|/.*||' | sort -u | grep -vxE 'src|include|scripts|configs|tests|Makefile|README\.md|\..*'
}
check "the top level" top_level
check "layout of ${#c[@]} C files" clang-format --dry-run -Werror "${c[@]}"
check "includes" "$python" scripts/check-includes.py
check "C, by cppcheck" cppcheck --quiet --std=c11 --language=c -Iinclude -D__x86_64__ \
    --enable=warning,portability,performance --suppressions-list=tests/cppcheck.supp \
    --error-exitcode=1 -j "$(nproc)" src
# What knows neither MPI's nor HDF5's headers is no use here. The kernels are one file for each set, not these.
mapfile -t parts < <(files 'src/*/*.c' | grep -v '^src/kernels/')
read -ra flags <<<"-std=gnu11 -fopenmp -D_GNU_SOURCE -Iinclude $(pkg-config --cflags hdf5-serial 2>/dev/null ||
    pkg-config --cflags hdf5 2>/dev/null) $(mpicc --showme:compile 2>/dev/null)"
# shellcheck disable=SC2016,SC2317 # check calls it, and bash -c expands
tidy() {
    printf '%s\0' "${parts[@]}" | xargs -0 -P "$(nproc)" -n 8 bash -c \
        'clang-tidy --quiet "${@:2:$#}" -- $0 2>/dev/null' "${flags[*]}" --
}
# gcc's analyzer sees one file at a time, and not that ranks agree: what it finds wrongly is in a list, with why.
# shellcheck disable=SC2317 # check calls it
analyzer() {
    local found
    found=$(printf '%s\0' "${parts[@]}" | xargs -0 -P "$(nproc)" -n 1 gcc "${flags[@]}" -O2 -fanalyzer -c -o /dev/null 2>&1 |
        grep 'warning:' | sed 's/^\([^:]*\):[0-9:]* .*\[\(-W[a-z-]*\)\]$/\1 \2/' | sort -u |
        grep -vFf <(sed -n 's/ *#.*//; /./p' tests/analyzer.supp))
    [ -z "$found" ] || { echo "$found"; return 1; }
}
check "C, by clang-tidy" tidy
check "C, by gcc's analyzer" analyzer
check "${#shell[@]} shell scripts" shellcheck -x "${shell[@]}"
check "${#py[@]} Python files" "$python" -c '
import sys
for path in sys.argv[1:]:
    compile(open(path).read(), path, "exec")' "${py[@]}"
if command -v ruff >/dev/null; then
    check "Python, by ruff" ruff check --quiet scripts tests
else
    echo "Python, by ruff: not installed (pip install ruff), left out"
fi
exit $bad
