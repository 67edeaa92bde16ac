"""The report: its numbers, its safety, and the command."""

import html.parser
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from data_prep.core.errors import DataError
from e2e_affect.report import __main__, comparison, run_report
from tests.networks import BAND

PNG = b'\x89PNG not a real image'


def stage(arousal, valence):
  return {
    'ccc': {'arousal': arousal, 'valence': valence},
    'ccc_recording_mean': {'arousal': 0.111, 'valence': 0.222},
    'ccc_interval': {'arousal': [0.333, 0.444], 'valence': None},
    'rmse': {'arousal': 0.055, 'valence': 0.066},
    'pearson': {'arousal': 0.777, 'valence': -0.888},
  }


def step(kept=False, ccc=0.5, **numbers):
  return {'kept': kept, **numbers, 'ccc': ccc}


def make_results():
  counts = {'recordings': 3, 'subjects': 2, 'scored_steps': 7500, 'recordings_without_labels': []}
  of_target = {
    'ccc_raw': 0.5,
    'median_filter': step(steps=11),
    'centring': step(True, 0.6, bias=0.1),
    'scaling': step(factor=1.2, mean=0.0),
    'time_shift': step(True, 0.7, steps=50),
  }
  return {
    'validation': {'raw': stage(0.70, 0.35), 'postprocessed': stage(0.752, 0.406), **counts},
    'test': {'raw': stage(0.65, 0.3), 'postprocessed': stage(0.699, 0.311), **counts},
    'postprocessing': {
      'fitted_on': 'validation',
      'min_gain': 0.02,
      'targets': {'arousal': of_target, 'valence': of_target},
    },
    'checkpoint': {'step': 1234, 'path': 'checkpoints/1234'},
  }


def make_run(folder, results=None, config=None):
  (folder / 'figures').mkdir(parents=True)
  (folder / 'results.json').write_text(json.dumps(results or make_results()))
  (folder / 'figures' / 'test_trace.png').write_bytes(PNG)
  if config is not None:
    (folder / 'config.json').write_text(json.dumps(config))
  return folder


class Page(html.parser.HTMLParser):
  """Collects tags and text, and checks that tags are closed in order."""

  def __init__(self, content):
    super().__init__()
    self.tags, self.text, self.sources, self._open = [], '', [], []
    self.feed(content)
    assert not self._open

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.sources += [value for name, value in attrs if name in ('src', 'href')]
    if tag not in ('meta', 'img', 'br'):
      self._open.append(tag)

  def handle_endtag(self, tag):
    assert self._open.pop() == tag

  def handle_data(self, data):
    self.text += data + '\n'


def read_page(path):
  return Page(pathlib.Path(path).read_text(encoding='utf-8'))


def test_pages_of_simulated_people_say_so(tmp_path):
  runs = [make_run(tmp_path / name) for name in ('drawn', 'people')]
  grid = {'step_seconds': 0.04, 'sample_rate': 16000, 'steps_per_record': 25}
  for run, simulated in zip(runs, (True, False), strict=True):
    about = {
      'targets': ['arousal', 'valence'],
      'label_scale': {},
      'preparation': {'simulated': simulated},
      'partitions': {},
      'grid': grid,
    }
    (run / 'dataset.json').write_text(json.dumps(about))
    text = run_report.write_report(run).read_text()
    assert ('<p class="warning">Simulated people' in text) == ('nobody: voices and faces drawn' in text) == simulated
    assert ('who they are, their language, and whether they act' in text) != simulated
  results = [(run.name, make_results()) for run in runs]
  assert 'Simulated people' in comparison.comparison(results, runs, tmp_path / 'page.html')
  assert 'Simulated people' not in comparison.comparison(results[1:], runs[1:], tmp_path / 'page.html')


def test_report_of_a_run(tmp_path):
  run = make_run(tmp_path / 'speech', config={'seed': 3, 'model': {'speech': {'dropout': 0.5}, 'sizes': [1, 2]}})
  path = run_report.write_report(run)
  assert path == run / 'report.html'
  page = read_page(path)
  for text in (
    'CCC on test, post-processed: arousal 0.699, valence 0.311 (3 recordings, 2 subjects)',
    '0.752',
    '0.333…0.444',
    '−0.888',
    '0.055',
    '7,500 steps',  # the table
    'Shifted 2.00 s later: validation CCC 0.600 → 0.700.',
    'model.speech.dropout',
    '[1, 2]',
    '1234',
  ):
    assert text in page.text, text
  assert page.text.index('Test') < page.text.index('Validation')
  # Nothing is fetched: the only source is the embedded image.
  assert len(page.sources) == 1 and page.sources[0].startswith('data:image/png;base64,')
  content = path.read_text(encoding='utf-8')
  assert 'http' not in content and '@import' not in content and 'url(' not in content
  assert 'prefers-color-scheme: dark' in content and 'name="viewport"' in content


