"""From video to face crops, against a detector on every frame; and whole preparations, from recordings to shards.

    python -m benchmarks.prepare --out=benchmarks/results

The recordings are the embedded simulator's, their pictures enlarged for the larger sizes. Ours decodes with PyAV,
detects now and then and follows the face by optical flow between. The peer decodes with OpenCV and runs the same
cascade on every frame.
"""

import contextlib
import io
import pathlib
import tempfile
import time

import av
import cv2

from benchmarks import measure
from data_prep.core import atomic, pool
from data_prep.face import cropping, jpeg, tracker
from data_prep.media import video_track
from data_prep.shards.prepare import prepare
from data_prep.simulate import corpus

_HEIGHTS = (240, 720, 1080)  # pixels, of pictures of 4:3


def peer(path) -> int:
  """Every frame: detect, cut out, JPEG; returns how many had a face."""
  cascade = cv2.CascadeClassifier(cv2.data.haarcascades + 'haarcascade_frontalface_alt2.xml')
  video, found = cv2.VideoCapture(str(path)), 0
  while True:
    ok, frame = video.read()
    if not ok:
      return found
    boxes = cascade.detectMultiScale(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))
    if len(boxes):
      x, y, width, height = max(boxes, key=lambda box: box[2])
      crop = cv2.resize(
        frame[y : y + height, x : x + width], (cropping.FACE_SIZE, cropping.FACE_SIZE), interpolation=cv2.INTER_AREA
      )
      cv2.imencode('.jpg', crop, [cv2.IMWRITE_JPEG_QUALITY, jpeg.QUALITY])
      found += 1


def enlarge(path, height: int) -> None:
  """Encodes a video anew with pictures of this height."""
  content = io.BytesIO()
  with av.open(str(path)) as source, av.open(content, 'w', format='mp4') as target:
    stream = target.add_stream('libx264', rate=25, options={'preset': 'veryfast', 'crf': '23'})
    stream.width, stream.height, stream.pix_fmt = height * 4 // 3, height, 'yuv420p'
    for frame in source.decode(video=0):
      target.mux(stream.encode(frame.reformat(stream.width, stream.height)))
    target.mux(stream.encode(None))
  atomic.write(path, content.getvalue())


def follow(path) -> int:
  """Follows the face; returns the number of frames."""
  return sum(1 for _ in tracker.follow(video_track.Video(path), None))


def one_process(source, videos, seconds, height):
  """A row: recordings to shards in this process, and which shares of the work are decoding and faces."""
  run = lambda: _prepare(source, jobs=0)
  times = measure.alternate([measure.Side('ours: recordings to shards', run)], 3)
  work, decoding, faces = (
    _core_seconds(part)
    for part in (
      run,
      lambda: [sum(1 for _ in video_track.Video(path)) for path in videos],
      lambda: [follow(path) for path in videos],
    )
  )
  shares = {'decoding': decoding / work, 'faces': (faces - decoding) / work, 'the rest': 1 - faces / work}
  return measure.row(
    f'preparation, {height * 4 // 3}×{height}, one process',
    times,
    items=(len(videos) * seconds, 'seconds of recordings'),
    shares={name: round(share, 3) for name, share in shares.items()},
  )


def all_cores(folder, quick):
  """A row: recordings as long as the paper's to shards, by a process a core, start-up included."""
  subjects, seconds = (3, 5) if quick else (6, 300)
  corpus.simulate(folder, subjects, seconds, 0, 2)
  times = measure.alternate([measure.Side('ours: recordings to shards', lambda: _prepare(folder, jobs=None), 1)], 1)
  return measure.row(
    f'preparation, 320×240, {pool.cores()} processes',
    times,
    items=(subjects * seconds, 'seconds of recordings'),
    goal=('rate', 40),
  )


def _prepare(source, jobs):
  with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
    prepare(corpus='recola', source=source, out=out, jobs=jobs)


def _core_seconds(run) -> float:
  began = time.process_time()
  run()
  return time.process_time() - began


def main(out, repeats, quick):
  """Writes `out/prepare.json` of so many repeats; `quick` takes tiny sizes, to see that it runs."""
  seconds = 5 if quick else 20
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    corpus.simulate(folder, 3, seconds, 0, 2)
    videos = sorted(pathlib.Path(folder).rglob('*.mp4'))
    sides = [
      measure.Side('ours: flow between detections', lambda: follow(videos[0])),
      measure.Side('a cascade on every frame', lambda: peer(videos[0]), 3),
    ]
    times = measure.alternate(sides, min(repeats, 5))
    rows.append(measure.row('faces of a video of 320×240', times, items=(follow(videos[0]), 'frames')))
    cv2.setNumThreads(1)  # as a process of preparation does
    for height in _HEIGHTS[: 1 if quick else None]:
      if height != 240:
        for path in videos:
          enlarge(path, height)
      rows.append(one_process(folder, videos, seconds, height))
  with tempfile.TemporaryDirectory() as folder:
    rows.append(all_cores(folder, quick))
  measure.write(out, 'prepare', rows, measure.peak(quick))


if __name__ == '__main__':
  measure.run(main)
