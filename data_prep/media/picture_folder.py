"""A video that was released as a folder of numbered pictures: `00000.png`, `00001.png`, … or `00001.jpg`, …"""

from collections.abc import Iterator
import pathlib
import re

import cv2
import numpy as np

from data_prep.core.errors import DataError
from data_prep.media import frame_times
from data_prep.media.containers import MAX_PIXELS
from data_prep.schema.grid import Grid, PAPER

_ENDINGS = ('.png', '.jpg', '.jpeg')


def pictures(folder) -> dict[int, pathlib.Path]:
  """Number -> file of the pictures in a folder, in order.

  Raises:
    DataError: there is none.
  """
  found = {}
  for path in pathlib.Path(folder).iterdir():
    if path.suffix.lower() in _ENDINGS and re.fullmatch('[0-9]+', path.stem):
      found[int(path.stem)] = path
  if not found:
    raise DataError(f'{folder}: no numbered picture; expected 00000.png or 00001.jpg and those that follow')
  return dict(sorted(found.items()))


class Pictures:
  """The pictures of a folder on the label grid; the counterpart of `video_track.Video`, iterate once.

  Attributes:
    fps: the mean frame rate.
    start, end: seconds; the first frame begins at 0.
    size: (width, height), once iterated.
    notes: what a person should know, once iterated.
  """

  def __init__(self, folder, frames: float | pathlib.Path, grid: Grid = PAPER):
    """
    Args:
      folder: of the pictures. Where they are faces of a video's frames, the first frame has the number 1, and a number
        that is absent shows nothing: there was no face. Of pictures with a rate, the first has the lowest number.
      frames: pictures a second, or the video whose frames' faces they are.
      grid: whose steps they are placed on.

    Raises:
      DataError: the folder has no pictures, or more than the video has frames.
    """
    self.path, self.grid, self.size, self.start = folder, grid, (0, 0), 0.0
    self.notes: list[str] = []
    self._files = pictures(folder)
    if isinstance(frames, pathlib.Path):
      self._first, self._ends = 1, frame_times.frame_ends(frames)
    else:
      self._first = min(self._files)
      self._ends = np.arange(1, max(self._files) - self._first + 2) / frames
    last = max(self._files) - self._first + 1
    if last > len(self._ends):
      raise DataError(f'{folder}: picture {max(self._files)}, and {frames} has {len(self._ends)} frames')
    self.end = float(self._ends[-1])
    self.fps = len(self._ends) / self.end

  def __iter__(self) -> Iterator[np.ndarray | None]:
    """Yields RGB uint8 [H, W, 3], or None where nothing is shown, `grid.pictures_per_step` a step.

    Raises:
      DataError: a picture cannot be read.
    """
    held, shown = -1, None
    for place in range(self.grid.steps_begun(self.end) * self.grid.pictures_per_step):
      middle = (place + 0.5) * self.grid.picture_seconds
      frame = min(int(np.searchsorted(self._ends, middle, side='right')), len(self._ends) - 1)
      if frame != held:
        held, shown = frame, self._read(self._files.get(frame + self._first))
      yield shown
    absent = len(self._ends) - len(self._files)
    if absent:
      self.notes.append(f'{absent} of {len(self._ends)} frames have no picture')

  def _read(self, path):
    if path is None:
      return None
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None or image.shape[0] * image.shape[1] > MAX_PIXELS:
      raise DataError(f'{path}: no picture that can be read; expected PNG or JPEG up to 4096²')
    self.size = (image.shape[1], image.shape[0])
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
