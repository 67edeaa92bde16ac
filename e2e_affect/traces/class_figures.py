"""Figures of classes: which was taken for which, and how far probabilities can be believed."""

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure
import numpy as np

from e2e_affect.traces import classes, figures


def confusion(counts: np.ndarray, names: Sequence[str], title: str, things: str) -> Figure:
  """Counts as a table, coloured by their share of the row; the recall of each class at its end.

  Args:
    counts: [C, C], by the class of the label and the class predicted.
    names: C of the classes.
    title: of the figure.
    things: what is counted.
  """
  recall = classes.Confusion(counts).recall()
  shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
  with matplotlib.rc_context(figures.STYLE | {'axes.grid': False}):
    side = 2.4 + 0.75 * len(names)
    figure = Figure(figsize=(side + 1.4, side), layout='constrained')
    axes = figure.subplots()
    axes.imshow(shares, cmap='Blues', vmin=0, vmax=1.15, aspect='auto')  # not so dark that a number cannot be read
    for i, row in enumerate(counts):
      for j, count in enumerate(row):
        axes.text(j, i, f'{count:,}', ha='center', va='center', color='white' if shares[i, j] > 0.6 else '#1a1a1a')
    ticks = np.arange(len(names))
    axes.set_xticks(ticks, names, rotation=40, ha='right', rotation_mode='anchor')
    axes.set_yticks(ticks, names)
    axes.set(xlabel='predicted', ylabel='label', title=f'{title} ({counts.sum():,} {things})')
    ends = axes.secondary_yaxis('right')
    ends.set_yticks(ticks, ['–' if np.isnan(r) else f'{r:.2f}' for r in recall])
    ends.set_ylabel('recall')
    for spine in (*axes.spines.values(), *ends.spines.values()):
      spine.set_visible(False)
    for of in (axes, ends):
      of.tick_params(length=0)
  return figure


def reliability(raw: Sequence[dict], calibrated: Sequence[dict] | None) -> Figure:
  """How often the most probable class is right, by its probability; and how often it has which probability.

  Args:
    raw: of each bin `count`, `confidence` and `right`, as `results.json` has them.
    calibrated: the same after calibration, or None.
  """
  with matplotlib.rc_context(figures.STYLE):
    figure = Figure(figsize=(9, 4.2), layout='constrained')
    axes, counts = figure.subplots(1, 2)
    axes.plot([0, 1], [0, 1], color=figures.GOLD, lw=1, ls='--', label='as sure as right')
    for bins, colour, label in ((raw, figures.RAW, 'raw'), (calibrated, figures.FINAL, 'calibrated')):
      if bins is not None:
        confidence, right = ([of[name] for of in bins] for name in ('confidence', 'right'))
        axes.plot(confidence, right, color=colour, lw=1.8, marker='o', ms=4, label=label)
        counts.plot(confidence, [of['count'] for of in bins], color=colour, lw=1.8, marker='o', ms=4)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel='highest probability', ylabel='share that is right')
    axes.set_title('Calibration')
    axes.legend(loc='upper left')
    counts.set(xlim=(0, 1), ylim=(0, None), xlabel='highest probability', ylabel='how many')
    counts.set_title('How sure')
  return figure
