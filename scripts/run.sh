#!/usr/bin/env bash
# Starts ./trainer under mpirun on this machine: as root, in a container, on few cores too.
set -euo pipefail

usage() {
    cat <<'END'
usage: scripts/run.sh [-n RANKS] CONFIG [section.key=value ...]
       scripts/run.sh [-n RANKS] eval|check|... ARGUMENTS

Runs `mpirun -np RANKS ./trainer ...` from here, with the settings that Open MPI wants on this
machine, and says so. RANKS: default 4, or the number of cores if there are fewer.
Environment: TRAINER  the program (default ./trainer)
On a cluster use plain mpirun or srun: see README.md and scripts/README.md.
END
}

here=$(dirname "$0")
# shellcheck source=scripts/mpi-env.sh
. "$here/mpi-env.sh"

ranks=
while getopts n:h option; do
    case $option in
    n) ranks=$OPTARG ;;
    h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
if [ $# -eq 0 ] || [[ ! $ranks =~ ^([1-9][0-9]*)?$ ]]; then
    usage >&2
    exit 2
fi
if [ -z "$ranks" ]; then
    ranks=$(cores)
    [ "$ranks" -le 4 ] || ranks=4
    echo "run: $(cores) cores here: $ranks ranks (-n sets another number)"
fi

mpi_env "$ranks"
line=(mpirun -np "$ranks" "${TRAINER:-./trainer}" "$@")
for variable in ${!OMPI_*}; do
    printf '%s=%s ' "$variable" "${!variable}"
done
echo "${line[*]}"
exec "${line[@]}"
