"""Tiny corpora with continuous labels, in the layouts that they are released in; no test of its own."""

import json

import cv2
import numpy as np
import soundfile

from tests import clips

AVEC_2019 = 'name;timestamp;arousal;valence;liking'


def sewa(root, names, seconds=3, header=AVEC_2019):
  """SEWA with a label every 0.1 s; returns name -> [N, 3]."""
  labels = {}
  for k, name in enumerate(names):
    for folder in ('labels', 'audio', 'video'):
      (root / folder).mkdir(parents=True, exist_ok=True)
    soundfile.write(root / 'audio' / f'{name}.wav', clips.tone(seconds, 16_000, hertz=200 + 40 * k), 16_000)
    labels[name] = np.round(np.random.default_rng(k).uniform(-0.9, 0.9, (10 * seconds, 3)), 4)
    rows = [f"'{name}';{i / 10:.1f};" + ';'.join(map(str, row)) for i, row in enumerate(labels[name])]
    (root / 'labels' / f'{name}.csv').write_text('\n'.join(([header] if header else []) + rows) + '\n')
  return labels


def muse(root, partitions, seconds=4):
  """MuSe with a label every 0.5 s; labels of test are masked. Returns id -> [N, 2], arousal first."""
  (root / 'metadata').mkdir(parents=True)
  (root / 'audio').mkdir()
  lines = [f'{name},{partition}' for name, partition in partitions.items()]
  (root / 'metadata' / 'partition.csv').write_text('\n'.join(['id,partition', *lines]) + '\n')
  labels = {}
  for k, (name, partition) in enumerate(partitions.items()):
    soundfile.write(root / 'audio' / f'{name}.wav', clips.tone(seconds, 16_000, hertz=150 + 30 * k), 16_000)
    labels[name] = np.round(np.random.default_rng(10 + k).uniform(-0.9, 0.9, (2 * seconds - 1, 2)), 4)
    for column, target in enumerate(('arousal', 'valence')):
      (root / 'label_segments' / target).mkdir(parents=True, exist_ok=True)
      rows = [
        f'{500 * (i + 1)},{"" if partition == "test" else value},{1 + i // 4}'
        for i, value in enumerate(labels[name][:, column])
      ]
      path = root / 'label_segments' / target / f'{name}.csv'
      path.write_text('\n'.join(['timestamp,value,segment_id', *rows]) + '\n')
  return labels


def affwild2(root, videos):
  """Aff-Wild2; `videos` is name -> (partition, times of the frames, or None for 29.97 a second).

  Returns name -> [N, 2], valence first, −5 where it is not annotated.
  """
  (root / 'batch1').mkdir(parents=True)
  labels = {}
  for k, (name, (partition, times)) in enumerate(videos.items()):
    times = [round(1000 * i * 1001 / 30_000) / 1000 for i in range(40)] if times is None else times
    frames = clips.counted_frames(len(times))
    clips.write_clip(root / 'batch1' / f'{name}.mp4', frames, times=times, codec='libx264', sound=None)
    labels[name] = np.round(np.random.default_rng(20 + k).uniform(-0.9, 0.9, (len(times), 2)), 3)
    labels[name][5:8] = -5
    folder = root / 'VA' / f'{partition}_Set'
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f'{valence:g},{arousal:g}' for valence, arousal in labels[name]]
    (folder / f'{name}.txt').write_text('\n'.join(['valence,arousal', *lines]) + '\n')
  return labels


def afewva(root, actors, frames=12):
  """AFEW-VA; `actors` is clip -> actor. Returns clip -> [N, 2], arousal first."""
  labels = {}
  for k, (name, actor) in enumerate(actors.items()):
    (root / name).mkdir(parents=True)
    labels[name] = np.random.default_rng(30 + k).integers(-10, 11, (frames, 2))
    content = {'actor': actor, 'frames': {}}
    for i, image in enumerate(clips.counted_frames(frames)):
      cv2.imwrite(str(root / name / f'{i:05d}.png'), image)
      landmarks = [[20 + j % 10, 15 + j // 10] for j in range(68)]
      arousal, valence = map(int, labels[name][i])
      content['frames'][f'{i:05d}'] = {'valence': valence, 'arousal': arousal, 'landmarks': landmarks}
    (root / name / f'{name}.json').write_text(json.dumps(content))
  return labels


def omg(root, utterances):
  """OMG-Emotion; `utterances` is (list, video, utterance, arousal, valence) each, a clip of a second for every one."""
  lists = {}
  for k, (name, video, utterance, arousal, valence) in enumerate(utterances):
    (root / 'clips' / video).mkdir(parents=True, exist_ok=True)
    clips.write_clip(
      root / 'clips' / video / f'{utterance}.mp4',
      clips.counted_frames(25),
      sound=clips.tone(1, 16_000, hertz=200 + 20 * k),
      rate=16_000,
      codec='libx264',
      sound_codec='aac',
    )
    link = f'https://example.org/{video}'
    row = f'{link},0.0,1.0,{video},{utterance}.mp4,{arousal},{valence},{k % 7}'
    lists.setdefault(name, ['link,start,end,video,utterance,arousal,valence,EmotionMaxVote']).append(row)
  for name, rows in lists.items():
    (root / f'omg_{name}Videos.csv').write_text('\n'.join(rows) + '\n')
