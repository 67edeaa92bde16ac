"""Detectors of faces: how often they are right on clips and on hard cases made of them, and what they take.

    python -m benchmarks.faces --out=benchmarks/results

The clips are real ones where `../shared/data` is there, else one of the embedded simulator's. The right box is that of
the tracker in the clip as it is, where it is sure. A box is right that overlaps with it by more than 0.3. Hard cases
are drawn from the same frames: turned in the plane of the picture, small, dark, partly covered.
"""

import importlib.util
import pathlib
import tempfile

import cv2
import numpy as np

from benchmarks import measure
from data_prep.core import quiet  # noqa: F401, before TensorFlow
from data_prep.face import people, tracker
from data_prep.media import video_track
from data_prep.simulate import corpus

CLIPS = pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'
_LONGER_SIDE = 640  # pixels, of the frames that are taken
_SURE = 0.6  # confidence of the tracker
_MTCNN_BOX = 0.78, 1.11  # width and height of MTCNN's box over the side of the cascade's
_GREY = 110


def frames(paths, each):
  """(frame, [centre x, centre y, side] of the face) of each clip, `each` of them, evenly over the time."""
  found = []
  for path in paths:
    face, of_clip = tracker.FaceTracker(), []
    for frame in video_track.Video(path):
      _, confidence, box = face.step(frame)
      if confidence > _SURE:
        x, y, side = box
        scale = min(1.0, _LONGER_SIDE / max(frame.shape[:2]))
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else frame
        of_clip.append((small, scale * np.array([x + side / 2, y + side / 2, side])))
      if len(of_clip) == 100:  # 4 s at 25 frames a second
        break
    found += [of_clip[int(i)] for i in np.linspace(0, len(of_clip) - 1, each)] if of_clip else []
  return found


def turned(degrees):
  """Turned about the middle of the face."""

  def case(frame, box):
    matrix = cv2.getRotationMatrix2D((float(box[0]), float(box[1])), degrees, 1)
    return cv2.warpAffine(frame, matrix, frame.shape[1::-1], borderMode=cv2.BORDER_REPLICATE), box

  return case


def small(share):
  """So large that the face's side is this share of the shorter side, on grey."""

  def case(frame, box):
    height, width = frame.shape[:2]
    scale = share * min(height, width) / box[2]
    x, y = (width - scale * width) / 2, (height - scale * height) / 2
    matrix = np.array([[scale, 0, x], [0, scale, y]])
    shrunk = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    placed = np.full_like(frame, _GREY)
    top, left = round(y), round(x)
    placed[max(0, top) : top + len(shrunk), max(0, left) : left + shrunk.shape[1]] = shrunk[
      max(0, -top) : height - top, max(0, -left) : width - left
    ]
    return placed, np.append(matrix @ (box[0], box[1], 1), scale * box[2])

  return case


def dark(gain):
  """Darker, with noise of the sensor."""

  def case(frame, box):
    noise = np.random.default_rng(0).normal(0, 2, frame.shape)
    return (gain * frame + noise).clip(0, 255).astype(np.uint8), box

  return case


def covered(left, top, right, bottom):
  """A grey plate over a part of the face's box."""

  def case(frame, box):
    x, y = box[:2] - box[2] / 2
    columns, rows = (
      np.rint(start + box[2] * np.array(ends)).astype(int).clip(0)
      for start, ends in ((x, (left, right)), (y, (top, bottom)))
    )
    plated = frame.copy()
    plated[slice(*rows), slice(*columns)] = _GREY
    return plated, box

  return case


CASES = {
  'as it is': lambda frame, box: (frame, box),
  'turned by 15°': turned(15),
  'turned by 30°': turned(30),
  'turned by 45°': turned(45),
  'face 1/8 of the shorter side': small(1 / 8),
  'face 1/11 of the shorter side': small(1 / 11),
  '15 % of the light': dark(0.15),
  '5 % of the light': dark(0.05),
  'mouth and chin covered': covered(0, 0.62, 1, 1.1),
  'eyes covered': covered(0.1, 0.25, 0.9, 0.5),
  'left half covered': covered(-0.1, -0.1, 0.5, 1.1),
}


