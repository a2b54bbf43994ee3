# shellcheck shell=bash
# Sourced: what Open MPI needs to be told on one machine, through its own variables. mpirun
# refuses to run as root or with more ranks than cores, binds a lone rank to one core, and spins
# where ranks share cores. A variable that is already set stays as it is.

# cores: those that this process may use, by affinity and by the quotas of its groups and all
# above them (CGROUP_ROOT comes before /proc and /sys: for tests).
cores() {
    local root=${CGROUP_ROOT-} n controllers path top quota period
    n=$(unset OMP_NUM_THREADS OMP_THREAD_LIMIT; nproc) # it would tell those numbers
    while IFS=: read -r _ controllers path; do
        case ,$controllers, in
        ,,) top=$root/sys/fs/cgroup ;;
        *,cpu,*) top=$root/sys/fs/cgroup/cpu ;;
        *) continue ;;
        esac
        path=${path%/}
        while :; do
            { read -r quota period <"$top$path/cpu.max" ||
                { read -r quota <"$top$path/cpu.cfs_quota_us" &&
                    read -r period <"$top$path/cpu.cfs_period_us"; }; } 2>/dev/null || quota=max
            if [ "$quota" != max ] && [ "$quota" -gt 0 ]; then
                quota=$(((quota + period - 1) / period))
                [ "$quota" -ge "$n" ] || n=$quota
            fi
            [ -n "$path" ] || break
            path=${path%/*}
        done
    done < <(cat "$root/proc/self/cgroup" 2>/dev/null)
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
