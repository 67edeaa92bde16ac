"""Fixtures of the tests of weight files."""

import pytest


@pytest.fixture(scope='module')
def torch():
  return pytest.importorskip('torch', reason='compares with PyTorch, which `make install EXTRAS=test,dev` installs')
