"""A trained network as one program for others, its recurrent state among inputs and outputs, so that it can stream.

    network.onnx        for ONNX Runtime and what else reads ONNX
    network.stablehlo   for `jax.export.deserialize` and what else reads StableHLO: CPU, CUDA and TPU
    graph.json          what goes in and comes out, and what to do with it: `about`
    README.md           the model card

Both take the same, of a chunk of T steps: sound with C steps of context on either side, the mean and deviation of the
recording's sound, faces, and the state after the chunk before. The traces are raw: post-processing needs the whole
recording. All is computed in float32.
"""

from collections.abc import Callable
import json
import operator
import pathlib
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import ml_collections
import numpy as np

from data_prep.core import atomic
from data_prep.core.errors import UserError
from e2e_affect import streams
from e2e_affect.clips import model_card
from e2e_affect.clips.network import Network
from e2e_affect.evaluate import chunks
from e2e_affect.layers import cpu_kernels, recurrent
from e2e_affect.models import affect
from e2e_affect.run.origin import SIMULATED

ABOUT_FILE = 'graph.json'
CLOSE = 1e-4  # between what the written graph says and what the network says
_PLATFORMS = ('cpu', 'cuda', 'tpu')
_WANTED = {
  'head': 'regression',
  'model.speech.variant': 'paper',
  'model.speech.normalise': 'recording',
  'model.recurrent.bidirectional': False,
  'model.recurrent.pool': False,
  'model.recurrent.cell_clip': 0.0,
  'model.recurrent.restart_steps': 0,
}
_USE = 'Run `{file}` chunk by chunk; `graph.json` says what goes in and comes out.'
_MEANING = {
  'audio': 'int16 sound, a row for each step, with context_steps before and after',
  'audio_mean': 'mean of the whole recording, or of what was heard so far',
  'audio_std': 'standard deviation of the same; 0 where there is no sound',
  'valid': '1, or 0 where a step lies before or after the recording',
  'face': 'RGB crops of the face, as data_prep.face.cropping makes them; any where face_found is 0',
  'face_found': 'confidence that there is a face; 0: none, or no picture',
  'cell': 'state after the chunk before; zeros at the start',
  'hidden': 'state after the chunk before; zeros at the start',
  'traces': 'raw; what is said at step t is of step t + label_delay_steps',
  'next_cell': 'state, for the next chunk',
  'next_hidden': 'state, for the next chunk',
}


def check(config: ml_collections.ConfigDict, to: str) -> None:
  """Whether networks of a config can be written so.

  Raises:
    UserError: they cannot.
  """
  others = set(config.model.modalities) - set(_INPUTS)
  if others:
    raise UserError(
      f'the network reads {", ".join(sorted(others))}, and --to={to} takes networks of {", ".join(_INPUTS)} or both; '
      'leave --to out'
    )
  for field, wanted in _WANTED.items():
    found = operator.attrgetter(field)(config)
    stream = field.removeprefix('model.').partition('.')[0]
    if found != wanted and (stream not in streams.STREAMS or stream in config.model.modalities):
      raise UserError(
        f'config.{field} = {found!r} of the network, and --to={to} takes networks of {wanted!r}; leave --to out'
      )
  if not config.model.recurrent.layers:
    raise UserError(f'config.model.recurrent.layers = 0, and --to={to} takes networks with a state; leave --to out')


def save(network: Network, folder, to: str) -> float:
  """Writes the files, runs what was written, and holds it against the network.

  Args:
    network: of a config that `check` lets through.
    folder: to write; made where it is absent.
    to: 'onnx' or 'stablehlo'.

  Returns:
    The largest difference over four chunks of noise, at most `CLOSE`.

  Raises:
    UserError: what was written says something else.
    WorkdirError, DiskFullError: it cannot be written.
  """
  folder = pathlib.Path(folder)
  path = folder / f'network.{to}'
  with atomic.writing(folder):
    (folder / ABOUT_FILE).unlink(missing_ok=True)
  write(network, path)
  difference = _difference(network, load(path))
  if not difference <= CLOSE:  # NaN, too
    raise UserError(
      f'{path}: says up to {difference:.2g} else than the network, expected at most {CLOSE:g}; try other versions of '
      'what runs it'
    )
  atomic.write(folder / 'README.md', model_card.card(network, ABOUT_FILE, _USE.format(file=path.name)))
  atomic.write(folder / ABOUT_FILE, json.dumps(_about(network, to), indent=1, ensure_ascii=False) + '\n')
  return difference


def write(network: Network, path: pathlib.Path) -> None:
  """Writes the program alone, in the format that the suffix names; the rest as `save`."""
  if path.suffix == '.onnx':
    from e2e_affect.clips import onnx_graph  # the extra `onnx` brings its library

    model = onnx_graph.model(network, *signature(network), context_steps(network), _sentence(network))
    atomic.write(path, model.SerializeToString())
  else:
    atomic.write(path, bytes(_exported(network).serialize()))


def load(path: pathlib.Path) -> Callable:
  """What `write` wrote as a function, of arrays in the order of `signature`."""
  if path.suffix == '.onnx':
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    names = [value.name for value in session.get_inputs()]
    return lambda *arrays: session.run(None, dict(zip(names, arrays)))
  return jax.jit(jax.export.deserialize(bytearray(path.read_bytes())).call)


def context_steps(network: Network) -> int:
  """C: steps on either side that the filters see, and no more: the fewer, the sooner a chunk can be predicted."""
  model = network.config.model
  return max(stream.reach(model, network.layout.grid) for stream in streams.of(model))


