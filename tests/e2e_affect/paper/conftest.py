"""A demo with two seeds, made once for all tests of this folder."""

import pytest

from e2e_affect.paper import __main__, plan
from tests.e2e_affect.paper import folders


@pytest.fixture(scope='session')
def made_folder(tmp_path_factory):
  """The rival svr_egemaps is bad; rvm_geometry and one network without a stream were not run."""
  out = tmp_path_factory.mktemp('paper') / 'out'
  skip = {'rvm_geometry', 'fused_dropout_without_speech'}
  folders.make(out, skip=skip, noise={'svr_egemaps': 2.0, 'speech': 0.1}, seeds=2, demo=True)
  (out / 'times.json').write_text('{"speech": {"seconds": 280, "ended": true}}')
  __main__.main(str(out))
  return out


@pytest.fixture(scope='session')
def made_runs(made_folder):
  """The options and runs of `made_folder`."""
  return plan.read(made_folder)
