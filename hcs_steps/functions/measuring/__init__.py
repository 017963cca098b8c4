"""The features of `hcs_steps.functions.measuring.objects.measure_objects`, one module per group."""
