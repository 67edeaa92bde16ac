"""The table at the end of a preparation: what was prepared, how fast, what was absent and what was refused."""

from data_prep.schema.grid import Grid

_COLUMNS = (
  'recording',
  'partition',
  'steps',
  'labels',
  'label s',
  'audio s',
  'video s',
  'fps',
  'face %',
  'steps/s',
  'notes',
)


def format_table(summaries, partitions, fresh, seconds: float, absent, rejects, grid: Grid) -> str:
  """One row per recording, then totals.

  Args:
    summaries: recording -> `assemble.Summary`.
    partitions: recording -> partition.
    fresh: recordings that were prepared now, not before.
    seconds: wall time of this run.
    absent: (recording, partition, what is missing).
    rejects: rows with recording and reason.
    grid: of the recordings.
  """

  def number(value, form='.2f'):
    return '–' if value is None else format(value, form)

  rows = [_COLUMNS]
  for name, s in summaries.items():
    notes = s.notes + ([] if name in fresh else ['done before'])
    rows.append(
      (
        name,
        partitions[name],
        str(s.steps),
        str(s.labels),
        number(s.label_seconds),
        number(s.audio_seconds),
        number(s.video_seconds),
        number(s.fps, '.1f'),
        number(None if s.face_found is None else 100 * s.face_found, '.1f'),
        number(s.steps / s.seconds, '.0f'),
        '; '.join(notes),
      )
    )
  widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
  # Names to the left, numbers to the right.
  lines = [
    '  '.join(
      cell.ljust(width) if i in (0, 1, len(_COLUMNS) - 1) else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(row, widths))
    ).rstrip()
    for row in rows
  ]
  steps = sum(summaries[name].steps for name in fresh)
  lines.append(
    f'prepared {len(fresh)} of {len(summaries) + len(rejects)} recordings now, {steps} steps in '
    f'{seconds:.1f} s: {steps / seconds:.0f} steps/s, {steps * grid.step_seconds / seconds:.1f} × real time'
  )
  if absent:
    lines.append(f'absent, though the split names them: {len(absent)}')
    kinds: dict[tuple[str, str], list[str]] = {}
    for name, partition, missing in absent:
      kinds.setdefault((partition, missing), []).append(name)
    lines += [f'  {partition}, no {missing}: {" ".join(names)}' for (partition, missing), names in kinds.items()]
  if rejects:
    lines.append(f'refused: {len(rejects)}')
    lines += [f'  {row["recording"]}: {row["reason"].removeprefix(row["recording"] + ": ")}' for row in rejects]
  return '\n'.join(lines)
