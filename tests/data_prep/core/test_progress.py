"""Progress in a log: how many are done, and how long the rest will take."""

from data_prep.core import progress


def test_lines_of_the_log(monkeypatch):
  now = iter([0.0, 0.0, 4.0, 12.0, 16.0, 24.0])  # at the start, then before each item
  monkeypatch.setattr(progress.time, 'monotonic', lambda: next(now))
  monkeypatch.setattr(progress.sys.stderr, 'isatty', lambda: False)
  logged = []
  monkeypatch.setattr(progress.logging, 'info', lambda form, *values: logged.append(form % values))
  assert list(progress.over(list('abcde'), 'fitting', 'models')) == list('abcde')
  # 2 of 5 took 12 s, so 3 take 18 s; 4 of 5 took 24 s, so one takes 6 s.
  assert logged == ['fitting: 2 of 5, 18 s left', 'fitting: 4 of 5, 6 s left']
