"""The numbers of the paper's Tables II to VI as data, and which experiment of ours fills each row.

CCC as printed, on test and on validation; the dash of the tables, 'not reported', is None. References are the paper's.
"""

from collections.abc import Mapping
import dataclasses

TARGETS = ('arousal', 'valence')
Scores = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Row:
  """A row of a table.

  Attributes:
    predictor: first column, as printed.
    features: the columns after it.
    test, validation: target -> CCC as printed; None: a dash, or not a number of this table.
    experiment: name of the experiment that fills the row with what we ran; None: the row exists as published alone.
    bold: targets whose test CCC is printed in bold.
    part: heading inside the table that the row stands under.
  """

  predictor: str
  features: tuple[str, ...]
  test: Scores | None
  validation: Scores | None
  experiment: str | None
  bold: tuple[str, ...] = ()
  part: str = ''


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of the paper.

  Attributes:
    number: 'II' to 'VI'.
    caption: what it shows, shortened.
    people: whom the paper's numbers are of.
    columns: titles before the targets.
    rows: in the paper's order.
    split: the recordings: 'full' (46 people) or 'avec' (27).
    ours: the experiments that the paper proposes, which are held against the other rows; () where none is.
    note: what the paper says under it.
  """

  number: str
  caption: str
  people: str
  columns: tuple[str, ...]
  rows: tuple[Row, ...]
  split: str
  ours: tuple[str, ...] = ()
  note: str = 'In parentheses: validation.'


def _pair(arousal, valence):
  return {'arousal': arousal, 'valence': valence}


def _row(predictor, features, test, validation, experiment, bold=(), part=''):
  """`features` is a name, or a tuple of them; scores are (arousal, valence) or None."""
  features = features if isinstance(features, tuple) else (features,)
  scores = [None if pair is None else _pair(*pair) for pair in (test, validation)]
  return Row(predictor, features, *scores, experiment, tuple(bold), part)


_MSE, _CCC = 'a. Mean squared error objective', 'b. Concordance correlation coefficient objective'

TABLES = {
  table.number: table
  for table in (
    Table(
      'II',
      'Sequence length: CCC on validation',
      '46 people, 60 epochs',
      ('Sequence length',),
      (
        _row('75', (), None, (0.293, 0.276), 'visual_75', part='Visual network'),
        _row('150', (), None, (0.363, 0.488), 'visual_150', part='Visual network'),
        _row('300', (), None, (0.193, 0.496), 'visual_300', part='Visual network'),
        _row('75', (), None, (0.727, 0.345), 'speech_75', part='Speech network'),
        _row('150', (), None, (0.744, 0.369), 'speech_150', part='Speech network'),
        _row('300', (), None, (0.685, 0.130), 'speech_300', part='Speech network'),
      ),
      'full',
      note='Validation alone. The paper chose 150 steps for the multimodal network.',
    ),
    Table(
      'III',
      'Speech: the objective, and hand-crafted features against the raw signal',
      '46 people',
      ('Predictor', 'Features'),
      (
        _row('SVR', 'eGeMAPS', (0.318, 0.169), (0.489, 0.210), 'svr_egemaps', part=_MSE),
        _row('SVR', 'ComParE', (0.366, 0.180), (0.491, 0.178), 'svr_compare', part=_MSE),
        _row('BLSTM', 'eGeMAPS', (0.300, 0.192), (0.404, 0.187), 'blstm_egemaps_mse', part=_MSE),
        _row('BLSTM', 'ComParE', (0.132, 0.117), (0.221, 0.152), 'blstm_compare_mse', part=_MSE),
        _row('Proposed', 'raw signal', (0.684, 0.249), (0.728, 0.312), 'speech_mse', part=_MSE),
        _row('BLSTM', 'eGeMAPS', (0.316, 0.195), (0.445, 0.190), 'blstm_egemaps_ccc', part=_CCC),
        _row('BLSTM', 'ComParE', (0.382, 0.187), (0.478, 0.246), 'blstm_compare_ccc', part=_CCC),
        _row('Proposed', 'raw signal', (0.699, 0.311), (0.752, 0.406), 'speech', TARGETS, part=_CCC),
      ),
      'full',
      ('speech',),
    ),
    Table(
      'IV',
      'Speech: against results in the literature',
      'the 27 people of AVEC 2016',
      ('Predictor', 'Features'),
      (
        _row('Baseline [29]', 'eGeMAPS', (0.648, 0.375), (0.796, 0.455), 'svr_egemaps', ('valence',)),
        _row('RVM [30]', 'eGeMAPS', None, (0.750, 0.396), 'rvm_egemaps'),
        _row('Povolny et al. [33]', 'Mixed', None, (0.833, 0.503), None),
        _row('Brady et al. [32]', 'MFCC', None, (0.846, 0.450), None),
        _row('Weber et al. [31]', 'eGeMAPS', None, (0.793, 0.456), None),
        _row('Somandepalli et al. [34]', 'Mixed', None, (0.800, 0.448), None),
        _row('Han et al. [28]', '13 LLDs', (0.666, 0.364), (0.755, 0.476), 'strength_egemaps'),
        _row('Proposed', 'raw signal', (0.715, 0.369), (0.786, 0.428), 'speech', ('arousal',)),
      ),
      'avec',
      ('speech',),
      'In parentheses: validation. A dash: not reported.',
    ),
    Table(
      'V',
      'Video: against results in the literature',
      'the 27 people of AVEC 2016',
      ('Predictor', 'Features'),
      (
        _row('Baseline [29]', 'Appearance', (0.343, 0.486), (0.483, 0.474), 'svr_appearance'),
        _row('Baseline [29]', 'Geometric', (0.272, 0.507), (0.379, 0.612), 'svr_geometry'),
        _row('RVM [30]', 'Geometric', None, (0.467, 0.571), 'rvm_geometry'),
        _row('RVM [30]', 'Appearance', None, (0.615, 0.530), 'rvm_appearance'),
        _row('Video CNN-L4 [33]', 'Mixed', None, (0.595, 0.497), None),
        _row('Brady et al. [32]', 'Appearance', None, (0.346, 0.511), None),
        _row('Weber et al. [31]', 'Geometric', None, (0.476, 0.683), None),
        _row('Weber et al. [31]', 'Appearance', None, (0.594, 0.506), None),
        _row('Somandepalli et al. [34]', 'Geometric', None, (0.297, 0.612), None),
        _row('Somandepalli et al. [34]', 'Appearance', None, (0.481, 0.474), None),
        _row('Han et al. [28]', 'Mixed', (0.265, 0.394), (0.292, 0.592), 'strength_video'),
        _row('Proposed', 'raw signal', (0.435, 0.620), (0.371, 0.637), 'visual', TARGETS),
      ),
      'avec',
      ('visual',),
      'In parentheses: validation. A dash: not reported.',
    ),
    Table(
      'VI',
      'Speech and video',
      'the 27 people of AVEC 2016',
      ('Predictor', 'Audio features', 'Visual features'),
      (
        _row('OA RVM-SR [30]', ('eGeMAPS', 'Geometric'), (0.770, 0.545), (0.855, 0.642), 'staircase'),
        _row('Han et al. [28]', ('ComParE 13 LLDs', 'Appearance Mixed'), (0.610, 0.463), (0.728, 0.544), 'strength'),
        _row('Proposed', ('raw signal', 'raw signal'), (0.789, 0.691), (0.731, 0.502), 'final_fused', TARGETS),
        _row('Proposed', ('raw signal', 'raw + geometric'), (0.788, 0.732), (0.731, 0.502), 'final_geometric', TARGETS),
      ),
      'avec',
      ('final_fused', 'final_geometric'),
      'In parentheses: validation, of our networks before they also learnt from it (section V-D). The paper prints the '
      'same validation numbers for both networks.',
    ),
  )
}
