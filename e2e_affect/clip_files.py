"""What is written of each clip: its CSV of steps and its JSON of numbers."""

import csv
import io
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from data_prep.clip import Clip
from e2e_affect.traces import format_time, write_atomically


def write_csv(path: pathlib.Path, clip: Clip, targets: Sequence[str], raw: np.ndarray, post: np.ndarray | None) -> None:
  """One row per step of 40 ms.

  Columns: `time` (start of the step, seconds), each target raw, `<target>_post` where post-processing was fitted,
  `face_found` (0 … 1), `face_x`, `face_y`, `face_size` (pixels of the upright frame; empty where the face is lost).
  The face's columns are empty where no picture was analysed.

  Args:
    path: the file.
    clip: of which it is.
    targets: K names.
    raw, post: [T, K]; post may be None.
  """
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(['time', *targets, *(f'{target}_post' for target in targets if post is not None), 'face_found',
                   'face_x', 'face_y', 'face_size'])
  columns = [[format_time(step) for step in range(clip.steps)]]
  for traces in (raw, post):
    if traces is not None:
      columns += [traces[:, k].astype(str) for k in range(len(targets))]
  found = np.char.mod('%.3f', clip.face_found) if clip.crops is not None else np.full(clip.steps, '')
  boxes = [np.where(np.isnan(column), '', np.char.mod('%.1f', column)) for column in clip.boxes.T]
  writer.writerows(zip(*columns, found, *boxes, strict=True))
  write_atomically(path, text.getvalue())


def summary(name: str, source: dict, clip: Clip, targets: Sequence[str], raw: np.ndarray, post: np.ndarray | None,
            about: dict, cost: dict) -> dict:
  """The content of the JSON file.

  Args:
    name: of the clip.
    source: its files, as they were given.
    clip, targets, raw, post: as in `write_csv`.
    about: what the network is: model, checkpoint, label scale, post-processing, commit, settings.
    cost: seconds of work by kind.
  """
  def numbers(values):
    return {name: round(float(f(values)), 6) for name, f in
            (('mean', np.mean), ('std', np.std), ('min', np.min), ('max', np.max))}

  total = sum(cost.values())
  face = None
  if clip.crops is not None:
    face = {'share_of_steps': round(float(np.mean(clip.face_found > 0)), 6),
            'mean_confidence': round(float(clip.face_found.mean()), 6), 'frame_size': clip.frame_size}
  return {
      'clip': name, 'files': source, 'steps': clip.steps, 'seconds': round(clip.seconds, 3), 'step_seconds': 0.04,
      'targets': {target: {'raw': numbers(raw[:, k]),
                           'postprocessed': numbers(post[:, k]) if post is not None else None}
                  for k, target in enumerate(targets)},
      'sound': {'mean': clip.audio_mean, 'std': clip.audio_std} if clip.samples is not None else None,
      'face': face, 'notes': clip.notes, **about,
      'cost': {'seconds': {kind: round(value, 3) for kind, value in cost.items()},
               'real_time_factor': round(total / clip.seconds, 4)}}


def write_json(path: pathlib.Path, content: dict) -> None:
  """Writes it whole or not at all."""
  write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + '\n')
