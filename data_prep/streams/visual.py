"""The face in the picture of a recording."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import cv2
import numpy as np

from data_prep.core.errors import DataError
from data_prep.corpora.recording import read_box, Recording
from data_prep.corpora.settings import Settings
from data_prep.face import cropping, jpeg, tracker
from data_prep.media import audio_track, picture_folder, tracks, video_track
from data_prep.schema.fields import Field
from data_prep.schema.grid import Grid


@dataclasses.dataclass(frozen=True)
class Faces:
  """The face of a recording on its grid.

  Attributes:
    start, end: seconds, where the first picture is shown and where the last one's showing ends.
    fps: the mean frame rate.
    notes: what a person should know of the file.
    crops: a JPEG for every step that the picture reaches.
    found: the detector's confidence for each, 0: no face, the crop repeats the last good one.
    size: median side of the face's box, pixels of the picture; None: no face, or the pictures are faces already.
  """

  start: float
  end: float
  fps: float
  notes: list[str]
  crops: list[bytes]
  found: list[float]
  size: float | None


class Visual:
  """The crop of the face that is shown during a step, and the confidence of its detector."""

  name = 'visual'
  word = 'picture'
  absent = 'no video: grey'
  ends_early = False

  def fields(self, grid: Grid, options: Mapping[str, Any]) -> tuple[Field, ...]:
    """See `Stream`."""
    return Field('face', (cropping.FACE_SIZE, cropping.FACE_SIZE, 3), 'jpeg'), Field('face_found')

  def read(self, recording: Recording, settings: Settings) -> Faces | None:
    """The face, followed through the video."""
    path = recording.video
    if path is None:
      return None
    first_box = read_box(recording.boxes) if recording.boxes else recording.first_box
    if recording.frames is not None:
      pictures = picture_folder.Pictures(path, recording.frames, settings.grid)
      cut_out = isinstance(recording.frames, pathlib.Path)
      return _cut_out(pictures, settings.grid) if cut_out else _followed(pictures, first_box, settings)
    # A sound file has no picture but perhaps a cover: as in a prediction, the sound counts alone.
    if recording.audio is None and audio_track.has_audio(path) and not video_track.has_video(path):
      return None
    return _followed(video_track.Video(path, settings.grid, max_lost=tracks.MAX_LOST_LEARNT), first_box, settings)

  def cut(self, recording: Recording, track: Faces | None, seconds: float, settings: Settings) -> dict[str, Any]:
    """See `Stream`.

    Raises:
      DataError: the face is lost in too many steps.
    """
    steps = settings.grid.steps_begun(seconds)
    if track is None:
      return {'face': [jpeg.encode(cropping.grey())] * steps, 'face_found': np.zeros(steps, np.float32)}
    found = np.array(track.found[:steps], np.float32)
    lost = 1 - float(np.mean(found > 0))
    if lost > settings.max_lost:
      raise DataError(
        f'{recording.video}: no face in {100 * lost:.0f} % of the steps, at most '
        f'{100 * settings.max_lost:.0f} % are allowed (--max_lost)'
      )
    return {'face': track.crops[:steps], 'face_found': found}


def _followed(video, first_box, settings) -> Faces:
  crops, found, sides = [], [], []
  for _, data, confidence, box in tracker.follow(video, first_box, settings.grid, detector=settings.detector):
    crops.append(data)
    found.append(confidence)
    sides.extend([box[2]] if box else [])
  size = float(np.median(sides)) if sides else None
  return Faces(video.start, video.end, video.fps, video.notes, crops, found, size)


def _cut_out(pictures, grid) -> Faces:
  """Pictures that are faces already: each is scaled, and what is absent repeats the last one, found 0."""
  crop, crops, found = jpeg.encode(cropping.grey()), [], []
  last = None
  for i, image in enumerate(pictures):
    if i % grid.pictures_per_step != grid.pictures_per_step // 2:
      continue
    if image is not None and image is not last:
      scaled = cv2.resize(image, (cropping.FACE_SIZE, cropping.FACE_SIZE), interpolation=cv2.INTER_AREA)
      last, crop = image, jpeg.encode(scaled)
    crops.append(crop)
    found.append(float(image is not None))
  return Faces(pictures.start, pictures.end, pictures.fps, pictures.notes, crops, found, size=None)
