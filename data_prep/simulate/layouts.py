"""The folder layouts that the simulated corpus may have, and the size of the embedded one."""

from collections.abc import Mapping
import dataclasses

from data_prep.corpora import splits

SUBJECTS, SECONDS, SEED = 34, 96, 0  # of the embedded corpus


@dataclasses.dataclass(frozen=True)
class Layout:
  """How a release lies in folders.

  Attributes:
    title: of the release.
    people: partition -> ids of RECOLA.
    names: partition -> the beginning of the names that number its people; None: the ids are the names.
    folders: kind of file -> its folder.
  """

  title: str
  people: Mapping[str, tuple[str, ...]]
  names: Mapping[str, str] | None
  folders: Mapping[str, str]

  def name(self, subject: str) -> str:
    """What a subject's files are called."""
    if self.names is not None:
      for partition, ids in self.people.items():
        if subject in ids:
          return f'{self.names[partition]}_{ids.index(subject) + 1}'
    return subject


LAYOUTS = {
  'recola': Layout(
    'RECOLA',
    splits.RECOLA_FULL,
    None,
    {
      'arousal': 'RECOLA-Annotation/emotional_behaviour/arousal',
      'valence': 'RECOLA-Annotation/emotional_behaviour/valence',
      'audio': 'RECOLA-Audio-recordings',
      'video': 'RECOLA-Video-recordings',
      'sensors': 'RECOLA-Biosignals-recordings',
      'turns': 'RECOLA-Audio_timings',
      'box': 'RECOLA-Face_boxes',
    },
  ),
  'avec2016': Layout(
    'AVEC 2016',
    splits.RECOLA_AVEC,
    {'train': 'train', 'validation': 'dev', 'test': 'test'},
    {
      'arousal': 'ratings_individual/arousal',
      'valence': 'ratings_individual/valence',
      'audio': 'recordings_audio',
      'video': 'recordings_video',
      'sensors': 'recordings_physio',
    },
  ),
}
