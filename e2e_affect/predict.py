"""From clips to traces and pages: `python -m e2e_affect.predict --workdir=RUN --out=DIR FILE_OR_FOLDER…`.

    --checkpoint=DIR   an exported network in place of a run
    --channel=N        the sound's N-th channel alone, for instance of two people with a microphone each
    --embed            pages that carry their clip inside
    --stream           PCM from standard input, a line per step to standard output

For each clip DIR holds NAME.csv (a row per step), NAME.json (summary) and NAME.html (a page to watch); index.html
lists all that lies there, of earlier runs too; rejects.jsonl names what could not be analysed, and why.
Files there that no analysis wrote are left alone, and so are results of another source of the same name: the second
gets a name of its own, the same each time. One analysis at a time writes to a folder.
"""

from collections.abc import Sequence
import functools
import json
import pathlib
import sys
import tempfile
import time

from absl import flags, logging
import jax
import tqdm

from data_prep.core import atomic, cli, json_text
from data_prep.core.errors import DataError, DiskFullError, UserError, WorkdirError, write_error
from data_prep.media import playback
from data_prep.recordings import clip as clips
from e2e_affect.clips import clip_page, index_page, out_folder, outputs, sources
from e2e_affect.clips import network as networks
from e2e_affect.clips.network import Network
from e2e_affect.run import version
from e2e_affect.run.log import ours_or_warning

REJECTS = 'rejects.jsonl'
_LARGEST_EMBEDDED = 16 << 20  # bytes; a larger clip is embedded as its small copy


def predict(
  network: Network, arguments: Sequence[str], out, embed: bool = False, channel: int | None = None
) -> list[dict]:
  """Analyses clips one after the other and writes their files.

  A result is replaced by a newer one of the same source alone, once that is whole; a refused clip leaves an earlier
  result as it is. What earlier runs left in the folder stays in its index and among its rejects.

  Args:
    network: trained.
    arguments: files, folders, CSV lists; see `clip_sources.find`.
    out: folder, made where it is absent.
    embed: the clip inside of its page, not beside it.
    channel: of the sound, from 1; None: the mean of all, or the loudest where that is far below it.

  Returns:
    The summaries, as in the JSON files.

  Raises:
    DataError: at least one clip was refused; the others are done.
    LockedError: another analysis is writing to `out`.
    WorkdirError, DiskFullError: `out` cannot be written, or holds another program's index.html or rejects.jsonl.
  """
  out = pathlib.Path(out)
  found = sources.find(arguments, out, cli.say)
  if network.simulated:
    cli.say(f'warning: {networks.SIMULATED}')
  with out_folder.held(out):
    rejects = _read_rejects(out)
    own_index = _check_index(out, len(found) > 1)
    places, said = out_folder.places(out, found, rejects)
    for line in said:
      cli.say(line)
    return _predict(network, places, out, embed, channel, rejects, own_index)


def _predict(network, places, out, embed, channel, rejects, own_index):
  about = _about(network)
  summaries, sparklines, refused = [], {}, []
  for number, place in enumerate(places, 1):
    recording = place.recording
    name, key = recording.recording, out_folder.key_of(out_folder.files_of(recording))
    if place.why:
      cli.say(f'{recording.video}: named {name}: {place.why}')
    try:
      content, traces = _analyse(
        network, recording, out, embed, channel, about, f'{number}/{len(places)} {name}' if len(places) > 1 else name
      )
    except (WorkdirError, DiskFullError):
      raise  # the next clip would fare no better
    except Exception as e:  # one malformed file must not end the batch
      reason = str(e) if isinstance(e, UserError) else f'{recording.video}: {type(e).__name__}: {e}'
      if place.earlier:
        reason += f'; the earlier result of it stays: {place.earlier}.html'
      refused.append(reason)
      rejects[key] = {'clip': name, 'files': out_folder.files_of(recording), 'reason': reason}
      _write_rejects(out, rejects)
    else:
      summaries.append(content)
      sparklines[name] = {target: index_page.sparkline(traces[:, k]) for k, target in enumerate(network.targets)}
      if rejects.pop(key, None):
        _write_rejects(out, rejects)
      cli.say(_line(out, content, recording))
  several = own_index and _write_index(out, sparklines, rejects, len(places) > 1)
  if summaries:
    work = sum(sum(content['cost']['seconds'].values()) for content in summaries)
    factor = work / sum(content['seconds'] for content in summaries)
    count = f'{len(summaries)} {"clip" if len(summaries) == 1 else "clips"}'
    cli.say(
      f'{count}, {work:.1f} s of work, compilation among it; real-time factor {factor:.2f}'
      + (f'; index: {out / "index.html"}' if several else '')
    )
  if refused:
    raise DataError(
      refused[0]
      if len(places) == 1
      else f'{len(refused)} of {len(places)} clips refused, reasons in {out / REJECTS}; the first: {refused[0]}'
    )
  return summaries


