"""JSON that this program wrote, and what else may stand in its place."""

import pytest

from data_prep.core import json_text
from data_prep.core.errors import UserError
from data_prep.schema.manifest import Manifest
from data_prep.shards import write
from e2e_affect.clips import exported
from e2e_affect.evaluate import results
from e2e_affect.run import metric_writer, workdir

READERS = {
  'manifest.json': Manifest.read,
  '.parts/names.json': write.names,
  'config.json': lambda folder: workdir.read_config(str(folder)),
  'dataset.json': lambda folder: workdir.read_dataset(str(folder)),
  'results.json': results.read_results,
  'metrics.jsonl': metric_writer.read_metrics,
  'network.json': exported.load,
}


def test_what_is_no_json_is_a_value_error():
  assert json_text.parse(b'{"a": [1.5, null]}') == {'a': [1.5, None]}
  for text in (b'', b'{', b'\xff', '[' * 100_000):
    with pytest.raises(ValueError):
      json_text.parse(text)


@pytest.mark.parametrize('content', [b'[' * 100_000, b'[' * 900 + b']' * 900, b'[]', b'7', b'"\xff"', b'{'])
@pytest.mark.parametrize('name', READERS)
def test_every_file_of_ours_that_says_nonsense_is_named_in_one_line(tmp_path, name, content):
  (tmp_path / name).parent.mkdir(exist_ok=True)
  (tmp_path / name).write_bytes(content + b'\n')
  with pytest.raises(UserError) as error:
    READERS[name](tmp_path)
  assert name in str(error.value) and '\n' not in str(error.value) and len(str(error.value)) < 600
