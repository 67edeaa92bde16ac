"""What SECURITY.md says."""

import ast
import re

import pytest

from data_prep.core.errors import DataError
from data_prep.labels import ratings
from tests import trainings
from tests.fuzz import kinds

PAGE = trainings.ROOT / 'SECURITY.md'
# What runs or unpickles text, by the names that it is called by. `exec_module` runs config files, which are programs.
FORBIDDEN = re.compile(
  r'(eval|exec|compile|(c?[pP]ickle|marshal|shelve|dill|joblib|torch)\.(load|loads|open|Unpickler)|os\.system|'
  r'yaml\.load)'
)


def test_the_tests_that_it_names_are_there():
  named = set(re.findall(r'`(test_\w+)`', PAGE.read_text(encoding='utf-8')))
  there = set()
  for path in (trainings.ROOT / 'tests').rglob('test_*.py'):
    there |= set(re.findall(r'^def (test_\w+)\(', path.read_text(encoding='utf-8'), re.MULTILINE))
  assert len(named) > 20 and named <= there, named - there


@pytest.mark.parametrize('package', ['data_prep', 'e2e_affect'])
def test_no_source_file_loads_pickles_or_runs_text(package):
  found = []
  for path in (trainings.ROOT / package).rglob('*.py'):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
      if isinstance(node, ast.Call):
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if (
          FORBIDDEN.fullmatch(ast.unparse(node.func))
          or keywords.get('allow_pickle', 'False') != 'False'
          or keywords.get('shell', 'False') != 'False'
        ):
          found.append(f'{path}:{node.lineno}: {ast.unparse(node)[:80]}')
  assert not found, found


def test_xml_that_unfolds_to_gigabytes_is_refused(tmp_path):
  entities = '<!ENTITY a0 "lol">' + ''.join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 11))
  path = tmp_path / 'a.eaf'
  path.write_text(f'<!DOCTYPE x [{entities}]><ANNOTATION_DOCUMENT><TIME_ORDER>&a10;</TIME_ORDER></ANNOTATION_DOCUMENT>')
  with pytest.raises(DataError, match='a.eaf') as e:
    ratings.targets(path, 'x')
  assert '\n' not in str(e.value)


def test_an_exported_folder_with_a_fault_is_refused_or_the_same(tmp_path):
  """A short run of the fuzzing: `make fuzz` tries a thousand."""
  assert kinds.refusals('exported', kinds.exported(tmp_path), 12)
