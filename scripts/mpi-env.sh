# shellcheck shell=bash
# Sourced: what Open MPI needs to be told on one machine, through its own variables. mpirun
# refuses to run as root or with more ranks than cores, binds a lone rank to one core, and spins
# where ranks share cores. A variable that is already set stays as it is.

# cores: those that this process may use, by affinity and by the container's quota.
cores() {
    local n quota period
    n=$(nproc)
    if read -r quota period 2>/dev/null </sys/fs/cgroup/cpu.max && [ "$quota" != max ]; then
        quota=$(((quota + period - 1) / period))
        [ "$quota" -ge "$n" ] || n=$quota
    fi
    echo "$n"
}

# mpi_env RANKS
mpi_env() {
    if [ "$(id -u)" -eq 0 ]; then
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    # The ranks' threads spread over the cores by themselves; bound to a core they could not.
    export OMPI_MCA_hwloc_base_binding_policy=${OMPI_MCA_hwloc_base_binding_policy-none}
    if [ "$1" -gt "$(cores)" ]; then
        export OMPI_MCA_rmaps_base_oversubscribe=${OMPI_MCA_rmaps_base_oversubscribe-1}
        export OMPI_MCA_mpi_yield_when_idle=${OMPI_MCA_mpi_yield_when_idle-1}
    fi
    # Containers often forbid reading another process's memory, which Open MPI reports each time.
    if [ -e /.dockerenv ] || [ -e /run/.containerenv ] || [ -n "${container-}" ]; then
        export OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism-none}
    fi
}
