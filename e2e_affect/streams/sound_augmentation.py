"""What makes few speakers more: changes of the sound of training sequences, on the device, each off by default.

Draws depend on the sequences' keys alone, and so not on how a batch is spread over devices.
"""

from typing import Any

import jax
import jax.numpy as jnp

_PARTS = 100  # of the speed: it is drawn in hundredths


def at_other_speed(batch: dict[str, jax.Array], largest: float, keys: jax.Array) -> dict[str, jax.Array]:
  """Every sequence played faster or slower, as a tape is: pitch and formants move with the tempo.

  Samples between two samples are their linear interpolation. A step has the label of what is heard at its middle. What
  a slower sequence has left at its end is cut; a faster one is filled up, not valid.

  Args:
    batch: `audio` [B, T, S], `valid`, `mask` [B, T] and `label` [B, T, K] among others.
    largest: change of the speed, drawn from ± it in hundredths; 0.1: from 0.90 to 1.10.
    keys: [B] PRNG keys.
  """
  _, steps, samples = batch['audio'].shape
  within, length = round(_PARTS * largest), steps * samples
  turns = -(-length // _PARTS)
  block = _PARTS + within + 1

  def play(key, audio, valid, mask, label):
    # Every hundred samples the pattern repeats, `speed` samples later: one small matrix product for all turns. Single
    # samples are gathered ten times as slowly on a CPU.
    speed = _PARTS + jax.random.randint(key, (), -within, within + 1)
    rest = jnp.arange(_PARTS) * speed
    offset = rest // _PARTS - jnp.arange(block)[:, None]  # [block, 100]
    between = rest % _PARTS / _PARTS
    weight = jnp.where(offset == 0, 1 - between, jnp.where(offset == -1, between, 0.0))
    # Past the end is silence.
    flat = jnp.pad(audio.reshape(-1).astype(jnp.float32), (0, turns * (_PARTS + within) + block - length))
    blocks = jax.vmap(lambda turn: jax.lax.dynamic_slice(flat, (turn * speed,), (block,)))(jnp.arange(turns))
    heard = (blocks @ weight).reshape(-1)[:length]
    step = jnp.arange(steps)
    middle = jnp.minimum((2 * step + 1) * speed // (2 * _PARTS), steps - 1)
    last = -(-(step + 1) * speed // _PARTS) - 1  # the last step that is heard in part
    valid = jnp.where(last < steps, valid[jnp.minimum(last, steps - 1)], 0)
    return heard.reshape(audio.shape), valid, mask[middle] * valid, label[middle]

  names = ('audio', 'valid', 'mask', 'label')
  return batch | dict(zip(names, jax.vmap(play)(keys, *(batch[name] for name in names)), strict=True))


def disturbed(audio: jax.Array, valid: jax.Array, augment: Any, keys: jax.Array) -> jax.Array:
  """Louder or quieter, with noise, with a gap.

  Args:
    audio: [B, T, S], 0 outside of the recording.
    valid: [B, T].
    augment: `config.augment`; of it `gain`, `noise_snr` and `time_mask`.
    keys: [B] PRNG keys.
  """

  def of(key, audio, valid):
    gain, snr, noise, width, first = jax.random.split(jax.random.fold_in(key, 1), 5)  # faces split the key itself
    if augment.noise_snr:
      power = jnp.sum(audio**2) / jnp.maximum(audio.shape[1] * valid.sum(), 1.0)
      low, high = augment.noise_snr
      deviation = jnp.sqrt(power * 10 ** (-jax.random.uniform(snr, (), minval=low, maxval=high) / 10))
      audio += deviation * jax.random.normal(noise, audio.shape) * valid[:, None]
    if augment.gain:
      audio *= 10 ** (jax.random.uniform(gain, (), minval=-augment.gain, maxval=augment.gain) / 20)
    if augment.time_mask:
      width = jax.random.randint(width, (), 0, augment.time_mask + 1)
      length = valid.sum().astype(jnp.int32)
      place = jnp.arange(len(valid)) - jax.random.randint(first, (), 0, jnp.maximum(length - width, 0) + 1)
      audio = jnp.where(((place >= 0) & (place < width))[:, None], 0.0, audio)
    return audio

  return jax.vmap(of)(keys, audio, valid)
