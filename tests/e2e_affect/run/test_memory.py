"""A batch that no machine holds."""

import pytest

from data_prep import streams
from data_prep.core.errors import UserError
from data_prep.schema.grid import Grid, PAPER
from e2e_affect.run import memory
from tests import networks


def test_the_steps_of_a_batch_are_those_of_the_data(monkeypatch):
  monkeypatch.setattr('os.sysconf', {'SC_PHYS_PAGES': 250, 'SC_PAGE_SIZE': 4000}.get)  # 1 MB
  config = networks.small_config('speech')
  config.batch_size, config.data.sequence_steps = 4, 50
  # 4 · 50 steps of 640 samples of 2 bytes are 0.256 MB; of 4000 samples 1.6 MB. Faces in the data are not read.
  memory.refuse_absurd_batch(config, streams.layout(['arousal'], PAPER, ['speech', 'visual']))
  with pytest.raises(UserError, match=r'take 0\.0016 GB, this machine has 0\.001 GB; lower --config\.batch_size'):
    memory.refuse_absurd_batch(config, streams.layout(['arousal'], Grid(0.5, 8000, 2), ['speech', 'visual']))
