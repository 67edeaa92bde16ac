"""From clips to files: real and made ones, bad ones among good ones, and the traces of evaluation itself."""

import csv
import errno
import json
import os
import pathlib
import re
import subprocess
import sys
import types

import av
from flax import jax_utils
import jax
import numpy as np
import pytest
import soundfile

from data_prep.core import atomic
from data_prep.core.errors import DataError, UserError, WorkdirError, write_error
from data_prep.schema.manifest import Manifest
from data_prep.shards import prepare
from data_prep.simulate import corpus
import e2e_affect
from e2e_affect import export, heads, predict
from e2e_affect.clips import analyse, exported, model_card, of_run, one_clip
from e2e_affect.clips import network as networks
from e2e_affect.evaluate import chunks, predictor, results
from e2e_affect.run import origin, workdir
from e2e_affect.train import checkpoint_files, finish, train_state
from tests import clips
from tests.data_prep.recordings.test_clip import portrait
from tests.networks import BAND, layout, network_with_band, small_config, small_network

ROOT = pathlib.Path(__file__).resolve().parents[3]
DATA = ROOT.parent / 'shared' / 'data'
needs_clips = pytest.mark.skipif(not DATA.is_dir(), reason='no real clips: ../shared/data is absent')


def rows(path):
  with open(path, encoding='utf-8', newline='') as f:
    return list(csv.DictReader(f))


def column(path, name):
  return np.array([float(row[name]) for row in rows(path)])


def command(*arguments, **options):
  environment = {**os.environ, 'XLA_FLAGS': '', 'JAX_PLATFORMS': 'cpu'}
  return subprocess.run(
    [sys.executable, '-m', *map(str, arguments)], capture_output=True, cwd=ROOT, env=environment, check=False, **options
  )


def check_files(out, name, steps_expected, targets=('arousal', 'valence')):
  table = rows(out / f'{name}.csv')
  assert [row['time'] for row in table] == [f'{k * 4 // 100}.{k * 4 % 100:02d}' for k in range(steps_expected)]
  for target in targets:
    for suffix in ('', '_post'):
      assert np.isfinite([float(row[target + suffix]) for row in table]).all()
  content = json.loads((out / f'{name}.json').read_text())
  assert content['steps'] == steps_expected and content['model']['checkpoint']['step'] == 7
  raw = column(out / f'{name}.csv', 'valence')
  assert content['targets']['valence']['raw']['mean'] == pytest.approx(raw.mean(), abs=1e-5)
  assert content['label_scale']['valence'] == [0.5, 0.25] and content['commit'] and content['settings']
  assert (out / f'{name}.html').stat().st_size > 10_000
  return content


@needs_clips
@pytest.mark.slow
def test_real_clips(tmp_path):
  summaries = analyse.analyse(small_network('speech', 'visual'), [str(DATA / 'grid'), str(DATA / 'clips')], tmp_path)
  assert len(summaries) == 8 and not (tmp_path / 'rejects.jsonl').exists()
  # Lengths and confidences as in tests/test_real_clips.py, where they were read by eye.
  expected = {
    **{path.stem: 75 for path in (DATA / 'grid').glob('*.mpg')},
    'face_noface': 160,
    'noface_face': 160,
    'single_face': 60,
    'no_face': 101,
  }
  assert len(expected) == 8
  for name, count in expected.items():
    content = check_files(tmp_path, name, count)
    found = column(tmp_path / f'{name}.csv', 'face_found')
    boxes = [row['face_size'] for row in rows(tmp_path / f'{name}.csv')]
    assert [box == '' for box in boxes] == (found == 0).tolist()
    if count == 75 or name == 'single_face':
      assert (found > 0.5).all() and content['face']['share_of_steps'] == 1
    elif name == 'no_face':
      assert not found.any() and 'no face: the values are worth nothing' in content['notes']
    elif name == 'face_noface':
      assert (found[:58] > 0.5).all() and not found[62:].any()
      lost = f'no face in {round(100 * np.mean(found == 0))} % of the steps, where the values are worth nothing'
      assert content['notes'] == ['sound starts at 2.43 s', lost]
  index = (tmp_path / 'index.html').read_text()
  assert index.count('<svg') == 16 and all(f'href="{name}.html"' in index for name in expected)


