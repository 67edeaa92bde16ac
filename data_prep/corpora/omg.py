"""OMG-Emotion: utterances of monologues of YouTube, one arousal and one valence each.

    omg_TrainVideos.csv  omg_ValidationVideos.csv  omg_TestVideos.csv
    link,start,end,video,utterance,arousal,valence,EmotionMaxVote
    <folder>/<video>/<utterance>            the clips that the organisers' script downloads and cuts

Stated in the facts: the header. Our reading: a CSV whose name has train, valid or test in it is that partition, the
organisers'; the people of one `video` are one person, who is in one partition; arousal runs from 0 to 1 and valence
from −1 to 1; `utterance` is a file name, with or without `.mp4`. Many of the videos are no longer there: clips that are
absent are reported.
"""

import pathlib

from data_prep.core.errors import DataError
from data_prep.corpora import finding
from data_prep.corpora.recording import Corpus, Recording, TARGETS
from data_prep.labels import columns
from data_prep.schema.label_clock import Scorer

NEEDS = 'folder with omg_TrainVideos.csv and its like, and the clips as <video>/<utterance>.mp4 in it or in its folders'
PEOPLE = 'people in monologues from the web, English, acted and spontaneous'
LICENCE = 'as its owners state, for research; the videos belong to whoever published them'
_REQUIRED = ('video', 'utterance', *TARGETS)
_PARTITIONS = {'train': 'train', 'valid': 'validation', 'test': 'test'}


def read(source, *, split=None, label_range=None) -> Corpus:
  """Finds the utterances.

  Raises:
    DataError: there is no list of utterances.
    UserError: a named split or a scale is given.
  """
  chosen = finding.partitions_of_file('omg', split, label_range)
  source = pathlib.Path(source)
  lists = {}
  for path in sorted(source.glob('*.csv')):
    partition = next((to for word, to in _PARTITIONS.items() if word in path.stem.casefold()), None)
    if partition:
      lists[path] = partition
  if not lists:
    raise DataError(f'{source}: no CSV with Train, Valid or Test in its name; expected omg_TrainVideos.csv')
  roots = [source, *sorted(path for path in source.glob('*') if path.is_dir())]
  recordings, absent = {}, []
  for path, listed in lists.items():
    rows = columns.read(path, required=_REQUIRED)
    values = {target: columns.numbers(path, target, rows[target]) for target in TARGETS}
    for row, (video, utterance) in enumerate(zip(rows['video'], rows['utterance'], strict=True)):
      stem = utterance.removesuffix('.mp4')
      name = f'{video}_{stem}'
      partition = (chosen or {}).get(name, listed)
      if chosen is not None and name not in chosen:
        continue
      if name in recordings:
        raise DataError(f'{path}: {name} a second time; expected each utterance once')
      clip = next((p for root in roots if (p := root / video / f'{stem}.mp4').is_file()), None)
      if clip is None:
        absent.append((name, partition, 'clip'))
        continue
      whole = {target: float(values[target][row]) for target in TARGETS}
      known = all(value == value for value in whole.values())  # NaN: of a test whose labels are masked
      recordings[name] = Recording(name, video, partition, clip, None, whole=whole if known else {})
  return Corpus(
    recordings=[recordings[name] for name in sorted(recordings)],
    absent=absent,
    label_slack=0.0,
    target_ranges={'arousal': (0.0, 1.0)},
    scorer=Scorer(('ccc', 'rmse')),
  )
