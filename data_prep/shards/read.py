"""Reads shards back, record by record."""

from collections.abc import Iterator

from data_prep.core.errors import DataError
from data_prep.schema import records
from data_prep.schema.fields import Layout
from data_prep.shards import tfrecord


def read_shard(path, layout: Layout) -> Iterator[records.Record]:
  """Yields the records of a shard in order.

  Raises:
    DataError: it is absent or damaged.
  """
  from data_prep.core.quiet_tf import tf

  try:
    for k, data in enumerate(tfrecord.read(path)):
      try:
        yield records.decode(data, layout)
      except records.Fault as e:
        raise DataError(f'{path}: record {k}: {e}; run `python -m data_prep.shards --verify`') from None
  except tf.errors.OpError as e:
    raise DataError(f'{path}: {tfrecord.reason(e)}; run `python -m data_prep.shards --verify`') from None
