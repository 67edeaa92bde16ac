"""A drawn face that moves: brows, eyelids, mouth and head.

The mouth's corners, the cheeks and the slant of the brows follow valence. The opening of the eyes, the height of the
brows and the motion of the head follow arousal, faintly. The mouth opens with the voice. All shapes are computed for
the whole recording at once; the loop over frames only fills polygons.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from data_prep.simulate import portrait, processes

WIDTH, HEIGHT = 320, 240  # pixels

_VALENCE_FIDELITY = 0.98
_AROUSAL_FIDELITY = 0.45
_TWITCH = 0.15  # strength of brief expressions without meaning, relative to those with one
_SECOND = processes.STEPS_PER_SECOND
_FRACTION_BITS = 4  # OpenCV takes polygons in sixteenths of a pixel
# The square from hairline to chin, relative to the face's centre: what OpenCV's cascade calls this face.
_BOX = np.array([[-53.0, -53.0], [53.0, 53.0]])


class Motion(NamedTuple):
  """Everything that changes from frame to frame; [T] each unless stated.

  Attributes:
    smile: corners of the mouth up (positive) or down.
    slant: inner ends of the brows up and apart (positive) or down and together (a frown), in pixels.
    raised: height of the brows, in pixels.
    eyes: opening of the eyes, 1 is usual, 0 closed.
    opening: of the mouth, in pixels.
    place: [T, 2, 3] from the person's picture to the frame, an affine map.
    light: strength of the light, about 1.
    inside: whether the whole face is in the frame.
  """

  smile: np.ndarray
  slant: np.ndarray
  raised: np.ndarray
  eyes: np.ndarray
  opening: np.ndarray
  place: np.ndarray
  light: np.ndarray
  inside: np.ndarray


def move(rng: np.random.Generator, latents: processes.Latents, opening: np.ndarray) -> Motion:
  """Draws a subject's motion.

  Args:
    rng: random generator.
    latents: what the subject goes through.
    opening: [T] in [0, 1], how far the voice opens the mouth.
  """
  n = len(opening)
  time = (np.arange(n) + 0.5) / _SECOND
  aroused = processes.impression(rng, latents.at('arousal', time), _AROUSAL_FIDELITY)
  pleased = processes.impression(rng, latents.at('valence', time), _VALENCE_FIDELITY)

  def twitch():
    return _TWITCH * processes.wander(rng, n, 0.7 * _SECOND)

  smile = pleased + twitch()
  slant = 2.4 * (pleased + 1.4 * twitch())
  raised = 1.6 * (aroused + twitch()) + 0.3 * pleased
  eyes = np.clip(1 + 0.18 * (aroused + twitch()) - 0.12 * np.clip(smile, 0, None), 0.35, 1.6) * _blinks(rng, n)
  mouth = 11 * np.clip(opening * (1 + 0.12 * aroused), 0, 1.3)
  place, inside = _pose(rng, n, np.exp(0.3 * aroused))
  light = rng.uniform(0.92, 1.06) * (1 + 0.03 * processes.smooth(rng, n, 6 * _SECOND))
  return Motion(smile, slant, raised, eyes, mouth, place, light, inside)


def box(motion: Motion, frame: int) -> tuple[int, int, int, int]:
  """The face's box in a frame: x, y, width, height in pixels."""
  (left, top), (right, bottom) = _BOX + np.array(portrait.CENTRE)
  corners = np.array([[left, top, 1], [right, top, 1], [left, bottom, 1], [right, bottom, 1]]) @ motion.place[frame].T
  centre = corners.mean(axis=0)
  side = (right - left) * np.sqrt(np.linalg.det(motion.place[frame][:, :2]))
  return round(centre[0] - side / 2), round(centre[1] - side / 2), round(side), round(side)


