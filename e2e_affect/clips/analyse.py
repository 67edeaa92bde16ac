"""From clips to a folder of traces and pages, with an index and a list of what was refused."""

from collections.abc import Sequence
import pathlib
import sys
import tempfile

import numpy as np

from data_prep.core import atomic, cli, remote
from data_prep.core.errors import DataError, DiskFullError, UserError, WorkdirError
from data_prep.recordings import who
from e2e_affect.clips import clip_files, formats, index_page, one_clip, out_folder, rejects, sources
from e2e_affect.clips.baseline import Baseline
from e2e_affect.clips.formats import table
from e2e_affect.clips.network import Network
from e2e_affect.run.origin import SIMULATED


def analyse(
  network: Network,
  arguments: Sequence[str],
  out,
  embed: bool = False,
  channel: int | None = None,
  further: Sequence[str] = (),
  wanted: who.Wanted = who.Wanted(),  # noqa: B008, it is frozen
  neutral: pathlib.Path | None = None,
) -> list[dict]:
  """Analyses clips one after the other and writes their files.

  Only a newer result of the same source replaces a result, once it is complete. A refused clip leaves its earlier
  result as it is. What earlier runs left in the folder stays in its index and among its rejects.

  Args:
    network: trained.
    arguments: files, folders, CSV lists; see `sources.find`.
    out: folder, made where it is absent.
    embed: whether a clip lies inside its page, not beside it.
    channel: of the sound, from 1; None: the mean of all, or the loudest where that is far below it.
    further: names of formats in which traces are written, too; see `formats`.
    wanted: whose faces, found by what, and who speaks.
    neutral: a calm clip of the person in all others, whose means are taken from their values; None: no such thing.

  Returns:
    The summaries, as in the JSON files.

  Raises:
    DataError: at least one clip was refused; the others are done.
    UserError: a format cannot hold what the network says, is unknown, or its library is absent; faces are wanted of a
      network that does not see; or a neutral clip is given to one of classes.
    LockedError: another analysis is writing to `out`.
    WorkdirError, DiskFullError: `out` cannot be written, or holds another program's index.html or rejects.jsonl.
  """
  out = pathlib.Path(out)
  formats.check(further, network.targets, network.shows)
  one_clip.check_sees(network, wanted)
  found = sources.find(arguments, out, cli.say)
  if network.simulated:
    cli.warn(SIMULATED)
  baseline = None if neutral is None else _baseline(network, neutral, channel, wanted.detector)
  with out_folder.held(out):
    refused = rejects.read(out)
    own_index = _check_index(out, len(found) > 1)
    places, said = out_folder.places(out, found, refused)
    for line in said:
      cli.say(line)
    return _analyse(network, places, out, embed, channel, further, wanted, baseline, refused, own_index)


def _analyse(network, places, out, embed, channel, further, wanted, baseline, refused, own_index):
  summaries, sparklines, reasons = [], {}, []
  for number, place in enumerate(places, 1):
    recording = place.recording
    name, key = recording.recording, out_folder.key_of(out_folder.files_of(recording))
    if place.why:
      cli.say(f'{recording.video}: named {name}: {place.why}')
    try:
      label = f'{number}/{len(places)} {name}' if len(places) > 1 else name
      content, traces = one_clip.analyse(network, recording, out, embed, channel, further, wanted, baseline, label)
    except (WorkdirError, DiskFullError):
      raise  # the next clip would fare no better
    except Exception as e:  # one malformed file must not end the batch
      reason = str(e) if isinstance(e, UserError) else f'{recording.video}: {type(e).__name__}: {e}'
      if place.earlier:
        reason += f'; the earlier result of it stays: {place.earlier}.html'
      reasons.append(reason)
      refused[key] = {'clip': name, 'files': out_folder.files_of(recording), 'reason': reason}
      rejects.write(out, refused)
    else:
      summaries.append(content)
      for one, final in zip(clip_files.by_person(content), traces, strict=True):
        lines = {target: index_page.sparkline(final[:, k]) for k, target in enumerate(network.targets)}
        sparklines[one['clip']] = lines
      if refused.pop(key, None):
        rejects.write(out, refused)
      line = _line(out, content, recording)
      cli.say(cli.red(line, sys.stdout) if network.simulated else line)
      remote.send(out, every=remote.EVERY_SECONDS)
  several = own_index and _write_index(out, sparklines, refused, len(places) > 1)
  if summaries:
    work = sum(sum(content['cost']['seconds'].values()) for content in summaries)
    factor = work / sum(content['seconds'] for content in summaries)
    count = f'{len(summaries)} {"clip" if len(summaries) == 1 else "clips"}'
    cli.say(
      f'{count}, {work:.1f} s of work, compilation among it; real-time factor {factor:.2f}'
      + (f'; index: {out / "index.html"}' if several else '')
    )
  if reasons:
    raise DataError(
      reasons[0]
      if len(places) == 1
      else f'{len(reasons)} of {len(places)} clips refused, reasons in {out / rejects.REJECTS}; the first: {reasons[0]}'
    )
  return summaries


