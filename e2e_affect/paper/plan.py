"""From tables, figures and seeds that are asked for to the child processes that make them, in order.

The plan is a function of the options; what is done already lies in the folder. `plan.json` there holds the plan that
ran last, for the page.
"""

from collections.abc import Callable, Iterator
import dataclasses
import json
import pathlib
from typing import Any

from data_prep.core import atomic, cli, json_text, remote
from data_prep.core.errors import DataError
from e2e_affect.paper import experiments
from e2e_affect.paper.experiments import ABSENT, Experiment, EXPERIMENTS, FIGURE, NETWORK, RIVAL
from e2e_affect.paper.published import TABLES

PLAN_FILE = 'plan.json'
FIGURES_FOLDER = 'figures'
RESULTS, WEIGHTS, MANIFEST = 'results.json', 'weights.safetensors', 'manifest.json'


@dataclasses.dataclass(frozen=True)
class Options:
  """What was asked for.

  Attributes:
    data, data_avec: data folders of the whole corpus, and of AVEC's 27 people; None: Tables IV to VI run on `data`.
    out: folder of all workdirs.
    imagenet: published weights of ResNet-50; None: the visual network starts from scratch.
    landmarks: where they come from, `--source` of data_prep.landmarks.
    tables, figures: those to fill: 'II' … 'VI'; '2', '3'.
    seeds: how many, from 0.
    beyond: whether the rows beyond the paper are run.
    demo: whether networks are those of `make demo`.
    fields: (field, value), set for every network.
  """

  data: pathlib.Path
  out: pathlib.Path
  data_avec: pathlib.Path | None = None
  imagenet: str | None = None
  landmarks: str = 'mtcnn'
  tables: tuple[str, ...] = tuple(TABLES)
  figures: tuple[str, ...] = tuple(experiments.FIGURES)
  seeds: int = 3
  beyond: bool = False
  demo: bool = False
  fields: tuple[tuple[str, str], ...] = ()

  def split(self, table: str) -> str:
    """'avec' where a table runs on the challenge's people, else 'full'."""
    return TABLES[table].split if self.data_avec else 'full'


@dataclasses.dataclass(frozen=True)
class Step:
  """One child process.

  Attributes:
    name: of the step, and of its folder.
    command: what follows `python`; `{landmarks}` stands for the number of landmarks, known once they are there.
    done: the file that it writes last.
    what: in words.
    experiment, split, seed: what it is a run of.
    config: as `--config` takes it; '' where there is none.
    fields: of the config, as they are set for this experiment.
    folder: the workdir.
    landmarks: manifest that tells the number of landmarks.
  """

  name: str
  command: list[str]
  done: pathlib.Path
  what: str
  experiment: str = ''
  split: str = 'full'
  seed: int = 0
  config: str = ''
  fields: tuple[tuple[str, str], ...] = ()
  folder: pathlib.Path = pathlib.Path()
  landmarks: pathlib.Path = pathlib.Path()


def name_of(experiment: str, split: str, seed: int) -> str:
  """'speech', 'speech_avec', 'seed1/speech': of a run, and of its folder."""
  name = experiment + ('_avec' if split == 'avec' else '')
  return f'seed{seed}/{name}' if seed and EXPERIMENTS[experiment].kind in (NETWORK, ABSENT) else name


def folder_of(options: Options, experiment: str, split: str, seed: int) -> pathlib.Path:
  """The workdir of a run, or what a tool makes."""
  if experiment == 'landmarks':
    return options.out / ('geometric_data' + ('_avec' if split == 'avec' else ''))
  if experiment == 'imagenet':
    return options.out / 'imagenet'
  spec = EXPERIMENTS[experiment]
  if spec.kind == FIGURE:
    return options.out / FIGURES_FOLDER
  return options.out / name_of(spec.config if spec.kind == ABSENT else experiment, split, seed)


def done_file(options: Options, experiment: str, split: str, seed: int) -> pathlib.Path:
  """The file that a run writes last."""
  spec, folder = EXPERIMENTS[experiment], folder_of(options, experiment, split, seed)
  names = {'landmarks': MANIFEST, 'imagenet': WEIGHTS}
  if spec.kind == ABSENT:
    return folder / f'results_without_{spec.fields["without"]}.json'
  return folder / (f'{experiment}.json' if spec.kind == FIGURE else names.get(experiment, RESULTS))


