#!/usr/bin/env bash
# The inside of hosts.py: makes HOSTS hosts around a switch (a bridge in this process's network
# namespace), says "ready", and ends with its stdin. hosts.py starts it as the first process of a
# PID namespace: when it ends, however it does, the kernel ends every process on the hosts, and
# with those the namespaces, links and mounts are gone.
# usage: switch.sh HOSTS SIZE_OF_DEV_SHM
set -euo pipefail
hosts=$1 shm=$2

mount -t tmpfs tmpfs /run # seen by the hosts alone: who they are
ip link add br0 type bridge
ip link set br0 up
for ((i = 1; i <= hosts; i++)); do
    echo "10.99.0.$i h$i"
done >/run/hosts
echo "127.0.0.1 localhost" >>/run/hosts

# A host: own network, name, /etc/hosts and shared memory; the process only holds them.
# shellcheck disable=SC2016 # its own shell expands these
host='hostname "$0" && mount --bind /run/hosts /etc/hosts && ip link set lo up &&
      mount -t tmpfs -o size="$1",mode=1777 tmpfs /dev/shm && echo made && exec sleep infinity'
for ((i = 1; i <= hosts; i++)); do
    exec {made}< <(exec unshare --net --uts --mount sh -c "$host" "h$i" "$shm" </dev/null)
    pid=$!
    read -r _ <&"$made"
    ip link add "v$i" type veth peer name eth0 netns "$pid"
    ip link set "v$i" master br0 up
    nsenter -t "$pid" --net ip addr add "10.99.0.$i/24" dev eth0
    nsenter -t "$pid" --net ip link set eth0 up
    echo "$pid" >"/run/h$i"
done
echo ready
read -r _ || true