def test_sounds_of_all_kinds_and_a_bad_one_among_them(tmp_path, capsys):
  network = small_network('speech')
  folder = tmp_path / 'in'
  folder.mkdir()
  noise = np.random.default_rng(0).normal(0, 0.1, 48_000 * 2)
  soundfile.write(folder / 'telephone.wav', noise[:8000], 8000)
  soundfile.write(folder / 'stereo.wav', noise[:48_000].reshape(-1, 2), 48_000)
  soundfile.write(folder / 'short.wav', noise[:4800], 16_000)
  soundfile.write(folder / 'silence.wav', np.zeros(16_000), 16_000)
  (folder / 'bad.mp4').write_bytes(b'no video')
  clips.write_clip(folder / 'silent.mp4', clips.counted_frames(20), codec='libx264')
  with pytest.raises(DataError, match='2 of 6 clips refused, reasons in .*rejects.jsonl; the first: .*bad.mp4: not '):
    analyse.analyse(network, [str(folder)], tmp_path / 'out')
  for name, count in (('telephone', 25), ('stereo', 13), ('short', 8), ('silence', 25)):
    content = check_files(tmp_path / 'out', name, count)
    assert content['face'] is None and 'no picture' in content['notes']
    short = 'shorter than twice the median filter of 0.44 s: trust the raw valence'
    assert (short in content['notes']) == (count < 22)
    assert {row['face_found'] for row in rows(tmp_path / 'out' / f'{name}.csv')} == {''}
  assert re.search(
    'telephone: 1.00 s; post-processed means: arousal .*telephone.html\n(.*\n)*4 clips, .* s of work, '
    'compilation among it; real-time factor .*; index: .*index.html\n',
    capsys.readouterr().out,
  )
  rejects = [json.loads(line) for line in (tmp_path / 'out' / 'rejects.jsonl').read_text().splitlines()]
  assert [row['clip'] for row in rejects] == ['bad', 'silent']
  assert rejects[1]['reason'].endswith(
    'silent.mp4: without a sound track, and this is a speech network; use one that sees'
  )
  assert sorted(path.name for path in (tmp_path / 'out' / 'media').iterdir()) == [
    'short.wav',
    'silence.wav',
    'stereo.wav',
    'telephone.wav',
  ]
  assert not [path for path in (tmp_path / 'out').iterdir() if path.name.startswith('.')]  # no temporary folder is left
  assert 'bad.mp4: not readable' in (tmp_path / 'out' / 'index.html').read_text()


def test_the_band_and_a_clip_unlike_those_of_validation(tmp_path, capsys):
  noise = np.random.default_rng(0).normal(0, 1, 32_000)
  soundfile.write(tmp_path / 'usual.wav', noise[:16_000] * 10 ** (-30 / 20), 16_000, 'FLOAT')
  soundfile.write(tmp_path / 'quiet.wav', noise[16_000:] * 10 ** (-52 / 20), 16_000, 'FLOAT')
  analyse.analyse(network_with_band('speech'), [str(tmp_path)], tmp_path / 'out')
  printed = capsys.readouterr().out
  note = 'unlike the recordings of validation (their range in parentheses): sound of −52 dB (−36 … −24)'
  assert printed.count('unlike') == 1 and note in printed
  for name in ('usual', 'quiet'):
    content = check_files(tmp_path / 'out', name, 25)
    assert content['postprocessing']['band'] == BAND
    assert (note in content['notes']) == (name == 'quiet')
    page = (tmp_path / 'out' / f'{name}.html').read_text()
    assert (note in page) == (name == 'quiet')
    assert '<i class="block band"></i>90 % band' in page and 'of a single moment nothing is known' in page
    assert '"band":{"arousal":0.25,"valence":0.5}' in page
    for target, half in BAND['half_width'].items():
      post = column(tmp_path / 'out' / f'{name}.csv', f'{target}_post')
      np.testing.assert_allclose(column(tmp_path / 'out' / f'{name}.csv', f'{target}_low'), post - half, atol=1e-6)
      np.testing.assert_allclose(column(tmp_path / 'out' / f'{name}.csv', f'{target}_high'), post + half, atol=1e-6)
  # A run of before there were bands: its files are as they were.
  analyse.analyse(small_network('speech'), [str(tmp_path / 'quiet.wav')], tmp_path / 'old')
  content = check_files(tmp_path / 'old', 'quiet', 25)
  assert 'band' not in content['postprocessing'] and 'arousal_low' not in rows(tmp_path / 'old' / 'quiet.csv')[0]
  page = (tmp_path / 'old' / 'quiet.html').read_text()
  assert 'class="block band"' not in page and '"band":null' in page and 'unlike the recordings' not in page


