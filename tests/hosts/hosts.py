#!/usr/bin/env python3
"""Several hosts on one machine, for tests and measurements of mpirun over TCP.

A host is a set of namespaces: its own network (eth0, a veth to a common switch), name,
/etc/hosts and /dev/shm; it shares the files, the clock and the cores with the others. mpirun
starts its daemons through on.sh in place of ssh. All processes live in a PID namespace that ends
with the owner, even after a kill -9: nothing stays behind. Wants root.

By hand:  tests/hosts/hosts.py -n 2 --rate 1000 mpirun --host h1:1,h2:1 ./trainer run.ini
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "py"))
from helpers import MPI_ENV  # noqa: E402

TOOLS = ("ip", "tc", "nsenter", "unshare", "mpirun")
UNSHARE = ("unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--mount-proc",
           "--kill-child")

# How long a daemon's silence is borne: KEEPALIVE s, then 3 probes each INTERVAL s. Open MPI's
# own settings are 300, 20 and 9: a dead link hangs the job for eight minutes.
KEEPALIVE, INTERVAL, PROBES = 5, 2, 3
DEAD_AFTER = KEEPALIVE + INTERVAL * PROBES

MPI = {
    **MPI_ENV,  # the hosts share the cores: each would bind its first rank to core 0, and spin
    "OMPI_MCA_plm": "rsh",
    "OMPI_MCA_plm_rsh_agent": str(HERE / "on.sh"),
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_btl": "tcp,vader,self",  # vader: shared memory, between ranks of one host
    "OMPI_MCA_btl_tcp_if_include": "10.99.0.0/24",
    "OMPI_MCA_oob_tcp_if_include": "10.99.0.0/24",
    "OMPI_MCA_oob_tcp_keepalive_time": str(KEEPALIVE),
    "OMPI_MCA_oob_tcp_keepalive_intvl": str(INTERVAL),
    "OMPI_MCA_oob_tcp_keepalive_probes": str(PROBES),
    "OMPI_MCA_orte_tmpdir_base": "/run",  # of the hosts alone, so that it goes with them
}


def why_not():
    """Why hosts can't be made here, in one line, or None."""
    if os.geteuid() != 0:
        return "several hosts want root"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return f"several hosts want {', '.join(missing)}: not installed"
    trial = subprocess.run(
        [*UNSHARE, "sh", "-c", "mount -t tmpfs tmpfs /run && ip link add v1 type veth peer name v2"
         " && ip link add br0 type bridge"], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    if trial.returncode:
        return f"no namespaces here: {trial.stdout.strip()}"
    return None


class Hosts:
    """h1 .. hN; a context manager."""

    def __init__(self, count, shm="64m"):
        self.count = count
        self.owner = subprocess.Popen([*UNSHARE, HERE / "switch.sh", str(count), shm],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True)
        if self.owner.stdout.readline() != "ready\n":
            self.owner.stdin.close()
            raise RuntimeError(f"no hosts: {self.owner.stderr.read()}")
        self.space = f"/proc/{self.owner.pid}/ns/pid_for_children"
        self.inode = os.stat(self.space).st_ino
        self.own = set(self.pids())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends every process on the hosts, and with them the hosts. May be called twice."""
        if self.owner.poll() is None:
            self.owner.stdin.close()
        self.owner.wait()
        self.owner.stdout.close()
        self.owner.stderr.close()

    # ---- commands ----

    def inside(self, *command):
        """The command line that runs `command` where the switch is."""
        return ["nsenter", "-t", str(self.owner.pid), "--net", "--mount",
                f"--pid={self.space}", "--", *map(str, command)]

    def on(self, host, command, cwd="/"):
        """The command line that runs `command` on a host, in the folder cwd."""
        shell = 'exec nsenter -t "$(cat /run/$0)" --net --uts --mount -- ' \
                'sh -c \'cd "$0" && exec "$@"\' "$@"'
        return self.inside("sh", "-c", shell, host, cwd, *command)

    def mpirun(self, layout, command, cwd, options=()):
        """The command line of an mpirun on h1; layout: ranks on h1, h2 ..."""
        where = ",".join(f"h{i}:{n}" for i, n in enumerate(layout, 1))
        return self.on("h1", ["mpirun", "--quiet", *options, "--host", where, "-np",
                              str(sum(layout)), *map(str, command)], cwd)

    def tool(self, *command):
        """Runs a short command at the switch and returns its output."""
        done = subprocess.run(self.inside(*command), text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
        return done.stdout

    # ---- processes ----

    def pids(self):
        """All processes on the hosts and at the switch."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if os.stat(path / "ns/pid").st_ino == self.inode:
                    found.append(int(path.name))
            except OSError:
                pass  # ended meanwhile
        return sorted(found)

    def ranks(self):
        """{rank: pid} of the MPI job on the hosts."""
        found = {}
        for pid in self.pids():
            try:
                words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            for word in words:
                if word.startswith(b"OMPI_COMM_WORLD_RANK="):
                    found[int(word.split(b"=")[1])] = pid
        return found

    def guests(self):
        """The processes that were started on the hosts and still run."""
        def runs(pid):
            try:
                return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
            except OSError:
                return False
        return [pid for pid in self.pids() if pid not in self.own and runs(pid)]

    def empty(self, timeout=5):
        """Waits until nothing is left that was started on the hosts; returns what is."""
        until = time.monotonic() + timeout
        while (left := self.guests()) and time.monotonic() < until:
            time.sleep(0.05)
        return left

    def clear(self):
        """Ends what was started on the hosts."""
        while left := self.guests():
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.02)

    # ---- the network ----

    def link(self, host, up):
        """Plugs a host's cable in or pulls it, at the switch."""
        self.tool("ip", "link", "set", f"v{host[1:]}", "up" if up else "down")

    def rate(self, mbit):
        """Limits each cable, both ways, to mbit Mbit/s; None: as fast as the machine can."""
        for i in range(1, self.count + 1):
            for where, device in ((self.inside(), f"v{i}"), (self.on(f"h{i}", []), "eth0")):
                command = ["tc", "qdisc", "replace", "dev", device, "root"]
                command += ["tbf", "rate", f"{mbit}mbit", "burst", "256kb", "latency", "50ms"] \
                    if mbit else ["noqueue"]
                subprocess.run([*where, *command], check=True, stdin=subprocess.DEVNULL)

    def traffic(self, host):
        """Bytes that have arrived at and left a host by its cable."""
        done = subprocess.run(self.on(host, ["cat", "/proc/net/dev"]), text=True, check=True,
                              stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        words = done.stdout.split("eth0:")[1].split()
        return int(words[0]), int(words[8])


def environment(**extra):
    """The caller's environment with what mpirun needs on these hosts."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "OMP_", "PMIX_"))}
    return {**clean, **MPI, **extra}


def main():
    parser = argparse.ArgumentParser(
        description="Makes hosts h1, h2 ... and runs a command, say mpirun, on h1.")
    parser.add_argument("-n", type=int, default=2, help="hosts (default 2)")
    parser.add_argument("--rate", type=float, help="Mbit/s of each cable (default: no limit)")
    parser.add_argument("--shm", default="64m", help="size of /dev/shm on each host")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    reason = why_not()
    if reason or not args.command:
        sys.exit(reason or parser.format_usage())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Hosts(args.n, args.shm) as hosts:
        if args.rate:
            hosts.rate(args.rate)
        sys.exit(subprocess.run(hosts.on("h1", args.command, os.getcwd()),
                                env=environment()).returncode)


if __name__ == "__main__":
    main()
