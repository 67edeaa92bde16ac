"""`vtt`: WebVTT, subtitles for players and browsers. https://www.w3.org/TR/webvtt1/"""

import html
import itertools
import pathlib

import numpy as np

from data_prep.core import atomic
from e2e_affect.clips.formats.base import Format, Prediction


def write(folder: pathlib.Path, prediction: Prediction) -> None:
  """`NAME.vtt`: a cue for each second, the means of its steps; nobody reads 25 numbers a second.

  Of classes the most probable one is said. A recording of one value has one cue.
  """
  steps = len(prediction.values)
  second = lambda step: 0 if prediction.of_whole else int(step * prediction.grid.step)
  notes = ' '.join(['A cue has the means of its steps.', *prediction.remarks])
  blocks = ['WEBVTT', 'NOTE ' + html.escape(notes, quote=False)]
  for _, of_second in itertools.groupby(range(steps), second):
    span = list(of_second)
    begin, end = prediction.seconds(span[0]), prediction.seconds(span[-1] + 1)
    text = _said(prediction, prediction.values[span].astype(np.float64).mean(axis=0))
    blocks.append(f'{_clock(begin)} --> {_clock(end)}\n{html.escape(text, quote=False)}')
  atomic.write(folder / f'{prediction.recording}.vtt', '\n\n'.join(blocks) + '\n')


def _said(prediction, means):
  if prediction.shows == 'numbers':
    return ', '.join(f'{name} {value:+.2f}' for name, value in zip(prediction.outputs, means))
  return f'{prediction.outputs[means.argmax()]} {means.max():.2f}'


def _clock(seconds):
  minutes, rest = divmod(round(1000 * seconds), 60_000)
  return f'{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}'


FORMAT = Format('vtt', write)