def detectors():
  """Name -> function of a frame, uint8 [H, W, 3] RGB, to boxes [centre x, centre y, side] in it."""

  def of_cascade(cascade, size=tracker.WORK_SIZE, min_face=tracker.MIN_FACE, sides=(1,), lit=lambda grey: grey):
    detector = tracker.Detector(min_face, cascade)

    def detect(frame):
      grey, scale = tracker.grey_image(frame, size)
      boxes = []
      for side in sides:
        found, _ = detector.find(lit(np.ascontiguousarray(grey[:, ::side])))
        boxes += [np.array([x if side > 0 else grey.shape[1] - x, y, width]) / scale for x, y, width in found]
      return boxes

    return detect

  ours = of_cascade('frontalface_alt2')
  profiles = of_cascade('profileface', sides=(1, -1))
  found = {
    'ours: frontalface_alt2': ours,
    'the same, of several people': of_cascade('frontalface_alt2', people.WORK_SIZE, people.MIN_FACE, lit=people.lit),
    'frontalface_default': of_cascade('frontalface_default'),
    'frontalface_alt2 and profileface': lambda frame: ours(frame) + profiles(frame),
  }
  if importlib.util.find_spec('skimage'):
    from skimage import data, feature

    cascade = feature.Cascade(data.lbp_frontal_face_cascade_filename())

    def by_patterns(frame):
      grey, scale = tracker.grey_image(frame)
      smallest = max(24, round(tracker.MIN_FACE * min(grey.shape)))
      boxes = cascade.detect_multi_scale(
        grey, tracker.SCALE_FACTOR, 1, min_size=(smallest, smallest), max_size=grey.shape
      )
      return [np.array([b['c'] + b['width'] / 2, b['r'] + b['height'] / 2, b['width']]) / scale for b in boxes]

    found['LBP cascade of scikit-image'] = by_patterns
  if importlib.util.find_spec('mtcnn'):
    import mtcnn

    network = mtcnn.MTCNN()

    def detect(frame):
      rows = np.asarray(network.detect_faces(frame, output_type='numpy')).reshape(-1, 16)
      return [np.array([x + w / 2, y + h / 2, np.sqrt(w * h / np.prod(_MTCNN_BOX))]) for _, x, y, w, h in rows[:, :5]]

    found['MTCNN'] = detect
  return found


def score(detect, pictures, case):
  """(share of pictures with a right box, boxes a picture that touch no face) of a detector in a case."""
  right, wrong = 0, 0
  for frame, box in pictures:
    made, truth = case(frame, box)
    common = [tracker.overlap(found, truth) for found in detect(made)]
    right += max(common, default=0) > tracker.SAME_FACE
    wrong += sum(overlap == 0 for overlap in common)
  return right / len(pictures), wrong / len(pictures)


def main(out, repeats, quick):
  """Writes `out/faces.json` and prints a table; `quick` takes one frame a clip, to see that it runs."""
  with tempfile.TemporaryDirectory() as folder:
    paths = [path for name in ('grid', 'faces', 'clips') for path in sorted((CLIPS / name).glob('*.m*'))]
    if quick or not paths:
      corpus.simulate(folder, 3, 5, 0, 1)
      paths = sorted(pathlib.Path(folder).rglob('*.mp4'))[:1]
    pictures = frames(paths, 1 if quick else 3)
  known = detectors()
  print(f'| of {len(pictures)} pictures, right boxes in % | {" | ".join(known)} |')
  print(f'|---{"|---" * len(known)}|')
  scores = {}
  for case, make in CASES.items():
    scores[case] = {name: score(detect, pictures, make) for name, detect in known.items()}
    print(f'| {case} | {" | ".join(f"{100 * right:.0f}" for right, _ in scores[case].values())} |', flush=True)
  wrong = {name: np.mean([of[name][1] for of in scores.values()]) for name in known}
  print(f'| boxes beside the face, a picture | {" | ".join(f"{value:.2f}" for value in wrong.values())} |')
  sample = [frame for frame, _ in pictures[:: max(1, len(pictures) // 8)]]
  sides = [
    measure.Side(name, lambda detect=detect: [detect(frame) for frame in sample]) for name, detect in known.items()
  ]
  times = measure.alternate(sides, min(repeats, 5))
  shares = {case: {name: round(right, 4) for name, (right, _) in of.items()} for case, of in scores.items()}
  row = measure.row(f'faces found in {len(sample)} pictures', times, items=(len(sample), 'pictures'), right=shares)
  measure.write(out, 'faces', [row], measure.peak(quick))


if __name__ == '__main__':
  measure.run(main)
