"""Scores by person, and by whatever columns of the manifest say of people and recordings."""

from collections.abc import Mapping, Sequence

from e2e_affect.heads import Head
from e2e_affect.traces.traces import Trace

SUBJECT = 'subject'  # the column that every corpus has
FEW = 5  # people; a bootstrap of four has 35 different replicates
MOST_VALUES = 20  # of a column: more are numbers, or names


def evaluate(
  traces: Sequence[Trace],
  about: Mapping[str, Mapping[str, str]],
  head: Head,
  targets: Sequence[str],
  seed: int,
  of_band: Mapping,
) -> dict[str, dict]:
  """Scores each group of a partition as the partition itself is scored.

  Args:
    traces: of the partition; recordings without labels are left out.
    about: recording -> column -> value, see `Manifest.about`; '' or no entry: not known, and in no group.
    head: that scores.
    targets: K names.
    seed: of the bootstrap.
    of_band: what `band.fit` returned, or {}.

  Returns:
    Column -> `{"groups": {value: {"subjects", "recordings", "score": R, "coverage"}}, "few": [value, …]}`, with R as
    `Head.score` makes it, `coverage` of the band or null, and `few` the groups of fewer than `FEW` people. Of a column
    with too many values: `{"groups": {}, "values": how many}`. A column that does not divide the people is left out.
  """
  scored = [t for t in traces if t.scored.any()]
  columns = dict.fromkeys(column for t in scored for column in about.get(t.recording, {}))
  value_of = {SUBJECT: {t.recording: t.subject for t in scored}}
  value_of |= {column: {t.recording: about.get(t.recording, {}).get(column, '') for t in scored} for column in columns}
  found: dict[str, dict] = {}
  for column, values in value_of.items():
    members: dict[str, list[Trace]] = {}
    for trace in scored:
      members.setdefault(values[trace.recording], []).append(trace)
    members.pop('', None)
    if len(members) < 2:
      continue
    if column != SUBJECT and len(members) > MOST_VALUES:
      found[column] = {'groups': {}, 'values': len(members)}
      continue
    groups: dict[str, dict] = {
      value: {
        'subjects': len({t.subject for t in of}),
        'recordings': len(of),
        'score': head.score(of, targets, seed),
        'coverage': head.coverage(of_band, of, targets),
      }
      for value, of in sorted(members.items())
    }
    found[column] = {'groups': groups, 'few': [value for value, of in groups.items() if of['subjects'] < FEW]}
  return found
