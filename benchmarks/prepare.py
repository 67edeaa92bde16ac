"""From video to face crops, against a detector on every frame.

    python -m benchmarks.prepare --out=benchmarks/results

The video is one of the embedded simulator's. Ours decodes with PyAV, detects now and then and follows the face by
optical flow between; the peer decodes with OpenCV and runs the same cascade on every frame.
"""

import pathlib
import tempfile

import cv2

from benchmarks import measure
from data_prep.face import cropping, jpeg, tracker
from data_prep.media import video_track
from data_prep.simulate import corpus


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


def main(out, repeats, quick):
  """Writes `out/prepare.json` of so many repeats; `quick` takes tiny sizes, to see that it runs."""
  seconds = 5 if quick else 20
  with tempfile.TemporaryDirectory() as folder:
    corpus.simulate(folder, 3, seconds, 0, 2)
    path = sorted(pathlib.Path(folder).rglob('*.mp4'))[0]
    sides = [
      measure.Side(
        'ours: flow between detections', lambda: sum(1 for _ in tracker.follow(video_track.Video(path), None))
      ),
      measure.Side('a cascade on every frame', lambda: peer(path), 3),
    ]
    video = video_track.Video(path)
    frames = sum(1 for _ in video)
    times = measure.alternate(sides, min(repeats, 5))
    rows = [
      measure.row(
        f'faces of a video of {video.size[0]}×{video.size[1]}',
        times,
        items=(frames, 'frames'),
        times_real_time=seconds / times[0]['median'],
      )
    ]
  measure.write(out, 'prepare', rows, measure.peak(quick))


if __name__ == '__main__':
  measure.run(main)
