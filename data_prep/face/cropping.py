"""The crop of a face: what is cut out of a frame."""

import cv2
import numpy as np

from data_prep.face import jpeg

FACE_SIZE = 96  # pixels, square, RGB
MARGIN = 0.15  # of the box's side, added on each of the four sides of the crop
GREY = 128  # crop before any face was found

PARAMETERS = {'face_size': FACE_SIZE, 'jpeg_quality': jpeg.QUALITY, 'margin': MARGIN, 'grey': GREY}


def grey() -> np.ndarray:
  """The crop before any face was found."""
  return np.full((FACE_SIZE, FACE_SIZE, 3), GREY, np.uint8)


def cut(frame: np.ndarray, x: float, y: float, side: float) -> np.ndarray:
  """The face's box with its margin, resized to uint8 [96, 96, 3]; the frame's border is repeated beyond the frame.

  Args:
    frame: uint8 [H, W, 3] RGB.
    x, y, side: centre and side of the face's box, pixels.
  """
  pixels = max(2, round(side * (1 + 2 * MARGIN)))
  patch = cv2.getRectSubPix(frame, (pixels, pixels), (x - 0.5, y - 0.5))
  method = cv2.INTER_AREA if pixels > FACE_SIZE else cv2.INTER_LINEAR
  return cv2.resize(patch, (FACE_SIZE, FACE_SIZE), interpolation=method)
