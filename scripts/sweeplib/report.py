"""report.html: one page with all of a sweep, which opens from disk; its pictures also as PNGs."""

import base64
import html
import io
import math

import numpy as np

from reportlib import page
from sweeplib import results
from sweeplib.engine import mean_curve
from sweeplib.spec import is_number, shown

BLUE, GREY, RED = "#2563a8", "#b8b8b8", "#c0392b"


def ranks(values):
    """Ranks from 0, equal values sharing their mean."""
    values = np.asarray(values)
    order = np.searchsorted(np.sort(values), values, "left")
    above = np.searchsorted(np.sort(values), values, "right")
    return (order + above - 1) / 2


def importance(values, metric):
    """(strength 0 to 1, sign): |Spearman's rank correlation| with the metric for numbers; for
    words the correlation ratio of the metric's ranks, which has no sign."""
    y = ranks(metric)
    if len(y) < 3 or y.std() == 0 or len(set(values)) < 2:
        return 0.0, 0
    if all(is_number(value) for value in values):
        r = np.corrcoef(ranks([float(value) for value in values]), y)[0, 1]
        return abs(r), int(np.sign(r))
    groups = [y[[v == word for v in values]] for word in set(values)]
    between = sum(len(g) * (g.mean() - y.mean()) ** 2 for g in groups)
    return math.sqrt(between / (len(y) * y.var())), 0


def having(rows, key):
    """The trials whose points have the key."""
    return [row for row in rows if key in row["parameters"]]


def varied(rows, spec):
    return [key for key in spec.space
            if len({row["parameters"][key] for row in having(rows, key)}) > 1]


# ---- pictures: each draws on its figure ----

def draw_best(figure, spec, rows, curves):
    axes = figure.subplots()
    done = [r for r in rows if r["status"] == "complete"]
    x, y = [r["trial"] for r in done], [r["value"] for r in done]
    best = (np.maximum if spec.goal == "max" else np.minimum).accumulate(y)
    axes.plot(x, y, "o", ms=4, color=GREY, label="complete trials")
    axes.step(x, best, where="post", color=BLUE, lw=2, label="best so far")
    axes.set(xlabel="trial", ylabel=spec.metric)
    focus(axes, y, spec)
    axes.legend(frameon=False)


def focus(axes, y, spec):
    """Leaves the worst outliers out of view, and says so, where they would flatten all else."""
    if len(y) < 8:
        return
    low, middle, high = np.percentile(y, [0, 50, 100])
    near, far = (middle - low, high - middle)[::1 if spec.goal == "min" else -1]
    if near == 0 or far <= 4 * near:
        return
    if spec.goal == "min":
        axes.set_ylim(low - 0.2 * near, middle + 4 * near)
    else:
        axes.set_ylim(middle - 4 * near, high + 0.2 * near)
    bottom, top = axes.get_ylim()
    outside = sum(not bottom <= v <= top for v in y)
    axes.set_title(f"{outside} worse points lie outside", fontsize=7, color="#888", loc="right")


def draw_parameters(figure, spec, rows, curves):
    keys = varied(rows, spec)
    across = min(3, len(keys)) or 1
    down = max(1, math.ceil(len(keys) / across))
    figure.set_size_inches(3.6 * across, 3.2 * down)
    grid = list(figure.subplots(down, across, squeeze=False).flat)
    done = [r for r in rows if r["status"] == "complete"]
    cut = [r for r in rows if r["status"] == "pruned" and r["value"] is not None]
    for axes, key in zip(grid, keys):
        words = spec.space[key].kind == "choice"
        places = {w: n for n, w in enumerate(spec.space[key].args)}
        for some, colour in ((having(cut, key), GREY), (having(done, key), BLUE)):
            values = [r["parameters"][key] for r in some]
            x = [places[v] for v in values] if words else values
            axes.plot(x, [r["value"] for r in some], "o", ms=4, color=colour, alpha=0.7)
        if words:
            axes.set_xticks(range(len(places)), [w[:24] or "(none)" for w in places], rotation=20,
                            ha="right", fontsize=7)
            axes.set_xlim(-0.5, len(places) - 0.5)
        elif spec.space[key].kind == "log":
            axes.set_xscale("log")
        axes.set(xlabel=key, ylabel=spec.metric)
        focus(axes, [r["value"] for r in having(done, key)], spec)
    for axes in grid[len(keys):]:
        axes.remove()


def draw_curves(figure, spec, rows, curves):
    axes = figure.subplots()
    finals = [r["value"] for r in rows if r["status"] == "complete"]
    winner = (max if spec.goal == "max" else min)(finals, default=None)
    shown = set()
    for row in sorted(rows, key=lambda r: (r["status"] == "complete", r["value"] == winner)):
        curve = curves[row["trial"]]
        name, colour, width = (row["status"], RED, 1) if row["status"] != "complete" else (
            "complete", BLUE, 1)
        if row["status"] == "pruned":
            name, colour = "pruned", GREY
        elif row["status"] == "complete" and row["value"] == winner:
            name, colour, width = "best", "#e08a00", 2.5
        if curve:
            axes.plot(list(curve), list(curve.values()), color=colour, lw=width,
                      alpha=1 if name == "best" else 0.6, marker="." if len(curve) == 1 else "",
                      label=None if name in shown else name)
            shown.add(name)
    axes.set(xlabel="epoch", ylabel=spec.metric)
    axes.xaxis.get_major_locator().set_params(integer=True)
    values = [v for c in curves.values() for v in c.values() if math.isfinite(v)]
    focus(axes, values, spec)
    if shown:
        axes.legend(frameon=False)