def test_each_of_two_people_with_a_channel_of_their_own(tmp_path):
  voices = [np.random.default_rng(k).normal(0, 0.1, 16_000) * np.linspace(k, 1 - k, 16_000) for k in (0, 1)]
  soundfile.write(tmp_path / 'pair.wav', np.stack(voices, axis=1), 16_000)
  network = small_network('speech')
  for channel, voice in enumerate(voices, 1):
    (tmp_path / f'{channel}').mkdir()
    soundfile.write(tmp_path / f'{channel}' / 'pair.wav', voice, 16_000)
    analyse.analyse(network, [str(tmp_path / 'pair.wav')], tmp_path / f'of {channel}', channel=channel)
    analyse.analyse(network, [str(tmp_path / f'{channel}' / 'pair.wav')], tmp_path / f'alone {channel}')
    np.testing.assert_array_equal(
      *(column(tmp_path / f'{of} {channel}' / 'pair.csv', 'arousal') for of in ('of', 'alone'))
    )
  assert np.abs(np.diff([column(tmp_path / f'of {k}' / 'pair.csv', 'arousal') for k in (1, 2)], axis=0)).max() > 1e-3
  with pytest.raises(DataError, match='no channel 3 in the sound, which has 2; give another --channel'):
    analyse.analyse(network, [str(tmp_path / 'pair.wav')], tmp_path / 'of 3', channel=3)


def test_files_of_others_are_left_alone(tmp_path):
  network = small_network('speech')
  noise = np.random.default_rng(0).normal(0, 0.1, 3000)
  soundfile.write(tmp_path / 'talk.wav', noise, 16_000)
  for name in ('talk.csv', 'talk.json', 'talk.html', 'media/talk.wav'):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text('time,arousal\n0,0.5\n')
    with pytest.raises(DataError, match=f'{name}: is there already and no result'):
      analyse.analyse(network, [str(tmp_path / 'talk.wav')], tmp_path)
    assert json.loads((tmp_path / 'rejects.jsonl').read_text())['reason'].endswith('choose another --out')
    assert path.read_text() == 'time,arousal\n0,0.5\n'
    path.unlink()
  for _ in range(2):  # our own are replaced, and rejects of before are gone
    analyse.analyse(network, [str(tmp_path / 'talk.wav')], tmp_path)
    assert not (tmp_path / 'rejects.jsonl').exists()
  # A clip that cannot be analysed any more keeps the result that it has; the user's own files stay.
  (tmp_path / 'talk.txt').write_text('mine')
  (tmp_path / 'talk.wav').unlink()  # the result's copy is a link to it
  (tmp_path / 'talk.wav').write_bytes(b'damaged')
  with pytest.raises(DataError, match='not readable'):
    analyse.analyse(network, [str(tmp_path / 'talk.wav')], tmp_path)
  assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*')) == [
    'index.html',
    'media',
    'media/talk.wav',
    'rejects.jsonl',
    'talk.csv',
    'talk.html',
    'talk.json',
    'talk.txt',
    'talk.wav',
  ]
  for name in ('rejects.jsonl', 'index.html'):
    (tmp_path / name).write_text('{"of": "another program"}\n')
    with pytest.raises(WorkdirError, match=f'{name}: is there already'):
      analyse.analyse(network, [str(tmp_path / 'talk.wav')] * 2, tmp_path)
    assert (tmp_path / name).read_text() == '{"of": "another program"}\n'
    (tmp_path / name).unlink()


