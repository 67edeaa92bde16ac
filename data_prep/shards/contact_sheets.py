"""Contact sheets: what the network will see of each recording.

One PNG per recording, read back from the shards: faces in time (a red frame: the face is lost there and the last good
crop is shown), the detector's confidence, the waveform, ECG and EDA, and the labels.
"""

import functools
import pathlib
import re

import cv2
import numpy as np

from data_prep.core import atomic
from data_prep.core.errors import DataError, WorkdirError
from data_prep.face import jpeg
from data_prep.schema.manifest import Manifest
from data_prep.shards import read, write

FACES_PER_ROW, ROWS = 12, 2
LOST_COLOUR = (220, 30, 30)
# Names may hold dollars, and signs of scripts that no usual font has: boxes that name the script stand for these.
_OF_OTHERS = {'parse_math': False, 'family': ['DejaVu Sans', 'Last Resort High-Efficiency']}


def write_sheets(folder, out, recordings=None) -> list[pathlib.Path]:
  """Writes one contact sheet per recording.

  Args:
    folder: data folder.
    out: folder for the PNG files.
    recordings: ids, or None for all.

  Returns:
    The files written.

  Raises:
    DataError: an id is unknown, or a shard is damaged.
  """
  folder, out = pathlib.Path(folder), pathlib.Path(out)
  manifest = Manifest.read(folder)
  by_recording = manifest.by_recording()
  unknown = sorted(set(recordings or ()) - set(by_recording))
  if unknown:
    raise DataError(f'{folder}: no recording {", ".join(unknown)}; it holds {", ".join(sorted(by_recording))}')
  try:
    out.mkdir(parents=True, exist_ok=True)
  except OSError as e:
    raise WorkdirError(f'{out}: cannot be written ({e.strerror}); give another --out') from None
  written = []
  for name in sorted(recordings or by_recording):
    path = out / f'{name if re.fullmatch("[A-Za-z0-9_-]{1,60}", name) else write.part_stem(name)}.png'
    _draw(path, name, by_recording[name], manifest, _read(folder, by_recording[name], manifest))
    written.append(path)
  return written


def _read(folder, recording_shards, manifest):
  """The recording over all its valid steps: name -> array of labels and of what a sheet shows; `face` stays JPEG."""
  rows = [record for shard in recording_shards for record in read.read_shard(folder / shard.file, manifest)]
  steps = int(sum(record.valid.sum() for record in rows))
  joined = lambda arrays: np.concatenate(list(arrays))[:steps]
  data = {'label': joined(row.label for row in rows), 'label_mask': joined(row.label_mask for row in rows)}
  stored = {field.name for field in manifest.fields()}
  for name in stored & {'audio', 'face_found', 'ecg', 'eda', 'physiology_found'}:
    data[name] = joined(row.values[name] for row in rows)
  if 'face' in stored:
    data['face'] = [face for row in rows for face in row.values['face']][:steps]
  return data


def _draw(path, name, recording_shards, manifest, data) -> None:
  """One plot of each kind of data that there is, in a column."""
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot as plt

  steps = len(data['label'])
  time = (np.arange(steps) + 0.5) * manifest.grid.step_seconds
  first = recording_shards[0]
  title = f'{name} (subject {first.subject}, {first.partition}): {steps} steps'
  # Inches; the faces get what their tiles fill at this width.
  panels = []
  if 'face' in data:
    panels += [(2.35, _draw_faces), (0.9, _draw_found)]
    title += f', face found in {100 * np.mean(data["face_found"] > 0):.1f} %'
  if 'audio' in data:
    panels.append((1.2, _draw_sound))
  if 'physiology_found' in data:
    panels.append((1.2, _draw_physiology))
  if data['label_mask'].any() or not panels:
    numbers = [target for target in manifest.targets if target not in manifest.classes]
    of = {target: data['label'][:, k] for k, target in enumerate(manifest.targets)}
    if numbers:
      panels.append((2.0, functools.partial(_draw_labels, labels={target: of[target] for target in numbers})))
    for target, names in manifest.classes.items():
      panels.append((0.6 + 0.15 * len(names), functools.partial(_draw_classes, target, names, of[target])))
  heights = [height for height, _ in panels]
  figure, axes = plt.subplots(
    len(panels),
    1,
    figsize=(14, sum(heights) + 1.1),
    layout='constrained',
    gridspec_kw={'height_ratios': heights},
    squeeze=False,
  )
  axes = axes[:, 0]
  axes[0].set_title(title, **_OF_OTHERS)
  axes[-1].set_xlabel('seconds')
  for axis, (_, draw) in zip(axes, panels):
    draw(axis, time, data)
    if draw is not _draw_faces:
      axis.set_xlim(0, steps * manifest.grid.step_seconds)
  with atomic.whole(path) as temporary:
    figure.savefig(temporary, dpi=90, format='png')
  plt.close(figure)


