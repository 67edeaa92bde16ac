"""The crop of a face: what is cut out of a frame."""

import dataclasses

import cv2
import numpy as np

from data_prep.face import jpeg

FACE_SIZE = 96  # pixels, square, RGB
MARGIN = 0.15  # of the box's side, added on each of the four sides of the crop
GREY = 128  # crop before any face was found

PARAMETERS = {'face_size': FACE_SIZE, 'jpeg_quality': jpeg.QUALITY, 'margin': MARGIN, 'grey': GREY}


@dataclasses.dataclass(frozen=True)
class Crop:
  """What is cut out around a face's box, whose sides are equal.

  Attributes:
    size: pixels of the crop, square.
    width, height: of what is cut out, over the side of the box; the two are resized to the same size.
  """

  size: int = FACE_SIZE
  width: float = 1 + 2 * MARGIN
  height: float = 1 + 2 * MARGIN


STORED = Crop()  # of the records


def grey(crop: Crop = STORED) -> np.ndarray:
  """The crop before any face was found."""
  return np.full((crop.size, crop.size, 3), GREY, np.uint8)


def cut(frame: np.ndarray, x: float, y: float, side: float, crop: Crop = STORED) -> np.ndarray:
  """What is around the face's box, resized to uint8 [size, size, 3]; the border is repeated beyond the frame.

  Args:
    frame: uint8 [H, W, 3] RGB.
    x, y, side: centre and side of the face's box, pixels.
    crop: see `Crop`.
  """
  pixels = max(2, round(side * crop.width)), max(2, round(side * crop.height))
  patch = cv2.getRectSubPix(frame, pixels, (x - 0.5, y - 0.5))
  method = cv2.INTER_AREA if min(pixels) > crop.size else cv2.INTER_LINEAR
  return cv2.resize(patch, (crop.size, crop.size), interpolation=method)
