import dataclasses

import cv2
import numpy as np
import pytest

from data_prep.simulate import corpus, face, portrait, processes


def _still(n, **changes):
  """A motion of n frames in which nothing moves but what `changes` says; the face stands at (150, 110)."""
  place = np.tile([[1.0, 0, 150 - portrait.CENTRE[0]], [0, 1, 110 - portrait.CENTRE[1]]], (n, 1, 1))
  rest = {'smile': 0, 'slant': 0, 'raised': 0, 'eyes': 1, 'opening': 0, 'light': 1}
  tracks = {name: np.broadcast_to(np.float64(value), n) for name, value in (rest | changes).items()}
  return face.Motion(place=place, inside=np.ones(n, bool), **tracks)


def _draw(motion, seed=4):
  rng = np.random.default_rng(seed)
  return list(face.frames(rng, portrait.looks(rng), motion))


def _differs(a, b):
  """Bounding box (left, top, right, bottom) of what differs, relative to the face's centre."""
  y, x = np.nonzero(np.abs(a.astype(int) - b).max(axis=2) > 12)
  return x.min() - 150, y.min() - 110, x.max() - 150, y.max() - 110


def test_every_cue_moves_its_own_part_of_the_face():
  (rest,) = _draw(_still(1))
  assert rest.shape == (240, 320, 3) and rest.dtype == np.uint8
  for cue, value, top, bottom in (
    ('eyes', 0.1, -25, -5),
    ('raised', 3, -35, -15),
    ('slant', 4, -35, -15),
    ('opening', 8, 20, 48),
  ):
    (moved,) = _draw(_still(1, **{cue: value}))
    found = _differs(rest, moved)
    assert top <= found[1] and found[3] <= bottom, (cue, found)
    assert found[0] < -5 and found[2] > 5, (cue, found)  # both sides


def test_a_frown_lowers_the_corners_of_the_mouth_and_a_smile_shows_the_teeth():
  def bend(frame):
    """By how many rows the middle of the mouth's dark line hangs below its left and right parts."""
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)[110 + 20 : 110 + 42]
    row = lambda left, right: np.mean(grey[:, 150 + left : 150 + right].argmin(axis=0))
    return row(-2, 3) - (row(-13, -9) + row(10, 14)) / 2

  pictures = _draw(_still(4, smile=np.array([-2.0, 0, 0.35, 2.0])))
  frown, rest, _, _ = map(bend, pictures)
  # The line bends by 10 · tanh(2 / 1.8) = 8 rows; at 11.5 of some 14 columns by about 5.
  assert frown < -3 and abs(rest) < 0.5
  # A smile opens the mouth instead and shows the teeth, the brightest thing in its rows: 9 · tanh(…) pixels high.
  teeth = lambda frame: (frame[110 + 20 : 110 + 42, 150 - 12 : 150 + 13].min(axis=2) > 190).sum()
  none, faint, broad = (teeth(picture) for picture in pictures[1:])
  assert none <= faint < broad and broad > 40


def test_place_and_box():
  motion = _still(2)
  assert face.box(motion, 1) == (97, 57, 106, 106)  # 106 pixels around (150, 110)
  motion.place[1] = [[0, -0.5, 200], [0.5, 0, 100]]  # a quarter turn at half the size
  x, y, width, height = face.box(motion, 1)
  # The centre (120, 120) of the patch goes to (200 − 60, 100 + 60).
  assert (x + width / 2, y + height / 2) == pytest.approx((140, 160), abs=1) and width == height == 53


def test_light():
  dark, bright = _draw(_still(2, light=np.array([0.7, 1.0])))
  assert dark.mean() / bright.mean() == pytest.approx(0.7, abs=0.02)


def test_subjects_differ():
  pictures = [_draw(_still(1), seed)[0] for seed in range(6)]
  skins = [picture[115:120, 165:172].mean(axis=(0, 1)) for picture in pictures]  # a cheek
  assert np.ptp(skins, axis=0).min() > 25  # a level of 255; the camera's exposure halves what they differ by


def test_the_face_follows_valence_and_a_little_arousal():
  correlation = {'smile': [], 'raised': []}
  for subject in corpus.subject_ids(28)['train']:
    time = (np.arange(1200) + 0.5) / 25
    truth = corpus.latents(subject, 48, 0)
    moved = corpus.motion(subject, 48, 0, np.zeros(1200))
    for cue, target in (('smile', 'valence'), ('raised', 'arousal')):
      correlation[cue].append(np.corrcoef(getattr(moved, cue), truth.at(target, time))[0, 1])
  # 0.98 and 0.45 of the impression; a twitch of 0.15 of its deviation takes a factor of 1 / sqrt(1.0225) from both.
  assert np.mean(correlation['smile']) == pytest.approx(0.98 / np.sqrt(1.0225), abs=0.02)
  assert np.mean(correlation['raised']) == pytest.approx(0.45 / np.sqrt(1.0225), abs=0.10)


def test_now_and_then_the_face_leaves_and_comes_back():
  inside = np.stack([corpus.motion(s, 48, 0, np.zeros(1200)).inside for s in corpus.subject_ids(28)['train']])
  left = ~inside.all(axis=1)
  assert 3 <= left.sum() <= 13  # of 16; about half
  assert inside[:, :50].all() and inside[:, -25:].all()  # the first frame's box is of a face that is there
  assert 0.9 < inside.mean() < 0.999


def test_leaving_leaves_the_wall_alone():
  motion = _still(2)
  motion.place[1, 0, 2] += 280  # as far as `_leaving` moves it
  for seed in range(4):
    here, gone = _draw(motion, seed)
    rng = np.random.default_rng(seed)
    exposure = portrait.exposure(portrait.looks(rng))
    wall = np.minimum(portrait.background(rng, face.WIDTH, face.HEIGHT) * exposure, 255)
    np.testing.assert_allclose(gone[:, :260], wall[:, :260], atol=2)
    assert np.abs(here[:, :260] - wall[:, :260]).mean() > 10


def test_the_camera_exposes_for_the_face_half_way():
  def shown(skin):
    look = portrait.looks(np.random.default_rng(0))
    look = dataclasses.replace(look, skin=np.full(3, float(skin)))
    return skin * portrait.exposure(look)

  assert shown(150) == pytest.approx(150)
  assert shown(200) / shown(50) == pytest.approx(2)  # of 4


def test_opencvs_cascade_finds_the_face_in_its_box():
  cascade = cv2.CascadeClassifier(cv2.data.haarcascades + 'haarcascade_frontalface_alt2.xml')
  found, overlap = 0, []
  subjects = corpus.subject_ids(28)['train'] + corpus.subject_ids(28)['test']
  for subject in subjects:
    rng = processes.generator(0, subject, 99)
    moved = corpus.motion(subject, 12, 0, np.full(300, 0.4))
    picked = face.Motion(*(track[::75] for track in moved))  # 4 frames
    for k, frame in enumerate(face.frames(rng, portrait.looks(rng), picked)):
      x, y, width, height = face.box(picked, k)
      for a, b, w, h in cascade.detectMultiScale(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), 1.1, 3, minSize=(60, 60)):
        common = max(min(x + width, a + w) - max(x, a), 0) * max(min(y + height, b + h) - max(y, b), 0)
        if common > 0.5 * width * height:
          found += 1
          overlap.append(common / (width * height + w * h - common))
          break
  assert found >= 0.95 * 4 * len(subjects)
  assert np.mean(overlap) > 0.75
