"""A simulated corpus in RECOLA's own folder layout: people who speak and move as two latent traces tell them to.

`python -m data_prep.simulate --out=DIR` makes it; see `corpus` for what it holds and what it is for.
"""
