#!/usr/bin/env python3
"""Predicts the time of a training step on N hosts, and draws how training scales to 1024 of them.

Reads what scripts/bench/hosts.py measured: the steps of runs (the steps table of metrics.h5) on
one host give what computing costs, the messages between two hosts what the network costs. Prints
predictions beside the steps that were measured on 1, 2 and 4 hosts.

    step = fixed + each n                  n: samples of the busiest host, whole blocks of them
         + 2 (latency + 2 (N-1) gap + (N-1)/N bytes / bandwidth)

The second line is the exchange (include/comm/exchange.h), of nothing but what must move: in the
reduce-scatter a host gets a note and the partials of its slice from each other one, in the
allgather the slice's parameters and squares; `bytes` are those of all parameters. Gradients that
are exchanged while others are computed would take off part of it; nothing is assumed here."""

import argparse
import csv
import sys
from collections import namedtuple
from pathlib import Path

if __name__ == "__main__":
    import packages
    packages.need("matplotlib", "numpy")
import matplotlib  # noqa: E402

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

BLOCK = 16     # samples: what a rank computes at least
STRONG = 1024  # samples a step
WEAK = 64      # samples a host and step
HOSTS = [2 ** k for k in range(11)]
COLORS = ["#0072B2", "#E69F00", "#CC3311"]

Compute = namedtuple("Compute", "fixed each")           # seconds; seconds a sample
Link = namedtuple("Link", "latency gap bandwidth")      # seconds, seconds a message, bytes/s


def weights(widths):
    return sum(a * b for a, b in zip(widths, widths[1:]))


def parameters(widths):
    return weights(widths) + sum(widths[1:])


