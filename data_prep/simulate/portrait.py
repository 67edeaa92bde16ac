"""The still parts of a drawn person: background, head, hair, shoulders, and the shading that makes it a face.

Everything is painted once per recording, in colours B, G, R. A face is found by its shading (dark eye sockets beside a
bright bridge of the nose, bright cheeks below), so the shading is what is painted with most care.
"""

import dataclasses

import cv2
import numpy as np

PATCH = (240, 320)  # width, height of the person's own picture, in pixels; it is then moved about in the frame
CENTRE = (120, 120)  # of the face in the patch; every other place is relative to it
EYE_Y = -12
MOUTH_Y = 30

_SKIN = np.array([[185, 204, 230], [165, 190, 226], [140, 170, 215], [105, 140, 190], [75, 105, 155], [52, 74, 115]])
_HAIR = np.array([[28, 28, 32], [30, 45, 68], [45, 75, 115], [90, 140, 180], [60, 70, 130], [150, 152, 155]])
_EXPOSED = 150  # luma of the skin that the camera shows as it is
_OVERSAMPLING = 2  # painted larger and shrunk: smooth edges


@dataclasses.dataclass(frozen=True)
class Looks:
  """What a subject looks like.

  Attributes:
    skin, hair, iris, cloth: [3] float, B, G, R.
    width, jaw, eye_distance, eye_size, brow_weight, mouth_width, lip_weight: factors about 1.
    redness: how much the lips differ from the skin.
    light: [2], horizontal and vertical gradient of the light, as a part of its strength.
    long_hair: whether it falls beside the face.
    stubble: darkness of the shaven chin, 0 for none.
  """

  skin: np.ndarray
  hair: np.ndarray
  iris: np.ndarray
  cloth: np.ndarray
  width: float
  jaw: float
  eye_distance: float
  eye_size: float
  brow_weight: float
  mouth_width: float
  lip_weight: float
  redness: float
  light: np.ndarray
  long_hair: bool
  stubble: float


def looks(rng: np.random.Generator) -> Looks:
  """Draws a subject's looks."""
  tone = rng.uniform(0, len(_SKIN) - 1)
  skin = np.array([np.interp(tone, np.arange(len(_SKIN)), _SKIN[:, k]) for k in range(3)])
  dark = tone > 3
  hair = _HAIR[rng.integers(2 if dark else len(_HAIR))] * rng.uniform(0.85, 1.15)
  long_hair = bool(rng.random() < 0.5)
  return Looks(
    skin=skin,
    hair=hair,
    iris=rng.uniform([20, 30, 30], [60, 55, 60] if dark else [150, 120, 90]),
    cloth=rng.uniform(30, 190) + rng.uniform(-30, 30, size=3),
    width=rng.uniform(0.92, 1.08),
    jaw=rng.uniform(0.72, 0.86),
    eye_distance=rng.uniform(0.94, 1.06),
    eye_size=rng.uniform(0.92, 1.1),
    brow_weight=rng.uniform(0.9, 1.2),
    mouth_width=rng.uniform(0.95, 1.06),
    lip_weight=rng.uniform(0.9, 1.15),
    redness=rng.uniform(0.7, 1.0),
    light=rng.uniform([-0.15, -0.05], [0.15, 0.15]),
    long_hair=long_hair,
    stubble=0.0 if long_hair or rng.random() < 0.6 else rng.uniform(0.1, 0.25),
  )


def exposure(look: Looks) -> float:
  """The camera's gain: it exposes for the face, half way, so that dark skin and what is around it is shown brighter."""
  return float(np.sqrt(_EXPOSED / (look.skin @ (0.114, 0.587, 0.299))))


def person(look: Looks) -> tuple[np.ndarray, np.ndarray]:
  """Paints head and shoulders, without the parts that move.

  Returns:
    [320, 240, 3] uint8 picture and [320, 240] uint8 opacity.
  """
  paint = _Canvas(look.skin)
  wide = 42 * look.width
  paint.solid(look.hair * 0.85, _ellipse(0, *((10, wide + 12, 80) if look.long_hair else (-16, wide + 6, 52))))
  paint.solid(look.cloth, _ellipse(0, 205, 100, 118))
  paint.solid(look.skin * 0.74, _box(-21, 30, 21, 95))
  paint.solid(look.skin * 0.76, _ellipse(0, 95, 26, 18))
  paint.solid(look.skin * 0.82, _ellipse(-wide, -4, 6, 13))
  paint.solid(look.skin * 0.82, _ellipse(wide, -4, 6, 13))
  oval = _oval(wide, 58, look.jaw)
  paint.solid(look.skin, oval)

  # Light falls on what stands out: forehead, bridge and tip of the nose, cheeks, chin.
  paint.shade(0.80, _rim(oval), 9, inside=oval)
  paint.shade(1.12, _ellipse(0, -36, 26, 10), 8)
  for side in (-1, 1):
    x = side * 18 * look.eye_distance
    paint.shade(0.66, _ellipse(x, EYE_Y - 3, 13, 8), 4)
    paint.shade(0.85, _ellipse(side * 7, EYE_Y, 3, 8), 2.5)
    paint.shade(1.14, _ellipse(side * 20, 13, 10, 8), 5)
    paint.shade(0.84, _ellipse(side * 8.5, 12, 2.5, 6), 2)  # the sides of the nose
    paint.shade(0.45, _ellipse(side * 4.5, 17, 2.2, 1.3), 0.8)  # nostrils
  paint.shade(1.22, _box(-2.5, -18, 2.5, 10), 2.2)
  paint.shade(1.12, _ellipse(0, 11, 4.5, 4), 2)
  paint.shade(0.80, _ellipse(0, 19.5, 8, 1.6), 1.6)
  paint.shade(0.90, _ellipse(0, MOUTH_Y + 11, 11, 2.5), 2)
  paint.shade(1.08, _ellipse(0, MOUTH_Y + 20, 10, 5), 4)
  if look.stubble:
    paint.shade(1 - look.stubble, _ellipse(0, 42, 34, 18), 6, inside=oval)
  paint.solid(look.hair, _fringe(wide))
  paint.light(look.light)
  return paint.finish()


