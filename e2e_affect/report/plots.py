"""Figures of a run: predictions in time (as the paper's Fig. 3), predictions against gold standard, learning curves.

Drawn on Figure objects, without pyplot and its global state. Colours: Okabe and Ito's, safe for the colour-blind;
what matters differs in width too.
"""

from collections.abc import Mapping, Sequence
import io
import math
import pathlib

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
import numpy as np

from data_prep.core import atomic
from e2e_affect.run.metric_writer import read_metrics
from e2e_affect.traces import metrics, postprocess
from e2e_affect.traces.traces import Trace

FIGURES_FOLDER = 'figures'
_GOLD, _RAW, _FINAL, _NO_FACE = '#1a1a1a', '#E69F00', '#0072B2', '#d9d9d9'
_TARGET_COLOURS = ('#D55E00', '#0072B2', '#009E73', '#CC79A7')
_STYLE = {
  'font.family': ['DejaVu Sans', 'Last Resort High-Efficiency'],  # the latter: a box for what the first lacks
  'font.size': 11,
  'axes.titlesize': 12,
  'axes.titleweight': 'bold',
  'axes.titlelocation': 'left',
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.edgecolor': '#8a8a8a',
  'axes.labelcolor': '#333333',
  'xtick.color': '#555555',
  'ytick.color': '#555555',
  'axes.grid': True,
  'grid.color': '#ececec',
  'axes.axisbelow': True,
  'legend.frameon': False,
  'savefig.facecolor': 'white',
}
_DENSITY = ListedColormap(matplotlib.colormaps['Blues'](np.linspace(0.2, 1, 256)))  # from visible to dark
_DPI = 150


def write_figures(workdir, results: dict, traces: Mapping[str, Sequence[Trace]], targets: Sequence[str]) -> list:
  """Writes `figures/*.png` of a run after its evaluation.

  `learning_curves.png` from `metrics.jsonl` (where there is one), and of every partition `<partition>_trace.png`, the
  recording whose CCC is the median of its partition, and `<partition>_scatter.png`, where it has labels.

  Args:
    workdir: of the run.
    results: what `results.evaluate_traces` returned for these traces.
    traces: partition -> raw predictions.
    targets: K names.

  Returns:
    The paths written.

  Raises:
    WorkdirError, DiskFullError: a file cannot be written.
  """
  folder = pathlib.Path(workdir) / FIGURES_FOLDER
  fitted = results['postprocessing']
  figures = {}
  rows = read_metrics(workdir)
  if rows:
    figures['learning_curves'] = learning_curves(rows, targets)
  for partition, raw in traces.items():
    processed = postprocess.apply(fitted, raw) if fitted['fitted_on'] else [None] * len(raw)
    i = typical_recording(raw)
    figures[f'{partition}_trace'] = recording(raw[i], processed[i], targets)
    if any(t.scored.any() for t in raw):
      final, stage = (processed, 'post-processed') if fitted['fitted_on'] else (raw, 'raw')
      figures[f'{partition}_scatter'] = scatter(final, targets, stage)
  paths = []
  for name, figure in figures.items():
    paths.append(folder / f'{name}.png')
    atomic.write(paths[-1], png(figure))
  return paths


def typical_recording(traces: Sequence[Trace]) -> int:
  """Index of the recording whose CCC (mean over targets) is the median, the lower of two; not the finest one."""
  cccs = [float(np.mean(metrics.ccc_recording_mean([t]))) for t in traces]
  scored = sorted((ccc, i) for i, ccc in enumerate(cccs) if not math.isnan(ccc))
  return scored[(len(scored) - 1) // 2][1] if scored else 0


def recording(raw: Trace, processed: Trace | None, targets: Sequence[str]) -> Figure:
  """Gold standard and prediction in time, a panel per target; grey where no face was found."""
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(10, 1.2 + 2.5 * len(targets)), layout='constrained')
    panels = figure.subplots(len(targets), 1, sharex=True, squeeze=False)[:, 0]
    step = raw.grid.step_seconds
    seconds = np.arange(len(raw.prediction)) * step
    lost = raw.face_found <= 0
    for k, (axes, target) in enumerate(zip(panels, targets, strict=True)):
      if lost.any():
        for first, last in _runs(lost):
          axes.axvspan(
            first * step,
            last * step,
            color=_NO_FACE,
            lw=0,
            label='no face found' if first == np.argmax(lost) else None,
          )
      raw_is_final = processed is None
      axes.plot(
        seconds,
        raw.prediction[:, k],
        color=_FINAL if raw_is_final else _RAW,
        lw=1.8 if raw_is_final else 0.8,
        label='prediction, raw',
      )
      if raw.scored.any():
        axes.plot(
          seconds,
          np.where(raw.scored, raw.gold[:, k], np.nan),
          color=_GOLD,
          lw=1.4,
          ls=(0, (4, 1.5)),
          label='gold standard',
        )
      if not raw_is_final:
        axes.plot(seconds, processed.prediction[:, k], color=_FINAL, lw=2.2, label='prediction, post-processed')
      title = target.capitalize()
      if raw.scored.any():
        final = raw if raw_is_final else processed
        value = metrics.ccc(final.prediction[raw.scored, k], raw.gold[raw.scored, k])
        title += f'   CCC {value:z.2f}'
      axes.set_title(title)
      axes.set_ylabel(f'{target} [−1, 1]')
    panels[-1].set_xlabel('time [s]')
    panels[-1].set_xlim(0, len(seconds) * step)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=4)
    name = f'Recording {raw.recording} ({raw.partition})'
    figure.suptitle(name, x=0.01, ha='left', fontsize=13, parse_math=False)
  return figure


