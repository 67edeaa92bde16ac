"""A corpus of which most recordings have a fault, as files; no test of its own."""

import pathlib
import random

import numpy as np
import soundfile

from tests import clips
from tests.data_prep.media.test_mutated_media import mutate

COLUMNS = 'recording,subject,partition,video,audio,labels'
MUTATED = 12  # clips


def label_file(path, rows, low=-0.5, header='time,arousal,valence'):
  """Labels every 40 ms; arousal is `low`, valence counts up."""
  path.write_text(header + '\n' + ''.join(f'{0.04 * (i + 1):.2f},{low},{i / 1000}\n' for i in range(rows)))


def huge(data: bytes) -> bytes:
  """An AVI of 80×64 pixels whose headers say 20,000×20,000."""
  old, new = ((a).to_bytes(4, 'little') + (b).to_bytes(4, 'little') for a, b in ((80, 64), (20_000, 20_000)))
  assert old in data
  return data.replace(old, new)


def write(folder: pathlib.Path) -> tuple[pathlib.Path, dict[str, str]]:
  """Writes the files and a manifest of own data.

  Returns:
    The manifest, and of each recording that must be refused its name and a part of the reason.
  """
  rows: list[str] = []
  refused: dict[str, str] = {}

  def recording(name, reason=None, *, video='', audio='', labels=''):
    rows.append(f'{name},{name},train,{video},{audio},{labels}')
    if reason:
      refused[name] = reason

  def wav(name, samples, rate=16_000, subtype='PCM_16'):
    soundfile.write(folder / name, samples, rate, subtype=subtype)
    return name

  second = clips.tone(1, 16_000)
  wav('good.wav', second)
  label_file(folder / 'good.csv', 25)
  recording('good', audio='good.wav', labels='good.csv')

  # 12: what is no number. 14: silence.
  for name, value in (('nan', np.nan), ('inf', np.inf)):
    sound = second.astype(np.float32)
    sound[99] = value
    recording(name, f'{name}.wav: NaN or Inf among the samples', audio=wav(f'{name}.wav', sound, subtype='FLOAT'))
  recording('silent', audio=wav('silent.wav', np.zeros(16_000)), labels='good.csv')

  # 15: noise holds no face.
  rng = np.random.default_rng(0)
  clips.write_clip(folder / 'noise.mkv', [rng.integers(0, 256, (90, 120, 3), dtype=np.uint8) for _ in range(25)])
  recording(
    'noise', 'noise.mkv: no face in 100 % of the steps, at most 75 % are allowed (--max_lost)', video='noise.mkv'
  )

  # 16: other rates, depths and channels.
  for rate, subtype, channels in ((44_100, 'PCM_24', 2), (22_050, 'PCM_U8', 1), (96_000, 'FLOAT', 2)):
    name = f'tone_{rate}'
    recording(name, audio=wav(f'{name}.wav', np.stack([clips.tone(1, rate)] * channels, 1), rate, subtype))

  # 17: empty, a header alone, cut off, absent.
  (folder / 'empty.wav').touch()
  recording('empty', 'empty.wav: an empty file', audio='empty.wav')
  (folder / 'header.wav').write_bytes((folder / 'good.wav').read_bytes()[:44])
  recording('header', 'header.wav: ', audio='header.wav')
  (folder / 'cut.wav').write_bytes((folder / 'good.wav').read_bytes()[:9000])
  recording('cut', 'it was cut off', audio='cut.wav')
  recording('absent', 'nowhere.wav: not found', audio='nowhere.wav')

  # 18: lengths that differ by much, and by less than a step.
  recording('half', 'labels 1.00 s, sound 0.50 s, no picture', audio=wav('half.wav', second[:8000]), labels='good.csv')
  recording('longer', audio=wav('longer.wav', clips.tone(1.03, 16_000)), labels='good.csv')

  # 19: label files.
  label_file(folder / 'range.csv', 25, low=-1.5)
  label_file(folder / 'other.csv', 25, header='time,arousal,dominance')
  (folder / 'bare.csv').write_text('0.04,0,0\n')
  text = (folder / 'good.csv').read_text()
  (folder / 'hole.csv').write_text(text.replace('0.08,-0.5,', '0.08,nan,'))
  lines = text.splitlines(keepends=True)
  (folder / 'order.csv').write_text(''.join([*lines[:3], lines[4], lines[3], *lines[5:]]))
  (folder / 'twice.csv').write_text(''.join([*lines[:3], *lines[2:]]))
  for name, reason in (
    ('range', 'range.csv, line 2: -1.5 is out of range'),
    ('other', 'other.csv: columns arousal, dominance; expected time,arousal,valence'),
    ('bare', 'bare.csv: no header; expected names in the first line, time,arousal,valence'),
    ('hole', 'hole.csv, line 3: '),
    ('order', 'order.csv, line 5: '),
    ('twice', 'twice.csv, line 4: '),
  ):
    recording(name, reason, audio='good.wav', labels=f'{name}.csv')
  # With a byte order mark, CRLF, semicolons and decimal commas it says the same.
  dialect = '\ufeff' + text.replace(',', ';').replace('.', ',').replace('\n', '\r\n')
  (folder / 'dialect.csv').write_bytes(dialect.encode())
  recording('dialect', audio='good.wav', labels='dialect.csv')

  # 24: an image bomb. 26: a playlist that calls itself a video.
  clips.write_clip(folder / 'bomb.avi', clips.counted_frames(3))
  (folder / 'bomb.avi').write_bytes(huge((folder / 'bomb.avi').read_bytes()))
  recording('bomb', 'bomb.avi: frames of ', video='bomb.avi')
  (folder / 'list.mp4').write_text(f"ffconcat version 1.0\nfile '{folder}/good.wav'\n")
  recording('playlist', 'list.mp4: not readable as audio or video', audio='list.mp4')

  # 25: whatever a damaged file does.
  clips.write_clip(
    folder / 'clip.mp4', clips.counted_frames(25), sound=second, rate=16_000, codec='mpeg4', sound_codec='aac'
  )
  whole, order = (folder / 'clip.mp4').read_bytes(), random.Random(0)
  for k in range(MUTATED):
    (folder / f'mutated{k}.mp4').write_bytes(mutate(whole, whole, order))
    recording(f'mutated{k}', audio=f'mutated{k}.mp4')

  (folder / 'manifest.csv').write_text('\n'.join([COLUMNS, *rows]) + '\n')
  return folder / 'manifest.csv', refused
