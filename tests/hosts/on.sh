#!/usr/bin/env bash
# What ssh is to real hosts, for mpirun on those of hosts.py: on.sh HOST WORDS... joins the words
# and gives them to a shell on the host, which starts in $HOME with an environment of its own.
set -euo pipefail
host=$1
shift
exec nsenter -t "$(cat "/run/$host")" --net --uts --mount -- \
    env -i HOME="$HOME" LOGNAME="${LOGNAME:-root}" PATH="$PATH" sh -c "cd; $*"
