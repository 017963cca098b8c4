"""The features of `hcs_steps.functions.measure.measure_objects`, one module per group."""
