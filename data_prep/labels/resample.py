"""Label traces onto the label grid."""

import numpy as np

from data_prep.schema.grid import Grid

_TOLERANCE = 0.02  # of a step: times are written with two to six decimals


def interval(times, grid: Grid) -> float:
  """Usual seconds between two rows, the median; a step where there is one row."""
  return float(np.median(np.diff(times))) if len(times) > 1 else grid.step_seconds


def longest_gap(times, grid: Grid) -> float:
  """Seconds between two rows above which there is a hole between them: one and a half of their usual interval."""
  return 1.5 * interval(times, grid) + _TOLERANCE * grid.step_seconds


def on_grid(times, values, num_steps: int, grid: Grid, method: str = 'linear'):
  """Puts a trace on the label grid: step k (from 0) gets the value at its end.

  So RECOLA's row at t = 0 belongs to no step, and 7501 rows give 7500 steps, as in the authors' code. Before the first
  row there is no label.

  Args:
    times: [N] seconds, increasing.
    values: [N, ...] the trace.
    num_steps: T.
    grid: of the steps.
    method: 'linear': the trace is interpolated between two rows, as far apart as the rows of this trace are; in holes
      and after the last row there is no label. 'hold': a row's value holds until the next row, the last one's to the
      end, as in traces that are stored on change.

  Returns:
    [T, ...] float64 (0 where there is no label), and [T] float32 mask.
  """
  times, values = np.asarray(times, np.float64), np.asarray(values, np.float64)
  wanted, tolerance = np.arange(1, num_steps + 1) * grid.step_seconds, _TOLERANCE * grid.step_seconds
  if method == 'hold':
    place = np.searchsorted(times, wanted + tolerance, side='right') - 1
    placed, mask = values[np.clip(place, 0, None)], place >= 0
  else:
    after = np.clip(np.searchsorted(times, wanted - tolerance), 0, len(times) - 1)
    before = np.clip(after - 1, 0, None)
    exact = np.abs(times[after] - wanted) <= tolerance
    span = times[after] - times[before]
    inside = (times[before] <= wanted) & (wanted <= times[after]) & (span <= longest_gap(times, grid))
    share = np.where(exact | (span <= 0), 1.0, (wanted - times[before]) / np.where(span > 0, span, 1))
    mask = exact | inside
    share = np.where(mask, share, 1.0).reshape((-1,) + (1,) * (values.ndim - 1))
    placed = values[before] * (1 - share) + values[after] * share
  placed[~mask] = 0
  return placed, mask.astype(np.float32)
