"""What is fuzzed: each kind makes its files once, and then spoils one of them again and again.

A check raises a `UserError` where the program refuses what it was given, and returns where it takes it. Anything else
is a finding.
"""

from collections.abc import Callable
import contextlib
import io
import json
import os
import pathlib
import random
import shutil

import numpy as np
import soundfile

from data_prep.core.errors import CheckpointError, DataError, UserError
from data_prep.corpora import own
from data_prep.corpora.recording import Recording
from data_prep.labels import label_files, ratings, resample
from data_prep.media import audio_track, video_track
from data_prep.recordings import clip
from data_prep.schema.grid import PAPER
from data_prep.schema.manifest import MANIFEST, Manifest
from data_prep.shards import read, verify
from tests import clips
from tests.data_prep.labels.test_ratings import elan, nova, region, task

Check = Callable[[random.Random], object]

_TOKENS = (
  '\n',
  ';',
  ',',
  ' ',
  '"',
  '{',
  '}',
  '[',
  ']',
  ':',
  '%',
  '#',
  '\\',
  '\0',
  '\ufeff',
  '\u2028',
  '../',
  '/etc/passwd',
  'null',
  'true',
  'NaN',
  '-1',
  '1e999',
  '99999999999999999999',
  '0',
  '<script>',
  'é',
)


def of_bytes(content: bytes, rng: random.Random) -> bytes:
  """Cut, flipped, spliced, zeroed or stretched, in one to eight places."""
  data = bytearray(content)
  for _ in range(rng.choice((1, 1, 2, 8))):
    place, length = rng.randrange(len(data)), rng.choice((1, 2, 4, 8, 64, 1024))
    kind = rng.randrange(7)
    if kind == 0:
      del data[max(place, 1) :]
    elif kind == 1:
      data[place] ^= 1 << rng.randrange(8)
    elif kind == 2:
      data[place : place + length] = rng.randbytes(length)
    elif kind == 3:
      other = rng.randrange(len(data))
      data[place : place + length] = data[other : other + length]
    elif kind == 4:
      data[place : place + length] = rng.choice((b'\0', b'\xff', b'\x7f')) * length
    elif kind == 5:
      del data[place : place + length]
    else:
      data[place:place] = rng.randbytes(length)
    data = data or bytearray(1)
  return bytes(data)


def refusals(name: str, check, count: int) -> int:
  """How many of so many files with faults are refused; each refusal is one line."""
  refused = 0
  for number in range(count):
    try:
      check(random.Random(f'{name}:{number}'))
    except UserError as e:
      refused += 1
      assert '\n' not in str(e)
  return refused


def of_text(content: bytes, rng: random.Random) -> bytes:
  """A token put in or in the place of others; one in four as `of_bytes`."""
  if rng.random() < 0.25:
    return of_bytes(content, rng)
  text = content.decode()
  for _ in range(rng.choice((1, 1, 1, 2))):
    place, length = rng.randrange(len(text) + 1), rng.choice((0, 0, 1, 4))
    text = text[:place] + rng.choice(_TOKENS) * rng.choice((1, 1, 1, 3)) + text[place + length :]
  return text.encode(errors='surrogatepass')


def of_json(content: bytes, rng: random.Random) -> bytes:
  """A value of another type or size somewhere in the tree; one in three as `of_text`."""
  if rng.random() < 1 / 3:
    return of_text(content, rng)
  tree = json.loads(content)
  odd = (None, True, -1, 0, 1e308, float('nan'), 2**70, '', 'x' * 999, '../x', '/etc/passwd', [], {}, [[]], {'a': {}})
  for _ in range(rng.choice((1, 1, 2))):
    at = tree
    while True:
      keys = list(at) if isinstance(at, dict) else list(range(len(at)))
      if not keys:
        break
      key = rng.choice(keys)
      if isinstance(at[key], (dict, list)) and at[key] and rng.random() < 0.9:
        at = at[key]
        continue
      if rng.random() < 0.2:
        del at[key]
      else:
        at[key] = rng.choice(odd)
      break
  return json.dumps(tree).encode()


