"""`report.html` of a run: one file, images inside, nothing fetched, light or dark as the reader's system is."""

from html import escape
import json
import math
import pathlib

from data_prep.core import atomic
from data_prep.core.errors import DataError
from e2e_affect.evaluate.results import read_results
from e2e_affect.report.page import figure, page, section, text_table
from e2e_affect.traces import postprocess

REPORT_FILE = 'report.html'
_NOT_PARTITIONS = ('postprocessing', 'checkpoint')
_ORDER = ('test', 'validation', 'train')  # what the reader came for is first
STAGES = (('postprocessed', 'post-processed'), ('raw', 'raw'))

CCC = """<p><b>CCC</b>, the concordance correlation coefficient, is 1 where the prediction equals the gold standard, 0
where it says nothing about it, and falls with a wrong offset or scale too. It is taken over all steps of all recordings
of the partition in one row"""
SCALES = '<p>Arousal runs from calm (−1) to excited (1), valence from unpleasant (−1) to pleasant (1).'
_MEANING = (
  CCC
  + """; <b>per recording</b> is the mean of the recordings' own CCCs, which leaves out how well the
levels of different people are told apart.</p>
<p><b>95 %</b> is a bootstrap over subjects: how far the CCC would move with other people drawn from the same kind.
With few subjects it is wide, and two networks whose intervals overlap much may be equally good.</p>
<p><b>Raw</b> is what the network says. <b>Post-processed</b> adds the steps below, fitted on the validation partition:
validation's own post-processed numbers have seen their labels, those of test have not.</p>
"""
  + SCALES
  + ' RMSE is in these units.</p>'
)


def write_report(workdir) -> pathlib.Path:
  """Writes `report.html` from what lies in the run's folder.

  Args:
    workdir: with `results.json`; `config.json` and `figures/*.png` are shown where they are.

  Returns:
    The path of the page.

  Raises:
    DataError: `results.json` is absent or damaged.
    WorkdirError, DiskFullError: the page cannot be written.
  """
  workdir = pathlib.Path(workdir)
  results = read_results(workdir)
  name = workdir.resolve().name
  sections = [
    f'<h1>{escape(name)}</h1><p class="soft">{escape(_headline(results))}</p>',
    section('Results', f'<div class="scroll">{_metrics_table(results)}</div>{_reasons(results)}'),
  ]
  figures = [figure(workdir / 'figures' / f'{stem}.png', caption) for stem, caption in figure_captions(results)]
  if any(figures):
    sections.append(section('Figures', ''.join(figures)))
  sections += [
    section('What the numbers mean', _MEANING),
    section('Post-processing', _postprocessing(results['postprocessing'])),
    section('Checkpoint', text_table(results['checkpoint'])),
  ]
  config = _read_config(workdir / 'config.json')
  if config is not None:
    sections.append(f'<section><details><summary>Configuration</summary>{text_table(config)}</details></section>')
  path = workdir / REPORT_FILE
  atomic.write(path, page(name, sections))
  return path


def _partitions(results):
  known = [p for p in _ORDER if p in results]
  return known + [p for p in results if p not in known and p not in _NOT_PARTITIONS]


def targets(results):
  for partition in _partitions(results):
    if results[partition]['raw']:
      return list(results[partition]['raw']['ccc'])
  return list(results['postprocessing'].get('targets', {}))


def _headline(results):
  for partition in _partitions(results):
    for stage, words in STAGES:
      if results[partition][stage]:
        numbers = ', '.join(f'{t} {number(x)}' for t, x in results[partition][stage]['ccc'].items())
        return f'CCC on {partition}, {words}: {numbers} ({", ".join(_counts(results[partition]))})'
  return 'No partition has labels: predictions only.'


