"""From stored numbers to network inputs, on the device: normalisation, and augmentation in training."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

_STD_FLOOR = 1.0  # one int16 unit: digital silence stays zero instead of becoming NaN


def prepare(
  batch: dict[str, jax.Array],
  model: ml_collections.FrozenConfigDict,
  augment: ml_collections.FrozenConfigDict,
  keys: jax.Array | None,
) -> dict[str, jax.Array]:
  """Makes the network's inputs of a batch as it comes from the input pipeline.

  Args:
    batch: `audio` [B, T', S] int16, `audio_mean`, `audio_std` and `audio_gain` [B], `face` [B, T, 96, 96, 3] uint8,
      `face_found` [B, T], `landmarks` [B, T, L, 2], `valid` [B, T']; what a network does not use may be absent.
    model: `config.model`.
    augment: `config.augment`.
    keys: [B] PRNG keys, one a sequence, or None to evaluate: the centre or the whole face, no change of colour.

  Returns:
    The inputs of `AffectNetwork`.
  """
  inputs = {'valid': batch['valid']}
  if 'audio' in batch:
    audio = batch['audio'].astype(jnp.float32)
    if model.speech.normalise == 'recording':
      # Zero mean and unit variance over the whole recording (paper, section III-B).
      mean, std = batch['audio_mean'][:, None, None], batch['audio_std'][:, None, None]
      audio = (audio - mean) / jnp.maximum(std, _STD_FLOOR)
    else:
      audio = audio / (32768 * batch['audio_gain'][:, None, None])  # as the authors' code decodes int16
    inputs['audio'] = audio * batch['valid'][:, :, None]
    # A recording without a sound track is stored as zeros.
    inputs['audio_found'] = (batch['audio_std'] > 0).astype(jnp.float32)
  if 'face' in batch:
    visual = model.visual
    size, resized = visual.image_size, round(visual.image_size * augment.resize)
    face = batch['face'].astype(jnp.float32) / 255.0
    if keys is None:
      resized = size if augment.whole_face else resized
      offset = jnp.full((face.shape[0], 2), (resized - size) // 2)
      face = _resize_and_crop(face, resized, size, offset, augment.tf1_resize)
    elif augment.per_frame:
      # As sequences of one frame each: [B, T, …] -> [B·T, 1, …] -> [B, T, …]
      frames = face.reshape(-1, 1, *face.shape[2:])
      keys = jax.vmap(lambda key: jax.random.split(key, face.shape[1]))(keys).reshape(-1)
      face = _augment(frames, resized, size, augment, keys).reshape(*face.shape[:2], size, size, 3)
    else:
      face = _augment(face, resized, size, augment, keys)
    inputs['face'] = (face - jnp.asarray(visual.mean)) / jnp.asarray(visual.std)
    inputs['face_found'] = batch['face_found']
  if 'landmarks' in batch:
    inputs['landmarks'] = batch['landmarks']
  return inputs


def _augment(face, resized, size, augment, keys):
  """One crop, brightness and saturation a sequence, the same for all of its frames."""

  def draw(key):
    crop, brightness, saturation = jax.random.split(key, 3)
    return (
      jax.random.randint(crop, (2,), 0, resized - size + 1),
      jax.random.uniform(brightness, (), minval=-augment.brightness, maxval=augment.brightness),
      jax.random.uniform(saturation, (), minval=1 - augment.saturation, maxval=1 + augment.saturation),
    )

  offset, brightness, saturation = jax.vmap(draw)(keys)
  face = _resize_and_crop(face, resized, size, offset, augment.tf1_resize)
  if augment.saturation_first:
    face = adjust_saturation(face, saturation[:, None, None, None])
  face = face + brightness[:, None, None, None, None]
  if not augment.saturation_first:
    face = adjust_saturation(face, saturation[:, None, None, None])
  return jnp.clip(face, 0.0, 1.0)


def adjust_saturation(image: jax.Array, factor: jax.Array) -> jax.Array:
  """Scales the saturation of HSV at constant hue and value, without the detour over HSV.

  Args:
    image: [..., 3] RGB.
    factor: broadcasts to [...]; 1 changes nothing, 0 gives grey of the same value.

  Returns:
    [..., 3]; saturation is cut where the smallest channel reaches 0.
  """
  value = image.max(axis=-1, keepdims=True)
  spread = value - image.min(axis=-1, keepdims=True)
  # At a spread of 0 the pixel is grey and any limit will do.
  limit = jnp.where(spread > 0, value / jnp.where(spread > 0, spread, 1.0), 0.0)
  return value - (value - image) * jnp.minimum(factor[..., None], jnp.maximum(limit, 0.0))


def _resize_and_crop(face, resized, size, offset, tf1):
  """Bilinear resize to `resized` and a crop of `size` at `offset` [B, 2], as two matrix products.

  NOTE(paper): the paper resizes to 110×110 and crops 96×96 at random in training and does not say what
  evaluation sees; ours sees the central crop, so that faces are of the same size in both. The authors' code
  evaluates the whole face at its own size (`augment.whole_face`).
  """
  source = face.shape[2]
  if source == size == resized:
    return face
  matrix = jnp.asarray(_bilinear_tf1(source, resized) if tf1 else _bilinear(source, resized))  # [resized, source]
  rows = jax.vmap(lambda start: jax.lax.dynamic_slice_in_dim(matrix, start, size))(offset[:, 0])  # [B, size, source]
  columns = jax.vmap(lambda start: jax.lax.dynamic_slice_in_dim(matrix, start, size))(offset[:, 1])
  face = jnp.einsum('bhs,btswc->bthwc', rows, face)
  return jnp.einsum('bws,bthsc->bthwc', columns, face)


def _bilinear(source: int, target: int) -> np.ndarray:
  """[target, source] weights of a bilinear resize with half-pixel centres, antialiased when it shrinks."""
  scale = source / target
  width = max(scale, 1.0)  # of the triangle, in source pixels
  centre = (np.arange(target) + 0.5) * scale - 0.5
  weight = np.maximum(0.0, 1.0 - np.abs(np.arange(source)[None] - centre[:, None]) / width)
  return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


def _bilinear_tf1(source: int, target: int) -> np.ndarray:
  """[target, source] weights of `tf.compat.v1.image.resize_bilinear`: a pixel's place is that of its corner."""
  place = np.arange(target) * (source / target)
  low = np.floor(place).astype(int)
  weight = np.zeros((target, source))
  rows = np.arange(target)
  weight[rows, low] = 1 - (place - low)
  weight[rows, np.minimum(low + 1, source - 1)] += place - low
  return weight.astype(np.float32)
