"""``snakemake --logger hcs``: what Snakemake's log records make the display show."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path += [str(Path(__file__).parent / "operations" / "watching"), str(Path(__file__).parent / "e2e")]

from e2e_lab import ENVIRONMENT, Lab, image_files, one_stage, small_plate, truncate
from snakemake.logging import DefaultFormatter
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry
from standin_plate import StandinPlate, plain_plan

import hcs_steps.operations.hooks
import snakemake_logger_plugin_hcs as plugin

WELLS = ["A01", "A02", "B01"]


class Shown:
    """What has been printed on stderr since the test began."""

    def __init__(self, capsys):
        self.capsys, self.text = capsys, ""

    def getvalue(self):
        self.text += self.capsys.readouterr().err
        return self.text


@pytest.fixture
def stream(capsys):
    return Shown(capsys)


@pytest.fixture
def plate(tmp_path, monkeypatch):
    """A plate in ``results/P1`` of the working directory."""
    monkeypatch.chdir(tmp_path)
    plate = StandinPlate(Path("results/P1"), plain_plan(WELLS))
    plate.ran("running")
    return plate


def handler(**changes):
    output = {
        "printshellcmds": False, "nocolor": False, "quiet": None, "debug_dag": False, "verbose": False,
        "show_failed_logs": False, "stdout": False, "dryrun": False,
    }  # fmt: skip
    found = plugin.LogHandler(SimpleNamespace(**(output | changes)), plugin.LogHandlerSettings(plain=True))
    found.setFormatter(DefaultFormatter(output["quiet"]))
    return found


def record(text="", level=logging.INFO, path="snakemake/workflow.py", **extra):
    made = logging.LogRecord("snakemake.logging", level, path, 1, text, (), None)
    made.__dict__.update(extra)
    return made


def job_info(rule, output, wildcards, shell="hcs step --plan x", reason="Missing output files: x", jobid=1):
    return record(
        event=LogEvent.JOB_INFO, rule_name=rule, output=[output], wildcards=wildcards, shellcmd=shell,
        reason=reason, jobid=jobid, rule_msg=None, local=False, is_checkpoint=False, input=[], log=[],
        benchmark=None, priority=0, threads=1, resources={}, indent=False,
    )  # fmt: skip


def job_of(stage, well, **values):
    return job_info(
        stage, f"results/P1/jobs/{stage}/{well}.json", {"results": "results/P1", "job": well}, **values
    )


def job_error(rule, output, shell):
    return record(
        f"Error in rule {rule}", logging.ERROR, event=LogEvent.JOB_ERROR, rule_name=rule, rule_msg=None,
        output=[output], log=["x.log"], shellcmd=shell, jobid=1, input=[], conda_env=None, aux={}, indent=False,
    )  # fmt: skip


def test_snakemake_finds_the_plugin_and_its_options():
    registry = LoggerPluginRegistry()
    assert "hcs" in registry.get_registered_plugins()
    found = registry.get_plugin("hcs")
    assert found.log_handler is plugin.LogHandler
    assert found.settings_cls is plugin.LogHandlerSettings


def test_importing_it_costs_nothing():
    heavy = "[name for name in ('numpy', 'rich', 'hcs_steps') if name in sys.modules]"
    code = f"import snakemake_logger_plugin_hcs, sys; print({heavy})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert done.stdout.strip() == "[]"


def test_plates_that_are_told_are_shown_and_snakemakes_chatter_is_not(plate, stream):
    shown = handler()
    own = hcs_steps.operations.hooks.__file__
    shown.handle(record("Building DAG of jobs..."))
    shown.handle(record("hcs-steps: P1, 3 units.", path=own, hcs_plates={"results/P1": plate.plan}))
    shown.handle(job_of("normalize", "A01"))
    shown.handle(record(event=LogEvent.JOB_STARTED, jobs=[1]))
    shown.handle(record("something else", level=logging.WARNING))
    plate.done("normalize")
    plate.failed("count", "A02", "No cells.")
    shown.close()
    text = stream.getvalue()
    assert "hcs-steps: P1, 3 units." in text
    assert "something else" in text
    assert "Building DAG" not in text
    assert "A02 failed in count: StepError: No cells." in text
    assert re.search(r"^normalize +3 ", text, re.MULTILINE)


def test_a_plate_that_nobody_tells_of_is_found_by_its_jobs(plate, stream):
    shown = handler()
    shown.handle(job_of("normalize", "A01"))
    plate.done("normalize")
    shown.close()
    assert re.search(r"^normalize +3 ", stream.getvalue(), re.MULTILINE)


def test_a_dry_run_tells_stages_jobs_and_reasons(plate, stream):
    shown = handler(dryrun=True)
    shown.handle(record("Building DAG of jobs..."))
    for well in WELLS:
        reason = "Params have changed since last execution: x" if well == "A01" else "Missing output files: y"
        shown.handle(job_of("normalize", well, reason=reason))
    shown.handle(
        job_info("finish", "results/P1/jobs/finish.json", {"results": "results/P1"}, shell="hcs finish")
    )
    shown.handle(record("This was a dry-run (flag -n)."))
    shown.close()
    shown.close()
    text = stream.getvalue()
    assert re.search(
        r"normalize +3  has not run yet \(2\), its steps, its images or its failures have changed \(1\)", text
    )
    assert text.count("this was a dry run") == 1
    assert "Building DAG" not in text


def test_a_workflow_of_others_is_shown_as_snakemake_shows_it(stream):
    shown = handler()
    shown.handle(record("Building DAG of jobs..."))
    assert stream.getvalue() == ""
    shown.handle(job_info("align", "a.bam", {"sample": "a"}, shell="bwa mem x"))
    shown.handle(record("Finished jobid: 1 (Rule: align)", event=LogEvent.JOB_FINISHED, job_id=1))
    shown.close()
    text = stream.getvalue()
    assert text.index("Building DAG") < text.index("rule align:") < text.index("Finished jobid: 1")


def test_what_snakemake_says_without_any_job_is_shown_at_the_end(stream):
    shown = handler()
    shown.handle(record("Nothing to be done (all requested files are present and up to date)."))
    shown.close()
    assert "Nothing to be done" in stream.getvalue()


def test_what_only_says_that_units_failed_is_not_an_error_of_snakemake(plate, stream):
    shown = handler()
    shown.handle(record("begin", hcs_plates={"results/P1": plate.plan}))
    shown.handle(job_error("finish", "results/P1/jobs/finish.json", "hcs finish --plan results/P1/plan.json"))
    shown.handle(
        record("CalledProcessError in file x: Command 'hcs finish ...'", logging.ERROR, event=LogEvent.ERROR)
    )
    shown.handle(record("Exiting because a job execution failed. Look above.", logging.ERROR))
    shown.close()
    text = stream.getvalue()
    assert "finish" not in text
    assert "Exiting because" not in text


def test_a_job_that_ended_without_a_result_is_told_in_one_line(plate, stream):
    shown = handler()
    shown.handle(record("begin", hcs_plates={"results/P1": plate.plan}))
    shown.handle(job_error("count", "results/P1/jobs/count/A02.json", "hcs step --plan results/P1/plan.json"))
    shown.handle(record("Exiting because a job execution failed. Look above.", logging.ERROR))
    shown.close()
    text = stream.getvalue()
    assert "The job A02 of count ended without a result (log: x.log)." in text
    assert "Exiting because" in text


def test_quiet_leaves_errors_and_the_end(plate, stream):
    shown = handler(quiet={"all"})
    shown.handle(record("begin", hcs_plates={"results/P1": plate.plan}))
    shown.handle(record("something is wrong", logging.ERROR))
    shown.close()
    text = stream.getvalue()
    assert "something is wrong" in text
    assert "going on: normalize" not in text
    assert "0 of 3 units done" in text


def test_trouble_in_the_display_never_reaches_snakemake(plate, stream, monkeypatch):
    shown = handler()
    shown.handle(record("begin", hcs_plates={"results/P1": "not a plan"}))
    shown.handle(record("again", hcs_plates={"results/P1": "not a plan"}))
    shown.close()
    assert stream.getvalue().count("the run goes on") == 1


def test_a_job_of_a_plate_without_a_plan_is_no_trouble(tmp_path, monkeypatch, stream):
    monkeypatch.chdir(tmp_path)
    shown = handler()
    shown.handle(job_of("normalize", "A01"))
    shown.handle(job_of("normalize", "A02"))
    shown.close()
    assert stream.getvalue().count("cannot be read") == 1


@pytest.mark.e2e
def test_a_real_run_with_a_broken_well_as_lines(tmp_path):
    plate = small_plate(tmp_path / "P1", wells=["A01", "A02"])
    lab = Lab.create(tmp_path / "lab", [plate], one_stage())
    truncate(image_files(plate, "A02")[0])
    dry = lab.call("-n", "--logger", "hcs")
    assert dry.code == 0, dry.output
    assert re.search(r"normalize +2  has not run yet", dry.output)
    run = lab.call("--logger", "hcs")
    assert run.code == 1
    assert "A02 failed in normalize: " in run.output
    assert re.search(r"^normalize +1 +\. +1 ", run.output, re.MULTILINE), run.output
    assert "report.html" in run.output
    assert "Job stats" not in run.output
    assert "Traceback" not in run.output


@pytest.mark.e2e
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no pseudo-terminals")
def test_a_real_run_on_a_terminal(tmp_path):
    import pty

    plate = small_plate(tmp_path / "P1", wells=["A01"], sites=(1, 1))
    lab = Lab.create(tmp_path / "lab", [plate], one_stage())
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--logger", "hcs"]
    process = subprocess.Popen(
        command, cwd=lab.root, env={**ENVIRONMENT, "TERM": "xterm"}, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    drawn = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        drawn += part
    os.close(ours)
    text = drawn.decode()
    assert process.wait() == 0, text
    assert "\x1b[1A" in text, "nothing was drawn in place"
    assert "\x1b[?25l" not in text
    assert re.search(r"1/1", text)
    assert re.search(r"normalize +(\x1b\[[0-9;]*m)* *1", text)
