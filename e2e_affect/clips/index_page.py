"""`index.html` of several clips: a row each, with sparklines, sorted as the reader likes."""

from collections.abc import Sequence
from html import escape
import pathlib
from urllib.parse import quote

import numpy as np

from data_prep.core import atomic
from e2e_affect.clips.clip_page import asset, warning
from e2e_affect.report.page import page, section

MARK = 'Press a heading to sort'  # every index has it
POINTS = 120  # of a sparkline
_WIDTH, _HEIGHT = 110, 30  # of a sparkline, CSS pixels
_CSS = """
main { max-width: 76rem; } th button { all: unset; cursor: pointer; color: inherit; font: inherit; }
th button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
th button::after { content: " ↕"; opacity: .6; }
th[aria-sort] button::after { content: " ↑"; opacity: 1; } th[aria-sort=descending] button::after { content: " ↓"; }
svg.spark { display: block; margin-left: auto; } .spark path { fill: none; stroke: var(--accent); stroke-width: 1.6; }
.spark line { stroke: var(--line); } td a { font-weight: 600; } td { vertical-align: middle; }
.clips td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 9rem; }
.clips td:last-child { white-space: normal; min-width: 16rem; font-size: .92rem; }
.clips :is(td, th):last-child { text-align: left; }
@media (max-width: 600px) {  /* a block per clip, each cell with its heading: nothing lies beside the screen */
  .clips tr { display: grid; grid-template-columns: 1fr 1fr; gap: .1rem 1rem; align-items: center; }
  .clips tbody tr { padding: .7rem 0; border-bottom: 1px solid var(--line); }
  .clips td, .clips th { border: 0; padding: 0; text-align: left; white-space: normal; }
  .clips td { font-size: .9rem; } .clips td:first-child, .clips td:last-child { grid-column: 1 / -1; }
  .clips td:not(:first-child, :last-child, :has(svg))::before { content: attr(data-head) " "; color: var(--soft); }
  svg.spark { margin: 0; }
}
"""


def sparkline(values: np.ndarray) -> list[float]:
  """[T] -> at most `POINTS` means of equal spans."""
  return [round(float(span.mean()), 4) for span in np.array_split(values, min(POINTS, len(values)))]


def write_index(
  out: pathlib.Path,
  targets: Sequence[str],
  summaries: Sequence[dict],
  sparklines: Sequence[dict[str, list[float]]],
  rejects: Sequence[tuple[str, str]],
) -> None:
  """Writes `index.html`.

  Args:
    out: folder of the clips' pages.
    targets: K names.
    summaries: contents of the clips' JSON files.
    sparklines: per clip, target -> `sparkline` of its final trace.
    rejects: (clip, reason).
  """
  heads = [
    'clip',
    'seconds',
    'face found',
    *(text for target in targets for text in (f'{target}, mean', target)),
    'notes',
  ]
  largest = max((abs(v) for of in sparklines for values in of.values() for v in values), default=1.0) or 1.0
  rows = [
    ''.join(
      f'<td data-head="{escape(text)}" data-sort="{escape(str(sort))}">{shown}</td>'
      for text, (sort, shown) in zip(heads, row(content, lines, targets, largest), strict=True)
    )
    for content, lines in zip(summaries, sparklines, strict=True)
  ]
  head = ''.join(f'<th scope="col"><button type="button">{escape(text)}</button></th>' for text in heads)
  table = (
    f'<div class="scroll"><table class="clips"><thead><tr>{head}</tr></thead><tbody>'
    + ''.join(f'<tr>{row}</tr>' for row in rows)
    + '</tbody></table></div>'
  )
  title = f'{len(summaries)} {"clip" if len(summaries) == 1 else "clips"}'
  parts = [
    f'<style>{_CSS}</style>',
    f'<h1>{title}</h1><p class="soft">{MARK}: a column '
    f'of traces sorts by how much they move. Means and traces are post-processed, '
    f'where the run fitted that. Traces run from −{largest:.2f} to {largest:.2f}.</p>',
    next(filter(None, map(warning, summaries)), ''),
    section('Clips', table),
  ]
  if rejects:
    parts.append(
      section(
        'Refused',
        '<table class="text">'
        + ''.join(f'<tr><td>{escape(name)}</td><td>{escape(reason)}</td></tr>' for name, reason in rejects)
        + '</table>',
      )
    )
  atomic.write(out / 'index.html', page(title, [*parts, f'<script>{asset("index.js")}</script>']))


def row(
  content: dict, lines: dict[str, list[float]], targets: Sequence[str], largest: float
) -> list[tuple[object, str]]:
  """(what it is sorted by, HTML) of each cell of a clip; raises KeyError or TypeError where `content` is no summary."""
  name, face, notes = content['clip'], content['face'] and content['face']['share_of_steps'], list(content['notes'])
  notes = '; '.join(notes + ['by a network of drawings, not of people'] * ('warning' in content['model']))
  cells = [
    (name.lower(), f'<a href="{escape(quote(name))}.html">{escape(name)}</a>'),
    (content['seconds'], f'{content["seconds"]:.1f}'),
    ('' if face is None else face, '–' if face is None else f'{100 * face:.0f} %'),
  ]
  for target in targets:
    if target not in content['targets']:  # of another network
      cells += [('', '–')] * 2
      continue
    of = content['targets'][target]['postprocessed'] or content['targets'][target]['raw']
    cells += [(of['mean'], f'{of["mean"]:+.2f}'.replace('-', '−')), (of['std'], _svg(lines[target], largest))]
  return [*cells, (notes, escape(notes))]


def _svg(values, largest):
  xs = np.linspace(1, _WIDTH - 1, len(values)) if len(values) > 1 else [1]
  ys = [_HEIGHT / 2 - (_HEIGHT / 2 - 2) * v / largest for v in values]
  path = 'M' + 'L'.join(f'{x:.1f} {y:.1f}' for x, y in zip(xs, ys))
  return (
    f'<svg class="spark" width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">'
    f'<line x1="0" x2="{_WIDTH}" y1="{_HEIGHT / 2}" y2="{_HEIGHT / 2}"/><path d="{path}"/></svg>'
  )
