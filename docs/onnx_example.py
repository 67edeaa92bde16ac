"""Traces of a sound file by a network that hears: `python onnx_example.py FOLDER sound.wav > traces.csv`.

FOLDER is of `python -m e2e_affect.export --to=onnx`. It needs onnxruntime, NumPy and soundfile, nothing else.
"""

import json
import pathlib
import sys

import numpy as np
import onnxruntime
import soundfile

folder = pathlib.Path(sys.argv[1])
about = json.loads((folder / 'graph.json').read_text(encoding='utf-8'))
session = onnxruntime.InferenceSession(folder / 'network.onnx', providers=['CPUExecutionProvider'])
samples, rate = soundfile.read(sys.argv[2], dtype='int16', always_2d=True)
if rate != about['sample_rate']:
  sys.exit(f'{sys.argv[2]}: {rate} Hz, expected {about["sample_rate"]}; convert it, for instance with FFmpeg')
sound, size, context, chunk = samples[:, 0], about['samples_per_step'], about['context_steps'], 250  # one channel
steps = -(-len(sound) // size)
audio, valid = np.zeros((steps + 2 * context, size), np.int16), np.zeros(steps + 2 * context, np.float32)
audio.reshape(-1)[context * size :][: len(sound)] = sound
valid[context : context + steps] = 1
statistics = {'audio_mean': np.float32([sound.mean()]), 'audio_std': np.float32([sound.std()])}
state = [np.zeros((about['inputs']['cell']['shape'][0], 1, about['inputs']['cell']['shape'][2]), np.float32)] * 2
print('time', *about['targets'], sep=',')
for first in range(0, steps, chunk):
  count = min(chunk, steps - first)
  wide = slice(first, first + count + 2 * context)
  inputs = {'audio': audio[None, wide], 'valid': valid[None, wide], 'cell': state[0], 'hidden': state[1], **statistics}
  if 'face' in about['inputs']:  # a fused network, with the picture masked
    inputs['face'] = np.zeros((1, count, *about['inputs']['face']['shape'][2:]), np.uint8)
    inputs['face_found'] = np.zeros((1, count), np.float32)
  traces, *state = session.run(None, inputs)
  for step, values in enumerate(traces[0], first + about['label_delay_steps']):
    print(f'{step * about["step_seconds"]:.2f}', *values, sep=',')
