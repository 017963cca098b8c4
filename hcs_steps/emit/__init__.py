"""From plans to Snakemake rules."""
