"""The labels of one recording: read, made one trace a target, and placed on the grid."""

import dataclasses

import numpy as np

from data_prep.core.errors import DataError
from data_prep.corpora.recording import Recording
from data_prep.corpora.settings import Settings
from data_prep.labels import gold_standard, label_files, resample

MIN_LABELLED = 0.5  # share of the steps; below it something else is wrong than a hole


@dataclasses.dataclass(frozen=True)
class Labels:
  """What the label files of a recording say.

  Attributes:
    traces: (times [N], values [N] in the corpus's own scale) of each target, the rows that have a label; [] where the
      corpus has none for this recording, or one label for the whole.
    annotated: share of the files' rows that have a label.
    end: seconds; None where there is no file.
    interval: seconds between two labels; the grid's step where there is no file.
    notes: what a person should know.
  """

  traces: list[tuple[np.ndarray, np.ndarray]]
  annotated: float
  end: float | None
  interval: float
  notes: list[str]


def read(recording: Recording, settings: Settings) -> Labels:
  """Reads the labels of a recording.

  Raises:
    DataError: a file is bad, or leaves the scale.
  """
  grid, notes, traces = settings.grid, [], []
  for source in recording.labels:
    times, trace, said = read_trace(source, settings)
    traces.append((times, trace))
    notes += [note for note in said if note not in notes]
  end = min((times[-1] for times, _ in traces), default=None)
  interval = max((resample.interval(times, grid) for times, _ in traces), default=grid.step_seconds)
  traces, annotated = _annotated(traces, settings.labels)
  return Labels(traces, annotated, end, interval, notes)


def place(
  recording: Recording, labels: Labels, settings: Settings, steps: int
) -> tuple[np.ndarray, np.ndarray, list[str]]:
  """Puts the labels on the grid.

  Returns:
    [T, K] float32: numbers in [−1, 1], or numbers of classes; [T] float32 mask, 1 where every target has a label; and
    notes.

  Raises:
    DataError: too few steps have a label, a target has none, no such class, or a number out of the scale.
  """
  label, mask = _whole(recording, settings, steps) if recording.whole else _on_grid(labels.traces, settings, steps)
  return label, mask, _notes(recording, labels, settings, steps, int(mask.sum()))


def _annotated(traces, method):
  """The rows that have a label, and which share of them that is; no trace where a target has none at all.

  Where labels hold until the next row, rows without one stay (NaN): they end what was held.
  """
  share = min((float(np.mean(np.isfinite(trace))) for _, trace in traces), default=1.0)
  if not share:
    return [], share
  if method == 'hold':
    return traces, share
  return [(times[np.isfinite(trace)], trace[np.isfinite(trace)]) for times, trace in traces], share


def _on_grid(traces, settings, steps):
  """[T, K] float32 in [−1, 1], and [T] float32 mask: 1 where every target has a label."""
  label = np.zeros((steps, len(settings.targets)), np.float32)
  mask = np.zeros(steps, np.float32)
  if traces:
    mask[:] = 1
    for k, (target, (times, trace)) in enumerate(zip(settings.targets, traces, strict=True)):
      gain, offset = settings.label_scale()[target]
      placed, has_label = resample.on_grid(times, trace, steps, settings.grid, settings.labels)
      there = np.isfinite(placed)
      label[:, k] = gain * np.where(there, placed, 0) + offset
      mask *= has_label * there
    label[mask == 0] = 0
  return label, mask


def _whole(recording, settings, steps):
  """As `_on_grid`, of labels that hold for the whole recording.

  Raises:
    DataError: a target has none, no such class, or a number out of the scale.
  """
  values = []
  for target in settings.targets:
    said, where = recording.whole.get(target), f'{recording.recording}: {target}'
    if target in settings.classes:
      if said not in settings.classes[target]:
        raise DataError(f'{where} is {said!r}; expected one of {", ".join(settings.classes[target])}')
      values.append(settings.classes[target].index(said))
    else:
      low, high = settings.range_of(target)
      if said is None or not low - settings.label_slack <= said <= high + settings.label_slack:
        raise DataError(f'{where} is {said}; expected {low:g} to {high:g}')
      gain, offset = settings.label_scale()[target]
      values.append(gain * said + offset)
  return np.tile(np.array(values, np.float32), (steps, 1)), np.ones(steps, np.float32)


