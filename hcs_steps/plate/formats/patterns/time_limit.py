"""A naming of a user's own is tried in a process that can be ended: some regular expressions take years.

``(a+)+b`` looks at two to the power of n ways to read n letters, and Python's matching cannot be interrupted from
within. A naming that has gone through all names in time once can be used on them in any process.
"""

from __future__ import annotations

import json
import subprocess
import sys

from hcs_steps.errors import ConfigError
from hcs_steps.plate.formats.patterns.spec import MAX_PATH, PatternSpec, text_of
from hcs_steps.plate.listing import FileListing

LIMIT_S = 8.0
PER_NAME_S = 0.0005
"""A usual name takes a hundredth of that."""

_TRIAL = """
import json, os, re, sys
regexes, names = json.load(sys.stdin)
compiled = [re.compile(regex, re.DOTALL) for regex in regexes]
for number, texts in enumerate(names):
    os.write(1, b"%d\\n" % number)
    for regex, text in zip(compiled, texts):
        regex.fullmatch(text)
        regex.search(text)
"""


def require_quick(spec: PatternSpec, listing: FileListing) -> None:
    """Raise `ConfigError` if the expressions of a naming take too long on the names of a plate."""
    entries = [entry for entry in listing.images if len(entry.path) <= MAX_PATH]
    regexes = [spec.regex, *([spec.exclude] if spec.exclude else [])]
    names = [[text_of(regex, entry) for regex in regexes] for entry in entries]
    command = [sys.executable, "-I", "-S", "-c", _TRIAL]
    try:
        subprocess.run(
            command,
            input=json.dumps([regexes, names]).encode(),
            capture_output=True,
            timeout=LIMIT_S + PER_NAME_S * len(names),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        tried = len((error.stdout or b"").splitlines())
        raise ConfigError(
            f"The file pattern takes too long to be compared with {entries[max(0, tried - 1)].path!r}: "
            f"{' and '.join(map(repr, regexes))}.",
            hint="A repetition inside a repetition, such as (a+)+, or several of .* in a row can be read in too many "
            r"ways: write what divides the parts of a name, as in \w+_\d+.",
        ) from None
