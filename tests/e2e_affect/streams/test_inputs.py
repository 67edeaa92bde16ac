"""On-device preparation against Pillow, NumPy and hand-made numbers."""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from configs import fused, released
from e2e_affect.models import affect
from e2e_affect.streams import visual
from tests.networks import layout

B, T = 3, 2


@pytest.fixture
def batch():
  rng = np.random.default_rng(0)
  smooth = rng.integers(0, 255, (B, 1, 7, 7, 3)).astype(np.uint8)
  face = np.stack([np.stack([np.asarray(Image.fromarray(f[0]).resize((96, 96), Image.BILINEAR))] * T) for f in smooth])
  return {
    'audio': rng.integers(-900, 1100, (B, T, 640)).astype(np.int16),
    'audio_mean': np.array([100.0, -5.0, 0.0]),
    'audio_std': np.array([50.0, 7.0, 0.0]),
    'audio_gain': np.ones(B),
    'face': face,
    'valid': np.array([[1, 1], [1, 0], [1, 1.0]]),
    'face_found': np.ones((B, T)),
  }


def prepare(config, batch, keys=None):
  model = affect.make_model(config, layout(config), None).config
  return affect.inputs_of(batch, model, config.augment, keys)


def test_audio_is_normalised_by_its_recording(batch):
  inputs = prepare(fused.get_config(), batch)
  np.testing.assert_allclose(inputs['audio'][0], (batch['audio'][0] - 100.0) / 50.0, rtol=1e-5, atol=1e-5)
  assert (inputs['audio'][1, 1] == 0).all()  # past the end of the recording: zero, not −mean/std
  np.testing.assert_array_equal(inputs['audio_found'], [1, 1, 0])  # a deviation of 0 marks an absent track
  assert np.isfinite(inputs['audio']).all()


@pytest.mark.parametrize('size, resized', [(96, 110), (48, 55)])
def test_central_crop_equals_pillow(batch, size, resized):
  config = fused.get_config()
  config.model.visual.image_size = size
  inputs = prepare(config, batch)
  image = Image.fromarray(batch['face'][1, 0])
  start = (resized - size) // 2
  expected = (
    np.asarray(image.resize((resized, resized), Image.BILINEAR), np.float64)[start : start + size, start : start + size]
    / 255
  )
  expected = (expected - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)  # ImageNet's, the default
  # Pillow rounds to whole levels after each of its two passes: 1/255 of a level, divided by the deviation .224.
  np.testing.assert_allclose(inputs['face'][1, 0], expected, atol=1.01 / 255 / 0.224)


@pytest.mark.slow
def test_augmentation_is_one_for_all_frames_of_a_sequence_and_another_for_each(batch):
  batch['face'] = np.broadcast_to(batch['face'][:1, :1], batch['face'].shape)  # the same picture everywhere
  keys = jax.random.split(jax.random.key(1), B)
  face = np.asarray(prepare(fused.get_config(), batch, keys)['face'])
  np.testing.assert_array_equal(face[:, 0], face[:, 1])
  assert np.abs(face[0] - face[1]).max() > 0.05 and np.abs(face[1] - face[2]).max() > 0.05
  alone = prepare(fused.get_config(), {name: value[1:2] for name, value in batch.items()}, keys[1:2])['face']
  np.testing.assert_allclose(alone[0], face[1], atol=1e-6)  # keyed by the sequence, not by its place


@pytest.mark.slow
@pytest.mark.parametrize('source, target', [(96, 110), (96, 37), (96, 96), (96, 55)])
def test_tf1_resize_equals_tensorflows(source, target):
  tf = pytest.importorskip('tensorflow')
  face = np.random.default_rng(1).uniform(size=(3, source, source, 3)).astype(np.float32)
  theirs = tf.compat.v1.image.resize_bilinear(face, [target, target], align_corners=False).numpy()
  matrix = visual._bilinear_tf1(source, target)
  ours = np.einsum('ys,bstc,xt->byxc', matrix, face, matrix)
  np.testing.assert_allclose(ours, theirs, atol=2e-5)  # TensorFlow rounds a pixel's place to float32
  if target == 110:  # what is ours otherwise is another picture
    usual = visual._bilinear(source, target)
    assert 0.01 < np.abs(np.einsum('ys,bstc,xt->byxc', usual, face, usual) - theirs).mean()


@pytest.mark.slow
def test_the_authors_augmentation_equals_tensorflows_of_every_frame(batch):
  """Their order: resize, crop, saturation, brightness, clip, drawn anew for every frame."""
  tf = pytest.importorskip('tensorflow')
  config = released.get_config()
  assert config.augment.resize == 110 / 96
  config.model.visual.update(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
  keys = jax.random.split(jax.random.key(2), B)
  found = np.asarray(prepare(config, batch, keys)['face'])
  seen = set()
  for b in range(B):
    for t, key in enumerate(jax.random.split(keys[b], T)):
      crop, brightness, saturation = jax.random.split(key, 3)
      y, x = (int(o) for o in jax.random.randint(crop, (2,), 0, 15))
      seen.add((y, x))
      frame = tf.compat.v1.image.resize_bilinear(batch['face'][b, t][None] / np.float32(255), [110, 110])[0]
      frame = frame[y : y + 96, x : x + 96]
      frame = tf.image.adjust_saturation(frame, jax.random.uniform(saturation, (), minval=0.5, maxval=1.5).item())
      frame += jax.random.uniform(brightness, (), minval=-32 / 255, maxval=32 / 255).item()
      np.testing.assert_allclose(found[b, t], np.clip(frame, 0, 1), atol=3e-5)
  assert len(seen) > 3


def test_the_authors_evaluation_sees_the_whole_face(batch):
  face = prepare(released.get_config(), batch)['face']
  expected = (batch['face'] / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
  np.testing.assert_allclose(face, expected, atol=1e-5)


def test_saturation():
  # (0.8, 0.2, 0.4): value .8, spread .6. Half saturation halves the distances to the value.
  image = jnp.array([[0.8, 0.2, 0.4], [0.3, 0.3, 0.3], [0.0, 0.0, 0.0]])
  np.testing.assert_allclose(
    visual.adjust_saturation(image, jnp.full(3, 0.5)), [[0.8, 0.5, 0.6], [0.3] * 3, [0.0] * 3], atol=1e-6
  )
  # Factor 2 would push the smallest channel to −.4; it stops at 0, factor .8/.6.
  np.testing.assert_allclose(
    visual.adjust_saturation(image, jnp.full(3, 2.0)),
    [[0.8, 0.0, 0.8 - 0.4 * 0.8 / 0.6], [0.3] * 3, [0.0] * 3],
    atol=1e-6,
  )


def test_without_normalisation_the_samples_are_those_of_the_recording_whatever_the_gain_they_are_stored_by(batch):
  config = fused.get_config()
  config.model.speech.normalise = 'none'
  inputs = prepare(config, batch | {'audio_gain': np.array([1.0, 256.0, 0.25])})
  for i, gain in enumerate((1, 256, 0.25)):
    expected = batch['audio'][i] / 32768.0 / gain * batch['valid'][i][:, None]
    np.testing.assert_allclose(inputs['audio'][i], expected, rtol=1e-6)
