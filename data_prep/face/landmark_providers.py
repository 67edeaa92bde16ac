"""Where landmarks come from: files of the user's own, or a detector that looks at the face crops.

A provider is called with a recording's name and its crops and returns [T, L, 2] points, NaN where it found none.
"""

from collections.abc import Callable, Iterable
import dataclasses
import pathlib
import zipfile

import cv2
import numpy as np

from data_prep.core.errors import DataError, UserError
from data_prep.corpora import own
from data_prep.corpora.recording import read_csv
from data_prep.face import detectors
from data_prep.face.cropping import FACE_SIZE
from data_prep.face.detectors import MTCNN
from data_prep.schema.grid import Grid, PAPER

_BATCH = 50  # crops that MTCNN takes at once: 5 ms a crop; one at a time it needs 43 ms
_ENLARGED = 4 * FACE_SIZE  # pixels: dlib's, mediapipe's and YuNet's networks expect a face in a photograph


@dataclasses.dataclass(frozen=True)
class Provider:
  """What `landmarks.py` calls.

  Attributes:
    words: what it is, for the metadata.
    find: (name of the recording, T crops uint8 [96, 96, 3] RGB as an iterable, T) -> [T, L, 2], NaN where none.
    sees_crops: whether it looks at the crops: what it finds in a crop that repeats an older one does not count.
  """

  words: str
  find: Callable[[str, Iterable[np.ndarray], int], np.ndarray]
  sees_crops: bool


def open_provider(source: str, grid: Grid = PAPER) -> Provider:
  """The provider of a source.

  Args:
    source: 'mtcnn'; a folder of `<recording>.csv` or `.npz`; a CSV manifest of own data with a column `landmarks`; or
      a model file: YuNet's `.onnx` (5 points), dlib's `.dat` (5 or 68), mediapipe's `.task` (478).
    grid: of the recordings.

  Raises:
    UserError: there is no such source, or its library is not installed.
  """
  path = pathlib.Path(source)
  if source == MTCNN:
    return _mtcnn()
  if path.is_dir():
    file = lambda name, end: own.path_of_cell(path, f'{name}{end}', 'the data folder')  # the name stands in a manifest
    return _files(
      f'files in {path.name}',
      grid,
      lambda name: next((f for f in (file(name, '.csv'), file(name, '.npz')) if f.is_file()), file(name, '.csv')),
    )
  opened = {'.csv': lambda path: _manifest(path, grid), '.onnx': _yunet, '.dat': _dlib, '.task': _mediapipe}.get(
    path.suffix
  )
  if opened is None or not path.is_file():
    raise UserError(
      f'--source={source}: not found, or of no known kind; expected {MTCNN}, a folder of CSV or NPZ '
      'files, a manifest with a column landmarks, or a model file .onnx, .dat or .task'
    )
  return opened(path)


def _mtcnn():
  detector = detectors.mtcnn()

  def find(name, crops, steps):
    del name
    points, batch = np.full((steps, 5, 2), np.nan), []

    def flush(end):
      # A row a face: picture, box (4), confidence, 5 x, 5 y.
      rows = np.asarray(detector.detect_faces(batch, output_type='numpy', limit_boundaries_landmarks=False))
      for row in sorted(rows.reshape(-1, 16), key=lambda row: row[5]):  # the surest face of a picture comes last
        points[end - len(batch) + int(row[0])] = row[6:].reshape(2, 5).T
      batch.clear()

    for k, crop in enumerate(crops, 1):
      batch.append(crop)
      if len(batch) == _BATCH or k == steps:
        flush(k)
    return points

  return Provider(f'{MTCNN} {detectors.versions(MTCNN)[MTCNN]}', find, sees_crops=True)


def _per_crop(words, num_points, detect):
  """A provider that looks at one enlarged crop at a time; `detect` returns [L, 2] or None."""

  def find(name, crops, steps):
    del name
    points = np.full((steps, num_points, 2), np.nan)
    for k, crop in enumerate(crops):
      large = cv2.resize(crop, (_ENLARGED, _ENLARGED), interpolation=cv2.INTER_CUBIC)
      found = detect(large)
      if found is not None:
        points[k] = found
    return points

  return Provider(words, find, sees_crops=True)


def _yunet(path):
  try:
    detector = cv2.FaceDetectorYN.create(str(path), '', (_ENLARGED, _ENLARGED))
  except cv2.error as e:
    raise UserError(f'{path}: no YuNet model ({e.err or e}); expected face_detection_yunet_….onnx') from None

  def detect(image):
    _, faces = detector.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    # A row a face: box (4), 5 points, score.
    return None if faces is None else max(faces, key=lambda row: row[14])[4:14].reshape(5, 2)

  return _per_crop(f'YuNet {path.name}', 5, detect)


def _dlib(path):
  dlib = _import('dlib', f'--source={path}')
  try:
    predictor = dlib.shape_predictor(str(path))
  except RuntimeError as e:
    raise UserError(
      f'{path}: no shape predictor of dlib ({e}); expected shape_predictor_68_face_landmarks.dat'
    ) from None
  whole = dlib.rectangle(*(round(share * _ENLARGED) for share in (0.12, 0.12, 0.88, 0.88)))  # the crop less its margin
  locate = lambda image: np.array([(p.x, p.y) for p in predictor(image, whole).parts()], np.float64)
  num_points = len(locate(np.zeros((_ENLARGED, _ENLARGED, 3), np.uint8)))
  return _per_crop(f'dlib {path.name}', num_points, locate)


