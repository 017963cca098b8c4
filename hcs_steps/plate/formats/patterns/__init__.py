"""Formats that are nothing but a naming of files: those with a name of their own, and users' own patterns."""
