"""hcs-steps: high-content-screening plates through image-analysis pipelines, as a Snakemake workflow."""

__version__ = "0.1.0"
