"""Finds and follows one face, frame by frame, with a confidence for every step.

A detector finds the face now and then; between detections Lucas–Kanade flow carries the box. Preparation and
prediction use the same `FaceTracker`, so that a network sees at prediction what it saw in training.

# NOTE(paper): the paper follows the face by MDNet, a network whose weights may not be redistributed, from the first
# frame's box. The cascade comes with OpenCV, and re-detection keeps the box from drifting in five minutes.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np

from data_prep.face import cropping, detectors, jpeg
from data_prep.schema.grid import Grid, PAPER

WORK_SIZE = 320  # pixels, the longer side of the grey image in which faces are found and followed
DETECT_EVERY = 12  # frames between two detections while all is well: detection costs as much as ten frames of flow
RETRY_EVERY = 4  # frames between two detections while searching, or after one that found nothing
MIN_FACE = 1 / 9  # of the shorter side of the image
SAME_FACE = 0.3  # intersection over union above which two boxes are the same face
MAX_FAILURES = 5  # detections in a row that find nothing before the face is given up
NUM_POINTS = 40  # corners that the flow follows
MIN_POINTS = 8  # with fewer a similarity is a guess
MAX_ROUND_TRIP = 1.0  # pixels (grey image): how far a corner that is followed forth and back may end from its start
MIN_INSIDE = 0.7  # share of the box within the frame; below, the crop would be mostly repeated border
MIN_CONFIDENCE = 0.25  # below, the face counts as lost
TRUST = 0.4  # share of the difference to a detection that is corrected: flow is steadier than the cascade
CORRECTION = 0.2  # share of the rest of that correction that a frame moves the box by, so that it does not jump
REVISION = 2  # of the tracker: raise it when the same file gets other crops, so that earlier shards are made anew

PARAMETERS = (
  cropping.PARAMETERS
  | detectors.PARAMETERS
  | {
    name.lower(): value for name, value in dict(globals()).items() if name.isupper() and isinstance(value, (int, float))
  }
)

_FLOW: dict[str, Any] = dict(
  nextPts=None, winSize=(15, 15), maxLevel=3, criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 0.03)
)


def follow(
  frames: Iterable[np.ndarray | None],
  first_box=None,
  grid: Grid = PAPER,
  crop: cropping.Crop = cropping.STORED,
  detector: str = detectors.CASCADE,
) -> Iterator[tuple[np.ndarray | None, bytes, float, tuple | None]]:
  """Follows the face through a video; yields for each step its own frame, the crop's JPEG, the confidence, the box.

  A lost face repeats the same bytes object.

  Args:
    frames: uint8 [H, W, 3] RGB, or None where nothing is shown; `grid.pictures_per_step` per step, as `Video` has them.
    first_box: (x, y, width, height) in the first frame, or None.
    grid: of the frames.
    crop: what is cut out.
    detector: name, of `detectors.DETECTORS`.
  """
  tracker, last, per_step = FaceTracker(first_box, crop, detector), None, grid.pictures_per_step
  for i, frame in enumerate(frames):
    face, confidence, box = tracker.step(frame)
    if i % per_step != per_step // 2:
      continue
    if face is not last:
      last, data = face, jpeg.encode(face)
    yield frame, data, confidence, box


class Face:
  """A face that is being followed, in pixels of the grey image.

  Attributes:
    box: [centre x, centre y, side].
  """

  def __init__(self, box, grey, failures: int = 0):
    """
    Args:
      box: where it is in `grey`.
      grey: uint8 [H, W].
      failures: detections in a row that missed it.
    """
    self.box = np.array(box, np.float64)
    self._correction = np.zeros(3)  # the rest of the last detection's correction, by which the box has not moved yet
    self._failures = failures
    self._seed(grey)

  def _seed(self, grey) -> None:
    """Chooses the corners to follow, inside the box."""
    x, y, side = self.box
    # The box of the cascade holds background in its corners; an ellipse leaves it out.
    mask = np.zeros_like(grey)
    cv2.ellipse(mask, (round(x), round(y)), (max(2, round(0.4 * side)), max(2, round(0.5 * side))), 0, 0, 360, 255, -1)
    self._points = cv2.goodFeaturesToTrack(grey, NUM_POINTS, 0.01, max(2, side / 14), mask=mask, blockSize=5)

  def follow(self, before, grey) -> float:
    """Moves the box with the flow of its corners; returns the share of corners that agree on one motion, 0: none."""
    if self._points is None or len(self._points) < MIN_POINTS:
      return 0.0
    ahead, ok, _ = cv2.calcOpticalFlowPyrLK(before, grey, self._points, **_FLOW)
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(grey, before, ahead, **_FLOW)
    miss = np.linalg.norm((back - self._points)[:, 0], axis=1)
    good = (ok[:, 0] == 1) & (ok_back[:, 0] == 1) & (miss < MAX_ROUND_TRIP)
    if good.sum() < MIN_POINTS:
      return 0.0
    matrix, inliers = cv2.estimateAffinePartial2D(self._points[good], ahead[good], ransacReprojThreshold=1.5)
    if matrix is None:
      return 0.0
    share = float(inliers.sum()) / len(self._points)
    x, y, side = self.box
    x, y = matrix @ (x, y, 1)
    self.box[:] = x, y, side * np.hypot(*matrix[:, 0])
    self._points = ahead[good][inliers[:, 0] == 1]
    height, width = grey.shape
    inside = _inside(self.box, width, height)
    if inside < MIN_INSIDE or not 0.5 * MIN_FACE * min(grey.shape) < self.box[2] < 2 * max(grey.shape):
      return 0.0
    if len(self._points) < NUM_POINTS // 2:
      self._seed(grey)
    # Corners die one by one on a face that talks and turns; half of them in one frame is another scene.
    return min(1.0, 1.4 * share) * min(1.0, 2 * inside - 0.8)

  def correct(self, box, grey) -> None:
    """A detection confirms it at a box, to which it moves in the next frames."""
    self._failures = 0
    self._correction = TRUST * (box - self.box)
    self._seed(grey)

  def miss(self) -> None:
    """A detection found nothing there."""
    self._failures += 1

  def trusted(self, confidence: float) -> float:
    """Of a confidence, what the last detections leave of it."""
    return confidence * (1 - self._failures / MAX_FAILURES)

  def settle(self) -> np.ndarray:
    """Moves by the next part of the correction; returns the box."""
    self.box += CORRECTION * self._correction
    self._correction *= 1 - CORRECTION
    return self.box


class FaceTracker:
  """Follows one face through a video, one frame at a time.

  With several faces it keeps to the one in the first box; without a box, to the largest.
  """

  def __init__(self, first_box=None, crop=cropping.STORED, detector=detectors.CASCADE):
    """
    Args:
      first_box: (x, y, width, height) of the face in the first frame, pixels; None: the largest face found.
      crop: `cropping.Crop`, what is cut out.
      detector: name, of `detectors.DETECTORS`.
    """
    self._detector = detectors.make(detector, MIN_FACE)
    self._first_box = first_box
    self._face: Face | None = None
    self._candidate = None  # a doubtful detection that waits for a second
    self._grey = None
    self._wait = 0  # frames until the next detection
    self._cut_out = crop
    self._crop = cropping.grey(crop)

  def step(self, frame):
    """Takes the next frame.

    Args:
      frame: uint8 [H, W, 3] RGB, or None where the video shows nothing (yet).

    Returns:
      crop: uint8 [size, size, 3] RGB, the face with a margin; the last good crop while the face is lost, grey before
        it was first found.
      confidence: float in [0, 1]; 0: the face is lost.
      box: (x, y, side) of the face (without the margin) in the frame's pixels, or None while it is lost.
    """
    if frame is None:
      self._lose()
      return self._crop, 0.0, None
    grey, scale = grey_image(frame)
    confidence = 1.0
    if self._first_box is not None:
      self._begin([value * scale for value in self._first_box], frame, grey)
      self._first_box = None
    else:
      if self._face is not None:
        confidence = self._face.follow(self._grey, grey)
        if confidence < MIN_CONFIDENCE:
          self._lose()
          confidence = 1.0  # of another face, if one is found in this frame already
      self._wait -= 1
      if self._wait < 0:
        self._detect(frame, grey)
    self._grey = grey
    if self._face is None:
      return self._crop, 0.0, None

    confidence = self._face.trusted(confidence)
    if confidence < MIN_CONFIDENCE:
      self._lose()
      return self._crop, 0.0, None
    x, y, side = self._face.settle() / scale
    self._crop = cropping.cut(frame, x, y, side, self._cut_out)
    return self._crop, float(confidence), (float(x - side / 2), float(y - side / 2), float(side))

  def _begin(self, first_box, frame, grey) -> None:
    """Begins with the detector's box of the given face, as one drawn by hand may be wider; else with the given."""
    x, y, width, height = first_box
    given = np.array([x + width / 2, y + height / 2, (width + height) / 2])
    agreeing = [box for box in self._detector.find(frame, grey)[0] if overlap(box, given) > SAME_FACE]
    box = max(agreeing, key=lambda box: overlap(box, given), default=given)
    self._face = Face(box, grey, failures=0 if agreeing else 1)
    self._wait = DETECT_EVERY if agreeing else RETRY_EVERY

  def _lose(self) -> None:
    """Gives the face up, and looks for one at once."""
    self._face = self._candidate = None
    self._wait = 0

  def _detect(self, frame, grey) -> None:
    """Looks for faces; confirms, corrects, or begins to doubt the box."""
    boxes, sure = self._detector.find(frame, grey, None if self._face is None else self._face.box)
    self._wait = RETRY_EVERY
    if self._face is None:
      if not boxes:
        self._candidate = None
        return
      best = max(range(len(boxes)), key=lambda i: boxes[i][2])
      if sure[best] or (self._candidate is not None and overlap(boxes[best], self._candidate) > SAME_FACE):
        self._face, self._candidate = Face(boxes[best], grey), None
        self._wait = DETECT_EVERY
      else:
        self._candidate = boxes[best]
        self._wait = 1
      return
    near = self._face.box
    agreeing = [box for box in boxes if overlap(box, near) > SAME_FACE]
    if not agreeing:
      self._face.miss()
      return
    self._face.correct(max(agreeing, key=lambda box: overlap(box, near)), grey)
    self._wait = DETECT_EVERY


def grey_image(frame: np.ndarray, size: int = WORK_SIZE) -> tuple[np.ndarray, float]:
  """The grey image in which faces are found, its longer side at most `size` pixels, and its scale."""
  scale = min(1.0, size / max(frame.shape[:2]))
  grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
  if scale < 1:
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
  return grey, scale


def overlap(a, b) -> float:
  """Intersection over union of two squares [centre x, centre y, side]."""
  width, height = (min(a[i] + a[2] / 2, b[i] + b[2] / 2) - max(a[i] - a[2] / 2, b[i] - b[2] / 2) for i in (0, 1))
  common = max(0.0, width) * max(0.0, height)
  return common / (a[2] ** 2 + b[2] ** 2 - common)


def _inside(box, width, height) -> float:
  """The share of a square box that lies inside the image."""
  common = 1.0
  for i, extent in enumerate((width, height)):
    first, last = box[i] - box[2] / 2, box[i] + box[2] / 2
    common *= max(0.0, min(last, extent) - max(first, 0))
  return common / box[2] ** 2
