"""``snakemake --logger hcs``: the live display of hcs-steps in the place of Snakemake's own messages.

Snakemake imports this in every process, also in those of jobs: nothing heavy is imported before something is shown.
Annotations are not postponed (no ``from __future__``): Snakemake makes options of the settings' types.
"""

import sys
from dataclasses import dataclass, field
from logging import LogRecord
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):  # type: ignore[misc]
    """Settings of the display."""

    plain: bool = field(default=False, metadata={"help": "Print lines, also on a terminal."})
    interval: float = field(default=2.0, metadata={"help": "Seconds between two looks at the results."})


class LogHandler(LogHandlerBase):  # type: ignore[misc]
    """Gives Snakemake's records to the display; nothing that goes wrong here reaches Snakemake."""

    def __post_init__(self) -> None:
        self._watcher: Any = None
        self._closed = False
        self._troubled = False

    def emit(self, record: LogRecord) -> None:
        """Show what the record says."""
        try:
            if not self._closed:
                self._shown().take(record)
        except Exception:
            self.handleError(record)

    def handleError(self, record: LogRecord) -> None:  # noqa: N802 - the name is that of `logging.Handler`
        """Tell of the first trouble only."""
        if not self._troubled:
            self._troubled = True
            error = sys.exc_info()[1]
            print(
                f"The display has ended ({type(error).__name__}: {error}); the run goes on.", file=sys.stderr
            )

    def close(self) -> None:
        """Show how it ended and give the terminal back."""
        watcher, self._watcher = self._watcher, None
        try:
            if watcher is not None:
                watcher.end()
        except Exception:
            self.handleError(LogRecord("", 0, "", 0, "", (), None))
        finally:
            self._closed = True
            super().close()

    def _shown(self) -> Any:
        if self._watcher is None:
            from snakemake_logger_plugin_hcs.watcher import Watcher

            self._watcher = Watcher(self.common_settings, self.settings, self.format)
        return self._watcher

    @property
    def writes_to_stream(self) -> bool:
        """It takes the place of Snakemake's messages."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Snakemake's own log file has everything."""
        return False

    @property
    def has_filter(self) -> bool:
        """It sees everything, and decides itself what ``--quiet`` leaves out."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Snakemake's own messages look as ever."""
        return False

    @property
    def needs_rulegraph(self) -> bool:
        """Plans say what there is to do."""
        return False
