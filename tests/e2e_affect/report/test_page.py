"""The templates: whatever a name holds stays text, and what the pages are made of is installed with the package."""

import configparser
import fnmatch
import html.parser
import json
import pathlib
import re
from urllib.parse import unquote

import jinja2
import numpy as np
import pytest
import soundfile

from e2e_affect.clips import analyse, clip_csv, clip_files, clip_page, index_page
from e2e_affect.clips.network import Network
from e2e_affect.report import page, run_report
from tests.e2e_affect.report.test_report import make_results, make_run
from tests.networks import small_network

ROOT = pathlib.Path(__file__).parents[3]
TEMPLATES = [
  path for folder in ('clips/assets', 'report/templates') for path in (ROOT / 'e2e_affect' / folder).glob('*.html')
]
NAMES = {
  'markup': '</script><b onclick="x()">&amp;<!--',
  'quotes': "\" onload='x()' \\",
  'lines': 'one\ntwo\tthree',
  'right to left': '\u202eeman \u05e9\u05dc\u05d5\u05dd',
  'template': '{{ 7 * 7 }}{% raw %}{# #}',
}


class Document(html.parser.HTMLParser):
  """Collects elements as (tag, attributes, text of their own)."""

  def __init__(self, content):
    super().__init__()
    self.elements, self._open = [], []
    self.feed(content)
    self.close()
    assert not self._open

  def handle_starttag(self, tag, attrs):
    self.elements.append([tag, dict(attrs), ''])
    if tag not in ('meta', 'img'):
      self._open.append(self.elements[-1])

  def handle_startendtag(self, tag, attrs):
    self.elements.append([tag, dict(attrs), ''])

  def handle_endtag(self, tag):
    assert self._open.pop()[0] == tag

  def handle_comment(self, data):
    raise AssertionError(f'a comment: {data}')

  def handle_data(self, data):
    if self._open:
      self._open[-1][2] += data

  def shape(self):
    """What is there beside texts and values: the same whatever a name holds."""
    return [(tag, sorted(attributes)) for tag, attributes, _ in self.elements]

  def all(self, tag, **attributes):
    return [e for e in self.elements if e[0] == tag and attributes.items() <= e[1].items()]


def shape_of(write, name, path):
  """(the page of a name, whether it is built like that of a plain name)."""
  write('plain', path)
  plain = Document(path.read_text(encoding='utf-8')).shape()
  write(name, path)
  document = Document(path.read_text(encoding='utf-8'))
  return document, document.shape() == plain


@pytest.mark.parametrize('name', NAMES.values(), ids=NAMES)
def test_names_on_the_page_of_a_clip(name, tmp_path, monkeypatch):
  soundfile.write(tmp_path / 'a.wav', np.random.default_rng(0).normal(0, 0.1, 3000), 16_000)
  plain = small_network('speech')
  real = clip_page.write_page

  def write(word, path):
    about = {'targets': [word, 'valence'], 'label_scale': {}, 'postprocessing': {'fitted_on': None, 'reason': word}}
    network = Network(plain.config, plain.variables, {**plain.about, **about})
    wrapped = lambda path, content, clip, traces, network, media: real(
      path, {**content, 'clip': word, 'notes': [word]}, clip, traces, network, f'media/{word}.wav'
    )
    monkeypatch.setattr(clip_page, 'write_page', wrapped)
    monkeypatch.setattr(clip_csv, 'write', lambda path, *_: path.write_text(''))
    analyse.analyse(network, [str(tmp_path / 'a.wav')], path.parent / word.encode().hex())
    path.write_bytes((path.parent / word.encode().hex() / 'a.html').read_bytes())

  document, same = shape_of(write, name, tmp_path / 'page.html')
  assert same
  assert document.all('title')[0][2] == document.all('h1')[0][2] == name
  assert document.all('p', **{'class': 'soft'})[0][2].endswith(f' · {name}')
  assert len(document.all('b', id=f'value-{name}')) == 1
  data = json.loads(document.all('script', id='data')[0][2])
  assert list(data['people'][0]['targets']) == [name, 'valence']  # in the order of the network's
  # What the folder of results looks for, byte for byte.
  content = (tmp_path / 'page.html').read_text(encoding='utf-8')
  assert content.count(clip_files.PAGE_MARK) == 1
  assert [unquote(source) for source in re.findall(' src="media/([^"]+)"', content)] == [f'{name}.wav']


@pytest.mark.parametrize('name', NAMES.values(), ids=NAMES)
def test_names_in_the_index(name, tmp_path):
  numbers = {'mean': -0.25, 'std': 0.125}

  def write(word, path):
    summary = {
      'clip': word,
      'seconds': 3.0,
      'face': None,
      'notes': [word],
      'model': {'warning': word},
      'targets': {word: {'raw': numbers, 'postprocessed': None}},
    }
    index_page.write_index(path.parent, [word], [summary], [{word: [0.5, -0.5]}], [(word, word)])

  document, same = shape_of(write, name, tmp_path / 'index.html')
  assert same and index_page.MARK in (tmp_path / 'index.html').read_text(encoding='utf-8')
  ((_, link, text),) = document.all('a')
  assert unquote(link['href']) == f'{name}.html' and text == name
  cells = document.all('td')
  assert cells[0][1] == {'data-head': 'clip', 'data-sort': name.lower()}
  assert cells[3][1:] == [{'data-head': f'{name}, mean', 'data-sort': '-0.25'}, '−0.25']
  assert [cell[2] for cell in cells[-2:]] == [name, name]


@pytest.mark.parametrize('name', NAMES.values(), ids=NAMES)
def test_names_in_the_report_of_a_run(name, tmp_path):
  def write(word, path):
    results = json.loads(json.dumps(make_results()).replace('"arousal"', json.dumps(word)))
    results['checkpoint'] = {word: word}
    run = make_run(tmp_path / ('plain' if word == 'plain' else 'odd'), results, config={word: [word]})
    path.write_bytes(run_report.write_report(run).read_bytes())

  document, same = shape_of(write, name, tmp_path / 'page.html')
  assert same
  assert document.all('h3')[0][2] == name.capitalize()
  assert [e[2] for e in document.all('code')] == [name, name]
  assert document.all('td')[0][2] == f'{name}, post-processed'


def test_what_is_not_escaped_is_the_programs_own():
  shown = re.findall(r'{{[^}]*\| *safe[^}]*}}', ''.join(path.read_text(encoding='utf-8') for path in TEMPLATES))
  assert len(shown) >= 6
  assert all(re.fullmatch(r"{{ (asset\('[\w/.]+'\)|page_mark|meaning) \| safe -?}}", text) for text in shown), shown


def test_a_value_that_a_page_lacks_is_an_error():
  with pytest.raises(jinja2.UndefinedError, match="'measures' is undefined"):
    page.render('report/templates/comparison.html', title='Comparison', runs=[])


def test_what_pages_are_made_of_is_installed():
  setup = configparser.ConfigParser()
  setup.read(ROOT / 'setup.cfg', encoding='utf-8')
  packaged = setup['options.package_data']
  others = [
    path for path in (ROOT / 'e2e_affect').rglob('*.*') if path.is_file() and path.suffix not in ('.py', '.pyc')
  ]
  assert set(TEMPLATES) < set(others)
  for path in others:
    package = path.relative_to(ROOT).parent.parent
    patterns = packaged['.'.join(package.parts)].split()
    assert any(fnmatch.fnmatch(f'{path.parent.name}/{path.name}', pattern) for pattern in patterns), path