def with_band_and_groups():
  results = make_results()
  results['postprocessing']['band'] = BAND
  results['validation']['coverage'] = {'arousal': 0.903, 'valence': 0.904}
  results['test']['coverage'] = {'arousal': 0.871, 'valence': 0.862}
  one = {'subjects': 1, 'recordings': 2, 'score': stage(0.51, 0.52), 'coverage': {'arousal': 0.721, 'valence': 0.722}}
  results['test']['groups'] = {
    'subject': {'groups': {'P1': one, 'P2': one}, 'few': ['P1', 'P2']},
    'sex': {'groups': {'female': {**one, 'subjects': 9, 'recordings': 9}, 'male': one}, 'few': ['male']},
    'age': {'groups': {}, 'values': 43},
  }
  return results


def test_band_and_groups_of_people(tmp_path):
  page = read_page(run_report.write_report(make_run(tmp_path / 'run', with_band_and_groups())))
  for text in (
    'How far off it may be',
    'in the band, test',
    'in the band, validation',
    '0.871',
    '0.904',
    'of the 9 people of validation, each weighing the same, and each post-processed by what was fitted to the others.',
    'A new person of their kind is expected to have from 81 to 91 % of the steps inside',
    'valence: wider than the band of always saying the mean, ±0.400: of a single moment nothing is known.',
    'Groups of people',
    'Each is one person: the numbers are about that person alone, and have no interval.',
    '9 subjects, 9 recordings',
    '1 subject, 2 recordings',
    'Too small to say anything of: male (1 subject); 5 people are needed.',
    '43 values are too many for groups; give ranges, as “20 to 29”.',
    '0.721',
  ):
    assert text in page.text, text
  assert page.text.index('Groups of people') < page.text.index('What the numbers mean')
  # Neither in results of earlier versions, nor of heads that have no band.
  old = read_page(run_report.write_report(make_run(tmp_path / 'old')))
  assert 'How far off' not in old.text and 'Groups of people' not in old.text
  few = make_results()
  few['postprocessing']['band'] = {'level': 0.9, 'subjects': 2, 'reason': 'validation has labels of 2 people; …'}
  page = read_page(run_report.write_report(make_run(tmp_path / 'few', few)))
  assert 'There is no 90 % band: validation has labels of 2 people' in page.text and 'half width' not in page.text


def test_everything_is_escaped(tmp_path):
  evil = '<script>alert("1")</script>'
  results = json.dumps(with_band_and_groups())
  for word in ('arousal', 'sex', 'female'):
    results = results.replace(word, json.dumps(evil)[1:-1])
  results = json.loads(results)
  results['checkpoint'] = {evil: evil}
  results['test']['recordings_without_labels'] = [evil]
  results['validation']['reason'] = evil
  results[f'extra{evil}'] = results['validation']
  run = make_run(tmp_path / "a'&<b>", results, config={evil: {evil: [evil]}})
  out = tmp_path / 'out.html'
  __main__.report([str(run)], str(out))
  for path in (run / 'report.html', out):
    page = read_page(path)
    assert not {'script', 'b>'} & set(page.tags)
    assert "a'&<b>" in page.text
  assert evil in read_page(run / 'report.html').text


def test_not_postprocessed_and_not_labelled(tmp_path):
  results = make_results()
  results['postprocessing'] = {'fitted_on': None, 'reason': 'the validation partition has no labels'}
  results['validation'].update(raw=None, postprocessed=None, reason='no labels in this partition')
  results['test'].update(postprocessed=None, reason='not post-processed: the validation partition has no labels')
  page = read_page(run_report.write_report(make_run(tmp_path / 'run', results)))
  assert 'CCC on test, raw: arousal 0.650' in page.text
  assert 'validation: no labels in this partition' in page.text
  assert 'Not fitted: the validation partition has no labels.' in page.text
  assert comparison.table_vi([('run', results)], 'postprocessed') == [
    ['', 'arousal', 'valence'],
    ['run', '– (–)', '– (–)'],
  ]
  assert comparison.table_vi([('run', results)], 'raw')[1] == ['run', '0.650 (–)', '0.300 (–)']
  results['test'].update(raw=None)
  assert 'predictions only' in read_page(run_report.write_report(make_run(tmp_path / 'none', results))).text


def test_what_was_not_scored_is_not_counted(tmp_path):
  results = make_results()
  results['test'].update(recordings=2, recordings_without_labels=['b'], scored_subjects=1)
  results['test']['raw']['pearson']['arousal'] = None
  page = read_page(run_report.write_report(make_run(tmp_path / 'run', results)))
  assert 'valence 0.311 (1 of 2 recordings scored, 1 subject)' in page.text
  assert '1 of 2 recordings scored, 1 subject, 7,500 steps' in page.text
  assert 'test: no 95 % interval, too few subjects with labels (two needed)' in page.text
  assert (
    page.text.count('–\n') == 1 + 4
  )  # Pearson of a constant; valence has no interval in two partitions, two stages each


