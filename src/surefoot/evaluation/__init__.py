"""Evaluation apart from training: whole episodes, exact numbers of each, estimates with intervals.

``evaluate``    a run folder, or policies in a world, to estimates
``rollouts``    policies played in a world, to a table of episodes (the only file here that needs JAX)
``episodes``    the table of episodes, and what a violation is
``statistics``  estimates with intervals
``safety``      evidence that an expected cost is below its limit
"""
