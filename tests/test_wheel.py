"""The wheel: what is in it, and that it works where no checkout is, in a folder with foreign packages.

The dependencies are those of this environment: to install them anew takes minutes and a network. So this does not show
that `setup.cfg` names every dependency (tests/test_launch.py holds it against the lock). It shows that the program is
whole without a checkout: the wheel is unpacked into a folder that stands before all else in the search path.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import soundfile

from e2e_affect.__main__ import COMMANDS
from e2e_affect.clips import exported
from tests.networks import small_network

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ('data_prep', 'e2e_affect', 'configs')
pytestmark = pytest.mark.skipif(not (ROOT / '.git').exists(), reason='git says here which files are in the wheel')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
  """Built from a copy of what git tracks, so that nothing else can get in."""
  copy, out = tmp_path_factory.mktemp('copy'), tmp_path_factory.mktemp('wheel')
  listed = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True, check=True).stdout
  for name in filter(None, listed.split('\0')):
    if (ROOT / name).exists():  # not one that was just removed
      (copy / name).parent.mkdir(parents=True, exist_ok=True)
      shutil.copy(ROOT / name, copy / name, follow_symlinks=False)
  # Setuptools is there: JAX or TensorFlow brings it. An isolated build would fetch it.
  build = ['-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', f'--wheel-dir={out}', '.']
  subprocess.run([sys.executable, *build], cwd=copy, check=True)
  (path,) = out.iterdir()
  return path


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
  folder = tmp_path_factory.mktemp('installed')
  install = ['-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index', f'--target={folder}', str(wheel)]
  subprocess.run([sys.executable, *install], check=True)
  return folder


@pytest.fixture
def run(installed, tmp_path):
  """Runs `e2e-affect` of the wheel in a folder whose packages of the names of ours fail on import."""
  for name in ('configs', 'tests', 'data', 'benchmarks', 'launch'):
    (tmp_path / name).mkdir()
    (tmp_path / name / '__init__.py').write_text('raise RuntimeError("foreign")\n')
  env = {**os.environ, 'PYTHONPATH': str(installed), 'XLA_FLAGS': '', 'JAX_PLATFORMS': 'cpu'}

  def command(*arguments, python=()):
    program = ['-c', *python] if python else [str(installed / 'bin' / 'e2e-affect'), *map(str, arguments)]
    return subprocess.run(
      [sys.executable, *program], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )

  return command


@pytest.mark.slow
def test_the_wheel_holds_the_packages_with_their_files_and_nothing_else(wheel):
  tracked = subprocess.run(['git', 'ls-files', *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True).stdout
  expected = {name.replace('configs/', 'e2e_affect/experiments/') for name in tracked.splitlines()}
  expected.remove('e2e_affect/experiments')  # the link
  held = {name for name in zipfile.ZipFile(wheel).namelist() if '.dist-info/' not in name}
  assert held == expected
  assert wheel.stat().st_size < 2e6


@pytest.mark.slow
def test_commands_of_the_wheel_work_in_a_folder_with_foreign_packages(run, installed, tmp_path):
  where = run(python=('import e2e_affect, data_prep; print(e2e_affect.__file__, data_prep.__file__)',))
  assert where.stdout.count(str(installed)) == 2, where
  helped = run('--help')
  assert helped.returncode == 0 and all(f'  {command} ' in helped.stdout for command in COMMANDS)

  # Built-in experiments, of networks and of rivals, whose files import each other: the data come next.
  for command, config in (('train', 'fused:demo'), ('baseline', 'strength:egemaps_demo')):
    done = run(command, f'--config={config}', '--config.data.dir=nowhere')
    assert done.returncode == 65 and done.stderr.splitlines()[-1].startswith('error: nowhere/manifest.json'), done

  (tmp_path / 'data' / 'manifest.json').touch()
  plan = run('reproduce', '--data=data', '--out=runs', '--demo', '--tables=II', '--figures=', '--dry_run')
  assert plan.returncode == 0 and '--config=speech:demo' in plan.stdout and not plan.stderr

  # A page is made of the assets and templates.
  exported.save(small_network('speech'), tmp_path / 'network')
  soundfile.write(tmp_path / 'a.wav', np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
  done = run('predict', '--checkpoint=network', '--out=out', '--format=vtt', 'a.wav')
  assert done.returncode == 0, done.stderr
  assert json.loads((tmp_path / 'out' / 'a.json').read_text())['commit'] == 'e2e_affect 0.1.0'
  assert '<html' in (tmp_path / 'out' / 'a.html').read_text() and (tmp_path / 'out' / 'vtt').is_dir()
