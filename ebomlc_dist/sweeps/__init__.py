"""Many runs from one grid: named or own grids, a store of one JSON a cell, and workers that fill it together.

``Store(folder).results()`` reads what was measured; nothing of that imports torch.
"""
