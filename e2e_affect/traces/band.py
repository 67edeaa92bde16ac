"""A band around post-processed predictions, of the width that holds 90 % of the gold standard in people of validation.

Steps of one person are far from exchangeable: an error lasts for seconds, and some people are misread throughout. So
people are what is exchanged, as in conformal prediction for hierarchical data (Dunn, Wasserman and Ramdas 2023; Lee,
Barber and Willett 2024). Of n people of validation, each weighs the same, however long the recordings are, and the
band's half width is the smallest with which the mean of the people's coverages is 90 %.

What follows for a person drawn from the same kind, whatever the errors are distributed like: let F_i(h) be the share of
the steps of person i whose error is at most h, and let h reach 0.9 n in the sum over the n people. With the new person
the sum is at least 0.9 n and, but for ties, below 0.9 n + 1; all n + 1 people are equally likely to be the new one. The
expected coverage lies therefore from 0.9 n / (n + 1) to (0.9 n + 1) / (n + 1): from 81 to 91 % with nine people. How
many of the steps of one given person lie inside is not said at all.

The low end is for people who have nothing in common. With nine made people the expected coverage was 90.0 % where all
are alike, 89.3 % where biases vary as much as a person's errors do, and 87.6 % where they vary twice as much and the
size of errors differs, too. A low end of 90 % would need a band as wide as the largest error of any step. With one half
way between, from 85 to 95 %, coverage was 92 to 94.5 %. On 400 divisions of the 18 people of the simulated corpus's
validation and test into nine and nine, this band held 89.6 % of the others' arousal and 89.9 % of their valence.

Where a head says one number a recording, its recordings take the place of steps: of people with one recording each,
this is split conformal prediction as it is common.

Post-processing is fitted on the same people. The errors of a person are therefore taken after post-processing that was
fitted without this person. The checkpoint was chosen on them, too; that is not undone.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from e2e_affect.traces import metrics, postprocess
from e2e_affect.traces.traces import Trace

LEVEL = 0.9
MIN_SUBJECTS = 5  # with fewer, the expected coverage could be anything from 72 %
# A band of at least this share of a constant's width tells no more of a single moment than the constant does. The CCC
# need not be 0 for that: where traces vary as much as the gold standard, the variance of the error is 2 (1 - r) times
# that of the gold standard, so that errors are smaller than a constant's only if the correlation is above 0.5.
NOTHING_KNOWN = 0.95
_GROUPS = 10  # of people that are left out of the post-processing together: it is fitted at most this often


def fit(traces: Sequence[Trace], targets: Sequence[str], of: str = 'steps') -> dict:
  """The band of each target.

  Args:
    traces: raw, of the partition that post-processing is fitted on; recordings without labels are left out.
    targets: K names, in the order of the traces' last axis.
    of: what has a value of its own: 'steps'; or 'recordings', then each trace is one step, and is not post-processed.

  Returns:
    For JSON: `{"level", "of", "subjects": n, "expected": [lowest, highest], "half_width": {target: h}, "of_constant":
    {target: h}}`. `of` is left out where it is 'steps'. `expected` is the expected coverage of a new person;
    `of_constant` the half width of a band around the mean of the gold standard, made alike. With too few people
    `{"level", "subjects": n, "reason"}`.
  """
  traces = [t for t in traces if t.scored.any()]
  subjects = sorted({t.subject for t in traces})
  count = len(subjects)
  if count < MIN_SUBJECTS:
    people = f'{count} {"person" if count == 1 else "people"}'
    reason = f'{postprocess.FITTED_ON} has labels of {people}; a band needs {MIN_SUBJECTS}'
    return {'level': LEVEL, 'subjects': count, 'reason': reason}
  errors: dict[str, list[np.ndarray]] = {subject: [] for subject in subjects}
  of_constant: dict[str, list[np.ndarray]] = {subject: [] for subject in subjects}
  for first in range(min(count, _GROUPS)):
    left_out = set(subjects[first::_GROUPS])
    others = [t for t in traces if t.subject not in left_out]
    mine = [t for t in traces if t.subject in left_out]
    mean = metrics.pooled(others)[1].mean(axis=0)
    for trace in mine if of == 'recordings' else postprocess.apply(postprocess.fit(others, targets), mine):
      errors[trace.subject].append(_errors(trace))
      of_constant[trace.subject].append(np.abs(mean - trace.gold[trace.scored]))
  return {
    'level': LEVEL,
    **({} if of == 'steps' else {'of': of}),
    'subjects': count,
    'expected': [LEVEL * count / (count + 1), (LEVEL * count + 1) / (count + 1)],
    'half_width': _half_widths(errors, targets),
    'of_constant': _half_widths(of_constant, targets),
  }


def of_another_run(postprocessing: dict) -> dict:
  """The post-processing of another run without its band, which is about the errors of that run's network."""
  if 'band' not in postprocessing:
    return postprocessing
  return {**postprocessing, 'band': {'level': LEVEL, 'reason': 'the post-processing is that of another run'}}