def test_a_network_of_drawings_says_so_in_all_that_it_writes(tmp_path, capsys):
  network = small_network('speech')
  assert network.simulated
  for name in 'ab':
    soundfile.write(tmp_path / f'{name}.wav', np.random.default_rng(0).normal(0, 0.1, 3000), 16_000)
  arguments = [str(tmp_path / 'a.wav'), str(tmp_path / 'b.wav')]
  analyse.analyse(network, arguments, tmp_path / 'out')
  said = capsys.readouterr().out.splitlines()
  assert said[0] == (
    'warning: this network learnt from a simulated corpus, from drawings of people and not from people: '
    'its values say nothing about a person'
  )
  assert all('by a network of drawings, not of people' in line for line in said[1:3])
  model = json.loads((tmp_path / 'out' / 'a.json').read_text())['model']
  assert model['simulated'] is True and model['warning'] == origin.SIMULATED
  assert {row['trained_on'] for row in rows(tmp_path / 'out' / 'a.csv')} == {'simulated people'}
  for page in ('a.html', 'index.html'):
    text = (tmp_path / 'out' / page).read_text()
    assert f'<b>Not about people:</b> {origin.SIMULATED}.' in text and 'nobody: voices and faces drawn' in text
    assert re.search(r'\.warning \{[^}]*color: var\(--alarm\)', text) and '--alarm: #c00000' in text  # red
  assert (tmp_path / 'out' / 'index.html').read_text().count('by a network of drawings, not of people</td>') == 2
  # The field of an export, or the data set where an older one lacks the field.
  folder = tmp_path / 'net'
  exported.save(network, folder)
  with pytest.warns(UserWarning, match='learnt from a simulated corpus'):
    e2e_affect.load(folder)
  card = (folder / 'README.md').read_text()
  assert '> [!CAUTION]\n> <b style="color: #c00000">Not about people.</b>' in card
  assert 'People: nobody: voices and faces drawn by a program' in card
  # One that learnt from people says nothing of the kind, and its tables are as they were.
  about = {**network.about, 'simulated': False}
  people = networks.Network(network.config, network.variables, about)
  assert 'simulated corpus' not in model_card.card(people)
  analyse.analyse(people, arguments, tmp_path / 'people')
  assert 'warning' not in capsys.readouterr().out
  content = json.loads((tmp_path / 'people' / 'a.json').read_text())['model']
  assert content['simulated'] is False and 'warning' not in content
  assert content['trained_on']['people'][0].startswith('corpus csv: 2 to train on, 0.5 h; who they are')
  assert 'corpus csv: 2 to train on, 0.5 h; who they are' in model_card.card(people)
  assert 'trained_on' not in rows(tmp_path / 'people' / 'a.csv')[0]
  for page in ('a.html', 'index.html'):
    assert 'Not about people' not in (tmp_path / 'people' / page).read_text()


