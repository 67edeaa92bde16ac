"""`index.html` of several clips: a row each, with sparklines, sorted as the reader likes."""

from collections.abc import Sequence
import pathlib
from typing import NamedTuple
from urllib.parse import quote

import numpy as np

from data_prep.core import atomic
from e2e_affect.report.page import render

MARK = 'Press a heading to sort'  # every index has it
_OF_CLASSES = ('most probable', 'probability')
POINTS = 120  # of a sparkline
_WIDTH, _HEIGHT = 110, 30  # of a sparkline, CSS pixels


class Cell(NamedTuple):
  """A cell of the table.

  Attributes:
    sort: value that its column is sorted by.
    text: what is shown.
    link: address that the text leads to, or None.
    path: SVG path that is shown in place of the text, or None.
    faint: whether it is worth nothing.
  """

  sort: object
  text: str
  link: str | None = None
  path: str | None = None
  faint: bool = False


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
  classes = any('most_probable' in content for content in summaries)
  heads = [
    'clip',
    'seconds',
    'face found',
    *(text for target in targets for text in (f'{target}, mean', target)),
    *_OF_CLASSES[: 2 * classes],
    'notes',
  ]
  clips = len({content.get('page', content['clip']) for content in summaries})  # of several people each has a row
  largest = max((abs(v) for of in sparklines for values in of.values() for v in values), default=1.0) or 1.0
  warnings = [content['model']['warning'] for content in summaries if content['model'].get('warning')]
  origins: list[dict] = []
  for content in summaries:
    of = content['model'].get('trained_on')  # absent in results of earlier versions
    if isinstance(of, dict) and {'people', 'licence'} <= of.keys() and of not in origins:
      origins.append(of)
  html = render(
    'clips/assets/index.html',
    title=f'{clips} {"clip" if clips == 1 else "clips"}',
    mark=MARK,
    largest=f'{largest:.2f}' if targets else None,
    warning=next(iter(warnings), None),
    origins=origins,
    heads=heads,
    rows=[row(content, lines, targets, largest, classes) for content, lines in zip(summaries, sparklines, strict=True)],
    width=_WIDTH,
    height=_HEIGHT,
    rejects=rejects,
  )
  atomic.write(out / 'index.html', html)


def row(
  content: dict, lines: dict[str, list[float]], targets: Sequence[str], largest: float, classes: bool = False
) -> list[Cell]:
  """The cells of a clip; raises KeyError or TypeError where `content` is no summary."""
  name, face, notes = content['clip'], content['face'] and content['face']['share_of_steps'], list(content['notes'])
  notes = '; '.join(notes + ['by a network of drawings, not of people'] * ('warning' in content['model']))
  cells = [
    Cell(name.lower(), name, link=f'{quote(content.get("page", name))}.html'),
    Cell(content['seconds'], f'{content["seconds"]:.1f}'),
    Cell('', '–') if face is None else Cell(face, f'{100 * face:.0f} %'),
  ]
  for target in targets:
    if target not in content['targets'] or 'most_probable' in content:  # of another network
      cells += [Cell('', '–')] * 2
      continue
    of = content['targets'][target]['postprocessed'] or content['targets'][target]['raw']
    cells += [
      Cell(of['mean'], f'{of["mean"]:+z.2f}'.replace('-', '−'), faint=face == 0),
      Cell(of['std'], '', path=_path(lines[target], largest), faint=face == 0),
    ]
  if classes:
    said = content.get('most_probable')
    cells += (
      [
        Cell(said['class'], said['class'], faint=face == 0),
        Cell(said['probability'], f'{said["probability"]:.2f}', faint=face == 0),
      ]
      if said
      else [Cell('', '–')] * 2
    )
  return [*cells, Cell(notes, notes)]


def _path(values, largest):
  xs = np.linspace(1, _WIDTH - 1, len(values)) if len(values) > 1 else [1]
  ys = [_HEIGHT / 2 - (_HEIGHT / 2 - 2) * v / largest for v in values]
  return 'M' + 'L'.join(f'{x:.1f} {y:.1f}' for x, y in zip(xs, ys))