def signature(network: Network) -> tuple[dict, dict]:
  """Names of inputs and outputs -> type and shape, in which `batch` and `steps` stand for any number."""
  options, context = network.config.model.recurrent, context_steps(network)
  inputs: dict[str, tuple[str, tuple]] = {}
  for name in network.modalities:
    inputs |= _INPUTS[name](network.layout, context)
  state = ('float32', (options.layers, 'batch', options.units))
  outputs = {
    'traces': ('float32', ('batch', 'steps', len(network.targets))),
    'next_cell': state,
    'next_hidden': state,
  }
  return inputs | {'cell': state, 'hidden': state}, outputs


def _heard(layout, context):
  wide = f'steps + {2 * context}'
  return {
    'audio': ('int16', ('batch', wide, layout.grid.samples_per_step)),
    'audio_mean': ('float32', ('batch',)),
    'audio_std': ('float32', ('batch',)),
    'valid': ('float32', ('batch', wide)),
  }


def _seen(layout, context):
  del context  # no filter looks beside a step
  return {
    'face': ('uint8', ('batch', 'steps', *layout.streams['visual'][0].shape)),
    'face_found': ('float32', ('batch', 'steps')),
  }


_INPUTS = {'speech': _heard, 'visual': _seen}  # of a stream, for graphs


def sizes(shape: tuple, context: int, steps: int) -> tuple[int, ...]:
  """A shape of `signature` for one recording and a number of steps."""
  known = {'batch': 1, 'steps': steps, f'steps + {2 * context}': steps + 2 * context}
  return tuple(known.get(size, size) for size in shape)


def _exported(network):
  """Of a chunk of one record and one recording: the blocks of the long filter depend on the number of steps."""
  context, steps = context_steps(network), network.layout.grid.steps_per_record
  inputs, _ = signature(network)
  arguments = [jax.ShapeDtypeStruct(sizes(shape, context, steps), dtype) for dtype, shape in inputs.values()]
  with cpu_kernels.portable():
    return jax.export.export(jax.jit(_function(network)), platforms=_PLATFORMS)(*arguments)


def _function(network) -> Callable:
  """The network as a function of arrays, in the order of `signature`."""
  (names, _), context = signature(network), context_steps(network)
  config = ml_collections.ConfigDict(network.config).unlock()
  config.dtype = 'float32'
  model, frozen = affect.make_model(config, network.layout, None), ml_collections.FrozenConfigDict(config)
  layers = config.model.recurrent.layers

  def step(*arrays):
    batch = dict(zip(names, arrays))
    cell, hidden = batch.pop('cell'), batch.pop('hidden')
    if 'valid' not in batch:
      batch['valid'] = jnp.ones_like(batch['face_found'])
    carry = recurrent.Carry(
      [(cell[layer], hidden[layer]) for layer in range(layers)], jnp.zeros(len(cell[0]), jnp.int32)
    )
    # Compilers would take the transforms of the taps for constants, and evaluate them number by number: minutes.
    variables = jax.lax.optimization_barrier(network.variables)
    traces, after = chunks.eval_step(variables, batch, carry, model=model, config=frozen, context=context)
    return traces, *(jnp.stack(parts) for parts in zip(*after.layers))

  return step


def _difference(network, written: Callable) -> float:
  """Runs both on four chunks of noise, the third without a face, the fourth without sound."""
  (inputs, _), context = signature(network), context_steps(network)
  steps, rng = network.layout.grid.steps_per_record, np.random.default_rng(0)
  programs: list[Callable] = [jax.jit(_function(network)), written]
  worst = 0.0
  states = [[np.zeros(sizes(inputs[name][1], context, steps), np.float32) for name in ('cell', 'hidden')]] * 2
  for chunk in range(4):
    arrays = []
    for name, (dtype, shape) in inputs.items():
      size = sizes(shape, context, steps)
      if name in ('audio', 'face'):
        limits = np.iinfo(dtype)
        arrays.append(rng.integers(limits.min, limits.max, size, dtype, endpoint=True))
      elif name not in ('cell', 'hidden'):
        absent = (name, chunk) in (('face_found', 2), ('audio_std', 3))
        value = 0.0 if absent else {'audio_mean': 100.0, 'audio_std': 19_000.0}.get(name, 1.0)
        arrays.append(np.full(size, value, np.float32))
    said = [[np.asarray(part) for part in run(*arrays, *state)] for run, state in zip(programs, states)]
    worst = max(worst, float(np.abs(said[0][0] - said[1][0]).max()))
    states = [parts[1:] for parts in said]
  return worst


def _sentence(network):
  words = (
    f'{" + ".join(network.modalities)} network of e2e_affect: {", ".join(network.targets)}, raw. See {ABOUT_FILE}.'
  )
  return f'{words} {SIMULATED}' if network.simulated else words


def _about(network, to) -> dict[str, Any]:
  inputs, outputs = signature(network)
  grid, about = network.layout.grid, network.about
  described = lambda values: {
    name: {'dtype': dtype, 'shape': list(shape), 'meaning': _MEANING[name]} for name, (dtype, shape) in values.items()
  }
  return {
    'format': to,
    'fixed': {} if to == 'onnx' else {'batch': 1, 'steps': grid.steps_per_record},
    'sample_rate': grid.sample_rate,
    'step_seconds': grid.step_seconds,
    'samples_per_step': grid.samples_per_step,
    'context_steps': context_steps(network),
    'label_delay_steps': network.config.data.label_delay_steps,
    'inputs': described(inputs),
    'outputs': described(outputs),
    'trained_on': network.origin.for_json(),
    'simulated': network.simulated,
    **{name: about[name] for name in ('targets', 'label_scale', 'postprocessing', 'checkpoint', 'dataset', 'commit')},
  }
