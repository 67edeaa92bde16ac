"""Label Studio's JSON of a time series project: a list of tasks, each with an annotation of every annotator.

    [{"id": 1, "data": {"csv": "…/anna_1.csv"}, "annotations": [{"completed_by": 3, "result": [
      {"id": "a1", "from_name": "arousal", "type": "timeserieslabels",
       "value": {"start": 0.0, "end": 2.4, "instant": false, "timeserieslabels": ["0.5"]}},
      {"id": "a1", "from_name": "valence", "type": "number", "value": {"start": 0.0, "end": 2.4, "number": -0.25}}
    ]}]}]

That regions are so written is Label Studio's documentation. Our reading: a region's number is what a control `Number`
or `Rating` says of it, or its label where that is a number; the target is the name of the control; times are seconds,
those of the project's time column; each annotation that was not cancelled is a rater's. A region of an instant has no
length and is left out. The task of a recording is the one whose data names a file of the recording's name, which
Label Studio puts behind a prefix and `-` at uploads; where there is one task, it is that.
"""

import collections
import pathlib
from urllib.parse import unquote

from data_prep.core import json_text
from data_prep.core.errors import DataError
from data_prep.labels.formats.base import Format, of_segments, Rating

_LARGEST_SECONDS = 1e6  # more are milliseconds, or a date


def read(path: pathlib.Path, recording: str) -> list[Rating]:
  """The ratings of a recording's task.

  Raises:
    DataError: it is no such export, has no task of this recording, or a label of it is no number.
  """
  try:
    tasks = json_text.parse(path.read_bytes())
    task = _task(path, tasks if isinstance(tasks, list) else [tasks], recording)
    ratings = []
    for annotation in task['annotations']:
      if not annotation.get('was_cancelled'):
        ratings += [of_segments(path, *of) for of in _segments(path, annotation['result']).items()]
  except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
    reason = getattr(e, 'strerror', None) or repr(e)[:200]
    raise DataError(
      f'{path}: no export of Label Studio in its own JSON ({reason}); export as JSON, not as JSON_MIN or CSV'
    ) from None
  return ratings


def _task(path, tasks, recording):
  names = [
    [pathlib.PurePosixPath(unquote(text)).stem for text in task['data'].values() if isinstance(text, str)]
    for task in tasks
  ]
  if len(tasks) == 1:
    return tasks[0]
  found = [
    task for task, of in zip(tasks, names) if any(name == recording or name.endswith(f'-{recording}') for name in of)
  ]
  if len(found) != 1:
    raise DataError(
      f'{path}: {len(found)} of {len(tasks)} tasks are of a file {recording}; expected one: name the recording as its '
      'file, or export its task alone'
    )
  return found[0]


def _segments(path, result):
  """Target -> (begin, end, value) of each region."""
  segments = collections.defaultdict(list)
  for region in result:
    value, kind = region['value'], region['type']
    if kind == 'timeserieslabels':
      label = value[kind][0] if len(value[kind]) == 1 else None
      try:
        number = float(label)
      except (TypeError, ValueError):
        continue  # a name: what is said of the region in numbers stands in results of their own
    elif kind in ('number', 'rating'):
      number = float(value[kind])
    else:
      continue
    begin, end = value['start'], value['end']
    if isinstance(begin, str) or isinstance(end, str) or max(begin, end) > _LARGEST_SECONDS:
      raise DataError(
        f'{path}: {region["from_name"]} has a label from {str(begin)[:30]!r} on; expected seconds: give the project a '
        'time column in seconds, without a format'
      )
    if not value.get('instant'):
      target = region['from_name']
      if not isinstance(target, str):
        raise TypeError(f'from_name is {str(target)[:30]!r}')
      segments[target].append((float(begin), float(end), number))
  return segments


FORMAT = Format('.json', read)
