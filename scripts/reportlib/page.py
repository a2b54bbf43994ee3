"""A page of its own: its frame, tables, curves that say their values, and pictures, all in one file."""

import base64
import html
import json
import math
import struct
import zlib

import numpy as np

COLOURS = ["#2563a8", "#d9730d", "#3f8f5b", "#9e4ea3", "#777777", "#b03a3a", "#0f8b8d", "#8a6d00"]
DASHES = ["", "6 3", "2 3", "8 3 2 3"]

STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --soft: #666; --line: #e0e0e0; --shade: #f4f4f4 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #17191c; --soft: #a0a0a0; --line: #3a3d42; --shade: #23262a } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1100px;
       margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em; margin-bottom: 0 } h2 { font-size: 1.15em; margin: 2em 0 .3em }
img { max-width: 100% } code, pre { background: var(--shade); padding: .1em .3em; overflow-x: auto }
.paper { background: #fff } .table { overflow-x: auto }
table { border-collapse: collapse; font-size: 13px } caption { text-align: left; color: var(--soft) }
th, td { padding: .25em .7em; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th { background: var(--shade) } .text { text-align: left; white-space: normal }
.pruned td { color: #8a8a8a } .diverged td, .failed td { color: #c0392b }
.grid { display: flex; flex-wrap: wrap; gap: .7em } .grid figure { margin: 0; font-size: 12px; max-width: 9em }
.grid img { image-rendering: pixelated; width: 84px; border: 1px solid var(--line); display: block }
svg { width: 100%; height: auto; max-width: 900px; display: block } svg text { fill: var(--soft); font-size: 12px }
svg .axis { stroke: var(--line) }
svg .title { fill: var(--ink); font-weight: 600 } svg:focus { outline: 2px solid #2563a8 }
.say { min-height: 1.5em; font-size: 13px }
"""

SCRIPT = """
for (const svg of document.querySelectorAll('svg[data-curves]')) {
  const about = JSON.parse(svg.dataset.curves), line = svg.querySelector('.cursor');
  const say = document.getElementById(svg.dataset.say), xs = about.xs;
  let at = xs.length - 1;
  const show = () => {
    const x = about.left + (xs[at] - about.low) / ((about.high - about.low) || 1) * about.width;
    line.setAttribute('x1', x); line.setAttribute('x2', x); line.style.visibility = 'visible';
    say.textContent = about.name + ' ' + xs[at] + ': ' + about.curves.map(
      c => c.name + ' ' + (c.y[at] === null ? '-' : c.y[at])).join(', ');
  };
  const nearest = event => {
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * about.whole;
    const v = about.low + (x - about.left) / about.width * (about.high - about.low);
    at = xs.reduce((best, u, k) => Math.abs(u - v) < Math.abs(xs[best] - v) ? k : best, 0);
    show();
  };
  svg.addEventListener('pointermove', nearest);
  svg.addEventListener('keydown', event => {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    at = Math.min(xs.length - 1, Math.max(0, at + (event.key === 'ArrowRight' ? 1 : -1)));
    event.preventDefault(); show();
  });
}
"""


def esc(text):
    return html.escape(str(text))


def frame(title, body, script=""):
    """A whole page."""
    return "\n".join([
        "<!DOCTYPE html>", '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{esc(title)}</title><style>{STYLE}</style></head><body>", f"<h1>{esc(title)}</h1>", *body,
        f"<script>{script}</script>" if script else "", "</body></html>"])


def table(head, rows, caption=""):
    """Rows of texts and numbers; numbers stand right."""
    def cell(value, kind="td"):
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)
        text = kind == "td" and isinstance(value, str)
        return f"<{kind}{' class=text' if text else ''}>{esc(shown)}</{kind}>"
    lines = ["<tr>" + "".join(f'<th scope="col">{esc(h)}</th>' for h in head) + "</tr>"] if head else []
    lines += ["<tr>" + "".join(cell(v) for v in row) + "</tr>" for row in rows]
    about = f"<caption>{esc(caption)}</caption>" if caption else ""
    return f'<div class="table"><table>{about}' + "\n".join(lines) + "</table></div>"


# ---- pictures ----

def png(pixels):
    """uint8 [h, w] or [h, w, 3] -> the bytes of a PNG."""
    height, width = pixels.shape[:2]
    colour = 2 if pixels.ndim == 3 else 0
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels, np.uint8))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, colour, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def as_pixels(values, low=None, high=None):
    values = np.asarray(values, float)
    low = values.min() if low is None else low
    high = values.max() if high is None else high
    return (255 * np.clip((values - low) / ((high - low) or 1), 0, 1)).astype(np.uint8)


def picture(pixels, alt):
    data = base64.b64encode(png(pixels)).decode()
    return f'<img alt="{esc(alt)}" src="data:image/png;base64,{data}">'


def grid(figures):
    """[(pixels, alt, what stands below)]"""
    return '<div class="grid">' + "".join(
        f"<figure>{picture(pixels, alt)}<figcaption>{below}</figcaption></figure>"
        for pixels, alt, below in figures) + "</div>"


# ---- curves ----

def ticks(low, high, most=5):
    """Round numbers between two."""
    span = (high - low) or 1
    step = 10 ** math.floor(math.log10(span / most))
    step *= next(f for f in (1, 2, 5, 10) if span / (step * f) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def curves(title, x_name, series, number, log=False):
    """An SVG of {name: (x, y)}, which says the values under the pointer or by the arrow keys."""
    series = {name: (np.asarray(x, float), np.asarray(y, float)) for name, (x, y) in series.items()
              if np.isfinite(y).any()}
    if not series:
        return ""
    left, top, width, height, whole = 62, 30, 560, 220, 900
    xs = np.unique(np.concatenate([x for x, _ in series.values()]))
    every = np.concatenate([y[np.isfinite(y)] for _, y in series.values()])
    log = log and every.min() > 0 and every.max() > 20 * every.min()
    scale = np.log10 if log else np.asarray
    low, high = float(scale(every.min())), float(scale(every.max()))
    if low == high:  # in the middle, with labels around it
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2

    def place(x, y):
        return (left + (x - xs[0]) / ((xs[-1] - xs[0]) or 1) * width,
                top + height - (float(scale(y)) - low) / ((high - low) or 1) * height)
    parts = [f'<text x="{left}" y="16" class="title">{esc(title)}</text>']
    for value in ticks(low, high):
        y = top + height - (value - low) / ((high - low) or 1) * height
        shown = f"{10 ** value:.3g}" if log else f"{value:g}"
        parts.append(f'<line class="axis" x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}"/>'
                     f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>')
    for value in ticks(xs[0], xs[-1], 8):
        parts.append(f'<text x="{place(value, every[0])[0]:.1f}" y="{top + height + 18}" '
                     f'text-anchor="middle">{value:g}</text>')
    parts.append(f'<text x="{left + width / 2}" y="{top + height + 36}" text-anchor="middle">{esc(x_name)}</text>')
    said = []
    for k, (name, (x, y)) in enumerate(series.items()):
        colour, dash = COLOURS[k % len(COLOURS)], DASHES[k // len(COLOURS) % len(DASHES)]
        points = " ".join("{:.1f},{:.1f}".format(*place(u, v)) for u, v in zip(x, y) if math.isfinite(v))
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.8" stroke-dasharray="{dash}" '
                     f'points="{points}"/>')
        if np.isfinite(y).sum() == 1:
            u, v = place(x[np.isfinite(y)][0], y[np.isfinite(y)][0])
            parts.append(f'<circle cx="{u:.1f}" cy="{v:.1f}" r="3" fill="{colour}"/>')
        parts.append(f'<line x1="{left + width + 12}" x2="{left + width + 30}" y1="{top + 8 + 18 * k}" '
                     f'y2="{top + 8 + 18 * k}" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
                     f'<text x="{left + width + 34}" y="{top + 12 + 18 * k}">{esc(name)}</text>')
        at = dict(zip(x.tolist(), y.tolist()))
        said.append({"name": name, "y": [float(f"{at[u]:.5g}") if u in at and math.isfinite(at[u]) else None
                                         for u in xs.tolist()]})
    about = {"xs": xs.tolist(), "low": xs[0], "high": xs[-1], "left": left, "width": width, "whole": whole,
             "name": x_name, "curves": said}
    tall = max(top + height + 44, top + 18 * len(series) + 10)
    return (f'<svg viewBox="0 0 {whole} {tall}" role="img" tabindex="0" aria-label="{esc(title)}" '
            f'data-say="say{number}" data-curves="{esc(json.dumps(about))}">'
            + "".join(parts) + f'<line class="cursor" stroke="currentColor" stroke-width="0.7" y1="{top}" '
            f'y2="{top + height}" style="visibility:hidden"/></svg>'
            f'<p class="say" id="say{number}" aria-live="polite"></p>')
