"""Detectors of faces: where in a picture a face is. The tracker asks one now and then; `--detector` names it.

docs/speed.md has what each finds. A network sees at prediction what the detector of its training finds.
"""

from collections.abc import Callable
from importlib import metadata
from typing import Protocol

import cv2
import numpy as np

from data_prep.core.errors import of_import, UserError
from data_prep.core.registry import add

SCALE_FACTOR = 1.15  # of the cascade's pyramid
MIN_NEIGHBOURS = 3  # windows of the cascade that must agree before it is a candidate
SURE_NEIGHBOURS = 8  # from here on one detection is enough; fewer wait for a second detection at the same place
NEAR = 1.0  # sides of a face from its centre, within which the cascade looks for it anew
NEAR_SIZE = 1.8  # times as large, or a part of it as small, as it may be there
DIM = 128  # level of the brightest hundredth of a picture, below which `lit` brightens it
MTCNN_WIDTH, MTCNN_HEIGHT = 0.78, 1.11  # of MTCNN's boxes over the side of the cascade's; docs/ready.md tells of them
_MTCNN_SURE = 0.95  # probability from which on one detection is enough

# Of the cascade, as manifests have them.
PARAMETERS = {
  'scale_factor': SCALE_FACTOR,
  'min_neighbours': MIN_NEIGHBOURS,
  'sure_neighbours': SURE_NEIGHBOURS,
  'near': NEAR,
  'near_size': NEAR_SIZE,
}


class Detector(Protocol):
  """Finds faces."""

  def find(
    self, frame: np.ndarray, grey: np.ndarray, near: np.ndarray | None = None
  ) -> tuple[list[np.ndarray], list[bool]]:
    """Looks for faces.

    Args:
      frame: uint8 [H, W, 3] RGB.
      grey: uint8 [h, w], the same in grey and smaller.
      near: [centre x, centre y, side] in pixels of `grey`: others than the face that is there may be left out. None:
        all are wanted.

    Returns:
      boxes: [centre x, centre y, side] of each face in pixels of `grey`, the square that the cascade would find.
      sure: for each, whether one detection is enough.
    """
    ...


class Cascade:
  """A Haar cascade that comes with OpenCV."""

  def __init__(self, min_face: float, cascade: str = 'frontalface_alt2'):
    """
    Args:
      min_face: of the shorter side of the image, the smallest face.
      cascade: its name.
    """
    self._cascade = cv2.CascadeClassifier(f'{cv2.data.haarcascades}haarcascade_{cascade}.xml')  # type: ignore[attr-defined]
    self._min_face = min_face

  def find(self, frame, grey, near=None):
    """See `Detector`; a face of which many windows of the cascade agree is sure."""
    del frame
    smallest, largest, left, top = max(20, round(self._min_face * min(grey.shape))), 0, 0, 0
    if near is not None:  # a third of the work
      x, y, side = near
      left, top = (max(0, round(centre - NEAR * side)) for centre in (x, y))
      grey = grey[top : max(0, round(y + NEAR * side)), left : max(0, round(x + NEAR * side))]
      smallest, largest = max(smallest, round(side / NEAR_SIZE)), round(side * NEAR_SIZE)
      if min(grey.shape) < smallest:
        return [], []
    found, neighbours = self._cascade.detectMultiScale2(
      grey,
      scaleFactor=SCALE_FACTOR,
      minNeighbors=MIN_NEIGHBOURS,
      minSize=(smallest, smallest),
      maxSize=(largest, largest),  # (0, 0): any
    )
    boxes = [np.array([left + x + side / 2, top + y + side / 2, side]) for x, y, side, _ in found]
    return boxes, [count >= SURE_NEIGHBOURS for count in neighbours]


class Mtcnn:
  """MTCNN (Zhang et al. 2016), three small networks; the package `mtcnn` has their weights, TensorFlow runs them.

  It finds heads that are turned in the plane of the picture, and faces that are partly covered.
  """

  def __init__(self, min_face: float):
    """
    Args:
      min_face: of the shorter side of the image, the smallest face.

    Raises:
      UserError: the package is not installed.
    """
    self._network, self._min_face = mtcnn(), min_face

  def find(self, frame, grey, near=None):
    """See `Detector`."""
    del near
    picture = cv2.resize(frame, grey.shape[::-1], interpolation=cv2.INTER_AREA)
    # Of `min_face_size` mtcnn 1.0 takes its default alone, 20 pixels: with 28 it found none of three large faces.
    rows = np.asarray(self._network.detect_faces(lit(picture), output_type='numpy')).reshape(-1, 16)
    boxes, sure = [], []
    for _, x, y, width, height, probability in rows[:, :6]:
      side = np.sqrt(width * height / (MTCNN_WIDTH * MTCNN_HEIGHT))
      if side >= self._min_face * min(grey.shape):
        boxes.append(np.array([x + width / 2, y + height / 2, side]))
        sure.append(bool(probability >= _MTCNN_SURE))
    return boxes, sure


CASCADE, MTCNN = 'cascade', 'mtcnn'
DETECTORS: dict[str, Callable[[float], Detector]] = {}


def register(name: str, make: Callable[[float], Detector]) -> None:
  """Adds a detector for `--detector`; `make` takes `min_face`, as `Cascade` does. ValueError: the name is taken."""
  add(DETECTORS, 'detector', name, make)


register(CASCADE, Cascade)
register(MTCNN, Mtcnn)


def make(name: str, min_face: float) -> Detector:
  """The detector of a name.

  Args:
    name: one of `DETECTORS`.
    min_face: of the shorter side of the image, the smallest face.

  Raises:
    UserError: there is none of that name, or its package is not installed.
  """
  if name not in DETECTORS:
    raise UserError(f'--detector={name}; expected one of {", ".join(DETECTORS)}')
  return DETECTORS[name](min_face)


def versions(name: str) -> dict[str, str]:
  """Package -> version of what a detector needs beside OpenCV; raises UserError where it is not installed."""
  if name != MTCNN:
    return {}
  try:
    return {MTCNN: metadata.version(MTCNN)}
  except ImportError as e:
    raise of_import(e) from None


def mtcnn():
  """The detector of the package `mtcnn`; raises UserError where it is not installed."""
  from data_prep.core import quiet  # noqa: F401, before TensorFlow

  try:
    import mtcnn as package
  except ImportError as e:
    raise of_import(e) from None
  return package.MTCNN()


def lit(picture: np.ndarray) -> np.ndarray:
  """A dim picture, grey or RGB, brightened.

  OpenCV's cascades pass over windows whose grey levels deviate by less than 10, and MTCNN finds none in the dark.
  """
  brightest = float(np.percentile(picture, 99))
  return picture if brightest >= DIM else cv2.convertScaleAbs(picture, alpha=255 / max(brightest, 16))
