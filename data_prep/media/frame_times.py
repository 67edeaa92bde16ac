"""When the frames of a video are shown, without decoding them: one time a frame, in the order of showing."""

import numpy as np

from data_prep.core.errors import DataError
from data_prep.media import clock, containers, tracks


def frame_ends(path) -> np.ndarray:
  """[N] seconds at which the showing of each frame ends: where the next one comes, of the last by its duration.

  Variable frame rates need no special case. Time zero is where the container starts, as in `video_track`.

  Raises:
    DataError: not readable, no video track, no frame, or a container without presentation times.
  """
  begins, durations = [], []
  with containers.open_media(path) as container:
    stream = containers.video_stream(path, container)
    zero = clock.origin(container)
    usual = float(1 / stream.average_rate) if stream.average_rate else 0.0
    for packet in tracks.Track(path, container, stream).packets():
      if not packet.size:
        continue
      if packet.pts is None:
        raise DataError(f'{path}: a frame has no time; convert the video to MP4 or Matroska')
      begins.append(clock.seconds(packet.pts, packet) - zero)
      durations.append(clock.seconds(packet.duration or 0, packet))
  if not begins:
    raise DataError(f'{path}: the video track holds no frames; copy the file again')
  order = np.argsort(begins, kind='stable')
  shown = np.array(begins)[order]
  last = durations[order[-1]] or usual or (float(np.median(np.diff(shown))) if len(shown) > 1 else 0.0)
  return np.append(shown[1:], shown[-1] + last)
