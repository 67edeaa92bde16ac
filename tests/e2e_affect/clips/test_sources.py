"""Files, folders and lists -> clips with names that no two share."""

import errno
import fractions
import os
import pathlib
import unicodedata

import av
import numpy as np
import pytest

from data_prep.core.errors import DataError, WorkdirError
from data_prep.media import audio_track, containers, video_track
from e2e_affect.clips import sources
from tests import clips as made


def touch(folder, *names):
  for name in names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b'x')


def found(arguments, out='/nowhere'):
  return [(r.recording, r.video.name, r.audio and r.audio.name) for r in sources.find(arguments, out)]


def test_files_and_folders(tmp_path):
  touch(tmp_path, 'b.MP4', 'a.wav', 'sub/c.mkv', 'notes.txt', '.hidden.mp4', 'out/media/a.wav')
  assert found([str(tmp_path)], str(tmp_path / 'out')) == [
    ('a', 'a.wav', None),
    ('b', 'b.MP4', None),
    ('c', 'c.mkv', None),
  ]
  assert found([str(tmp_path / 'notes.txt'), '/absent/x.mp4']) == [('notes', 'notes.txt', None), ('x', 'x.mp4', None)]
  with pytest.raises(DataError, match='no media in it'):
    (tmp_path / 'empty').mkdir()
    sources.find([str(tmp_path / 'empty')], 'out')


def test_names_are_distinct(tmp_path):
  touch(tmp_path, 'x/a.mp4', 'x/a.wav', 'y/a.mp4', 'y/A.mp4', 'index.mp4', 'so <b>&.mp4')
  names = [name for name, *_ in found([str(tmp_path)])]
  assert names == ['index_2', 'so _b__', 'a_mp4', 'a_wav', 'A_mp4_2', 'a_mp4_3']
  assert len({name.lower() for name in names}) == 6


