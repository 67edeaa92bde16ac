"""Units of the recurrent part that follow what prosody is described by (paper, section V-B, Fig. 2).

NOTE(paper): there the three units that tell most of the gold standard were taken, and the acoustic features that they
follow best were found afterwards, it seems on the recording that is shown. Here the features are named first: range of
RMS energy, loudness and mean F0. Their units are chosen on validation, and the recording that is shown is one of test.
So rho is what the unit does on people that nothing was chosen on.

NOTE: a high rho alone does not say that training taught a unit the feature: of 256 random units some follow loudness.
On four recordings each of validation and test of the simulated corpus, the demo's speech network had a mean rho on test
of .78, .86 and .80 (in the order above); the same network before training had .72 to .74, .84 and .71 (two seeds).
"""

from collections.abc import Callable, Sequence
import functools
import pathlib
from typing import cast

from absl import logging
import jax
import matplotlib
from matplotlib.figure import Figure
import ml_collections
import numpy as np
from scipy.optimize import linear_sum_assignment

from data_prep import features as acoustic
from data_prep.core import atomic
from data_prep.core.errors import DataError
from data_prep.features import store
from e2e_affect.evaluate import chunks, predictor
from e2e_affect.layers import recurrent
from e2e_affect.models import affect, devices
from e2e_affect.paper import trained
from e2e_affect.traces import figures
from e2e_affect.traces.traces import Trace

# Title, set of features, column: openSMILE's functionals over a window that ends at the step.
FEATURES = (
  ('Range of RMS energy', 'compare', 'pcm_RMSenergy_sma_range'),
  ('Loudness', 'egemaps', 'loudness_sma3_amean'),
  ('Mean F0', 'egemaps', 'F0semitoneFrom27.5Hz_sma3nz_amean'),
)


def figure(workdir: str | pathlib.Path, out_png: str | pathlib.Path) -> dict:
  """Draws, of the first test recording by name, three units of the last LSTM layer and the features that they follow.

  Args:
    workdir: of a network with speech.
    out_png: the file to write.

  Returns:
    For JSON: `caption`, `recording`, and of each feature a row of `units`: `feature`, `set`, `column`, `unit` (from 0),
    `turned_over` (it falls where the feature rises), and rho: `rho` on the recording shown, `rho_validation` and
    `rho_test`, the means over these partitions' recordings.

  Raises:
    UserError: no run there, one without speech, or openSMILE is not installed.
    DataError: no recording to choose units on, or none to show.
    CheckpointError: no usable checkpoint.
  """
  run = trained.Run.read(workdir)
  series = _series(run)  # first: openSMILE may be absent
  states = {partition: hidden_states(run, partition) for partition in ('validation', 'test')}
  rho = {
    partition: np.stack([correlations(trace.prediction, series(trace.recording)) for trace in of])  # [N, F, H]
    for partition, of in states.items()
  }
  units, turned = choose(rho['validation'])
  shown = states['test'][0]
  sign = np.where(turned, -1, 1)
  # [F]
  of_units = {partition: (sign * values[:, np.arange(len(FEATURES)), units]).T for partition, values in rho.items()}
  rows = []
  for k, (title, name, column) in enumerate(FEATURES):
    rows.append(
      {
        'feature': title,
        'set': name,
        'column': column,
        'unit': int(units[k]),
        'turned_over': bool(turned[k]),
        'rho': _number(of_units['test'][k, 0]),
        'rho_validation': _number(_mean(of_units['validation'][k])),
        'rho_test': _number(_mean(of_units['test'][k])),
      }
    )
  drawn = _draw(shown, sign * shown.prediction[:, units], series(shown.recording), rows)
  atomic.write(pathlib.Path(out_png), figures.png(drawn))
  return {'caption': _caption(shown, rows, len(states['test'])), 'recording': shown.recording, 'units': rows}


def hidden_states(run: trained.Run, partition: str) -> list[Trace]:
  """The hidden states of the last LSTM layer over whole recordings; of bidirectional networks that of forward reading.

  Args:
    run: the network.
    partition: 'train', 'validation' or 'test'.

  Returns:
    A trace a recording, sorted by name, whose `prediction` [T, H] are the states.

  Raises:
    DataError: the partition is empty.
  """
  config = ml_collections.ConfigDict(run.config)
  config.data.label_delay_steps = 0  # predictions are moved by that, and states stay
  logging.info('hidden states over the %s partition', partition)
  step = functools.partial(
    _states_step,
    model=affect.make_model(config, run.manifest, None),
    config=ml_collections.FrozenConfigDict(config),
    context=chunks.context_steps(config.model, run.manifest.grid),
  )
  network = predictor.NetworkPredictor(
    devices.replicate(run.variables), devices.spread(step, donate=2), config, run.manifest
  )
  found = network.predict(partition)
  if not found:
    raise DataError(
      f'{config.data.dir}: the {partition} partition is empty; units are chosen on validation and shown on test'
    )
  return found


