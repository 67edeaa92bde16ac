"""Out of memory in one line: before the first batch is read where that is sure, else where the device says so."""

from collections.abc import Iterator
import contextlib
import os

import jax
import ml_collections

from data_prep.core.errors import UserError
from data_prep.schema.fields import Layout


def refuse_absurd_batch(config: ml_collections.ConfigDict, layout: Layout) -> None:
  """Refuses a batch whose sequences alone are more than this machine's memory.

  Args:
    config: of the run.
    layout: of its data.

  Raises:
    UserError: its size, and that of the memory.
  """
  fields = [field for name in config.model.modalities for field in layout.streams.get(name, ())]
  a_step = sum(field.bytes_per_step for field in fields if field.per == 'step')
  needed = config.batch_size / jax.process_count() * config.data.sequence_steps * a_step
  there = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
  if needed > there:
    raise UserError(
      f'config.batch_size = {config.batch_size}: so many sequences of {config.data.sequence_steps} steps '
      f'take {needed / 1e9:.3g} GB, this machine has {there / 1e9:.3g} GB; lower --config.batch_size'
    )


@contextlib.contextmanager
def told(advice: str) -> Iterator[None]:
  """Turns what a library raises where memory is not enough, on the device or on the host, into the user's error.

  Args:
    advice: what to do.

  Raises:
    UserError: out of memory.
  """
  try:
    yield
  except (MemoryError, jax.errors.JaxRuntimeError) as e:
    said = str(e).strip().split('\n')[0][:200]
    if not isinstance(e, MemoryError) and 'RESOURCE_EXHAUSTED' not in said:
      raise
    raise UserError(f'out of memory ({said or "on the host"}); {advice}') from None