def test_long_names_and_links_to_themselves(tmp_path):
  touch(tmp_path, *(f'{"é" * 120}{end}.wav' for end in 'abc'))
  names = [name for name, *_ in found([str(tmp_path)])]
  assert len(set(names)) == 3 and all(len(name.encode()) == 189 and name.startswith('é' * 90 + '-') for name in names)
  (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
  with pytest.raises(WorkdirError, match='loop: leads nowhere'):
    sources.find([str(tmp_path)], tmp_path / 'loop')
  with pytest.raises(DataError, match='^a{60}…: File name too long; expected a file'):
    sources.find(['a' * 5000], 'out')


def test_lists(tmp_path):
  touch(tmp_path, 'v/a.mp4', 'a.wav', 'b.wav', 'box.csv')
  (tmp_path / 'list.csv').write_text('recording,video,audio,boxes\nfirst,v/a.mp4,a.wav,box.csv\n,,b.wav,\n,v/a.mp4,,\n')
  clips = sources.find([str(tmp_path / 'list.csv')], 'out')
  assert [(r.recording, r.video.name, r.audio and r.audio.name, r.boxes and r.boxes.name) for r in clips] == [
    ('first', 'a.mp4', 'a.wav', 'box.csv'),
    ('b', 'b.wav', None, None),
    ('a', 'a.mp4', None, None),
  ]
  # A manifest of `data_prep.prepare --corpus=csv` is a list, too.
  (tmp_path / 'own.csv').write_text('recording,subject,partition,video,audio,labels,sex\nP1,P1,test,v/a.mp4,,l.csv,f\n')
  assert found([str(tmp_path / 'own.csv')]) == [('P1', 'a.mp4', None)]


@pytest.mark.parametrize(
  'text, message',
  [
    ('', 'empty'),
    ('video\n', 'no rows'),
    ('film\na.mp4\n', 'line 2: neither video nor audio; expected a header with video, audio or both'),
    ('videos\na.mp4\n', "column 'videos' is unknown"),
    ('video\n../a.mp4\n', 'leads out of'),
    ('video\n/etc/passwd\n', 'leads out of'),
    ('video,audio\n,\n', 'line 2: neither video nor audio'),
  ],
)
def test_bad_lists(tmp_path, text, message):
  (tmp_path / 'list.csv').write_text(text)
  with pytest.raises(DataError, match=message):
    sources.find([str(tmp_path / 'list.csv')], 'out')


def test_names_keep_the_marks_of_every_script_and_are_composed(tmp_path):
  names = {
    'Zoe\u0308': 'Zo\u00eb',
    'हिन्दी': 'हिन्दी',
    'ภาษาไทย': 'ภาษาไทย',
    'می\u200cخواهم': 'می\u200cخواهم',
    'עִבְרִית': None,
    '👩\u200d🏫 talk': '👩\u200d🏫 talk',
    'a\u202eb\u0007c': 'a_b_c',
    'x\udce9': 'x_',
  }
  for given, expected in names.items():
    assert sources.safe(given) == (expected or unicodedata.normalize('NFC', given))


def test_a_folder_says_what_it_left_out_follows_links_and_names_broken_ones(tmp_path):
  touch(
    tmp_path, 'in/a.wav', 'in/notes.txt', 'in/list.TXT', 'in/README', 'in/.hidden.wav', 'away/b.mp4', 'away/deep/c.vob'
  )
  folder = tmp_path / 'in'
  (folder / 'linked').symlink_to(tmp_path / 'away')
  (folder / 'd.m4b').symlink_to(tmp_path / 'away' / 'b.mp4')
  (tmp_path / 'away' / 'back').symlink_to(folder)  # a circle
  (folder / 'gone.mkv').symlink_to(tmp_path / 'drive' / 'gone.mkv')
  (folder / 'session').symlink_to(tmp_path / 'drive')
  said = []
  clips = sources.find([str(folder)], '/nowhere', said.append)
  assert sorted(r.recording for r in clips) == ['a', 'b', 'c', 'd', 'gone']
  assert said == [
    f'{folder}: 5 clips; 3 files left out by suffix (2 .txt, 1 without suffix); 1 hidden left out; '
    f'broken links: {folder / "session"}'
  ]
  with pytest.raises(DataError, match=f'gone.mkv: a broken link to {tmp_path}/drive/gone.mkv; expected'):
    containers.open_media(folder / 'gone.mkv')


@pytest.mark.parametrize('suffix', 'mka vob mpe m2v mp2 weba m4b f4v au wv ac3 dv'.split())
def test_suffixes_that_players_know_are_found_in_folders(tmp_path, suffix):
  touch(tmp_path, f'a.{suffix.upper()}')
  assert found([str(tmp_path)]) == [('a', f'a.{suffix.upper()}', None)]


@pytest.mark.parametrize(
  'name, codec',
  [
    ('a.au', 'pcm_s16be'),
    ('a.wv', 'wavpack'),
    ('a.ac3', 'ac3'),
    ('a.mka', 'flac'),
    ('a.mp2', 'mp2'),
    ('a.eac3', 'eac3'),
  ],
)
def test_sounds_of_such_suffixes_are_read(tmp_path, name, codec):
  made.write_clip(tmp_path / name, sound=made.tone(1, 48_000), rate=48_000, sound_codec=codec)
  assert audio_track.read_audio(tmp_path / name).end == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(
  'name, codec, size',
  [
    ('a.mpe', 'mpeg1video', (64, 48)),
    ('a.m1v', 'mpeg1video', (64, 48)),
    ('a.m2v', 'mpeg2video', (64, 48)),
    ('a.vob', 'mpeg2video', (64, 48)),
    ('a.f4v', 'libx264', (64, 48)),
    ('a.dv', 'dvvideo', (768, 576)),
  ],
)  # dv has 720 × 576 pixels that are not square
def test_pictures_of_such_suffixes_are_read(tmp_path, name, codec, size):
  kind = {'mpe': 'mpeg', 'm1v': 'mpeg1video', 'm2v': 'mpeg2video', 'f4v': 'mp4'}.get(name[2:], name[2:])
  with av.open(str(tmp_path / name), 'w', format=kind) as container:
    stream = container.add_stream(codec, rate=25)
    stream.width, stream.height = (720, 576) if codec == 'dvvideo' else size
    stream.pix_fmt = 'yuv420p'
    if codec == 'dvvideo':
      stream.codec_context.sample_aspect_ratio = fractions.Fraction(16, 15)
    for i in range(25):
      image = np.full((stream.height, stream.width, 3), 40 + 4 * i, np.uint8)
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      frame.pts = i
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
  video = video_track.Video(tmp_path / name)
  seen = [float(frame.mean()) for frame in video]
  assert video.size == size and len(seen) in (25, 26)
  assert video_track.video_end(tmp_path / name) == pytest.approx(video.end, abs=0.001)
  np.testing.assert_allclose(seen[:25], 40 + 4 * np.arange(25), atol=4)


def test_a_file_in_a_folder_that_may_not_be_entered_does_not_end_the_batch(tmp_path, monkeypatch):
  closed, stat = tmp_path / 'closed' / 'a.mp4', os.stat

  def refuse(path, *args, **kwargs):
    if str(path).startswith(str(closed.parent)):
      raise PermissionError(errno.EACCES, 'Permission denied', str(path))
    return stat(path, *args, **kwargs)

  monkeypatch.setattr(os, 'stat', refuse)
  touch(tmp_path, 'b.mp4')
  found = sources.find([str(closed), str(tmp_path / 'b.mp4')], tmp_path / 'out')
  assert [clip.recording for clip in found] == ['a', 'b']
  with pytest.raises(DataError, match='a.mp4: cannot be opened .Permission denied.; expected a video or sound file'):
    containers.open_media(closed)
  monkeypatch.setattr(pathlib.Path, 'open', lambda path, *_: refuse(closed))
  with pytest.raises(DataError, match='b.mp4: cannot be opened .Permission denied.; expected a video or sound file'):
    containers.open_media(tmp_path / 'b.mp4')