def test_missing_config_and_figures(tmp_path):
  run = make_run(tmp_path / 'run')
  (run / 'figures' / 'test_trace.png').unlink()
  page = read_page(run_report.write_report(run))
  assert 'img' not in page.tags and 'Configuration' not in page.text and 'Figures' not in page.text


def test_table_vi():
  other = make_results()
  for partition in ('validation', 'test'):
    for name in ('raw', 'postprocessed'):
      other[partition][name]['ccc'] = {'valence': -0.25, 'liking': 0.125}
  assert comparison.table_vi([('speech', make_results()), ('other', other)], 'postprocessed') == [
    ['', 'arousal', 'valence', 'liking'],
    ['speech', '0.699 (0.752)', '0.311 (0.406)', '– (–)'],
    ['other', '– (–)', '−0.250 (−0.250)', '0.125 (0.125)'],
  ]


def test_damaged_config(tmp_path):
  run = make_run(tmp_path / 'run')
  (run / 'config.json').write_text('{')
  with pytest.raises(DataError, match='config.json: damaged'):
    run_report.write_report(run)


def command(*args):
  root = pathlib.Path(run_report.__file__).parents[2]
  return subprocess.run(
    [sys.executable, '-m', 'e2e_affect.report', *map(str, args)],
    cwd=root,
    capture_output=True,
    text=True,
    encoding='utf-8',
  )


def test_command(tmp_path):
  runs = [make_run(tmp_path / name) for name in ('speech', 'fused')]
  out = tmp_path / 'pages' / 'all.html'
  done = command(*runs, f'--out={out}')
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines() == [
    f'speech: {runs[0]}/results.json, {runs[0]}/report.html',
    f'fused: {runs[1]}/results.json, {runs[1]}/report.html',
    '',
    'CCC on test, validation in parentheses; post-processed',
    '              arousal        valence',
    'speech  0.699 (0.752)  0.311 (0.406)',
    'fused   0.699 (0.752)  0.311 (0.406)',
    '',
    'CCC on test, validation in parentheses; raw',
    '              arousal        valence',
    'speech  0.650 (0.700)  0.300 (0.350)',
    'fused   0.650 (0.700)  0.300 (0.350)',
    '',
    f'comparison: {out}',
  ]
  page = read_page(out)
  links = [s for s in page.sources if not s.startswith('data:')]
  assert links == ['../speech/report.html', '../fused/report.html']
  assert all((out.parent / link).is_file() for link in links)
  assert '0.699 (0.752)' in page.text
  for absent in ('steps below', '95 %', 'RMSE', 'per recording'):  # of the report of one run
    assert absent not in page.text


def test_runs_of_one_name_are_told_apart(tmp_path, capsys):
  runs = [make_run(tmp_path / seed / 'speech') for seed in ('seed0', 'seed1')]
  __main__.report([*map(str, runs)])
  printed = capsys.readouterr().out
  assert re.search(rf'^{re.escape(str(runs[1]))} +0\.699 \(0\.752\)', printed, re.MULTILINE)


def test_errors_of_the_command(tmp_path):
  done = command(tmp_path / 'absent')
  assert done.returncode == 65 and done.stdout == ''
  assert done.stderr == (
    f'error: {tmp_path}/absent/results.json: not found; let the training end, or evaluate with `--mode=evaluate`\n'
  )
  assert command('--help').returncode == 0


@pytest.mark.slow
def test_a_report_that_nobody_reads_or_no_disk_takes_is_written_all_the_same(tmp_path):
  run = make_run(tmp_path / 'speech')
  arguments = [sys.executable, '-m', 'e2e_affect.report', run]
  root = pathlib.Path(run_report.__file__).parents[2]
  kwargs = {'cwd': root, 'stderr': subprocess.PIPE, 'text': True, 'check': False}
  read, write = os.pipe()
  os.close(read)
  done = subprocess.run([*arguments, f'--out={tmp_path}/all.html'], stdout=write, **kwargs)
  os.close(write)
  assert (done.returncode, done.stderr) == (0, '') and (tmp_path / 'all.html').is_file()
  with open('/dev/full', 'w', encoding='utf-8') as full:
    done = subprocess.run(arguments, stdout=full, **kwargs)
  assert done.returncode == 74 and done.stderr.startswith('error: standard output: no space left')
  (tmp_path / 'loop').symlink_to('loop')
  done = command(run, f'--out={tmp_path}/loop/all.html')
  assert done.returncode == 73 and done.stderr.startswith(f'error: {tmp_path}/loop/all.html: cannot be written')
