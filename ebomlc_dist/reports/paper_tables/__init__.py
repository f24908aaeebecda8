"""Tables from a sweep's store: rows are methods, columns settings, beside the paper's figures where they compare.

``values.build_tables(Store(folder))`` gives them as values, ``render.render`` as text. No figure stands in one that no
run in the store made, but the paper's, which are named so. Nothing here imports torch.
"""
