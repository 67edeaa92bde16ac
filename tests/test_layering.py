"""Imports point down the layers, data_prep stands alone, and TensorFlow stays where it belongs."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
# From the ground up; a module may import modules of lower lines only, besides its own line where it says so.
LAYERS = [
    ['data_prep.errors', 'data_prep.quiet_tf', 'data_prep.signals', 'data_prep.splits', 'e2e_affect.log',
     'e2e_affect.default_config', 'e2e_affect.switches', 'e2e_affect.version'],
    ['data_prep.atomic', 'data_prep.pool'],
    ['e2e_affect.weights.limits'],
    ['e2e_affect.weights.tensors', 'e2e_affect.weights.archive', 'e2e_affect.weights.tf_table'],
    ['e2e_affect.weights.resnet50', 'e2e_affect.weights.torch_file', 'e2e_affect.weights.containers',
     'e2e_affect.weights.store'],
    ['e2e_affect.weights.torchvision', 'e2e_affect.weights.keras', 'e2e_affect.weights.slim'],
    ['e2e_affect.weights.huggingface', 'e2e_affect.weights.released', 'e2e_affect.weights.end2you'],
    ['e2e_affect.weights.detect'],
    ['data_prep.records', 'data_prep.cli'],
    ['data_prep.endings'],
    ['data_prep.containers', 'data_prep.sound_clock', 'data_prep.sound_levels', 'data_prep.wav_header'],
    ['e2e_affect.traces', 'e2e_affect.losses', 'e2e_affect.models.long_conv', 'e2e_affect.models.dropout', 'e2e_affect.page', 'e2e_affect.pcm',
     'data_prep.audio_track', 'data_prep.video_track', 'data_prep.faces', 'data_prep.labels', 'data_prep.gold_standard'],
    ['e2e_affect.metrics', 'e2e_affect.models.speech', 'e2e_affect.models.resnet', 'e2e_affect.models.recurrent',
     'e2e_affect.augment', 'e2e_affect.metric_writer'],
    ['e2e_affect.models.affect', 'e2e_affect.postprocess', 'e2e_affect.chunks', 'e2e_affect.clip_files',
     'e2e_affect.clip_sources'],
    ['e2e_affect.steps', 'e2e_affect.clip_folder', 'e2e_affect.results', 'e2e_affect.config_check', 'e2e_affect.input_pipeline'],
    ['e2e_affect.workdir', 'e2e_affect.hold', 'e2e_affect.hosts', 'e2e_affect.memory', 'e2e_affect.stop'],
    ['e2e_affect.checkpoints', 'e2e_affect.plots', 'e2e_affect.network', 'e2e_affect.model_card', 'e2e_affect.feed'],
    ['e2e_affect.report', 'e2e_affect.init_from', 'e2e_affect.export', 'e2e_affect.clip_page', 'e2e_affect.stream'],
    ['e2e_affect.evaluate', 'e2e_affect.clip_index'],
    ['e2e_affect.train'],
    ['e2e_affect.main', 'e2e_affect.predict', 'e2e_affect.import_weights'],
]
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}
TENSORFLOW = {'data_prep.quiet_tf'}
QUIET_TF = {'data_prep.records', 'data_prep.shards', 'e2e_affect.input_pipeline', 'e2e_affect.weights.containers'}
ORBAX = {'e2e_affect.checkpoints'}


def modules(package):
  for path in sorted((ROOT / package).rglob('*.py')):
    name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    yield name.removesuffix('.__init__'), path


def imports(path):
  """Every module that a file imports, at its top or inside a function."""
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import'
      for alias in node.names:
        whole = f'{node.module}.{alias.name}'
        # `from package import module` means the module; `from module import name` the module before it.
        is_module = (ROOT / whole.replace('.', '/')).with_suffix('.py').exists()
        yield whole if is_module else node.module


ALL = {name: set(imports(path)) for package in ('e2e_affect', 'data_prep', 'configs') for name, path in modules(package)}


@pytest.mark.parametrize('name', sorted(n for n in ALL if n.startswith('e2e_affect.') and n not in ('e2e_affect.models', 'e2e_affect.weights')))
def test_imports_point_down(name):
  assert name in LEVEL, f'{name} has no place in LAYERS: give it one'
  for imported in ALL[name]:
    if imported.startswith('e2e_affect.'):
      assert LEVEL[imported] < LEVEL[name], f'{name} imports {imported}, which lies beside or above it'


@pytest.mark.parametrize('name', sorted(n for n in ALL if n.startswith('data_prep')))
def test_preparation_knows_neither_jax_nor_the_trainer(name):
  forbidden = {i for i in ALL[name] if i.split('.')[0] in ('jax', 'flax', 'optax', 'e2e_affect', 'configs')}
  assert not forbidden


def test_nothing_in_data_prep_below_the_corpus_readers_imports_up():
  for name in ('data_prep.errors', 'data_prep.records', 'data_prep.audio_track', 'data_prep.video_track',
               'data_prep.faces', 'data_prep.labels'):
    for imported in ALL[name]:
      if imported.startswith('data_prep'):
        assert LEVEL[imported] < LEVEL[name], (name, imported)


@pytest.mark.parametrize('library, allowed', [('tensorflow', TENSORFLOW), ('tensorflow_datasets', TENSORFLOW),
                                              ('data_prep.quiet_tf', QUIET_TF), ('orbax', ORBAX)])
def test_heavy_libraries_stay_in_their_files(library, allowed):
  users = {name for name, imported in ALL.items() if any(library in (i, i.split('.')[0]) for i in imported)}
  assert users and users <= allowed


def test_configs_import_nothing_but_the_defaults_and_ml_collections():
  for name, imported in ALL.items():
    if name.startswith('configs'):
      assert imported <= {'e2e_affect.default_config', 'ml_collections'}


@pytest.mark.parametrize('name', sorted(n for n in ALL if not n.startswith('configs')))
def test_what_is_installed_imports_no_experiment(name):
  assert not any(i.split('.')[0] == 'configs' for i in ALL[name])


@pytest.mark.parametrize('path', sorted(p for package in ('e2e_affect', 'data_prep', 'configs', 'launch')
                                        for p in (ROOT / package).rglob('*.py')), ids=lambda p: str(p.relative_to(ROOT)))
def test_lines_stay_short(path):
  lines = path.read_text(encoding='utf-8').splitlines()
  assert all(len(line) <= 120 for line in lines), [i + 1 for i, line in enumerate(lines) if len(line) > 120]
