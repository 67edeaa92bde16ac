"""Own data: a CSV manifest `recording,subject,partition,video,audio,labels[,boxes][,landmarks][,ecg][,eda][,…]`.

One row per recording.

Paths are relative to the manifest and stay inside its folder. `video` or `audio` may be empty (without `audio`, the
video's sound track is used); so may `labels`, a file with a header `time,<target>,…`, time in seconds; or a file of
another program, or a folder with a file a rater, see `labels.ratings`. The targets are those that most of the headers
name; a recording whose labels lack one is refused, and a further column is not read.
Further columns of the manifest, as `sex` or `language`, are what the report on groups divides people by.
"""

import collections
import functools
import pathlib
import re

from data_prep.core.errors import DataError, UserError
from data_prep.corpora.recording import (
  Corpus,
  LabelSource,
  PARTITION_NAMES,
  read_csv,
  Recording,
  SensorFile,
  streams_of,
  TARGETS,
)
from data_prep.labels import label_files, ratings
from data_prep.physiology.signal_files import SIGNALS
from data_prep.schema.manifest import inside, PARTITIONS

NEEDS = 'your own CSV manifest: recording,subject,partition,video,audio,labels'
REQUIRED = ('recording', 'subject', 'partition', 'video', 'audio', 'labels')
OPTIONAL = ('boxes', 'landmarks', 'ecg', 'eda')
_RESERVED = 'recording|valid|face_.*|.*_post|.*_gold'  # columns of the traces beside the targets


def read(source, *, split=None, label_range=None) -> Corpus:
  """Reads the manifest.

  Args:
    source: the manifest.
    split: not for this corpus.
    label_range: (low, high) of the labels; default (−1, 1).

  Raises:
    UserError: `split` is given.
    DataError: it is malformed, a recording is there twice, a path leads out of its folder, a media file is in two
      partitions, or a target has a name that other columns need.
  """
  if isinstance(split, str):
    raise UserError(f'--split={split} is for --corpus=recola; the manifest itself names the partitions')
  if split is not None:
    raise UserError('--split_file is not for --corpus=csv; the manifest itself names the partitions')
  source = pathlib.Path(source)
  recordings = {}
  media: dict[pathlib.Path, tuple[str, str]] = {}
  for line, row in read_csv(source, required=REQUIRED, optional=OPTIONAL, further=True):
    where = f'{source}, line {line}'
    for name in ('recording', 'subject'):
      if not row[name]:
        raise DataError(f'{where}: no {name}')
    if row['recording'] in recordings:
      raise DataError(f'{where}: recording {row["recording"]} a second time; expected distinct ids')
    if row['partition'] not in PARTITION_NAMES:
      raise DataError(f'{where}: partition {row["partition"]!r}; expected {", ".join(PARTITIONS)}')
    # `landmarks` is for `data_prep.landmarks`, which reads the same manifest; here only its path is looked at.
    paths = {
      name: path_of_cell(source.parent, row.get(name, ''), where) for name in ('video', 'audio', 'labels', *OPTIONAL)
    }
    if paths['video'] is None and paths['audio'] is None:
      raise DataError(f'{where}: neither video nor audio')
    for path in (paths['video'], paths['audio']):
      if path is not None:
        known, first = media.setdefault(path.resolve(), (row['partition'], row['recording']))
        if PARTITION_NAMES[known] != PARTITION_NAMES[row['partition']]:
          raise DataError(
            f'{where}: {path} is in {row["partition"]} (recording {row["recording"]}) and in {known} '
            f'(recording {first}); a file belongs to one partition'
          )
    recordings[row['recording']] = (row, paths)
  if not recordings:
    raise DataError(f'{source}: no recordings; expected a row for each')
  targets = _targets((name, paths['labels']) for name, (_, paths) in recordings.items() if paths['labels'] is not None)
  found = []
  for name, (row, paths) in sorted(recordings.items()):
    found.append(
      Recording(
        recording=name,
        subject=row['subject'],
        partition=PARTITION_NAMES[row['partition']],
        video=paths['video'],
        audio=paths['audio'],
        labels=_labels(name, paths['labels'], targets),
        boxes=paths['boxes'],
        sensors=tuple(SensorFile(path, (signal,)) for signal in SIGNALS if (path := paths[signal])),
        about={column: value for column, value in row.items() if column not in (*REQUIRED, *OPTIONAL)},
      )
    )
  return Corpus(
    recordings=found,
    absent=[],
    targets=targets,
    label_range=label_range or (-1.0, 1.0),
    label_slack=0.0,
    streams=streams_of(found),
  )


def path_of_cell(folder, text: str, where: str):
  """The path of a manifest's cell, or None where it is empty; see `inside`."""
  return inside(folder, text, where) if text else None


def _labels(recording, path, targets) -> tuple[LabelSource, ...]:
  """Where the targets of a recording are written; () where it has no labels."""
  if path is None:
    return ()
  if ratings.is_one_table(path):
    return tuple(LabelSource(target=target, path=path, column=target) for target in targets)
  try:
    files = tuple(file for file in ratings.files(path) if file != path)
  except DataError:
    files = ()  # the recording will be refused with the reason
  return tuple(
    LabelSource(target, path, parse=functools.partial(ratings.parse, target=target, recording=recording), files=files)
    for target in targets
  )


def _targets(named_paths):
  """Names of the targets: the set of columns that most headers have; where two are as frequent, the smaller one."""
  layouts = {}
  for name, path in named_paths:
    try:
      columns = label_files.value_columns(path) if ratings.is_one_table(path) else ratings.targets(path, name)
    except DataError:
      continue  # this recording will be refused with the reason; the targets are found from the others
    if columns:
      layouts.setdefault(frozenset(name.casefold() for name in columns), []).append((columns, path))
  if not layouts:
    return TARGETS
  chosen = max(layouts.items(), key=lambda item: (len(item[1]), -len(item[0])))[1]
  targets = collections.Counter(columns for columns, _ in chosen).most_common(1)[0][0]
  for name in targets:
    if not re.fullmatch('[A-Za-z0-9_-]+', name) or re.fullmatch(_RESERVED, name.lower()):
      path = next(path for columns, path in chosen if columns == targets)
      raise DataError(
        f'{path}: column {name[:40]!r}; expected a name of letters (A to Z, a to z), digits, _ and -, '
        'and not recording, valid, face_…, …_post or …_gold'
      )
  return targets
