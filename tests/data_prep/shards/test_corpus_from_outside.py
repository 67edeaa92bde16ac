"""A corpus that the package does not know: its reader, its grid of 0.5 s and its stream are registered by this file."""

import dataclasses
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest

from data_prep import corpora, streams
from data_prep.core.errors import UserError
from data_prep.corpora.recording import Corpus, LabelSource, Recording
from data_prep.schema.fields import Field
from data_prep.schema.grid import Grid, PAPER
from data_prep.schema.manifest import Manifest
from data_prep.shards import contact_sheets, prepare, read, verify
from tests import clips
from tests.data_prep.face.test_faces import scene

REPO = __file__.rsplit('/tests/', 1)[0]
GRID = Grid(step_seconds=0.5, sample_rate=8_000, steps_per_record=4)
SECONDS = 7.5  # 15 steps: the last of four records has three


def read_corpus(source, *, split, label_range):
  """`<source>/<partition>/<id>.mp4`, with labels and a pulse beside it."""
  del split, label_range
  recordings = [
    Recording(
      recording=path.stem,
      subject=path.stem,
      partition=path.parent.name,
      video=path,
      audio=None,
      labels=(LabelSource('liking', path.with_suffix('.csv')),),
    )
    for path in sorted(source.glob('*/*.mp4'))
  ]
  return Corpus(recordings, absent=[], targets=('liking',), grid=GRID, streams=('visual', 'speech', 'pulse'))


@dataclasses.dataclass
class PulseTrack:
  samples: np.ndarray
  notes: list[str]
  start: float = 0.0

  @property
  def end(self):
    return len(self.samples) / 6  # six samples a second


class Pulse:
  name, word, absent, ends_early = 'pulse', 'pulse', 'no pulse', False

  def fields(self, grid, options):
    return (Field('pulse', (round(6 * grid.step_seconds),)),)

  def read(self, recording, settings):
    path = recording.video.with_suffix('.npy')
    return PulseTrack(np.load(path), ['pulse of a finger']) if path.is_file() else None

  def cut(self, recording, track, seconds, settings):
    size = settings.grid.steps_begun(seconds), round(6 * settings.grid.step_seconds)
    return {'pulse': np.zeros(size, np.float32) if track is None else track.samples[: size[0] * size[1]].reshape(size)}


@pytest.fixture
def source(tmp_path, face, monkeypatch):
  monkeypatch.setitem(corpora.READERS, 'outside', corpora.Entry(read_corpus))
  monkeypatch.setitem(streams.STREAMS, 'pulse', Pulse())
  for k, (name, partition) in enumerate((('A', 'train'), ('B', 'validation'))):
    stem = tmp_path / 'source' / partition / name
    stem.parent.mkdir(parents=True)
    frames = [scene(face, 110 + 0.5 * i, 120) for i in range(round(25 * SECONDS))]
    tone = clips.tone(SECONDS, 44_100) * np.repeat([1, 0], round(44_100 * SECONDS / 2))[: round(44_100 * SECONDS)]
    clips.write_clip(stem.with_suffix('.mp4'), frames, sound=tone, codec='libx264')
    rows = [f'{0.5 * step},{0.1 * step - 0.8 + 0.05 * k}' for step in range(1, 16)]
    stem.with_suffix('.csv').write_text('\n'.join(['time,liking', *rows]) + '\n')
  np.save(tmp_path / 'source' / 'train' / 'A.npy', np.arange(45, dtype=np.float32))
  return tmp_path / 'source'


@pytest.mark.slow
def test_it_is_prepared_verified_and_previewed(source, tmp_path):
  out = tmp_path / 'out'
  result = prepare.prepare(corpus='outside', source=source, out=out, jobs=0)
  manifest = Manifest.read(out)
  assert manifest.grid == GRID and manifest.targets == ['liking'] and result.rejects == []
  assert list(manifest.streams) == ['speech', 'visual', 'pulse']  # in the order of registration
  assert [(s.recording, s.records, s.steps) for s in manifest.shards] == [('A', 4, 15), ('B', 4, 15)]
  assert verify.verify(out) == []
  rows = list(read.read_shard(out / manifest.shards[0].file, manifest))
  joined = lambda name: np.concatenate([row.values[name] for row in rows])
  # A label is that of the end of its step: the rows of the file, one a step.
  np.testing.assert_allclose(
    np.concatenate([row.label for row in rows])[:15, 0], 0.1 * np.arange(1, 16) - 0.8, atol=1e-6
  )
  np.testing.assert_array_equal(np.concatenate([row.label_mask for row in rows]), [1] * 15 + [0])
  audio = joined('audio')
  assert audio.shape == (16, 4_000)
  loud = np.abs(audio.astype(int)).max(axis=1) > 1000
  assert loud.tolist() == [True] * 8 + [False] * 8  # 3.75 s of sound
  assert (joined('face_found')[2:15] > 0).all() and joined('face_found')[15] == 0
  np.testing.assert_array_equal(joined('pulse')[:15].ravel(), np.arange(45))
  assert 'pulse of a finger' in result.summaries['A'].notes and 'no pulse' in result.summaries['B'].notes

  command = [sys.executable, '-m', 'data_prep.shards', f'--verify={out}']  # which knows neither corpus nor stream
  done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
  assert done.returncode == 0 and 'all shards are what the manifest says' in done.stdout, done.stderr
  sheets = contact_sheets.write_sheets(out, tmp_path / 'sheets')
  assert [path.name for path in sheets] == ['A.png', 'B.png'] and min(Image.open(sheets[0]).size) > 450

  before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
  again = prepare.prepare(corpus='outside', source=source, out=out, jobs=0)
  assert again.manifest == manifest and before == {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}


def test_another_grid_is_prepared_anew(source, tmp_path, monkeypatch):
  monkeypatch.setitem(
    corpora.READERS,
    'sound',
    corpora.Entry(lambda *a, **k: dataclasses.replace(read_corpus(*a, **k), streams=('speech',))),
  )
  monkeypatch.setitem(
    corpora.READERS,
    'paper',
    corpora.Entry(lambda *a, **k: dataclasses.replace(corpora.READERS['sound'].read(*a, **k), grid=PAPER)),
  )
  for name, steps in (('sound', 15), ('paper', 188)):  # of 40 ms; the last is half a step
    result = prepare.prepare(corpus=name, source=source, out=tmp_path / 'out', jobs=0)
    assert [shard.steps for shard in result.manifest.shards] == [steps] * 2
    assert verify.verify(tmp_path / 'out') == []
    # Of a corpus without pictures a sheet shows the rest.
    assert len(contact_sheets.write_sheets(tmp_path / 'out', tmp_path / 'sheets')) == 2


def test_what_is_registered_already_or_not_at_all_is_said(source, tmp_path, monkeypatch):
  with pytest.raises(ValueError, match="'recola' is registered already"):
    corpora.register('recola', read_corpus)
  with pytest.raises(UserError, match='--corpus=nothing; expected one of recola, avec2016, csv, .*outside'):
    prepare.prepare(corpus='nothing', source=source, out=tmp_path / 'out')
  monkeypatch.setitem(
    corpora.READERS,
    'points',
    corpora.Entry(lambda *a, **k: dataclasses.replace(read_corpus(*a, **k), streams=('geometric',))),
  )
  with pytest.raises(
    UserError, match='recordings yield no stream geometric; expected some of speech, visual, physiology, pulse'
  ):
    prepare.prepare(corpus='points', source=source, out=tmp_path / 'out', jobs=0)