def asked(options: Options) -> list[tuple[str, str]]:
  """(experiment, split) of all that was asked for, without what these start from."""
  wanted = [(name, options.split(table)) for table in options.tables for name in experiments.rows_of(table)]
  if options.beyond:
    wanted += [(name, options.split('VI')) for row in experiments.beyond(options.demo) for name in row.experiments]
  # The figures show the networks of the tables that are asked for: those of the challenge's people where no other is.
  for figure in options.figures:
    for name in experiments.FIGURES[figure]:
      shown = EXPERIMENTS[name].needs[0]
      splits = [split for of, split in wanted if of == shown] or ['avec' if options.data_avec else 'full']
      wanted.append((name, splits[0]))
  return list(dict.fromkeys((experiments.same(name, options.demo), split) for name, split in wanted))


def with_what_they_start_from(options: Options, wanted: list[tuple[str, str]]) -> list[tuple[str, str]]:
  """All (experiment, split) that are needed, in an order in which each comes after what it starts from."""
  ordered: dict[tuple[str, str], None] = {}

  def add(name, split):
    spec = EXPERIMENTS[name]
    for before in [*experiments.starts_from(spec), *filter(None, [spec.validation_of])]:
      if before != 'imagenet' or options.imagenet:
        add(before, split)
    ordered[(name, split)] = None

  order = list(EXPERIMENTS)
  for name, split in sorted(wanted, key=lambda of: order.index(of[0])):
    add(name, split)
  return list(ordered)


def plan(options: Options, epochs_of: Callable[[str], float]) -> list[Step]:
  """All steps, in order: the first seed whole, then the others.

  Args:
    options: what was asked for.
    epochs_of: a config, as `--config` takes it -> its epochs.
  """
  needed = with_what_they_start_from(options, asked(options))
  steps: dict[pathlib.Path, Step] = {}
  for seed in range(options.seeds):
    for name, split in needed:
      # Rivals are fitted, not trained from a random start; their folder has no seed.
      step = _step(options, name, split, seed, epochs_of)
      steps.setdefault(step.done, step)
  return list(steps.values())


def _step(options, name, split, seed, epochs_of):
  spec = EXPERIMENTS[name]
  config, fields = config_of(options, spec), ()
  folder, done = folder_of(options, name, split, seed), done_file(options, name, split, seed)
  data, geometric = _data(options, split), folder_of(options, 'landmarks', split, seed)
  what, label = spec.what, name_of(name, split, seed)
  if name == 'landmarks':
    command = ['-m', 'data_prep.landmarks', f'--data={data}', f'--out={folder}', f'--source={options.landmarks}']
    what += f', by {options.landmarks}'
  elif name == 'imagenet':
    command, label = ['-m', 'e2e_affect.import_weights', str(options.imagenet), f'--out={folder}'], name
  elif spec.kind == FIGURE:
    run = folder_of(options, spec.needs[0], split, seed)
    command = ['-m', 'e2e_affect.paper.draw', f'--figure={name}', f'--run={run}', f'--out={folder}']
  elif spec.kind == ABSENT:
    command = ['-m', 'e2e_affect.main', '--mode=evaluate', f'--workdir={folder}', f'--without={spec.fields["without"]}']
  else:
    of_run = {'data.dir': str(geometric if spec.geometric else data)}
    if spec.kind == NETWORK:
      of_run |= {'seed': str(seed)} if seed else {}
    chosen = _fields(options, spec, epochs_of)
    fields = tuple((field, value) for field, value in chosen.items() if not experiments.NAMED.search(value))
    if 'epochs' in dict(fields):
      what += f', {float(chosen["epochs"]):g} epochs'
    if name.startswith('visual'):
      what += ', from ImageNet' if options.imagenet else ', from scratch'
    of_run |= {field: _filled(options, value, split, seed) for field, value in chosen.items()}
    command = [
      '-m',
      'e2e_affect.main' if spec.kind == NETWORK else 'e2e_affect.baseline',
      f'--config={config}',
      f'--workdir={folder}',
      *(f'--config.{field}={value}' for field, value in of_run.items()),
    ]
  return Step(label, command, done, what, name, split, seed, config, fields, folder, geometric / MANIFEST)


