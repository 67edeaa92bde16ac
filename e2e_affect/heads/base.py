"""What every head says of itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

import jax
import numpy as np

from data_prep.core.errors import UserError
from data_prep.schema.fields import Layout
from data_prep.schema.grid import Grid
from e2e_affect.traces import band
from e2e_affect.traces.traces import Trace

# Partition -> (labels [T, K], mask [T]) of each of its recordings.
ReadLabels = Callable[[str], Sequence[tuple[np.ndarray, np.ndarray]]]


class Targets(tuple[str, ...]):
  """The names of the label columns, K of them, and which of them are classes.

  Wherever a head takes `targets`, plain names do, too: none of them is then a class.

  Attributes:
    classes: name of a column that holds the index of a class -> the names of its classes.
  """

  classes: Mapping[str, tuple[str, ...]] = {}

  @classmethod
  def of(cls, layout: Layout) -> 'Targets':
    """Those of the records of a layout."""
    targets = cls(layout.targets)
    targets.classes = {name: tuple(classes) for name, classes in layout.classes.items()}
    return targets


def classes_of(targets: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
  """The columns of labels that hold the index of a class -> the names of its classes."""
  return targets.classes if isinstance(targets, Targets) else {}


def numbers_of(targets: Sequence[str], head: str) -> tuple[str, ...]:
  """The targets, each of which is a number.

  Raises:
    UserError: one is a class.
  """
  if classes_of(targets):
    raise UserError(
      f'the label {" and ".join(classes_of(targets))} of the data is a class, and config.head = {head!r} learns '
      "numbers; set --config.head=clip_classes (a class for each recording) or 'step_classes', or "
      'take --config=classes, or the rival --config=svm'
    )
  return tuple(targets)


class Loss(Protocol):
  """A loss over every valid step of the global batch, a function without state."""

  def __call__(
    self, *, prediction: jax.Array, target: jax.Array, mask: jax.Array, axis_name: str | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss, and the sums that `Head.of_update` makes a metric of; both equal on all devices.

    Args:
      prediction: [B, T, O] outputs of the network.
      target: [B, T, K] labels; anything where the mask is 0.
      mask: [B, T], 1 where a step counts.
      axis_name: of the devices that share the batch.
    """


class Metric(Protocol):
  """What a head counts of steps. It merges exactly: the score is the same however the steps were divided.

  Attributes:
    count: what has been counted; 0: nothing to score.
  """

  @property
  def count(self) -> float:
    """What has been counted; 0: nothing to score."""

  def update(self, prediction: np.ndarray, gold: np.ndarray, mask: np.ndarray) -> Self:
    """Adds a whole recording: prediction [T, O], gold [T, K], mask [T]; gold is anything where the mask is 0."""

  def merge(self, other: Self) -> Self:
    """The metric of the steps of both."""


class Cell(NamedTuple):
  """A number in the report's table of scores.

  Attributes:
    value: None where there is none.
    interval: (low, high), shown beside the number; empty where it is unknown; None in columns that have no intervals.
  """

  value: float | None
  interval: Sequence[float] | None = None


class Confusion(NamedTuple):
  """A table of the report: which class was taken for which.

  Attributes:
    classes: C names.
    rows: name, counts [C] by the class predicted, recall and precision (None where there is none) of each class.
  """

  classes: Sequence[str]
  rows: Sequence[tuple[str, Sequence[int], float | None, float | None]]


class Shared(NamedTuple):
  """What a trained network and the labels of another corpus have in common.

  Attributes:
    targets: of the scores.
    trace: of the network on a recording of the other corpus -> the outputs and labels that both have.
    fitted: the post-processing of the run -> that of these outputs.
    left_out: what only one of the two has, in words.
  """

  targets: Targets
  trace: Callable[[Trace], Trace]
  fitted: Callable[[dict], dict]
  left_out: Sequence[str]


