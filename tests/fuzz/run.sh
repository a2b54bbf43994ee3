#!/usr/bin/env bash
# Feeds made-up files and configs to the parsers, each target for some seconds: `make fuzz`.
#     tests/fuzz/run.sh PROGRAM SECONDS SEED [TARGET ...]
# What the fuzzer finds interesting is kept in build/fuzz/corpus; a finding stays there as crash-*.
set -euo pipefail
program=$(realpath "$1") seconds=$2 seed=$3
shift 3
[ $# -gt 0 ] || set -- ini override layers csv idx npy gz
cd "$(dirname "$0")/../.."
corpus=$(dirname "$program")/corpus

# seed TARGET NAME: what comes from stdin, behind the byte that file targets want.
seed() { mkdir -p "$corpus/$1" && { [ "$1" = ini ] || printf '\0'; cat; } >"$corpus/$1/$2"; }

for file in configs/*.ini; do
    name=$(basename "$file")
    seed ini "$name" <"$file"
done
for file in configs/data/*.csv; do
    name=$(basename "$file")
    seed csv "$name" <"$file"
    gzip -c "$file" | seed gz "$name"
done
printf 'a,"b, c",y\n1,2.5e1,u\n-3,True,v\n' | seed csv names
printf '\x00\x00\x08\x03\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x01\x07\x09' | seed idx two
{ printf '\x93NUMPY\x01\x00\x36\x00'; printf "%-53s\n" "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"; printf '\0\0\0\0\0\0\200\77'; } | seed npy two
mkdir -p "$corpus/override" "$corpus/layers"
printf 'train.batch_size=64' >"$corpus/override/one"
printf 'conv:4@3/2+1 relu maxpool:2 dense:8 dropout:0.5 layernorm' >"$corpus/layers/one"

# Memory ends at 256 MiB apiece: that must be an error too.
for target in "$@"; do
    log=$(dirname "$program")/$target.log
    echo "fuzz $target: $seconds s, seed $seed"
    if ! FUZZ=$target ASAN_OPTIONS=allocator_may_return_null=1:max_allocation_size_mb=256 "$program" \
        -max_total_time="$seconds" -seed="$seed" -timeout=20 -rss_limit_mb=6000 -malloc_limit_mb=1000000 \
        -max_len=4096 -close_fd_mask=1 -artifact_prefix="$corpus/crash-$target-" "$corpus/$target" >"$log" 2>&1; then
        tail -n 40 "$log"
        echo "fuzz $target: a finding: FUZZ=$target $program $corpus/crash-$target-..."
        exit 1
    fi
    grep -E "^#[0-9]+.*DONE|stat::number_of_executed" "$log" | tail -n 1
done
rm -rf /dev/shm/trainer-fuzz-*
echo "fuzz: no finding"
