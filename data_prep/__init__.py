"""Raw recordings -> shards."""

from data_prep.core import signals  # first: from here on a signal ends a command without a traceback
