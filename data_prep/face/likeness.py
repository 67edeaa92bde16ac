"""How alike two sights of a face are: what says that a person who comes back is the one who left.

A sight is described by three histograms: the colours of the face's crop with its hair, those of the clothes below it,
and the uniform local binary patterns of the face in 4 × 4 fields (Ahonen et al. 2006). Nothing of it is learnt. It
tells the people of one recording apart, who keep their clothes. It is no face recognition.
"""

import cv2
import numpy as np

from data_prep.face import cropping

ALIKE = 0.17  # distance below which two sights may be of one person; docs/clips.md has what was measured
ALIKE_THERE = 0.25  # the same, of a face that was lost a moment ago at the same place
GALLERY = 24  # sights of a person that are kept
_BELOW = 0.35  # of the box's side, how far below the face's centre the view's is that holds the clothes
_VIEW = cropping.Crop(128, 2.0, 2.0)  # of the face and the clothes below it
_CLOTHES = slice(92, 128), slice(26, 102)  # of the view: rows below the chin, columns of the shoulders
_BINS, _RANGES = [6, 8, 8], [0, 256, 64, 192, 64, 192]  # of Lab in 8 bits; a and b of skin and clothes are near 128
_PATTERN_SIZE, _FIELDS = 64, 4
_RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))  # neighbours, around


def _uniform() -> np.ndarray:
  """Pattern of eight neighbours -> its bin: each with at most two changes around has its own, all others share one."""
  changes = [sum((v >> i & 1) != (v >> (i + 1) % 8 & 1) for i in range(8)) for v in range(256)]
  bins = np.cumsum([count <= 2 for count in changes]) - 1
  return np.where(np.array(changes) <= 2, bins, bins[-1] + 1)


_BIN_OF = _uniform()


def describe(frame: np.ndarray, x: float, y: float, side: float) -> np.ndarray:
  """The face with its box's centre and side in a frame, uint8 [H, W, 3] RGB -> [D], of length 1."""
  crop = cropping.cut(frame, x, y, side)
  view = cropping.cut(frame, x, y + _BELOW * side, side, _VIEW)
  parts = _colours(crop), _colours(view[_CLOTHES]), _patterns(crop)
  return np.concatenate(parts) / np.sqrt(len(parts))


def distance(sight: np.ndarray, others: list[np.ndarray]) -> float:
  """To the nearest of others: 1 − the mean Bhattacharyya coefficient of the histograms, 0 (the same) … 1."""
  return 1.0 - float(np.max(np.stack(others) @ sight))


def _colours(image):
  histogram = cv2.calcHist([cv2.cvtColor(image, cv2.COLOR_RGB2LAB)], [0, 1, 2], None, _BINS, _RANGES).ravel()
  return np.sqrt(histogram / max(histogram.sum(), 1))


def _patterns(crop):
  grey = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (_PATTERN_SIZE,) * 2, interpolation=cv2.INTER_AREA)
  inner, size = grey[1:-1, 1:-1], _PATTERN_SIZE
  code = np.zeros(inner.shape, np.uint8)
  for bit, (down, right) in enumerate(_RING):
    code |= (grey[1 + down : size - 1 + down, 1 + right : size - 1 + right] >= inner).astype(np.uint8) << bit
  fields = [field for rows in np.array_split(_BIN_OF[code], _FIELDS) for field in np.array_split(rows, _FIELDS, axis=1)]
  counts = np.stack([np.bincount(field.ravel(), minlength=_BIN_OF.max() + 1) for field in fields])
  return np.sqrt(counts / (counts.sum(axis=1, keepdims=True) * len(fields))).ravel()
