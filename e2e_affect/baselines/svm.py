"""Linear support vector machine on functionals of whole recordings: the baseline of corpora of classes.

Stated in the literature. The challenges of paralinguistics (Schuller et al., from 2009 on) classify a recording by one
vector of functionals, with a linear SVM. Its features are standardised, classes weigh as much as one another, its
complexity is searched on the development partition, and it is judged by the unweighted average recall.

Our reading. The SVM is scikit-learn's `LinearSVC`, which is liblinear: one class against the rest, L2-regularised,
squared hinge loss, to scikit-learn's tolerance of 1e-4. A class of which train has n of N recordings weighs N / (C n),
as in the networks. A recording counts once: its vector is the mean of its steps' features, which of functionals over
the whole recording are all the same, and mean and deviation are taken over recordings. What has no features, such as
silence, has the mean of train. The chosen model learns from train alone, as networks do; `data.train_on` lets it learn
from validation, too, once its complexity is chosen there.

Decision values are the logits. Their softmax are the raw probabilities; the head fits a temperature on validation.
"""

from collections.abc import Sequence
import dataclasses

import ml_collections
import numpy as np
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline, Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

from data_prep.core import progress
from data_prep.core.errors import DataError, UserError
from e2e_affect import heads
from e2e_affect.baselines import base, svr
from e2e_affect.baselines.base import Corpus, Recording
from e2e_affect.evaluate.predictor import Predictor
from e2e_affect.heads.base import classes_of
from e2e_affect.traces import classes


class SVM(base.Rival):
  """A class for each recording, on one feature set, or on several side by side."""

  heads = ('clip_classes',)

  @staticmethod
  def get_config() -> ml_collections.ConfigDict:
    """Every field with its default."""
    c = base.base_config('svm', 'clip_classes')
    c.data.train_on = ('train',)  # of the chosen model; with 'validation' no temperature is fitted, as in networks
    c.svm = ml_collections.ConfigDict()
    c.svm.complexity = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # liblinear's C, to be tried
    c.svm.max_iterations = 1000  # of the solver; `search.json` names candidates that had not converged by then
    return c

  @property
  def learnt_from(self) -> tuple[str, ...]:
    """See `base.Rival`.

    Raises:
      UserError: test is among them, or train is not.
    """
    partitions = tuple(self.config.data.train_on)
    if partitions not in (('train',), ('train', 'validation')):
      raise UserError(f"config.data.train_on = {partitions}, expected ('train',) or ('train', 'validation')")
    return partitions

  def fit(self, corpus: Corpus) -> tuple[Predictor, dict]:
    """See `base.Rival`.

    Raises:
      DataError: train has fewer than two classes.
    """
    config, head = self.config, heads.of(self.config)
    what = f'SVM on {", ".join(config.features)}'
    names = head.outputs(corpus.targets)
    (target,) = classes_of(corpus.targets)
    column = corpus.targets.index(target)
    sets = base.Sets.load(corpus, config.features.to_dict())

    def of(rows, model):
      def of_recording(recording: Recording) -> np.ndarray:
        outputs = logits(model, rows.inputs.transform(sets.mean_of(recording.name)[None]), len(names))
        return head.prediction(np.repeat(outputs, len(recording.mask), axis=0))

      return of_recording

    train = Rows.of(corpus.recordings['train'], sets, column)
    if len(set(train.label)) < 2:
      raise DataError(f'{corpus.folder}: all of train is {names[train.label[0]]}; expected two classes or more')

    def candidates():
      for complexity in progress.over(config.svm.complexity, what, 'candidates'):
        model, converged = train.fitted(complexity, config)
        yield {'complexity': complexity, 'converged': converged}, map(of(train, model), corpus.recordings['validation'])

    found = base.search(corpus, head, candidates(), what)
    best = found.best()
    rows = Rows.of([one for partition in self.learnt_from for one in corpus.recordings[partition]], sets, column)
    model, _ = rows.fitted(best['complexity'], config)
    return base.RecordingPredictor(corpus, of(rows, model)), {'searches': [found.record(what, {target: best})]}


@dataclasses.dataclass(frozen=True)
class Rows:
  """What a model learns from: a row for each recording with a label.

  Attributes:
    inputs: makes rows [N, P] of recordings' features [N, D]; P is the smaller one of D and the rows learnt from.
    x: [N, P].
    label: [N] int.
  """

  inputs: Pipeline
  x: np.ndarray
  label: np.ndarray

  @classmethod
  def of(cls, recordings: Sequence[Recording], sets: base.Sets, column: int) -> 'Rows':
    """The rows of recordings, by the features of `sets` and the column of the label."""
    learnt = [recording for recording in recordings if recording.mask.any()]
    label = classes.indices(np.array([recording.gold[recording.mask > 0][0, column] for recording in learnt]))
    features = np.stack([sets.mean_of(recording.name) for recording in learnt])
    steps = [StandardScaler(), FunctionTransformer(np.nan_to_num)]  # NaN: no features
    if features.shape[1] > len(features):
      # All components: a rotation into what the rows span, where the weights of a linear SVM lie. Nothing is lost, and
      # of 6373 columns and 960 rows 960 columns are left: 15 times as fast.
      steps.append(PCA(svd_solver='full'))
    inputs = make_pipeline(*steps)
    return cls(inputs, inputs.fit_transform(features), label)

  def fitted(self, complexity: float, config: ml_collections.ConfigDict) -> tuple[LinearSVC, bool]:
    """The model of a candidate, and whether its solver converged."""
    model = LinearSVC(
      C=complexity,
      class_weight='balanced',
      dual=self.x.shape[1] >= len(self.x),  # the same minimum; each solver is slow where the other one is fast
      max_iter=config.svm.max_iterations,
      random_state=config.seed,  # of the dual solver
    )
    return svr.fitted_to(model, self.x, self.label)


# [N, P] -> [N, C]
def logits(model: LinearSVC, x: np.ndarray, num_classes: int) -> np.ndarray:
  """Decision values, a column a class; minus infinity where train has no recording of a class."""
  decision = model.decision_function(x)
  if decision.ndim == 1:  # of two classes liblinear has one plane
    decision = np.stack([-decision, decision], axis=1)
  found = np.full((len(x), num_classes), -np.inf)
  found[:, model.classes_] = decision
  return found
