"""Post-processing of predictions (paper, section V): median filter, centring, scaling, time shift, in this order.

Fitted on the validation partition alone and applied unchanged to any other; every step works on one recording at a
time, never across recordings.

NOTE(paper): the paper keeps a step "when an improvement is observed" on validation. With some ten recordings and
hundreds of candidates an improvement is always observed; on real traces gains under about 0.02 CCC did not survive
on recordings that the fit had not seen. A step must therefore gain more than `MIN_GAIN`.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import re

import numpy as np
from scipy import ndimage

from data_prep.schema.grid import Grid
from e2e_affect.traces import metrics
from e2e_affect.traces.traces import Trace

MIN_GAIN = 0.02  # pooled validation CCC
FITTED_ON = 'validation'
# Each about √2 times the one before: the paper's range is 0.4 s to 20 s.
MEDIAN_SECONDS = (0.44, 0.6, 0.84, 1.16, 1.72, 2.44, 3.48, 4.92, 7.0, 9.96, 14.12, 19.96)
LONGEST_SHIFT_SECONDS = 10.0


def median_steps(grid: Grid) -> list[int]:
  """Lengths of the windows to try; odd, so that a window has a middle and delays nothing."""
  # The odd number nearest to the seconds; 1 where a step is longer.
  halves = [grid.steps((seconds - grid.step_seconds) / 2) for seconds in MEDIAN_SECONDS]
  return list(dict.fromkeys(2 * max(0, half) + 1 for half in halves))


def shift_steps(grid: Grid) -> range:
  """Shifts to try: every step up to the longest."""
  return range(1, max(1, grid.steps(LONGEST_SHIFT_SECONDS)) + 1)


def median_filter(values: np.ndarray, steps: int) -> np.ndarray:
  """[T] -> [T], median over a window of `steps` around each step.

  The ends see the recording mirrored (d c b a | a b c d), not zeros: zeros would pull both ends of every recording
  towards 0. A window longer than the recording shrinks to the recording.
  """
  longest = len(values) - 1 + len(values) % 2
  return ndimage.median_filter(values, size=min(steps, longest), mode='reflect')


def centring(values: np.ndarray, bias: float) -> np.ndarray:
  """[T] -> [T], `bias` added: gold standard's mean minus prediction's, over all of validation."""
  return values + bias


def scaling(values: np.ndarray, factor: float, mean: float) -> np.ndarray:
  """[T] -> [T], scaled around validation's mean; `(values + bias) · factor` would undo the centring."""
  return mean + factor * (values - mean)


def time_shift(values: np.ndarray, steps: int) -> np.ndarray:
  """[T, …] -> [T, …], moved later by `steps`: raters react late, so the gold standard lags what the network saw.

  The first steps hold the first value; the last values fall off the end.
  """
  return values[np.maximum(np.arange(len(values)) - steps, 0)]


def shifted(params: Mapping, target: str) -> int:
  """By how many steps what `fit` returned shifts a target; 0 where it was not fitted, or has no such target."""
  shift = params.get('targets', {}).get(target, {}).get('time_shift', {})
  return int(shift['steps']) if shift.get('kept') else 0


_STEPS: dict[str, Callable[..., np.ndarray]] = {
  'median_filter': median_filter,
  'centring': centring,
  'scaling': scaling,
  'time_shift': time_shift,
}


def fit(traces: Sequence[Trace], targets: Sequence[str], min_gain: float = MIN_GAIN) -> dict:
  """Chooses the steps and their numbers for each target by pooled CCC on validation.

  A step is kept if it gains more than `min_gain` over the steps kept before it, or over 0 where their CCC is negative.
  Any other, and one that has nothing to work on (scaling a constant prediction), is recorded with `kept: false` and not
  applied.

  Args:
    traces: of the validation partition, on one grid; recordings without labels are left out of the score.
    targets: K names, in the order of the traces' last axis.
    min_gain: CCC that a step must gain to be kept.

  Returns:
    What `apply` takes, ready for JSON: `{"fitted_on", "min_gain", "targets": {target: {"ccc_raw", step: {"kept",
    …its numbers, "ccc"}}}}`; `ccc` is validation's pooled CCC with this step upon the kept ones before it, null
    where the step had nothing to work on.

  Raises:
    ValueError: traces of another partition, or no scored step.
  """
  foreign = sorted({t.partition for t in traces} - {FITTED_ON})
  if foreign:
    raise ValueError(f'post-processing is fitted on {FITTED_ON} alone, got traces of {foreign}')
  traces = [t for t in traces if t.scored.any()]
  if not traces:
    raise ValueError(f'{FITTED_ON} has no step with a gold standard')
  _check_targets(traces, targets)
  scored = [t.scored for t in traces]
  return {
    'fitted_on': FITTED_ON,
    'min_gain': min_gain,
    'targets': {
      target: _fit_target(
        [t.prediction[:, k].astype(np.float64) for t in traces],
        [t.gold[:, k].astype(np.float64) for t in traces],
        scored,
        min_gain,
        traces[0].grid,
      )
      for k, target in enumerate(targets)
    },
  }


