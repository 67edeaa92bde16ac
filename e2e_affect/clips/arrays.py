"""A user's arrays, checked and turned into what a network reads."""

from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from data_prep.schema.fields import Layout
from e2e_affect import streams
from e2e_affect.clips.signals import ClipSignals


def signals(arrays: Mapping[str, Any], model: ml_collections.ConfigDict, layout: Layout) -> ClipSignals:
  """What the network of a config reads of arrays.

  Args:
    arrays: name -> array, or None; the names are those that streams give.
    model: `config.model`.
    layout: of the data that the network was trained on.

  Raises:
    ValueError: arrays of another shape or type; one that the network needs is missing, or one it has no part for is
      given; or they are of different lengths.
  """
  given = {name: _array(name, values) for name, values in arrays.items() if values is not None}
  own = [stream for stream in streams.of(model) if stream.arrays]
  for stream in streams.STREAMS.values():
    for name in stream.arrays:
      if name in given and stream not in own:
        raise ValueError(
          f'{name} given to a network of {" + ".join(model.modalities)}, which has no {stream.name} part'
        )
    if own == [stream] and stream.arrays[0] not in given:
      raise ValueError(f'{stream.arrays[0]} missing: this is a {stream.name} network')
  present = [stream for stream in own if stream.arrays[0] in given]
  if not present:
    raise ValueError(f'neither {" nor ".join(stream.arrays[0] for stream in own)} given')
  for stream in own:
    for name in stream.arrays[1:]:
      if name in given and stream not in present:
        raise ValueError(f'{name} given without {stream.arrays[0]}')
  values = {stream: stream.of_arrays(given, layout.streams[stream.name], layout.grid) for stream in present}
  return ClipSignals(_steps(values, layout), {name: value for of in values.values() for name, value in of.items()})


def _steps(values, layout):
  """How many steps the recording has: as many as the streams that may not end early, if there are any."""
  counts = {
    stream: len(of[field.name])
    for stream, of in values.items()
    for field in layout.streams[stream.name]
    if field.per == 'step'
  }
  steps = max([count for stream, count in counts.items() if not stream.ends_early] or counts.values())
  if any(count > steps or (count < steps and not stream.ends_early) for stream, count in counts.items()):
    raise ValueError(
      f'{" and ".join(stream.amount(of) for stream, of in values.items())}, expected at most {steps} steps of each, '
      f'{layout.grid.samples_per_step} samples a step of {1000 * layout.grid.step_seconds:g} ms'
    )
  return steps


def _array(name, values):
  try:
    return np.asarray(values)
  except (ValueError, TypeError):
    raise ValueError(f'{name} is no array: ragged; expected rows of the same length') from None
