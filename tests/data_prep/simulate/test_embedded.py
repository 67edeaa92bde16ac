"""The embedded corpus: made where it is absent, by one process, in no other folder."""

import threading
import time

import pytest

from data_prep.schema.manifest import Manifest
from data_prep.simulate import embedded


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
