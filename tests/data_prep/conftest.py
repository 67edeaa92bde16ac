"""Fixtures of the tests of the preparation."""

import cv2
import numpy as np
import pytest


@pytest.fixture(scope='module')
def face():
  """A textured oval with eyes, brows, nose and mouth that the cascade takes for a face; 130 pixels wide."""
  image = np.full((400, 400, 3), 90, np.float32)
  yy, xx = np.mgrid[:400, :400]

  def oval(x, y, a, b, colour):
    inside = ((xx - x) / a) ** 2 + ((yy - y) / b) ** 2 < 1
    image[inside] = colour

  oval(200, 200, 110, 145, (205, 160, 130))
  for side in (-1, 1):
    oval(200 + side * 45, 170, 24, 11, (240, 240, 240))
    oval(200 + side * 45, 170, 10, 10, (30, 30, 40))
    oval(200 + side * 45, 142, 32, 7, (50, 35, 30))
  oval(200, 215, 13, 9, (165, 115, 95))
  oval(200, 262, 42, 12, (140, 50, 60))
  image += np.random.default_rng(0).normal(0, 6, image.shape[:2])[..., None]
  image = cv2.GaussianBlur(image, (0, 0), 2.5)
  return cv2.resize(image.clip(0, 255).astype(np.uint8), (236, 236), interpolation=cv2.INTER_AREA)