def media(folder: pathlib.Path) -> Check:
  """Clips of several containers and codecs, read as sound and as picture, and now and then as a clip."""
  frames = [np.random.default_rng(k).integers(0, 255, (48, 64, 3), np.uint8) // 4 + 3 * k for k in range(12)]
  sound = clips.tone(0.48, 16_000)
  for suffix, codec, sound_codec in (
    ('mp4', 'libx264', 'aac'),
    ('mov', 'mpeg4', 'pcm_s16le'),
    ('mkv', 'ffv1', 'flac'),
    ('avi', 'mpeg4', 'mp3'),
    ('ts', 'libx264', 'aac'),
    ('webm', 'libvpx', 'libopus'),
  ):
    rate = 48_000 if sound_codec == 'libopus' else 16_000
    tone = sound if rate == 16_000 else clips.tone(0.48, rate)
    clips.write_clip(folder / f'a.{suffix}', frames, sound=tone, rate=rate, codec=codec, sound_codec=sound_codec)
  for suffix in ('wav', 'flac', 'mp3', 'ogg', 'w64', 'rf64', 'aiff'):
    soundfile.write(folder / f'b.{suffix}', sound, 16_000)
  whole = [(path.suffix, path.read_bytes()) for path in sorted(folder.iterdir())]

  def check(rng):
    suffix, data = rng.choice(whole)
    path = folder / f'x{suffix}'
    path.write_bytes(of_bytes(data, rng))
    kind = rng.randrange(8)
    if kind == 0:
      given = Recording(recording='x', subject='x', partition='test', video=path, audio=None)
      found = clip.read(given, folder, picture=True)
      if found.crops is not None:
        found.crops.close()
    elif kind % 2:
      audio_track.read_audio(path)
    else:
      for _ in video_track.Video(path):
        pass

  return check


def labels(folder: pathlib.Path) -> Check:
  """Tables of labels in several dialects, and the documents of annotation programs."""
  seeds = {
    'a.csv': b'time,arousal,valence\n' + b''.join(b'%.2f,%.3f,-0.25\n' % (0.04 * k, k / 100) for k in range(60)),
    'b.csv': b'time;FM1 ;FM2 \r\n' + b''.join(b'0,%02d;0,25;-0,5\r\n' % k for k in range(0, 90, 4)),
    'c.txt': b'# time arousal\n1 25\n2 -75\n3 0\n',
    'd.arff': b'@relation x\n@attribute frameTime numeric\n@attribute a numeric\n@data\n0,1\n0.04,0.5\n',
  }
  for name, data in seeds.items():
    (folder / name).write_bytes(data)
  elan(folder / 'e.eaf', {'arousal': [(0, 900, '0.5'), (900, 1200, '-1')], 'valence': [(0, 300, '0')]})
  nova(folder / 'f.arousal.eva.annotation')
  nova(folder / 'g.arousal.eva.annotation', 'BINARY')
  (folder / 'h.json').write_text(json.dumps([task('x.csv', region(0, 1, 0.5), region(0, 0.4, 1))]))
  whole = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

  def check(rng):
    name = rng.choice(sorted(whole))
    spoil = of_json if name.endswith('json') else of_bytes if name.startswith('g') else of_text
    (folder / name).write_bytes(spoil(whole[name], rng))
    path = folder / name.rstrip('~')  # NOVA's frames lie beside its document
    try:
      if ratings.is_one_table(path):
        table = label_files.read_table(path, low=-100, high=100)
        resample.on_grid(table.times, table.values, 50, PAPER, rng.choice(label_files.METHODS))
      else:
        for target in ratings.targets(path, 'x'):
          ratings.parse(path, target=target, recording='x')
    finally:
      (folder / name).write_bytes(whole[name])

  return check


def weights(folder: pathlib.Path) -> Check:
  """Weight files of every format, looked at and read as an import would."""
  from e2e_affect.weights import detect, store
  from tests.e2e_affect.weights.test_weight_limits import bases, read_whole

  made = folder.with_name('weights')
  if not made.exists():  # in a process of its own: PyTorch and TensorFlow would be most of what the limit leaves
    import torch

    made.mkdir()
    bases(made, torch)
  shutil.copytree(made, folder, dirs_exist_ok=True)
  paths = [(str(path.relative_to(folder)), path) for path in sorted(folder.rglob('*')) if path.is_file()]
  whole = {name: path.read_bytes() for name, path in paths}

  def check(rng):
    name, path = rng.choice(paths)
    path.write_bytes(of_bytes(whole[name], rng))
    try:
      looks = [read_whole, detect.import_file, *([store.read] if name.startswith('stored') else [])]
      rng.choice(looks)(path)
    finally:
      path.write_bytes(whole[name])

  return check


def shards(folder: pathlib.Path) -> Check:
  """A shard with a fault; it must be noticed."""
  from tests.conftest import make_data

  make_data(folder, [('A', 'train', 60), ('B', 'test', 30)])
  manifest = Manifest.read(folder)
  whole = {shard.file: (folder / shard.file).read_bytes() for shard in manifest.shards}

  def check(rng):
    name = rng.choice(sorted(whole))
    data = of_bytes(whole[name], rng)
    (folder / name).write_bytes(data)
    try:
      faults = verify.verify(folder)
      assert (faults == []) == (data == whole[name]), faults
      assert not any('\n' in fault for fault in faults), faults
      if data != whole[name]:
        for _ in read.read_shard(folder / name, manifest):
          pass
        raise DataError(faults[0])  # each record alone is sound; the sum tells
    finally:
      (folder / name).write_bytes(whole[name])

  return check


def manifests(folder: pathlib.Path) -> Check:
  """A manifest with a fault: refused, or a manifest of which verification says in lines what does not fit."""
  from e2e_affect.input import recordings
  from tests.conftest import make_data

  make_data(folder, [('A', 'train', 60), ('B', 'test', 30)])
  whole = (folder / MANIFEST).read_bytes()

  def check(rng):
    (folder / MANIFEST).write_bytes(of_json(whole, rng))
    rng.choice((verify.verify, lambda path: recordings.read_manifest(str(path))))(folder)

  return check


def configs(folder: pathlib.Path) -> Check:
  """The config.json and dataset.json of a run."""
  from e2e_affect.config import ranges
  from e2e_affect.run import workdir
  from tests.conftest import make_data
  from tests.networks import small_config

  config = small_config('speech', 'visual')
  workdir.write_config(folder, config)
  make_data(folder / 'data', [('A', 'train', 60)])
  workdir.write_dataset(folder, Manifest.read(folder / 'data'))
  whole = {name: (folder / name).read_bytes() for name in ('config.json', 'dataset.json')}

  def check(rng):
    name = rng.choice(sorted(whole))
    (folder / name).write_bytes(of_json(whole[name], rng))
    if name == 'config.json':
      ranges.check(workdir.read_config(str(folder)))
    else:
      workdir.layout_of(workdir.read_dataset(str(folder)), config, ['arousal', 'valence'])

  return check


def exported(folder: pathlib.Path) -> Check:
  """The folder of an exported network; other parameters must be noticed."""
  import jax

  from e2e_affect.clips import exported as exported_folder
  from tests.networks import small_network

  network = small_network('speech')
  exported_folder.save(network, folder)
  names = (exported_folder.PARAMETERS_FILE, exported_folder.CONFIG_FILE, exported_folder.ABOUT_FILE)
  whole = {name: (folder / name).read_bytes() for name in names}

  def check(rng):
    name = rng.choice(names)
    spoil = of_bytes if name == exported_folder.PARAMETERS_FILE else of_json
    (folder / name).write_bytes(spoil(whole[name], rng))
    try:
      found = exported_folder.load(folder)
    finally:
      (folder / name).write_bytes(whole[name])
    jax.tree.map(np.testing.assert_array_equal, found.variables, network.variables)

  return check


def lists(folder: pathlib.Path) -> Check:
  """CSV lists of clips, and manifests of own data."""
  from e2e_affect.clips import sources

  for name in ('a.wav', 'b.wav'):
    soundfile.write(folder / name, clips.tone(0.1, 16_000), 16_000)
  seeds = {
    'clips.csv': b'recording,video,audio,boxes\none,a.wav,,\ntwo,b.wav,a.wav,\n',
    'own.csv': b'recording,subject,partition,video,audio,labels\none,A,train,,a.wav,\ntwo,B,test,,b.wav,\n',
  }

  def check(rng):
    name = rng.choice(sorted(seeds))
    (folder / name).write_bytes(of_text(seeds[name], rng))
    if name == 'own.csv':
      found = own.read(folder / name).recordings
    else:
      found = sources.find([str(folder / name)], folder / 'out')
    for recording in found:
      for path in (recording.video, recording.audio, recording.boxes):
        assert path is None or pathlib.Path(os.path.realpath(path)).is_relative_to(folder.resolve()), path

  return check


def stream(folder: pathlib.Path) -> Check:
  """Standard input of `predict --stream`: containers and PCM, whole or with faults."""
  from e2e_affect.clips import stream as streams
  from e2e_affect.clips.online import OnlineNetwork
  from tests.networks import small_network

  network = small_network('speech')
  frames, sound = clips.counted_frames(20), clips.tone(0.8, 16_000)
  for suffix, codec, sound_codec in (('mkv', 'ffv1', 'flac'), ('ts', 'libx264', 'aac'), ('mp4', 'libx264', 'aac')):
    clips.write_clip(folder / f'a.{suffix}', frames, sound=sound, rate=16_000, codec=codec, sound_codec=sound_codec)
  soundfile.write(folder / 'a.wav', sound, 16_000)
  seeds = [path.read_bytes() for path in sorted(folder.iterdir())]
  seeds.append((32767 * sound).astype('<i2').tobytes())

  def check(rng):
    data = of_bytes(rng.choice(seeds), rng)
    with contextlib.redirect_stderr(io.StringIO()):
      for prediction in streams.predictions(OnlineNetwork(network), io.BufferedReader(io.BytesIO(data)), []):
        assert np.isfinite(prediction).all()

  return check


def checkpoints(folder: pathlib.Path) -> Check:
  """A checkpoint with a fault: set aside, or what was saved; never something else."""
  import jax

  from e2e_affect.heads.regression import Regression
  from e2e_affect.train import checkpoint_files
  from tests.e2e_affect.train.test_checkpoint_files import at, equal, make_state

  state = make_state(3)
  manager = checkpoint_files.open_manager(folder / 'whole', Regression())
  for step in (1, 2):
    checkpoint_files.save(manager, at(state, step), {'ccc_mean': 0.25 * step})
  manager.close()
  files = sorted(path.relative_to(folder / 'whole') for path in (folder / 'whole').rglob('2/**/*') if path.is_file())

  def check(rng):
    run = folder / 'run'
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(folder / 'whole', run)
    path = run / rng.choice(files)
    path.write_bytes(of_bytes(path.read_bytes() or b'\0', rng))
    opened = checkpoint_files.open_manager(run, Regression())
    try:
      found = checkpoint_files.restore_newest(opened, state)
    finally:
      opened.close()
    step = int(found.step)
    assert step in (1, 2) and equal(found, at(state, step))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    if step == 1:
      raise CheckpointError('set aside')

  return check


# Name -> (makes the check, how many mutations `make fuzz` tries).
KINDS: dict[str, tuple[Callable[[pathlib.Path], Check], int]] = {
  'media': (media, 5000),
  'labels': (labels, 2000),
  'weights': (weights, 2000),
  'shards': (shards, 1000),
  'manifests': (manifests, 1000),
  'configs': (configs, 1000),
  'exported': (exported, 1000),
  'lists': (lists, 1000),
  'stream': (stream, 500),
  'checkpoints': (checkpoints, 200),
}
