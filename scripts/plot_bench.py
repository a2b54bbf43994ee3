#!/usr/bin/env python3
"""Draws what `make bench` measured: a roofline of the GEMMs, and epochs beside PyTorch.

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

MARKS = {"trainer": ("o", "black"), "fused": (".", "black"), "OpenBLAS": ("s", "0.45"), "oneDNN": ("^", "0.45"),
         "libxsmm": ("D", "0.45")}


def intensity(what, batch):
    """FLOP a byte when each operand crosses memory once, as the step's GEMMs may."""
    inputs, outputs = map(int, re.match(r"(\d+)->(\d+)", what).groups())
    return 2 * inputs * outputs * batch / (4 * (inputs * outputs + batch * (inputs + outputs)))


def roofline(axes, rows, threads):
    def machine(kind):
        return next(r["value"] for r in rows if r["kind"] == kind and r["threads"] == threads)
    peak, memory = machine("peak"), machine("memory")
    low, high = axes.get_xlim()
    axes.plot([low, peak / memory, high], [low * memory, peak, peak], color="black", linewidth=1)
    axes.text(high, peak * 1.05, f"FMA peak {peak:.0f} GFLOP/s ", fontsize=8, ha="right")
    axes.text(low, peak * 1.05, f" memory {memory:.0f} GB/s", fontsize=8)
    seen, shapes = defaultdict(list), {}
    for r in rows:
        if r["kind"] == "gemm" and r["threads"] == threads and r["value"] > 0:
            at = intensity(r["what"], r["batch"])
            shapes[at] = f"{r['what'].split()[0]}, {r['batch']}"
            seen[r["who"]].append((at, r["value"]))
    for who, points in seen.items():
        mark, color = MARKS.get(who, ("x", "0.45"))
        axes.scatter(*zip(*points), marker=mark, s=26, label=who, edgecolors=color,
                     facecolors=color if who in ("trainer", "fused") else "none",
                     zorder=3 if who in ("trainer", "fused") else 2)
    axes.set(xscale="log", yscale="log", xlabel="arithmetic intensity (FLOP/byte)",
             ylabel="GFLOP/s", title=f"GEMMs of a step, {threads} thread{'s' * (threads > 1)}")
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


def epochs(axes, rows, threads):
    found = {(r["what"], r["batch"], r["who"]): r["value"] for r in rows
             if r["kind"] == "epoch" and r["threads"] == threads}
    names = sorted({key[:2] for key in found}, key=lambda n: (len(n[0]), n))
    for place, who in enumerate(w for w in ("trainer", "PyTorch") if w in {key[2] for key in found}):
        values = [found.get((*name, who), 0) for name in names]
        where = [k + (place - 0.5) * 0.4 for k in range(len(names))]
        bars = axes.barh(where, values, 0.4, label=who, color="0.2" if place == 0 else "0.8",
                         edgecolor="black", hatch="" if place == 0 else "//")
        axes.bar_label(bars, [f" {v:.3g} s" if v else "" for v in values], fontsize=7)
    axes.set_yticks(range(len(names)), [f"{name}\nbatch {batch}" for name, batch in names],
                    fontsize=7)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set(xlabel="seconds an epoch of 60,000 images (less is better)",
             title=f"Epochs, {threads} thread{'s' * (threads > 1)}")
    axes.legend(fontsize=8, loc="lower right")


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
        rows = [{**r, "value": float(r["value"]), "threads": int(r["threads"]),
                 "batch": int(r["batch"] or 0)} for r in csv.DictReader(file)]
    counts = sorted({r["threads"] for r in rows if r["kind"] == "peak"})
    figure, axes = plt.subplots(2, len(counts), figsize=(6.2 * len(counts), 9.5), squeeze=False)
    for column, threads in enumerate(counts):
        axes[0][column].set_xlim(2, 400)
        roofline(axes[0][column], rows, threads)
        epochs(axes[1][column], rows, threads)
    figure.suptitle("trainer beside its peers, one run on one machine")
    figure.tight_layout()
    for kind in ("png", "svg"):
        figure.savefig(folder / f"bench.{kind}", dpi=150)
    print(f"Written: {folder / 'bench.png'}, {folder / 'bench.svg'}")


if __name__ == "__main__":
    main()
