"""The page and its Markdown: in the paper's form, told apart from RECOLA's, on screens and on paper."""

import re

import pytest

from e2e_affect.paper import pages
from tests import browser
from tests.e2e_affect.report.test_page import Document


def test_the_page_says_what_corpus_it_is_at_every_table(made_folder):
  page = (made_folder / 'paper.html').read_text()
  document = Document(page)
  captions = document.all('p', **{'class': 'caption'})
  assert len(captions) == 5
  assert page.count('Here: simulated people, 12.') == 5  # people: 3 + 4 + 5
  (warning,) = document.all('p', **{'class': 'warning'})
  assert warning[2].startswith('Simulated people')
  assert "@bottom-left { content: 'Simulated people, not RECOLA'" in page  # on every printed page
  markdown = (made_folder / 'paper.md').read_text()
  assert markdown.count('Here: simulated people, 12.') == 5 and '**Simulated people' in markdown


def test_cells_have_the_form_of_the_paper_and_link_to_their_run(made_folder):
  document = Document((made_folder / 'paper.html').read_text())
  links = [of[1]['href'] for of in document.all('a')]
  assert {'speech/report.html', 'seed1/speech/report.html', 'svr_egemaps/report.html'} <= set(links)
  for link in links:
    assert (made_folder / link).is_file()
  assert len([of for of in document.all('i') if of[2] == 'published']) == 2 * (4 + 6)  # rows of Tables IV and V
  assert len([of for of in document.all('i') if of[2] == 'not run']) == 2 + 2  # and one beyond the paper
  markdown = (made_folder / 'paper.md').read_text()
  row = next(line for line in markdown.splitlines() if line.startswith('| Baseline [29] | eGeMAPS |'))
  number = r'−?\d\.\d{3}'
  signed = r'[+−]?\d\.\d{3}'
  cell = rf'\[\**{number}\** \({number}\)\]\(svr_egemaps/report\.html\) \| {number}…{number} \| '
  assert re.match(
    rf'\| Baseline \[29\] \| eGeMAPS \| {cell}0\.648 \(0\.796\) \| {signed} \({signed}\) \| {cell}'
    rf'\*\*0\.375\*\* \(0\.455\) \| {signed} \({signed}\) \| `svr:egemaps_demo` \|$',
    row,
  ), row
  assert 'speech:demo` `data.sequence_steps=75, epochs=1, batch_size=8' in markdown


def test_the_searched_grids_and_times_stand_in_the_page(made_folder):
  page = (made_folder / 'paper.html').read_text()
  assert 'SVR: 2 tried,\ncomplexity 0.001, 0.01.' in page
  assert '<li>arousal: complexity 0.01</li>' in page
  assert '<td>0.001</td><td>0.301</td><td>0.200</td><td>valence</td>' in page and '5 min together' in page
  searched = ', SVR: 2 tried, complexity 0.001, 0.01\n    * valence: complexity 0.001\n    * arousal: complexity 0.01\n'
  assert searched in (made_folder / 'paper.md').read_text()


def test_figures_stand_there_with_what_is_said_of_them(made_folder):
  document = Document((made_folder / 'paper.html').read_text())
  assert [of[2] for of in document.all('figcaption')] == [
    f'What {name} shows.' for name in ('figure_2', 'filters', 'figure_3')
  ]
  assert len(document.all('img')) == 3
  assert '![figure_3](figures/figure_3.png)' in (made_folder / 'paper.md').read_text()


@pytest.mark.parametrize('p, words', [(0.0004, '&lt; 0.001'), (0.0312, '0.031'), (1.0, '1.000')])
def test_probabilities(p, words):
  assert pages.probability(p) == words.replace('&lt;', '<')


@pytest.mark.slow
@pytest.mark.skipif(browser.BINARY is None, reason='no Chromium here')
@pytest.mark.parametrize('width', [1280, 390])
def test_the_page_fits_its_window(made_folder, tmp_path, width):
  with browser.Browser(tmp_path) as page:
    for scheme in ('light', 'dark'):
      page.size(width, 900, scheme)
      page.open(made_folder / 'paper.html')
      assert page.run('document.documentElement.scrollWidth') <= width and not page.complaints()
      # Nothing of a table is hidden to the right.
      assert page.run('[...document.querySelectorAll(".scroll")].every(e => e.scrollWidth <= e.clientWidth + 1)')
    assert page.requests() == [(made_folder / 'paper.html').as_uri()]