def _read_rejects(out):
  """Key of the source -> row, of earlier runs; before any work: is the folder writable, and is the file ours?"""
  path, rows = out / REJECTS, []
  with atomic.writing(path):
    try:
      data = path.read_bytes()
    except FileNotFoundError:
      data = b''
  if not outputs.are_rejects(data):
    raise _foreign(path)
  rows = [json_text.parse(line) for line in data.splitlines()]
  return {out_folder.key_of(row['files']): row for row in rows}


def _write_rejects(out, rejects):
  path = out / REJECTS
  if rejects:
    atomic.write(path, ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rejects.values()))
  else:
    with atomic.writing(path):
      path.unlink(missing_ok=True)


def _check_index(out, needed):
  """Whether `index.html` is ours to write; before any work of a batch, which needs one."""
  path = out / 'index.html'
  with atomic.writing(path):
    try:
      ours = index_page.MARK.encode() in path.read_bytes()
    except FileNotFoundError:
      ours = True
  if needed and not ours:
    raise _foreign(path)
  return ours


def _foreign(path):
  return WorkdirError(f'{path}: is there already and not of this program; left as it is: choose another --out')


def _write_index(out, sparklines, rejects, batch):
  """The index of all that lies in the folder; not of one clip alone. Returns whether there is one."""
  summaries, lines = [], []
  for name, content in outputs.read_summaries(out).items():
    try:
      targets = list(content['targets'])
      if name not in sparklines:
        traces = outputs.read_traces(out / f'{name}.csv', targets)
        sparklines[name] = {target: index_page.sparkline(traces[:, k]) for k, target in enumerate(targets)}
      index_page.row(content, sparklines[name], targets, 1.0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
      cli.say(f'{out / name}.json: not in the index, no whole result ({type(e).__name__}: {e}); analyse the clip again')
      continue
    summaries.append({**content, 'clip': name})
    lines.append(sparklines[name])
  if not batch and len(summaries) + len(rejects) < 2:
    return False
  targets = list(dict.fromkeys(target for content in summaries for target in content['targets']))
  index_page.write_index(out, targets, summaries, lines, [(row['clip'], row['reason']) for row in rejects.values()])
  return True


def _analyse(network, recording, out, embed, channel, about, label):
  """One clip; returns its summary and its final traces [T, K]."""
  outputs.check_replaceable(out, recording.recording, [])
  with atomic.writing(out):
    folder = tempfile.TemporaryDirectory(prefix=out_folder.SPOOL, dir=out, ignore_cleanup_errors=True)
  with folder as spool:  # not in /tmp, which may be memory
    try:
      return _analyse_in(pathlib.Path(spool), network, recording, out, embed, channel, about, label)
    except Exception as e:
      fault = out_folder.fault_of_output(out, pathlib.Path(spool), e)
      if fault:
        raise fault from None
      raise


def _analyse_in(spool, network, recording, out, embed, channel, about, label):
  name = recording.recording
  suffix = playback.playable_as(recording.video) if recording.audio is None else None
  if embed and recording.video.is_file() and recording.video.stat().st_size > _LARGEST_EMBEDDED:
    suffix = None
  if not embed:
    outputs.check_replaceable(out, name, [f'{name}{end}' for end in ([suffix] if suffix else ['.mp4', '.m4a'])])
  copy = None if suffix else playback.Copy(spool, network.layout.grid)
  with tqdm.tqdm(desc=f'{label}: reading', unit=' steps', leave=False, disable=not sys.stderr.isatty()) as bar:

    def watch(frame):
      bar.update()
      if copy is not None:
        copy(frame)

    clip = clips.read(
      recording,
      spool,
      picture='visual' in network.modalities,
      grid=network.layout.grid,
      channel=channel,
      watch=watch,
    )
  _check_modalities(network, recording, clip)
  clip.notes.extend(outputs.length_notes(network.about['postprocessing'], clip.steps, clip.grid))
  cost, content_now = dict(clip.cost), out_folder.content_of(recording)

  begin = time.perf_counter()
  with tqdm.tqdm(
    desc=f'{label}: network', total=clip.steps, unit=' steps', leave=False, disable=not sys.stderr.isatty()
  ) as bar:
    raw = network.predict(
      networks.Recording(
        steps=clip.steps,
        samples=clip.samples,
        audio_mean=clip.audio_mean,
        audio_std=clip.audio_std,
        faces=clip.crops,
        face_found=clip.face_found,
        audio_gain=clip.audio_gain,
      ),
      progress=bar.update,
    )
  post = network.postprocess(raw)
  cost['network'] = time.perf_counter() - begin

  begin = time.perf_counter()
  place = spool / ('embedded' if embed else outputs.MEDIA_FOLDER) / name
  if suffix:
    media = place.with_name(name + suffix)
    playback.link(recording.video, media)
  else:
    media = copy.finish(clip.samples, place)
  cost['preview'] = cost.get('preview', 0.0) + time.perf_counter() - begin

  begin = time.perf_counter()
  describe = functools.partial(
    outputs.summary, name, out_folder.files_of(recording), content_now, clip, network.targets, raw, post, about
  )
  outputs.write_csv(spool / f'{name}.csv', clip, network.targets, raw, post, network.simulated)
  clip_page.write_page(
    spool / f'{name}.html',
    describe(cost),
    clip,
    raw,
    post,
    network,
    media if embed else f'{outputs.MEDIA_FOLDER}/{media.name}',
  )
  cost['writing'] = time.perf_counter() - begin
  content = describe(cost)
  outputs.write_json(spool / f'{name}.json', content)
  if clip.crops is not None:
    clip.crops.close()
  outputs.commit(spool, out, name)
  return content, raw if post is None else post


def _check_modalities(network, recording, clip):
  """A network needs at least one of the senses it was trained with."""
  here = {'speech': clip.samples is not None, 'visual': clip.crops is not None}
  if not any(here[modality] for modality in network.modalities):
    needed = {'speech': 'a sound track', 'visual': 'a picture'}
    raise DataError(
      f'{recording.video}: without {" and ".join(needed[m] for m in network.modalities)}, and this is a '
      f'{" + ".join(network.modalities)} network; use one that '
      f'{"sees" if clip.samples is None else "hears"}'
    )


def _about(network) -> dict:
  fitted = network.about['postprocessing']
  return {
    'model': {
      'name': network.config.name,
      'modalities': list(network.modalities),
      **({'warning': networks.SIMULATED} if network.simulated else {}),
      'simulated': network.simulated,
      'checkpoint': network.about['checkpoint'],
      'exported_with': network.about['commit'],
    },
    'label_scale': network.about['label_scale'],
    'postprocessing': fitted if fitted.get('fitted_on') else {'reason': fitted.get('reason')},
    'settings': {
      'dtype': network.config.dtype,
      'device': jax.devices()[0].device_kind,
      'chunk_seconds': network.config.evaluate_chunk_seconds,
    },
    'commit': version.commit(),
  }


def _line(out, content, recording):
  """What a clip's line says; in ASCII, but for names and notes."""
  parts, stages = [], set()
  for target, of in content['targets'].items():
    stages.add('post-processed' if of['postprocessed'] else 'raw')
    of = of['postprocessed'] or of['raw']
    parts.append(f'{target} {of["mean"]:+.2f} ({of["min"]:+.2f} to {of["max"]:+.2f})')
  parts = [f'{stages.pop()} means: {", ".join(parts)}']
  if content['face']:
    parts.append(f'face in {100 * content["face"]["share_of_steps"]:.0f} %')
  parts += content['notes']
  parts += ['by a network of drawings, not of people'] if content['model']['simulated'] else []
  source = '' if content['clip'] == sources.safe(recording.video.stem) else f' ({recording.video})'
  return f'{content["clip"]}{source}: {content["seconds"]:.2f} s; {"; ".join(parts)} -> {out / content["clip"]}.html'


def _network() -> Network:
  """The network that the flags name."""
  if bool(flags.FLAGS.workdir) == bool(flags.FLAGS.checkpoint):
    raise UserError('name the network: either --workdir=RUN or --checkpoint=EXPORTED_FOLDER')
  if flags.FLAGS.checkpoint:
    return networks.load(flags.FLAGS.checkpoint)
  from e2e_affect import export  # imports Orbax: seconds that an exported network need not wait for

  return export.from_run(flags.FLAGS.workdir)


def _define_flags():
  cli.define_path('workdir', None, 'Folder of the run whose best checkpoint predicts.')
  cli.define_path('checkpoint', None, 'Folder of an exported network, in place of --workdir.')
  cli.define_path('out', None, 'Folder to write to.')
  flags.DEFINE_bool('embed', False, 'Put the clips into their pages, which then can be passed on alone.')
  flags.DEFINE_integer(
    'channel', None, 'Channel of the sound, from 1; default: the mean of all, or the loudest.', lower_bound=1
  )
  flags.DEFINE_bool(
    'stream', False, 'Read mono signed 16-bit little-endian PCM, 16 kHz for most networks, from standard input.'
  )


def main(*arguments) -> None:
  logging.get_absl_handler().addFilter(ours_or_warning)
  if flags.FLAGS.stream:
    if arguments or flags.FLAGS.out or flags.FLAGS.embed or flags.FLAGS.channel:
      raise UserError(
        '--stream reads standard input and writes standard output; leave out --out, --embed, --channel and files'
      )
    from e2e_affect.clips import stream

    try:
      stream.run(_network(), sys.stdin.buffer, sys.stdout)
    except BrokenPipeError:
      cli.drop_output()
    except OSError as e:
      cli.drop_output()
      raise write_error('standard output', e) from None
    return
  if not arguments:
    raise UserError('no clip given; expected `python -m e2e_affect.predict --workdir=RUN --out=DIR FILE_OR_FOLDER…`')
  if not flags.FLAGS.out:
    raise UserError('--out is missing: the folder to write to')
  predict(
    _network(), [cli.path(argument) for argument in arguments], flags.FLAGS.out, flags.FLAGS.embed, flags.FLAGS.channel
  )


if __name__ == '__main__':
  cli.run(main, _define_flags, max_arguments=sys.maxsize)
