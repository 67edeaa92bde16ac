"""TensorFlow's log level."""

import os
import subprocess
import sys

import pytest

REPO = __file__.rsplit('/tests/', 1)[0]


# Warnings are hidden unless somebody asked for all (0) or for less; 1 is what JAX leaves, which nobody asked for.
@pytest.mark.parametrize('before, after', [(None, '2'), ('1', '2'), ('0', '0'), ('3', '3')])
def test_tensorflow_s_warnings_are_hidden_where_nobody_asked_for_them(before, after):
  environment = {name: value for name, value in os.environ.items() if name != 'TF_CPP_MIN_LOG_LEVEL'}
  environment |= {'TF_CPP_MIN_LOG_LEVEL': before} if before else {}
  code = 'import os; from data_prep.core import quiet; print(os.environ["TF_CPP_MIN_LOG_LEVEL"])'
  done = subprocess.run([sys.executable, '-c', code], cwd=REPO, env=environment, capture_output=True, text=True)
  assert done.stdout.strip() == after
