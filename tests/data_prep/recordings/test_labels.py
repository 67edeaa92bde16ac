"""What is said of labels that are placed on the grid."""

import numpy as np

from data_prep.corpora.recording import LabelSource, Recording
from data_prep.corpora.settings import Settings
from data_prep.labels import resample
from data_prep.recordings import labels


def test_the_widest_hole_is_told_and_no_trace_is_looked_at_for_every_row(tmp_path, monkeypatch):
  times = 0.04 * np.arange(1, 501)
  sources = []
  for target, hole in (('arousal', slice(100, 120)), ('valence', slice(200, 260))):
    rows = ''.join(f'{time:.2f},0.5\n' for time in np.delete(times, np.arange(500)[hole]))
    (tmp_path / f'{target}.csv').write_text(f'time,rating\n{rows}')
    sources.append(LabelSource(target, tmp_path / f'{target}.csv'))
  recording = Recording('A', 'A', 'train', None, None, tuple(sources))
  settings = Settings(('arousal', 'valence'), (-1.0, 1.0), 0.2, None, 'mean', 1)
  found = labels.read(recording, settings)
  median, calls = np.median, []
  monkeypatch.setattr(resample.np, 'median', lambda *arguments: calls.append(1) or median(*arguments))
  _, mask, notes = labels.place(recording, found, settings, 500)
  assert mask.sum() == 420
  assert notes == ['labels have holes of up to 2.44 s: 420 of 500 steps have one']  # 60 rows, and the step to the next
  assert len(calls) < 10  # a median of all rows each: an hour of labels took minutes