def _baseline(network, path, channel, detector) -> Baseline:
  """What the network says of a neutral clip; of several faces it takes the largest.

  Raises:
    UserError: the network says no numbers. DataError: the clip cannot be analysed.
  """
  if network.shows != 'numbers':
    raise UserError('--baseline subtracts numbers, and this network says probabilities of classes; leave it out')
  with tempfile.TemporaryDirectory(prefix='e2e_affect-') as folder:
    whose = who.Wanted(detector=detector)
    clip, [(_, raw, post)] = one_clip.of_file(network, path, pathlib.Path(folder), channel, whose)
  final = raw if post is None else post
  return Baseline(path, clip.seconds, network.targets, final.mean(axis=0, dtype=np.float64), tuple(clip.notes))


def _check_index(out, needed):
  """Whether `index.html` is absent or ours; a batch needs it, and ends here, before any work, where it is foreign."""
  path = out / 'index.html'
  with atomic.writing(path):
    try:
      ours = index_page.MARK.encode() in path.read_bytes()
    except FileNotFoundError:
      ours = True
  if needed and not ours:
    raise out_folder.foreign(path)
  return ours


def _write_index(out, sparklines, refused, batch):
  """Writes the index of all results in the folder, unless that is one clip alone. Returns whether it was written."""
  summaries, lines, clips = [], [], 0
  for name, content in clip_files.read_summaries(out).items():
    try:
      people = clip_files.by_person({**content, 'clip': name})
      for one in people:
        targets = list(one['targets'])
        if one['clip'] not in sparklines:
          file = clip_files.table_of(name, one['person'] if 'page' in one else None)
          traces = table.values(out / file, targets)
          sparklines[one['clip']] = {target: index_page.sparkline(traces[:, k]) for k, target in enumerate(targets)}
        index_page.row(one, sparklines[one['clip']], targets, 1.0)
    except (DataError, OSError, ValueError, KeyError, TypeError, AttributeError) as e:
      cli.say(f'{out / name}.json: not in the index, no whole result ({type(e).__name__}: {e}); analyse the clip again')
      continue
    clips += 1
    summaries += people
    lines += [sparklines[one['clip']] for one in people]
  if not batch and clips + len(refused) < 2:
    return False
  of_numbers = (content for content in summaries if 'most_probable' not in content)
  targets = list(dict.fromkeys(target for content in of_numbers for target in content['targets']))
  index_page.write_index(out, targets, summaries, lines, [(row['clip'], row['reason']) for row in refused.values()])
  return True


def _line(out, content, recording):
  """The line that is printed for a clip; ASCII, except names and notes."""
  parts = []
  for one in clip_files.by_person(content):
    of = f'person {one["person"]}: ' if content.get('people') else ''
    parts += [of + said for said in _said(one)[:1]] + _said(one)[1:]
    parts += one['notes'][len(content['notes']) :] if content.get('people') else []
  parts += content['notes']
  parts += ['by a network of drawings, not of people'] if content['model']['simulated'] else []
  source = '' if content['clip'] == sources.safe(recording.video.stem) else f' ({recording.video})'
  return f'{content["clip"]}{source}: {content["seconds"]:.2f} s; {"; ".join(parts)} -> {out / content["clip"]}.html'


def _said(content):
  """What the line tells of one face, or of a sound."""
  parts, stages = [], set()
  for target, of in content['targets'].items():
    stages.add('post-processed' if of['postprocessed'] else 'raw')
    of = of['postprocessed'] or of['raw']
    parts.append(f'{target} {of["mean"]:+z.2f} ({of["min"]:+z.2f} to {of["max"]:+z.2f})')
  parts = [f'{stages.pop()} means: {", ".join(parts)}']
  if 'most_probable' in content:
    parts = [f'most probable: {content["most_probable"]["class"]} ({content["most_probable"]["probability"]:.2f})']
  if content['face'] and content['face']['share_of_steps'] == 1:  # else a note says how many lack it
    parts.append('face in 100 %')
  return parts
