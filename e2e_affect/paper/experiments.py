"""The experiments behind the paper's tables and figures: what each runs, on which data, and what it starts from.

A field's value may name others: `{speech}` in it is the workdir of that experiment in the same split and of the same
seed, `{landmarks}` the number of landmarks. `e2e_affect/paper/plan.py` makes child processes of them.
"""

from collections.abc import Mapping
import dataclasses
import re

from e2e_affect.paper.published import TABLES

NAMED = re.compile(r'\{(\w+)\}')  # another experiment, in the value of a field
NETWORK, RIVAL, ABSENT, TOOL, FIGURE = 'network', 'rival', 'absent', 'tool', 'figure'


@dataclasses.dataclass(frozen=True)
class Experiment:
  """One child process, or one for each seed.

  Attributes:
    name: of the experiment, and of its folder.
    kind: NETWORK and RIVAL train and have a seed and a config; ABSENT evaluates a network without a stream; TOOL
      prepares what others start from; FIGURE draws.
    what: in words.
    config: as `--config` takes it, without `demo`; of ABSENT the network, of TOOL and FIGURE nothing.
    fields: of the config, set for this experiment.
    demo_fields: those that --demo sets beside them.
    needs: experiments that must be there before.
    geometric: whether it reads the data with landmarks.
    minutes: of the demo on two cores (Intel Xeon, 2026-11-30), for the first plan; later ones go by what was measured.
    validation_of: experiment whose validation scores stand beside this one's test scores, if not its own.
    twice_of: experiment whose epochs are doubled here; with --demo, halved.
  """

  name: str
  kind: str
  what: str
  config: str = ''
  fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
  demo_fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
  needs: tuple[str, ...] = ()
  geometric: bool = False
  minutes: float = 1.0
  validation_of: str = ''
  twice_of: str = ''


@dataclasses.dataclass(frozen=True)
class Beyond:
  """A row that the paper does not have.

  Attributes:
    predictor, features: as in the tables.
    experiments: where there are several, the one with the best validation score fills the row.
    meaning: what is compared.
    demo: whether the row belongs to the demo's page (True), to the others (False) or to both (None).
  """

  predictor: str
  features: str
  experiments: tuple[str, ...]
  meaning: str
  demo: bool | None = None


# Labels follow the raters' reaction; RECOLA's literature finds delays of 1 to 4 s.
_DELAYS = (25, 50, 75, 100)  # steps of 40 ms
_DEMO_DELAYS = (50, 100)  # half of the search, for its hour

# Table II holds the work of an update constant in the demo: 600 steps in every batch.
_SEQUENCES = {75: 8, 150: 4, 300: 2}
_WARM_UPS = {75: 5, 150: 3, 300: 1}  # readings of a sequence before the one that counts: about 16 s of every length


def _sequence_length(modality, steps):
  demo = {'epochs': '1', 'batch_size': str(_SEQUENCES[steps])}
  if modality == 'visual':
    demo |= {'model.recurrent.warm_up': str(_WARM_UPS[steps])}
  pretrained = {'pretrained': '{imagenet}'} if modality == 'visual' else {}
  return Experiment(
    f'{modality}_{steps}',
    NETWORK,
    f'the {modality} network on sequences of {steps} steps',
    f'{modality}',
    {'data.sequence_steps': str(steps), **pretrained},
    demo,
    minutes=2,
  )


def _rival(name, config, what, geometric=False, minutes=1.0):
  return Experiment(name, RIVAL, what, config, geometric=geometric, minutes=minutes)


def _strength(features, words, geometric=False):
  """The second model of strength modelling, after the SVR on the same features."""
  return Experiment(
    f'strength_{features}',
    RIVAL,
    f'strength modelling on {words}',
    f'strength:{features}',
    {'strength.first': f"('{{svr_{features}}}',)"},
    geometric=geometric,
    minutes=0.5,
  )


def _decision(name, of, what):
  """Strength models joined at the level of decisions."""
  first = ','.join(f"'{{strength_{features}}}'" for features in of)
  return Experiment(name, RIVAL, what, 'strength:decision', {'strength.first': f'({first})'}, minutes=0.2)


def _blstm(features, words, loss):
  of = f'{features}_{loss}'
  return Experiment(f'blstm_{of}', NETWORK, f'BLSTM on {words}, {loss.upper()}', f'blstm:{of}')


