"""`audformat`: a table of segments, `file,start,end,<output>,…`, as `audformat.utils.read_csv` reads it.

https://audeering.github.io/audformat/data-tables.html
"""

import csv
import io
import pathlib

from data_prep.core import atomic
from e2e_affect.clips.formats.base import Format, Prediction


def write(folder: pathlib.Path, prediction: Prediction) -> None:
  """`NAME.csv` with a segment for each step; a recording of one value has one segment.

  `file` is the file that was analysed, or the recording's name where that is not known.
  """
  steps = len(prediction.values)
  length = steps if prediction.of_whole else 1
  beside = {'trained_on': prediction.trained_on} if prediction.trained_on else {}
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(['file', 'start', 'end', *prediction.outputs, *beside])
  columns = [prediction.texts(k) for k in range(len(prediction.outputs))]
  file = prediction.media.as_posix() if prediction.media else prediction.recording
  for step in range(0, steps, length):
    span = (_timedelta(prediction.seconds(k)) for k in (step, step + length))
    writer.writerow([file, *span, *(column[step] for column in columns), *beside.values()])
  atomic.write(folder / f'{prediction.recording}.csv', text.getvalue())


def _timedelta(seconds):
  """Text that pandas reads as a span of time."""
  minutes, rest = divmod(round(1e6 * seconds), 60_000_000)
  return f'{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1_000_000:02d}.{rest % 1_000_000:06d}'


FORMAT = Format('audformat', write)
