"""EMO-AffectNet as a network for clips: a ready one, for people without a corpus.

It predicts five times a second. Its crops are our face tracker's, in the shape that the published detectors' boxes
have: MTCNN's boxes were .78 of our box's side wide and 1.11 high (deviation .03 and .07 over nine clips of nine people,
the centres within .04), and published programs resize such boxes to squares.
"""

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from data_prep.face import cropping
from data_prep.schema.fields import Field
from data_prep.schema.grid import Grid
from e2e_affect import streams
from e2e_affect.clips.network import Network
from e2e_affect.config import defaults, switches
from e2e_affect.models import expression
from e2e_affect.run import version
from e2e_affect.weights import emo_affectnet
from e2e_affect.weights.tensors import Imported

STATIC, TEMPORAL = FORMATS = ('emo_affectnet_static', 'emo_affectnet_temporal')  # of `about['published']`
CROP = cropping.Crop(emo_affectnet.IMAGE_SIZE, width=0.78, height=1.11)
GRID = Grid(expression.STEP_SECONDS, steps_per_record=25)
_FACES_AT_ONCE = 25


class ExpressionClips(Network):
  """Faces in, probabilities of seven expressions out, as `Network`; `postprocess` is none."""

  def _prepare(self, config, frozen):
    network = _network(config, self.about)
    visual = streams.STREAMS['visual']

    @jax.jit
    def features(variables, face):  # [1, T, H, W, 3] uint8 -> [T, 512]
      batch = {'face': face, 'face_found': jnp.ones(face.shape[:2])}
      inputs = visual.inputs(batch, config.model, config.augment, None)
      return network.apply(variables, inputs['face'][0], method='features')

    self._features = features
    self._classes = jax.jit(lambda variables, x: network.apply(variables, x, method='classes'))

  @classmethod
  def shapes(cls, config, about):
    """See `Network`."""
    size = config.model.visual.image_size
    return jax.eval_shape(lambda: _network(config, about).init(jax.random.key(0), jnp.zeros((1, size, size, 3))))

  @property
  def targets(self):
    """See `Network`."""
    return list(self.about['targets'])

  @property
  def shows(self):
    """See `Network`."""
    return 'probabilities'

  @property
  def crop(self):
    """See `Network`."""
    return CROP

  def predict(self, signals, chunk_seconds=None, progress=lambda steps: None):
    """Probabilities [T, 7] float32; arguments as those of `Network`, of which `chunk_seconds` changes nothing."""
    fields = {field.name: field for field in self.layout.streams['visual']}
    features, found = [], []
    for first in range(0, signals.steps, _FACES_AT_ONCE):
      end = first + _FACES_AT_ONCE
      face = signals.of_steps(fields['face'], first, end)
      features.append(np.asarray(self._features(self.variables, face[None])))
      found.append(signals.of_steps(fields['face_found'], first, end))
      progress(min(_FACES_AT_ONCE, signals.steps - first))
    features, found = np.concatenate(features)[: signals.steps], np.concatenate(found)[: signals.steps]
    classify = lambda x: np.asarray(self._classes(self.variables, x))
    if self.about['published'] == TEMPORAL:
      return expression.of_windows(classify, features, found)
    return expression.of_faces(classify, features, found)


def make(static: Imported, temporal: Imported | None, origin: dict) -> ExpressionClips:
  """The network of imported files.

  Args:
    static, temporal: of the two files; without the second every face is classified alone.
    origin: see `run.origin`.
  """
  config = defaults.get_config()
  with config.unlocked():
    config.name = 'EMO-AffectNet'
    config.model.modalities = ('visual',)
    config.model.visual.image_size = emo_affectnet.IMAGE_SIZE
    config.augment.resize, config.augment.whole_face = 1.0, True
    config.model = switches.follow(config.model, {emo_affectnet.FORMAT: static.switches})
  params = {**static.params, **static.beside}
  if temporal:
    params |= temporal.beside
  size = (CROP.size, CROP.size, 3)
  about = {
    'published': TEMPORAL if temporal else STATIC,
    'origin': origin,
    'targets': list(emo_affectnet.CLASSES),
    'label_scale': {},
    'postprocessing': {'fitted_on': None, 'reason': 'a published network, as it is'},
    'checkpoint': {'step': 0, 'chosen_by': 'its authors'},
    'results': {},
    'simulated': False,
    'commit': version.commit(),
    'dataset': {
      'preparation': {'faces': dataclasses.asdict(CROP)},
      'partitions': {},
      'grid': dataclasses.asdict(GRID),
      'streams': {
        'visual': [dataclasses.asdict(field) for field in (Field('face', size, 'jpeg'), Field('face_found'))]
      },
    },
  }
  variables = jax.tree.map(jnp.asarray, {'params': params, 'batch_stats': static.batch_stats})
  return ExpressionClips(config, variables, about)


def _network(config, about):
  visual = ml_collections.FrozenConfigDict(switches.settled(config.model).visual)
  return expression.ExpressionNetwork(visual, about['published'] == TEMPORAL)
