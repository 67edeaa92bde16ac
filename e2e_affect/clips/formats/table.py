"""Trace CSVs as predictions: that of a clip, `NAME.csv`, and those of a run, `predictions/<partition>.csv`."""

from collections.abc import Mapping, Sequence
import csv
from fractions import Fraction
import pathlib
import re
from typing import Any

import numpy as np

from data_prep.core import json_text
from data_prep.core.errors import DataError
from data_prep.schema.grid import Grid
from e2e_affect.clips import clip_files, sources
from e2e_affect.clips.formats.base import Prediction

_BESIDE = re.compile(r'recording|time|trained_on|face_.*|.*_gold')  # columns that are no outputs
_OF_OUTPUT = re.compile(r'(.+)_(?:post|low|high|relative)')  # columns that say more of an output
_SUM_TOLERANCE = 1e-4  # of probabilities, which the file has as float32


def read_clip(path: pathlib.Path, outputs: Sequence[str], shows: str, grid: Grid, **known: Any) -> Prediction:
  """The prediction of a clip's CSV, of which is known what its columns are; arguments as `Prediction` has them.

  Raises:
    DataError: it cannot be read, or is no such table.
  """
  columns = _columns(path)
  values, found = _values(path, columns, outputs), _found(path, columns)
  return Prediction(path.stem, tuple(outputs), shows, values, grid, columns, found=found, **known)


def read(path: pathlib.Path) -> list[Prediction]:
  """The predictions of a trace CSV, in its order.

  What a clip's CSV holds is said by the JSON beside it. Elsewhere the outputs are the columns that have no other
  meaning. Columns that sum to 1 in every row are probabilities, and of the whole where they never change.

  Raises:
    DataError: it cannot be read, is no such table, or its times are no grid.
  """
  columns = _columns(path)
  about = _about(path)
  if about and 'recording' not in columns:
    try:
      outputs, grid = list(about['targets']), _grid(Fraction(str(about['step_seconds'])))
      shows = {None: 'numbers', 'steps': 'probabilities', 'recording': 'recording'}[
        (about.get('most_probable') or {}).get('of')
      ]
      media, length = pathlib.Path(about['files']['video']), float(about['seconds'])
      notes = [str(note) for note in about.get('notes', ())]
      held = about.get('held_steps')  # absent in results of earlier versions
      held = None if held is None else {name: int(held[name]) for name in outputs}
      if held and min(held.values()) < 0:
        raise ValueError(f'held_steps {held}')
      # Absent in results of earlier versions, None where the clip lies inside its page; or somebody took it away.
      copy = _copy(path, about.get('media'))
    except (KeyError, TypeError, ValueError, AttributeError) as e:
      raise DataError(f'{_json_of(path)[0]}: no summary of a clip ({e!r}); analyse the clip again') from None
    known = {'media': media, 'copy': copy, 'length': length, 'notes': notes, 'held': held}
    return [read_clip(path, outputs, shows, grid, **known)]
  outputs = [name for name in columns if not _is_beside(name, columns)]
  if 'time' not in columns or not outputs:
    raise DataError(f'{path}: columns {", ".join(columns)[:200]}; expected `time` and a column for each output')
  groups = {None: columns} if 'recording' not in columns else _by_recording(columns)
  grid = _grid_of(path, [of['time'] for of in groups.values()])
  values = {name: _values(path, of, outputs) for name, of in groups.items()}
  shows = 'numbers' if not all(map(_are_probabilities, values.values())) else 'probabilities'
  if shows == 'probabilities' and all((of == of[0]).all() for of in values.values()):
    shows = 'recording'
  predictions = []
  for name, of in groups.items():
    recording, found = sources.safe(path.stem if name is None else name), _found(path, of)
    # A run's table tells of faces whether or not the network sees; a recording without any was prepared for the ear.
    found = None if found is None or not found.any() else found
    predictions.append(Prediction(recording, tuple(outputs), shows, values[name], grid, of, found=found))
  return predictions


def values(path: pathlib.Path, outputs: Sequence[str]) -> np.ndarray:
  """[T, O] float32 of one trace's CSV, post-processed where there are such columns.

  Raises:
    DataError: it cannot be read, or is no such table.
  """
  return _values(path, _columns(path), outputs)


def _copy(path, name):
  """What plays of a clip, for a folder of a format beside its table."""
  copy = clip_files.MEDIA_FOLDER, pathlib.PurePosixPath(name or '').name
  return '/'.join(('..', *copy)) if name and path.parent.joinpath(*copy).is_file() else None