def apply(params: dict, traces: Sequence[Trace]) -> list[Trace]:
  """Post-processes traces of any partition; reads nothing but their predictions.

  Args:
    params: what `fit` returned.
    traces: with the targets of `params`, in the same order; see `of_targets`.

  Raises:
    ValueError: `params` were not fitted, or for another number of targets.
  """
  if not params.get('fitted_on'):
    raise ValueError(f'post-processing was not fitted: {params.get("reason")}')
  _check_targets(traces, list(params['targets']))
  processed = []
  for trace in traces:
    columns = []
    for k, of_target in enumerate(params['targets'].values()):
      values = trace.prediction[:, k].astype(np.float64)
      for name, step in _STEPS.items():
        if of_target[name]['kept']:
          values = step(values, **_numbers(of_target[name]))
      columns.append(values)
    processed.append(dataclasses.replace(trace, prediction=np.stack(columns, axis=1).astype(np.float32)))
  return processed


def of_targets(params: dict, targets: Sequence[str]) -> dict:
  """The same post-processing with its targets in the order of ours: `apply` goes by their order.

  Args:
    params: what `fit` returned, here or in another run.
    targets: K names, in the order of the traces' last axis.

  Raises:
    ValueError: it was fitted to other targets.
  """
  if not params.get('fitted_on'):
    return params
  if set(params['targets']) != set(targets):
    raise ValueError(f'post-processing of {", ".join(params["targets"])}, expected that of {", ".join(targets)}')
  return {**params, 'targets': {target: params['targets'][target] for target in targets}}


def in_words(params: dict, grid: Grid) -> dict[str, list[str]]:
  """What `fit` chose on a grid, as one sentence per step and target, for the report."""
  described: dict[str, list[str]] = {}
  for target, of_target in params['targets'].items():
    before, described[target] = of_target['ccc_raw'], []
    for name in _STEPS:
      step = of_target[name]
      if step['ccc'] is None:
        described[target].append(f'{_WORDS[name][0]}: nothing to work on, the prediction is constant.')
      elif step['kept']:
        described[target].append(
          f'{_WORDS[name][1].format(**_seconds(step, grid))}: validation CCC {before:.3f} → {step["ccc"]:.3f}.'
        )
        before = step['ccc']
      elif before < 0:
        described[target].append(
          f'{_WORDS[name][0]}: not kept, validation CCC {before:.3f} → {step["ccc"]:.3f} '
          f'(more than {params["min_gain"]:g} needed: to cancel a wrong trace is no gain).'
        )
      else:
        described[target].append(
          f'{_WORDS[name][0]}: not kept, the best gain on validation was '
          f'{step["ccc"] - before:+z.3f} (more than {params["min_gain"]:g} needed).'
        )
  # A minus where a hyphen stands before a number.
  return {
    target: [re.sub(r'-(?=\d)', '−', sentence) for sentence in sentences] for target, sentences in described.items()
  }


_WORDS = {
  'median_filter': ('Median filter', 'Median filter over {seconds:.2f} s'),
  'centring': ('Centring', 'Centring, {bias:+.3f} added'),
  'scaling': ('Scaling', 'Scaling by {factor:.3f} around {mean:+.3f}'),
  'time_shift': ('Time shift', 'Shifted {seconds:.2f} s later'),
}


def _fit_target(predictions, golds, scored, min_gain, grid):
  """predictions, golds, scored: one [T] per recording -> the parameters of one target."""
  gold = np.concatenate([g[s] for g, s in zip(golds, scored, strict=True)])

  def pool(values):
    return np.concatenate([v[s] for v, s in zip(values, scored, strict=True)])

  current = metrics.ccc(pool(predictions), gold)
  params = {'ccc_raw': current}
  for name, step in _STEPS.items():
    best, best_ccc, best_predictions = {}, None, None
    for numbers in _candidates(name, pool(predictions), gold, grid):
      tried = [step(values, **numbers) for values in predictions]
      tried_ccc = metrics.ccc(pool(tried), gold)
      if best_ccc is None or tried_ccc > best_ccc:  # of equals, the smallest window or shift
        best, best_ccc, best_predictions = numbers, tried_ccc, tried
    # A step that cancels a trace of negative CCC leads to 0: that is no gain.
    kept = best_ccc is not None and best_ccc > max(current, 0) + min_gain
    params[name] = {'kept': kept, **best, 'ccc': best_ccc}
    if kept:
      predictions, current = best_predictions, best_ccc
  return params


def _candidates(name, prediction, gold, grid):
  """The numbers that a step may take; prediction and gold [N] of all recordings."""
  if name == 'median_filter':
    return [{'steps': steps} for steps in median_steps(grid)]
  if name == 'time_shift':
    return [{'steps': steps} for steps in shift_steps(grid)]
  if name == 'centring':
    return [{'bias': float(np.mean(gold) - np.mean(prediction))}]
  if np.ptp(prediction) == 0:
    return []
  return [{'factor': float(np.std(gold) / np.std(prediction)), 'mean': float(np.mean(prediction))}]


def _numbers(step):
  return {name: value for name, value in step.items() if name not in ('kept', 'ccc')}


def _seconds(step, grid):
  return {**step, 'seconds': float(step.get('steps', 0) * grid.step)}


def _check_targets(traces, targets):
  for trace in traces:
    if trace.prediction.shape[1] != len(targets):
      raise ValueError(
        f'{trace.recording}: {trace.prediction.shape[1]} predictions per step for the targets {list(targets)}'
      )
