#!/usr/bin/env python3
"""Draws what `make bench` measured: rooflines of the GEMMs, and epochs beside those of the peers.

Writes bench.png and bench.svg."""

import argparse
import csv
import re
import sys
from collections import defaultdict
from pathlib import Path

if __name__ == "__main__":
    import packages
    packages.need("matplotlib")
import matplotlib  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import NullLocator  # noqa: E402

OURS = ("trainer", "fused")
MARKS = {"trainer": "o", "fused": ".", "OpenBLAS": "s", "oneDNN": "^", "libxsmm": "D"}
BARS = {"trainer": "#08306b", "PyTorch eager": "#fdd0a2", "PyTorch fused": "#fdae6b",
        "PyTorch channels_last": "#fdae6b",
        "PyTorch compiled": "#e6842a", "JAX jit": "#5b9f6d"}


def intensity(what, batch):
    """FLOP a byte when each operand crosses memory once, as the step's GEMMs may."""
    inputs, outputs = map(int, re.match(r"(\d+)->(\d+)", what).groups())
    return 2 * inputs * outputs * batch / (4 * (inputs * outputs + batch * (inputs + outputs)))


def plural(count, what):
    return f"{count} {what}{'s' * (count > 1)}"


def roofline(axes, rows, kernels, threads):
    def of(kind):
        return [r for r in rows if (r["kind"], r["set"], r["threads"]) == (kind, kernels, threads)]
    peak, memory = of("peak")[0]["best"], of("memory")[0]["best"]
    low, high = 2, 400
    axes.plot([low, peak / memory, high], [low * memory, peak, peak], color="black", linewidth=1)
    axes.text(high, peak * 1.05, f"FMA peak {peak:.0f} GFLOP/s ", fontsize=8, ha="right")
    axes.text(low, peak * 1.05, f" memory {memory:.0f} GB/s", fontsize=8)
    seen, shapes = defaultdict(list), {}
    for r in of("gemm"):
        at = intensity(r["what"], r["batch"])
        shapes[at] = f"{r['what'].split()[0]}, {r['batch']}"
        seen[r["who"]].append((at, r["best"]))
    for who, points in seen.items():
        color = "black" if who in OURS else "0.45"
        axes.scatter(*zip(*points), marker=MARKS.get(who, "x"), s=26, label=who, edgecolors=color,
                     facecolors=color if who in OURS else "none", zorder=3 if who in OURS else 2)
    axes.set(xscale="log", yscale="log", xlabel="arithmetic intensity (FLOP/byte)", xlim=(low, high),
             ylabel="GFLOP/s", title=f"GEMMs of a step, {kernels}, {plural(threads, 'thread')}")
    bottom = min(value for points in seen.values() for _, value in points)
    ticks = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
    axes.set_yticks(ticks, map(str, ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom / 4, peak * 1.5)
    before = 0
    for at in sorted(shapes):
        axes.axvline(at, color="0.85", linewidth=0.6, zorder=0)
        near = at < 1.08 * before  # two labels side by side
        axes.text(at, bottom / 3.8, shapes[at], fontsize=6, rotation=90,
                  ha="left" if near else "right", va="bottom")
        before = at
    axes.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.02))
    axes.grid(True, axis="y", which="both", linewidth=0.3)


def epochs(axes, rows, kernels, threads, ranks):
    """Bars: the best stretch as a multiple of the floor; the line on each ends at the median."""
    found, floor = defaultdict(dict), {}
    for r in rows:
        if (r["set"], r["threads"], r["ranks"]) == (kernels, threads, ranks):
            name = f"{r['what'].replace(' on ', ', ')}\nbatch {r['batch']}"
            if r["kind"] == "epoch":
                found[name][r["who"]] = r["best"], r["median"]
            if r["kind"] == "floor":
                floor[name] = r["best"]
    height = 0.16
    for who, color in BARS.items():
        at = [(k + height * (list(values).index(who) - (len(values) - 1) / 2), floor[name], *values[who])
              for k, (name, values) in enumerate(found.items()) if who in values]
        if not at:
            continue
        y, floors, best, median = zip(*at)
        best_times = [b / f for b, f in zip(best, floors)]
        bars = axes.barh(y, best_times, height, label=who, color=color, edgecolor="black", linewidth=0.5,
                         xerr=[[0] * len(at), [(m - b) / f for _, f, b, m in at]],
                         error_kw={"elinewidth": 0.8})
        axes.bar_label(bars, [f"{seconds:.3g} s" for seconds in best], fontsize=6, padding=3)
    axes.axvline(1, color="#c0392b", linewidth=1.5, label="all operations at the FMA peak")
    axes.set_yticks(range(len(found)), found, fontsize=7)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set(xscale="log", xlim=(0.4, 1.6 * max(axes.get_xlim()[1], 4)),
             xlabel="time of an epoch, as a multiple of the floor (less is better)",
             title=f"Epochs, {kernels}, {plural(ranks, 'rank') if ranks > 1 else plural(threads, 'thread')}")
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100) if tick < axes.get_xlim()[1]]
    axes.set_xticks(ticks, map(str, ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(fontsize=7, ncol=3, loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", nargs="?", type=Path, default=Path("build/bench/bench.csv"),
                        help="what `make bench` wrote (default: %(default)s)")
    parser.add_argument("folder", nargs="?", type=Path,
                        help="where the pictures go (default: beside the source)")
    args = parser.parse_args()
    source, folder = args.source, args.folder or args.source.parent
    if not source.exists():
        sys.exit(f"{source} is not there: `make bench` writes it")
    with open(source, newline="", encoding="utf-8") as file:
        try:
            rows = [{**r, "best": float(r["best"]), "median": float(r["median"] or "nan"),
                     **{key: int(r[key] or 0) for key in ("batch", "threads", "ranks")}}
                    for r in csv.DictReader(file)]
        except (KeyError, ValueError):
            rows = []
    if not any(r["kind"] == "peak" for r in rows):
        sys.exit(f"{source}: is not what `make bench` writes")
    panels = []  # a row of the picture for each kernel set, of rooflines and of epochs
    for kernels in dict.fromkeys(r["set"] for r in rows if r["kind"] == "peak"):
        panels.append([(roofline, kernels, r["threads"]) for r in rows
                       if (r["kind"], r["set"]) == ("peak", kernels)])
        layouts = dict.fromkeys((r["threads"], r["ranks"]) for r in rows
                                if (r["kind"], r["set"]) == ("epoch", kernels))
        panels.append([(epochs, kernels, *layout) for layout in layouts])
    width = max(map(len, panels))
    figure, axes = plt.subplots(len(panels), width, figsize=(6.2 * width, 5.4 * len(panels)),
                                squeeze=False, layout="constrained")
    for line, drawn in zip(axes, panels):
        for ax in line[len(drawn):]:
            ax.axis("off")
        for ax, (draw, *what) in zip(line, drawn):
            draw(ax, rows, *what)
    figure.suptitle("trainer beside its peers, one run on one machine")
    for kind in ("png", "svg"):
        figure.savefig(folder / f"bench.{kind}", dpi=150)
    print(f"Written: {folder / 'bench.png'}, {folder / 'bench.svg'}")


if __name__ == "__main__":
    plt.rcParams["svg.fonttype"] = "none"
    main()
