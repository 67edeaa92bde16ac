"""The JPEG that a crop of a face is stored as."""

import cv2
import numpy as np

QUALITY = 95  # OpenCV's, 0 … 100


def encode(crop: np.ndarray) -> bytes:
  """uint8 [H, W, 3] RGB -> JPEG bytes."""
  ok, data = cv2.imencode('.jpg', cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
  assert ok
  return data.tobytes()


def decode(data: bytes) -> np.ndarray:
  """JPEG bytes, from `encode` or from a record, whose decoding checked them -> uint8 [H, W, 3] RGB."""
  image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
  assert image is not None
  return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