class Head:
  """What is predicted of the labels: from the network's outputs to the loss, the scores and their part of the report.

  Labels are those of the records: [T, K], a column for each of `Layout.targets`. A head that learns one label for a
  whole recording finds it repeated in every step: its loss averages outputs over the mask before it compares, and its
  metric counts a call of `update` as one.

  Attributes:
    name: as in `config.head`.
    losses: name, as in `config.loss` -> loss.
    best_score: name of the number of the validation partition that chooses the checkpoint.
    best_is_lowest: whether the smallest is the best, not the largest.
    best_words: what `best_score` is called in the report.
    measure: what the first numbers of `score` are called in the report. Where more is better, 1 is the best there is.
    table_head: titles of the columns of `table`.
    captions: of `figures`, name -> text about {partition}, in the order of the report.
    meaning: what the numbers of a report mean: paragraphs in HTML, shown as they are.
    meaning_of_several: the same, for the page that compares runs.
    fitted_on: the partition that post-processing and band are fitted on; None: there is neither.
    shows: what the page of a clip draws of a prediction: 'numbers' of every step, on the scale −1 … 1;
      'probabilities' of every step; 'recording', the probabilities of the whole; None: clips are not analysed by it.
  """

  name: str
  losses: Mapping[str, Loss]
  best_score: str
  best_is_lowest: bool = False
  best_words: str
  measure: str
  table_head: tuple[str, ...]
  captions: Mapping[str, str] = {}
  meaning: str
  meaning_of_several: str
  fitted_on: str | None = None
  shows: str | None = None

  def outputs(self, targets: Sequence[str]) -> tuple[str, ...]:
    """O names: the network's last layer has a unit for each, and the CSV of traces a column.

    Args:
      targets: K names of the labels; `classes_of` tells which of them are classes.

    Raises:
      UserError: the head learns other labels than these.
    """
    return tuple(targets)

  def loss(self, config: Any, targets: Sequence[str], labels: ReadLabels) -> Loss:
    """The loss of a training.

    Args:
      config: the whole config.
      targets: K names of the labels.
      labels: reads them, for a loss that depends on how often they occur.
    """
    return self.losses[config.loss]

  def check_labels(self, targets: Sequence[str], labels: ReadLabels, folder: str, train_on: Sequence[str]) -> None:
    """Whether the labels of train, validation and test go together.

    Args:
      targets: K names of the labels.
      labels: reads them.
      folder: of the data, for messages.
      train_on: partitions to learn from.

    Raises:
      DataError: they do not, and what a training would end with could not be read.
    """

  def prediction(self, outputs: np.ndarray) -> np.ndarray:
    """What traces hold of a whole recording: [T, O] outputs of the network -> [T, O]."""
    return outputs

  def shared(self, learnt: Sequence[str], others: Sequence[str]) -> Shared | None:
    """What can be scored of a trained network on another corpus; None: nothing.

    Args:
      learnt: names of the labels that it was trained on.
      others: of those of the other corpus.
    """
    return None

  def metric(self, targets: Sequence[str]) -> Metric:
    """The metric before the first step."""
    raise NotImplementedError

  def of_update(self, sums: Mapping[str, np.ndarray]) -> Metric:
    """The metric of one update.

    Args:
      sums: what the loss returned beside its value.
    """
    raise NotImplementedError

  def scores(self, metric: Any, targets: Sequence[str]) -> dict[str, float]:
    """What the log says of training and validation."""
    raise NotImplementedError

  def headline(self, metric: Any, targets: Sequence[str]) -> dict[str, float]:
    """The first entry of `score`, of a metric."""
    raise NotImplementedError

  def best_of(self, scores: Mapping[str, float]) -> float:
    """The number `best_score`, from `scores`."""
    return scores[self.best_score]

  def of_checkpoint(self, scores: Mapping[str, float]) -> dict:
    """What `results.json` says of the validation scores that chose the checkpoint; {} where it is the newest."""
    return {'validation_raw': dict(scores)}

  def score(self, traces: Sequence[Trace], targets: Sequence[str], seed: int) -> dict:
    """The scores of a partition: R of `results.json`, null where there is no number.

    The first entry maps names to numbers: the headline, the comparison of runs and a sweep go by these.

    Args:
      traces: of one partition, with a gold standard somewhere.
      targets: K names of the labels.
      seed: of what is drawn at random.
    """
    raise NotImplementedError

  def table(self, r: dict) -> dict[str, tuple[Cell, ...]]:
    """The rows of the report's table.

    Args:
      r: of `score`.
    """
    raise NotImplementedError

  def confusion(self, r: dict) -> Confusion | None:
    """Which class was taken for which; None in heads without classes.

    Args:
      r: of `score`.
    """
    return None

  def notes(self, r: dict) -> list[str]:
    """Why numbers of `score` are missing, in words."""
    return []

  def curves(self, targets: Sequence[str]) -> dict[str, str]:
    """Names of `scores` that the learning curves show -> what they are called there."""
    return {self.best_score: self.best_words}

  def figures(self, raw: Sequence[Trace], processed: Sequence[Trace] | None, targets: Sequence[str]) -> dict[str, Any]:
    """Name -> Matplotlib figure of a partition, with or without labels.

    Args:
      raw: its traces.
      processed: the same after post-processing, or None.
      targets: K names of the labels.
    """
    return {}

  def fit(self, traces: Sequence[Trace], targets: Sequence[str]) -> dict:
    """The post-processing, for JSON: `fitted_on`, and whatever `apply` needs; a null, with `reason`: there is none.

    Args:
      traces: of the partition `fitted_on`, with a gold standard somewhere.
      targets: K names of the labels.
    """
    raise NotImplementedError

  def of_targets(self, fitted: dict, targets: Sequence[str]) -> dict:
    """The post-processing of another run, for these targets.

    Raises:
      ValueError: it does not fit them.
    """
    raise ValueError(f'the head {self.name} has no post-processing')

  def apply(self, fitted: dict, traces: Sequence[Trace]) -> list[Trace]:
    """Post-processes traces of any partition; reads nothing but their predictions."""
    raise NotImplementedError

  def in_words(self, fitted: dict, grid: Grid) -> dict[str, list[str]]:
    """What `fit` chose, in sentences under titles."""
    raise NotImplementedError

  def band(self, fitted: dict) -> dict:
    """What `traces.band.fit` found about final traces; {} where heads, or earlier versions, have none."""
    return {}

  def coverage(self, of_band: Mapping, traces: Sequence[Trace], targets: Sequence[str]) -> dict[str, float] | None:
    """How much of the gold standard lies in the band; arguments as `traces.band.coverage`."""
    return band.coverage(of_band, traces, targets)