def _draw_faces(axis, time, data):
  shown = np.linspace(0, len(time) - 1, FACES_PER_ROW * ROWS).round().astype(int)
  sheet = _sheet(data['face'], data['face_found'], shown)
  axis.imshow(sheet)
  axis.set_axis_off()
  height, width = sheet.shape[0] // ROWS, sheet.shape[1] // FACES_PER_ROW
  for i, k in enumerate(shown):
    axis.text(
      i % FACES_PER_ROW * width + 3,
      i // FACES_PER_ROW * height + 12,
      f'{time[k]:.2f} s',
      color='white',
      fontsize=7,
      bbox={'facecolor': 'black', 'alpha': 0.5, 'pad': 1, 'linewidth': 0},
    )


def _draw_found(axis, time, data):
  axis.fill_between(time, data['face_found'], step='mid', color='tab:green', linewidth=0)
  axis.set_ylim(0, 1.05)
  axis.set_ylabel('face found')


def _draw_sound(axis, time, data):
  # Per step the highest and lowest sample: a line through all samples would be a solid block.
  axis.fill_between(time, data['audio'].min(axis=1) / 32768, data['audio'].max(axis=1) / 32768, linewidth=0)
  axis.axhline(0, linewidth=0.8)  # silence is seen too
  axis.set_ylabel('sound')
  axis.set_ylim(-1, 1)  # the same for all, or near-silence would look like speech


def _draw_physiology(axis, time, data):
  # As the sound, in the units of the recording; a hole is where the sensor gave nothing.
  for k, (name, colour) in enumerate((('ecg', 'tab:red'), ('eda', 'tab:blue'))):
    there = data['physiology_found'][:, k] > 0
    axis.fill_between(
      time, data[name].min(axis=1) - 0.03, data[name].max(axis=1) + 0.03, there, color=colour, linewidth=0, label=name
    )
  axis.set_ylabel('ECG, EDA')
  axis.set_ylim(-3, 3)
  axis.legend(loc='upper right', ncols=2)


def _draw_labels(axis, time, data, labels):
  for target, label in labels.items():
    axis.plot(time, np.where(data['label_mask'] > 0, label, np.nan), label=target)
  axis.axhline(0, color='grey', linewidth=0.5)
  axis.set_ylim(-1.05, 1.05)
  axis.set_ylabel('gold standard')
  axis.legend(loc='upper right', ncols=len(labels))


def _draw_classes(target, names, label, axis, time, data):
  axis.plot(time, np.where(data['label_mask'] > 0, label, np.nan), drawstyle='steps-mid', linewidth=3)
  axis.set_yticks(range(len(names)), names, fontsize=7, **_OF_OTHERS)
  axis.set_ylim(len(names) - 0.5, -0.5)
  axis.set_ylabel(target)


def _sheet(faces, found, shown):
  """Rows of faces as one RGB image."""
  tiles = []
  for k in shown:
    tile = jpeg.decode(faces[k])
    if found[k] == 0:
      cv2.rectangle(tile, (1, 1), (tile.shape[1] - 2, tile.shape[0] - 2), LOST_COLOUR, 3)
    tiles.append(tile)
  return np.concatenate(
    [np.concatenate(tiles[i : i + FACES_PER_ROW], axis=1) for i in range(0, len(tiles), FACES_PER_ROW)]
  )