def _mediapipe(path):
  mediapipe = _import('mediapipe', f'--source={path}')
  from mediapipe.tasks.python import BaseOptions, vision

  try:
    options = vision.FaceLandmarkerOptions(base_options=BaseOptions(model_asset_path=str(path)))
    landmarker = vision.FaceLandmarker.create_from_options(options)
  except (RuntimeError, ValueError) as e:
    raise UserError(
      f'{path}: no face landmarker of mediapipe ({str(e).splitlines()[0]}); expected face_landmarker.task'
    ) from None

  def detect(image):
    faces = landmarker.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)).face_landmarks
    return np.array([(p.x * _ENLARGED, p.y * _ENLARGED) for p in faces[0]]) if faces else None

  return _per_crop(f'mediapipe {path.name}', 478, detect)


def _manifest(path, grid):
  files = {
    row['recording']: own.path_of_cell(path.parent, row.get('landmarks', ''), f'{path}, line {line}')
    for line, row in read_csv(path, required=own.REQUIRED, optional=own.OPTIONAL, further=True)
  }
  return _files(f'files of {path.name}', grid, lambda name: files.get(name) or path.parent / f'landmarks of {name}')


def _files(words, grid, file_of):
  def find(name, crops, steps):
    del crops
    times, points = read_points(file_of(name))
    if times is None:
      if len(points) != steps:
        raise DataError(
          f'{file_of(name)}: {len(points)} rows without times, the recording has {steps} steps of '
          f'{1000 * grid.step_seconds:g} ms'
        )
      return points
    # The newest row in the middle of a step. One older than a step and than one and a half intervals is no find.
    middle = (np.arange(steps) + 0.5) * grid.step_seconds
    row = np.searchsorted(times, middle, side='right') - 1
    oldest = max(1.5 * np.median(np.diff(times)) if len(times) > 1 else 0.0, grid.step_seconds)
    shown = (row >= 0) & (middle - times[row] <= oldest)
    return np.where(shown[:, None, None], points[row], np.nan)

  return Provider(words, find, sees_crops=False)


def read_points(path) -> tuple[np.ndarray | None, np.ndarray]:
  """Landmarks of a recording.

  Args:
    path: a CSV with a column `time` or `timestamp`, seconds, and x_0 … x_n, y_0 … y_n, as OpenFace writes it (rows
      whose `success` is 0 count as not found); or an NPZ with `landmarks` [N, L, 2] and perhaps `time` [N].

  Returns:
    Times [N], increasing, or None; points [N, L, 2], NaN where there are none.

  Raises:
    DataError: not found or malformed.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise DataError(f'{path}: not found; expected the landmarks of a recording, or take it out of the data')
  times, points = _read_npz(path) if path.suffix == '.npz' else _read_csv_points(path)
  if points.ndim != 3 or points.shape[2] != 2 or points.shape[1] < 3 or not len(points):
    raise DataError(f'{path}: landmarks {list(points.shape)}, expected [rows, points, 2] with at least 3 points')
  if times is not None and (
    times.shape != points.shape[:1] or not np.isfinite(times).all() or (np.diff(times) <= 0).any()
  ):
    raise DataError(
      f'{path}: times {list(times.shape)} do not increase from row to row, expected seconds of {len(points)} rows'
    )
  return times, points


def _read_csv_points(path):
  try:
    with open(path, encoding='utf-8-sig') as f:
      header = [name.strip() for name in f.readline().split(',')]
      table = np.atleast_2d(np.genfromtxt(f, delimiter=',', dtype=np.float64))
  except (OSError, ValueError) as e:
    raise DataError(f'{path}: cannot be read ({str(e).splitlines()[0]}); expected numbers under a header') from None
  time = next((header.index(name) for name in ('time', 'timestamp') if name in header), None)
  columns = [
    [header.index(f'{axis}_{i}') for axis in 'xy']
    for i in range(len(header))
    if f'x_{i}' in header and f'y_{i}' in header
  ]
  if time is None or not columns or table.shape[1] != len(header):
    raise DataError(
      f'{path}: {len(header)} columns ({", ".join(header[:4])}, …); expected time,x_0,…,y_0,… and rows '
      'as long as the header'
    )
  points = table[:, columns]
  if 'success' in header:
    points[table[:, header.index('success')] == 0] = np.nan
  return table[:, time], points


def _read_npz(path):
  try:
    with zipfile.ZipFile(path) as archive:  # headers may lie: what they claim is compared before memory is taken
      for info in archive.infolist():
        with archive.open(info) as f:
          version = np.lib.format.read_magic(f)
          read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
          shape, _, dtype = read(f)
          if dtype.hasobject or int(np.prod(shape, dtype=object)) * dtype.itemsize > info.file_size:
            raise ValueError(f'{info.filename} claims {list(shape)} of {dtype} in {info.file_size} bytes')
    with np.load(path, allow_pickle=False) as arrays:
      return (arrays['time'].astype(np.float64) if 'time' in arrays else None), arrays['landmarks'].astype(np.float64)
  except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as e:
    raise DataError(
      f'{path}: no landmarks in it ({str(e).splitlines()[0][:100]}); expected arrays landmarks '
      '[rows, points, 2] and perhaps time'
    ) from None


def _import(library, what):
  try:
    return __import__(library)
  except ImportError as e:
    raise UserError(f'{what} needs {library} ({e}); install it with `pip install {library}`') from None