def frames(rng: np.random.Generator, look: portrait.Looks, motion: Motion) -> Iterator[np.ndarray]:
  """Draws frame after frame, each [240, 320, 3] uint8 B, G, R."""
  still, opacity = portrait.person(look)
  wall = portrait.background(rng, WIDTH, HEIGHT)
  shapes = _shapes(look, motion)
  shade = {name: (*np.clip(colour, 0, 255).tolist(), 255) for name, colour in _colours(look).items()}
  picture = np.dstack([still, opacity])
  exposure = portrait.exposure(look)
  for t in range(len(motion.smile)):
    canvas = picture.copy()
    for colour, polygons, line in shapes:
      points = [p[t] for p in polygons]
      if line:
        cv2.polylines(canvas, points, False, shade[colour], line, cv2.LINE_AA, _FRACTION_BITS)
      else:
        cv2.fillPoly(canvas, points, shade[colour], cv2.LINE_AA, _FRACTION_BITS)
    person = cv2.warpAffine(canvas, motion.place[t], (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    colours = cv2.cvtColor(person, cv2.COLOR_BGRA2BGR)  # a slice of the last axis OpenCV would copy slowly
    alpha = cv2.cvtColor(cv2.extractChannel(person, 3), cv2.COLOR_GRAY2BGR)
    gain = exposure * float(motion.light[t])
    frame = cv2.multiply(wall, cv2.bitwise_not(alpha), scale=gain / 255)
    yield cv2.add(frame, cv2.multiply(colours, alpha, scale=gain / 255))


def _blinks(rng, n):
  """[n] factor of the eyes' opening: a dip of a fifth of a second every few seconds."""
  closed = np.zeros(n)
  closed[np.cumsum(rng.integers(_SECOND, 6 * _SECOND, size=n // _SECOND + 1)) % n] = 1
  return 1 - np.convolve(closed, [0.5, 1, 0.9, 0.4], mode='same').clip(0, 1)


def _pose(rng, n, liveliness):
  """Affine maps [n, 2, 3] from the person's picture to the frame, and whether the face is inside [n]."""
  size = rng.uniform(0.92, 1.12)
  x0, y0 = rng.uniform(120, 200), rng.uniform(100, 116)

  def sway(seconds):
    return processes.smooth(rng, n, seconds * _SECOND) * liveliness

  x = x0 + 6 * sway(1.0) + _leaving(rng, n)
  y = y0 + 2.5 * sway(1.0) + 1.2 * sway(0.15)  # sways, and nods
  angle = np.deg2rad(3 * sway(0.8) + rng.uniform(-3, 3))
  scale = size * (1 + 0.03 * processes.smooth(rng, n, 2 * _SECOND))
  turn = np.clip(1 - 0.03 * np.square(sway(1.0)), 0.85, 1)  # a turned head is narrower
  cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
  linear = np.stack([np.stack([cos * turn, -sin], axis=1), np.stack([sin * turn, cos], axis=1)], axis=1)
  shift = np.stack([x, y], axis=1) - linear @ np.array(portrait.CENTRE, np.float64)
  place = np.concatenate([linear, shift[:, :, None]], axis=2)
  reach = _BOX[1, 0] * scale
  inside = (x > reach) & (x < WIDTH - reach) & (y > reach) & (y < HEIGHT - reach)
  return place, inside


def _leaving(rng, n):
  """[n] pixels to the side: on some recordings the face slides out of the frame for a second or two and comes back."""
  away = np.zeros(n)
  if rng.random() < 0.5 and n > 12 * _SECOND:
    for start in rng.integers(4 * _SECOND, n - 4 * _SECOND, size=rng.integers(1, 3)):
      away[start : start + rng.integers(_SECOND, 2 * _SECOND)] = 1
  kernel = np.hanning(17)
  return np.convolve(away, kernel / kernel.sum(), mode='same') * 280 * rng.choice([-1, 1])


def _colours(look):
  """Name -> [3] colour of what moves."""
  lip = look.skin * (np.array([0.72, 0.62, 0.90]) * look.redness + 0.80 * (1 - look.redness)) * 0.88
  dark = look.skin * 0.35
  return {
    'brow': look.hair * 0.6 + dark * 0.3,
    'lid': dark * 0.6,
    'white': np.array([215.0, 220, 225]),
    'iris': look.iris,
    'pupil': np.array([12.0, 12, 12]),
    'fold': look.skin * 0.70,
    'lip': lip,
    # Redder than the skin, as light as its cheeks.
    'cheek': look.skin * np.array([0.82, 0.86, 1.16]) * 1.05,
    'mouth': np.array([25.0, 20, 45]),
    'teeth': np.array([225.0, 232, 235]),
  }


def _shapes(look, motion):
  """What moves, back to front: (colour's name, [polygons [T, N, 2] int32], thickness of the line or 0 to fill)."""
  column = {name: getattr(motion, name)[:, None] for name in ('smile', 'slant', 'raised', 'eyes', 'opening')}
  smile = np.tanh(column['smile'] / 1.8)  # a face can only smile so much
  grin, u = np.clip(smile, 0, 1), np.linspace(-1, 1, 15)
  arch = 1 - u**2
  shapes = []

  def add(colour, polygons, line=0):
    fixed = [np.round((p + np.array(portrait.CENTRE)) * 2**_FRACTION_BITS).astype(np.int32) for p in polygons]
    shapes.append((colour, fixed, line))

  def curve(x, y):
    return np.stack(np.broadcast_arrays(x, y), axis=2)

  # Cheeks glow with pleasure and lose their colour with displeasure.
  glow = 6.5 + 5.5 * smile
  around = np.linspace(0, 2 * np.pi, 20, endpoint=False)
  add('cheek', [curve(side * 24 + 1.1 * glow * np.cos(around), 15 + 0.9 * glow * np.sin(around)) for side in (-1, 1)])

  # Eyes and brows, a pair each.
  whites, irises, pupils, lids, brows = [], [], [], [], []
  for side in (-1, 1):
    x = side * 18 * look.eye_distance
    ends = x + 8.5 * look.eye_size * u
    upper = portrait.EYE_Y - (5.2 * look.eye_size * column['eyes']) * arch
    lower = portrait.EYE_Y + (3.2 - 2.0 * grin) * np.minimum(column['eyes'] * 1.5, 1) * arch
    whites.append(np.concatenate([curve(ends, upper), curve(ends[::-1], lower[:, ::-1])], axis=1))
    lids.append(curve(ends, upper))
    for radius, disc in ((4.3, irises), (1.9, pupils)):
      angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
      dx, dy = radius * np.cos(angle), radius * np.sin(angle)
      shown = 1 - np.square(dx / (8.5 * look.eye_size))
      top = portrait.EYE_Y - 5.2 * look.eye_size * column['eyes'] * shown
      bottom = portrait.EYE_Y + (3.2 - 2.0 * grin) * np.minimum(column['eyes'] * 1.5, 1) * shown
      disc.append(curve(x + dx, np.clip(portrait.EYE_Y - 0.5 + dy, top, bottom)))
    outward = u[::3] * side  # -1 at the inner end of the brow
    height = portrait.EYE_Y - 12 - column['raised'] - 2.5 * (1 - outward**2) + column['slant'] * outward
    brows.append(curve(x + 12 * u[::3], height))
  add('white', whites)
  add('iris', irises)
  add('pupil', pupils)
  add('lid', lids, 2)
  add('brow', brows, max(3, round(4.2 * look.brow_weight)))

  # The folds beside the nose deepen and widen with a smile.
  folds = [
    curve(s * (12 + (9 + 4 * grin) * u01), 15 + (15 - 5 * grin) * u01**1.3)
    for s in (-1, 1)
    for u01 in [np.linspace(0, 1, 7)]
  ]
  add('fold', folds, 1)

  # The mouth: lips along a line that bends, and what lies between them when it opens.
  half = 17.5 * look.mouth_width * (1 + 0.28 * smile - 0.012 * column['opening'])

  opening = column['opening'] + 9 * grin  # a broad smile shows the teeth

  def edges(w):
    """The upper and lower edge of the opening at `w` of the way from the middle to a corner."""
    line = portrait.MOUTH_Y - 14 * smile * (w**2 - 0.45)
    return line - 0.3 * opening * (1 - w**2), line + 0.7 * opening * (1 - w**2)

  def band(w, upper, lower):
    return np.concatenate([curve(half * w, upper), curve((half * w)[:, ::-1], lower[:, ::-1])], axis=1)

  lips = 2.8 * look.lip_weight * (1 - np.abs(u) ** 3)
  top, bottom = edges(u)
  add('lip', [band(u, top - lips, bottom + 1.25 * lips)])
  add('mouth', [band(0.9 * u, *edges(0.9 * u))])
  upper, lower = edges(0.7 * u)
  teeth = band(0.7 * u, upper, np.minimum(lower, upper + (3 + 5 * grin) * arch))
  # A polygon without area is still drawn a pixel wide: teeth that do not show are put outside of the picture.
  add('teeth', [np.where(opening[:, :, None] > 2, teeth, -999)])
  add('mouth', [curve(half * u, top)], 1)
  return shapes