def _states_step(variables, batch, carry, *, model, config, context):
  """As `chunks.eval_step`, with hidden states [B, T, H] in place of predictions."""
  last = f'lstm_{config.model.recurrent.layers - 1}'
  inputs = affect.inputs_of(batch, model.config, config.augment, keys=None)
  (_, carry), kept = model.apply(
    variables,
    inputs,
    train=False,
    carry=carry,
    context=context,
    capture_intermediates=lambda module, _: module.name == last,
    mutable=['intermediates'],
  )
  ((_, states),) = kept['intermediates']['recurrent'][last]['__call__']
  return cast(jax.Array, states), cast(recurrent.Carry, carry)


def _series(run) -> Callable[[str], np.ndarray]:
  """What gives [T, F] of FEATURES for the name of a recording."""
  config, manifest = run.config, run.manifest
  loaded = {name: store.load(config.data.dir, manifest, name) for name in sorted({name for _, name, _ in FEATURES})}
  columns = [(loaded[name], loaded[name].columns.index(column)) for _, name, column in FEATURES]
  return lambda recording: np.stack([features.raw(recording)[:, place] for features, place in columns], axis=1)


def correlations(states: np.ndarray, features: np.ndarray) -> np.ndarray:
  """Pearson's correlation of every unit [T, H] with every feature [T, F]: [F, H], NaN where one is constant."""
  states, features = (_standardised(x) for x in (states, features))
  return features.T @ states / len(states)


def choose(rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """A unit for each feature, no unit twice, so that the sum of the absolute mean correlations is largest.

  Args:
    rho: [N, F, H], of N recordings; those where a feature or unit is constant (NaN) do not count.

  Returns:
    [F] units, and [F] whether the unit falls where the feature rises.

  Raises:
    DataError: a feature is constant in every recording.
  """
  counted = np.isfinite(rho)
  mean = np.where(counted, rho, 0).sum(axis=0) / np.maximum(counted.sum(axis=0), 1)  # [F, H]
  if not counted.any(axis=(0, 2)).all():
    raise DataError('an acoustic feature is constant in every validation recording: is there sound in them?')
  _, units = linear_sum_assignment(np.abs(mean), maximize=True)
  return units, mean[np.arange(len(units)), units] < 0


def _standardised(x):
  """[T, N] with mean 0 and variance 1, float64; NaN where it is constant."""
  x = np.asarray(x, np.float64)
  x = x - x[0]  # what is constant is 0 exactly
  deviation = x.std(axis=0)
  return (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, np.nan)


def _mean(values: Sequence[float] | np.ndarray):
  finite = np.asarray(values)[np.isfinite(values)]
  return finite.mean() if finite.size else float('nan')


def _number(value):
  """For JSON: null where there is none."""
  return round(float(value), 4) if np.isfinite(value) else None


def _rho(value):
  return '–' if value is None else f'{value:z.2f}'


def _caption(shown, rows, recordings):
  of_units = '; '.join(
    f'{row["feature"]}: unit {row["unit"]}'
    f'{", turned over" if row["turned_over"] else ""}, mean ρ {_rho(row["rho_validation"])} on validation and '
    f'{_rho(row["rho_test"])} on test'
    for row in rows
  )
  of_sets = {name: acoustic.FEATURES[name].defaults for _, name, _ in FEATURES}
  windows = ' and '.join(sorted({f'{options["window_seconds"]:g} s' for options in of_sets.values()}))
  hops = ', '.join(f'a window of {name} every {options["hop_seconds"]:g} s' for name, options in of_sets.items())
  return (
    f'Units of the last LSTM layer and acoustic features, over test recording {shown.recording}, the first by name of '
    f'{recordings}. The units were chosen by correlation on validation. {of_units}. Features are by openSMILE over '
    f'windows of {windows} that end at the step: {hops}. '
    'A high ρ alone does not say that training taught a unit the feature: of random units some follow loudness, too.'
  )


def _draw(shown, units, features, rows):
  """Draws unit and feature on one axis, a panel a feature."""
  seconds = np.arange(len(units)) * shown.grid.step_seconds
  with matplotlib.rc_context(figures.STYLE):
    drawn = Figure(figsize=(6, 6.6), layout='constrained')
    panels = drawn.subplots(len(rows), 1, sharex=True)
    for k, (axes, row) in enumerate(zip(panels, rows, strict=True)):
      name = f'unit {row["unit"]}{", turned over" if row["turned_over"] else ""}'
      feature, unit = (_standardised(x)[:, k] for x in (features, units))
      axes.plot(seconds, feature, color=figures.GOLD, lw=1.1, ls=(0, (4, 1.5)), label='acoustic feature')
      axes.plot(seconds, unit, color=figures.FINAL, lw=1.6, label='unit of the LSTM')
      axes.set_title(f'{row["feature"]}, {name}   ρ = {_rho(row["rho"])}')
    panels[len(rows) // 2].set_ylabel('standardised')
    panels[-1].set(xlabel='time [s]', xlim=(0, len(units) * shown.grid.step_seconds))
    drawn.legend(*panels[0].get_legend_handles_labels(), loc='outside lower center', ncols=2)
  return drawn
