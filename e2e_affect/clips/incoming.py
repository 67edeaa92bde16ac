"""Standard input as steps: a container, or PCM.

What differs from reading a file is said in `data_prep.recordings.live`.
"""

from collections.abc import Iterator

import numpy as np

from data_prep.core import cli
from data_prep.core.errors import DataError
from data_prep.recordings import live
from data_prep.schema.grid import Grid
from e2e_affect.clips import pcm
from e2e_affect.clips.everybody import Everybody
from e2e_affect.clips.online import OnlineNetwork


def steps(network: OnlineNetwork | Everybody, source: live.Source) -> Iterator[live.Step]:
  """What comes in, step by step, as soon as a step is complete.

  Args:
    network: for which.
    source: of signed 16-bit little-endian mono PCM at the grid's rate, or of a container.

  Raises:
    DataError: it is neither, or lacks what the network takes; nothing has been yielded. Or PCM ends within a sample,
      after all steps before.
  """
  wanted = 2 * network.grid.samples_per_step  # bytes
  # Two steps at once: enough to see two frames of every kind of file. It delays no line by more than a step.
  kind = pcm.container_of(source.peek(2 * wanted))
  if kind:
    everybody = isinstance(network, Everybody)
    container = live.Live(
      source, kind, network.grid, picture=network.sees, detector=network.detector, everybody=everybody
    )
    if everybody and not container.sees:
      raise DataError(f'standard input is {kind} file without a picture, in which --faces=all could be found')
    if not (network.hears and container.hears or network.sees and container.sees):
      raise DataError(f'standard input is {kind} file without {_wanted(network)}, which the network takes')
    yield from container
    if container.lost:
      cli.complain(f'{container.lost} packets could not be decoded: silence, or the picture before, took their place')
    return
  if not network.hears or isinstance(network, Everybody):
    raise DataError(
      'standard input is no container, and a picture is wanted; send Matroska: ffmpeg -i FILE -f matroska - | …'
    )
  while True:
    data = source.read_whole(wanted)
    whole = data[: len(data) // 2 * 2]
    if whole:
      yield live.Step(np.frombuffer(whole, '<i2'))
    if len(data) < wanted:
      break
  if len(data) % 2:
    raise DataError(f'standard input ends within a sample; expected 16-bit PCM: {pcm_format(network.grid)}')


def _wanted(network):
  return ' or '.join(['sound'] * network.hears + ['a picture'] * network.sees)


def pcm_format(grid: Grid) -> str:
  """What PCM must be, in words."""
  return f'{grid.sample_rate / 1000:g} kHz, mono, little-endian'
