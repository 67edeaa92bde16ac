"""Training batches to the devices: streamed from disk or host memory, or gathered from what lies on the devices."""

from collections.abc import Iterator
import time

from absl import logging
from flax import jax_utils
import jax
import ml_collections

from data_prep.core.errors import UserError
from data_prep.schema.manifest import Manifest
from e2e_affect.input import pipeline

_PREFETCH = 2  # batches on their way while the devices work
_MOST_OF_DEVICE = 0.5  # of its memory; the rest is for the network


def device_batches(
  config: ml_collections.ConfigDict, manifest: Manifest, first_step: int, last_step: int, batch_size: int
) -> Iterator[dict[str, jax.Array]]:
  """The batches of `pipeline.train_batches`, [devices, b / devices, …], whatever `config.data.cache` is.

  Raises:
    UserError: the corpus does not fit on a device.
  """
  updates = pipeline.Updates(first_step, last_step, batch_size, jax.process_index(), jax.process_count())
  if not config.data.cache:
    return _stream(pipeline.train_batches(config, manifest, updates))
  started = time.perf_counter()
  corpus = pipeline.read_corpus(config, manifest)
  gigabytes = sum(values.nbytes for values in corpus.values()) / 1e9
  logging.info(
    '%d sequences decoded in %.1f s, %.3g GB of %s memory',
    len(corpus['label']) - 1,
    time.perf_counter() - started,
    gigabytes,
    config.data.cache,
  )
  if config.data.cache == 'host':
    return _stream(pipeline.cached_train_batches(config, manifest, corpus, updates))
  # A CPU tells no limit: there the corpus is in host memory already.
  limit = (jax.local_devices()[0].memory_stats() or {}).get('bytes_limit', float('inf')) / 1e9
  if gigabytes > _MOST_OF_DEVICE * limit:
    raise UserError(
      f"config.data.cache = 'device': the corpus takes {gigabytes:.3g} GB, more than half of the "
      f'{limit:.3g} GB of {jax.local_devices()[0].device_kind}; set --config.data.cache=host'
    )
  corpus = jax_utils.replicate(corpus)
  gather = jax.pmap(lambda corpus, window: {name: values[window] for name, values in corpus.items()})
  order = _stream(pipeline.train_order(config, manifest, updates))
  return (gather(corpus, rows['window']) | {'index': rows['index']} for rows in order)


def _stream(batches):
  return jax_utils.prefetch_to_device((_spread(batch) for batch in batches), _PREFETCH)


def _spread(batch):
  """[b, …] -> [devices, b / devices, …]."""
  return {name: value.reshape(jax.local_device_count(), -1, *value.shape[1:]) for name, value in batch.items()}
