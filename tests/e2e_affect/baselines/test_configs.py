"""Every config of a rival is built and locked, and every field is explained."""

import importlib
import pathlib

import pytest

from data_prep.features import store
from e2e_affect.baselines import registry
from e2e_affect.config import experiments

ROOT = pathlib.Path(__file__).resolve().parents[3]
ARGUMENTS = {
  'svr': ('egemaps', 'compare', 'appearance', 'geometry', 'early'),
  **dict.fromkeys(('rvm', 'oa_rvm', 'staircase'), ('egemaps', 'appearance', 'geometry', 'egemaps_geometry')),
  'strength': ('egemaps', 'compare', 'appearance', 'geometry', 'feature', 'decision'),
}


@pytest.mark.parametrize(
  'name, argument',
  [(name, one + size) for name, of in ARGUMENTS.items() for one in of for size in ('', '_demo')]
  + [('svm', 'egemaps'), ('svm', 'compare')],  # the simulated corpus has no classes
)
def test_every_config_builds(name, argument):
  module = importlib.import_module(f'configs.baselines.{name}')
  assert f'python -m e2e_affect.baseline --config=configs/baselines/{name}.py' in module.__doc__
  config = experiments.config(f'{name}:{argument}')
  assert config.is_locked and config.name == f'{name}_{argument.removesuffix("_demo")}'
  assert set(config.features) <= set(store.FEATURES)
  assert type(registry.of(config)) is registry.RIVALS[name]
  with pytest.raises(ValueError, match="unknown config argument 'mfcc'; known: egemaps"):
    module.get_config('mfcc')


def test_every_field_is_explained():
  for path in (ROOT / 'e2e_affect' / 'baselines').glob('*.py'):
    for line in path.read_text().splitlines():
      if line.startswith('  c.') or line.startswith('    c.'):
        assert 'ConfigDict()' in line or '  # ' in line, f'{path.name}: {line}'
