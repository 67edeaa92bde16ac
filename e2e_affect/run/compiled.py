"""Compiled code that serves later starts of the program: a network takes up to a minute to compile, and no time to
load."""

import contextlib
import os

import jax

from data_prep.core import remote

_FOLDER = 'compiled'
_MOST_BYTES = 1 << 30  # what was not used for longest goes first


def keep() -> None:
  """Has JAX keep what it compiles below the folder of caches; to be called before anything is compiled.

  Whoever has set JAX_COMPILATION_CACHE_DIR keeps what is said there. Where the folder cannot be made, nothing is kept.
  JAX's keys are of the program, its own version and the processor.
  """
  if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    folder = os.path.join(remote.cache(), _FOLDER)
    with contextlib.suppress(OSError):
      os.makedirs(folder, exist_ok=True)
    if os.access(folder, os.W_OK):
      jax.config.update('jax_compilation_cache_dir', folder)
      jax.config.update('jax_compilation_cache_max_size', _MOST_BYTES)
