"""Pages about runs: they read run folders only, and need neither JAX nor an algorithm.

``page``   one self-contained HTML page that compares runs
``plots``  its figures, as SVG text
``video``  rollouts as animations (GIF)
"""
