"""The face: cropped and recoloured in training, normalised, then through a ResNet-50 (paper, section III-A)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from e2e_affect.layers.resnet import ResNet50
from e2e_affect.streams.base import described, Stream


class Visual(Stream):
  """Crops of the face [B, T, 96, 96, 3] -> [B, T, 2048] for the paper's width."""

  name = 'visual'
  evidence = 'face_found'
  lack = 'face'
  shared = ('stride_on', 'stem_padding', 'stem_pool_padding', 'batch_norm_epsilon', 'mean', 'std', 'image_size')
  follows = ('batch_norm',)
  phrase = 'the face'
  track = 'a picture'
  verb = 'sees'
  picture = True
  arrays = ('faces', 'face_found')

  def inputs(self, batch, model, augment, keys):
    """`face` uint8 and `face_found` [B, T] -> `face` [B, T, H, W, 3] and `face_found`.

    In evaluation the centre or the whole face is seen, and no colour changes.
    """
    visual = model.visual
    size, resized = visual.image_size, _enlarged(visual, augment)
    face = batch['face'].astype(jnp.float32) / 255.0
    if keys is None:
      resized, first = _evaluated(visual, augment)
      offset = jnp.full((face.shape[0], 2), first)
      face = _resize_and_crop(face, resized, size, offset, augment.tf1_resize)
    elif augment.per_frame:
      # As sequences of one frame each: [B, T, …] -> [B·T, 1, …] -> [B, T, …]
      frames = face.reshape(-1, 1, *face.shape[2:])
      keys = jax.vmap(lambda key: jax.random.split(key, face.shape[1]))(keys).reshape(-1)
      face = _augment(frames, resized, size, augment, keys).reshape(*face.shape[:2], size, size, 3)
    else:
      face = _augment(face, resized, size, augment, keys)
    return {'face': (face - jnp.asarray(visual.mean)) / jnp.asarray(visual.std), 'face_found': batch['face_found']}

  def features(self, inputs, model, *, core, norm, dtype, train, keys):
    """See `Stream`."""
    # [B, T, H, W, 3] -> [B·T, H, W, 3] -> [B, T, 2048]
    face, options = inputs['face'], model.visual
    found = inputs['face_found'] > 0
    mask = (inputs['valid'][:, core] * found).reshape(-1)
    frames = face.reshape(-1, *face.shape[2:])
    if train:
      # The statistics of few frames that are much alike make frames outside of the mask a hundred times larger in every
      # layer, until 0 · inf is NaN. So a frame that counts stands for each of those that do not.
      frames = jnp.where(mask[:, None, None, None] > 0, frames, frames[mask.argmax()])
    norm = functools.partial(
      norm,
      epsilon=options.batch_norm_epsilon,
      momentum=options.batch_norm_momentum,
      frozen=options.batch_norm == 'frozen' or self.name in model.frozen,
    )
    x = ResNet50(
      width=options.width,
      stride_on=options.stride_on,
      stem_padding=options.stem_padding,
      stem_pool_padding=options.stem_pool_padding,
      norm=norm,
      remat=options.remat,
      dtype=dtype,
      name=self.name,
    )(frames, mask, train)
    return jnp.where(found[:, :, None], x.reshape(*face.shape[:2], -1), 0)

  def of_clip(self, clip):
    """See `Stream`."""
    return None if clip.crops is None else {'face': clip.crops, 'face_found': clip.face_found}

  def of_arrays(self, arrays, fields, grid):
    """See `Stream`; `faces` are [T, H, W, 3] uint8, `face_found` is [T], 1 everywhere where it is not given."""
    faces, shape = arrays['faces'], fields[0].shape
    if faces.dtype != np.uint8 or faces.shape[1:] != shape or not len(faces):
      raise ValueError(f'faces are {faces.dtype}{list(faces.shape)}, expected uint8[T, {", ".join(map(str, shape))}]')
    found = arrays.get('face_found', np.ones(len(faces), np.float32))
    if found.shape != (len(faces),):
      raise ValueError(f'face_found is {list(found.shape)}, expected [{len(faces)}], as many as faces')
    if found.dtype.kind not in 'biuf' or not ((found >= 0) & (found <= 1)).all():
      raise ValueError(f'face_found is {described(found)}, expected numbers in [0, 1]')
    return {'face': faces, 'face_found': found.astype(np.float32)}

  def amount(self, values):
    """See `Stream`."""
    return f'{len(values["face"])} faces'

  def takes(self, fields, grid, model):
    """See `Stream`."""
    height, width, _ = fields[0].shape
    return (
      f'A face crop of {width}×{height} pixels RGB every {1000 * grid.step_seconds:g} ms, of which the network sees '
      f'the centre at {model.visual.image_size} pixels.'
    )

  def example(self, fields, grid):
    """See `Stream`."""
    return 'faces=crops', f'uint8 [T, {", ".join(map(str, fields[0].shape))}]'


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
  matrix = jnp.asarray(_resize(source, resized, tf1))
  rows = jax.vmap(lambda start: jax.lax.dynamic_slice_in_dim(matrix, start, size))(offset[:, 0])  # [B, size, source]
  columns = jax.vmap(lambda start: jax.lax.dynamic_slice_in_dim(matrix, start, size))(offset[:, 1])
  face = jnp.einsum('bhs,btswc->bthwc', rows, face)
  return jnp.einsum('bws,bthsc->bthwc', columns, face)


def seen_in_evaluation(visual: Any, augment: Any, source: int) -> np.ndarray | None:
  """[size, source] weights of the rows of a picture, and of its columns, in what evaluation sees; None: all as it is.

  Args:
    visual: `config.model.visual`.
    augment: `config.augment`.
    source: pixels of the picture's side.
  """
  resized, first = _evaluated(visual, augment)
  if source == visual.image_size == resized:
    return None
  return _resize(source, resized, augment.tf1_resize)[first : first + visual.image_size]


def _enlarged(visual, augment):
  return round(visual.image_size * augment.resize)


def _evaluated(visual, augment):
  """Pixels that the side is resized to, and where the central crop begins."""
  resized = visual.image_size if augment.whole_face else _enlarged(visual, augment)
  return resized, (resized - visual.image_size) // 2


def _resize(source: int, target: int, tf1: bool) -> np.ndarray:
  """[target, source]."""
  return _bilinear_tf1(source, target) if tf1 else _bilinear(source, target)


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