def _without(network, stream, what):
  return Experiment(f'{network}_without_{stream}', ABSENT, what, network, {'without': stream}, needs=(network,))


_STARTS = {'init_from.speech': '{speech}', 'init_from.visual': '{visual}'}
_GEOMETRIC = {'model.geometric.landmarks': '{landmarks}'}
_FINAL = {'data.train_on': "('train','validation')"}

EXPERIMENTS = {
  experiment.name: experiment
  for experiment in (
    Experiment('speech', NETWORK, 'the speech network, from scratch', 'speech', minutes=6),
    Experiment('imagenet', TOOL, 'the weights of ImageNet, imported'),
    Experiment('visual', NETWORK, 'the visual network', 'visual', {'pretrained': '{imagenet}'}, minutes=13),
    Experiment('fused', NETWORK, 'both, from their features', 'fused', _STARTS, minutes=11),
    Experiment('landmarks', TOOL, 'landmarks', minutes=4),
    Experiment(
      'geometric',
      NETWORK,
      'landmarks, too; only the recurrent part is trained',
      'fused_geometric',
      {**_GEOMETRIC, 'init_from.speech': '{fused}', 'init_from.visual': '{fused}'},
      {'epochs': '2'},
      geometric=True,
      minutes=4.5,
    ),
    Experiment(
      'final_fused',
      NETWORK,
      'both, on train + validation',
      'fused',
      {**_STARTS, **_FINAL, 'postprocessing_from': '{fused}'},
      validation_of='fused',
      twice_of='fused',
      minutes=6,
    ),
    Experiment(
      'final_geometric',
      NETWORK,
      'landmarks, too, on train + validation',
      'fused_geometric',
      {
        **_GEOMETRIC,
        **_FINAL,
        'init_from.speech': '{final_fused}',
        'init_from.visual': '{final_fused}',
        'postprocessing_from': '{geometric}',
      },
      geometric=True,
      validation_of='geometric',
      twice_of='geometric',
      minutes=3,
    ),
    Experiment('speech_mse', NETWORK, 'the speech network, MSE', 'speech', {'loss': 'mse'}, minutes=4.5),
    _rival('svr_egemaps', 'svr:egemaps', 'SVR on eGeMAPS', minutes=1),
    _rival('svr_compare', 'svr:compare', 'SVR on ComParE', minutes=4),
    _blstm('egemaps', 'eGeMAPS', 'mse'),
    _blstm('compare', 'ComParE', 'mse'),
    _blstm('egemaps', 'eGeMAPS', 'ccc'),
    _blstm('compare', 'ComParE', 'ccc'),
    _rival('rvm_egemaps', 'rvm:egemaps', 'RVM on eGeMAPS', minutes=0.6),
    _strength('egemaps', 'eGeMAPS'),
    _rival('svr_appearance', 'svr:appearance', 'SVR on appearance', minutes=5),
    _rival('svr_geometry', 'svr:geometry', 'SVR on geometry', True, 0.3),
    _rival('rvm_geometry', 'rvm:geometry', 'RVM on geometry', True, 0.3),
    _rival('rvm_appearance', 'rvm:appearance', 'RVM on appearance', minutes=0.3),
    _strength('appearance', 'appearance'),
    _strength('geometry', 'geometry', True),
    _decision('strength_video', ('appearance', 'geometry'), 'strength modelling, video'),
    _decision('strength', ('egemaps', 'appearance', 'geometry'), 'strength modelling, sound and video'),
    _rival('staircase', 'staircase:egemaps_geometry', 'OA RVM with staircase regression', True, 1),
    *(_sequence_length(modality, steps) for modality in ('speech', 'visual') for steps in _SEQUENCES),
    *(
      Experiment(
        f'speech_delay_{steps}',
        NETWORK,
        f'the speech network, labels of {steps} steps later',
        'speech',
        {'data.label_delay_steps': str(steps)},
        minutes=4.5,
      )
      for steps in _DELAYS
    ),
    Experiment(
      'fused_dropout',
      NETWORK,
      'both, either is missing at times in training',
      'fused',
      {**_STARTS, 'model.modality_dropout': '0.5'},
      minutes=11,
    ),
    *(
      _without(network, stream, what)
      for network in ('fused', 'fused_dropout')
      for stream, what in (('visual', 'sound alone'), ('speech', 'picture alone'))
    ),
    Experiment(
      'speech_average',
      NETWORK,
      'the speech network; a moving average of the parameters is evaluated',
      'speech',
      {'average_decay': '0.999'},
      {'average_decay': '0.0'},
      minutes=4,
    ),
    Experiment(
      'fused_acoustic',
      NETWORK,
      'eGeMAPS, too; only the recurrent part is trained',
      'fused_acoustic',
      {'init_from.speech': '{fused}', 'init_from.visual': '{fused}'},
      {'epochs': '2'},
      minutes=7,
    ),
    _rival('svr_early', 'svr:early', 'SVR on early fusion', True, 4),
    Experiment(
      'strength_early',
      RIVAL,
      'strength modelling on early fusion',
      'strength:feature',
      {'strength.first': "('{svr_early}',)"},
      geometric=True,
      minutes=3,
    ),
    Experiment('figure_2', FIGURE, 'units of the LSTM that follow energy, loudness and pitch', needs=('speech',)),
    Experiment('figure_3', FIGURE, 'the test subject nearest to the median', needs=('final_fused',)),
    Experiment('filters', FIGURE, 'what the filters of the speech network learnt', needs=('speech',)),
  )
}