def busiest(batch, hosts):
    """Samples of the host with most of them."""
    blocks = -(-batch // BLOCK)
    return min(batch, -(-blocks // hosts) * BLOCK)


def exchange(hosts, widths, link):
    """Seconds of (the messages, their bytes)."""
    if hosts == 1:
        return 0.0, 0.0
    volume = 4 * parameters(widths) * (hosts - 1) / hosts
    return 2 * (link.latency + 2 * (hosts - 1) * link.gap), 2 * volume / link.bandwidth


def step(hosts, batch, widths, compute, link, crowd=1.0):
    """Seconds; crowd: by how much hosts that share cores slow each other down."""
    return crowd * (compute.fixed + compute.each * busiest(batch, hosts)) \
        + sum(exchange(hosts, widths, link))


def fit_compute(points):
    """[(samples, seconds)] of one host -> Compute, by least squares of the relative errors."""
    n, t = np.array(points, float).T
    fixed, each = np.linalg.lstsq(np.stack([1 / t, n / t], 1), np.ones(len(t)), rcond=None)[0]
    return Compute(fixed, each) if fixed > 0 and each > 0 else Compute(0.0, np.mean(t / n))


def wider(widths, compute, times):
    """The network with `times` the hidden units, and its Compute: work goes with the weights."""
    wide = [widths[0], *(times * w for w in widths[1:-1]), widths[-1]]
    more = weights(wide) / weights(widths)
    return wide, Compute(compute.fixed * more, compute.each * more)


def read(path):
    """The rows of the CSV, numbers as numbers."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row.update({key: float(value) for key, value in row.items()
                    if key != "widths" and value})
        row["hosts"], row["batch"] = int(row["hosts"]), int(row["batch"])
        row["widths"] = [int(w) for w in row["widths"].split("-")]
        row["link"] = Link(row["latency_seconds"], row["gap_seconds"], row["bytes_per_second"])
    return rows


def check(rows, compute):
    """Prints predicted and measured steps; returns the pairs of seconds and their rows."""
    pairs = []
    print(f"{'hosts':>5} {'batch':>6} {'Mbit/s':>7} {'predicted ms':>13} {'measured ms':>12} "
          f"{'error':>6}")
    for row in rows:
        crowd = max(1.0, row["hosts"] / row["cores"])
        t = step(row["hosts"], row["batch"], row["widths"], compute, row["link"], crowd)
        rate = f"{row['mbit']:g}" if row["mbit"] else "-"
        print(f"{row['hosts']:5d} {row['batch']:6d} {rate:>7} {1e3 * t:13.3f} "
              f"{1e3 * row['step_seconds']:12.3f} {t / row['step_seconds'] - 1:+6.0%}")
        pairs.append((t, row["step_seconds"], row))
    errors = [abs(t / measured - 1) for t, measured, _ in pairs]
    print(f"median error {np.median(errors):.0%}, largest {max(errors):.0%}")
    return pairs


def rate_name(mbit):
    return f"{mbit / 1000:g} Gbit/s" if mbit >= 1000 else f"{mbit:g} Mbit/s"


def draw_models(axes, widths, compute, links):
    """Strong scaling left, weak scaling right, a line for each network."""
    strong, weak = axes
    strong.plot(HOSTS, HOSTS, color="0.6", lw=1, ls="--")
    strong.text(20, 40, "ideal ", color="0.4", fontsize=8, ha="right")
    strong.axvline(STRONG / BLOCK, color="0.8", lw=1)
    strong.text(STRONG / BLOCK * 1.1, 0.03, f"more hosts than\nblocks of {BLOCK}", color="0.4",
                fontsize=8, va="bottom")
    weak.axhline(1, color="0.6", lw=1, ls="--")
    for color, (mbit, link) in zip(COLORS, links.items()):
        def at(n, batch, link=link):
            return step(n, batch, widths, compute, link)
        strong.plot(HOSTS, [at(1, STRONG) / at(n, STRONG) for n in HOSTS], "o-", ms=3,
                    color=color, label=rate_name(mbit))
        weak.plot(HOSTS, [at(1, WEAK) / at(n, WEAK * n) for n in HOSTS], "o-", ms=3, color=color)
    strong.set(yscale="log", ylim=(0.02, 1500), ylabel="speedup over 1 host")
    strong.yaxis.set_major_formatter("{x:g}")
    weak.set(ylim=(0, 1.08), ylabel="efficiency")
    weak.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def draw_parts(ax, widths, compute, mbit, link):
    """What a step's time is made of, weak scaling."""
    computing = [1e3 * step(1, WEAK, widths, compute, link)] * len(HOSTS)
    messages, volume = 1e3 * np.array([exchange(n, widths, link) for n in HOSTS]).T
    ax.stackplot(HOSTS, computing, volume, messages, colors=["#BBBBBB", "#4477AA", "#CC6677"],
                 labels=["computing", "bytes on the network", "cost of each message"])
    ax.set(ylabel="step, ms", xlim=(1, HOSTS[-1]),
           title=f"{'-'.join(map(str, widths))}, {WEAK} samples a host,\n{rate_name(mbit)}")
    ax.legend(frameon=False, fontsize=8, loc="upper left")


def draw_check(ax, pairs, links):
    ends = [0.7e3 * min(min(p[:2]) for p in pairs), 1.4e3 * max(max(p[:2]) for p in pairs)]
    ax.plot(ends, ends, color="0.6", lw=1, ls="--")
    colors = dict(zip(links, COLORS))
    for t, measured, row in pairs:
        ax.plot(1e3 * measured, 1e3 * t, {1: "o", 2: "s", 4: "D"}[row["hosts"]], ms=6,
                color=colors.get(row["mbit"], "0.3"), alpha=0.8, mec="white")
    for marker, hosts in zip("osD", (1, 2, 4)):
        ax.plot([], [], marker, color="0.3", label=f"{hosts} host{'s' * (hosts > 1)}")
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal",
           title="Check: the steps that were measured", xlabel="measured step, ms",
           ylabel="predicted step, ms")
    ax.legend(frameon=False, fontsize=8, loc="upper left")


def draw(out, widths, compute, links, pairs):
    """Writes out.png and out.svg."""
    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "svg.hashsalt": "scaling"})
    figure, axes = plt.subplots(2, 3, figsize=(13, 7.5), layout="constrained")
    for row, (net, cost) in zip(axes, [(widths, compute), wider(widths, compute, 10)]):
        draw_models(row[:2], net, cost, links)
        size = "-".join(map(str, net)) + f", {parameters(net) / 1e6:.2g}M parameters"
        row[0].set_title(f"Strong: {STRONG} samples a step\n{size}")
        row[1].set_title(f"Weak: {WEAK} samples a host\n{size}")
    draw_parts(axes[1, 2], widths, compute, *next(iter(links.items())))
    for ax in [*axes[:, :2].flat, axes[1, 2]]:
        ax.set_xscale("log", base=2)
        ax.set_xticks(HOSTS[::2], [str(n) for n in HOSTS[::2]])
        ax.set_xlabel("hosts")
    draw_check(axes[0, 2], pairs, links)
    for ax in axes.flat:
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False, fontsize=8, loc="upper left")
    figure.suptitle("Predicted scaling of data-parallel training, one rank of one thread a host")
    for end in (".png", ".svg"):
        figure.savefig(f"{out}{end}", dpi=140, metadata={"Date": None} if end == ".svg" else None)
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("csv", type=Path, help="what scripts/bench/hosts.py wrote")
    parser.add_argument("--out", type=Path, default=Path("scaling"),
                        help="the pictures' name without its end (default scaling)")
    args = parser.parse_args(arguments)
    if not args.csv.is_file():
        sys.exit(f"scaling.py: {args.csv} is not there: scripts/bench/hosts.py writes it")
    rows = read(args.csv)
    alone = [row for row in rows if row["hosts"] == 1]
    compute = fit_compute([(row["batch"], row["compute_seconds"]) for row in alone])
    links = {row["mbit"]: row["link"] for row in rows if row["hosts"] == 2}
    widths = alone[0]["widths"]
    print(f"computing: {1e3 * compute.fixed:.3f} ms a step + {1e6 * compute.each:.2f} us a sample "
          f"({6e-9 * weights(widths) / compute.each:.0f} GFLOP/s)")
    for mbit, link in links.items():
        print(f"{rate_name(mbit)}: latency {1e6 * link.latency:.1f} us, gap "
              f"{1e6 * link.gap:.2f} us, {1e-6 * link.bandwidth:.1f} MB/s")
    pairs = check(rows, compute)
    draw(args.out, widths, compute, links, pairs)
    print(f"drawn: {args.out}.png {args.out}.svg")


if __name__ == "__main__":
    main()