def _notes(recording, labels, settings, steps, labelled) -> list[str]:
  """Says how the labels were placed where that is not plain to see.

  Raises:
    DataError: too few steps have one.
  """
  traces, annotated = labels.traces, labels.annotated
  if not annotated:
    return ['the corpus has no label here']
  if not traces:
    return []
  paths = ', '.join(dict.fromkeys(str(source.path) for source in recording.labels))
  gaps = [resample.longest_gap(times, settings.grid) for times, _ in traces]
  if labelled < MIN_LABELLED * annotated * steps:
    hint = (
      'they begin too late'
      if settings.labels == 'hold'
      else f'a line joins labels at most {max(gaps):.2f} s apart, half more than is usual in this file: give '
      '--labels=hold where a label holds until the next one'
    )
    raise DataError(
      f'{paths}: {labelled} of {steps} steps have a label, expected at least '
      f'{100 * MIN_LABELLED:.0f} %; {hint}, or leave the labels of this recording out'
    )
  if settings.labels == 'hold':
    return [f'every label holds until the next: {labelled} of {steps} steps have one']
  widest = [np.diff(times).max(initial=0) for times, _ in traces]
  hole = max((span for span, gap in zip(widest, gaps) if span > gap), default=0)
  interval = max(resample.interval(times, settings.grid) for times, _ in traces)
  notes = [f'the corpus has no label in {100 * (1 - annotated):.1f} % of its rows'] if annotated < 1 else []
  if interval > 1:  # second
    notes.append(f'labels every {interval:.2f} s, a line between them')
  if hole:
    notes.append(f'labels have holes of up to {hole:.2f} s: {labelled} of {steps} steps have one')
  return notes


def read_trace(source, settings):
  """(times, [N] trace in the corpus's own scale, notes) of one target; NaN where the corpus says there is no label."""
  low, high = settings.range_of(source.spread_of or source.target)
  if source.parse is not None:
    return _parsed_trace(source, settings, low, high)
  table = label_files.read_table(
    source.path,
    low=low - settings.label_slack,
    high=high + settings.label_slack,
    only=settings.targets if source.column is not None else None,
  )
  if source.column is not None:
    unread = [f'column {name[:40]} of the labels is no target: not read' for name in table.unread[:8]]
    return table.times, table.values[:, settings.targets.index(source.column)], unread
  trace, notes = _of_raters(source, table.values, settings, low, high)
  return table.times, trace, notes


def _parsed_trace(source, settings, low, high):
  """As `read_trace`, of a file that the corpus's reader parses."""
  table = source.parse(source.path)
  kept = [i for i, name in enumerate(table.columns) if name not in source.beside]
  values = table.values[:, kept if source.column is None else [table.columns.index(source.column)]]
  for row, column in np.argwhere(
    (values < low - settings.label_slack) | (values > high + settings.label_slack)  # False of NaN
  )[:1]:
    raise DataError(
      f'{source.path}, at {table.times[row]:g} s: {source.target} is {values[row, column]:g}; expected values from '
      f'{low:g} to {high:g}'
    )
  complete = np.isfinite(values).all(axis=1)
  trace = np.full(len(values), np.nan)
  if not complete.any():
    return table.times, trace, []
  trace[complete], notes = _of_raters(source, values[complete], settings, low, high)
  return table.times, trace, notes


def _of_raters(source, values, settings, low, high):
  """([N] gold standard of ratings [N, R], or their spread; notes)."""
  if source.spread_of:
    try:
      return gold_standard.spread(values), []
    except DataError as e:
      raise DataError(f'{source.path}: {e}') from None
  trace = gold_standard.gold_standard(values, settings.recipe)
  raters = values.shape[1]
  furthest = trace[np.argmax(np.abs(trace - (low + high) / 2))]
  if raters == 1 or low - 1e-9 <= furthest <= high + 1e-9:
    return trace, []
  # The offset of `ccc_centred` can carry a trace past the end of the scale, and raters pass it by rounding.
  if not low - settings.label_slack <= furthest <= high + settings.label_slack:
    raise DataError(
      f'{source.path}: the gold standard of {raters} raters ({settings.recipe}) reaches {furthest:.2f}, '
      f"expected {low:g} to {high:g}; look at the raters' scales, or give another --gold_standard"
    )
  return (
    np.clip(trace, low, high),
    [f'gold standard of {source.target} reached {furthest:.2f}: clipped to {low:g} … {high:g}'],
  )
