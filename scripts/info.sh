#!/usr/bin/env bash
# Prints what was found on this machine: `make info`.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=scripts/mpi-env.sh
. scripts/mpi-env.sh

python=${PYTHON:-/usr/bin/python3}
line() { printf '%-12s %s\n' "$1" "${2:-not found}"; }
first() { "$@" 2>/dev/null | head -n 1; }
macro() { printf '#include <%s>\n%s\n' "$1" "$2" | "${CC:-gcc}" -E -P - 2>/dev/null | tail -n 1 | tr -d '"'; }
header() { echo "#include <$1>" | "${CC:-gcc}" -E -o /dev/null - 2>/dev/null && echo found; }
module() { "$python" -c "import $1; print($1.__version__)" 2>/dev/null; }
data() { scripts/get-data.sh --check "$1" 2>/dev/null; }

line compiler "$(first "${CC:-gcc}" --version)"
line MPI "$(first mpirun --version)"
line HDF5 "$(pkg-config --modversion "${HDF5:-hdf5}" 2>/dev/null)"
line zlib "$(macro zlib.h ZLIB_VERSION)"
line inih "$(pkg-config --modversion inih 2>/dev/null || header ini.h)"
line Criterion "$(pkg-config --modversion criterion 2>/dev/null || header criterion/criterion.h)"
line Python "$(first "$python" --version) ($python)"
for name in numpy h5py pytest torch; do
    line "  $name" "$(module $name)"
done
line CPU "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
line cores "$(cores) usable, $(nproc --all) in the machine"
line memory "$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
line MNIST "$(data mnist)"
line Fashion "$(data fashion-mnist)"
if [ -x "${BUILD:-build}/trainer" ]; then
    echo
    "${BUILD:-build}/trainer" --version
else
    line trainer "not built yet (make)"
fi
