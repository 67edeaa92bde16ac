"""TensorFlow without its greetings; whoever needs TensorFlow or its datasets takes them from here.

The log levels hide its line about instruction sets, and its warnings; errors stay. No level hides its line about
oneDNN, so oneDNN is off: readers and writers of shards use none of its operations (convolutions, matrix products).
"""

import os

from data_prep.core import quiet  # noqa: F401

os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')

import tensorflow as tf
import tensorflow_datasets as tfds  # noqa: F401

tf.get_logger().setLevel('ERROR')
