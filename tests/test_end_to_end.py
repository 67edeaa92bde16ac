"""The whole path as `make demo` goes it, on a corpus of three subjects and for a handful of updates."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from data_prep.schema.manifest import Manifest
from data_prep.simulate import embedded


def run(*arguments, cwd=None):
  done = subprocess.run(
    [sys.executable, '-m', *map(str, arguments)],
    capture_output=True,
    text=True,
    check=False,
    cwd=cwd,
    env={**os.environ, 'XLA_FLAGS': ''},
  )
  assert done.returncode == 0, done.stderr[-3000:]
  return done


@pytest.mark.slow
def test_recordings_to_report(tmp_path):
  source, shards = tmp_path / 'recordings', tmp_path / 'shards'
  run('data_prep.simulate', f'--out={source}', '--subjects=4', '--seconds=12')
  run('data_prep.prepare', '--corpus=recola', f'--source={source}', f'--out={shards}')
  assert 'all shards are what the manifest says' in run('data_prep.shards', f'--verify={shards}').stdout

  # 2 train subjects of 12 s: 4 sequences of 6 s, one batch an epoch.
  for name, extra in (
    ('speech', []),
    ('visual', []),
    ('fused', [f'--config.init_from.{m}={tmp_path / m}' for m in ('speech', 'visual')]),
  ):
    done = run(
      'e2e_affect.main',
      f'--config=configs/{name}.py:demo',
      f'--workdir={tmp_path / name}',
      f'--config.data.dir={shards}',
      '--config.total_steps=2',
      '--config.log_every_steps=1',
      *extra,
    )
    for word in ('loss', 'ccc_arousal', 'grad_norm', 'learning_rate', 'updates/s'):
      assert word in done.stderr
  assert 'speech: features of' in done.stderr and 'visual: features of' in done.stderr

  done = run(
    'e2e_affect.report',
    *(tmp_path / name for name in ('speech', 'visual', 'fused')),
    f'--out={tmp_path / "report.html"}',
  )
  for name in ('speech', 'visual', 'fused'):
    results = json.loads((tmp_path / name / 'results.json').read_text())
    assert set(results) >= {'validation', 'test', 'postprocessing', 'checkpoint'}
    assert results['test']['scored_steps'] == 300
    shown = f'{results["test"]["postprocessed"]["ccc"]["arousal"]:.3f} ('.replace('-', '−')  # as print sets numbers
    assert shown in done.stdout
  assert '<html' in (tmp_path / 'report.html').read_text()


@pytest.mark.slow
def test_the_default_data_is_made_where_it_is_absent(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(embedded, 'SUBJECTS', 3)
  monkeypatch.setattr(embedded, 'SECONDS', 5)
  embedded.make_if_absent(embedded.DEFAULT_DIR)
  manifest = Manifest.read(embedded.DEFAULT_DIR)
  assert {s.partition for s in manifest.shards} == {'train', 'validation', 'test'}
  before = (tmp_path / embedded.DEFAULT_DIR / 'manifest.json').stat().st_mtime_ns
  embedded.make_if_absent(embedded.DEFAULT_DIR)  # there already: left alone
  assert (tmp_path / embedded.DEFAULT_DIR / 'manifest.json').stat().st_mtime_ns == before


def test_another_folder_is_never_filled(tmp_path):
  embedded.make_if_absent(str(tmp_path / 'mine'))
  assert not (tmp_path / 'mine').exists()


def test_a_second_process_waits_for_the_embedded_corpus(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  folder, made = embedded.DEFAULT_DIR, []

  def make(path):
    made.append(path)
    time.sleep(0.3)
    (tmp_path / path / 'manifest.json').touch()

  monkeypatch.setattr(embedded, 'make', make)
  threads = [threading.Thread(target=embedded.make_if_absent, args=(folder,)) for _ in range(2)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert made == [folder]
  assert 'another process is making the embedded simulated corpus there; waiting' in capsys.readouterr().err
