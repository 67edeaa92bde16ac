"""Compiled code is kept for later starts."""

import os
import subprocess
import sys

from tests import trainings

CODE = """
import jax
from e2e_affect.run import compiled
compiled.keep()
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
jax.jit(lambda x: x @ x + 1)(jax.numpy.ones((9, 9)))
print(sum(name == '/jax/compilation_cache/cache_hits' for name in hits), jax.config.jax_compilation_cache_dir)
"""


def start(**more):
  """Compiles in a process of its own; returns how much of it was loaded, and the folder."""
  given = trainings.environment(**more)
  environment = {name: of for name, of in given.items() if name in more or not name.startswith(('JAX_COM', 'JAX_PER'))}
  done = subprocess.run([sys.executable, '-c', CODE], env=environment, capture_output=True, text=True, check=False)
  assert done.returncode == 0 and not done.stderr, done.stderr
  hits, folder = done.stdout.split()
  return int(hits), folder


def test_a_second_start_loads_what_the_first_compiled(tmp_path):
  first, folder = start(E2E_AFFECT_CACHE=str(tmp_path))
  assert first == 0 and folder == f'{tmp_path}/compiled' and os.listdir(folder)
  assert start(E2E_AFFECT_CACHE=str(tmp_path))[0] >= 1


def test_a_folder_that_was_chosen_stays(tmp_path):
  chosen = str(tmp_path / 'chosen')
  assert start(E2E_AFFECT_CACHE=str(tmp_path / 'other'), JAX_COMPILATION_CACHE_DIR=chosen)[1] == chosen
  assert not (tmp_path / 'other').exists()


def test_where_nothing_can_be_kept_the_program_goes_on(tmp_path):
  (tmp_path / 'file').touch()
  assert start(E2E_AFFECT_CACHE=str(tmp_path / 'file')) == (0, 'None')
