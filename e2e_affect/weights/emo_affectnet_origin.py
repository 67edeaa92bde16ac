"""What is known of EMO-AffectNet's files: on whom they were trained, their licence, their published scores.

No file says which of the six temporal ones it is: its name is taken for that, and the result says so.
"""

import re

PAPER = 'Ryumina, Dresvyanskiy and Karpov (2022), In search of a robust facial expressions recognition model'
LICENCE = (
  'The page of the model says: MIT. The README of its repository says: for scientific usage only. Both are repeated '
  'here; ask the authors which of them holds for you. The corpora that it learnt from have terms of their own.'
)
_STATIC = (
  'AffectNet (faces): some 400,000 photographs from the web, found by emotion words in six languages and labelled by '
  'people; who and how many they show is unknown, posed and spontaneous are mixed; before that VGGFace2, 9,131 people'
)
# Corpus -> (what it is, published unweighted average recall of the network that was trained without it, %).
_CORPORA = {
  'RAVDESS': ('24 actors, English, acted', 65.8),
  'CREMA-D': ('91 actors, English, acted', 60.6),
  'SAVEE': ('4 actors, English, acted', 76.1),
  'RAMAS': ('10 actors, Russian, improvised by actors', 44.3),
  'IEMOCAP': ('10 actors, English, scripted and improvised by actors', 25.1),
  'Aff-Wild2': ('videos from the web, hundreds of people, many languages, spontaneous', 51.6),
}


def of(static_name: str, temporal_name: str | None) -> dict:
  """For `network.json`: `network`, `people`, `licence`, `scores` and `files`, texts and lists of them.

  Args:
    static_name, temporal_name: of the files; None: no temporal one.
  """
  people = [_STATIC]
  scores = ['static network, published: 66.4 % accuracy on the validation set of AffectNet']
  if temporal_name is not None:
    left_out = _corpus_in(temporal_name)
    people += [f'{name} (videos): {words}' for name, (words, _) in _CORPORA.items() if name != left_out]
    if left_out:
      scores.append(
        f'this temporal network, published: {_CORPORA[left_out][1]:g} % unweighted average recall on {left_out}, which '
        f'it was not trained on (the name of the file, {temporal_name}, says so); chance is 14.3 %'
      )
    else:
      people[-1] += '; all of these but one, and the name of the file does not say which'
      ends = sorted(recall for _, recall in _CORPORA.values())
      scores.append(
        f'temporal network, published: {ends[0]:g} to {ends[-1]:g} % unweighted average recall, by the corpus that was '
        f'left out; the name of the file, {temporal_name}, does not say which; chance is 14.3 %'
      )
  return {
    'network': f'EMO-AffectNet, {PAPER}',
    'files': [name for name in (static_name, temporal_name) if name],
    'people': people,
    'licence': LICENCE,
    'scores': scores,
  }


def _corpus_in(name):
  """The corpus that a file's name names; None: none, or several."""
  letters = lambda text: re.sub('[^a-z0-9]', '', text.lower())
  found = [corpus for corpus in _CORPORA if letters(corpus) in letters(name)]
  return found[0] if len(found) == 1 else None
