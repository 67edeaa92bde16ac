"""Detectors of faces: how often they are right on clips and on hard cases made of them, and what they take.

    python -m benchmarks.faces --out=benchmarks/results

The clips are real ones where `../shared/data` is there, else one of the embedded simulator's. The right box is that of
the tracker in the clip as it is, where it is sure. A box is right that overlaps with it by more than 0.3. Hard cases
are drawn from the same frames: turned in the plane of the picture, small, dark, partly covered. A second table follows
whole clips, turned, by the tracker with each detector that `--detector` knows.
"""

import importlib.util
import pathlib
import tempfile
import time

import cv2
import numpy as np

from benchmarks import measure
from data_prep.face import detectors, people, tracker
from data_prep.media import video_track
from data_prep.simulate import corpus

CLIPS = pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'
_LONGER_SIDE = 640  # pixels, of the frames that are taken
_SURE = 0.6  # confidence of the tracker
_GREY = 110


def clip_of(path):
  """(frame, [centre x, centre y, side] of the face) of the first 100 frames, 4 s, in which the tracker is sure."""
  face, of_clip = tracker.FaceTracker(), []
  for frame in video_track.Video(path):
    _, confidence, box = face.step(frame)
    if confidence > _SURE:
      x, y, side = box
      scale = min(1.0, _LONGER_SIDE / max(frame.shape[:2]))
      small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else frame
      of_clip.append((small, scale * np.array([x + side / 2, y + side / 2, side])))
    if len(of_clip) == 100:
      break
  return of_clip


