#!/usr/bin/env bash
# Builds the peers that are installed and measures: `make bench` calls it. BUILD is make's folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
mkdir -p "$BUILD/bench"

# peer NAME HEADER FLAGS...: its GEMM program, if the library and what it wants are here
peer() {
    local name=$1 header=$2
    shift 2
    set -- "$@" -lm -ldl -lpthread
    rm -f "$BUILD/bench/peer_$name"
    if printf '#include <%s>\nint main(void) { return 0; }\n' "$header" |
        "${CC:-gcc}" -x c -o "$BUILD/bench/peer_$name" - -Wl,--no-as-needed "$@" 2>/dev/null; then
        "${CC:-gcc}" -std=gnu11 -O2 -fopenmp -o "$BUILD/bench/peer_$name" \
            "scripts/bench/peer_$name.c" "$@"
    fi
}
peer openblas cblas.h -lopenblas
peer onednn oneapi/dnnl/dnnl.h -ldnnl
peer libxsmm libxsmm.h -lxsmm -lopenblas

BUILD="$BUILD" "${PYTHON:-python3}" scripts/bench/bench.py
