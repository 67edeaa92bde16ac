"""The layers of pyproject.toml are kept; they are import-linter's to check."""

import pathlib
import shutil
import subprocess
import sys

from importlinter import cli
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def lint(folder):
  code = 'import sys; from importlinter import cli; sys.exit(cli.lint_imports(no_cache=True))'
  return subprocess.run([sys.executable, '-c', code], cwd=folder, capture_output=True, text=True, check=False)


def test_imports_keep_the_layers():
  done = lint(ROOT)
  assert done.returncode == cli.EXIT_STATUS_SUCCESS, done.stdout


@pytest.mark.parametrize(
  'file, line, broken',
  [
    ('e2e_affect/traces/metrics.py', 'from e2e_affect.train import loop\n', 'e2e_affect: layers BROKEN'),
    ('data_prep/schema/records.py', 'import jax\n', 'the preparation knows no JAX BROKEN'),
    ('e2e_affect/train/log.py', 'import tensorflow\n', 'imported by one file, quietly BROKEN'),
  ],
)
def test_an_import_that_points_up_is_seen(tmp_path, file, line, broken):
  for name in ('data_prep', 'e2e_affect', 'configs', 'pyproject.toml'):
    (tmp_path / name).symlink_to(ROOT / name)
  package = file.split('/')[0]
  (tmp_path / package).unlink()
  shutil.copytree(ROOT / package, tmp_path / package)
  path = tmp_path / file
  path.write_text(path.read_text() + line)
  done = lint(tmp_path)
  assert done.returncode and broken in done.stdout, done.stdout