def half_widths(fitted: Mapping, targets: Sequence[str]) -> np.ndarray | None:
  """[K] half widths of what `fit` returned, or None where there is no band.

  Args:
    fitted: what `fit` returned; {} where an earlier version fitted none.
    targets: K names, in any order.
  """
  if 'half_width' not in fitted:
    return None
  return np.array([fitted['half_width'][target] for target in targets], np.float64)


def ends(fitted: Mapping, traces: np.ndarray, targets: Sequence[str]) -> dict[str, np.ndarray]:
  """`<target>_low` and `<target>_high` [T] float32 of every target; {} where there is no band.

  Args:
    fitted: what `fit` returned, or {}.
    traces: [T, K], post-processed, if the head does that.
    targets: K names.
  """
  width = half_widths(fitted, targets)
  if width is None:
    return {}
  found: dict[str, np.ndarray] = {}
  for k, target in enumerate(targets):
    found |= {
      f'{target}_low': traces[:, k] - np.float32(width[k]),
      f'{target}_high': traces[:, k] + np.float32(width[k]),
    }
  return found


def coverage(fitted: Mapping, traces: Sequence[Trace], targets: Sequence[str]) -> dict[str, float] | None:
  """Target -> the share of all scored steps that lies in the band; None where there is no band, or no label.

  Args:
    fitted: what `fit` returned, or {}.
    traces: post-processed, if the head does that, of any partition.
    targets: K names, in the order of the traces' last axis.
  """
  width = half_widths(fitted, targets)
  errors = [_errors(trace) for trace in traces if trace.scored.any()]
  if width is None or not errors:
    return None
  return dict(zip(targets, map(float, (np.concatenate(errors) <= width).mean(axis=0)), strict=True))


def in_words(fitted: Mapping, targets: Sequence[str]) -> list[str]:
  """What the band is and what it is worth: a paragraph, then a line a target; none where there never was a band.

  Args:
    fitted: what `fit` returned, or {}.
    targets: K names.
  """
  if not fitted:
    return []
  level = f'{100 * fitted["level"]:g} %'
  if 'reason' in fitted:
    return [f'There is no {level} band: {fitted["reason"]}.']
  widths = ' and '.join(f'{target} ±{fitted["half_width"][target]:.3f}' for target in targets)
  low, high = (f'{100 * share:.0f}' for share in fitted['expected'])
  one, processed, fitted_to_others = {
    'steps': ('moment', 'post-processed ', ', and each post-processed by what was fitted to the others'),
    'recordings': ('recording', '', ''),
  }[fitted.get('of', 'steps')]
  said = [
    f'The {level} band is {widths} around the {processed}values. It held {level} of the gold standard of the '
    f'{fitted["subjects"]} people of {postprocess.FITTED_ON}, each weighing the same{fitted_to_others}. A new person '
    f'of their kind is expected to have from {low} to {high} % of the {fitted.get("of", "steps")} inside; one given '
    'person may have far fewer or more.'
  ]
  for target in targets:
    constant = fitted['of_constant'][target]
    share = fitted['half_width'][target] / constant if constant else np.inf
    mean = f'the band of always saying the mean, ±{constant:.3f}'
    if share < NOTHING_KNOWN:
      said.append(f'{target}: {100 * share:.0f} % as wide as {mean}.')
    else:
      said.append(
        f'{target}: {"wider" if share > 1 else "hardly narrower"} than {mean}: of a single {one} nothing is known.'
      )
  return said


def _errors(trace):
  """[N, K] how far the prediction is from the gold standard in the scored steps, float64."""
  return np.abs(trace.prediction[trace.scored].astype(np.float64) - trace.gold[trace.scored])


def _half_widths(errors, targets):
  """Subject -> absolute errors [N, K] of each recording; -> target -> the width that holds `LEVEL` of the subjects."""
  of_subjects = [np.concatenate(rows) for rows in errors.values()]
  weight = np.concatenate([np.full(len(rows), 1 / len(rows)) for rows in of_subjects]) / len(of_subjects)
  widths = {}
  for k, target in enumerate(targets):
    values = np.concatenate([rows[:, k] for rows in of_subjects])
    order = np.argsort(values)
    held = np.cumsum(weight[order])
    widths[target] = float(values[order][np.searchsorted(held, LEVEL - 1e-9)])  # the sum of weights is rounded
  return widths