def config_of(options: Options, spec: Experiment) -> str:
  """The config of an experiment as `--config` takes it; '' where it has none of its own."""
  if spec.kind not in (NETWORK, RIVAL):
    return ''
  file, _, argument = spec.config.partition(':')
  if options.demo:
    argument = f'{argument}_demo' if argument else 'demo'
  return file + (f':{argument}' if argument else '')


def _fields(options, spec, epochs_of):
  """What is set of a config, with `{…}` for what lies in folders."""
  chosen = dict(spec.fields)
  if options.demo:
    chosen |= spec.demo_fields
  if not options.imagenet:
    chosen = {field: value for field, value in chosen.items() if value != '{imagenet}'}
  if spec.kind == NETWORK:
    chosen |= dict(options.fields)
  if spec.twice_of:
    single = EXPERIMENTS[spec.twice_of]
    epochs = float(_fields(options, single, epochs_of).get('epochs') or epochs_of(config_of(options, single)))
    # Of twice the people half the epochs are as many updates: an hour, which twice as many would take, no demo has.
    chosen['epochs'] = f'{max(1, round(epochs / 2)) if options.demo else 2 * epochs:g}'
  return chosen


def _filled(options, value, split, seed):
  """A field's value with workdirs in it; the number of landmarks is known later."""
  return experiments.NAMED.sub(
    lambda of: of[0] if of[1] == 'landmarks' else str(folder_of(options, of[1], split, seed)), value
  )


def _data(options, split):
  return options.data_avec if split == 'avec' else options.data


def landmarks(step: Step) -> str:
  """The number of landmarks of a step's data, '{landmarks}' as long as there are none."""
  try:
    manifest = json_text.parse(step.landmarks.read_text(encoding='utf-8'))
    return str(manifest['streams']['geometric'][0]['shape'][0])
  except (OSError, ValueError, KeyError):
    return '{landmarks}'


def parts(step: Step, landmark_word: str | None = None) -> Iterator[str]:
  """The command, the number of landmarks in its place.

  Args:
    step: whose.
    landmark_word: stands for the number where it is not known yet.
  """
  number = landmarks(step)
  if number == '{landmarks}' and landmark_word:
    number = landmark_word
  return (part.replace('{landmarks}', number) for part in step.command)


def write(options: Options, epochs_of: Callable[[str], float]) -> None:
  """Writes `plan.json`: the options, and all that fills any table of the paper, whether it was asked for or not."""
  whole = dataclasses.replace(options, tables=tuple(TABLES), figures=tuple(experiments.FIGURES), beyond=True)
  content = {
    'options': {name: _plain(value) for name, value in dataclasses.asdict(options).items()},
    'steps': [
      {
        'name': step.name,
        'experiment': step.experiment,
        'split': step.split,
        'seed': step.seed,
        'config': step.config,
        'fields': dict(step.fields),
        'folder': remote.named(step.folder),
        'done': remote.named(step.done),
      }
      for step in plan(whole, epochs_of)
    ],
  }
  atomic.write(options.out / PLAN_FILE, json.dumps(content, indent=1) + '\n')


def _plain(value):
  return remote.named(value) if isinstance(value, pathlib.Path) else value


@dataclasses.dataclass(frozen=True)
class Run:
  """A run that the page may show: a step of the plan, as `plan.json` holds it."""

  name: str
  experiment: str
  split: str
  seed: int
  config: str
  fields: dict[str, str]
  folder: pathlib.Path
  done: pathlib.Path


def read(out: pathlib.Path) -> tuple[Options, list[Run]]:
  """What `write` wrote.

  Raises:
    DataError: it is absent or damaged.
  """
  path = out / PLAN_FILE
  try:
    content = json_text.parse(path.read_text(encoding='utf-8'))
    given: dict[str, Any] = {
      name: tuple(value) if isinstance(value, list) else value for name, value in content['options'].items()
    }
    for name in ('data', 'out', 'data_avec'):
      given[name] = given[name] and pathlib.Path(cli.path(given[name]))
    options = Options(**given)
    runs = [
      Run(**{**step, **{name: pathlib.Path(cli.path(step[name])) for name in ('folder', 'done')}})
      for step in content['steps']
    ]
    return options, runs
  except (FileNotFoundError, NotADirectoryError):
    raise DataError(f'{path}: not found; `e2e-affect reproduce` writes it') from None
  except (ValueError, KeyError, TypeError) as e:
    raise DataError(f'{path}: damaged ({e!r}); `e2e-affect reproduce` writes it anew') from None
