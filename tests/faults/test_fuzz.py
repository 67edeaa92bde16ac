"""Short runs of `make fuzz`, and the judge of `make soak`."""

import subprocess
import sys

import pytest

from tests import soak, trainings
from tests.fuzz import kinds


@pytest.mark.parametrize('kind', ['labels', 'manifests', 'configs', 'lists'])
def test_files_with_faults_are_taken_or_refused_in_a_line(kind, tmp_path):
  assert 0 < kinds.refusals(kind, kinds.KINDS[kind][0](tmp_path), 25) < 25


@pytest.mark.long
def test_a_short_run_of_every_kind_finds_nothing():
  command = [sys.executable, '-m', 'tests.fuzz', '--count=10']
  done = subprocess.run(command, cwd=trainings.ROOT, capture_output=True, text=True, check=False, timeout=1800)
  assert done.returncode == 0, done.stderr[-3000:]
  assert [line.split()[0] for line in done.stdout.splitlines()] == ['kind', *kinds.KINDS]


def test_a_program_that_grows_or_leaves_files_open_is_told_from_one_that_is_flat():
  flat = [(float(k), 500.0 + k % 3, 20 + k % 2) for k in range(100)]
  warming = [(k, 100.0 if k < 15 else mb, files) for k, mb, files in flat]
  growing = [(k, mb + k, files) for k, mb, files in flat]  # from 530 to 590: 11 %
  leaking = [(k, mb, files + int(k) // 10) for k, mb, files in flat]
  assert [soak.verdict(rows)[2] for rows in (flat, warming, growing, leaking)] == [True, True, False, False]