def background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
  """Paints a wall with a few blurred things in front of it, [height, width, 3] uint8."""
  top, bottom = (rng.uniform(60, 200) + rng.uniform(-25, 25, size=3) for _ in range(2))
  slope = np.linspace(0, 1, height)[:, None, None]
  wall = (top * (1 - slope) + bottom * slope) * np.ones((1, width, 1))
  wall = np.ascontiguousarray(wall, dtype=np.float32)
  for _ in range(rng.integers(2, 6)):
    x, y = rng.integers(-20, width), rng.integers(-20, height)
    w, h = rng.integers(20, 110, size=2)
    colour = rng.uniform(40, 210) + rng.uniform(-30, 30, size=3)
    cv2.rectangle(wall, (int(x), int(y)), (int(x + w), int(y + h)), colour.tolist(), -1)
  return cv2.GaussianBlur(wall, (0, 0), rng.uniform(2, 5)).clip(0, 255).astype(np.uint8)


class _Canvas:
  """A picture and its opacity, painted at twice the size in coordinates relative to the face's centre."""

  def __init__(self, colour):
    width, height = PATCH[0] * _OVERSAMPLING, PATCH[1] * _OVERSAMPLING
    # Transparent parts carry the skin's colour too, so that no dark seam appears when the picture is resampled.
    self.picture = np.empty((height, width, 3), np.float32)
    self.picture[:] = colour
    self.opacity = np.zeros((height, width), np.float32)

  def mask(self, polygon):
    """[height, width] in {0, 1}: inside the polygon [N, 2]."""
    mask = np.zeros(self.opacity.shape, np.float32)
    points = np.round((polygon + np.array(CENTRE)) * _OVERSAMPLING).astype(np.int32)
    cv2.fillPoly(mask, [points], 1.0)
    return mask

  def solid(self, colour, polygon):
    mask = self.mask(polygon)
    self.picture[mask > 0] = colour
    np.maximum(self.opacity, mask, out=self.opacity)

  def shade(self, factor, polygon, blur, inside=None):
    """Multiplies the picture by `factor` inside the polygon, fading over `blur` pixels."""
    mask = cv2.GaussianBlur(self.mask(polygon), (0, 0), blur * _OVERSAMPLING)
    if inside is not None:
      mask *= self.mask(inside)
    self.picture *= (1 + (factor - 1) * mask)[:, :, None]

  def light(self, gradient):
    height, width = self.opacity.shape
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :] * gradient[0] * 2
    y = np.linspace(1, -1, height, dtype=np.float32)[:, None] * gradient[1] * 2
    self.picture *= np.clip(1 + x + y, 0.6, 1.35)[:, :, None]

  def finish(self):
    picture = cv2.resize(self.picture.clip(0, 255), PATCH, interpolation=cv2.INTER_AREA)
    opacity = cv2.resize(self.opacity, PATCH, interpolation=cv2.INTER_AREA)
    return np.round(picture).astype(np.uint8), np.round(opacity * 255).astype(np.uint8)


_ANGLE = np.linspace(0, 2 * np.pi, 120, endpoint=False)


def _ellipse(x, y, a, b):
  return np.stack([x + a * np.cos(_ANGLE), y + b * np.sin(_ANGLE)], axis=1)


def _box(left, top, right, bottom):
  return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def _oval(wide, high, jaw):
  """The outline of a face: an ellipse that narrows towards the chin."""
  x, y = np.cos(_ANGLE), np.sin(_ANGLE)
  narrowing = 1 - (1 - jaw) * np.clip(y, 0, None) ** 1.5 * 0.6
  return np.stack([wide * x * narrowing, high * y], axis=1)


def _rim(oval):
  """The band between an outline and a smaller copy of it, as one polygon with a seam."""
  inner = oval * 0.86
  return np.concatenate([oval, oval[:1], inner[:1], inner[::-1]])


def _fringe(wide):
  """The hair above the forehead."""
  u = np.linspace(-1, 1, 41)
  lower = np.stack([u * (wide + 4), -44 + 22 * np.abs(u) ** 2.5], axis=1)
  upper = np.stack([u * (wide + 8), -24 - 48 * np.sqrt(np.clip(1 - u**2, 0, 1))], axis=1)
  return np.concatenate([lower, upper[::-1]])
