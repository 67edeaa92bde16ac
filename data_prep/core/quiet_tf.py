"""TensorFlow without its greetings; whoever needs TensorFlow or its datasets takes them from here.

Its line about instruction sets goes with the log level; its line about oneDNN, which no level hides, goes with oneDNN,
whose operations (convolutions, matrix products) no reader or writer of shards uses. Warnings are hidden, errors stay.
"""

import os

if os.environ.get('TF_CPP_MIN_LOG_LEVEL', '1') == '1':  # what JAX sets, which shows warnings
  os.environ['TF_CPP_MIN_LOG_LEVEL'] = '2'
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')

import tensorflow as tf  # noqa: F401
import tensorflow_datasets as tfds  # noqa: F401