def _counts(entry):
  """('3 recordings', '2 subjects') that were scored."""

  def several(number, word):
    return f'{number} {word}{"" if number == 1 else "s"}'

  scored = entry['recordings'] - len(entry['recordings_without_labels'])
  subjects = several(entry.get('scored_subjects', entry['subjects']), 'subject')  # older results count all of them
  if scored == entry['recordings']:
    return several(scored, 'recording'), subjects
  return f'{scored} of {several(entry["recordings"], "recording")} scored', subjects


def _metrics_table(results):
  head = ('', 'CCC (95\u00a0%)', 'per recording', 'Pearson', 'RMSE')
  rows = ['<tr>' + ''.join(f'<th>{x}</th>' for x in head) + '</tr>']
  for partition in _partitions(results):
    entry = results[partition]
    if not entry['raw']:
      continue
    counts = ', '.join([*_counts(entry), f'{entry["scored_steps"]:,} steps'])
    rows.append(
      f'<tr class="group"><th colspan="{len(head)}">{escape(partition.capitalize())} '
      f'<span class="soft">{escape(counts)}</span></th></tr>'
    )
    for target in targets(results):
      for stage, words in STAGES:
        if entry[stage]:
          r, interval = entry[stage], entry[stage]['ccc_interval'][target]
          between = f'<span class="interval">{number(interval[0])}…{number(interval[1])}</span>' if interval else ''
          final = stage == 'postprocessed' or not entry['postprocessed']
          others = (number(r[name][target]) for name in ('ccc_recording_mean', 'pearson', 'rmse'))
          rows.append(
            f'<tr{" class=final" if final else ""}><td>{escape(target)}, {words}</td>'
            f'<td>{number(r["ccc"][target])}{between}</td>'
            + ''.join(f'<td>{number}</td>' for number in others)
            + '</tr>'
          )
  return f'<table>{"".join(rows)}</table>'


def _reasons(results):
  """Why a number is missing, in words."""
  lines = []
  for partition in _partitions(results):
    entry = results[partition]
    if 'reason' in entry:
      lines.append(f'{partition}: {entry["reason"]}')
    elif entry['recordings_without_labels']:
      lines.append(f'{partition}: not scored for want of labels: {", ".join(entry["recordings_without_labels"])}')
    if entry['raw'] and None in entry['raw']['ccc_interval'].values():
      lines.append(f'{partition}: no 95 % interval, too few subjects with labels (two needed)')
  return ''.join(f'<p class="soft">{escape(line)}</p>' for line in lines)


def figure_captions(results):
  """(file stem, caption) of the figures that a run may have, in the page's order."""
  for partition in _partitions(results):
    yield f'{partition}_trace', f'One recording of {partition}: the one whose CCC is the median of the partition.'
    yield (
      f'{partition}_scatter',
      f'Prediction against gold standard over all scored steps of {partition}; darker is more.',
    )
  yield 'learning_curves', 'Training. The dotted line marks the step with the best mean CCC on validation.'


def _postprocessing(params):
  if not params['fitted_on']:
    return f'<p>Not fitted: {escape(params["reason"])}.</p>'
  parts = [
    f'<p class="soft">In this order, fitted on {escape(params["fitted_on"])}, applied unchanged to the rest.</p>'
  ]
  for target, sentences in postprocess.in_words(params).items():
    parts.append(
      f'<h3>{escape(target.capitalize())}</h3><ul>'
      + ''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)
      + '</ul>'
    )
  return ''.join(parts)


def _read_config(path):
  try:
    config = json.loads(path.read_text(encoding='utf-8'))
  except FileNotFoundError:
    return None
  except ValueError as e:
    raise DataError(f'{path}: damaged ({e}); start the run again to write it') from None
  return dict(_flatten(config))


def _flatten(tree, prefix=''):
  for key, value in tree.items():
    if isinstance(value, dict) and value:
      yield from _flatten(value, f'{prefix}{key}.')
    else:
      yield f'{prefix}{key}', value


def number(value):
  return '–' if value is None or math.isnan(value) else f'{value:z.3f}'.replace('-', '−')
