# The page of a plate, also if units of it failed. `snakemake --report` includes it. The former page stays until the new one
# is there.
rule report:
    input:
        "{results}/jobs/consolidate/plate.json",
    output:
        marker="{results}/jobs/report/plate.json",
        page=report(update("{results}/report.html"), category="Plates", labels={"plate": "{results}"}),
    log:
        "{results}/logs/report/plate.log",
    wildcard_constraints:
        results=HCS.folders(),
    resources:
        mem_mb=HCS.memory("report"),
        runtime=HCS.runtime("report"),
    params:
        fingerprint=lambda wildcards: HCS.job_state(wildcards.results, "report", "plate"),
    shell:
        "hcs step --plan {wildcards.results:q}/plan.json --stage report --job plate"
        " --marker {output.marker:q} --log {log:q}"
