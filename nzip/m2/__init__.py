"""M2: language models over the tokens of ``nzip tokenize`` (arXiv 2404.03626). Needs torch.

``model`` is the transformer, ``data`` reads tokens, ``loop`` trains and measures, ``compare`` is
the paper's experiment, ``meaning`` its analysis of what tokens stand for, and ``generate``
generates text.
"""
