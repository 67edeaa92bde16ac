"""`labels/NAME.csv` beside the shards: written by the workers, listed in the manifest, removed with their recording."""

import dataclasses
import hashlib
import pathlib

from data_prep.core import atomic
from data_prep.core.errors import DataError
from data_prep.corpora.recording import Corpus, Recording
from data_prep.corpora.settings import Settings
from data_prep.recordings import own_clock
from data_prep.schema.label_clock import File, FOLDER, LabelClock
from data_prep.shards import write as shards


def write(out, recording: Recording, settings: Settings) -> dict:
  """Writes a recording's labels where its corpus has a clock or units of its own.

  Returns:
    {'labels': what the manifest says of the file}, or {}.

  Raises:
    DataError: a label file is bad. WorkdirError, DiskFullError: `out` cannot be written.
  """
  own = own_clock.own_labels(recording, settings, always=any(source.parse for source in recording.labels))
  if own is None:
    return {}
  numeric = [target for target in settings.targets if target not in settings.classes]
  content = own.text(numeric).encode()
  name = f'{FOLDER}/{shards.part_stem(recording.recording)}.csv'
  atomic.write(pathlib.Path(out) / name, content)
  return {'labels': dataclasses.asdict(File(name, hashlib.sha256(content).hexdigest(), len(own.times)))}


def clock(done: dict[str, dict], corpus: Corpus) -> LabelClock | None:
  """What the manifest says of the labels of all recordings; None where the grid is their clock.

  Args:
    done: recording -> its sidecar.
    corpus: that they are of.
  """
  files = {name: File.parse(of['labels']) for name, of in sorted(done.items()) if 'labels' in of}
  return LabelClock(corpus.scorer, corpus.prediction_format, files) if files else None


def sweep(out, wanted: LabelClock | None) -> None:
  """Removes the labels of recordings that are no longer in the corpus, or are refused now."""
  kept = {file.file for file in wanted.files.values()} if wanted else set()
  for path in (pathlib.Path(out) / FOLDER).glob('*.csv'):
    if f'{FOLDER}/{path.name}' not in kept:
      path.unlink()


def copy(data, out, clock: LabelClock | None) -> None:
  """Takes the labels of a data folder over into another one.

  Raises:
    DataError: a file of labels cannot be read. WorkdirError, DiskFullError: `out` cannot be written.
  """
  for file in clock.files.values() if clock else ():
    path = pathlib.Path(data) / file.file
    try:
      content = path.read_bytes()
    except OSError as e:
      raise DataError(f'{path}: cannot be read ({e.strerror}); prepare the recordings again') from None
    atomic.write(pathlib.Path(out) / file.file, content)
  sweep(out, clock)