def followed(of_clip, degrees, detector):
  """(frames with the right box, seconds of the processor) of a clip that is turned, by the tracker."""
  x, y, _ = np.median([box for _, box in of_clip], axis=0)
  matrix = cv2.getRotationMatrix2D((x, y), degrees, 1)
  face, right, taken = tracker.FaceTracker(detector=detector), 0, 0.0
  for frame, box in of_clip:
    made = cv2.warpAffine(frame, matrix, frame.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    begin = time.process_time()
    _, _, found = face.step(made)
    taken += time.process_time() - begin
    if found is not None:
      truth = np.append(matrix @ (box[0], box[1], 1), box[2])
      right += tracker.overlap([found[0] + found[2] / 2, found[1] + found[2] / 2, found[2]], truth) > tracker.SAME_FACE
  return right, taken


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


def finders():
  """Name -> function of a frame, uint8 [H, W, 3] RGB, to boxes [centre x, centre y, side] in it."""

  def by(detector, size=tracker.WORK_SIZE, mirrored=(False,), prepared=lambda grey: grey):
    def find(frame):
      grey, scale = tracker.grey_image(frame, size)
      boxes = []
      for mirror in mirrored:
        seen = (frame[:, ::-1], grey[:, ::-1]) if mirror else (frame, grey)
        found, _ = detector.find(*map(np.ascontiguousarray, (seen[0], prepared(seen[1]))))
        boxes += [np.array([grey.shape[1] - x if mirror else x, y, side]) / scale for x, y, side in found]
      return boxes

    return find

  cascade = lambda name: by(detectors.Cascade(tracker.MIN_FACE, name))
  ours = by(detectors.make(detectors.CASCADE, tracker.MIN_FACE))
  profiles = by(detectors.Cascade(tracker.MIN_FACE, 'profileface'), mirrored=(False, True))
  several = by(detectors.make(detectors.CASCADE, people.MIN_FACE), people.WORK_SIZE, prepared=detectors.lit)
  known = {
    'cascade: frontalface_alt2': ours,
    'the same, of several people': several,
    'frontalface_default': cascade('frontalface_default'),
    'frontalface_alt2 and profileface': lambda frame: ours(frame) + profiles(frame),
  }
  if importlib.util.find_spec('skimage'):
    from skimage import data, feature

    patterns = feature.Cascade(data.lbp_frontal_face_cascade_filename())

    def by_patterns(frame):
      grey, scale = tracker.grey_image(frame)
      smallest = max(24, round(tracker.MIN_FACE * min(grey.shape)))
      boxes = patterns.detect_multi_scale(
        grey, detectors.SCALE_FACTOR, 1, min_size=(smallest, smallest), max_size=grey.shape
      )
      return [np.array([b['c'] + b['width'] / 2, b['r'] + b['height'] / 2, b['width']]) / scale for b in boxes]

    known['LBP cascade of scikit-image'] = by_patterns
  if importlib.util.find_spec('mtcnn'):
    known['mtcnn'] = by(detectors.make(detectors.MTCNN, tracker.MIN_FACE))
  return known


def score(detect, pictures, case):
  """(share of pictures with a right box, boxes a picture that touch no face) of a detector in a case."""
  right, wrong = 0, 0
  for frame, box in pictures:
    made, truth = case(frame, box)
    common = [tracker.overlap(found, truth) for found in detect(made)]
    right += int(max(common, default=0) > tracker.SAME_FACE)
    wrong += sum(overlap == 0 for overlap in common)
  return right / len(pictures), wrong / len(pictures)


def main(out, repeats, quick):
  """Writes `out/faces.json` and prints a table; `quick` takes one frame a clip, to see that it runs."""
  with tempfile.TemporaryDirectory() as folder:
    paths = [path for name in ('grid', 'faces', 'clips') for path in sorted((CLIPS / name).glob('*.m*'))]
    if quick or not paths:
      corpus.simulate(folder, 3, 5, 0, 1)
      paths = sorted(pathlib.Path(folder).rglob('*.mp4'))[:1]
    of_clips = [of_clip for path in paths if (of_clip := clip_of(path))]
  each = 1 if quick else 3  # frames of a clip, evenly over the time
  pictures = [of_clip[int(i)] for of_clip in of_clips for i in np.linspace(0, len(of_clip) - 1, each)]
  known = finders()
  print(f'| of {len(pictures)} pictures, right boxes in % | {" | ".join(known)} |')
  print(f'|---{"|---" * len(known)}|')
  scores = {}
  for case, make in CASES.items():
    scores[case] = {name: score(detect, pictures, make) for name, detect in known.items()}
    print(f'| {case} | {" | ".join(f"{100 * right:.0f}" for right, _ in scores[case].values())} |', flush=True)
  wrong = {name: np.mean([of[name][1] for of in scores.values()]) for name in known}
  print(f'| boxes beside the face, a picture | {" | ".join(f"{value:.2f}" for value in wrong.values())} |')
  names = [name for name in detectors.DETECTORS if name == detectors.CASCADE or importlib.util.find_spec(name)]
  frames = sum(map(len, of_clips))
  print(f'| of {frames} frames of {len(of_clips)} clips, followed with the right box in % | {" | ".join(names)} |')
  print(f'|---{"|---" * len(names)}|')
  tracked = {}
  for degrees in (0, 15, 30, 45):
    totals = {name: np.sum([followed(of_clip, degrees, name) for of_clip in of_clips], axis=0) for name in names}
    tracked[str(degrees)] = {name: round(float(right) / frames, 4) for name, (right, _) in totals.items()}
    cells = (f'{100 * right / frames:.0f}, {1000 * taken / frames:.1f} ms' for right, taken in totals.values())
    print(f'| turned by {degrees}° | {" | ".join(cells)} |', flush=True)
  sample = [frame for frame, _ in pictures[:: max(1, len(pictures) // 8)]]
  sides = [
    measure.Side(name, lambda detect=detect: [detect(frame) for frame in sample]) for name, detect in known.items()
  ]
  times = measure.alternate(sides, min(repeats, 5))
  shares = {case: {name: round(right, 4) for name, (right, _) in of.items()} for case, of in scores.items()}
  row = measure.row(
    f'faces found in {len(sample)} pictures', times, items=(len(sample), 'pictures'), right=shares, followed=tracked
  )
  measure.write(out, 'faces', [row], measure.peak(quick))


if __name__ == '__main__':
  measure.run(main)
