"""Whole updates, forward, backward and Adam, against PyTorch's.

    python -m benchmarks.step --out=benchmarks/results

Speech with the paper's filters meets two peers: the shortened network that its authors released and End2You trains,
and the paper's network with the long convolution done directly. Ours includes augmentation, on the device.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from benchmarks import measure, work
from configs import fused, speech, visual
from data_prep.face import cropping
from data_prep.schema.fields import Layout
from data_prep.schema.grid import PAPER
from e2e_affect.models import affect
from e2e_affect.streams import layout_of_paper
from e2e_affect.train import train_state, update

_SHORTENED, _CHANNELS_LAST = 'PyTorch, shortened (20 and 40 taps)', 'PyTorch, channels last'
# (modality, batch) -> a peer, and how many times as long it shall take at least.
_GOALS = {('speech', 1): (_SHORTENED, 1.3), ('visual', 1): (_CHANNELS_LAST, 1.0)}
_CONFIGS = {'speech': speech, 'visual': visual, 'fused': fused}
# (modality, batch, type): a CPU has neither the memory nor the time for more; of an accelerator the largest fills it.
_CPU = [('speech', 1, 'float32'), ('speech', 25, 'float32'), ('visual', 1, 'float32'), ('fused', 1, 'float32')]
_ACCELERATOR = [
  (modality, batch, dtype)
  for dtype in ('float32', 'bfloat16')
  for modality, batches in (('speech', (25, 200)), ('visual', (2, 16, 32)), ('fused', (2, 16, 32)))
  for batch in batches
]


def config_of(modality: str, dtype: str, quick: bool) -> ml_collections.ConfigDict:
  """The published config."""
  config = _CONFIGS[modality].get_config()
  config.dtype = dtype
  if quick:
    config.model.speech.filters, config.model.speech.long_taps = 10, 100
    config.model.visual.width, config.model.visual.image_size = 4, 32
  return config


def layout_of(config: ml_collections.ConfigDict) -> Layout:
  """That of the paper, with the config's streams."""
  return layout_of_paper(config.model, ('arousal', 'valence'))


def batch_of(config: ml_collections.ConfigDict, batch_size: int, num_steps: int) -> dict:
  """A batch of noise, on the device."""
  rng = np.random.default_rng(0)
  batch = affect.example_batch(config, layout_of(config), batch_size, num_steps)
  batch |= {
    'mask': jnp.ones((batch_size, num_steps)),
    'label': jnp.asarray(rng.normal(size=(batch_size, num_steps, 2)), jnp.float32),
  }
  if 'audio' in batch:
    batch['audio'] = jnp.asarray(rng.integers(-9999, 9999, batch['audio'].shape, np.int16))
    batch['audio_std'] = jnp.full(batch_size, 5000.0)
  if 'face' in batch:
    batch['face'] = jnp.asarray(rng.integers(0, 256, batch['face'].shape, np.uint8))
  return batch


def updates(config: ml_collections.ConfigDict, state: train_state.TrainState) -> Callable[[dict], float]:
  """A function that does one whole update of ours on a batch and waits for it; it begins from a copy of `state`."""
  state = jax.tree.map(jnp.copy, state)  # no buffer twice: they are donated
  train = jax.jit(
    functools.partial(
      update.train_step,
      model=affect.make_model(config, layout_of(config), None),
      config=ml_collections.FrozenConfigDict(config),
    ),
    donate_argnums=0,
  )

  def step(batch):
    nonlocal state
    state, logged = jax.block_until_ready(train(state, batch, 0))
    return float(logged['loss'])

  return step


def our_step(config: ml_collections.ConfigDict, batch_size: int, num_steps: int) -> Callable[[], float]:
  """A function that does one whole update of ours, from fresh parameters, on a batch of noise, and waits for it."""
  run = updates(config, train_state.init_state(config, layout_of(config)))
  return functools.partial(run, batch_of(config, batch_size, num_steps))


def peer_steps(modality, batch_size, num_steps, dtype, timings):
  """PyTorch's; of the paper's speech network two. `timings` is `repeats` of `measure.Side`."""
  torch = measure.torch_or_none()
  if not torch or modality == 'fused':
    return []
  from benchmarks import peers

  rng = np.random.default_rng(0)
  train = functools.partial(peers.train_step, dtype=getattr(torch, dtype))
  if modality == 'visual':
    faces = rng.normal(size=(batch_size, num_steps, 3, cropping.FACE_SIZE, cropping.FACE_SIZE)).astype(np.float32)
    return [measure.Side(_CHANNELS_LAST, train(peers.ResNet50(), faces), timings)]
  sound = rng.normal(size=(batch_size, num_steps, PAPER.samples_per_step)).astype(np.float32)
  sides = [measure.Side(_SHORTENED, train(peers.ShortenedSpeech(), sound), timings)]
  if batch_size == 1 or jax.default_backend() != 'cpu':  # on a CPU half a minute a sequence
    sides.append(measure.Side('PyTorch, direct convolution', train(peers.DirectSpeech(), sound), 1))
  return sides


def main(out, repeats, quick):
  """Writes `out/step.json` of so many repeats; `quick` takes tiny sizes, to see that it runs."""
  num_steps = 2 if quick else 150
  rows = []
  on_cpu = jax.default_backend() == 'cpu'
  cases = _CPU if on_cpu else _ACCELERATOR
  for modality, batch, dtype in [('speech', 2, 'float32'), ('visual', 2, 'float32')] if quick else cases:
    timings = 5 if on_cpu and (modality != 'speech' or batch == 25) else None  # where a step takes seconds
    config = config_of(modality, dtype, quick)
    ours = measure.Side('ours', our_step(config, batch, num_steps), timings)
    sides = measure.alternate([ours, *peer_steps(modality, batch, num_steps, dtype, timings)], repeats)
    rows.append(
      measure.row(
        f'training step, {modality}, batch {batch}, {num_steps} steps, {dtype}',
        sides,
        gflop=1e-9 * work.train_step(config.model, batch, num_steps),
        items=(batch, 'sequences'),
        goal=_GOALS.get((modality, batch)),
      )
    )
  measure.write(out, 'step', rows, measure.peak(quick))


if __name__ == '__main__':
  measure.run(main)