def _is_beside(name, columns):
  more = _OF_OUTPUT.fullmatch(name)
  return bool(_BESIDE.fullmatch(name) or more and more[1] in columns)


def _columns(path) -> dict[str, list[str]]:
  """Name -> a text for each row."""
  try:
    with path.open(encoding='utf-8', newline='') as file:
      header, *rows = csv.reader(file)
  except (OSError, UnicodeDecodeError) as e:
    raise DataError(f'{path}: cannot be read ({getattr(e, "strerror", None) or e}); expected a trace CSV') from None
  except (ValueError, csv.Error) as e:
    raise DataError(f'{path}: no trace CSV ({e}); expected a header and a row for each step') from None
  for line, row in enumerate(rows, 2):
    if len(row) != len(header):
      raise DataError(f'{path}, row {line}: {len(row)} columns, expected {len(header)}')
  if not rows or len(set(header)) < len(header):
    raise DataError(f'{path}: {"columns of one name" if rows else "no rows"}; expected a trace CSV')
  return {name: [row[i] for row in rows] for i, name in enumerate(header)}


def _json_of(path):
  """Where the JSON of a clip's table is, and whose table it is of its people; '': of one alone."""
  name, _, person = path.stem.rpartition('.person')
  if name and person.isdecimal() and not path.with_suffix('.json').exists():
    return path.with_name(f'{name}.json'), person
  return path.with_suffix('.json'), ''


def _about(path) -> Mapping | None:
  """The JSON beside a clip's CSV, or beside that of one of its people, or None."""
  beside, person = _json_of(path)
  try:
    content = json_text.parse(beside.read_bytes())
    if person:
      own = next(one for one in content['people'] if one['person'] == int(person))
      content |= own | {'notes': [*content['notes'], *own['notes']]}
  except (OSError, ValueError, KeyError, TypeError, StopIteration):
    return None
  return content if isinstance(content, dict) and {'clip', 'targets', 'step_seconds'} <= content.keys() else None


def _by_recording(columns):
  groups: dict[str, dict[str, list[str]]] = {}
  for recording, row in zip(columns['recording'], zip(*columns.values())):
    of = groups.setdefault(recording, {name: [] for name in columns})
    for cells, cell in zip(of.values(), row):
      cells.append(cell)
  return groups


def _grid_of(path, times):
  """The grid whose steps these are: texts of each recording, from 0 on."""
  first = next((of for of in times if len(of) > 1), None)
  try:
    grid = _grid(Fraction(first[1]) - Fraction(first[0])) if first else None
  except (ValueError, ZeroDivisionError) as e:
    raise DataError(f'{path}: the times are no grid ({e}); expected a row for each step') from None
  if grid is None:
    raise DataError(f'{path}: a row a recording, and nothing says how long it is; expected a row for each step')
  for of in times:
    wrong = next((k for k, text in enumerate(of) if text != grid.time(k)), None)
    if wrong is not None:
      raise DataError(f'{path}: time {of[wrong][:20]!r} in step {wrong} of a recording, expected {grid.time(wrong)}')
  return grid


def _grid(step: Fraction) -> Grid:
  """A grid of this step; nothing here hears, so that any sample rate that fits will do."""
  return Grid(float(step), sample_rate=Fraction(str(float(step))).denominator)


def _values(path, columns, outputs):
  """[T, O] float32, of the post-processed columns where there are any."""
  try:
    chosen = [columns.get(f'{name}_post') or columns[name] for name in outputs]
    values = np.array(chosen, np.float32).T
  except (KeyError, ValueError) as e:
    raise DataError(f'{path}: damaged ({e}); expected a number for each of {", ".join(outputs)} in every row') from None
  if not np.isfinite(values).all():
    raise DataError(f'{path}: a value is not finite; expected the traces of a network')
  return values


def _found(path, columns):
  """[T] whether there was a face; None where the table does not tell, as of a clip whose picture was not looked at."""
  cells = columns.get('face_found', ())
  try:
    return np.array(cells, np.float32) > 0 if any(cells) else None
  except ValueError as e:
    raise DataError(f'{path}: damaged ({e}); expected a number for face_found in every row') from None


def _are_probabilities(values):
  sums = values.astype(np.float64).sum(axis=1)
  return values.shape[1] > 1 and values.min() >= 0 and bool((np.abs(sums - 1) < _SUM_TOLERANCE).all())
