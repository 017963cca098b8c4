# The last rule: it has an output only if nothing failed, so that the exit code tells and the next run tries again.
rule finish:
    input:
        "{results}/jobs/report/plate.json",
    output:
        "{results}/jobs/finish.json",
    log:
        "{results}/logs/finish.log",
    wildcard_constraints:
        results=HCS.folders(),
    retries: 0
    localrule: True
    shell:
        "hcs finish --plan {wildcards.results:q}/plan.json --marker {output:q} --log {log:q}"
