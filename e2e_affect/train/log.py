"""What a training tells of itself, now and then."""

import time

import jax
import numpy as np

from e2e_affect import heads


class Log:
  """Gathers what updates report and writes it now and then, so that the device need not wait for the host.

  Args:
    writer: of the record, on the first host.
    config, total_steps, targets: of the training.
    elapsed: seconds that the run took before it was started again.
  """

  def __init__(self, writer, config, total_steps, targets, elapsed=0.0):
    self._began = time.perf_counter() - elapsed
    self._writer, self._rate, self._total_steps, self._targets = writer, config.learning_rate, total_steps, targets
    self._head = heads.of(config)
    self._pending = []
    self.restart_clock()

  def restart_clock(self):
    """Begins to count anew: evaluation and saving are no time of the updates."""
    self._started, self._counted = time.perf_counter(), 0
    self._waited = 0.0

  def add(self, logged, waited):
    """Adds an update: what it logged, on the devices, and the seconds that it waited for data."""
    self._pending.append(logged)
    self._counted += 1
    self._waited += waited

  def write(self, step):
    """Writes one row for all updates since the last one."""
    rows = jax.device_get([jax.tree.map(lambda x: x[0], row) for row in self._pending])
    seconds = time.perf_counter() - self._started
    metric = self._head.metric(self._targets)
    for row in rows:
      metric = metric.merge(self._head.of_update(row['sums']))
    last = rows[-1]
    values = {
      'loss': float(np.mean([row['loss'] for row in rows])),
      **self._head.scores(metric, self._targets),
      'grad_norm': last['grad_norm'],
      'param_norm': last['param_norm'],
      'learning_rate': self._rate,
      'steps_per_second': self._counted / seconds,
      'input_wait': self._waited / seconds,
      'skipped': int(last['skipped']),
      'elapsed_seconds': time.perf_counter() - self._began,
    }
    if self._writer:
      # Evaluations, saving and compilation are a part of what is left, too.
      self._writer.write(step, 'train', values, values['elapsed_seconds'] * (self._total_steps - step) / step)
    self._pending = []
    self.restart_clock()

  def write_validation(self, step, scores):
    """Writes the scores of the validation partition after an update."""
    if self._writer:
      self._writer.write(step, 'validation', scores)