def scatter(traces: Sequence[Trace], targets: Sequence[str], stage: str) -> Figure:
  """Density of prediction against gold standard over all scored steps, a panel per target.

  Args:
    traces: of one partition, with labels.
    targets: K names.
    stage: 'raw' or 'post-processed', for the title.
  """
  prediction, gold = metrics.pooled(traces)
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(4.8 * len(targets), 5), layout='constrained')
    panels = figure.subplots(1, len(targets), squeeze=False)[0]
    for k, (axes, target) in enumerate(zip(panels, targets, strict=True)):
      p, g = prediction[:, k], gold[:, k]
      # The axes cover 99.8 % of the steps on either axis: one outlier would shrink the rest to a dot.
      low, high = np.percentile([p, g], [0.1, 99.9])
      margin = 0.05 * (high - low) or 0.1
      limits = (low - margin, high + margin)
      axes.hexbin(g, p, gridsize=45, extent=(*limits, *limits), bins='log', mincnt=1, cmap=_DENSITY, lw=0.2)
      axes.plot(limits, limits, color=_GOLD, lw=1, ls='--')
      axes.set(
        xlim=limits,
        ylim=limits,
        aspect='equal',
        xlabel=f'gold standard, {target} [−1, 1]',
        ylabel=f'prediction, {target} [−1, 1]',
        title=f'{target.capitalize()}   CCC {metrics.ccc(p, g):z.2f}',
      )
    figure.suptitle(f'All recordings ({traces[0].partition}), {stage}', x=0.01, ha='left', fontsize=13)
  return figure


def learning_curves(rows: Sequence[dict], targets: Sequence[str]) -> Figure:
  """Loss, CCC, gradient norm and learning rate over updates.

  Args:
    rows: of `metric_writer.read_metrics`.
    targets: K names.
  """
  train = [row for row in rows if row['kind'] == 'train']
  validation = [row for row in rows if row['kind'] == 'validation']
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(10, 6.6), layout='constrained')
    (loss, cccs), (norm, rate) = figure.subplots(2, 2, sharex=True)
    loss.plot(*_curve(train, 'loss'), color=_FINAL, lw=1.4)
    loss.set(title='Training loss', ylabel='loss')
    for target, colour in zip(targets, _TARGET_COLOURS, strict=False):
      cccs.plot(*_curve(train, f'ccc_{target}'), color=colour, lw=0.9, alpha=0.5, label=f'{target}, training')
      cccs.plot(
        *_curve(validation, f'ccc_{target}'), color=colour, lw=2, marker='o', ms=4, label=f'{target}, validation'
      )
    updates, means = _curve(validation, 'ccc_mean')
    if np.isfinite(means).any():
      best = updates[np.nanargmax(means)]
      cccs.axvline(best, color=_GOLD, lw=1, ls=':', label=f'best on validation, update {best}')
    cccs.set(title='CCC', ylabel='CCC', ylim=(min(0, cccs.get_ylim()[0]), 1))
    figure.legend(*cccs.get_legend_handles_labels(), loc='outside lower center', ncols=min(len(targets) + 1, 4))
    norm.plot(*_curve(train, 'grad_norm'), color=_FINAL, lw=1)
    norm.set(title='Gradient norm', ylabel='L2 norm', xlabel='update', yscale='log')
    norm.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    norm.yaxis.set_major_formatter('{x:g}')
    norm.yaxis.set_minor_formatter(NullFormatter())
    rate.plot(*_curve(train, 'learning_rate'), color=_FINAL, lw=1.4)
    rate.set(title='Learning rate', ylabel='learning rate', xlabel='update', ylim=(0, None))
    rate.ticklabel_format(axis='y', style='sci', scilimits=(-3, 3))
  return figure


def png(figure: Figure) -> bytes:
  """The figure as PNG; equal figures give equal bytes."""
  content = io.BytesIO()
  with matplotlib.rc_context(_STYLE):
    FigureCanvasAgg(figure).print_figure(content, format='png', dpi=_DPI, metadata={'Software': None})
  return content.getvalue()


def _curve(rows, name):
  """(steps, values) of the rows that carry `name`."""
  carrying = [row for row in rows if name in row]
  return np.array([row['step'] for row in carrying], int), np.array([row[name] for row in carrying], float)


def _runs(flags):
  """[T] bool -> (first, last + 1) of each run of True."""
  edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
  return list(zip(edges[::2], edges[1::2], strict=True))
