"""What a score would be with other people: 95 % intervals, and whether one predictor is better than another.

Subjects are what is drawn at random; the steps of a subject are far from independent, and an interval over steps would
be absurdly narrow. The moments of each subject are all that a pooled CCC needs. So a replicate is a sum of them, and
all replicates are one matrix product.

Plain percentiles over nine or fifteen subjects err too often: they spread as a mean of S - 1 subjects does, not of S,
and as a normal distribution where Student's with S - 1 degrees of freedom is due. Both are put right here:

* The interval of a CCC ends at percentiles further out (Hesterberg 2015, "What Teachers Should Know About the
  Bootstrap": expanded percentiles): with nine subjects at 0.7 and 99.3 % of the replicates, with fifteen at 1.3 and
  98.7 %. Percentiles never leave [-1, 1].
* The deviation of a difference over the replicates, times the root of S / (S - 1), is the standard error of a Student's
  t with S - 1 degrees of freedom. It gives p and the interval of the difference, so that these two agree.

Share of p below 0.05 in percent, of 4,000 made pairs each (± 0.4), of autocorrelated traces of people who differ:

    subjects                                                 9     15
    two predictors of one kind, as two seeds of a network
      plain percentiles                                     12.1    9.5
      expanded percentiles                                   5.5    6.0
      Student's t: this file                                 4.3    4.9
      exchanging the two labels of a subject at random       4.4    4.9
    a noisy one, and one without bias, of equal CCC
      Student's t: this file                                 4.6    6.0
      exchanging labels                                      4.1    5.3
    an accurate one that is shrunk, and one of equal CCC
      Student's t: this file                                 5.6    6.6
      exchanging labels                                      2.6    3.1

To exchange labels is exact for predictors of one kind, but finds less between those of different kinds. BCa was worse
than plain percentiles (14.0 and 12.3 of 1,000 pairs). In 1,000 cases the 95 % interval of a CCC held it in 94.1 % with
nine subjects and 94.2 % with fifteen; plain percentiles did in 88.6 and 92.1 %.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import itertools

import numpy as np
from scipy import special

from data_prep.core.errors import DataError
from e2e_affect.traces.metrics import Moments, ratio
from e2e_affect.traces.traces import Trace

REPLICATES = 10_000
_TAIL = 0.025


@dataclasses.dataclass(frozen=True)
class Comparison:
  """A against B, of each of K targets; NaN where fewer than two subjects have scored steps.

  Attributes:
    difference: [K] CCC of A minus that of B.
    interval: [K, 2], 95 %, of the difference.
    p: [K], of a difference as large as this or larger, either way, between predictors that are equally good. It is
      below 0.05 where the interval leaves 0 out.
  """

  difference: np.ndarray
  interval: np.ndarray
  p: np.ndarray


def interval(of_seeds: Sequence[Sequence[Trace]], seed: int) -> np.ndarray:
  """95 % interval of the pooled CCC.

  Args:
    of_seeds: the traces of one partition, by each training of the predictor; of several the mean CCC is taken.
    seed: the same seed gives the same interval.

  Returns:
    [K, 2], NaN where fewer than two subjects have scored steps.

  Raises:
    DataError: the trainings are not of the same steps.
  """
  _check_same_steps(of_seeds)
  sums = [_Sums.of(traces) for traces in of_seeds]
  if len(sums[0].count) < 2:
    return np.full((sums[0].centred.shape[2], 2), np.nan)
  replicates = _mean_ccc(sums, _draws(len(sums[0].count), seed))
  return _percentiles(replicates, len(sums[0].count))


def interval_of(statistic: Callable[[np.ndarray], np.ndarray], of_subjects: np.ndarray, seed: int) -> np.ndarray:
  """95 % interval of a number that is made of a sum over subjects.

  Args:
    statistic: sums [R, …] -> [R]; NaN where there is no number.
    of_subjects: [S, …] what each subject adds.
    seed: the same seed gives the same interval.

  Returns:
    [2], NaN where there are fewer than two subjects.
  """
  if len(of_subjects) < 2:
    return np.full(2, np.nan)
  sums = _draws(len(of_subjects), seed) @ of_subjects.reshape(len(of_subjects), -1)
  replicates = statistic(sums.reshape(-1, *of_subjects.shape[1:]))
  return _percentiles(replicates[~np.isnan(replicates), None], len(of_subjects))[0]


def rmse_interval(traces: Sequence[Trace], seed: int) -> np.ndarray:
  """95 % interval of the root mean squared error over all scored steps; arguments and result as of `interval`."""
  of_subject: dict[str, np.ndarray] = {}
  for trace in traces:
    squares = (trace.prediction[trace.scored].astype(np.float64) - trace.gold[trace.scored]) ** 2
    sums = np.array([squares.sum(axis=0), np.full(squares.shape[1], float(len(squares)))])
    if len(squares):
      of_subject[trace.subject] = of_subject.get(trace.subject, 0) + sums
  of_subjects = np.array([of_subject[name] for name in sorted(of_subject)])  # [S, 2, K]
  rmse = lambda sums: np.sqrt(sums[:, 0] / sums[:, 1])
  return np.array([interval_of(rmse, of_subjects[:, :, k], seed) for k in range(of_subjects.shape[2])])


def better(a_of_seeds: Sequence[Sequence[Trace]], b_of_seeds: Sequence[Sequence[Trace]], seed: int) -> Comparison:
  """Whether predictor A is better than B: a paired bootstrap, in which both meet the same people.

  Args:
    a_of_seeds: the traces of one partition, by each training of A; of several the mean CCC is taken.
    b_of_seeds: of B, of the same recordings; as many trainings or another number.
    seed: the same seed gives the same numbers.

  Raises:
    DataError: the traces are not of the same steps.
  """
  _check_same_steps([*a_of_seeds, *b_of_seeds])
  a, b = ([_Sums.of(traces) for traces in of_seeds] for of_seeds in (a_of_seeds, b_of_seeds))
  subjects = len(a[0].count)
  if subjects < 2:
    nan = np.full(a[0].centred.shape[2], np.nan)
    return Comparison(nan, np.stack([nan, nan], axis=1), nan)
  everybody = np.ones((1, subjects))
  difference = (_mean_ccc(a, everybody) - _mean_ccc(b, everybody))[0]  # [K]
  draws = _draws(subjects, seed)
  replicates = _mean_ccc(a, draws) - _mean_ccc(b, draws)  # [R, K]
  error = np.std(replicates, axis=0) * np.sqrt(subjects / (subjects - 1))  # [K]
  # A predictor against itself: no difference, and no error of it.
  t = np.divide(np.abs(difference), error, out=np.zeros_like(difference), where=error > 0)
  half = error * special.stdtrit(subjects - 1, 1 - _TAIL)
  interval_of = np.stack([difference - half, difference + half], axis=1)
  return Comparison(difference, interval_of, 2 * special.stdtr(subjects - 1, -t))


@dataclasses.dataclass(frozen=True)
class _Sums:
  """What each subject adds to a sum.

  Attributes:
    count: [S] scored steps.
    centred: [5, S, K] sums of prediction, gold standard, their squares and their product, relative to the means over
      all subjects, so that what is subtracted later loses no digits.
    bias: [K] difference of these means.
  """

  count: np.ndarray
  centred: np.ndarray
  bias: np.ndarray

  @classmethod
  def of(cls, traces: Sequence[Trace]) -> '_Sums':
    """Of the subjects with scored steps, sorted by name."""
    num_targets = traces[0].prediction.shape[1]
    of_subject: dict[str, Moments] = {}
    for trace in traces:
      if trace.scored.any():
        moments = of_subject.get(trace.subject, Moments.empty(num_targets))
        of_subject[trace.subject] = moments.update(trace.prediction, trace.gold, trace.mask)
    subjects = [of_subject[name] for name in sorted(of_subject)]
    whole = functools.reduce(Moments.merge, subjects, Moments.empty(num_targets))
    centred = [
      [
        m.count * (m.mean_p - whole.mean_p),
        m.count * (m.mean_g - whole.mean_g),
        m.sum_pp + m.count * (m.mean_p - whole.mean_p) ** 2,
        m.sum_gg + m.count * (m.mean_g - whole.mean_g) ** 2,
        m.sum_pg + m.count * (m.mean_p - whole.mean_p) * (m.mean_g - whole.mean_g),
      ]
      for m in subjects
    ]
    return cls(
      np.array([m.count for m in subjects]),
      np.reshape(centred, (len(subjects), 5, num_targets)).swapaxes(0, 1),
      whole.mean_p - whole.mean_g,
    )

  def ccc(self, draws: np.ndarray) -> np.ndarray:
    """[R, S], how often each subject is there -> [R, K]."""
    p, g, pp, gg, pg = draws @ self.centred / (draws @ self.count)[:, None]  # [R, K] each
    return ratio(2 * (pg - p * g), pp - p**2 + gg - g**2 + (p - g + self.bias) ** 2)


def _mean_ccc(sums, draws):
  return np.mean([of.ccc(draws) for of in sums], axis=0)


@functools.lru_cache(maxsize=4)  # a page compares many predictors on the same people
def _draws(subjects, seed):
  """[R, S]: how often each subject is drawn."""
  rng = np.random.default_rng(seed)
  return rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=REPLICATES).astype(np.float64)


def _percentiles(replicates, subjects):
  """[R, K] -> [K, 2]."""
  tail = special.ndtr(special.stdtrit(subjects - 1, _TAIL) * np.sqrt(subjects / (subjects - 1)))
  return np.quantile(replicates, [tail, 1 - tail], axis=0).T


def _check_same_steps(several):
  """Raises DataError where traces are of other recordings, or other steps of them have a gold standard."""
  first = {trace.recording: trace for trace in several[0]}
  for others in several[1:]:
    for trace in itertools.chain(others, several[0]):
      a, b = first.get(trace.recording), {t.recording: t for t in others}.get(trace.recording)
      if a is None or b is None:
        raise DataError(f'recording {trace.recording}: in one run and not in the other; compare runs on the same data')
      if a.subject != b.subject or not np.array_equal(a.scored, b.scored):
        raise DataError(
          f'recording {a.recording}: {int(a.scored.sum())} steps of {a.subject} have a gold standard in one run and '
          f'{int(b.scored.sum())} of {b.subject} in the other; compare runs on the same data'
        )
