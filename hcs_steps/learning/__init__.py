"""What finished units needed, and what later jobs ask for because of it.

The main process of a run sums the records of a plate up (`summary`), and the next run asks by that (`learned`, with the
margins of `demand`). Nothing of it is part of a plan or of a job's parameters, so nothing is computed again for it.
"""
