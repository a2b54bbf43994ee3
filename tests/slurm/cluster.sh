#!/usr/bin/env bash
# A small Slurm of its own on this machine, for tests: a controller and nodes n0, n1, ... whose
# jobs are real processes here. As root; nothing outside FOLDER is written.
set -euo pipefail

usage() {
    cat <<'END'
usage: tests/slurm/cluster.sh start FOLDER [NODES [CPUS]]   then `. FOLDER/env` for sbatch, squeue ...
       tests/slurm/cluster.sh restart FOLDER                the controller: killed, then started
       tests/slurm/cluster.sh stop FOLDER                   cancel the jobs, end the daemons
       tests/slurm/cluster.sh can                           whether this machine can: exit code 0, or why not
Debian packages: slurmctld slurmd slurm-client munge. FOLDER needs a short absolute path.
END
}

PATH=$PATH:/usr/sbin
# shellcheck source=scripts/mpi-env.sh
. "$(dirname "$0")/../../scripts/mpi-env.sh"
what=${1-} folder=${2-}

# mine PIDFILE NAME: prints the process's id, if it is that daemon and was started from here.
mine() {
    local pid
    pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] &&
        tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF -- "$folder/" && echo "$pid"
}

end() {
    local pid
    pid=$(mine "$1" "$2") || return 0
    kill "${3--TERM}" "$pid"
    for _ in $(seq 50); do
        mine "$1" "$2" >/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$pid"
}

can() {
    local program
    for program in munged slurmctld slurmd sbatch; do
        command -v $program >/dev/null || { echo "no $program here (slurmctld slurmd slurm-client munge)"; return 1; }
    done
    [ "$(id -u)" -eq 0 ] || { echo "a Slurm of one's own needs root"; return 1; }
    mountpoint -q /sys/fs/cgroup || { echo "slurmd needs /sys/fs/cgroup, which is not mounted"; return 1; }
}

free_port() {
    local port
    for port in $(shuf -i 20000-30000 -n 50); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

configure() {
    local nodes=$1 cpus=$2 n host
    host=$(hostname -s)
    mkdir -p "$folder"/{munge,state,log,run}
    chmod 755 "$folder"
    chmod 700 "$folder/munge" "$folder/state"
    (umask 077; head -c 1024 /dev/urandom >"$folder/munge/key")
    cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/run/munge.sock
StateSaveLocation=$folder/state
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmctldLogFile=$folder/log/slurmctld
SlurmdPidFile=$folder/run/slurmd.%n.pid
SlurmdSpoolDir=$folder/spool/%n
SlurmdLogFile=$folder/log/slurmd.%n
# PMIx makes a folder for a job under TmpFS: one name for all nodes would clash on one machine.
TmpFS=$folder/tmp/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
SwitchType=switch/none
MpiDefault=pmix
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/log/jobs
# The nodes may have more CPUs than the machine.
SlurmdParameters=config_overrides
JobRequeue=1
KillWait=5
# So few that tests meet this limit.
MaxArraySize=6
SlurmdTimeout=20
PropagateResourceLimits=NONE
CONF
    for ((n = 0; n < nodes; n++)); do
        mkdir -p "$folder/spool/n$n" "$folder/tmp/n$n"
        echo "NodeName=n$n NodeHostname=$host NodeAddr=127.0.0.1 Port=$(free_port) CPUs=$cpus RealMemory=1000"
    done >>"$folder/slurm.conf"
    echo "PartitionName=main Nodes=ALL Default=YES MaxTime=1:00:00 State=UP" >>"$folder/slurm.conf"
    # Jobs inherit these: the nodes share cores, so no rank may be bound to one or spin on it.
    mpi_env 1000000
    { echo "SLURM_CONF=$folder/slurm.conf"; env | grep ^OMPI_; } | sed 's/^/export /' >"$folder/env"
}

start() {
    local nodes=$1 n
    configure "$@"
    # shellcheck disable=SC1091
    . "$folder/env"
    munged --force --key-file="$folder/munge/key" --socket="$folder/run/munge.sock" \
        --pid-file="$folder/run/munged.pid" --log-file="$folder/log/munged" \
        --seed-file="$folder/munge/seed" 2>>"$folder/log/munged.err"
    slurmctld -f "$folder/slurm.conf" >>"$folder/log/start" 2>&1
    for ((n = 0; n < nodes; n++)); do
        slurmd -f "$folder/slurm.conf" -N "n$n" >>"$folder/log/start" 2>&1
    done
    for _ in $(seq 150); do
        [ "$(sinfo -hN -t idle -o %N 2>/dev/null | wc -l)" -lt "$nodes" ] || return 0
        sleep 0.2
    done
    echo "cluster: the nodes are not up: see $folder/log" >&2
    return 1
}

stop() {
    local file environ pid
    [ -f "$folder/env" ] || return 0
    # shellcheck disable=SC1091
    . "$folder/env"
    if mine "$folder/run/slurmctld.pid" slurmctld >/dev/null; then
        timeout 10 scancel --full --user=root || true
        for _ in $(seq 50); do
            [ -n "$(timeout 10 squeue -h 2>/dev/null)" ] || break
            sleep 0.2
        done
    fi
    for file in "$folder"/run/slurmd.*.pid; do
        end "$file" slurmd
    done
    end "$folder/run/slurmctld.pid" slurmctld
    end "$folder/run/munged.pid" munged
    # What still carries this cluster's configuration and a job's id is left from one of its jobs.
    for environ in /proc/[0-9]*/environ; do
        { tr '\0' '\n' <"$environ"; } 2>/dev/null | awk -v conf="SLURM_CONF=$SLURM_CONF" \
            '$0 == conf { a = 1 } /^SLURM_JOB_ID=/ { b = 1 } END { exit !(a && b) }' || continue
        pid=${environ#/proc/}
        kill -KILL "${pid%/environ}" 2>/dev/null || true
    done
    # A step's daemon has neither, but works in this cluster's folder; a test may have stopped it.
    while read -r pid; do
        case $(readlink "/proc/$pid/cwd") in
            "$folder"/*) kill -KILL "$pid" 2>/dev/null || true ;;
        esac
    done < <(grep -lx slurmstepd /proc/[0-9]*/comm 2>/dev/null | cut -d/ -f3)
}

case $what in
can) can ;;
start) can && start "${3:-2}" "${4:-2}" ;;
restart)
    # shellcheck disable=SC1091
    . "$folder/env"
    end "$folder/run/slurmctld.pid" slurmctld -KILL
    sleep 2
    slurmctld -f "$folder/slurm.conf" >>"$folder/log/start" 2>&1
    ;;
stop) stop ;;
*) usage >&2; exit 2 ;;
esac