@pytest.mark.slow
def test_all_folders_may_begin_with_a_tilde_and_an_unwritable_one_is_not_called_full(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  soundfile.write(tmp_path / 'a.wav', np.random.default_rng(0).normal(0, 0.1, 3000), 16_000)
  network = small_network('speech')
  exported.save(network, tmp_path / 'net')
  done = command('e2e_affect.predict', '--checkpoint=~/net', '--out=~/out', '~/a.wav')
  assert done.returncode == 0 and (tmp_path / 'out' / 'a.csv').is_file(), done.stderr
  for module, flags in (('export', ('--workdir=~/run', '--out=~/e')), ('report', ('~/run',))):
    done = command(f'e2e_affect.{module}', *flags)
    assert done.returncode in (64, 65) and str(tmp_path / 'run').encode() in done.stderr, done.stderr
  assert write_error('x', OSError(errno.EACCES, 'Permission denied')).exit_code == 73
  with pytest.raises(WorkdirError, match='a.wav/b: cannot be written'):
    atomic.write(tmp_path / 'a.wav' / 'b', 'text')


@pytest.mark.slow
def test_an_ascii_terminal_and_a_closed_pipe_do_not_end_the_batch(tmp_path):
  network = small_network('speech')
  exported.save(network, tmp_path / 'net')
  for name in ('é', 'ü'):
    soundfile.write(tmp_path / f'{name}.wav', np.random.default_rng(0).normal(0, 0.1, 3000), 16_000)
  script = 'PYTHONIOENCODING=ascii LC_ALL=C "$@" | head -n 1; exit ${PIPESTATUS[0]}'
  environment = {**os.environ, 'XLA_FLAGS': '', 'JAX_PLATFORMS': 'cpu'}
  done = subprocess.run(
    [
      'bash',
      '-c',
      script,
      'bash',
      sys.executable,
      '-m',
      'e2e_affect.predict',
      f'--checkpoint={tmp_path / "net"}',
      f'--out={tmp_path / "out"}',
      str(tmp_path / 'é.wav'),
      str(tmp_path / 'ü.wav'),
    ],
    capture_output=True,
    cwd=ROOT,
    env=environment,
    check=False,
  )
  assert done.returncode == 0 and b'Traceback' not in done.stderr and len(done.stdout.splitlines()) == 1, done.stderr
  assert (tmp_path / 'out' / 'é.csv').is_file() and (tmp_path / 'out' / 'ü.csv').is_file()


@pytest.mark.slow
def test_a_network_that_sees_says_where_it_saw_nobody(tmp_path, capsys):
  clips.write_clip(tmp_path / 'partly.mp4', portrait(25, blank=range(15, 25)), codec='libx264')
  clips.write_clip(tmp_path / 'never.mp4', clips.counted_frames(25), codec='libx264')
  (tmp_path / 'box.csv').write_text('x,y,width,height\n40,30,50,54\n')
  (tmp_path / 'list.csv').write_text('video,boxes\npartly.mp4,box.csv\nnever.mp4,\n')
  partly, never = analyse.analyse(small_network('visual'), [str(tmp_path / 'list.csv')], tmp_path / 'out')
  share = round(100 * (column(tmp_path / 'out' / 'partly.csv', 'face_found') == 0).mean())
  notes = {
    'partly': f'no face in {share} % of the steps, where the values are worth nothing',
    'never': 'no face: the values are worth nothing',
  }
  assert 30 <= share <= 52 and notes['partly'] in partly['notes'] and notes['never'] in never['notes']
  said = dict(line.split(':', 1) for line in capsys.readouterr().out.splitlines() if ' -> ' in line)
  index = (tmp_path / 'out' / 'index.html').read_text()
  for name, note in notes.items():
    assert note in said[name] and 'face in 0' not in said[name] and 'face in 100' not in said[name]
    assert note in (tmp_path / 'out' / f'{name}.html').read_text() and note in index
  row = lambda name: index.partition(f'href="{name}.html"')[2].partition('</tr>')[0]
  assert row('never').count('class="faint"') == 4 and 'faint' not in row('partly')  # means and traces of two targets
  # What says one thing of a whole clip says it of the steps with a face, too.
  whole = np.full((25, 2), 0.5, np.float32)
  assert one_clip.face_notes(np.arange(25) % 4, whole) == ['no face in 28 % of the steps']
  assert one_clip.face_notes(np.arange(1000), whole[:1])[0].startswith('no face in 1 % ')
  assert one_clip.face_notes(np.arange(1000) == 0, whole[:1])[0].startswith('no face in 99 % ')
  assert one_clip.face_notes(np.ones(25), whole) == []


@pytest.mark.slow
def test_missing_modalities(tmp_path):
  soundfile.write(tmp_path / 'a.wav', np.random.default_rng(0).normal(0, 0.1, 8000), 16_000)
  clips.write_clip(tmp_path / 'silent.mp4', clips.counted_frames(12), codec='libx264')
  fused = small_network('speech', 'visual')
  analyse.analyse(fused, [str(tmp_path / 'a.wav')], tmp_path / 'out')
  content = check_files(tmp_path / 'out', 'a', 13)
  # The same as arrays; the picture is masked.
  samples = (tmp_path / 'a.wav').read_bytes()[44:]
  np.testing.assert_allclose(
    column(tmp_path / 'out' / 'a.csv', 'arousal'), fused(audio=np.frombuffer(samples, '<i2'))['arousal'], atol=1e-5
  )
  assert content['face'] is None
  analyse.analyse(fused, [str(tmp_path / 'silent.mp4')], tmp_path / 'out')
  assert 'no sound' in check_files(tmp_path / 'out', 'silent', 12)['notes']
  with pytest.raises(DataError, match='a.wav: without a picture, and this is a visual network; use one that hears'):
    analyse.analyse(small_network('visual'), [str(tmp_path / 'a.wav')], tmp_path / 'out')


@pytest.fixture(scope='module')
def simulated(tmp_path_factory):
  """Three simulated subjects of 6 s in RECOLA's layout, one in each partition, and their shards."""
  folder = tmp_path_factory.mktemp('simulated')
  corpus.simulate(folder / 'source', 3, 6, 1, 1)
  prepare.prepare(corpus='recola', source=folder / 'source', out=folder / 'shards', jobs=0)
  return folder


@pytest.mark.slow
@pytest.mark.parametrize('modalities', [('speech', 'visual'), ('speech',)])
def test_prediction_is_evaluation(simulated, tmp_path, modalities):
  manifest = Manifest.read(simulated / 'shards')
  network = small_network(*modalities)
  config = small_config(*modalities)
  config.data.dir = str(simulated / 'shards')
  state = train_state.first_state(network.variables['params'], network.variables['batch_stats'], config)
  eval_step = chunks.over_devices(config, layout(config))
  variables = jax_utils.replicate(state.evaluated())
  (trace,) = predictor.NetworkPredictor(variables, eval_step, config, manifest).predict('test')
  # As the corpus has it, sound, picture and the face's box in a file each; then the raw video alone.
  source, name = simulated / 'source', trace.recording
  video = f'RECOLA-Video-recordings/{name}.mp4'
  (source / 'list.csv').write_text(
    f'recording,video,audio,boxes\n{name},{video},RECOLA-Audio-recordings/{name}.wav,RECOLA-Face_boxes/{name}.csv\n'
  )
  for given, out in ((source / 'list.csv', tmp_path / 'list'), (source / video, tmp_path / 'video')):
    analyse.analyse(network, [str(given)], out)
    for k, target in enumerate(('arousal', 'valence')):
      predicted = column(out / f'{name}.csv', target)
      assert predicted.shape == (150,) and predicted.std() > 1e-3
      np.testing.assert_allclose(predicted, trace.prediction[:, k], atol=1e-4)
    if 'visual' in modalities:
      np.testing.assert_allclose(column(out / f'{name}.csv', 'face_found'), trace.face_found, atol=6e-4)


@pytest.mark.slow
def test_a_run_predicts_its_own_test_video_and_travels(simulated, tmp_path, capsys):
  """Own videos, prepared and evaluated in a run's folder; one of them predicted by the run, and by its export."""
  videos = sorted((simulated / 'source' / 'RECOLA-Video-recordings').glob('*.mp4'))
  manifest = ['recording,subject,partition,video,audio,labels']
  for partition, video in zip(('train', 'validation', 'test'), videos, strict=True):
    times = 0.04 * np.arange(151)
    np.savetxt(
      video.with_suffix('.csv'),
      np.stack([times, np.sin(times), np.cos(times)], axis=1),
      '%.4f',
      ',',
      header='time,arousal,valence',
      comments='',
    )
    manifest.append(f'{video.stem},{video.stem},{partition},{video.name},,{video.stem}.csv')
  source = videos[0].with_name('own.csv')
  source.write_text('\n'.join(manifest) + '\n')
  shards, run = tmp_path / 'shards', tmp_path / 'run'
  manifest = prepare.prepare(corpus='csv', source=source, out=shards, jobs=0).manifest

  network = small_network('visual')
  config = small_config('visual')
  config.data.dir, config.average_decay = str(shards), 0.5
  state = train_state.first_state(network.variables['params'], network.variables['batch_stats'], config)
  # The average is what counts; the newest parameters would predict something else.
  state = state.replace(params=jax.tree.map(lambda p: 0.5 * p, state.params), step=np.int32(3))
  workdir.write_config(run, config)
  workdir.write_dataset(run, manifest)
  manager = checkpoint_files.open_manager(run, heads.of(config))
  checkpoint_files.save(manager, state, {'ccc_mean': 0.5})
  manager.close()
  eval_step = chunks.over_devices(config, layout(config))
  state, described = finish.replicated_best(run, config, layout(config))
  of_network = predictor.NetworkPredictor(state.evaluated(), eval_step, config, manifest)
  traces = {partition: of_network.predict(partition) for partition in ('validation', 'test')}
  content = results.evaluate_traces(traces, heads.of(config), manifest.targets, 0, described)
  results.write_results(run, content, traces, heads.of(config), manifest.targets)

  analyse.analyse(of_run.network(str(run)), [str(videos[2])], tmp_path / 'by_run')
  name = videos[2].stem
  assert f'{name}: 6.00 s; post-processed means: arousal ' in capsys.readouterr().out
  evaluated = rows(run / 'predictions' / 'test.csv')
  assert [row['recording'] for row in evaluated] == [name] * 150
  for written in ('arousal', 'valence', 'arousal_post', 'valence_post'):
    expected = np.array([float(row[written]) for row in evaluated])
    np.testing.assert_allclose(column(tmp_path / 'by_run' / f'{name}.csv', written), expected, atol=1e-4)

  network, difference = export.export_graph(str(run), str(tmp_path / 'graph'), 'onnx')
  assert network.targets == ['arousal', 'valence'] and difference < 1e-4
  assert {path.name for path in (tmp_path / 'graph').iterdir()} == {'network.onnx', 'graph.json', 'README.md'}
  with pytest.raises(UserError, match='is the run itself; give another folder'):
    export.export_graph(str(run), str(run), 'onnx')
  made = export.export(str(run), str(tmp_path / 'exported'))
  assert made.about['dataset']['partitions']['train'] == {'recordings': 1, 'subjects': 1, 'hours': 0.002}
  shards.rename(tmp_path / 'gone')  # neither the data nor the run is needed from here on
  run.rename(tmp_path / 'gone too')
  analyse.analyse(exported.load(tmp_path / 'exported'), [str(videos[2])], tmp_path / 'by_export')
  for written in ('arousal', 'valence', 'arousal_post', 'valence_post'):
    np.testing.assert_allclose(
      column(tmp_path / 'by_export' / f'{name}.csv', written),
      column(tmp_path / 'by_run' / f'{name}.csv', written),
      atol=1e-5,
    )


@pytest.fixture(scope='module')
def exported_folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('exported')
  network = small_network('speech', 'visual')
  exported.save(network, folder)
  return folder


@pytest.mark.long
def test_twenty_minutes_in_constant_memory(exported_folder, tmp_path):
  """30 000 steps take no more memory than 1 500, but for their own rows."""
  peaks = {}
  for minutes in (1, 20):
    path = tmp_path / f'{minutes}.mp4'
    rng = np.random.default_rng(0)
    with av.open(str(path), 'w') as out:
      video = out.add_stream('libx264', rate=25, options={'preset': 'ultrafast'})
      video.width, video.height, video.pix_fmt = 64, 48, 'yuv420p'
      sound = out.add_stream('aac', rate=16_000, layout='mono')
      for second in range(60 * minutes):
        for frame in range(25):
          picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), (second + frame) % 200, np.uint8), format='rgb24')
          out.mux(video.encode(picture))
        noise = rng.normal(0, 3000, (1, 16_000)).astype(np.int16)
        piece = av.AudioFrame.from_ndarray(noise, format='s16', layout='mono')
        piece.sample_rate, piece.pts = 16_000, 16_000 * second
        out.mux(sound.encode(piece))
      out.mux(video.encode(None))
      out.mux(sound.encode(None))
    code = (
      'import resource, sys\nfrom e2e_affect.clips import analyse, exported\n'
      'analyse.analyse(exported.load(sys.argv[1]), [sys.argv[2]], sys.argv[3])\n'
      'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)'
    )
    done = subprocess.run(
      [sys.executable, '-c', code, exported_folder, path, tmp_path / 'out'],
      capture_output=True,
      text=True,
      cwd=ROOT,
      env={**os.environ, 'XLA_FLAGS': ''},
      check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    peaks[minutes] = int(done.stdout.splitlines()[-1]) / 1024  # MB
    check_files(tmp_path / 'out', str(minutes), 1500 * minutes)
  # 28 500 steps: rows of Python objects for CSV and page, some 100 MB; their faces alone would be 788 MB decoded.
  assert peaks[20] - peaks[1] < 200, peaks


@pytest.mark.parametrize(
  'given, arguments, message',
  [
    ({'out': 'o'}, ['a.wav'], 'name the network: either --workdir=RUN or --checkpoint=EXPORTED_FOLDER'),
    ({'out': 'o', 'workdir': 'r', 'checkpoint': 'c'}, ['a.wav'], 'name the network'),
    ({'out': 'o', 'workdir': '/nowhere'}, ['a.wav'], '/nowhere/config.json: not found; expected the workdir'),
    ({'out': 'o', 'checkpoint': '/nowhere'}, ['a.wav'], '/nowhere/network.json: not found'),
    ({'out': 'o', 'checkpoint': 'c'}, [], 'no clip given'),
    ({'out': 'o', 'checkpoint': 'c', 'faces': 'two'}, ['a.mp4'], 'two'),
    ({'out': 'o', 'checkpoint': 'c', 'faces': 'all', 'baseline': 'b'}, ['a.mp4'], '--baseline is a clip of one person'),
    ({'checkpoint': 'c'}, ['a.wav'], '--out is missing'),
    ({'stream': True, 'checkpoint': 'c'}, ['a.wav'], '--stream reads standard input'),
    ({'serve': 0, 'checkpoint': 'c', 'out': 'o'}, ['a.wav'], '--serve shows what --stream reads; give both'),
  ],
)
def test_usage_errors(given, arguments, message, monkeypatch):
  values = dict.fromkeys(('workdir', 'checkpoint', 'out', 'serve', 'speakers', 'detector', 'baseline'))
  values |= {'embed': False, 'stream': False, 'faces': 'largest'} | given
  monkeypatch.setattr(predict.flags, 'FLAGS', types.SimpleNamespace(**values))
  with pytest.raises(UserError, match=re.escape(message)):
    predict.main(*arguments)


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path):
  from benchmarks import predict as benchmark

  benchmark.main(tmp_path, 1, quick=True)
  fused, speech, step = json.loads((tmp_path / 'predict.json').read_text())['rows']
  assert {'decoding', 'faces', 'network'} <= set(fused['shares']) and sum(fused['shares'].values()) == pytest.approx(
    1, abs=0.01
  )
  assert speech['real_time_factor'] > 0 and 0 < step['sides'][0]['median'] < 1


def test_an_unwritable_folder_is_refused_before_any_work(tmp_path):
  soundfile.write(tmp_path / 'a.wav', np.zeros(2000), 16_000)
  with pytest.raises(WorkdirError, match='cannot be written'):
    analyse.analyse(small_network('speech'), [str(tmp_path / 'a.wav')], tmp_path / 'a.wav' / 'out')


@pytest.mark.slow
def test_the_commands(exported_folder, tmp_path):
  absent = tmp_path / 'absent.wav'
  done = command('e2e_affect.predict', f'--checkpoint={exported_folder}', f'--out={tmp_path / "out"}', absent)
  assert done.returncode == 65 and done.stderr.decode().strip().splitlines()[-1].startswith(
    f'error: {absent}: not found'
  )
  done = command('e2e_affect.predict', f'--checkpoint={exported_folder}', '--stream', input=bytes(6400))
  assert done.returncode == 0 and len(done.stdout.splitlines()) == 1 + 5, done.stderr
  assert b'real-time factor' in done.stderr
  done = command('e2e_affect.export', f'--workdir={tmp_path}', f'--out={tmp_path / "e"}')
  assert done.returncode == 64 and b'config.json: not found' in done.stderr