def pareto(points, goal):
    """Those (seconds, value) that none is both faster and better than, by seconds."""
    front, best = [], None
    for seconds, value in sorted(points, key=lambda p: (p[0], -p[1] if goal == "max" else p[1])):
        if best is None or (value > best if goal == "max" else value < best):
            front.append((seconds, value))
            best = value
    return front


def draw_pareto(figure, spec, rows, curves):
    axes = figure.subplots()
    points = [(r["seconds"], r["value"]) for r in rows if r["status"] == "complete"]
    front = pareto(points, spec.goal)
    axes.plot(*zip(*points) if points else ([], []), "o", ms=4, color=GREY, label="complete trials")
    axes.step(*zip(*front) if front else ([], []), where="post", marker="o", ms=5, color=BLUE,
              label="none is both faster and better")
    axes.set(xlabel="seconds of training", ylabel=spec.metric, xscale="log")
    focus(axes, [value for _, value in points], spec)
    axes.legend(frameon=False)


def draw_importance(figure, spec, rows, curves):
    done = [r for r in rows if r["status"] == "complete"]
    found = sorted((*importance([r["parameters"][k] for r in having(done, k)],
                                [r["value"] for r in having(done, k)]), k)
                   for k in varied(rows, spec))
    figure.set_size_inches(7, 0.8 + 0.4 * len(found))
    axes = figure.subplots()
    axes.barh(range(len(found)), [f[0] for f in found], color=BLUE, height=0.6)
    signs = {1: " (+)", -1: " (\N{MINUS SIGN})", 0: ""}
    axes.set_yticks(range(len(found)), [k + signs[s] for _, s, k in found])
    axes.set(xlim=(0, 1), xlabel=f"rank correlation with {spec.metric}")


PICTURES = {
    "best": ("Best so far", draw_best, ""),
    "parameters": ("Each parameter", draw_parameters,
                   "Complete trials blue, pruned ones grey at their best epoch."),
    "pareto": ("Metric and time", draw_pareto, ""),
    "curves": ("Learning curves", draw_curves, ""),
    "importance": ("Parameter importance", draw_importance,
                   "Spearman's rank correlation of each parameter with the metric, over complete "
                   "trials, with its sign; for words the correlation ratio of the ranks."),
}


def picture(draw, *about):
    from matplotlib.figure import Figure
    figure = Figure(figsize=(7, 3.8), dpi=130, layout="constrained")
    draw(figure, *about)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


# ---- the page ----

def order(rows, spec):
    """By metric, trials without one last."""
    sign = -1 if spec.goal == "max" else 1
    rank = {"complete": 0, "pruned": 1}
    return sorted(rows, key=lambda r: (rank.get(r["status"], 2),
                                       sign * r["value"] if r["value"] is not None else 0,
                                       r["trial"]))


def cell(value, link=None):
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    text = html.escape(text)
    kind = "" if value is None or is_number(value) else ' class="text"'
    if link:
        text = f'<a href="{html.escape(link)}/">{text}</a>'
    return f"<td{kind}>{text}</td>"


def table_html(spec, rows):
    head = ["trial", "status", spec.metric, "epoch", "seconds", *spec.space, ""]
    lines = ["<tr>" + "".join(f"<th>{html.escape(h)}</th>" for h in head) + "</tr>"]
    for row in order(rows, spec):
        cells = [cell(row["trial"], row["folder"].name), cell(row["status"]), cell(row["value"]),
                 cell(row["epoch"]), cell(round(row["seconds"], 1)),
                 *(cell(row["parameters"].get(k)) for k in spec.space), cell(row["message"])]
        lines.append(f'<tr class="{row["status"]}">' + "".join(cells) + "</tr>")
    return '<div class="table"><table>' + "\n".join(lines) + "</table></div>"


def summary_html(study, spec, rows):
    count = {}
    for row in rows:
        count[row["status"]] = count.get(row["status"], 0) + 1
    text = (f"<p>{len(rows)} of {spec.trials} trials by {spec.method}: "
            + ", ".join(f"{n} {status}" for status, n in count.items())
            + f"; {sum(r['seconds'] for r in rows):.0f} seconds of training. ")
    best = study.best(study.trials())
    if best:
        text += (f"Best {spec.metric} (its best epoch): <b>{best.value:.6g}</b>, trial "
                 f"{best.number}:</p><p><code>{html.escape(shown(best.params))}</code>")
    return text + "</p>"


def write(study):
    """-> the page's path."""
    spec, rows = study.spec, results.rows(study)
    curves = {r["trial"]: mean_curve(r["runs"], spec.metric) for r in rows}
    parts = [summary_html(study, spec, rows)]
    for key, (title, draw, note) in PICTURES.items():
        png = picture(draw, spec, rows, curves)
        results.replace(study.folder / f"report-{key}.png", png)
        data = base64.b64encode(png).decode()
        parts.append(f"<h2>{title}</h2>{f'<p>{note}</p>' * bool(note)}"
                     f'<img class="paper" alt="{title}" src="data:image/png;base64,{data}">')
    parts += ["<h2>All trials</h2>", table_html(spec, rows)]
    results.replace(study.folder / "report.html", page.frame(spec.name, parts).encode())
    return study.folder / "report.html"
