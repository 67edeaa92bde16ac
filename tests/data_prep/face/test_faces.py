"""The face tracker, on a drawn face that is moved by known amounts."""

import dataclasses
import math

import cv2
import numpy as np
import pytest

from data_prep.corpora.recording import Recording
from data_prep.face import cropping, jpeg, tracker
from data_prep.face.tracker import FaceTracker
from data_prep.recordings import clip
from data_prep.schema.grid import Grid, PAPER
from data_prep.streams.visual import Visual
from tests import clips
from tests.data_prep.recordings.test_clip import SETTINGS

HEIGHT, WIDTH = 240, 320


def scene(face, x, y, size=140):
  """A frame with the face's centre at (x, y), on a background with some structure."""
  rng = np.random.default_rng(1)
  background = cv2.resize(
    rng.integers(70, 110, (12, 16, 3), dtype=np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
  )
  scale = size / face.shape[0]
  matrix = np.array([[scale, 0, x - size / 2], [0, scale, y - size / 2]])
  mask = np.zeros(face.shape[:2], np.float32)
  cv2.ellipse(mask, (118, 118), (66, 86), 0, 0, 360, 1, -1)
  moved = cv2.warpAffine(face, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
  weight = cv2.warpAffine(mask, matrix, (WIDTH, HEIGHT))[..., None]
  return (background * (1 - weight) + moved * weight).astype(np.uint8)


def run(tracker, frames):
  crops, confidences, boxes = zip(*[tracker.step(frame) for frame in frames])
  return crops, np.array(confidences), boxes


def centre(box):
  x, y, side = box
  return np.array([x + side / 2, y + side / 2])


def test_finds_and_follows_without_lag(face):
  # 2 pixels a step to the right, a sway up and down.
  path = [(90 + 2 * i, 120 + 12 * np.sin(i / 9)) for i in range(60)]
  crops, confidence, boxes = run(FaceTracker(), [scene(face, *p) for p in path])
  assert (confidence > 0.6).all() and (confidence <= 1).all()
  offsets = np.array([centre(box) - p for box, p in zip(boxes, path)])
  assert np.abs(offsets - offsets.mean(axis=0)).max() < 4  # the cascade's own grid is a few pixels wide
  assert crops[0].shape == (96, 96, 3) and crops[0].dtype == np.uint8
  # In the crop the face stands still, whatever it does in the frame.
  inner = slice(26, 70)  # without the background
  standing = np.abs(crops[10][inner, inner].astype(int) - crops[50][inner, inner]).mean()
  shifted = np.abs(crops[10][inner, inner].astype(int) - crops[50][inner, 36:80]).mean()
  assert standing < shifted / 3


def test_box_does_not_jump(face):
  frames = [scene(face, 160, 120, size=140 + 0.3 * i) for i in range(70)]
  _, _, boxes = run(FaceTracker(), frames)
  sides = np.array([box[2] for box in boxes])
  assert np.abs(np.diff(sides)).max() < 2.5  # a raw detection is off by up to 15 % of 70 pixels
  assert sides[-1] / sides[0] == pytest.approx((140 + 0.3 * 69) / 140, rel=0.08)


def test_confidence_falls_when_the_scene_is_cut_and_the_last_crop_stays(face):
  empty = scene(face, -300, 120)
  frames = [scene(face, 160, 120)] * 20 + [empty] * 30 + [scene(face, 200, 110)] * 30
  crops, confidence, boxes = run(FaceTracker(), frames)
  assert (confidence[:20] > 0.6).all()
  assert not confidence[21:50].any() and all(box is None for box in boxes[21:50])
  assert (crops[30] == crops[20]).all() or (crops[30] == crops[19]).all()
  found_again = np.flatnonzero(confidence[50:])[0]
  assert found_again <= 2 * tracker.RETRY_EVERY and (confidence[50 + found_again :] > 0.6).all()


@pytest.mark.parametrize('frames_before', range(tracker.DETECT_EVERY, 2 * tracker.DETECT_EVERY + 2))
def test_a_face_elsewhere_after_a_cut_is_taken_in_its_first_frame(face, frames_before):
  # Whether the cut falls on a frame of detection or between two: flow fails on it, and the cascade is sure.
  frames = [scene(face, 110, 120)] * frames_before + [scene(face, 220, 130)] * 20
  _, confidence, boxes = run(FaceTracker(), frames)
  assert (confidence[frames_before:] > 0.6).all()
  offset = centre(boxes[0]) - (110, 120)  # the cascade's centre is not the drawing's
  assert centre(boxes[frames_before]) - offset == pytest.approx([220, 130], abs=6)


def test_confidence_falls_when_the_face_leaves_the_frame(face):
  path = [160 + 5 * i for i in range(50)]  # at 5 pixels a step its centre passes the border (320) at step 32
  _, confidence, _ = run(FaceTracker(), [scene(face, x, 120) for x in path])
  lost = np.flatnonzero(confidence == 0)[0]
  assert 18 <= lost <= 32 and not confidence[lost + tracker.RETRY_EVERY :].any()


def test_noise_and_grey_hold_no_face():
  rng = np.random.default_rng(0)
  noise = [rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(25)]
  for frames in (noise, [np.full((HEIGHT, WIDTH, 3), 128, np.uint8)] * 13, [None] * 3):
    crops, confidence, boxes = run(FaceTracker(), frames)
    assert not confidence.any() and set(boxes) == {None}
    assert (crops[-1] == cropping.GREY).all()  # before any face was found


def test_a_given_box_chooses_among_faces(face):
  left, right = scene(face, 85, 120, 110), scene(face, 235, 120, 150)
  both = np.concatenate([left[:, :160], right[:, 160:]], axis=1)
  _, _, boxes = run(FaceTracker(), [both] * 15)
  assert centre(boxes[-1])[0] > 160  # the larger one
  _, confidence, boxes = run(FaceTracker(first_box=(50, 85, 70, 70)), [both] * 15)
  assert centre(boxes[-1])[0] < 160 and (confidence > 0.6).all()


def test_a_given_box_is_believed_in_the_first_frame_even_if_nothing_is_detected(face):
  turned = np.ascontiguousarray(scene(face, 160, 120)[::-1])  # upside down: the cascade finds nothing
  _, confidence, boxes = run(FaceTracker(first_box=(120, 80, 80, 80)), [turned] * 60)
  assert confidence[0] > 0.6 and centre(boxes[0]) == pytest.approx([160, 120])
  assert confidence[-1] == 0  # but not for ever


def test_large_frames_are_cropped_at_their_own_resolution(face):
  large = cv2.resize(scene(face, 160, 120), (1280, 960), interpolation=cv2.INTER_CUBIC)
  crop, confidence, (x, y, side) = FaceTracker().step(large)
  assert confidence > 0.6
  small_crop, _, small = FaceTracker().step(scene(face, 160, 120))
  np.testing.assert_allclose(np.array([x, y, side]) / 4, small, atol=6)
  # Four times the pixels, so an edge is sharper than in the small frame's enlarged crop.
  assert np.abs(np.diff(crop.astype(int), axis=1)).mean() >= np.abs(np.diff(small_crop.astype(int), axis=1)).mean()


def test_deterministic(face):
  frames = [scene(face, 90 + 2 * i, 120) for i in range(30)]
  first, second = (run(FaceTracker(), frames) for _ in range(2))
  assert all((a == b).all() for a, b in zip(first[0], second[0])) and (first[1] == second[1]).all()


def test_a_crop_may_be_larger_and_upright():
  """A ramp: the crop of a box at (40, 30) of side 20 goes from 40 − 8 to 40 + 8 and from 30 − 12 to 30 + 12."""
  y, x = np.mgrid[:80, :100].astype(np.uint8)
  crop = cropping.cut(np.stack([x, y, 0 * x], axis=-1), 40, 30, 20, cropping.Crop(64, 0.8, 1.2))
  assert crop.shape == (64, 64, 3) and (cropping.grey(cropping.Crop(64)) == cropping.GREY).all()
  # Pixel i of a frame lies from i to i + 1; the crop's middle is that of the box, its ends are half a pixel inside.
  np.testing.assert_allclose(crop[32, [0, 32, 63], 0], [32, 40, 47], atol=1)
  np.testing.assert_allclose(crop[[0, 32, 63], 32, 1], [18, 30, 41], atol=1)


def test_encode_crop():
  rng = np.random.default_rng(0)
  crop = cv2.resize(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), (96, 96), interpolation=cv2.INTER_CUBIC)
  data = jpeg.encode(crop)
  assert data[:2] == b'\xff\xd8' and data == jpeg.encode(crop)
  decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
  assert np.abs(decoded.astype(int) - crop).mean() < 4  # RGB stays RGB
  assert decoded.shape == (cropping.FACE_SIZE, cropping.FACE_SIZE, 3)


@pytest.mark.slow
def test_a_moving_face_is_followed_between_the_steps_of_a_coarse_grid(face, tmp_path):
  path, coarse = tmp_path / 'face.mkv', Grid(0.5, 16_000, 2)
  # A head that sways and tilts, by 40 degrees: the cascade knows upright faces alone. 25 frames a second, so 4.04 s.
  turns = [cv2.getRotationMatrix2D((118, 118), 40 * np.sin(i / 8), 1) for i in range(101)]
  tilted = [cv2.warpAffine(face, turn, (236, 236), borderMode=cv2.BORDER_REPLICATE) for turn in turns]
  frames = [scene(image, 160 + 40 * np.sin(i / 9), 120) for i, image in enumerate(tilted)]
  clips.write_clip(path, frames)
  recording = Recording(recording='a', subject='a', partition='test', video=path, audio=None)
  fine, fifth, half = (
    Visual().read(recording, dataclasses.replace(SETTINGS, grid=grid)) for grid in (PAPER, Grid(0.2, 16_000, 5), coarse)
  )
  # The middle of a step of 0.2 s is that of the third of its five steps of 0.04 s; the last one begins at 4 s.
  assert len(fine.crops) == 101 and len(fifth.crops) == 21
  assert fifth.crops[:20] == fine.crops[2::5] and fifth.found[:20] == fine.found[2::5]
  assert len(half.found) == 9 and np.mean(np.array(half.found) > 0) > 0.9
  # Step k shows the frame of k/2 + 1/4 s, number 12.5·k + 6.25; the last step the last frame.
  own = [frames[min(100, math.floor(12.5 * k + 6.25))] for k in range(9)]
  _, confidence, _ = run(FaceTracker(), own)
  assert np.mean(confidence > 0) < 0.4  # so the frames between are what it takes
  shown = []
  prepared = clip.read(recording, tmp_path, picture=True, grid=coarse, watch=shown.append)
  assert [prepared.crops.jpeg(k) for k in range(9)] == half.crops
  np.testing.assert_array_equal(prepared.face_found, np.array(half.found, np.float32))
  np.testing.assert_array_equal(shown, own)