_of_delays = lambda delays, demo: Beyond(
  'Proposed, label delay',
  'raw signal',
  ('speech', *(f'speech_delay_{steps}' for steps in delays)),
  f'labels of 0, {", ".join(map(str, delays[:-1]))} or {delays[-1]} steps later, by validation; traces are moved back '
  'to the gold standard',
  demo,
)

BEYOND = (
  _of_delays(_DELAYS, False),
  _of_delays(_DEMO_DELAYS, True),
  Beyond('Proposed', 'sound and picture', ('fused',), 'the fused network, to compare with'),
  Beyond('Proposed, sound alone', 'sound', ('fused_without_visual',), 'the same network, the face taken away'),
  Beyond('Proposed, picture alone', 'picture', ('fused_without_speech',), 'the same network, the voice taken away'),
  Beyond('Modality dropout', 'sound and picture', ('fused_dropout',), 'half of the sequences lack one of both'),
  Beyond('Modality dropout, sound alone', 'sound', ('fused_dropout_without_visual',), 'the face taken away'),
  Beyond('Modality dropout, picture alone', 'picture', ('fused_dropout_without_speech',), 'the voice taken away'),
  Beyond('Proposed', 'raw signal', ('speech',), 'the speech network, to compare with'),
  Beyond('Moving average', 'raw signal', ('speech_average',), 'of the parameters, 0.999 kept an update', False),
  Beyond('No moving average', 'raw signal', ('speech_average',), "the demo's other networks have one", True),
  Beyond('Acoustic features, too', 'sound, picture, eGeMAPS', ('fused_acoustic',), 'a further stream of the network'),
  Beyond('SVR', 'early fusion', ('svr_early',), 'eGeMAPS, appearance and geometry side by side'),
  Beyond('Strength modelling', 'early fusion', ('strength_early',), 'at the level of features'),
)

FIGURES = {'2': ('figure_2', 'filters'), '3': ('figure_3',)}


def same(name: str, demo: bool) -> str:
  """The experiment that trains what `name` would: of 150 steps and 60 epochs the main networks are.

  The demo's main networks are trained otherwise, so that there Table II has runs of its own.
  """
  return name.removesuffix('_150') if not demo and name.endswith('_150') else name


def rows_of(table: str) -> list[str]:
  """The experiments of a table's rows."""
  return [row.experiment for row in TABLES[table].rows if row.experiment]


def beyond(demo: bool) -> list[Beyond]:
  """The rows beyond the paper."""
  return [row for row in BEYOND if row.demo in (None, demo)]


def starts_from(experiment: Experiment) -> list[str]:
  """What must be there before an experiment, by its fields and needs."""
  of_fields = [name for value in experiment.fields.values() for name in NAMED.findall(value)]
  landmarks = ['landmarks'] if experiment.geometric else []
  return [name for name in dict.fromkeys([*landmarks, *of_fields, *experiment.needs]) if name in EXPERIMENTS]
