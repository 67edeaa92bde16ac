"""Recordings and labels of a corpus -> shards.

    python -m data_prep.prepare --corpus=recola --source=RECOLA --out=data/recola

`--corpus=help` lists the corpora and what each needs. One process per core, one recording at a time each; run again
after an interruption, it goes on where it was, and redoes what was prepared with other parameters or from other files.
What cannot be used is refused with the reason, in the table at the end and in `rejects.jsonl`; the rest is prepared all
the same, and the exit code is 65 unless `--allow_rejects`.
"""

from absl import flags

from data_prep import corpora
from data_prep.core import cli
from data_prep.core.errors import UserError
from data_prep.corpora import settings
from data_prep.face import detectors
from data_prep.labels import gold_standard, label_files
from data_prep.shards import runners

_HELP = 'help'


def _define_flags():
  flags.DEFINE_enum('corpus', None, (*corpora.READERS, _HELP), 'Layout of the source; help lists what each needs.')
  cli.define_path('source', None, 'Folder of the corpus, or the CSV manifest of own data.')
  cli.define_path('out', None, 'Data folder to write.')
  flags.DEFINE_string('split', None, 'Split of a corpus that has several; of RECOLA full, the default, or avec.')
  flags.DEFINE_list('targets', [], 'What to learn, of a corpus that offers several; --corpus=help lists them.')
  cli.define_path('split_file', None, 'CSV recording,partition that replaces the split.')
  flags.DEFINE_enum(
    'gold_standard',
    'ccc_centred',
    tuple(gold_standard.RECIPES),
    'How raters become one trace: mean; ewe and ccc_centred count those more who agree with the others.',
  )
  flags.DEFINE_bool('spread', False, 'Learn how far the raters are apart, too: a further target for each that has any.')
  flags.DEFINE_list('label_range', None, 'LOW,HIGH of the labels of own data; default: -1,1.')
  flags.DEFINE_enum(
    'labels',
    'linear',
    label_files.METHODS,
    'Between two labels: linear, a line; hold, a label until the next one.',
  )
  flags.DEFINE_float(
    'max_difference',
    None,
    'Seconds by which labels, sound and picture may differ in length; the longer ones are cut. Default: 0.12, or one '
    'step of the corpus where that is longer.',
  )
  flags.DEFINE_float('max_lost', settings.MAX_LOST, 'Share of steps without a face above which a recording is refused.')
  flags.DEFINE_integer(
    'channel', None, 'Channel of the sound, from 1; default: the mean of all, or the loudest.', lower_bound=1
  )
  flags.DEFINE_enum(
    'detector',
    detectors.CASCADE,
    tuple(detectors.DETECTORS),
    'What finds faces: a cascade, or MTCNN, which finds turned and covered ones, too, and takes longer.',
  )
  flags.DEFINE_bool('allow_rejects', False, 'Exit 0 even if recordings were refused.')
  flags.DEFINE_integer(
    'jobs', None, 'Processes; default: one per core, or one for each worker of Beam. 0: this one, without limits.'
  )
  flags.DEFINE_float(
    'max_minutes',
    settings.MAX_MINUTES,
    "Minutes of the processor's time after which a recording is refused; twice as many by the clock.",
  )
  flags.DEFINE_enum(
    'runner',
    runners.LOCAL,
    tuple(runners.RUNNERS),
    'Where recordings are prepared: in processes of this machine, or as a pipeline of Apache Beam.',
  )
  flags.DEFINE_list(
    'runner_options', [], "Beam's own options, as --runner=FlinkRunner,--flink_master=HOST:PORT; default: this machine."
  )


def main() -> None:
  """Does what the flags say."""
  values = flags.FLAGS
  if values.corpus == _HELP:
    cli.say(corpora.in_words())
    return
  for name in ('corpus', 'source', 'out'):
    if values[name].value is None:
      raise UserError(f'--{name} is missing; `python -m data_prep.prepare --corpus=help` lists the corpora')
  try:
    label_range = tuple(map(float, values.label_range)) if values.label_range else None
    if label_range and len(label_range) != 2:
      raise ValueError
  except ValueError:
    raise UserError(f'--label_range={",".join(values.label_range)}; expected LOW,HIGH') from None
  from data_prep.shards import prepare

  prepare.prepare(
    corpus=values.corpus,
    source=values.source,
    out=values.out,
    split=values.split,
    split_file=values.split_file,
    targets=values.targets,
    spread=values.spread,
    gold_standard=values.gold_standard,
    label_range=label_range,
    labels=values.labels,
    max_lost=values.max_lost,
    max_difference=values.max_difference,
    channel=values.channel,
    detector=values.detector,
    allow_rejects=values.allow_rejects,
    jobs=values.jobs,
    max_minutes=values.max_minutes,
    runner=values.runner,
    runner_options=values.runner_options,
  )


if __name__ == '__main__':
  cli.run(main, _define_flags)
