"""What turns a partition into traces: the trained network, or any other predictor."""

from collections.abc import Callable, Iterator
import dataclasses
import io
import math
from typing import Protocol

import jax
from jax.experimental import multihost_utils
import ml_collections
import numpy as np

from data_prep.schema.grid import Grid
from data_prep.schema.manifest import Manifest
from data_prep.streams import speech
from e2e_affect import heads
from e2e_affect.evaluate import chunks
from e2e_affect.input import pipeline, recordings
from e2e_affect.layers import recurrent
from e2e_affect.models import devices
from e2e_affect.streams import absence
from e2e_affect.traces import postprocess
from e2e_affect.traces.traces import Trace

_USUAL_SECONDS = 10.0  # of a chunk, as in the configs
_MOST_TOGETHER = 4  # recordings on a device: with more, a partition of nine would leave the second host nothing to do
_EXCHANGED = ('recording', 'subject', 'prediction', 'gold', 'mask', 'face_found', 'loudness', 'face_size')  # by hosts


class Predictor(Protocol):
  """Turns a partition into traces; `results.evaluate_traces` scores them whatever made them."""

  def predict(self, partition: str) -> list[Trace]:
    """A trace per recording of 'train', 'validation' or 'test', sorted by name; none where the partition is empty.

    Of several hosts only the first gets them.
    """


@dataclasses.dataclass(frozen=True)
class NetworkPredictor:
  """A trained network over the recordings of a corpus.

  Attributes:
    variables: of the network, replicated over the local devices.
    eval_step: pmapped, of `chunks.over_devices`.
    config: the whole config.
    manifest: of `config.data.dir`.
    without: streams that are taken away from every recording.
    look: called before each chunk; what it raises ends the prediction.
  """

  variables: dict
  eval_step: Callable
  config: ml_collections.ConfigDict
  manifest: Manifest
  without: tuple[str, ...] = ()
  look: Callable[[], None] = lambda: None

  def predict(self, partition: str) -> list[Trace]:
    """All traces of `each_trace`, sorted by name; of several hosts the others than the first get an empty list."""
    traces = self.each_trace(partition)
    if jax.process_index():
      for _ in traces:  # takes part in the exchange, and keeps nothing
        pass
      return []
    return sorted(traces, key=lambda trace: trace.recording)

  def each_trace(self, partition: str) -> Iterator[Trace]:
    """Predicts every step of every recording of a partition, whole and in order.

    Each device takes some recordings at a time, in chunks; the recurrent state goes on from chunk to chunk, so that
    the chunks' length changes nothing. Each host predicts some of the recordings and gets the traces of all, a group of
    each host at a time. Whatever the number of devices and hosts, order and traces are the same to the last bit.

    Args:
      partition: 'train', 'validation' or 'test'.

    Yields:
      A trace per recording, the shortest first; none where the partition is empty.
    """
    config, manifest = self.config, self.manifest
    of_partition = recordings.recordings(manifest, config.data.dir, partition)
    each = _together(config, manifest, len(of_partition))
    places = jax.local_device_count() * each
    by_length = sorted(of_partition, key=lambda recording: recording.records)
    groups = [by_length[start : start + places] for start in range(0, len(by_length), places)]
    hosts = jax.process_count()
    for first in range(0, len(groups), hosts):
      mine = groups[first : first + hosts][jax.process_index() :][:1]
      traces = [trace for group in mine for trace in self._of_group(group, partition, each)]
      yield from _of_all_hosts(traces, partition, manifest.grid)

  def _of_group(self, group, partition, each) -> list[Trace]:
    """Traces of recordings that the devices of this host take at once, `each` on every one of them."""
    config, manifest, devices_here = self.config, self.manifest, jax.local_device_count()
    places, options, head = devices_here * each, config.model.recurrent, heads.of(config)
    on_devices = lambda value: value.reshape(devices_here, each, *value.shape[1:])
    carry = devices.replicate(recurrent.initial_carry(each, options.layers + options.pool, options.units))
    rows: list[dict[str, np.ndarray]] = []
    loudness: list[float] = []

    def inputs():
      context = chunks.context_steps(config.model, manifest.grid)
      for batch in pipeline.evaluation_batches(config, manifest, group, places, context):
        self.look()
        network_inputs, core = chunks.split(batch, context, config.model, manifest)
        if not rows and 'audio_std' in network_inputs:  # of whole recordings: later chunks repeat it
          level = (network_inputs['audio_std'], network_inputs['audio_gain'])
          loudness.extend(speech.loudness(float(std), float(gain)) for std, gain in zip(*level, strict=True))
        network_inputs = absence.without(network_inputs, self.without)
        rows.append({name: core[name] for name in ('label', 'mask', 'face_found')})
        yield {name: on_devices(value) for name, value in network_inputs.items()}

    prediction = np.concatenate(list(chunks.predict(self.eval_step, self.variables, inputs(), carry)), axis=2)
    whole = {
      'prediction': prediction.reshape(places, *prediction.shape[2:]),
      **{name: np.concatenate([row[name] for row in rows], axis=1) for name in rows[0]},
    }
    traces = []
    for place, recording in enumerate(group):
      of = {name: value[place, : recording.steps] for name, value in whole.items()}
      traces.append(
        Trace(
          recording=recording.name,
          subject=recording.subject,
          partition=partition,
          prediction=head.prediction(postprocess.time_shift(of['prediction'], config.data.label_delay_steps)),
          gold=of['label'],
          mask=of['mask'],
          face_found=of['face_found'],
          grid=manifest.grid,
          loudness=loudness[place] if loudness else math.nan,
          face_size=manifest.face_size.get(recording.name, math.nan),
        )
      )
    return traces


def _of_all_hosts(traces: list[Trace], partition: str, grid: Grid) -> list[Trace]:
  """Each host gives its own traces; all get the same list, in the order of the hosts."""
  if jax.process_count() == 1:
    return traces
  data = io.BytesIO()
  np.savez(data, **{f'{i} {name}': getattr(trace, name) for i, trace in enumerate(traces) for name in _EXCHANGED})
  mine = np.frombuffer(data.getvalue(), np.uint8)
  sizes = multihost_utils.process_allgather(np.array(len(mine)))
  filled = np.zeros(1 << (int(sizes.max()) - 1).bit_length(), np.uint8)  # each length compiles a program
  filled[: len(mine)] = mine
  found = []
  for whole, size in zip(multihost_utils.process_allgather(filled), sizes, strict=True):
    with np.load(io.BytesIO(whole[:size].tobytes()), allow_pickle=False) as arrays:
      for i in range(len(arrays.files) // len(_EXCHANGED)):
        recording, subject, prediction, gold, mask, face, loudness, size = (
          arrays[f'{i} {name}'] for name in _EXCHANGED
        )
        found.append(
          Trace(
            str(recording), str(subject), partition, prediction, gold, mask, face, grid, float(loudness), float(size)
          )
        )
  return found


def _together(config, manifest, count) -> int:
  """How many of `count` recordings a device takes at a time: as many steps at once as training has, and few.

  Nothing of it follows from the devices: each recording has the same place in the same compiled shape on any number of
  them, or products would be summed in another order.

  Chunks shorter than usual are no reason for more: who lowers `evaluate_chunk_seconds` lacks memory.
  """
  usual = round(_USUAL_SECONDS / manifest.grid.record_seconds)
  records = max(recordings.records_per_chunk(config, manifest), min(recordings.longest_records(manifest), usual), 1)
  chunk = records * manifest.grid.steps_per_record
  return max(1, min(config.batch_size * config.data.sequence_steps // chunk, _MOST_TOGETHER, count))
