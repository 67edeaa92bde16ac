"""The labels of a recording at their own times and in the corpus's own units, see `schema.label_clock`."""

import numpy as np

from data_prep.corpora.recording import Recording
from data_prep.corpora.settings import Settings
from data_prep.recordings import labels
from data_prep.schema.label_clock import OwnLabels


def own_labels(recording: Recording, settings: Settings, always: bool) -> OwnLabels | None:
  """The labels as the corpus has them; None where there are none, or where the grid holds them as they are.

  Labels that differ between two targets in their times are put together: each has a row at every time, and no label
  where the other has none.

  Args:
    recording: of the corpus.
    settings: of its preparation.
    always: also of labels that lie on the grid, as their corpus has units or files of its own.

  Raises:
    DataError: a label file is bad.
  """
  numeric = [target for target in settings.targets if target not in settings.classes]
  if not numeric:
    return None
  if recording.whole:
    return OwnLabels(np.array([np.nan]), np.array([[float(recording.whole[target]) for target in numeric]]))
  if not recording.labels:
    return None
  traces = {source.target: labels.read_trace(source, settings)[:2] for source in recording.labels}
  times = np.unique(np.concatenate([t for t, _ in traces.values()]))
  values = np.full((len(times), len(numeric)), np.nan)
  for k, target in enumerate(numeric):
    values[np.searchsorted(times, traces[target][0]), k] = traces[target][1]
  if not always and _on_grid(times, values, settings):
    return None
  beside = {}
  for source in recording.labels:
    for name in source.beside:
      assert source.parse is not None  # it alone reads further columns
      table = source.parse(source.path)
      cells = [''] * len(times)
      for place, value in zip(np.searchsorted(times, table.times), table.values[:, table.columns.index(name)]):
        cells[place] = '' if np.isnan(value) else f'{value:g}'
      beside[name] = cells
  return OwnLabels(times, values, beside)


def _on_grid(times, values, settings) -> bool:
  """Whether the labels are those of the grid's steps: its rows, one a step, without a hole; a row at 0 may be there."""
  steps = times / settings.grid.step_seconds
  near = np.abs(steps - np.round(steps)) <= 0.02  # as in resample.on_grid
  return bool(near.all() and np.isfinite(values).all() and (np.diff(np.round(steps)) == 1).all())
