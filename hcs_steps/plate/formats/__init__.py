"""One module per microscope format; a naming without metadata is an entry in `named_patterns` instead."""
