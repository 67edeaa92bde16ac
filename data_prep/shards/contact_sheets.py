"""Contact sheets: what the network will see of each recording.

One PNG per recording, read back from the shards: faces in time (a red frame: the face is lost there and the last good
crop is shown), the detector's confidence, the waveform and the labels.
"""

import collections
import pathlib
import re

import cv2
import numpy as np

from data_prep.core import atomic
from data_prep.core.errors import DataError, WorkdirError
from data_prep.face import cropping
from data_prep.schema.manifest import Manifest
from data_prep.shards import read, write

FACES_PER_ROW, ROWS = 12, 2
LOST_COLOUR = (220, 30, 30)


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
  by_recording = collections.defaultdict(list)
  for shard in manifest.shards:
    by_recording[shard.recording].append(shard)
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
  """The recording's fields over all its valid steps: name -> array; `face` stays JPEG."""
  rows = [record for shard in recording_shards for record in read.read_shard(folder / shard.file, manifest)]
  steps = int(sum(record.valid.sum() for record in rows))
  joined = lambda arrays: np.concatenate(list(arrays))[:steps]
  return {
    'label': joined(row.label for row in rows),
    'label_mask': joined(row.label_mask for row in rows),
    'audio': joined(row.values['audio'] for row in rows),
    'face_found': joined(row.values['face_found'] for row in rows),
    'face': [jpeg for row in rows for jpeg in row.values['face']][:steps],
  }


def _draw(path, name, recording_shards, manifest, data) -> None:
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot as plt

  steps = len(data['face'])
  time = (np.arange(steps) + 0.5) * manifest.grid.step_seconds
  shown = np.linspace(0, steps - 1, FACES_PER_ROW * ROWS).round().astype(int)
  found = data['face_found']
  label = np.where(data['label_mask'][:, None] > 0, data['label'], np.nan)
  # Inches; the faces get what their tiles fill at this width. A plot of labels only where there are some.
  heights = [2.35, 0.9, 1.2, 2.0][: 4 if data['label_mask'].any() else 3]
  figure, axes = plt.subplots(
    len(heights), 1, figsize=(14, sum(heights) + 1.1), layout='constrained', gridspec_kw={'height_ratios': heights}
  )
  axes[0].imshow(_sheet(data['face'], found, shown))
  axes[0].set_axis_off()
  first = recording_shards[0]
  axes[0].set_title(
    f'{name} (subject {first.subject}, {first.partition}): {steps} steps, face found in '
    f'{100 * np.mean(found > 0):.1f} %'
  )
  size = manifest.streams['visual'][0].shape[0]
  for i, k in enumerate(shown):
    axes[0].text(
      i % FACES_PER_ROW * size + 3,
      i // FACES_PER_ROW * size + 12,
      f'{time[k]:.2f} s',
      color='white',
      fontsize=7,
      bbox={'facecolor': 'black', 'alpha': 0.5, 'pad': 1, 'linewidth': 0},
    )
  axes[1].fill_between(time, found, step='mid', color='tab:green', linewidth=0)
  axes[1].set_ylim(0, 1.05)
  axes[1].set_ylabel('face found')
  # Per step the highest and lowest sample: a line through all samples would be a solid block.
  axes[2].fill_between(time, data['audio'].min(axis=1) / 32768, data['audio'].max(axis=1) / 32768, linewidth=0)
  axes[2].axhline(0, linewidth=0.8)  # silence is seen too
  axes[2].set_ylabel('sound')
  axes[2].set_ylim(-1, 1)  # the same for all, or near-silence would look like speech
  for axis in axes[3:]:
    for k, target in enumerate(manifest.targets):
      axis.plot(time, label[:, k], label=target)
    axis.axhline(0, color='grey', linewidth=0.5)
    axis.set_ylim(-1.05, 1.05)
    axis.set_ylabel('gold standard')
    axis.legend(loc='upper right', ncols=len(manifest.targets))
  axes[-1].set_xlabel('seconds')
  for axis in axes[1:]:
    axis.set_xlim(0, steps * manifest.grid.step_seconds)
  with atomic.whole(path) as temporary:
    figure.savefig(temporary, dpi=90, format='png')
  plt.close(figure)


def _sheet(faces, found, shown):
  """Rows of faces as one RGB image."""
  tiles = []
  for k in shown:
    tile = cropping.decode(faces[k])
    if found[k] == 0:
      cv2.rectangle(tile, (1, 1), (tile.shape[1] - 2, tile.shape[0] - 2), LOST_COLOUR, 3)
    tiles.append(tile)
  return np.concatenate(
    [np.concatenate(tiles[i : i + FACES_PER_ROW], axis=1) for i in range(0, len(tiles), FACES_PER_ROW)]
  )
