"""Audio sets of tensorflow-datasets, which downloads them by itself: a class and a speaker a clip.

TFDS keeps sound as numbers in shards of its own. They are written as .wav beside those, once, for the preparation reads
files. Its splits share no speaker and are the partitions; folds are those of the corpus.
"""

from collections.abc import Callable, Sequence
import functools
import pathlib

import numpy as np
import soundfile

from data_prep.core import atomic
from data_prep.core.errors import DataError, UserError
from data_prep.corpora import crema_d, speaker_folds
from data_prep.corpora.recording import Corpus, Recording
from data_prep.schema.manifest import PARTITIONS

NEEDS = 'folder that tensorflow-datasets downloads to, or has downloaded to; needs e2e_affect[tfds]'
NEEDS_BY_HAND = f'{NEEDS}, and AudioData.zip of SAVEE in downloads/manual of that folder'
SAVEE_PEOPLE = '4 actors, all men, English, acted'
SAVEE_LICENCE = 'by agreement with its owners, for research'
WAV = 'wav'


def reader(name: str, folds: Callable[[Sequence[tuple[str, str]]], dict]) -> Callable[..., Corpus]:
  """The `Reader` of a set.

  Args:
    name: of TFDS.
    folds: (speaker, class) of every clip -> `Corpus.folds`.
  """
  return functools.partial(read, name=name, folds=folds)


def read(source, *, split=None, label_range=None, name, folds) -> Corpus:
  """Downloads the set where it is not there, and writes its clips as .wav where they are not.

  Raises:
    DataError: it cannot be downloaded or read.
    UserError: a split or scale is given, or a library that TFDS needs is not installed.
  """
  speaker_folds.refuse_split(f'tfds:{name}', split, label_range)
  from data_prep.core.quiet_tf import tfds

  try:
    builder = tfds.builder(name, data_dir=source)
    builder.download_and_prepare()
  except ImportError as e:
    raise UserError(
      f'tfds:{name}: tensorflow-datasets lacks what it needs ({" ".join(str(e).split())[:100]}); install it with '
      "`pip install 'e2e_affect[tfds]'`"
    ) from None
  except Exception as e:  # whatever stands between this machine and the servers
    raise DataError(
      f'{source}: tensorflow-datasets cannot prepare {name} ({type(e).__name__}: {" ".join(str(e).split())[:200]})'
    ) from None
  features = builder.info.features
  classes = tuple(features['label'].names)
  folder = pathlib.Path(builder.data_dir) / WAV
  recordings = []
  for partition in PARTITIONS:
    if partition not in builder.info.splits:
      continue
    for k, example in enumerate(tfds.as_numpy(builder.as_dataset(split=partition, shuffle_files=False))):
      clip = f'{partition}-{k:05d}'
      recordings.append(
        Recording(
          recording=clip,
          subject=example['speaker_id'].decode(),
          partition=partition,
          video=None,
          audio=_as_file(folder / f'{clip}.wav', example['audio'], features['audio'].sample_rate),
          whole={'emotion': classes[example['label']]},
        )
      )
  return Corpus(
    recordings=sorted(recordings, key=lambda recording: recording.recording),
    absent=[],
    targets=('emotion',),
    streams=('speech',),
    classes={'emotion': classes},
    folds=folds([(r.subject, str(r.whole['emotion'])) for r in recordings]),
  )


def _as_file(path: pathlib.Path, samples: np.ndarray, rate: int) -> pathlib.Path:
  """The file of a clip; samples are integers of 16 bits."""
  if not path.is_file():
    if np.abs(samples).max(initial=0) > 2**15:
      raise DataError(f'{path.parent}: {path.stem} has samples of more than 16 bits; expected a set of 16 bits')
    with atomic.whole(path) as temporary:
      soundfile.write(temporary, samples.astype(np.int16), rate, format='WAV')
  return path


CREMA_D = reader('crema_d', lambda said: crema_d.FOLDS)
SAVEE = reader('savee', speaker_folds.leave_one_out)
