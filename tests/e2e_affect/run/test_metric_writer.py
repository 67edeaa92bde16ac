"""The record of a run: strict JSON, each step once after a kill, TensorBoard events, one log line."""

import json
import logging as std_logging
import math
import subprocess
import sys

from absl import logging
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from data_prep.core.errors import DataError, WorkdirError
from e2e_affect.run.metric_writer import METRICS_FILE, MetricWriter, read_metrics


def write_steps(writer, steps, value=0.5):
  for step in steps:
    writer.write(step, 'train', {'loss': value})


def test_rows(tmp_path):
  writer = MetricWriter(tmp_path / 'run')
  writer.write(10, 'train', {'loss': np.float32(0.25), 'ccc_arousal': 0.5, 'input_wait': 0})
  writer.write(10, 'validation', {'ccc_mean': np.float64(0.75), 'epoch': 2})
  writer.close()
  lines = (tmp_path / 'run' / METRICS_FILE).read_text().splitlines()
  assert [json.loads(line) for line in lines] == [
    {'step': 10, 'kind': 'train', 'loss': 0.25, 'ccc_arousal': 0.5, 'input_wait': 0},
    {'step': 10, 'kind': 'validation', 'ccc_mean': 0.75, 'epoch': 2},
  ]
  assert read_metrics(tmp_path / 'run') == [json.loads(line) for line in lines]


def test_readable_while_running(tmp_path):
  writer = MetricWriter(tmp_path)
  write_steps(writer, [1, 2])
  assert [row['step'] for row in read_metrics(tmp_path)] == [1, 2]
  writer.close()


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf, np.float32('nan')])
def test_not_finite_is_null(tmp_path, value):
  writer = MetricWriter(tmp_path)
  writer.write(1, 'train', {'loss': value, 'grad_norm': 2.0})
  writer.close()
  line = (tmp_path / METRICS_FILE).read_text()
  row = json.loads(line, parse_constant=lambda c: pytest.fail(f'{c} is not JSON'))
  assert row == {'step': 1, 'kind': 'train', 'loss': None, 'grad_norm': 2.0}
  assert math.isnan(read_metrics(tmp_path)[0]['loss'])


def test_killed_and_resumed_has_each_step_once(tmp_path):
  writer = MetricWriter(tmp_path)
  write_steps(writer, [10, 20, 30, 40], value=0.5)
  writer.write(40, 'validation', {'ccc_mean': math.nan})
  write_steps(writer, [50], value=0.5)
  writer.close()
  with (tmp_path / METRICS_FILE).open('a') as f:
    f.write('{"step": 60, "kind": "tr')  # the kill came in the middle of a line
  assert len(read_metrics(tmp_path)) == 6

  writer = MetricWriter(tmp_path)
  writer.truncate_after(20)  # the newest checkpoint
  write_steps(writer, [30, 40], value=0.25)
  writer.close()
  assert [(row['step'], row['loss']) for row in read_metrics(tmp_path)] == [
    (10, 0.5),
    (20, 0.5),
    (30, 0.25),
    (40, 0.25),
  ]


def test_resume_keeps_the_validation_row_of_its_step(tmp_path):
  writer = MetricWriter(tmp_path)
  write_steps(writer, [20])
  writer.write(20, 'validation', {'ccc_mean': math.nan})
  writer.truncate_after(20)
  writer.close()
  assert [row['kind'] for row in read_metrics(tmp_path)] == ['train', 'validation']
  assert 'NaN' not in (tmp_path / METRICS_FILE).read_text()


def test_from_scratch_drops_all(tmp_path):
  writer = MetricWriter(tmp_path)
  write_steps(writer, [1, 2])
  writer.close()
  writer = MetricWriter(tmp_path)
  writer.truncate_after(0)
  writer.close()
  assert read_metrics(tmp_path) == []


def test_damaged_line_is_named(tmp_path):
  (tmp_path / METRICS_FILE).write_text('{"step": 1, "kind": "train"}\n{"step": 2, "ki\n{"step": 3, "kind": "train"}\n')
  with pytest.raises(DataError, match=r'metrics.jsonl: line 2 is damaged'):
    read_metrics(tmp_path)
  for line in ('[]', '{"kind": "train"}', '{"step": "x", "kind": "train"}', '{"step": 1e999, "kind": "train"}'):
    (tmp_path / METRICS_FILE).write_text(line + '\n')
    with pytest.raises(DataError, match='line 1'):
      read_metrics(tmp_path)


def test_no_record_yet(tmp_path):
  assert read_metrics(tmp_path) == []


def test_unwritable_folder(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(WorkdirError, match='choose another folder'):
    MetricWriter(tmp_path / 'file' / 'run')


_FULL_DISK = """
import resource, sys
from data_prep.core.errors import DiskFullError
from e2e_affect.run.metric_writer import MetricWriter
writer = MetricWriter(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
  for step in range(1, 200):
    writer.write(step, 'train', dict.fromkeys('abc', 0.5))
except DiskFullError as e:
  print(step, e)
"""


def test_a_full_disk_ends_the_record_in_one_line(tmp_path):
  done = subprocess.run(
    [sys.executable, '-c', _FULL_DISK, tmp_path], capture_output=True, text=True, check=False, timeout=60
  )
  # A row is 3 events of 8 + 4 + ~30 + 4 bytes: 4000 bytes hold about 29 rows.
  assert 15 < int(done.stdout.split()[0]) < 40 and 'metrics.jsonl: no space left' in done.stdout, done
  assert not done.stderr and len(read_metrics(tmp_path)) >= 15


def read_events(path):
  """TFRecord framing: length (8), its checksum (4), the event, its checksum (4)."""
  data, at, events = path.read_bytes(), 0, []
  while at < len(data):
    length = int.from_bytes(data[at : at + 8], 'little')
    events.append(event_pb2.Event.FromString(data[at + 12 : at + 12 + length]))
    at += 16 + length
  return events


def test_tensorboard_events(tmp_path):
  writer = MetricWriter(tmp_path)
  writer.truncate_after(20)
  writer.write(30, 'train', {'loss': 0.25, 'grad_norm': math.nan})
  writer.write(30, 'validation', {'ccc_mean': 0.75})
  writer.close()
  events = [e for path in tmp_path.glob('events.out.tfevents.*') for e in read_events(path)]
  scalars = [(e.step, v.tag, v.simple_value) for e in events for v in e.summary.value]
  assert scalars == [(30, 'train/loss', 0.25), (30, 'validation/ccc_mean', 0.75)]
  # TensorBoard hides what other files of the folder say of step 21 and later.
  assert [e.step for e in events if e.session_log.status == e.session_log.START] == [21]


def test_log_line(tmp_path, caplog):
  logging.get_absl_logger().propagate = True
  with caplog.at_level(std_logging.INFO, logger='absl'):
    writer = MetricWriter(tmp_path)
    writer.write(1200, 'train', {'loss': 0.412345, 'epoch': 3, 'steps_per_second': 2.5}, seconds_left=3725)
    writer.close()
  # 3725 s = 62.08 min, rounded up to 63 = 1 h 03 min
  assert caplog.messages[-1] == 'update 1200  train  loss 0.4123  epoch 3  2.5 updates/s  1 h 03 min left'
