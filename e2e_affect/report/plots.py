"""Figures of a run: its learning curves, and those that its head draws of the traces."""

from collections.abc import Mapping, Sequence
import itertools
import pathlib

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
import numpy as np

from data_prep.core import atomic
from e2e_affect.heads import Head
from e2e_affect.run.metric_writer import read_metrics
from e2e_affect.traces import figures
from e2e_affect.traces.traces import Trace

FIGURES_FOLDER = 'figures'
_COLOURS = ('#D55E00', '#0072B2', '#009E73', '#CC79A7')


def write_figures(
  workdir, results: dict, traces: Mapping[str, Sequence[Trace]], head: Head, targets: Sequence[str]
) -> list:
  """Writes `figures/*.png` of a run after its evaluation.

  `learning_curves.png` from `metrics.jsonl` (where there is one), and of every partition those of the head: of
  regression `<partition>_trace.png` and `<partition>_scatter.png`.

  Args:
    workdir: of the run.
    results: what `results.evaluate_traces` returned for these traces.
    traces: partition -> raw predictions.
    head: whose outputs they are.
    targets: K names.

  Returns:
    The paths written.

  Raises:
    WorkdirError, DiskFullError: a file cannot be written.
  """
  folder = pathlib.Path(workdir) / FIGURES_FOLDER
  fitted = results['postprocessing']
  drawn = {}
  rows = read_metrics(workdir)
  if rows:
    drawn['learning_curves'] = learning_curves(rows, head, targets)
  for partition, raw in traces.items():
    processed = head.apply(fitted, raw) if fitted['fitted_on'] else None
    for name, figure in head.figures(raw, processed, targets).items():
      drawn[f'{partition}_{name}'] = figure
  paths = []
  for name, figure in drawn.items():
    paths.append(folder / f'{name}.png')
    atomic.write(paths[-1], figures.png(figure))
  return paths


def learning_curves(rows: Sequence[dict], head: Head, targets: Sequence[str]) -> Figure:
  """Loss, scores, gradient norm and learning rate over updates.

  Args:
    rows: of `metric_writer.read_metrics`.
    head: whose scores are drawn.
    targets: K names.
  """
  train = [row for row in rows if row['kind'] == 'train']
  validation = [row for row in rows if row['kind'] == 'validation']
  with matplotlib.rc_context(figures.STYLE):
    figure = Figure(figsize=(10, 6.6), layout='constrained')
    (loss, scores), (norm, rate) = figure.subplots(2, 2, sharex=True)
    loss.plot(*_curve(train, 'loss'), color=figures.FINAL, lw=1.4)
    loss.set(title='Training loss', ylabel='loss')
    curves = head.curves(targets)
    for (name, words), colour in zip(curves.items(), itertools.cycle(_COLOURS), strict=False):
      scores.plot(*_curve(train, name), color=colour, lw=0.9, alpha=0.5, label=f'{words}, training')
      scores.plot(*_curve(validation, name), color=colour, lw=2, marker='o', ms=4, label=f'{words}, validation')
    updates, values = _curve(validation, head.best_score)
    if np.isfinite(values).any():
      best = updates[(np.nanargmin if head.best_is_lowest else np.nanargmax)(values)]
      scores.axvline(best, color=figures.GOLD, lw=1, ls=':', label=f'best on validation, update {best}')
    top = None if head.best_is_lowest else 1
    scores.set(title=head.measure, ylabel=head.measure, ylim=(min(0, scores.get_ylim()[0]), top))
    figure.legend(*scores.get_legend_handles_labels(), loc='outside lower center', ncols=min(len(curves) + 1, 4))
    norm.plot(*_curve(train, 'grad_norm'), color=figures.FINAL, lw=1)
    norm.set(title='Gradient norm', ylabel='L2 norm', xlabel='update', yscale='log')
    norm.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    norm.yaxis.set_major_formatter('{x:g}')
    norm.yaxis.set_minor_formatter(NullFormatter())
    rate.plot(*_curve(train, 'learning_rate'), color=figures.FINAL, lw=1.4)
    rate.set(title='Learning rate', ylabel='learning rate', xlabel='update', ylim=(0, None))
    rate.ticklabel_format(axis='y', style='sci', scilimits=(-3, 3))
  return figure


def _curve(rows, name):
  """(steps, values) of the rows that carry `name`."""
  carrying = [row for row in rows if name in row]
  return np.array([row['step'] for row in carrying], int), np.array([row[name] for row in carrying], float)
