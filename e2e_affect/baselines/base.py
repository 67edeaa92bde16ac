"""What rivals learn from and how they choose: the corpus as arrays, and scores on validation.

A rival sees train to learn, validation to choose, and of test the features alone. Its choices stand in `search.json`,
with everything that was tried.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
from typing import Any

import ml_collections
import numpy as np

from data_prep.core import progress
from data_prep.core.errors import DataError
from data_prep.features import store
from data_prep.schema.fields import Layout
from data_prep.schema.manifest import Manifest, PARTITIONS
from data_prep.shards import read
from e2e_affect import heads
from e2e_affect.evaluate.predictor import Predictor
from e2e_affect.heads.base import Metric
from e2e_affect.input import recordings
from e2e_affect.traces.traces import Trace

_FACE_FOUND = 'face_found'


@dataclasses.dataclass(frozen=True)
class Recording:
  """One recording, whole, without padding.

  Attributes:
    name, subject, partition: ids.
    gold: [T, K] float32; anything where the mask is 0.
    mask: [T] float32, 1 where there is a gold standard.
    face_found: [T] float32 in [0, 1]; 0 where the records hold no face.
  """

  name: str
  subject: str
  partition: str
  gold: np.ndarray
  mask: np.ndarray
  face_found: np.ndarray


@dataclasses.dataclass(frozen=True)
class Corpus:
  """A data folder for rivals.

  Attributes:
    manifest: of the folder.
    folder: of the shards.
    recordings: partition -> its recordings, sorted by name; all partitions are there, perhaps empty.
  """

  manifest: Manifest
  folder: str
  recordings: Mapping[str, Sequence[Recording]]

  @classmethod
  def read(cls, folder: str, fold: str = '') -> 'Corpus':
    """Reads the labels of all records; see `recordings.read_manifest`.

    Raises:
      DataError: the folder or a shard of it is absent or damaged; train or validation has no label.
    """
    manifest = recordings.read_manifest(folder, fold)
    found = {partition: recordings.recordings(manifest, folder, partition) for partition in PARTITIONS}
    # Pictures and sound are not decoded: what the layout does not name is not looked at.
    streams = {
      name: tuple(field for field in fields if field.name == _FACE_FOUND) for name, fields in manifest.streams.items()
    }
    layout = Layout(manifest.targets, manifest.grid, streams)
    stored = [(partition, one) for partition, of in found.items() for one in of]
    whole: dict[str, list[Recording]] = {partition: [] for partition in PARTITIONS}
    for partition, one in progress.over(stored, 'reading labels', 'recordings'):
      whole[partition].append(_read(one, partition, layout))
    for partition, use in (('train', 'learn from'), ('validation', 'choose on')):
      if not any(of.mask.any() for of in whole[partition]):
        raise DataError(
          f'{folder}: the {partition} partition has no labels, and a rival needs them to {use}; prepare the recordings '
          'with labels in both'
        )
    return cls(manifest, folder, whole)

  @property
  def targets(self) -> heads.Targets:
    """K names, and which of them are classes."""
    return heads.Targets.of(self.manifest)

  def features(self, name: str, options: Mapping | None = None) -> store.Features:
    """A set of `data_prep.features`; what is not there yet is made."""
    return store.load(self.folder, self.manifest, name, options)

  def steps(self, seconds: float) -> int:
    """The whole number of steps that is nearest to a time."""
    return round(seconds / self.manifest.grid.step_seconds)


def _read(stored: recordings.StoredRecording, partition: str, layout: Layout) -> Recording:
  rows = [record for file in stored.files for record in read.read_shard(file, layout)]
  valid = np.concatenate([row.valid for row in rows]) > 0
  faces = [row.values.get(_FACE_FOUND, np.zeros_like(row.valid)) for row in rows]
  return Recording(
    name=stored.name,
    subject=stored.subject,
    partition=partition,
    gold=np.concatenate([row.label for row in rows])[valid],
    mask=np.concatenate([row.label_mask for row in rows])[valid],
    face_found=np.concatenate(faces)[valid],
  )


class Rival:
  """What learns from a corpus.

  Attributes:
    heads: what it can learn of the labels, names of e2e_affect/heads.
    config: of the run, as `get_config` has it.
  """

  heads: tuple[str, ...] = ('regression',)

  def __init__(self, config: ml_collections.ConfigDict):
    self.config = config

  @property
  def learnt_from(self) -> tuple[str, ...]:
    """The partitions that the predictor has learnt from; validation among them is not scored."""
    return ('train',)

  @staticmethod
  def get_config() -> ml_collections.ConfigDict:
    """Every field with its default; see `base_config`."""
    raise NotImplementedError

  def fit(self, corpus: Corpus) -> tuple[Predictor, dict]:
    """Learns on train and chooses on validation.

    Returns:
      The predictor; and for `search.json` {'searches': [of `Search.record`, …]}.
    """
    raise NotImplementedError


def base_config(rival: str, head: str) -> ml_collections.ConfigDict:
  """The fields that every rival's config has; `get_config` of the rival's class adds its own."""
  c = ml_collections.ConfigDict()
  c.name = rival  # the run's folder under runs/ where --workdir is not given
  c.rival = rival  # of e2e_affect/baselines
  c.head = head  # of e2e_affect/heads, one that the rival learns: what is predicted of the labels
  c.seed = 0  # of what a rival draws at random, and of the bootstrap
  c.data = ml_collections.ConfigDict()
  c.data.dir = 'data/simulated'  # shards and manifest.json, as data_prep.prepare writes them
  c.data.fold = ''  # of the data's folds, see e2e_affect/config/defaults.py; '': as they were prepared
  c.features = ml_collections.ConfigDict()  # set of data_prep.features -> options that differ from its defaults
  return c


def regression_config(rival: str) -> ml_collections.ConfigDict:
  """The fields of a rival that learns numbers, step by step."""
  c = base_config(rival, 'regression')
  c.train_every = 25  # learn from every n-th step: neighbours say nearly the same (25: one a second in RECOLA)
  return c


def config_of_argument(
  rival: type[Rival],
  arg: str,
  features: Mapping[str, Sequence[str]],
  small: Callable[[ml_collections.ConfigDict], None],
) -> ml_collections.ConfigDict:
  """The config of a rival for what follows the colon in `--config=configs/baselines/x.py:arg`.

  Args:
    rival: whose.
    arg: a name of `features`, perhaps with `_demo` behind it.
    features: variant -> its feature sets, side by side.
    small: makes the search small enough for the simulated corpus, where `_demo` asks for it.

  Raises:
    ValueError: there is no such variant.
  """
  variant = arg.removesuffix('_demo')
  if variant not in features:
    raise ValueError(f'unknown config argument {arg!r}; known: {", ".join(features)}, each also with _demo')
  config = rival.get_config()
  config.name = f'{config.rival}_{variant}'
  config.features = {name: {} for name in features[variant]}
  if variant != arg:
    small(config)
  return config.lock()


@dataclasses.dataclass(frozen=True)
class Sets:
  """Several feature sets side by side, as one matrix a recording (early fusion).

  Attributes:
    sets: in the order of the columns.
  """

  sets: Sequence[store.Features]

  @classmethod
  def load(cls, corpus: Corpus, features: Mapping[str, Mapping], **options) -> 'Sets':
    """Loads sets.

    Args:
      corpus: whose.
      features: `config.features`.
      **options: for every set that knows them, for instance window_seconds; they go before those of `features`.
    """
    loaded = []
    for name, own in features.items():
      known = store.FEATURES[name].defaults
      loaded.append(corpus.features(name, {**own, **{key: x for key, x in options.items() if key in known}}))
    return cls(loaded)

  # -> [T, D]
  def standardised(self, recording: str) -> np.ndarray:
    """Of one recording, float32; mean 0 and deviation 1 on train."""
    return np.concatenate([of.standardised(recording) for of in self.sets], axis=1)

  # -> [D]
  def mean_of(self, recording: str) -> np.ndarray:
    """Of one recording as a whole, float64, not standardised; NaN where it has no features."""
    return np.concatenate([of.mean_of(recording) for of in self.sets])


def learnt_rows(recording: Recording, delay: int, every: int) -> tuple[np.ndarray, np.ndarray]:
  """The steps to learn from, and their labels.

  Raters react late: features of step t go with the label of step t + delay. What a model says of t is then the trace of
  step t + delay: `postprocess.time_shift` moves it there.

  Args:
    recording: of train.
    delay: steps.
    every: every so many steps one, from the first.

  Returns:
    Steps [n] of the features, and labels [n, K].
  """
  steps = np.arange(0, max(len(recording.mask) - delay, 0), every)
  steps = steps[recording.mask[steps + delay] > 0]
  return steps, recording.gold[steps + delay]


@dataclasses.dataclass(frozen=True)
class RecordingPredictor:
  """A predictor that goes recording by recording.

  Attributes:
    corpus: whose recordings.
    of_recording: gives [T, O] of a recording, the outputs of the head.
  """

  corpus: Corpus
  of_recording: Callable[[Recording], np.ndarray]

  def predict(self, partition: str) -> list[Trace]:
    """See `Predictor`."""
    of = self.corpus.recordings[partition]
    return [
      self._trace(recording, partition) for recording in progress.over(of, f'predicting {partition}', 'recordings')
    ]

  def _trace(self, recording, partition):
    return Trace(
      recording=recording.name,
      subject=recording.subject,
      partition=partition,
      prediction=np.asarray(self.of_recording(recording), np.float32),
      gold=recording.gold,
      mask=recording.mask,
      face_found=recording.face_found,
      grid=self.corpus.manifest.grid,
    )


@dataclasses.dataclass(frozen=True)
class Search:
  """What was tried, and how well it did on validation.

  Attributes:
    head: whose outputs were predicted.
    targets: K names.
    tried: candidates, in the order they were tried.
    metrics: of each candidate, over the validation partition.
  """

  head: heads.Head
  targets: Sequence[str]
  tried: Sequence[Mapping[str, Any]]
  metrics: Sequence[Metric]

  def best(self, name: str | None = None) -> Mapping[str, Any]:
    """The best candidate, by the score that chooses a network's checkpoint; of equals the first.

    Args:
      name: of a number of `Head.headline`, by which alone it is to be the best.
    """
    if name is None:
      scores = [self.head.best_of(self.head.scores(metric, self.targets)) for metric in self.metrics]
    else:
      scores = [self.head.headline(metric, self.targets)[name] for metric in self.metrics]
    return self.tried[int(np.argmin(scores) if self.head.best_is_lowest else np.argmax(scores))]

  def record(self, what: str, chosen: Mapping[str, Mapping[str, Any]]) -> dict:
    """For `search.json` and the page.

    Args:
      what: was searched, in words.
      chosen: target, or 'all targets' -> the candidate.
    """
    rows = [
      {**candidate, self.head.measure.lower(): self.head.headline(metric, self.targets)}
      for candidate, metric in zip(self.tried, self.metrics, strict=True)
    ]
    return {'what': what, 'chosen': {name: dict(candidate) for name, candidate in chosen.items()}, 'tried': rows}


def search(
  corpus: Corpus,
  head: heads.Head,
  candidates: Iterable[tuple[Mapping[str, Any], Sequence[np.ndarray]]],
  what: str = 'grid',
) -> Search:
  """Scores candidates on the validation partition.

  Args:
    corpus: whose validation partition.
    head: whose outputs are predicted.
    candidates: what was set (JSON), and the prediction [T, O] of each validation recording, in their order.
    what: is searched, for the message.

  Raises:
    ValueError: there is no candidate.
  """
  targets, tried, metrics = corpus.targets, [], []
  for candidate, predictions in candidates:
    metric = head.metric(targets)
    for recording, prediction in zip(corpus.recordings['validation'], predictions, strict=True):
      metric = metric.update(prediction, recording.gold, recording.mask)
    tried.append(dict(candidate))
    metrics.append(metric)
  if not tried:
    raise ValueError(f'{what}: nothing to try')
  return Search(head, targets, tried, metrics)
