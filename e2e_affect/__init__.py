"""Continuous arousal and valence from raw speech and raw face video; `load` and `analyse` are for notebooks."""

import os
import warnings

import data_prep  # its answer to signals, before libraries are imported


def load(folder):
  """Loads a network that `python -m e2e_affect.export` wrote: a callable from arrays to traces.

      import e2e_affect
      network = e2e_affect.load('exported/fused')
      traces = network(audio=samples, faces=crops)  # {'time': [T], 'arousal': [T], 'valence': [T], …}

  Shapes, units and errors: see `e2e_affect.clips.network.Network`. A network of a simulated corpus says so in a
  warning.
  """
  # JAX takes a second to import, and most modules of this package do without `load`.
  from data_prep.core import cli
  from e2e_affect.clips import exported
  from e2e_affect.run import origin

  loaded = exported.load(cli.argument(os.fspath(folder)))
  if loaded.simulated:
    warnings.warn(origin.SIMULATED, stacklevel=2)
  return loaded


def analyse(clip, network, channel=None, faces='largest', speakers=None):
  """Analyses a clip; nothing is written.

      talk = e2e_affect.analyse('talk.mp4', network)
      talk.traces  # a pandas table, or arrays: time, arousal, valence, …
      talk.plot()
      talk.write('eaf', 'for_elan')
      for one in e2e_affect.analyse('talk.mp4', network, faces='all'):
        one.person, one.traces

  Shapes, units and errors: see `e2e_affect.clips.analysis`.
  """
  from e2e_affect.clips import analysis

  return analysis.analyse(clip, network, channel, faces, speakers)
