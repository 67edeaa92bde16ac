"""Figures of traces: predictions in time (as the paper's Fig. 3), and against the gold standard; the style of all.

Drawn on Figure objects, without pyplot and its global state. Colours: Okabe and Ito's, safe for the colour-blind;
what matters differs in width too.
"""

from collections.abc import Mapping, Sequence
import io
import logging
import math
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
import numpy as np

from data_prep.schema.manifest import PARTITIONS
from e2e_affect.traces import metrics
from e2e_affect.traces.traces import Trace

GOLD, RAW, FINAL, NO_FACE = '#1a1a1a', '#E69F00', '#0072B2', '#d9d9d9'
_PEOPLE = ('#00795c', '#a3338a', '#8a6d00', '#5a4fcf', '#c2183a', '#5c6470')  # as on the page of a clip, colours.css
STYLE: dict[Any, Any] = {
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
logging.getLogger('matplotlib.font_manager').setLevel(logging.ERROR)  # the latter has no bold: nobody need know
_DENSITY = ListedColormap(matplotlib.colormaps['Blues'](np.linspace(0.2, 1, 256)))  # from visible to dark
_DPI = 150


def typical_recording(traces: Sequence[Trace]) -> int:
  """Index of the recording whose CCC (mean over targets) is the median; the lower of the two in the middle."""
  cccs = [float(np.mean(metrics.ccc_recording_mean([t]))) for t in traces]
  scored = sorted((ccc, i) for i, ccc in enumerate(cccs) if not math.isnan(ccc))
  return scored[(len(scored) - 1) // 2][1] if scored else 0


def recording(raw: Trace, processed: Trace | None, targets: Sequence[str]) -> Figure:
  """Gold standard and prediction in time, a panel per target; grey where no face was found."""
  final = raw if processed is None else processed
  with matplotlib.rc_context(STYLE):
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
            color=NO_FACE,
            lw=0,
            label='no face found' if first == np.argmax(lost) else None,
          )
      axes.plot(
        seconds,
        raw.prediction[:, k],
        color=FINAL if final is raw else RAW,
        lw=1.8 if final is raw else 0.8,
        label='prediction, raw',
      )
      if raw.scored.any():
        axes.plot(
          seconds,
          np.where(raw.scored, raw.gold[:, k], np.nan),
          color=GOLD,
          lw=1.4,
          ls=(0, (4, 1.5)),
          label='gold standard',
        )
      if final is not raw:
        axes.plot(seconds, final.prediction[:, k], color=FINAL, lw=2.2, label='prediction, post-processed')
      title = target.capitalize()
      if raw.scored.any():
        value = metrics.ccc(final.prediction[raw.scored, k], raw.gold[raw.scored, k])
        title += f'   CCC {value:z.2f}'
      axes.set_title(title)
      axes.set_ylabel(f'{target} [−1, 1]')
    panels[-1].set_xlabel('time [s]')
    panels[-1].set_xlim(0, len(seconds) * step)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=4)
    name = f'Recording {raw.recording}' + f' ({raw.partition})' * (raw.partition in PARTITIONS)
    figure.suptitle(name, x=0.01, ha='left', fontsize=13, parse_math=False)
  return figure


def of_person(number: int) -> str:
  """The colour of a person, whose number counts from 1."""
  return _PEOPLE[(number - 1) % len(_PEOPLE)]


def people(traces: Mapping[int, Trace], targets: Sequence[str]) -> Figure:
  """Predictions of several people in time, a panel per target; thin and dotted where a person's face was not found.

  Args:
    traces: of one recording: number of the person, from 1 -> trace.
    targets: K names, in the order of the traces' last axis.
  """
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(10, 1.2 + 2.5 * len(targets)), layout='constrained')
    panels = figure.subplots(len(targets), 1, sharex=True, squeeze=False)[:, 0]
    for number, trace in traces.items():
      seconds = np.arange(len(trace.prediction)) * trace.grid.step_seconds
      # A line goes on to the first step of what follows, so that both meet.
      lost = trace.face_found <= 0
      seen = ~lost | np.append(False, ~lost[:-1])
      of = {'color': of_person(number)}
      for k, axes in enumerate(panels):
        axes.plot(seconds, trace.prediction[:, k], lw=0.8, ls=':', **of)
        axes.plot(seconds, np.where(seen, trace.prediction[:, k], np.nan), lw=2.2, label=f'person {number}', **of)
    for axes, target in zip(panels, targets, strict=True):
      axes.set_title(target.capitalize())
      axes.set_ylabel(f'{target} [−1, 1]')
    panels[-1].set_xlabel('time [s]')
    panels[-1].set_xlim(0, len(seconds) * trace.grid.step_seconds)
    if any((trace.face_found <= 0).any() for trace in traces.values()):
      panels[0].plot([], [], lw=0.8, ls=':', color=GOLD, label='no face found')
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=6)
    figure.suptitle(f'Recording {trace.recording}', x=0.01, ha='left', fontsize=13, parse_math=False)
  return figure


def scatter(traces: Sequence[Trace], targets: Sequence[str], stage: str) -> Figure:
  """Density of prediction against gold standard over all scored steps, a panel per target.

  Args:
    traces: of one partition, with labels.
    targets: K names.
    stage: 'raw' or 'post-processed', for the title.
  """
  prediction, gold = metrics.pooled(traces)
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(4.8 * len(targets), 5), layout='constrained')
    panels = figure.subplots(1, len(targets), squeeze=False)[0]
    for k, (axes, target) in enumerate(zip(panels, targets, strict=True)):
      p, g = prediction[:, k], gold[:, k]
      # The axes cover 99.8 % of the steps on either axis: one outlier would shrink the rest to a dot.
      low, high = np.percentile([p, g], [0.1, 99.9])
      margin = 0.05 * (high - low) or 0.1
      limits = (low - margin, high + margin)
      axes.hexbin(g, p, gridsize=45, extent=(*limits, *limits), bins='log', mincnt=1, cmap=_DENSITY, lw=0.2)
      axes.plot(limits, limits, color=GOLD, lw=1, ls='--')
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


def png(figure: Figure) -> bytes:
  """The figure as PNG; equal figures give equal bytes."""
  content = io.BytesIO()
  with matplotlib.rc_context(STYLE):
    FigureCanvasAgg(figure).print_figure(content, format='png', dpi=_DPI, metadata={'Software': None})
  return content.getvalue()


def _runs(flags):
  """[T] bool -> (first, last + 1) of each run of True."""
  edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
  return list(zip(edges[::2], edges[1::2], strict=True))
