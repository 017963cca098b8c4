from pathlib import Path

from snakemake.utils import min_version

from hcs_steps.emit.workflow import load_workflow
from hcs_steps.operations.hooks import RunHooks

min_version("9.0")


configfile: "config/config.yaml"


# The main process reads the plates and compiles; a process that Snakemake spawns only loads the plans.
HCS, RULES = load_workflow(config, main_process=workflow.is_main_process, scratch=workflow.snakemake_tmp_dir)
HCS.on_cluster = lambda: workflow.non_local_exec
RUN = RunHooks(HCS)


rule all:
    input:
        HCS.targets,


include: RULES
include: "rules/report.smk"
include: "rules/finish.smk"


onstart:
    RUN.start(workflow.dag_settings.batch)


onsuccess:
    RUN.end(True)


onerror:
    RUN.end(False)
