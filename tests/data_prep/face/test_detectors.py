"""Detectors of faces, on a photograph that comes with scikit-image."""

import cv2
import numpy as np
import pytest

from data_prep.core.errors import UserError
from data_prep.face import detectors, people, tracker

FACE = np.array([224.0, 113.0, 94.0])  # centre and side in the photograph, by eye: from hairline to chin


@pytest.fixture(scope='module')
def photograph():
  """uint8 [512, 512, 3] RGB."""
  data = pytest.importorskip('skimage.data', reason='scikit-image is not installed: `pip install scikit-image`')
  return data.astronaut()


@pytest.fixture(scope='module')
def mtcnn():
  pytest.importorskip('mtcnn', reason='the detector is not installed: `pip install mtcnn`')
  return detectors.make(detectors.MTCNN, tracker.MIN_FACE)


def turned(photograph, degrees):
  """About the middle of the face."""
  matrix = cv2.getRotationMatrix2D(tuple(FACE[:2]), degrees, 1)
  return cv2.warpAffine(photograph, matrix, photograph.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def find(detector, frame):
  grey, scale = tracker.grey_image(frame)
  boxes, sure = detector.find(frame, grey)
  assert len(boxes) == len(sure)
  return [box / scale for box in boxes], sure


def test_both_give_the_same_box_of_an_upright_face(photograph, mtcnn):
  cascade = detectors.make(detectors.CASCADE, tracker.MIN_FACE)
  (ours,), (sure,) = find(cascade, photograph)
  (theirs,), (sure_too,) = find(mtcnn, photograph)
  assert sure and sure_too
  assert tracker.overlap(ours, FACE) > 0.7 and tracker.overlap(theirs, ours) > 0.7


def test_the_cascade_looks_for_a_face_where_it_was(photograph):
  """The same face, and none elsewhere; at the edge of the picture, too, and where nothing of it is left."""
  cascade = detectors.make(detectors.CASCADE, tracker.MIN_FACE)
  grey, _ = tracker.grey_image(photograph)
  (whole,), _ = cascade.find(photograph, grey)
  for near in (whole, whole * (1, 1, 1.3), whole + (15, -10, 0)):
    (box,), (sure,) = cascade.find(photograph, grey, near)
    assert sure and tracker.overlap(box, whole) > 0.7
  left, top = (round(centre - 0.55 * whole[2]) for centre in whole[:2])
  (box,), _ = cascade.find(photograph, np.ascontiguousarray(grey[top:, left:]), whole - (left, top, 0))
  assert tracker.overlap(box, whole - (left, top, 0)) > 0.7
  side = whole[2]
  for elsewhere in ([280, 280, side], [-2 * side, 100, side], [100, 400, side], [whole[0], whole[1], 4 * side]):
    assert cascade.find(photograph, grey, np.array(elsewhere))[0] == []


@pytest.mark.parametrize('degrees', [-40, 30, 40])
def test_a_turned_head_is_found_by_mtcnn_alone(photograph, mtcnn, degrees):
  frame = turned(photograph, degrees)
  assert find(detectors.make(detectors.CASCADE, tracker.MIN_FACE), frame)[0] == []
  (box,), _ = find(mtcnn, frame)
  assert tracker.overlap(box, FACE) > 0.5


def test_mtcnn_sees_in_the_dark_and_passes_over_faces_that_are_too_small(photograph, mtcnn):
  (box,), _ = find(mtcnn, (0.1 * photograph).astype(np.uint8))
  assert tracker.overlap(box, FACE) > 0.5
  assert find(detectors.make(detectors.MTCNN, 1 / 4), photograph)[0] == []
  assert find(mtcnn, np.zeros_like(photograph))[0] == []


@pytest.mark.parametrize('follow', [tracker.follow, people.follow])
def test_trackers_ask_the_detector_that_is_named(photograph, mtcnn, follow):
  frames = [turned(photograph, 30)] * 15
  shares = []
  for name in detectors.DETECTORS:
    steps = list(follow(frames, detector=name))
    shares.append(np.mean([bool(step[1] if follow is people.follow else step[2]) for step in steps]))
  assert shares == [0, 1]


def test_a_detector_of_ones_own(photograph, fixed_detector):
  _, confidence, box = tracker.FaceTracker(detector=fixed_detector).step(photograph)
  assert confidence == 1 and box == pytest.approx((48, 32, 128))
  with pytest.raises(ValueError, match="a detector 'mtcnn' is registered already"):
    detectors.register('mtcnn', detectors.Mtcnn)
  with pytest.raises(UserError, match='--detector=yolo; expected one of cascade, mtcnn, fixed'):
    detectors.make('yolo', 0.1)


def test_a_detector_that_is_not_installed(monkeypatch):
  monkeypatch.setattr(detectors.metadata, 'version', lambda name: (_ for _ in ()).throw(ImportError(name=name)))
  with pytest.raises(UserError, match=r"mtcnn: not installed; `pip install 'e2e_affect\[landmarks\]'` brings it"):
    detectors.versions(detectors.MTCNN)
  assert detectors.versions(detectors.CASCADE) == {}
