"""`textgrid`: a TextGrid of Praat, in its short text format.

https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
"""

import pathlib

from data_prep.core import atomic
from e2e_affect.clips.formats import episodes
from e2e_affect.clips.formats.base import Format, Prediction


def write(folder: pathlib.Path, prediction: Prediction) -> None:
  """`NAME.TextGrid`: an interval tier for each output, an interval a step, its text the value; then the episodes."""
  steps = len(prediction.values)
  length = steps if prediction.of_whole else 1
  tiers = []
  for k, name in enumerate(prediction.outputs):
    texts = prediction.texts(k)[::length]
    tiers.append((name, [(i * length, (i + 1) * length, text) for i, text in enumerate(texts)]))
  found = episodes.tiers(prediction)
  tiers += [(tier.name, _filled(tier.segments, steps)) for tier in found]
  notes = [*(tier.rule for tier in found), *prediction.remarks]
  tiers.append(('notes', [(0, steps, ' '.join(notes))]))
  end = prediction.seconds(steps)
  lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', '', '0', f'{end}', '<exists>', f'{len(tiers)}']
  for name, intervals in tiers:
    lines += ['"IntervalTier"', _quoted(name), '0', f'{end}', f'{len(intervals)}']
    for first, last, text in intervals:
      lines += [f'{prediction.seconds(first)}', f'{prediction.seconds(last)}', _quoted(text)]
  atomic.write(folder / f'{prediction.recording}.TextGrid', '\n'.join(lines) + '\n')


def _filled(segments, steps):
  """Segments with empty ones between them: an interval tier has no holes."""
  filled, end = [], 0
  for segment in [*segments, episodes.Segment(steps, steps, '')]:
    filled += [(end, segment.first, '')] if segment.first > end else []
    filled += [tuple(segment)] if segment.end > segment.first else []
    end = segment.end
  return filled


def _quoted(text):
  return '"' + text.replace('"', '""') + '"'


FORMAT = Format('textgrid', write)
