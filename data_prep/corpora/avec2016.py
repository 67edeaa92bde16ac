"""AVEC 2015/2016: 27 subjects of RECOLA under other names.

recordings_audio/train_1.wav   recordings_video/train_1.mp4   (train|dev|test)_(1..9)
ratings_gold_standard/{arousal,valence}/train_1.arff          or else ratings_individual/…/train_1.csv
recordings_physio/train_1.csv   time;EDA;ECG                  or in its folder raw or filtered, or in ECG and EDA
"""

import pathlib

from data_prep.core.errors import DataError, UserError
from data_prep.corpora import recola
from data_prep.corpora.recording import Corpus, read_split_file

NEEDS = "the challenge's folder: recordings_audio, recordings_video, ratings_gold_standard"
PEOPLE = 'a part of RECOLA: speakers of French, in pairs over a video call, spontaneous'
LICENCE = 'by agreement with its owners, for research'
SPLIT = {
  partition: tuple(f'{name}_{i}' for i in range(1, 10))
  for partition, name in (('train', 'train'), ('validation', 'dev'), ('test', 'test'))
}


def read(source, *, split=None, label_range=None) -> Corpus:
  """Finds the challenge's recordings; `split`, a file or partition -> ids, replaces the challenge's own.

  Raises:
    DataError: the folder has another layout.
    UserError: a split of RECOLA is named, or `label_range` is given.
  """
  recola.refuse_label_range(label_range)
  if isinstance(split, str):
    raise UserError(f'--split={split} is for --corpus=recola; the challenge has one split')
  if isinstance(split, pathlib.Path):
    split = read_split_file(split)
  source = pathlib.Path(source)
  for name in ('recordings_audio', 'recordings_video'):
    if not (source / name).is_dir():
      raise DataError(f'{source}: no folder {name}; expected AVEC 2016 as it is released')

  def find_labels(name):
    # The organisers' gold standard goes before one of our own making.
    return recola.labels_of([source / 'ratings_gold_standard'], [f'{name}.arff']) or recola.labels_of(
      [source / 'ratings_individual'], [f'{name}.csv']
    )

  physio = source / 'recordings_physio'
  return recola.collect(
    split or SPLIT,
    [source / 'recordings_audio'],
    [source / 'recordings_video'],
    find_labels,
    # Public programs read the folder itself or `filtered`; the others are our reading.
    sensors=[[physio, physio / 'raw', physio / 'filtered'], [physio / 'ECG'], [physio / 'EDA']],
  )
